//! Rows as messages: which column is which part, checked once for a schema, then columns at a time.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use tidemill_engine::sink::SinkError;

use super::options::{Mapping, Value};
use crate::files::ndjson::lines;

/// Checks every value: a cast that does not fit is an error, not a null.
const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };

/// Makes messages of rows of one schema.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    value: Source,
    key: Option<usize>,
    headers: Option<usize>,
    header_columns: Vec<(String, usize)>,
    timestamp: Option<usize>,
    partition: Option<usize>,
}

#[derive(Clone, Debug)]
enum Source {
    /// The columns of the object.
    Json(Vec<usize>),
    Column(usize),
}

fn is_text(of: &DataType) -> bool {
    use DataType as T;
    match of {
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            true
        }
        T::Dictionary(_, of) => is_text(of),
        _ => false,
    }
}

fn is_plain(of: &DataType) -> bool {
    is_text(of) || of.is_integer() || *of == DataType::Boolean
}

fn has_headers(of: &DataType) -> bool {
    let DataType::List(item) = of else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    fields.len() == 2 && fields.iter().all(|f| is_text(f.data_type()))
}

impl Encoder {
    /// Finds the columns of `mapping` in `schema`.
    ///
    /// Columns that become another part of the message and whose name begins with `_` (metadata of the record read)
    /// are not in the JSON value; others are there too.
    pub(super) fn new(mapping: &Mapping, schema: &SchemaRef) -> Result<Self, String> {
        let find = |part: &str, name: &str, fits: fn(&DataType) -> bool, expected: &str| {
            let Ok(i) = schema.index_of(name) else {
                let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                return Err(format!("{part}: no column `{name}`; there are {}", known.join(", ")));
            };
            let of = schema.field(i).data_type();
            if !fits(of) {
                return Err(format!("{part}: the column `{name}` is {of}; expected {expected}"));
            }
            Ok(i)
        };
        let maybe = |part: &str, name: &Option<String>, fits: fn(&DataType) -> bool, expected: &str| {
            name.as_ref().map(|name| find(part, name, fits, expected)).transpose()
        };
        let key = maybe("key", &mapping.key, is_plain, "a string, binary, an integer or a boolean")?;
        let headers = maybe(
            "headers",
            &mapping.headers,
            has_headers,
            "a list of structs of a name (string) and a value (binary or string), as the metadata column `_headers` is",
        )?;
        let timestamp = maybe(
            "timestamp",
            &mapping.timestamp,
            |of| matches!(of, DataType::Timestamp(..)) || of.is_integer(),
            "a timestamp, or an integer in milliseconds",
        )?;
        let partition = maybe("partition", &mapping.partition, DataType::is_integer, "an integer")?;
        let header_columns = mapping
            .header_columns
            .iter()
            .map(|name| {
                let fits = |of: &DataType| is_plain(of) || of.is_floating();
                Ok((name.clone(), find("header_columns", name, fits, "a string, binary, a number or a boolean")?))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let value = match &mapping.value {
            Value::Raw { column } => Source::Column(find("format.column", column, is_text, "a string or binary")?),
            Value::Json => {
                let taken = [key, headers, timestamp, partition];
                let taken = |i: usize| taken.contains(&Some(i)) || header_columns.iter().any(|(_, at)| *at == i);
                let columns: Vec<usize> = (0..schema.fields().len())
                    .filter(|i| !(schema.field(*i).name().starts_with('_') && taken(*i)))
                    .collect();
                if columns.is_empty() {
                    return Err("format: no column is left for the JSON value".into());
                }
                for i in &columns {
                    let field = schema.field(*i);
                    if !arrow_json_writes(field.data_type()) {
                        return Err(format!(
                            "format: the column `{}` is {}, which JSON cannot hold",
                            field.name(),
                            field.data_type()
                        ));
                    }
                }
                Source::Json(columns)
            }
        };
        Ok(Self { value, key, headers, header_columns, timestamp, partition })
    }

    /// Whether a row says which partition it goes to: one that is not there is refused.
    pub(super) fn names_partitions(&self) -> bool {
        self.partition.is_some()
    }

    /// Most rows to encode at once: what is encoded is held until it is sent.
    pub(super) fn rows_at_once(&self) -> usize {
        match self.value {
            Source::Json(_) => 4096,
            Source::Column(_) => 16384,
        }
    }

    /// Makes the messages of some rows.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Messages, SinkError> {
        let refused = |part: &str| {
            let part = part.to_owned();
            move |e: arrow::error::ArrowError| {
                SinkError::new(tidemill_engine::sink::Reaction::BadRow, format!("{part}: {e}"))
            }
        };
        let binary = |i: usize, part: &str| bytes_of(rows.column(i)).map_err(refused(part));
        let (values, newline) = match &self.value {
            Source::Column(i) => (binary(*i, "value")?, false),
            Source::Json(columns) => {
                let rows = rows.project(columns).map_err(|e| SinkError::bug(e.to_string()))?;
                (json_lines(&rows).map_err(refused("value"))?, true)
            }
        };
        let key = self.key.map(|i| binary(i, "key")).transpose()?;
        let as_ms = DataType::Timestamp(TimeUnit::Millisecond, None);
        let timestamp = self
            .timestamp
            .map(|i| {
                let column = rows.column(i);
                let ms = match column.data_type() {
                    DataType::Timestamp(..) => {
                        cast_with_options(column, &as_ms, &STRICT).map_err(refused("timestamp"))?
                    }
                    _ => column.clone(),
                };
                let ms = cast_with_options(&ms, &DataType::Int64, &STRICT).map_err(refused("timestamp"))?;
                Ok::<Int64Array, SinkError>(ms.as_primitive().clone())
            })
            .transpose()?;
        let partition = self
            .partition
            .map(|i| {
                let n = cast_with_options(rows.column(i), &DataType::Int32, &STRICT).map_err(refused("partition"))?;
                Ok::<Int32Array, SinkError>(n.as_primitive().clone())
            })
            .transpose()?;
        let headers =
            self.headers.map(|i| HeaderList::of(rows.column(i).as_list()).map_err(refused("headers"))).transpose()?;
        let header_columns = self
            .header_columns
            .iter()
            .map(|(name, i)| Ok((name.clone(), binary(*i, name)?)))
            .collect::<Result<Vec<_>, SinkError>>()?;
        Ok(Messages { values, newline, key, timestamp, partition, headers, header_columns })
    }
}

/// Types that arrow-json writes.
fn arrow_json_writes(of: &DataType) -> bool {
    use DataType as T;
    match of {
        T::Union(..) | T::Interval(_) => false,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => arrow_json_writes(item.data_type()),
        T::Struct(fields) => fields.iter().all(|f| arrow_json_writes(f.data_type())),
        T::Map(entries, _) => arrow_json_writes(entries.data_type()),
        _ => true,
    }
}

/// A column as bytes: text as it is, numbers and booleans as text.
fn bytes_of(column: &ArrayRef) -> Result<BinaryArray, arrow::error::ArrowError> {
    let text =
        if is_text(column.data_type()) { column.clone() } else { cast_with_options(column, &DataType::Utf8, &STRICT)? };
    Ok(cast_with_options(&text, &DataType::Binary, &STRICT)?.as_binary::<i32>().clone())
}

/// One object a row, each with the newline behind it.
fn json_lines(rows: &RecordBatch) -> Result<BinaryArray, arrow::error::ArrowError> {
    let mut buffer = Vec::with_capacity(rows.num_rows() * 128);
    let mut writer = lines(&mut buffer);
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    // JSON has no newline of its own: inside of strings it is written as \n.
    let mut offsets: Vec<i32> = Vec::with_capacity(rows.num_rows() + 1);
    offsets.push(0);
    for at in memchr::memchr_iter(b'\n', &buffer) {
        let end = i32::try_from(at + 1);
        offsets
            .push(end.map_err(|_| arrow::error::ArrowError::InvalidArgumentError("more than 2 GiB of JSON".into()))?);
    }
    if offsets.len() != rows.num_rows() + 1 {
        let message = format!("{} lines of JSON for {} rows", offsets.len() - 1, rows.num_rows());
        return Err(arrow::error::ArrowError::JsonError(message));
    }
    BinaryArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), buffer.into(), None)
}

/// Headers of many messages.
struct HeaderList {
    list: ListArray,
    names: StringArray,
    values: BinaryArray,
}

impl HeaderList {
    fn of(list: &ListArray) -> Result<Self, arrow::error::ArrowError> {
        let items = list.values().as_struct();
        let names = cast_with_options(items.column(0), &DataType::Utf8, &STRICT)?;
        Ok(Self { list: list.clone(), names: names.as_string().clone(), values: bytes_of(items.column(1))? })
    }
}

/// Encoded messages, by columns.
pub(super) struct Messages {
    values: BinaryArray,
    /// Each value has a newline behind it that is not part of it.
    newline: bool,
    key: Option<BinaryArray>,
    timestamp: Option<Int64Array>,
    partition: Option<Int32Array>,
    headers: Option<HeaderList>,
    header_columns: Vec<(String, BinaryArray)>,
}

/// One message.
pub(super) struct Message<'a> {
    /// The value; `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    /// Ms since the epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
}

fn some(of: &BinaryArray, i: usize) -> Option<&[u8]> {
    of.is_valid(i).then(|| of.value(i))
}

impl Messages {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        let of = |a: &BinaryArray| {
            let offsets = a.value_offsets();
            usize::try_from(offsets[a.len()] - offsets[0]).unwrap_or(0)
        };
        of(&self.values) + self.key.as_ref().map_or(0, of)
    }

    /// Whether messages have headers.
    pub(super) fn has_headers(&self) -> bool {
        self.headers.is_some() || !self.header_columns.is_empty()
    }

    /// Whether messages have timestamps of their own.
    pub(super) fn has_timestamps(&self) -> bool {
        self.timestamp.is_some()
    }

    /// The parts of a message but its headers.
    #[inline]
    pub(super) fn get(&self, i: usize) -> Message<'_> {
        let value = some(&self.values, i).map(|v| if self.newline { &v[..v.len() - 1] } else { v });
        Message {
            value,
            key: self.key.as_ref().and_then(|a| some(a, i)),
            timestamp: self.timestamp.as_ref().and_then(|a| a.is_valid(i).then(|| a.value(i))),
            partition: self.partition.as_ref().and_then(|a| a.is_valid(i).then(|| a.value(i))),
        }
    }

    /// The headers of a message, in order.
    pub(super) fn headers(&self, i: usize) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let listed = self.headers.iter().filter(move |h| h.list.is_valid(i)).flat_map(move |h| {
            let offsets = h.list.value_offsets();
            let of = |at: i32| usize::try_from(at).unwrap_or(0);
            (of(offsets[i])..of(offsets[i + 1])).map(move |j| {
                let name = if h.names.is_valid(j) { h.names.value(j) } else { "" };
                (name, some(&h.values, j))
            })
        });
        let columns = self.header_columns.iter().filter_map(move |(name, a)| Some((name.as_str(), Some(some(a, i)?))));
        listed.chain(columns)
    }
}

/// Checks a mapping against a schema.
pub(super) fn check(mapping: &Mapping, schema: &SchemaRef) -> Result<Arc<Encoder>, String> {
    Encoder::new(mapping, schema).map(Arc::new)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
