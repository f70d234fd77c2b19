//! Columns of what a record is besides its value: `_topic`, `_partition`, `_offset`, … Formats append those that a
//! job uses to their own.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Int32Array, Int64Array, ListBuilder, NullBufferBuilder, StringBuilder,
    StructBuilder, TimestampMillisecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
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

    /// The column of the records picked from a chunk; values are copied into `room`.
    pub(crate) fn build(self, picked: &Picked<'_>, room: &mut Room) -> ArrayRef {
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
            Self::Key => binary(picked, |r| r.key, &mut Room::default()),
            Self::Value => binary(picked, |r| r.value, room),
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

/// More is not kept: chunks are of some MiB, unless a record is larger.
const ROOM_BYTES: usize = 8 << 20;

/// The bytes of the last `_value` column, in which the next is built when nobody has them any more: after a filter that
/// copied what it let through. Else some MiB are given back to the kernel and mapped anew for each chunk, which takes as
/// long as copying the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Option<Buffer>);

impl Room {
    fn take(&mut self) -> Vec<u8> {
        let mut bytes = self.0.take().and_then(|last| last.into_vec().ok()).unwrap_or_default();
        bytes.clear();
        bytes
    }
}

fn binary<'c>(picked: &Picked<'c>, bytes: impl Fn(Record<'c>) -> Option<&'c [u8]>, room: &mut Room) -> ArrayRef {
    let mut data = room.take();
    if data.capacity() < picked.chunk.arena().len() {
        let mut size = 0;
        picked.each(|r| size += bytes(r).map_or(0, <[u8]>::len));
        data.reserve(size);
    }
    let mut offsets = Vec::with_capacity(picked.len() + 1);
    offsets.push(0);
    let mut nulls = NullBufferBuilder::new(picked.len());
    picked.each(|r| {
        let value = bytes(r);
        data.extend_from_slice(value.unwrap_or_default());
        offsets.push(i32::try_from(data.len()).expect("a chunk's values are less than 2 GiB"));
        nulls.append(value.is_some());
    });
    let data = Buffer::from_vec(data);
    room.0 = (data.capacity() <= ROOM_BYTES).then(|| data.clone());
    Arc::new(BinaryArray::new(OffsetBuffer::new(ScalarBuffer::from(offsets)), data, nulls.finish()))
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

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use tidemill_engine::partition::Partition;

    use super::*;

    /// The `_value` column of a chunk of these, and where its bytes are.
    fn values(room: &mut Room, values: &[Option<&[u8]>]) -> (ArrayRef, *const u8) {
        let mut chunk = Chunk::new([Partition::new("a", 0)].into(), 64);
        for (offset, value) in (0..).zip(values) {
            chunk.push(0, offset, None, *value, Some(b"key"), []);
        }
        chunk.seal();
        let column = Metadata::Value.build(&Picked { chunk: &chunk, records: None }, room);
        assert!(column.as_binary::<i32>().iter().eq(values.iter().copied()));
        let at = column.as_binary::<i32>().values().as_ptr();
        (column, at)
    }

    #[test]
    fn values_are_built_in_the_bytes_of_the_last_once_nobody_has_them() {
        let mut room = Room::default();
        let long = [7; 1000];
        let (kept, first) = values(&mut room, &[Some(&long[..]), None, Some(b"")]);
        let (other, second) = values(&mut room, &[Some(b"new"), Some(&[8; 900])]);
        assert_ne!(first, second, "somebody has the first");
        assert_eq!(kept.as_binary::<i32>().value(0), long, "and it is as it was");
        drop(other);
        let (third, at) = values(&mut room, &[None, Some(b"small")]);
        assert_eq!(at, second);
        drop(third);
        let (_, _) = values(&mut room, &[Some(&[9; 5000]), Some(&long[..])]);
    }
}
