//! Values of Arrow arrays in the binary form of a column's type. What fits together is decided here alone: checking a
//! schema asks for a writer of an empty array.

use std::sync::LazyLock;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, FieldRef, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::json::writer::{EncoderOptions, make_encoder};
use bytes::{BufMut, BytesMut};

use crate::numeric;
use crate::types::Kind;

/// Writes the value of a row, without its length; never asked for a null. An error says what is wrong with the value.
pub(crate) type Writer<'a> = Box<dyn FnMut(usize, &mut BytesMut) -> Result<(), String> + 'a>;

/// A column being written.
pub(crate) struct Column<'a> {
    nulls: Option<NullBuffer>,
    write: Writer<'a>,
}

impl<'a> Column<'a> {
    /// A writer of `array` for a column of this kind; `None`: they do not go together.
    pub(crate) fn new(field: &'a FieldRef, array: &'a dyn Array, kind: &Kind) -> Option<Self> {
        Some(Self { nulls: array.logical_nulls(), write: writer(field, array, kind)? })
    }

    /// Appends the field of a row: its length and its value, or -1.
    pub(crate) fn put(&mut self, row: usize, out: &mut BytesMut) -> Result<(), String> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.put_i32(-1);
            return Ok(());
        }
        let at = out.len();
        out.put_i32(0);
        (self.write)(row, out)?;
        let len = i32::try_from(out.len() - at - 4).map_err(|_| "is larger than 2 GiB".to_owned())?;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
        Ok(())
    }
}

fn writer<'a>(field: &'a FieldRef, array: &'a dyn Array, kind: &Kind) -> Option<Writer<'a>> {
    macro_rules! texts {
        ($texts:expr) => {{
            let texts = $texts;
            text(move |i| texts.value(i), kind)
        }};
    }
    macro_rules! bytes {
        ($bytes:expr) => {{
            let bytes = $bytes;
            binary(move |i| bytes.value(i), kind)
        }};
    }
    let plain = match array.data_type() {
        DataType::Null => Some(Box::new(|_: usize, _: &mut BytesMut| Ok(())) as Writer<'a>),
        DataType::Boolean => {
            let array = array.as_boolean();
            (*kind == Kind::Bool).then(|| {
                Box::new(move |i: usize, out: &mut BytesMut| {
                    out.put_u8(u8::from(array.value(i)));
                    Ok(())
                }) as Writer<'a>
            })
        }
        DataType::Int8 => integer::<Int8Type>(array, kind),
        DataType::Int16 => integer::<Int16Type>(array, kind),
        DataType::Int32 => integer::<Int32Type>(array, kind),
        DataType::Int64 => integer::<Int64Type>(array, kind),
        DataType::UInt8 => integer::<UInt8Type>(array, kind),
        DataType::UInt16 => integer::<UInt16Type>(array, kind),
        DataType::UInt32 => integer::<UInt32Type>(array, kind),
        DataType::UInt64 => integer::<UInt64Type>(array, kind),
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            match kind {
                Kind::Float4 => Some(Box::new(move |i: usize, out: &mut BytesMut| {
                    out.put_f32(array.value(i));
                    Ok(())
                }) as Writer<'a>),
                Kind::Float8 => Some(Box::new(move |i: usize, out: &mut BytesMut| {
                    out.put_f64(f64::from(array.value(i)));
                    Ok(())
                }) as Writer<'a>),
                _ => None,
            }
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            (*kind == Kind::Float8).then(|| {
                Box::new(move |i: usize, out: &mut BytesMut| {
                    out.put_f64(array.value(i));
                    Ok(())
                }) as Writer<'a>
            })
        }
        DataType::Utf8 => texts!(array.as_string::<i32>()),
        DataType::LargeUtf8 => texts!(array.as_string::<i64>()),
        DataType::Utf8View => texts!(array.as_string_view()),
        DataType::Binary => bytes!(array.as_binary::<i32>()),
        DataType::LargeBinary => bytes!(array.as_binary::<i64>()),
        DataType::BinaryView => bytes!(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary()),
        DataType::Date32 => days(array.as_primitive::<Date32Type>(), 1, kind),
        DataType::Date64 => days(array.as_primitive::<Date64Type>(), 86_400_000, kind),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, 1_000_000, 1, kind),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, 1_000, 1, kind),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, 1, 1, kind),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, 1, 1_000, kind),
        DataType::Timestamp(TimeUnit::Second, _) => instant::<TimestampSecondType>(array, 1_000_000, 1, kind),
        DataType::Timestamp(TimeUnit::Millisecond, _) => instant::<TimestampMillisecondType>(array, 1_000, 1, kind),
        DataType::Timestamp(TimeUnit::Microsecond, _) => instant::<TimestampMicrosecondType>(array, 1, 1, kind),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => instant::<TimestampNanosecondType>(array, 1, 1_000, kind),
        DataType::Decimal32(_, s) => decimal::<Decimal32Type>(array, *s, kind),
        DataType::Decimal64(_, s) => decimal::<Decimal64Type>(array, *s, kind),
        DataType::Decimal128(_, s) => decimal::<Decimal128Type>(array, *s, kind),
        DataType::List(item) => {
            let lists = array.as_list::<i32>();
            let ends = lists.value_offsets();
            list(item, lists.values(), move |i| (ends[i] as usize, ends[i + 1] as usize), kind)
        }
        DataType::LargeList(item) => {
            let lists = array.as_list::<i64>();
            let ends = lists.value_offsets();
            let at = |end: i64| usize::try_from(end).unwrap_or(0);
            list(item, lists.values(), move |i| (at(ends[i]), at(ends[i + 1])), kind)
        }
        DataType::FixedSizeList(item, n) => {
            let n = usize::try_from(*n).unwrap_or(0);
            // A slice of fixed-size lists has its values sliced along.
            list(item, array.as_fixed_size_list().values(), move |i| (i * n, (i + 1) * n), kind)
        }
        _ => None,
    };
    plain.or_else(|| json(field, array, kind))
}

fn integer<'a, T>(array: &'a dyn Array, kind: &Kind) -> Option<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    let array = array.as_primitive::<T>();
    macro_rules! fitting {
        ($native:ty, $put:ident, $name:literal) => {
            Some(Box::new(move |i: usize, out: &mut BytesMut| {
                let value: i128 = array.value(i).into();
                let fits = <$native>::try_from(value).map_err(|_| format!("{value} does not fit into {}", $name))?;
                out.$put(fits);
                Ok(())
            }) as Writer<'a>)
        };
    }
    match kind {
        Kind::Int2 => fitting!(i16, put_i16, "smallint"),
        Kind::Int4 => fitting!(i32, put_i32, "integer"),
        Kind::Int8 => fitting!(i64, put_i64, "bigint"),
        // A scale below zero would round.
        Kind::Numeric(scale) if scale.unwrap_or(0) >= 0 => Some(Box::new(move |i, out| {
            numeric::put(array.value(i).into(), 0, out);
            Ok(())
        })),
        _ => None,
    }
}

/// Exact: a column with fewer digits behind the point than the rows would round, and is refused.
fn decimal<'a, T>(array: &'a dyn Array, scale: i8, kind: &Kind) -> Option<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    let array = array.as_primitive::<T>();
    match kind {
        Kind::Numeric(column) if column.is_none_or(|column| column >= i32::from(scale)) => {
            Some(Box::new(move |i, out| {
                if numeric::put(array.value(i).into(), scale, out) { Ok(()) } else { Err("is too large".into()) }
            }))
        }
        _ => None,
    }
}

fn text<'a>(value: impl Fn(usize) -> &'a str + 'a, kind: &Kind) -> Option<Writer<'a>> {
    match kind {
        Kind::Text | Kind::Json => Some(Box::new(move |i, out| {
            out.put_slice(value(i).as_bytes());
            Ok(())
        })),
        Kind::Jsonb => Some(Box::new(move |i, out| {
            out.put_u8(JSONB_VERSION);
            out.put_slice(value(i).as_bytes());
            Ok(())
        })),
        Kind::Uuid => Some(Box::new(move |i, out| {
            let uuid = uuid::Uuid::try_parse(value(i)).map_err(|_| "is not a UUID".to_owned())?;
            out.put_slice(uuid.as_bytes());
            Ok(())
        })),
        _ => None,
    }
}

fn binary<'a>(value: impl Fn(usize) -> &'a [u8] + 'a, kind: &Kind) -> Option<Writer<'a>> {
    match kind {
        Kind::Bytea => Some(Box::new(move |i, out| {
            out.put_slice(value(i));
            Ok(())
        })),
        Kind::Uuid => Some(Box::new(move |i, out| {
            let value = value(i);
            if value.len() != 16 {
                return Err(format!("has {} bytes, a uuid has 16", value.len()));
            }
            out.put_slice(value);
            Ok(())
        })),
        Kind::Text | Kind::Json | Kind::Jsonb => {
            let jsonb = *kind == Kind::Jsonb;
            Some(Box::new(move |i, out| {
                let value = value(i);
                std::str::from_utf8(value).map_err(|e| format!("is not UTF-8 at byte {}", e.valid_up_to()))?;
                if jsonb {
                    out.put_u8(JSONB_VERSION);
                }
                out.put_slice(value);
                Ok(())
            }))
        }
        _ => None,
    }
}

/// Postgres counts from 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const EPOCH_US: i64 = EPOCH_DAYS * 86_400_000_000;

fn days<'a, T>(array: &'a PrimitiveArray<T>, per_day: i64, kind: &Kind) -> Option<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    (*kind == Kind::Date).then(|| {
        Box::new(move |i: usize, out: &mut BytesMut| {
            let value: i64 = array.value(i).into();
            let days = i32::try_from(value.div_euclid(per_day) - EPOCH_DAYS).ok();
            // The ends of the range mean infinity.
            let days = days.filter(|d| *d > i32::MIN && *d < i32::MAX);
            out.put_i32(days.ok_or_else(|| format!("{value} is out of the range of date"))?);
            Ok(())
        }) as Writer<'a>
    })
}

fn time<'a, T>(array: &'a dyn Array, times: i64, by: i64, kind: &Kind) -> Option<Writer<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let array = array.as_primitive::<T>();
    (*kind == Kind::Time).then(|| {
        Box::new(move |i: usize, out: &mut BytesMut| {
            let value: i64 = array.value(i).into();
            let us = value.checked_mul(times).map(|v| v.div_euclid(by));
            out.put_i64(us.ok_or_else(|| format!("{value} is out of the range of time"))?);
            Ok(())
        }) as Writer<'a>
    })
}

fn instant<'a, T>(array: &'a dyn Array, times: i64, by: i64, kind: &Kind) -> Option<Writer<'a>>
where
    T: ArrowPrimitiveType<Native = i64>,
{
    let array = array.as_primitive::<T>();
    matches!(kind, Kind::Timestamp | Kind::Timestamptz).then(|| {
        Box::new(move |i: usize, out: &mut BytesMut| {
            let value = array.value(i);
            let us = value.checked_mul(times).and_then(|v| v.div_euclid(by).checked_sub(EPOCH_US));
            let us = us.filter(|us| *us > i64::MIN && *us < i64::MAX);
            out.put_i64(us.ok_or_else(|| format!("{value} is out of the range of timestamp"))?);
            Ok(())
        }) as Writer<'a>
    })
}

fn list<'a>(
    item: &'a FieldRef,
    values: &'a dyn Array,
    ends: impl Fn(usize) -> (usize, usize) + 'a,
    kind: &Kind,
) -> Option<Writer<'a>> {
    let Kind::Array(element, oid) = kind else { return None };
    let mut column = Column::new(item, values, element)?;
    let oid = *oid;
    Some(Box::new(move |i, out| {
        let (start, end) = ends(i);
        let nulls = column.nulls.as_ref().is_some_and(|nulls| (start..end).any(|v| nulls.is_null(v)));
        out.put_i32(i32::from(start < end));
        out.put_i32(i32::from(nulls));
        out.put_u32(oid);
        if start < end {
            out.put_i32(i32::try_from(end - start).map_err(|_| "has too many elements".to_owned())?);
            out.put_i32(1);
        }
        for value in start..end {
            column.put(value, out)?;
        }
        Ok(())
    }))
}

const JSONB_VERSION: u8 = 1;

static JSON: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Whatever has no form of its own goes into a JSON column as JSON.
fn json<'a>(field: &'a FieldRef, array: &'a dyn Array, kind: &Kind) -> Option<Writer<'a>> {
    let jsonb = match kind {
        Kind::Json => false,
        Kind::Jsonb => true,
        _ => return None,
    };
    let mut encoder = make_encoder(field, array, &JSON).ok()?;
    let mut text = Vec::new();
    Some(Box::new(move |i, out| {
        if jsonb {
            out.put_u8(JSONB_VERSION);
        }
        text.clear();
        encoder.encode(i, &mut text);
        out.put_slice(&text);
        Ok(())
    }))
}
