//! Columns of what a record is besides its value: `_topic`, `_partition`, `_offset`, … Formats append those that a
//! job uses to their own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, StringBuilder, StructBuilder,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use tidemill_engine::chunk::{Chunk, Record};

/// A metadata column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metadata {
    /// `_topic`: utf8.
    Topic,
    /// `_partition`: int32.
    Partition,
    /// `_offset`: int64.
    Offset,
    /// `_timestamp`: the broker's, timestamp(ms, "+00:00"), null where there is none.
    Timestamp,
    /// `_key`: binary, null where there is none.
    Key,
    /// `_value`: the record's value as it came, binary, null for a tombstone.
    Value,
    /// `_headers`: list of struct(key utf8, value binary), empty where there are none.
    Headers,
}

impl Metadata {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Topic, Self::Partition, Self::Offset, Self::Timestamp, Self::Key, Self::Value, Self::Headers];

    /// The column's name.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Topic => "_topic",
            Self::Partition => "_partition",
            Self::Offset => "_offset",
            Self::Timestamp => "_timestamp",
            Self::Key => "_key",
            Self::Value => "_value",
            Self::Headers => "_headers",
        }
    }

    /// The column.
    #[must_use]
    pub fn field(self) -> Field {
        let (of, nullable) = match self {
            Self::Topic => (DataType::Utf8, false),
            Self::Partition => (DataType::Int32, false),
            Self::Offset => (DataType::Int64, false),
            Self::Timestamp => (DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
            Self::Key | Self::Value => (DataType::Binary, true),
            Self::Headers => (DataType::List(header_item()), false),
        };
        Field::new(self.column(), of, nullable)
    }

    /// The column of the records picked from a chunk.
    pub(crate) fn build(self, picked: &Picked<'_>) -> ArrayRef {
        match self {
            Self::Topic => {
                let mut column = StringBuilder::with_capacity(picked.len(), picked.len() * 16);
                picked.each(|r| column.append_value(&r.partition.topic));
                Arc::new(column.finish())
            }
            Self::Partition => Arc::new(Int32Array::from(picked.collect(|r| r.partition.index))),
            Self::Offset => Arc::new(Int64Array::from(picked.collect(|r| r.offset))),
            Self::Timestamp => {
                Arc::new(TimestampMillisecondArray::from(picked.collect(|r| r.timestamp_ms)).with_timezone("+00:00"))
            }
            Self::Key => binary(picked, |r| r.key),
            Self::Value => binary(picked, |r| r.value),
            Self::Headers => headers(picked),
        }
    }
}

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}

fn binary<'c>(picked: &Picked<'c>, bytes: impl Fn(Record<'c>) -> Option<&'c [u8]>) -> ArrayRef {
    let mut size = 0;
    picked.each(|r| size += bytes(r).map_or(0, <[u8]>::len));
    let mut column = BinaryBuilder::with_capacity(picked.len(), size);
    picked.each(|r| column.append_option(bytes(r)));
    Arc::new(column.finish())
}

fn headers(picked: &Picked<'_>) -> ArrayRef {
    let mut column = ListBuilder::new(StructBuilder::from_fields(header_fields(), 0)).with_field(header_item());
    picked.each(|r| {
        for (name, value) in r.headers() {
            let header = column.values();
            if let Some(names) = header.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
                values.append_option(value);
            }
            header.append(true);
        }
        column.append(true);
    });
    Arc::new(column.finish())
}

/// The records of a chunk that became rows, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picked<'c> {
    pub(crate) chunk: &'c Chunk,
    /// Indices; `None`: all.
    pub(crate) records: Option<&'c [u32]>,
}

impl<'c> Picked<'c> {
    fn len(&self) -> usize {
        self.records.map_or(self.chunk.len(), <[u32]>::len)
    }

    fn each(&self, mut f: impl FnMut(Record<'c>)) {
        match self.records {
            None => (0..self.chunk.len()).for_each(|i| f(self.chunk.record(i))),
            Some(records) => records.iter().for_each(|&i| f(self.chunk.record(i as usize))),
        }
    }

    fn collect<T>(&self, f: impl Fn(Record<'c>) -> T) -> Vec<T> {
        let mut out = Vec::with_capacity(self.len());
        self.each(|r| out.push(f(r)));
        out
    }
}

/// Which records of a chunk became rows, as [`Decoded::records`](tidemill_engine::format::Decoded::records) has it:
/// nothing is kept as long as all did.
#[derive(Debug, Default)]
pub(crate) struct Picks {
    rows: u32,
    records: Option<Vec<u32>>,
}

impl Picks {
    /// Record `i`, the next one, is a row.
    #[inline]
    pub(crate) fn pick(&mut self, i: usize) {
        if let Some(records) = &mut self.records {
            records.push(i as u32);
        }
        self.rows += 1;
    }

    /// The next record is none.
    pub(crate) fn pass(&mut self) {
        if self.records.is_none() {
            self.records = Some((0..self.rows).collect());
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows as usize
    }

    /// The picked records of `chunk`.
    pub(crate) fn of<'a>(&'a self, chunk: &'a Chunk) -> Picked<'a> {
        Picked { chunk, records: self.records.as_deref() }
    }

    /// The indices, where some record is no row.
    pub(crate) fn into_records(self) -> Option<Vec<u32>> {
        self.records
    }
}
