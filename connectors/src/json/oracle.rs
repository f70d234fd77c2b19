//! The decoder's rules once more, slow and plain: serde_json parses, values are a tree, every rule is one line. Tests
//! hold the fast decoder against it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};
use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Cause, JsonOptions, MAX_DEPTH, Tombstones};

macro_rules! pattern {
    ($name:ident, $pattern:literal) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).unwrap());
    };
}

pattern!(NUMBER, r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$");
pattern!(DATE, r"^([0-9]{4})-([0-9]{2})-([0-9]{2})$");
pattern!(CLOCK, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?");
pattern!(ZONE, r"^(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$");

/// A value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    /// Integers, dates, times, timestamps, decimals without their scale.
    Int(i128),
    /// By its bits: a zero has a sign.
    Float(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Struct(Vec<Cell>),
}

/// What becomes of a record: a row of the fields, nothing, or a refusal.
pub(super) fn decode(options: &JsonOptions, value: Option<&[u8]>) -> Result<Option<Vec<Cell>>, Cause> {
    let Some(value) = value else {
        return match options.tombstones {
            Tombstones::Skip => Ok(None),
            Tombstones::Reject => Err(Cause::Tombstone),
            Tombstones::Row => Ok(Some(vec![Cell::Null; options.fields.len()])),
        };
    };
    if value.len() > options.max_record_bytes {
        return Err(Cause::TooLarge);
    }
    let text = std::str::from_utf8(value).map_err(|_| Cause::NotJson)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| Cause::NotJson)?;
    let json = Json::new(raw, 0)?;
    json.check_keys()?;
    match &json {
        Json::Object(entries) => Ok(Some(object(options, &options.fields, entries)?)),
        _ => Err(Cause::Type),
    }
}

/// JSON as it is written: keys in order, also twice; numbers as text.
enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn new(raw: &RawValue, depth: usize) -> Result<Self, Cause> {
        let text = raw.get();
        let first = text.chars().next();
        if matches!(first, Some('{' | '[')) && depth == MAX_DEPTH {
            return Err(Cause::TooDeep);
        }
        Ok(match first {
            Some('{') => {
                let entries = serde_json::Deserializer::from_str(text).deserialize_map(Entries);
                let entries = entries.map_err(|_| Cause::NotJson)?;
                let entry = |(key, raw)| Ok((key, Self::new(raw, depth + 1)?));
                Self::Object(entries.into_iter().map(entry).collect::<Result<_, Cause>>()?)
            }
            Some('[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| Cause::NotJson)?;
                Self::List(items.into_iter().map(|i| Self::new(i, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some('"') => Self::Text(serde_json::from_str(text).map_err(|_| Cause::NotJson)?),
            Some('n') => Self::Null,
            Some('t') => Self::Bool(true),
            Some('f') => Self::Bool(false),
            _ => Self::Number(text.to_owned()),
        })
    }

    fn check_keys(&self) -> Result<(), Cause> {
        match self {
            Self::List(items) => items.iter().try_for_each(Self::check_keys),
            Self::Object(entries) => {
                let keys: BTreeSet<_> = entries.iter().map(|(key, _)| key).collect();
                if keys.len() < entries.len() {
                    return Err(Cause::DuplicateKey);
                }
                entries.iter().try_for_each(|(_, value)| value.check_keys())
            }
            _ => Ok(()),
        }
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

fn object(options: &JsonOptions, fields: &Fields, entries: &[(String, Json)]) -> Result<Vec<Cell>, Cause> {
    let mut cells = vec![None; fields.len()];
    for (key, json) in entries {
        if let Some((i, field)) = fields.find(key) {
            cells[i] = Some(value(options, field, json)?);
        }
    }
    let missing = |f: &Field| if f.is_nullable() { Ok(Cell::Null) } else { Err(Cause::MissingField) };
    cells.into_iter().zip(fields).map(|(cell, f)| cell.map_or_else(|| missing(f), Ok)).collect()
}

fn value(options: &JsonOptions, field: &Field, json: &Json) -> Result<Cell, Cause> {
    if let Json::Null = json {
        return if field.is_nullable() { Ok(Cell::Null) } else { Err(Cause::MissingField) };
    }
    let int = |min: i128, max: i128| integer(json, min, max);
    Ok(match (field.data_type(), json) {
        (DataType::Boolean, Json::Bool(b)) => Cell::Bool(*b),
        (DataType::Int8, _) => int(i8::MIN.into(), i8::MAX.into())?,
        (DataType::Int16, _) => int(i16::MIN.into(), i16::MAX.into())?,
        (DataType::Int32, _) => int(i32::MIN.into(), i32::MAX.into())?,
        (DataType::Int64, _) => int(i64::MIN.into(), i64::MAX.into())?,
        (DataType::UInt8, _) => int(0, u8::MAX.into())?,
        (DataType::UInt16, _) => int(0, u16::MAX.into())?,
        (DataType::UInt32, _) => int(0, u32::MAX.into())?,
        (DataType::UInt64, _) => int(0, u64::MAX.into())?,
        (DataType::Float32, Json::Number(n)) => {
            let x: f32 = n.parse().map_err(|_| Cause::NotJson)?;
            if x.is_finite() { Cell::Float(x.to_bits().into()) } else { return Err(Cause::Range) }
        }
        (DataType::Float64, Json::Number(n)) => {
            let x: f64 = n.parse().map_err(|_| Cause::NotJson)?;
            if x.is_finite() { Cell::Float(x.to_bits()) } else { return Err(Cause::Range) }
        }
        (DataType::Utf8, Json::Text(t)) => Cell::Text(t.clone()),
        (DataType::Utf8, Json::Number(t)) if options.coerce => Cell::Text(t.clone()),
        (DataType::Utf8, Json::Bool(b)) if options.coerce => Cell::Text(b.to_string()),
        (DataType::Binary, Json::Text(t)) => Cell::Bytes(base64(t).ok_or(Cause::Text)?),
        (DataType::Date32, Json::Text(t)) => Cell::Int(date(t).ok_or(Cause::Text)?),
        (DataType::Date32, Json::Number(_)) => int(days(year_day(0, true)), days(year_day(9999, false)))?,
        (DataType::Time32(unit) | DataType::Time64(unit), Json::Text(t)) => {
            let (nanos, rest) = clock(t).ok_or(Cause::Text)?;
            if rest.is_empty() { Cell::Int(nanos / nanos_of(*unit)) } else { return Err(Cause::Text) }
        }
        (DataType::Time32(unit) | DataType::Time64(unit), Json::Number(_)) => int(0, DAY / nanos_of(*unit) - 1)?,
        (DataType::Timestamp(unit, _), Json::Text(t)) => {
            let nanos = timestamp(t).ok_or(Cause::Text)?;
            let value = nanos.div_euclid(nanos_of(*unit));
            if !years().contains(&nanos) || i64::try_from(value).is_err() {
                return Err(Cause::Range);
            }
            Cell::Int(value)
        }
        (DataType::Timestamp(unit, _), Json::Number(_)) => {
            let (min, max) = (years().start / nanos_of(*unit), (years().end - 1) / nanos_of(*unit));
            int(min.max(i64::MIN.into()), max.min(i64::MAX.into()))?
        }
        (DataType::Decimal128(precision, scale), Json::Number(t)) => Cell::Int(decimal(t, *precision, *scale)?),
        (DataType::Decimal128(precision, scale), Json::Text(t)) => {
            if !NUMBER.is_match(t) || t.ends_with('\n') {
                return Err(Cause::Text);
            }
            Cell::Int(decimal(t, *precision, *scale)?)
        }
        (DataType::List(item), Json::List(items)) => {
            Cell::List(items.iter().map(|i| value(options, item, i)).collect::<Result<_, _>>()?)
        }
        (DataType::Struct(fields), Json::Object(entries)) => Cell::Struct(object(options, fields, entries)?),
        _ => return Err(Cause::Type),
    })
}

fn integer(json: &Json, min: i128, max: i128) -> Result<Cell, Cause> {
    let Json::Number(text) = json else { return Err(Cause::Type) };
    if text.contains(['.', 'e', 'E']) {
        return Err(Cause::Type);
    }
    match text.parse::<i128>() {
        Ok(n) if (min..=max).contains(&n) => Ok(Cell::Int(n)),
        _ => Err(Cause::Range),
    }
}

/// By writing the number out in full.
fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, Cause> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if digits.chars().all(|d| d == '0') {
        return Ok(0);
    }
    let exponent: i64 = exponent.parse().map_err(|_| Cause::Range)?;
    if exponent.abs() > 10_000 {
        return Err(Cause::Range);
    }
    // 10^-scale units: digits · 10^shift.
    let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len() as i64);
    let shift = exponent - fraction + i64::from(scale);
    let mut whole = digits;
    if shift >= 0 {
        whole.extend(std::iter::repeat_n('0', shift as usize));
    } else {
        let zeros = "0".repeat(shift.unsigned_abs() as usize);
        whole = format!("{zeros}{whole}").strip_suffix(&zeros).ok_or(Cause::Range)?.to_owned();
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > usize::from(precision) {
        return Err(Cause::Range);
    }
    let value: i128 = whole.parse().map_err(|_| Cause::Range)?;
    Ok(if text.starts_with('-') { -value } else { value })
}

/// Bit by bit.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = text.strip_suffix("==").or(text.strip_suffix('=')).unwrap_or(text);
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bits = String::new();
    for c in letters.chars() {
        bits += &format!("{:06b}", ALPHABET.find(c)?);
    }
    let (bytes, rest) = bits.split_at(bits.len() / 8 * 8);
    let left_over = [0, 2, 4][text.len() - letters.len()];
    if rest.len() != left_over || rest.contains('1') {
        return None;
    }
    (0..bytes.len() / 8).map(|i| u8::from_str_radix(&bytes[i * 8..i * 8 + 8], 2).ok()).collect()
}

/// Nanoseconds of a day.
const DAY: i128 = 86_400_000_000_000;

fn nanos_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn year_day(year: i32, first: bool) -> NaiveDate {
    if first { NaiveDate::from_ymd_opt(year, 1, 1) } else { NaiveDate::from_ymd_opt(year, 12, 31) }.unwrap()
}

fn days(date: NaiveDate) -> i128 {
    (date.num_days_from_ce() - NaiveDate::from_ymd_opt(1970, 1, 1).unwrap().num_days_from_ce()).into()
}

/// Nanoseconds of the years 0000 to 9999.
fn years() -> std::ops::Range<i128> {
    days(year_day(0, true)) * DAY..(days(year_day(9999, false)) + 1) * DAY
}

fn date(text: &str) -> Option<i128> {
    let found = DATE.captures(text)?;
    let part = |i: usize| found[i].parse().unwrap();
    NaiveDate::from_ymd_opt(part(1) as i32, part(2), part(3)).map(days)
}

/// Nanoseconds since midnight, and what follows.
fn clock(text: &str) -> Option<(i128, &str)> {
    let found = CLOCK.captures(text)?;
    let part = |i: usize| found[i].parse().unwrap();
    let time = NaiveTime::from_hms_opt(part(1), part(2), part(3))?;
    let fraction: String = found.get(4).map_or("", |f| f.as_str()).chars().chain("000000000".chars()).take(9).collect();
    let nanos = i128::from(time.num_seconds_from_midnight()) * 1_000_000_000 + fraction.parse::<i128>().unwrap();
    Some((nanos, &text[found[0].len()..]))
}

/// Nanoseconds since the epoch.
fn timestamp(text: &str) -> Option<i128> {
    let day = date(text.get(..10)?)?;
    let (nanos, zone) = clock(text.get(10..)?.strip_prefix(['T', 't', ' '])?)?;
    let found = ZONE.captures(zone)?;
    let part = |i: usize| found.get(i).map_or(0, |m| m.as_str().parse::<i128>().unwrap());
    if part(2) > 23 || part(3) > 59 {
        return None;
    }
    let offset = (part(2) * 60 + part(3)) * 60_000_000_000;
    let west = found.get(1).is_some_and(|sign| sign.as_str() == "-");
    Some(day * DAY + nanos - if west { -offset } else { offset })
}

/// Row `i` of a batch.
pub(super) fn row(batch: &RecordBatch, i: usize) -> Vec<Cell> {
    batch.columns().iter().map(|column| cell(column, i)).collect()
}

fn cell(array: &dyn Array, i: usize) -> Cell {
    if array.is_null(i) {
        return Cell::Null;
    }
    macro_rules! int {
        ($t:ident) => {
            Cell::Int(array.as_primitive::<$t>().value(i).into())
        };
    }
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(i)),
        DataType::Int8 => int!(Int8Type),
        DataType::Int16 => int!(Int16Type),
        DataType::Int32 => int!(Int32Type),
        DataType::Int64 => int!(Int64Type),
        DataType::UInt8 => int!(UInt8Type),
        DataType::UInt16 => int!(UInt16Type),
        DataType::UInt32 => int!(UInt32Type),
        DataType::UInt64 => int!(UInt64Type),
        DataType::Float32 => Cell::Float(array.as_primitive::<Float32Type>().value(i).to_bits().into()),
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(i).to_bits()),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(i).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(i).to_vec()),
        DataType::Date32 => int!(Date32Type),
        DataType::Time32(TimeUnit::Second) => int!(Time32SecondType),
        DataType::Time32(_) => int!(Time32MillisecondType),
        DataType::Time64(TimeUnit::Microsecond) => int!(Time64MicrosecondType),
        DataType::Time64(_) => int!(Time64NanosecondType),
        DataType::Timestamp(TimeUnit::Second, _) => int!(TimestampSecondType),
        DataType::Timestamp(TimeUnit::Millisecond, _) => int!(TimestampMillisecondType),
        DataType::Timestamp(TimeUnit::Microsecond, _) => int!(TimestampMicrosecondType),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => int!(TimestampNanosecondType),
        DataType::Decimal128(..) => int!(Decimal128Type),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(i);
            Cell::List((0..items.len()).map(|i| cell(&items, i)).collect())
        }
        DataType::Struct(_) => Cell::Struct(array.as_struct().columns().iter().map(|c| cell(c, i)).collect()),
        other => panic!("no cell of {other}"),
    }
}
