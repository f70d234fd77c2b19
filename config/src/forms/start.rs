//! Where to start: a word or a time.

use chrono::{DateTime, Utc};

use super::form_schema;
use crate::near::did_you_mean;
use crate::types::{Start, Until};

form_schema!(impl Start, { "type": "string", "x-form": "start" });
form_schema!(impl Until, { "type": "string", "x-form": "until" });

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
}
