//! Columns of the job against columns of the table: which types the files get, which columns are added.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::engine::arrow_conversion::{TryFromArrow, TryIntoArrow};
use deltalake::kernel::{StructField, StructType};
use serde_json::{Value, json};
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use super::actions::{Metadata, Protocol};

/// What happens when the job has columns that the table has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// The job stops.
    Strict,
    /// They are added to the table, nullable.
    Add,
}

/// How rows of the job become rows of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The job's columns, in its order, with the table's types.
    pub target: SchemaRef,
    /// The table's partition columns.
    pub partition_by: Vec<String>,
    /// The metadata with columns added, where some are.
    pub evolved: Option<Metadata>,
}

/// Plans how rows of `schema` are written to a table.
pub(crate) fn plan(
    place: &str,
    schema: &Schema,
    partition_by: &[String],
    evolution: SchemaEvolution,
    metadata: &Metadata,
) -> Result<Plan, SinkError> {
    let refused = |what: String| SinkError::person(format!("the Delta table {place}: {what}"));
    if !partition_by.is_empty() && partition_by != metadata.partition_columns {
        return Err(refused(format!(
            "is partitioned by [{}] and partition_by says [{}]: the table's cannot be changed, so change partition_by",
            metadata.partition_columns.join(", "),
            partition_by.join(", ")
        )));
    }
    let table: StructType = serde_json::from_str(&metadata.schema_string)
        .map_err(|e| refused(format!("has a schema that this sink cannot read: {e}")))?;
    let (mut target, mut added) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        let shaped = shape(field)?;
        let Some(column) = table.fields().find(|column| column.name() == field.name()) else {
            if let Some(other) = table.fields().find(|column| column.name().eq_ignore_ascii_case(field.name())) {
                let (name, other) = (field.name(), other.name());
                return Err(refused(format!(
                    "has a column `{other}`, the job `{name}`: give it that name in the query"
                )));
            }
            if evolution == SchemaEvolution::Strict {
                return Err(refused(format!(
                    "has no column `{}`: add it, leave it out in the query, or set schema_evolution = \"add\"",
                    field.name()
                )));
            }
            added.push(column_json(&shaped)?);
            target.push(shaped);
            continue;
        };
        let to: Field = column
            .try_into_arrow()
            .map_err(|e| refused(format!("has a column `{}` of a type this sink does not know: {e}", column.name())))?;
        if !fits(shaped.data_type(), to.data_type()) {
            return Err(refused(format!(
                "has a column `{}` of {}, the job has {}: cast it in the query",
                field.name(),
                shown(to.data_type()),
                shown(shaped.data_type())
            )));
        }
        if field.is_nullable() && !to.is_nullable() {
            return Err(refused(format!(
                "takes no nulls in column `{}`, and the job's may be null: declare it so, or coalesce it in the query",
                field.name()
            )));
        }
        target.push(to);
    }
    let of_job = |name: &str| schema.fields().iter().any(|field| field.name() == name);
    for column in table.fields().filter(|column| !of_job(column.name())) {
        if metadata.partition_columns.contains(column.name()) {
            return Err(refused(format!("is partitioned by `{}`, and the job has no such column", column.name())));
        }
        if !column.is_nullable() {
            return Err(refused(format!("takes no nulls in column `{}`, which the job does not have", column.name())));
        }
    }
    let partition_by = metadata.partition_columns.clone();
    let evolved = if added.is_empty() { None } else { Some(with_columns(place, metadata, added)?) };
    Ok(Plan { target: Arc::new(Schema::new(target)), partition_by, evolved })
}

/// Protocol and metadata of a new table for rows of `schema`.
pub(crate) fn create(schema: &Schema, partition_by: &[String], now_ms: i64) -> Result<(Protocol, Metadata), SinkError> {
    let mut names = HashSet::new();
    let mut columns = Vec::new();
    for field in schema.fields() {
        if !names.insert(field.name().to_lowercase()) {
            return Err(SinkError::person(format!(
                "two columns are named `{}` but for their case: rename one",
                field.name()
            )));
        }
        columns.push(shape(field)?);
    }
    if let Some(unknown) = partition_by.iter().find(|name| schema.field_with_name(name).is_err()) {
        return Err(SinkError::person(format!("partition_by: there is no column `{unknown}`")));
    }
    let without_zone = columns.iter().any(|column| holds_ntz(column.data_type()));
    let table = StructType::try_from_arrow(&Schema::new(columns));
    let table = table.map_err(|e| SinkError::person(format!("no Delta table can have these columns: {e}")))?;
    let schema_string =
        serde_json::to_string(&table).map_err(|e| SinkError::bug(format!("a schema is no JSON: {e}")))?;
    let protocol = match without_zone {
        false => {
            Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None }
        }
        true => Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(vec!["timestampNtz".into()]),
            writer_features: Some(vec!["timestampNtz".into()]),
        },
    };
    let rest = [
        ("format".to_owned(), json!({"provider": "parquet", "options": {}})),
        ("createdTime".to_owned(), json!(now_ms)),
    ];
    let metadata = Metadata {
        id: Uuid::new_v4().to_string(),
        schema_string,
        partition_columns: partition_by.to_vec(),
        configuration: Default::default(),
        rest: rest.into_iter().collect(),
    };
    Ok((protocol, metadata))
}

fn column_json(field: &Field) -> Result<Value, SinkError> {
    let no = |e: &dyn std::fmt::Display| SinkError::person(format!("column `{}` cannot be added: {e}", field.name()));
    if holds_ntz(field.data_type()) {
        return Err(no(&"a timestamp without a time zone needs the table feature timestampNtz"));
    }
    let column = StructField::try_from_arrow(field).map_err(|e| no(&e))?;
    serde_json::to_value(column).map_err(|e| no(&e))
}

/// The metadata with columns at the end of its schema; the others stay as they are, to the letter.
fn with_columns(place: &str, metadata: &Metadata, added: Vec<Value>) -> Result<Metadata, SinkError> {
    let broken = || SinkError::person(format!("the Delta table {place} has a schema that this sink cannot read"));
    let mut schema: Value = serde_json::from_str(&metadata.schema_string).map_err(|_| broken())?;
    schema.get_mut("fields").and_then(Value::as_array_mut).ok_or_else(broken)?.extend(added);
    Ok(Metadata { schema_string: schema.to_string(), ..metadata.clone() })
}

/// The column as a Delta table has it: nullable, with the nearest type that holds every value.
fn shape(field: &Field) -> Result<Field, SinkError> {
    if field.name().contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) || field.name().is_empty() {
        return Err(SinkError::person(format!(
            "column `{}`: no Delta table takes this name; give it one without spaces and , ; {{ }} ( ) = in the query",
            field.name()
        )));
    }
    let data_type = delta_type(field.data_type()).map_err(|why| {
        SinkError::person(format!("column `{}` is {}: {why}", field.name(), shown(field.data_type())))
    })?;
    Ok(Field::new(field.name(), data_type, true))
}

fn delta_type(of: &DataType) -> Result<DataType, &'static str> {
    use DataType as T;
    let inner = |field: &Field, name: &str| -> Result<Arc<Field>, &'static str> {
        Ok(Arc::new(Field::new(name, delta_type(field.data_type())?, field.is_nullable())))
    };
    Ok(match of {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => of.clone(),
        T::Utf8 | T::Binary | T::Date32 => of.clone(),
        T::Decimal128(_, scale) if *scale >= 0 => of.clone(),
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) if *scale >= 0 => {
            T::Decimal128(*precision, *scale)
        }
        // Delta has no unsigned integers: the next wider type holds them.
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 => T::Date32,
        T::Timestamp(TimeUnit::Nanosecond, _) => {
            return Err("Delta keeps microseconds; cast it to a timestamp in microseconds in the query");
        }
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Dictionary(_, values) => delta_type(values)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            T::List(inner(item, "element")?)
        }
        T::Struct(fields) => {
            let fields: Result<Vec<_>, _> = fields.iter().map(|field| inner(field, field.name())).collect();
            T::Struct(Fields::from(fields?))
        }
        T::Map(entries, sorted) => {
            let T::Struct(pair) = entries.data_type() else { return Err("a map without keys and values") };
            let [key, value] = pair.as_ref() else { return Err("a map without keys and values") };
            let pair = vec![inner(key, "key")?, inner(value, "value")?];
            T::Map(Arc::new(Field::new("key_value", T::Struct(pair.into()), false)), *sorted)
        }
        T::Null => return Err("every value is null; cast it to a type in the query"),
        T::Time32(_) | T::Time64(_) => {
            return Err("Delta has no times of day; cast it to text or a number in the query");
        }
        _ => return Err("Delta has no such type; cast it in the query"),
    })
}

/// Whether every value of `from` is one of `to`.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Int8, T::Int16 | T::Int32 | T::Int64) | (T::Int16, T::Int32 | T::Int64) | (T::Int32, T::Int64) => true,
        (T::Float32, T::Float64) => true,
        (T::Decimal128(p, s), T::Decimal128(to_p, to_s)) => {
            to_s >= s && i16::from(*to_p) - i16::from(*to_s) >= i16::from(*p) - i16::from(*s)
        }
        (T::List(from), T::List(to)) => fits(from.data_type(), to.data_type()),
        (T::Map(from, _), T::Map(to, _)) => fits(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            let pairs = || from.iter().zip(to);
            from.len() == to.len() && pairs().all(|(f, t)| f.name() == t.name() && fits(f.data_type(), t.data_type()))
        }
        _ => from == to,
    }
}

fn holds_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(field) | DataType::Map(field, _) => holds_ntz(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_ntz(field.data_type())),
        _ => false,
    }
}

fn shown(data_type: &DataType) -> String {
    data_type.to_string()
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
