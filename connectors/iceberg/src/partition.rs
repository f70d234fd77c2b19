//! Partition values of rows: each distinct source value is transformed once, by Iceberg's own transforms.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Int32Type, Int64Type, Schema as ArrowSchema, Time64MicrosecondType,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use iceberg::spec::{
    Datum, Literal, PartitionSpecRef, PrimitiveLiteral, PrimitiveType, Schema, Struct, Transform, Type,
};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};
use tidemill_engine::sink::{Reaction, SinkError};

/// Distinct source values remembered of a column; forgotten above this many.
const REMEMBERED: usize = 100_000;
/// Partitions above which a new numbering is begun with the next window.
const PARTITIONS: usize = 10_000;
/// Dates beyond this many days from 1970 have no year that the transforms know.
const MOST_DAYS: i128 = 95_000_000;
/// Longest part of a folder's name.
const MAX_COMPONENT: usize = 200;

/// Finds the partition of rows.
#[derive(Debug)]
pub(crate) struct Splitter {
    fields: Vec<SplitField>,
}

#[derive(Debug)]
struct SplitField {
    name: String,
    /// Index of the source column; `None`: the rows do not have it, all values are null.
    column: Option<usize>,
    source: PrimitiveType,
    transform: Transform,
    function: BoxedTransformFunction,
    result: PrimitiveType,
    /// Source values are the same to the transform within this many units.
    unit: i128,
}

/// The partitions that were found, numbered.
#[derive(Debug, Default)]
pub(crate) struct Partitions {
    columns: Vec<Values>,
    numbers: HashMap<Vec<u32>, usize>,
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    values: Struct,
    folder: String,
    label: String,
}

/// The transformed values of one partition field, numbered.
#[derive(Debug, Default)]
struct Values {
    numbers: HashMap<i128, u32>,
    bytes: HashMap<Vec<u8>, u32>,
    null: Option<u32>,
    literals: HashMap<Option<Literal>, u32>,
    list: Vec<Option<Literal>>,
}

/// A source value.
enum Raw<'a> {
    Null,
    Number(i128),
    Bytes(&'a [u8]),
}

impl Splitter {
    /// For rows of `rows` (whose columns have the table's types) under a partition spec. `None`: one partition, the whole
    /// table.
    pub(crate) fn new(spec: &PartitionSpecRef, table: &Schema, rows: &ArrowSchema) -> Result<Option<Self>, SinkError> {
        // A spec of void fields alone still has values: nulls.
        if spec.fields().is_empty() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        for field in spec.fields() {
            let refused = |e: String| SinkError::person(format!("partition field `{}`: {e}", field.name));
            let source = table
                .as_struct()
                .fields()
                .iter()
                .find(|c| c.id == field.source_id)
                .ok_or_else(|| refused("its column lies within a struct, which is not possible here".to_owned()))?;
            let Type::Primitive(primitive) = source.field_type.as_ref() else {
                return Err(refused(format!("column `{}` is nested", source.name)));
            };
            let lossy = matches!(primitive, PrimitiveType::Float | PrimitiveType::Double);
            if lossy && field.transform != Transform::Void {
                return Err(refused(format!(
                    "column `{}` is {primitive}: no two values are surely equal",
                    source.name
                )));
            }
            let result =
                field.transform.result_type(&source.field_type).map_err(|e| refused(e.message().to_owned()))?;
            let Type::Primitive(result) = result else { return Err(refused("it has no primitive values".to_owned())) };
            let function = create_transform_function(&field.transform).map_err(|e| refused(e.message().to_owned()))?;
            fields.push(SplitField {
                name: field.name.clone(),
                column: rows.index_of(&source.name).ok(),
                source: primitive.clone(),
                transform: field.transform,
                function,
                result,
                unit: unit(primitive, field.transform),
            });
        }
        Ok(Some(Self { fields }))
    }

    /// The partition of each row, by its number as text.
    pub(crate) fn assign(&self, partitions: &mut Partitions, rows: &RecordBatch) -> Result<ArrayRef, SinkError> {
        partitions.columns.resize_with(self.fields.len(), Values::default);
        let mut columns = Vec::with_capacity(self.fields.len());
        for (field, values) in self.fields.iter().zip(&mut partitions.columns) {
            columns.push(field.assign(values, rows)?);
        }
        let mut key = vec![0; columns.len()];
        let mut numbers = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            for (part, column) in key.iter_mut().zip(&columns) {
                *part = column[row];
            }
            let number = match partitions.numbers.get(key.as_slice()) {
                Some(number) => *number,
                None => self.found(partitions, &key),
            };
            numbers.push(number);
        }
        Ok(Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| partitions.found[*n].label.as_str()))))
    }

    fn found(&self, partitions: &mut Partitions, key: &[u32]) -> usize {
        let literal = |(values, number): (&Values, &u32)| values.list[*number as usize].clone();
        let values: Vec<Option<Literal>> = partitions.columns.iter().zip(key).map(literal).collect();
        let folder = self.fields.iter().zip(&values).map(|(f, v)| f.folder(v.as_ref())).collect::<Vec<_>>().join("/");
        let number = partitions.found.len();
        partitions.found.push(Found { values: Struct::from_iter(values), folder, label: number.to_string() });
        partitions.numbers.insert(key.to_vec(), number);
        number
    }
}

impl Partitions {
    /// Values and folder of the partition with this number as text.
    pub(crate) fn get(&self, label: &str) -> Option<(&Struct, &str)> {
        let found = self.found.get(label.parse::<usize>().ok()?)?;
        Some((&found.values, &found.folder))
    }

    /// Whether so many were found that a new numbering is due.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= PARTITIONS
    }
}

impl SplitField {
    /// The number of each row's value.
    fn assign(&self, values: &mut Values, rows: &RecordBatch) -> Result<Vec<u32>, SinkError> {
        if values.numbers.len() + values.bytes.len() > REMEMBERED {
            values.numbers.clear();
            values.bytes.clear();
        }
        let Some(column) = self.column.filter(|_| self.transform != Transform::Void) else {
            let null = values.null(self)?;
            return Ok(vec![null; rows.num_rows()]);
        };
        let raw = raw(rows.column(column), &self.source)?;
        let mut numbers = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let number = match raw(row) {
                Raw::Null => values.null(self)?,
                Raw::Number(n) => {
                    let n = n.div_euclid(self.unit) * self.unit;
                    match values.numbers.get(&n) {
                        Some(number) => *number,
                        None => {
                            let number = values.literal(self.transformed(&Raw::Number(n))?);
                            values.numbers.insert(n, number);
                            number
                        }
                    }
                }
                Raw::Bytes(bytes) => match values.bytes.get(bytes) {
                    Some(number) => *number,
                    None => {
                        let number = values.literal(self.transformed(&Raw::Bytes(bytes))?);
                        values.bytes.insert(bytes.to_vec(), number);
                        number
                    }
                },
            };
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn transformed(&self, raw: &Raw<'_>) -> Result<Option<Literal>, SinkError> {
        let refused = |e: String| {
            SinkError::new(
                Reaction::BadRow,
                format!("partition field `{}`: a value cannot be transformed: {e}", self.name),
            )
        };
        let by_date =
            self.source == PrimitiveType::Date && matches!(self.transform, Transform::Year | Transform::Month);
        if let Raw::Number(days) = raw
            && by_date
            && !(-MOST_DAYS..=MOST_DAYS).contains(days)
        {
            return Err(refused(format!("{days} days from 1970 are no date")));
        }
        let Some(datum) = datum(raw, &self.source).map_err(refused)? else { return Ok(None) };
        let transformed = self.function.transform_literal(&datum).map_err(|e| refused(e.to_string()))?;
        Ok(transformed.map(Literal::from))
    }

    /// `name=value`, as one harmless part of a path.
    fn folder(&self, value: Option<&Literal>) -> String {
        let text = match value.and_then(Literal::as_primitive_literal) {
            None => "null".to_owned(),
            Some(PrimitiveLiteral::Boolean(v)) => v.to_string(),
            Some(PrimitiveLiteral::Int(days))
                if self.result == PrimitiveType::Date && (-MOST_DAYS..=MOST_DAYS).contains(&days.into()) =>
            {
                Datum::date(days).to_human_string()
            }
            Some(PrimitiveLiteral::Int(v)) => v.to_string(),
            Some(PrimitiveLiteral::Long(v)) => v.to_string(),
            Some(PrimitiveLiteral::Int128(v)) => v.to_string(),
            Some(PrimitiveLiteral::String(v)) => v,
            Some(PrimitiveLiteral::Binary(v)) => v.iter().map(|b| format!("{b:02x}")).collect(),
            Some(_) => "other".to_owned(),
        };
        harmless(&format!("{}={text}", self.name))
    }
}

impl Values {
    fn literal(&mut self, literal: Option<Literal>) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        *self.literals.entry(literal).or_insert_with_key(|literal| {
            self.list.push(literal.clone());
            next
        })
    }

    fn null(&mut self, field: &SplitField) -> Result<u32, SinkError> {
        if let Some(null) = self.null {
            return Ok(null);
        }
        let number = self.literal(field.transformed(&Raw::Null)?);
        self.null = Some(number);
        Ok(number)
    }
}

/// How many source units a transform surely takes as one. (A month begins with a day, a day with an hour.)
fn unit(source: &PrimitiveType, transform: Transform) -> i128 {
    let hour: i128 = match source {
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => 3_600_000_000,
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => 3_600_000_000_000,
        _ => return 1,
    };
    match transform {
        Transform::Hour => hour,
        Transform::Year | Transform::Month | Transform::Day => 24 * hour,
        _ => 1,
    }
}

/// Reads source values of a column.
fn raw<'a>(column: &'a ArrayRef, source: &PrimitiveType) -> Result<Box<dyn Fn(usize) -> Raw<'a> + 'a>, SinkError> {
    let other = || SinkError::bug(format!("a partition column of type {source} came as {}", column.data_type()));
    macro_rules! numbers {
        ($of:ty) => {{
            let column = column.as_primitive_opt::<$of>().ok_or_else(other)?;
            Box::new(move |i| if column.is_null(i) { Raw::Null } else { Raw::Number(i128::from(column.value(i))) })
        }};
    }
    macro_rules! bytes {
        ($column:expr) => {{
            let column = $column.ok_or_else(other)?;
            Box::new(move |i| if column.is_null(i) { Raw::Null } else { Raw::Bytes(column.value(i).as_ref()) })
        }};
    }
    Ok(match source {
        PrimitiveType::Boolean => {
            let column = column.as_boolean_opt().ok_or_else(other)?;
            Box::new(move |i| if column.is_null(i) { Raw::Null } else { Raw::Number(i128::from(column.value(i))) })
        }
        PrimitiveType::Int => numbers!(Int32Type),
        PrimitiveType::Long => numbers!(Int64Type),
        PrimitiveType::Date => numbers!(Date32Type),
        PrimitiveType::Time => numbers!(Time64MicrosecondType),
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => numbers!(TimestampMicrosecondType),
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => numbers!(TimestampNanosecondType),
        PrimitiveType::Decimal { .. } => numbers!(Decimal128Type),
        PrimitiveType::String => bytes!(column.as_string_opt::<i32>()),
        PrimitiveType::Binary => bytes!(column.as_binary_opt::<i32>()),
        PrimitiveType::Fixed(_) => bytes!(column.as_fixed_size_binary_opt()),
        PrimitiveType::Float | PrimitiveType::Double | PrimitiveType::Uuid => return Err(other()),
    })
}

/// Iceberg's value of a source value; `None`: null.
fn datum(raw: &Raw<'_>, of: &PrimitiveType) -> Result<Option<Datum>, String> {
    let number = match raw {
        Raw::Null => return Ok(None),
        Raw::Bytes(bytes) => return Datum::try_from_bytes(bytes, of.clone()).map(Some).map_err(|e| e.to_string()),
        Raw::Number(n) => *n,
    };
    let too_large = |_| format!("{number} is too large");
    let bytes: Vec<u8> = match of {
        PrimitiveType::Boolean => vec![u8::from(number != 0)],
        PrimitiveType::Int | PrimitiveType::Date => i32::try_from(number).map_err(too_large)?.to_le_bytes().into(),
        PrimitiveType::Decimal { .. } => number.to_be_bytes().into(),
        _ => i64::try_from(number).map_err(too_large)?.to_le_bytes().into(),
    };
    Datum::try_from_bytes(&bytes, of.clone()).map(Some).map_err(|e| e.to_string())
}

/// Letters, digits and a few signs stay, everything else becomes `_`: a folder's name is for people, and each program
/// has its own opinion about escaped ones. What is too long is cut.
fn harmless(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.=".contains(c) { c } else { '_' };
    text.chars().map(kept).take(MAX_COMPONENT).collect()
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
