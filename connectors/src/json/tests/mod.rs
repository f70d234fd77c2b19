//! Tests of the whole decoder.

mod compare;
mod fuzz;
mod generate;
mod properties;
mod table;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::{Decoded, Format};
use tidemill_engine::partition::Partition;

use super::{Cause, JsonFormat, JsonOptions, MAX_DEPTH};

/// A chunk of these values.
fn chunk(values: &[Option<&[u8]>]) -> Chunk {
    let mut chunk = unsealed(values);
    chunk.seal();
    chunk
}

/// A chunk without padding.
fn unsealed(values: &[Option<&[u8]>]) -> Chunk {
    let mut chunk = Chunk::new([Partition::new("t", 0)].into(), 0);
    for (i, value) in values.iter().enumerate() {
        chunk.push(0, i as i64, None, *value, None, []);
    }
    chunk
}

fn decode(options: &JsonOptions, values: &[Option<&[u8]>]) -> Decoded {
    JsonFormat::new(options.clone()).unwrap().decoder().decode(&chunk(values))
}

fn timestamp(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("+00:00".into()))
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", of, true)))
}

/// True when the oracle's cause is the decoder's. A text that is both too deep and broken is either, by what comes first; the oracle does not look.
fn agree(expected: Cause, got: &str, value: Option<&[u8]>) -> bool {
    let deep = || value.is_some_and(|v| v.iter().filter(|b| matches!(b, b'[' | b'{')).count() > MAX_DEPTH);
    expected.as_str() == got || expected == Cause::NotJson && got == Cause::TooDeep.as_str() && deep()
}

/// Each type there is without a type inside.
fn scalars() -> Vec<DataType> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    vec![
        DataType::Utf8,
        DataType::Int64,
        DataType::Float64,
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Binary,
        DataType::Date32,
        DataType::Time32(Second),
        DataType::Time32(Millisecond),
        DataType::Time64(Microsecond),
        DataType::Time64(Nanosecond),
        timestamp(Second),
        timestamp(Millisecond),
        timestamp(Microsecond),
        timestamp(Nanosecond),
        DataType::Decimal128(10, 2),
        DataType::Decimal128(38, 0),
        DataType::Decimal128(38, 38),
        DataType::Decimal128(3, -2),
    ]
}

/// One nullable field of each type, named by its place, and some with types inside.
fn every_type() -> Fields {
    let inner = Fields::from(vec![
        Field::new("a", DataType::Int32, false),
        Field::new("b", list(DataType::Utf8), true),
        Field::new("c", timestamp(TimeUnit::Millisecond), true),
    ]);
    let mut types = scalars();
    types.extend([
        list(DataType::Int64),
        list(list(DataType::Utf8)),
        DataType::Struct(inner.clone()),
        list(DataType::Struct(inner)),
        DataType::Struct(Fields::empty()),
    ]);
    types.into_iter().enumerate().map(|(i, t)| Field::new(format!("f{i}"), t, true)).collect()
}
