//! Rows that say where they come from, and reading that back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMillisecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};

/// Where a row comes from: topic, partition, offset.
pub type Key = (String, i32, i64);

fn key_fields() -> Vec<Field> {
    vec![
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
    ]
}

/// `_topic utf8, _partition int32, _offset int64, payload utf8`.
#[must_use]
pub fn plain_schema() -> SchemaRef {
    let mut fields = key_fields();
    fields.push(Field::new("payload", DataType::Utf8, true));
    Arc::new(Schema::new(fields))
}

/// The key and a hundred columns of seven types.
#[must_use]
pub fn wide_schema() -> SchemaRef {
    let types = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Float64,
        DataType::Boolean,
        DataType::Binary,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Millisecond, None),
    ];
    let mut fields = key_fields();
    fields.extend((0..100).map(|i| Field::new(format!("c{i}"), types[i % types.len()].clone(), true)));
    Arc::new(Schema::new(fields))
}

/// The key, a struct and a list of structs.
#[must_use]
pub fn nested_schema() -> SchemaRef {
    let mut fields = key_fields();
    fields.push(Field::new("address", DataType::Struct(pair()), true));
    fields.push(Field::new(
        "items",
        DataType::List(Arc::new(Field::new("item", DataType::Struct(pair()), true))),
        true,
    ));
    Arc::new(Schema::new(fields))
}

fn pair() -> Fields {
    Fields::from(vec![Field::new("name", DataType::Utf8, true), Field::new("count", DataType::Int32, true)])
}

/// The rows of the records `offsets` of a partition, under any of the schemas of this module. Every third value
/// is null where it may be.
///
/// # Panics
/// For a schema with other types.
#[must_use]
pub fn rows(schema: &SchemaRef, topic: &str, partition: i32, offsets: std::ops::Range<i64>) -> RecordBatch {
    let offsets: Vec<i64> = offsets.collect();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "_topic" => Arc::new(StringArray::from(vec![topic; offsets.len()])) as ArrayRef,
            "_partition" => Arc::new(Int32Array::from(vec![partition; offsets.len()])),
            "_offset" => Arc::new(Int64Array::from(offsets.clone())),
            _ => column(field.data_type(), &offsets),
        })
        .collect();
    RecordBatch::try_new(schema.clone(), columns).expect("columns of the schema")
}

fn column(data_type: &DataType, offsets: &[i64]) -> ArrayRef {
    let some = |o: i64| (o % 3 != 2).then_some(o);
    let small = |o: i64| some(o).map(|o| i32::try_from(o % 1000).unwrap_or(0));
    let text: Vec<Option<String>> = offsets.iter().map(|o| some(*o).map(|o| format!("value \"{o}\" ä\n"))).collect();
    match data_type {
        DataType::Utf8 => Arc::new(StringArray::from(text)),
        DataType::Binary => Arc::new(text.iter().map(|t| t.as_ref().map(|t| t.as_bytes())).collect::<BinaryArray>()),
        DataType::Int64 => Arc::new(offsets.iter().map(|o| some(*o)).collect::<Int64Array>()),
        DataType::Int32 => Arc::new(offsets.iter().map(|o| small(*o)).collect::<Int32Array>()),
        DataType::Float64 => {
            Arc::new(offsets.iter().map(|o| some(*o).map(|o| o as f64 / 8.0)).collect::<Float64Array>())
        }
        DataType::Boolean => Arc::new(offsets.iter().map(|o| some(*o).map(|o| o % 2 == 0)).collect::<BooleanArray>()),
        DataType::Date32 => Arc::new(offsets.iter().map(|o| small(*o)).collect::<Date32Array>()),
        DataType::Timestamp(TimeUnit::Millisecond, None) => {
            Arc::new(offsets.iter().map(|o| some(*o)).collect::<TimestampMillisecondArray>())
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|f| column(f.data_type(), offsets)).collect();
            Arc::new(StructArray::new(fields.clone(), columns, None))
        }
        DataType::List(item) => {
            // One item for each offset, in lists of 0, 1 and 2 items by turns.
            let lengths = (0..offsets.len()).map(|i| [0, 2, 1][i % 3].min(offsets.len() - i.min(offsets.len())));
            let lengths: Vec<usize> = lengths.collect();
            let total: usize = lengths.iter().sum();
            let values = column(item.data_type(), &(0..total as i64).collect::<Vec<_>>());
            Arc::new(ListArray::new(item.clone(), arrow::buffer::OffsetBuffer::from_lengths(lengths), values, None))
        }
        other => new_null_array(other, offsets.len()),
    }
}

/// Where the rows of `batch` come from, in its order. Integer columns of any width and texts of any kind will do.
///
/// # Panics
/// When a key column is missing, null or of another kind.
#[must_use]
pub fn keys(batch: &RecordBatch) -> Vec<Key> {
    let column = |name: &str, to: &DataType| {
        let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
        let column = cast(column, to).unwrap_or_else(|e| panic!("column {name}: {e}"));
        assert_eq!(column.null_count(), 0, "nulls in {name}");
        column
    };
    let topics = column("_topic", &DataType::Utf8);
    let partitions = column("_partition", &DataType::Int32);
    let offsets = column("_offset", &DataType::Int64);
    let (topics, partitions) = (topics.as_string::<i32>(), partitions.as_primitive::<Int32Type>());
    let offsets = offsets.as_primitive::<Int64Type>();
    (0..batch.num_rows()).map(|i| (topics.value(i).to_owned(), partitions.value(i), offsets.value(i))).collect()
}
