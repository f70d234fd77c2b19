//! The columns that records are decoded into: plain vectors, cut back when a record fails, made into Arrow arrays
//! without copying when a chunk is done.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Decimal128Array, ListArray, PrimitiveArray, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use super::object::Object;

/// A column under construction.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) nullable: bool,
    /// Places of nulls, ascending: a column without nulls pays nothing for them.
    nulls: Vec<u32>,
    pub(super) values: Values,
}

/// A column's values; a null has a value too, which nobody reads.
#[derive(Debug)]
pub(super) enum Values {
    /// Checked, not kept; how many.
    Unread(usize),
    Boolean(Vec<bool>),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt8(Vec<u8>),
    UInt16(Vec<u16>),
    UInt32(Vec<u32>),
    UInt64(Vec<u64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Utf8(Bytes),
    Binary(Bytes),
    Date(Vec<i32>),
    /// In units of which there are so many in a second.
    Time32(i64, Vec<i32>),
    Time64(i64, Vec<i64>),
    Timestamp(i64, Vec<i64>),
    Decimal {
        precision: u8,
        scale: i8,
        values: Vec<i128>,
    },
    List(List),
    Struct(Box<Object>),
}

/// Values of variable length, back to back.
#[derive(Debug)]
pub(super) struct Bytes {
    pub(super) data: Vec<u8>,
    /// Where each value ends, a zero before the first.
    pub(super) offsets: Vec<i32>,
    /// Room that the next chunk's values are given, in bytes each.
    each: usize,
}

/// Lists of a column, back to back.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Box<Column>,
    /// Where each list ends, a zero before the first.
    pub(super) offsets: Vec<i32>,
    /// Room that the next chunk's lists are given, in items each.
    each: usize,
}

impl Bytes {
    fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0], each: 0 }
    }

    /// Ends a value. False when the column is too large for 32-bit offsets.
    #[inline(always)]
    #[must_use]
    pub(super) fn end(&mut self) -> bool {
        match i32::try_from(self.data.len()) {
            Ok(end) => {
                self.offsets.push(end);
                true
            }
            Err(_) => false,
        }
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        self.each = room(self.data.len(), self.offsets.len() - 1);
        (take_offsets(&mut self.offsets), Buffer::from_vec(mem::take(&mut self.data)))
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.data.truncate(self.offsets.last().map_or(0, |&end| end as usize));
    }
}

fn take_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(mem::replace(offsets, vec![0])))
}

/// The mean of `all` over so many, and an eighth more.
fn room(all: usize, over: usize) -> usize {
    (all + all / 8).div_ceil(over.max(1))
}

/// Calls a macro's arm for each variant that is a vector of numbers or booleans.
macro_rules! with_vector {
    ($values:expr, $v:ident => $vector:expr, { $($other:tt)* }) => {
        match $values {
            Values::Boolean($v) => $vector,
            Values::Int8($v) => $vector,
            Values::Int16($v) => $vector,
            Values::Int32($v) | Values::Date($v) | Values::Time32(_, $v) => $vector,
            Values::Int64($v) | Values::Time64(_, $v) | Values::Timestamp(_, $v) => $vector,
            Values::UInt8($v) => $vector,
            Values::UInt16($v) => $vector,
            Values::UInt32($v) => $vector,
            Values::UInt64($v) => $vector,
            Values::Float32($v) => $vector,
            Values::Float64($v) => $vector,
            Values::Decimal { values: $v, .. } => $vector,
            $($other)*
        }
    };
}

impl Column {
    /// An empty column of a type that [`check_type`](super::options::check_type) lets pass; `read`: it is to be kept.
    pub(super) fn new(field: &Field, read: bool, path: &str) -> Self {
        let values = if read { Values::new(field.data_type(), path) } else { Values::Unread(0) };
        Self { nullable: field.is_nullable(), nulls: Vec::new(), values }
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        with_vector!(&self.values, v => v.len(), {
            Values::Unread(len) => *len,
            Values::Utf8(b) | Values::Binary(b) => b.offsets.len() - 1,
            Values::List(list) => list.offsets.len() - 1,
            Values::Struct(object) => object.len(),
        })
    }

    /// Makes room for `rows` values, as large as those of the chunk before: no more than `most` bytes of text or items of
    /// a list. Between chunks a column holds no memory.
    pub(super) fn prepare(&mut self, rows: usize, most: usize) {
        with_vector!(&mut self.values, v => v.reserve_exact(rows), {
            Values::Unread(_) => {}
            Values::Utf8(bytes) | Values::Binary(bytes) => {
                bytes.offsets.reserve_exact(rows);
                bytes.data.reserve_exact(most.min(bytes.each.saturating_mul(rows)));
            }
            Values::List(list) => {
                list.offsets.reserve_exact(rows);
                list.items.prepare(most.min(list.each.saturating_mul(rows)), most);
            }
            Values::Struct(object) => object.prepare(rows, most),
        });
    }

    /// Appends a null.
    pub(super) fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        self.push_nothing();
    }

    /// Appends what stands in a null's place, in all columns inside as well.
    pub(super) fn push_nothing(&mut self) {
        with_vector!(&mut self.values, v => v.push(Default::default()), {
            Values::Unread(len) => *len += 1,
            Values::Utf8(Bytes { offsets, .. }) | Values::Binary(Bytes { offsets, .. }) => repeat_last(offsets),
            Values::List(list) => repeat_last(&mut list.offsets),
            Values::Struct(object) => object.push_nothing(),
        })
    }

    /// Cuts back to `len` values.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.nulls.last().is_some_and(|&at| at as usize >= len) {
            self.nulls.pop();
        }
        with_vector!(&mut self.values, v => v.truncate(len), {
            Values::Unread(n) => *n = len.min(*n),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.truncate(len),
            Values::List(list) => {
                list.offsets.truncate(len + 1);
                list.items.truncate(list.offsets.last().map_or(0, |&end| end as usize));
            }
            Values::Struct(object) => object.truncate(len),
        })
    }

    /// The column as an array of `field`'s type; the column is empty then. `None` when it was not kept.
    pub(super) fn finish(&mut self, field: &Field) -> Option<ArrayRef> {
        let len = self.len();
        let nulls = self.finish_nulls(len);
        Some(match &mut self.values {
            Values::Unread(len) => {
                *len = 0;
                return None;
            }
            Values::Boolean(v) => {
                let v = mem::take(v);
                let bits = BooleanBuffer::collect_bool(v.len(), |i| v[i]);
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Values::Int8(v) => primitive::<Int8Type>(v, nulls),
            Values::Int16(v) => primitive::<Int16Type>(v, nulls),
            Values::Int32(v) => primitive::<Int32Type>(v, nulls),
            Values::Int64(v) => primitive::<Int64Type>(v, nulls),
            Values::UInt8(v) => primitive::<UInt8Type>(v, nulls),
            Values::UInt16(v) => primitive::<UInt16Type>(v, nulls),
            Values::UInt32(v) => primitive::<UInt32Type>(v, nulls),
            Values::UInt64(v) => primitive::<UInt64Type>(v, nulls),
            Values::Float32(v) => primitive::<Float32Type>(v, nulls),
            Values::Float64(v) => primitive::<Float64Type>(v, nulls),
            Values::Date(v) => primitive::<Date32Type>(v, nulls),
            Values::Time32(1, v) => primitive::<Time32SecondType>(v, nulls),
            Values::Time32(_, v) => primitive::<Time32MillisecondType>(v, nulls),
            Values::Time64(1_000_000, v) => primitive::<Time64MicrosecondType>(v, nulls),
            Values::Time64(_, v) => primitive::<Time64NanosecondType>(v, nulls),
            Values::Timestamp(_, v) => timestamps(v, nulls, field.data_type()),
            Values::Decimal { values, .. } => Arc::new(
                Decimal128Array::new(ScalarBuffer::from(mem::take(values)), nulls)
                    .with_data_type(field.data_type().clone()),
            ),
            Values::Utf8(bytes) => {
                let (offsets, data) = bytes.take();
                let array = StringArray::try_new(offsets, data, nulls);
                Arc::new(array.expect("each record was checked to be UTF-8 and is cut at ASCII characters only"))
            }
            Values::Binary(bytes) => {
                let (offsets, data) = bytes.take();
                Arc::new(BinaryArray::new(offsets, data, nulls))
            }
            Values::List(list) => {
                let DataType::List(item) = field.data_type() else { return None };
                list.each = room(list.items.len(), len);
                let items = list.items.finish(item)?;
                Arc::new(ListArray::new(item.clone(), take_offsets(&mut list.offsets), items, nulls))
            }
            Values::Struct(object) => {
                let DataType::Struct(fields) = field.data_type() else { return None };
                Arc::new(object.finish(fields, nulls))
            }
        })
    }

    fn finish_nulls(&mut self, len: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut bits = vec![0xFFu8; len.div_ceil(8)];
        for at in mem::take(&mut self.nulls) {
            bits[at as usize / 8] &= !(1 << (at % 8));
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, len)))
    }
}

fn repeat_last(offsets: &mut Vec<i32>) {
    offsets.push(offsets.last().copied().unwrap_or(0));
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(mem::take(values)), nulls))
}

fn timestamps(values: &mut Vec<i64>, nulls: Option<NullBuffer>, of: &DataType) -> ArrayRef {
    let values = ScalarBuffer::from(mem::take(values));
    let of = of.clone();
    match of {
        DataType::Timestamp(TimeUnit::Second, _) => {
            Arc::new(PrimitiveArray::<TimestampSecondType>::new(values, nulls).with_data_type(of))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            Arc::new(PrimitiveArray::<TimestampMillisecondType>::new(values, nulls).with_data_type(of))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_data_type(of))
        }
        _ => Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(values, nulls).with_data_type(of)),
    }
}

impl Values {
    fn new(of: &DataType, path: &str) -> Self {
        use super::time::per_second;
        match of {
            DataType::Boolean => Self::Boolean(Vec::new()),
            DataType::Int8 => Self::Int8(Vec::new()),
            DataType::Int16 => Self::Int16(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::UInt8 => Self::UInt8(Vec::new()),
            DataType::UInt16 => Self::UInt16(Vec::new()),
            DataType::UInt32 => Self::UInt32(Vec::new()),
            DataType::UInt64 => Self::UInt64(Vec::new()),
            DataType::Float32 => Self::Float32(Vec::new()),
            DataType::Float64 => Self::Float64(Vec::new()),
            DataType::Utf8 => Self::Utf8(Bytes::new()),
            DataType::Binary => Self::Binary(Bytes::new()),
            DataType::Date32 => Self::Date(Vec::new()),
            DataType::Time32(unit) => Self::Time32(per_second(*unit), Vec::new()),
            DataType::Time64(unit) => Self::Time64(per_second(*unit), Vec::new()),
            DataType::Timestamp(unit, _) => Self::Timestamp(per_second(*unit), Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision: *precision, scale: *scale, values: Vec::new() }
            }
            DataType::List(item) => {
                Self::List(List { items: Box::new(Column::new(item, true, path)), offsets: vec![0], each: 0 })
            }
            DataType::Struct(fields) => Self::Struct(Box::new(Object::new(fields, |_| true, path))),
            other => unreachable!("types are checked when the format is made, {other} has no column"),
        }
    }
}
