//! Types of columns: `int64`, `timestamp(us)`, `decimal(10,2)`, `list<string>`, `struct`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::form_schema;
use crate::near::did_you_mean;
use crate::types::Field;

/// Lists inside lists, at most. Deeper than any data, shallower than any stack.
const DEEPEST: usize = 16;

/// The type of a column. Timestamps are UTC.
#[derive(Clone, Debug, PartialEq)]
pub enum DataType {
    /// `bool`
    Bool,
    /// `int8`
    Int8,
    /// `int16`
    Int16,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint8`
    UInt8,
    /// `uint16`
    UInt16,
    /// `uint32`
    UInt32,
    /// `uint64`
    UInt64,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// `string`
    String,
    /// `binary`
    Binary,
    /// `date`: days
    Date,
    /// `time`: milliseconds of the day, or `time(s|ms|us|ns)`
    Time(TimeUnit),
    /// `timestamp`: milliseconds, UTC, or `timestamp(s|ms|us|ns)`
    Timestamp(TimeUnit),
    /// `decimal(precision,scale)`: 1 ≤ precision ≤ 38, scale ≤ precision
    Decimal(u8, u8),
    /// `list<…>`; elements may be null
    List(Box<DataType>),
    /// `struct`, with the `fields` beside it
    Struct(Vec<Field>),
}

/// Unit of a time or timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeUnit {
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    Microsecond,
    /// `ns`
    Nanosecond,
}

const PLAIN: &[(&str, DataType)] = &[
    ("bool", DataType::Bool),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("string", DataType::String),
    ("binary", DataType::Binary),
    ("date", DataType::Date),
    ("time", DataType::Time(TimeUnit::Millisecond)),
    ("timestamp", DataType::Timestamp(TimeUnit::Millisecond)),
];

/// What other systems call them.
const ALIASES: &[(&str, &str)] = &[
    ("int", "int32"),
    ("integer", "int32"),
    ("smallint", "int16"),
    ("tinyint", "int8"),
    ("long", "int64"),
    ("bigint", "int64"),
    ("short", "int16"),
    ("byte", "int8"),
    ("i64", "int64"),
    ("i32", "int32"),
    ("u64", "uint64"),
    ("float", "float64"),
    ("double", "float64"),
    ("f64", "float64"),
    ("real", "float32"),
    ("str", "string"),
    ("text", "string"),
    ("utf8", "string"),
    ("varchar", "string"),
    ("uuid", "string"),
    ("bytes", "binary"),
    ("boolean", "bool"),
    ("datetime", "timestamp"),
    ("timestamptz", "timestamp"),
    ("array", "list<…>"),
    ("list", "list<string>"),
    ("decimal", "decimal(38,9)"),
    ("numeric", "decimal(38,9)"),
    ("object", "struct"),
    ("record", "struct"),
    ("map", "struct"),
];

impl DataType {
    /// Reads a type; a struct's fields are empty. The error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        parse(text.trim(), 0)
    }

    /// The same type, with these fields in its struct, if it has one.
    pub(crate) fn with_fields(self, fields: Vec<Field>) -> Self {
        match self {
            Self::List(item) => Self::List(Box::new(item.with_fields(fields))),
            Self::Struct(_) => Self::Struct(fields),
            other => other,
        }
    }

    /// Whether it is a struct, or a list of them.
    #[must_use]
    pub fn has_struct(&self) -> bool {
        match self {
            Self::List(item) => item.has_struct(),
            other => matches!(other, Self::Struct(_)),
        }
    }

    /// The fields of its struct, also of one inside a list.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::List(item) => item.fields(),
            Self::Struct(fields) => fields,
            _ => &[],
        }
    }
}

fn parse(text: &str, depth: usize) -> Result<DataType, String> {
    if text == "struct" {
        return Ok(DataType::Struct(Vec::new()));
    }
    if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Ok(plain.clone());
    }
    if let Some(item) = text.strip_prefix("list<") {
        let item = item.strip_suffix('>').ok_or("the closing '>' is missing")?;
        if depth == DEEPEST {
            return Err(format!("lists are nested deeper than {DEEPEST}"));
        }
        return Ok(DataType::List(Box::new(parse(item.trim(), depth + 1)?)));
    }
    if let Some((name, arguments)) = text.split_once('(') {
        let arguments = arguments.strip_suffix(')').ok_or("the closing ')' is missing")?;
        match name.trim() {
            "time" => return Ok(DataType::Time(unit(arguments)?)),
            "timestamp" => return Ok(DataType::Timestamp(unit(arguments)?)),
            "decimal" => return decimal(arguments),
            _ => {}
        }
    }
    let name = text.split(['(', '<']).next().unwrap_or(text);
    if name == text
        && let Some((_, ours)) = ALIASES.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(text))
    {
        return Err(format!("did you mean {ours:?}"));
    }
    let names = PLAIN.iter().map(|(name, _)| *name).chain(["struct", "list<string>", "decimal(10,2)", "timestamp(us)"]);
    Err(did_you_mean(text, names).unwrap_or_else(|| {
        if name == text { String::new() } else { format!("{name:?} takes no arguments or is not known") }
    }))
}

fn unit(text: &str) -> Result<TimeUnit, String> {
    match text.trim() {
        "s" => Ok(TimeUnit::Second),
        "ms" => Ok(TimeUnit::Millisecond),
        "us" | "µs" => Ok(TimeUnit::Microsecond),
        "ns" => Ok(TimeUnit::Nanosecond),
        other => Err(format!("the unit is s, ms, us or ns, not {other:?}")),
    }
}

fn decimal(arguments: &str) -> Result<DataType, String> {
    let shape = || "a decimal needs precision and scale, as in decimal(10,2)".to_owned();
    let (precision, scale) = arguments.split_once(',').ok_or_else(shape)?;
    let (Ok(precision), Ok(scale)) = (precision.trim().parse::<u8>(), scale.trim().parse::<u8>()) else {
        return Err(shape());
    };
    if !(1..=38).contains(&precision) {
        return Err(format!("the precision is 1 to 38, not {precision}"));
    }
    if scale > precision {
        return Err(format!("the scale {scale} is larger than the precision {precision}"));
    }
    Ok(DataType::Decimal(precision, scale))
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "s",
            Self::Millisecond => "ms",
            Self::Microsecond => "us",
            Self::Nanosecond => "ns",
        })
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(unit) if *unit != TimeUnit::Millisecond => write!(f, "time({unit})"),
            Self::Timestamp(unit) if *unit != TimeUnit::Millisecond => write!(f, "timestamp({unit})"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Struct(_) => f.write_str("struct"),
            plain => f.write_str(PLAIN.iter().find(|(_, t)| t == plain).map_or("?", |(name, _)| name)),
        }
    }
}

form_schema!(impl DataType, { "type": "string", "x-form": "data_type" });

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DataType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_and_shown() {
        let plain = PLAIN.iter().map(|(name, _)| (*name).to_owned());
        let more = [
            "time(us)",
            "timestamp(s)",
            "timestamp(ns)",
            "decimal(38,38)",
            "decimal(10,0)",
            "list<list<int8>>",
            "struct",
            "list<struct>",
        ];
        for text in plain.chain(more.map(str::to_owned)) {
            assert_eq!(DataType::parse(&text).map(|t| t.to_string()), Ok(text.clone()), "{text}");
        }
        assert_eq!(DataType::parse("timestamp(ms)"), DataType::parse("timestamp"));
        assert_eq!(DataType::parse(" list< decimal( 4 , 2 ) >"), Ok(DataType::List(Box::new(DataType::Decimal(4, 2)))));
    }

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        for (text, error) in [
            ("int46", "did you mean \"int64\""),
            ("bigint", "did you mean \"int64\""),
            ("Array", "did you mean \"list<…>\""),
            ("decimal(5,6)", "the scale 6 is larger than the precision 5"),
            ("decimal(39,6)", "the precision is 1 to 38, not 39"),
            ("decimal(5)", "a decimal needs precision and scale, as in decimal(10,2)"),
            ("decimal", "did you mean \"decimal(38,9)\""),
            ("timestamp(m)", "the unit is s, ms, us or ns, not \"m\""),
            ("list<int64", "the closing '>' is missing"),
            ("list<int46>", "did you mean \"int64\""),
            ("time(us", "the closing ')' is missing"),
            ("varchar(10)", "\"varchar\" takes no arguments or is not known"),
            ("", ""),
        ] {
            assert_eq!(DataType::parse(text), Err(error.into()), "{text}");
        }
        assert!(DataType::parse(&format!("{}int8{}", "list<".repeat(50_000), ">".repeat(50_000))).is_err());
    }
}
