//! Makes what DataFusion gives fit for sinks: plain types, unique names, one schema for all batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::error::{SqlError, duplicate};

/// A conversion of columns to their plain types, fixed at plan time.
#[derive(Clone, Debug)]
pub struct Conform {
    schema: SchemaRef,
    /// For each column whether its type changes.
    casts: Arc<[bool]>,
}

impl Conform {
    /// The conversion for what a plan gives.
    ///
    /// # Errors
    /// Two columns of one name; a column without a type (`NULL`); no column at all.
    pub fn new(planned: &Schema) -> Result<Self, SqlError> {
        if planned.fields().is_empty() {
            return Err(SqlError::new("the query has no output column"));
        }
        let mut names = std::collections::BTreeSet::new();
        let mut fields = Vec::with_capacity(planned.fields().len());
        let mut casts = Vec::with_capacity(planned.fields().len());
        for field in planned.fields() {
            if !names.insert(field.name()) {
                return Err(SqlError::new(duplicate(field.name())));
            }
            if field.data_type().is_null() {
                return Err(SqlError::new(format!(
                    "output column {:?} has no type: write CAST(NULL AS …) AS {}",
                    field.name(),
                    field.name()
                )));
            }
            let plain = plain_field(field);
            casts.push(plain.data_type() != field.data_type());
            fields.push(plain);
        }
        Ok(Self { schema: Arc::new(Schema::new(fields)), casts: casts.into() })
    }

    /// Schema of the converted batches.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// A batch under [`schema`](Self::schema). Columns whose type is plain already are not copied.
    ///
    /// # Errors
    /// A null in a column that cannot be null; a type other than the planned one.
    pub fn batch(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        for ((column, field), cast) in columns.iter_mut().zip(self.schema.fields()).zip(self.casts.iter()) {
            if *cast || column.data_type() != field.data_type() {
                *column = cast_with_options(column, field.data_type(), &options)?;
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    if plain == *field.data_type() {
        return Arc::clone(field);
    }
    let renewed = Field::new(field.name(), plain, field.is_nullable());
    Arc::new(renewed.with_metadata(field.metadata().clone()))
}

/// What a type holds, without the ways of holding it: views, dictionaries, run-length encodings, fixed lists' views.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(item) | DataType::ListView(item) => DataType::List(plain_field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(plain_field(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(plain_field(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(plain_field(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int32Array, StringArray, StringViewArray};
    use arrow::datatypes::Int8Type;

    #[test]
    fn views_and_dictionaries_come_out_plain() {
        let dictionary: DictionaryArray<Int8Type> = ["x", "y", "x"].into_iter().collect();
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let planned = Schema::new(vec![
            Field::new("v", DataType::Utf8View, false),
            Field::new("d", dictionary.data_type_ref().clone(), true),
            Field::new("l", DataType::List(item), true),
        ]);
        let conform = Conform::new(&planned).expect("fits");
        let types: Vec<_> = conform.schema().fields().iter().map(|f| f.data_type().clone()).collect();
        assert_eq!(types[..2], [DataType::Utf8, DataType::Utf8]);
        assert_eq!(types[2], DataType::new_list(DataType::Utf8, true));
        let lists = arrow::array::ListArray::new_null(Arc::new(Field::new("item", DataType::Utf8View, true)), 3);
        let views = StringViewArray::from(vec!["a", "b", "c"]);
        let batch =
            conform.batch(vec![Arc::new(views), Arc::new(dictionary), Arc::new(lists)], 3).expect("is converted");
        assert_eq!(batch.column(1).as_ref(), &StringArray::from(vec!["x", "y", "x"]) as &dyn arrow::array::Array);
    }

    #[test]
    fn a_plain_column_is_not_copied() {
        let planned = Schema::new(vec![Field::new("n", DataType::Int32, false)]);
        let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let batch = Conform::new(&planned).expect("fits").batch(vec![Arc::clone(&column)], 2).expect("is made");
        assert!(Arc::ptr_eq(batch.column(0), &column));
    }

    trait DataTypeRef {
        fn data_type_ref(&self) -> &DataType;
    }
    impl DataTypeRef for DictionaryArray<Int8Type> {
        fn data_type_ref(&self) -> &DataType {
            arrow::array::Array::data_type(self)
        }
    }
}
