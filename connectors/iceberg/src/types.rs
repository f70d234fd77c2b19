//! Arrow's types and Iceberg's, and how rows fit a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef, TimeUnit};
use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use tidemill_engine::sink::SinkError;

/// Iceberg's primitive type that holds every value of an Arrow type.
fn primitive(data_type: &DataType, nanoseconds: bool) -> Result<PrimitiveType, String> {
    use DataType as A;
    Ok(match data_type {
        A::Boolean => PrimitiveType::Boolean,
        A::Int8 | A::Int16 | A::Int32 | A::UInt8 | A::UInt16 => PrimitiveType::Int,
        A::Int64 | A::UInt32 => PrimitiveType::Long,
        A::UInt64 => PrimitiveType::Decimal { precision: 20, scale: 0 },
        A::Float16 | A::Float32 => PrimitiveType::Float,
        A::Float64 => PrimitiveType::Double,
        A::Decimal32(precision, scale) | A::Decimal64(precision, scale) | A::Decimal128(precision, scale) => {
            let scale = u32::try_from(*scale).map_err(|_| "a negative scale is not possible".to_owned())?;
            PrimitiveType::Decimal { precision: u32::from(*precision), scale }
        }
        A::Date32 | A::Date64 => PrimitiveType::Date,
        A::Time32(_) | A::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        A::Timestamp(TimeUnit::Nanosecond, zone) if nanoseconds => match zone {
            Some(_) => PrimitiveType::TimestamptzNs,
            None => PrimitiveType::TimestampNs,
        },
        A::Timestamp(TimeUnit::Nanosecond, _) | A::Time64(_) => {
            return Err("the table holds microseconds: cast it in a query, or declare it so in the format".to_owned());
        }
        A::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        A::Timestamp(_, None) => PrimitiveType::Timestamp,
        A::Utf8 | A::LargeUtf8 | A::Utf8View => PrimitiveType::String,
        A::Binary | A::LargeBinary | A::BinaryView => PrimitiveType::Binary,
        A::FixedSizeBinary(width) => {
            PrimitiveType::Fixed(u64::try_from(*width).map_err(|_| "a negative width".to_owned())?)
        }
        other => return Err(format!("Iceberg has no type for {other}")),
    })
}

/// Arrow's type for values of an Iceberg type, as data files hold them.
fn arrow_primitive(of: &PrimitiveType) -> Result<DataType, String> {
    let utc = || Some("+00:00".into());
    Ok(match of {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            let narrow = |n: &u32| u8::try_from(*n).ok().and_then(|n| i8::try_from(n).ok());
            match (narrow(precision), narrow(scale)) {
                (Some(precision), Some(scale)) => DataType::Decimal128(precision.unsigned_abs(), scale),
                _ => return Err(format!("{of} is too wide")),
            }
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Binary => DataType::Binary,
        PrimitiveType::Fixed(width) => match i32::try_from(*width) {
            Ok(width) => DataType::FixedSizeBinary(width),
            Err(_) => return Err(format!("{of} is too wide")),
        },
        PrimitiveType::Uuid => return Err("values of type uuid cannot be written".to_owned()),
    })
}

/// Whether a table column of type `to` holds every value of type `from`.
fn holds(to: &PrimitiveType, from: &PrimitiveType) -> bool {
    use PrimitiveType as P;
    match (from, to) {
        (P::Int, P::Long) | (P::Float, P::Double) => true,
        (P::Decimal { precision: p, scale: s }, P::Decimal { precision, scale }) => scale == s && precision >= p,
        _ => from == to,
    }
}

/// A type of a new column. `next` gives field ids.
fn iceberg_type(data_type: &DataType, nanoseconds: bool, next: &mut dyn FnMut() -> i32) -> Result<Type, String> {
    Ok(match data_type {
        DataType::Struct(fields) => Type::Struct(StructType::new(iceberg_fields(fields, nanoseconds, next)?)),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let id = next();
            let item_type = iceberg_type(item.data_type(), nanoseconds, next)?;
            Type::List(ListType::new(NestedField::list_element(id, item_type, !item.is_nullable()).into()))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(pair) = entries.data_type() else { return Err("a map without entries".to_owned()) };
            let [key, value] = pair.as_ref() else { return Err("a map without keys and values".to_owned()) };
            let (key_id, value_id) = (next(), next());
            let key_type = iceberg_type(key.data_type(), nanoseconds, next)?;
            let value_type = iceberg_type(value.data_type(), nanoseconds, next)?;
            Type::Map(MapType::new(
                NestedField::map_key_element(key_id, key_type).into(),
                NestedField::map_value_element(value_id, value_type, !value.is_nullable()).into(),
            ))
        }
        DataType::Dictionary(_, values) => iceberg_type(values, nanoseconds, next)?,
        other => Type::Primitive(primitive(other, nanoseconds)?),
    })
}

fn iceberg_fields(
    fields: &Fields,
    nanoseconds: bool,
    next: &mut dyn FnMut() -> i32,
) -> Result<Vec<NestedFieldRef>, String> {
    // The columns of one level first, as Iceberg numbers them.
    let ids: Vec<i32> = fields.iter().map(|_| next()).collect();
    let one = |(field, id): (&FieldRef, i32)| {
        let of = iceberg_type(field.data_type(), nanoseconds, next)
            .map_err(|e| format!("column `{}`: {e}", field.name()))?;
        Ok(NestedField::new(id, field.name(), of, !field.is_nullable()).into())
    };
    fields.iter().zip(ids).map(one).collect()
}

/// The schema of a new table for rows of `rows`. The catalog may give other field ids. `nanoseconds`: whether the table
/// can hold them.
pub(crate) fn new_schema(rows: &ArrowSchema, nanoseconds: bool) -> Result<Schema, SinkError> {
    let mut last = 0;
    let mut next = || {
        last += 1;
        last
    };
    let fields = iceberg_fields(rows.fields(), nanoseconds, &mut next).map_err(SinkError::person)?;
    let schema = Schema::builder().with_fields(fields).build();
    schema.map_err(|e| SinkError::person(format!("the rows make no Iceberg schema: {e}")))
}

/// `table` with `columns` of the rows as further, optional columns; their field ids begin after `last`.
pub(crate) fn with_columns(
    table: &Schema,
    columns: &[FieldRef],
    last: i32,
    nanoseconds: bool,
) -> Result<Schema, SinkError> {
    let mut last = last;
    let mut next = || {
        last += 1;
        last
    };
    // Rows that are in the table already have no value there.
    let optional: Fields = columns.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let new = iceberg_fields(&optional, nanoseconds, &mut next).map_err(SinkError::person)?;
    let fields = table.as_struct().fields().iter().cloned().chain(new);
    let schema = Schema::builder().with_fields(fields).with_identifier_field_ids(table.identifier_field_ids()).build();
    schema.map_err(|e| SinkError::person(format!("the columns cannot be added to the table: {e}")))
}

/// How rows fit a table.
#[derive(Debug)]
pub(crate) enum Fit {
    /// Cast to this schema they do: each column has the table's type and, as metadata, its field id.
    Fits(SchemaRef),
    /// These columns are not in the table.
    Lacks(Vec<FieldRef>),
}

/// Matches rows with a table's columns, by name.
pub(crate) fn fit(table: &Schema, rows: &ArrowSchema, nanoseconds: bool) -> Result<Fit, SinkError> {
    let mut fields = Vec::with_capacity(rows.fields().len());
    let mut lacks = Vec::new();
    for field in rows.fields() {
        match table.as_struct().fields().iter().find(|c| c.name == *field.name()) {
            None => lacks.push(field.clone()),
            Some(column) => fields.push(target(field, column, nanoseconds).map_err(SinkError::person)?),
        }
    }
    for column in table.as_struct().fields() {
        if column.required && rows.field_with_name(&column.name).is_err() {
            return Err(SinkError::person(format!(
                "the table's column `{}` is required, and the rows have no such column",
                column.name
            )));
        }
    }
    match lacks.is_empty() {
        true => Ok(Fit::Fits(Arc::new(ArrowSchema::new(fields)))),
        false => Ok(Fit::Lacks(lacks)),
    }
}

/// The column of a data file for rows' `field` in the table's `column`.
fn target(field: &Field, column: &NestedField, nanoseconds: bool) -> Result<Field, String> {
    let data_type = target_type(field.data_type(), &column.field_type, nanoseconds)
        .map_err(|e| format!("column `{}`: {e}", column.name))?;
    Ok(with_id(&column.name, data_type, !column.required, column.id))
}

fn with_id(name: &str, data_type: DataType, nullable: bool, id: i32) -> Field {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Field::new(name, data_type, nullable).with_metadata(id)
}

fn target_type(rows: &DataType, table: &Type, nanoseconds: bool) -> Result<DataType, String> {
    let other = || Err(format!("the rows hold {rows}, which the table's type {table} does not take"));
    match (rows, table) {
        (DataType::Dictionary(_, values), _) => target_type(values, table, nanoseconds),
        (DataType::Struct(fields), Type::Struct(columns)) => {
            let mut inner = Vec::with_capacity(fields.len());
            for field in fields {
                let Some(column) = columns.fields().iter().find(|c| c.name == *field.name()) else {
                    return Err(format!("the table's struct has no field `{}`; add it to the table", field.name()));
                };
                inner.push(target(field, column, nanoseconds)?);
            }
            let missing = columns.fields().iter().find(|c| c.required && fields.find(&c.name).is_none());
            match missing {
                Some(c) => Err(format!("the table's field `{}` is required, and the rows have no such field", c.name)),
                None => Ok(DataType::Struct(inner.into())),
            }
        }
        (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _), Type::List(list)) => {
            let element = &list.element_field;
            let item = target_type(item.data_type(), &element.field_type, nanoseconds)?;
            Ok(DataType::List(Arc::new(with_id("element", item, !element.required, element.id))))
        }
        (DataType::Map(entries, sorted), Type::Map(map)) => {
            let DataType::Struct(pair) = entries.data_type() else { return other() };
            let [key, value] = pair.as_ref() else { return other() };
            let key_type = target_type(key.data_type(), &map.key_field.field_type, nanoseconds)?;
            let value_type = target_type(value.data_type(), &map.value_field.field_type, nanoseconds)?;
            let pair = vec![
                with_id("key", key_type, false, map.key_field.id),
                with_id("value", value_type, !map.value_field.required, map.value_field.id),
            ];
            Ok(DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(pair.into()), false)), *sorted))
        }
        (_, Type::Primitive(column)) if !rows.is_nested() => {
            let nanoseconds =
                nanoseconds || matches!(column, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs);
            match primitive(rows, nanoseconds) {
                Ok(of) if holds(column, &of) => arrow_primitive(column),
                Err(e) => Err(e),
                Ok(_) => other(),
            }
        }
        _ => other(),
    }
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
