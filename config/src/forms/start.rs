//! Where to start and where to end: a word, a time, or offsets of partitions.

use chrono::{DateTime, Utc};

use super::form_schema;
use crate::near::did_you_mean;
use crate::types::{Start, Until};

form_schema!(impl Start, {
    "type": ["string", "object"],
    "x-form": "start",
    "propertyNames": { "x-form": "partition" },
    "additionalProperties": { "type": "integer", "minimum": 0 }
});
form_schema!(impl Until, {
    "type": ["string", "object"],
    "x-form": "until",
    "propertyNames": { "x-form": "partition" },
    "additionalProperties": { "type": "integer", "minimum": 0 }
});

/// Reads a word or an RFC 3339 time.
pub(crate) fn parse(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        "committed" => Ok(Start::Committed),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => DateTime::parse_from_rfc3339(text)
            .map(|time| Start::Time(time.with_timezone(&Utc)))
            .map_err(|error| format!("as a time: {error}; it needs date, time and zone")),
        _ => Err(did_you_mean(text, ["earliest", "latest", "committed"]).unwrap_or_default()),
    }
}

/// Reads where to end: `end` or an RFC 3339 time.
pub(crate) fn parse_until(text: &str) -> Result<Until, String> {
    match text {
        "end" => Ok(Until::End),
        _ => match parse(text) {
            Ok(Start::Time(time)) => Ok(Until::Time(time)),
            Err(error) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(error),
            _ => Err(did_you_mean(text, ["end"]).unwrap_or_default()),
        },
    }
}

/// Reads `TOPIC/PARTITION`, or `PARTITION` alone.
pub(crate) fn parse_partition(text: &str) -> Result<(Option<&str>, i32), String> {
    let (topic, number) = match text.rsplit_once('/') {
        Some(("", _)) => return Err("the topic is missing".into()),
        Some((topic, number)) => (Some(topic), number),
        None => (None, text),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse() {
        Ok(number) if digits => Ok((topic, number)),
        _ if digits => Err("the partition's number is too large".into()),
        _ => Err("the partition's number is missing".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_times() {
        assert_eq!(parse("latest"), Ok(Start::Latest));
        let Ok(Start::Time(time)) = parse("2026-01-31T02:00:00.5+02:00") else { panic!("a time") };
        assert_eq!(time.timestamp_millis(), 1_769_817_600_500);
        assert_eq!(Start::Time(time).to_string(), "2026-01-31T00:00:00.500Z");
        assert_eq!(parse("erliest"), Err("did you mean \"earliest\"".into()));
        assert!(parse("2026-01-31").is_err(), "a day has no zone");
        assert!(parse("2026-01-31T00:00:00").is_err());
        assert_eq!(parse(""), Err(String::new()));
        assert_eq!(parse_until("end"), Ok(Until::End));
        assert!(matches!(parse_until("2026-01-31T00:00:00Z"), Ok(Until::Time(_))));
        assert!(parse_until("earliest").is_err() && parse_until("2026-01-31").is_err());
        assert_eq!(parse_until("edn"), Err("did you mean \"end\"".into()));
    }

    #[test]
    fn partitions_are_numbers_with_or_without_a_topic() {
        assert_eq!(parse_partition("orders/0"), Ok((Some("orders"), 0)));
        assert_eq!(parse_partition("12"), Ok((None, 12)));
        for bad in ["", "orders", "orders/", "/1", "orders/-1", "orders/+1", "orders/x", "1.5", "99999999999"] {
            assert!(parse_partition(bad).is_err(), "{bad}");
        }
    }
}
