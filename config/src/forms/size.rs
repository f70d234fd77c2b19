//! Sizes in bytes: `"256MiB"`, `"1MB"`, `1048576`.

use serde::{Deserialize, Deserializer, Serializer, de};

use super::form_schema;

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

form_schema!(
    /// Schema of a size.
    SizeForm,
    { "type": ["string", "integer"], "minimum": 0, "x-form": "size",
      "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?\\s*$" }
);

/// Reads a number with a unit; without one it is bytes. The error says what is wrong.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    if number.is_empty() {
        return Err("a number was expected before the unit".into());
    }
    let unit = unit.trim_start();
    let scale = match UNITS.iter().find(|(name, _)| *name == unit || unit.is_empty()) {
        Some((_, scale)) => *scale,
        None => {
            let near = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map_or("MiB", |(name, _)| name);
            return Err(format!("unknown unit {unit:?}; did you mean {near:?}"));
        }
    };
    let bytes = scaled(number, scale)?;
    // TOML's integers, JavaScript and Arrow's lengths end here.
    if bytes > i64::MAX as u64 { Err("it is too large".into()) } else { Ok(bytes) }
}

/// `number` (digits, perhaps with decimals) times `scale`, exactly.
pub(crate) fn scaled(number: &str, scale: u64) -> Result<u64, String> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return Err(format!("{number:?} is not a number"));
    }
    let too_large = || format!("{number:?} is too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let decimals = decimals.trim_end_matches('0');
    let mut total = whole.checked_mul(scale).ok_or_else(too_large)?;
    if !decimals.is_empty() {
        let many = || format!("{number:?} has too many decimals for its unit");
        let ten = u32::try_from(decimals.len()).ok().and_then(|len| 10u128.checked_pow(len)).ok_or_else(many)?;
        let part = decimals.parse::<u128>().ok().and_then(|d| d.checked_mul(u128::from(scale))).ok_or_else(many)?;
        if part % ten != 0 {
            return Err(many());
        }
        total = u64::try_from(part / ten).ok().and_then(|part| total.checked_add(part)).ok_or_else(too_large)?;
    }
    Ok(total)
}

/// The shortest exact text.
pub(crate) fn show(bytes: u64) -> String {
    for (unit, scale) in UNITS.iter().rev().filter(|(unit, _)| *unit != "kB") {
        if bytes >= *scale
            && bytes.is_multiple_of(*scale)
            && (unit.ends_with("iB") || bytes >= 1000 * 1000 || *scale == 1)
        {
            return format!("{}{unit}", bytes / scale);
        }
    }
    "0B".into()
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*bytes))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(bytes),
        Size::Text(text) => parse(&text).map_err(de::Error::custom),
    }
}

/// For `#[serde(with)]` on an `Option`.
pub(crate) mod option {
    use super::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// A key that is there has a value: TOML has no null.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("256MiB", 256 << 20, "256MiB"),
            ("1MB", 1_000_000, "1MB"),
            ("64KiB", 65_536, "64KiB"),
            ("64 KiB", 65_536, "64KiB"),
            ("1.5GiB", 3 << 29, "1536MiB"),
            ("1048576", 1 << 20, "1MiB"),
            ("10kB", 10_000, "10000B"),
            ("512B", 512, "512B"),
            ("0", 0, "0B"),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(show(bytes), shown);
            assert_eq!(parse(shown), Ok(bytes));
        }
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        for (text, error) in [
            ("", "it is empty"),
            ("MiB", "a number was expected before the unit"),
            ("1mib", "unknown unit \"mib\"; did you mean \"MiB\""),
            ("1 megs", "unknown unit \"megs\"; did you mean \"MiB\""),
            ("0.5B", "\"0.5\" has too many decimals for its unit"),
            (
                "0.0000000000000000000000000000000000000001TB",
                "\"0.0000000000000000000000000000000000000001\" has too many decimals for its unit",
            ),
            ("99999999TiB", "\"99999999\" is too large"),
            ("9000000TiB", "it is too large"),
        ] {
            assert_eq!(parse(text), Err(error.into()), "{text}");
        }
    }
}
