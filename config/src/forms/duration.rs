//! Durations: `"500ms"`, `"5s"`, `"1h30m"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

use super::form_schema;

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Longer ones are mistakes, and would overflow clocks.
const LONGEST: u64 = 366 * 86_400_000_000_000;

form_schema!(
    /// Schema of a duration.
    DurationForm,
    { "type": "string", "x-form": "duration", "pattern": "^\\s*([0-9]+(\\.[0-9]+)?\\s*(ns|us|µs|ms|s|m|h|d)\\s*)+$" }
);

/// Reads numbers with units, added up. The error says what is wrong, without the whole text.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut nanos = 0u64;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        if number.is_empty() {
            return Err("a number was expected before the unit".into());
        }
        let after = after.trim_start();
        let unit_len = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() {
                format!("it has no unit; did you mean \"{number}s\" or \"{number}ms\"")
            } else {
                format!("unknown unit {unit:?}; did you mean {:?}", nearest_unit(unit))
            });
        };
        let part = super::size::scaled(number, *scale)?;
        nanos = nanos.checked_add(part).filter(|nanos| *nanos <= LONGEST).ok_or("it is longer than a year")?;
        rest = after.trim_start();
    }
    Ok(Duration::from_nanos(nanos))
}

fn nearest_unit(unit: &str) -> &'static str {
    let unit = unit.to_lowercase();
    match unit.chars().next() {
        Some('m') if unit.starts_with("ms") || unit.starts_with("mil") => "ms",
        Some('m') if unit.starts_with("mic") => "us",
        Some('m') => "m",
        Some('h') => "h",
        Some('d' | 't') => "d",
        Some('u' | 'μ' | 'µ') => "us",
        Some('n') => "ns",
        _ => "s",
    }
}

/// The shortest exact text: `90s` is `1m30s`.
pub(crate) fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS.iter().rev().filter(|(unit, _)| *unit != "µs") {
        if rest >= *scale {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*duration))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// For `#[serde(with)]` of an optional one.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, parse, show};

    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&show(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse(&text).map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, nanos, shown) in [
            ("500ms", 500_000_000, "500ms"),
            ("5s", 5_000_000_000, "5s"),
            ("1h30m", 5_400_000_000_000, "1h30m"),
            ("1h 30m", 5_400_000_000_000, "1h30m"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            ("10 m", 600_000_000_000, "10m"),
            ("7d", 604_800_000_000_000, "7d"),
            ("20us", 20_000, "20us"),
            ("20µs", 20_000, "20us"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
            assert_eq!(show(Duration::from_nanos(nanos)), shown);
            assert_eq!(parse(shown), Ok(Duration::from_nanos(nanos)));
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        for (text, error) in [
            ("", "it is empty"),
            ("5", "it has no unit; did you mean \"5s\" or \"5ms\""),
            ("5 sek", "unknown unit \"sek\"; did you mean \"s\""),
            ("5minutes", "unknown unit \"minutes\"; did you mean \"m\""),
            ("5msec", "unknown unit \"msec\"; did you mean \"ms\""),
            ("s", "a number was expected before the unit"),
            ("-5s", "a number was expected before the unit"),
            ("1..5s", "\"1..5\" is not a number"),
            ("0.5ns", "\"0.5\" has too many decimals for its unit"),
            ("400d", "it is longer than a year"),
            ("99999999999999999999s", "\"99999999999999999999\" is too large"),
        ] {
            assert_eq!(parse(text), Err(error.into()), "{text}");
        }
    }
}
