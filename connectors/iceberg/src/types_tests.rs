use super::*;

fn rows() -> ArrowSchema {
    let pair: Fields = vec![Field::new("a", DataType::Utf8, true), Field::new("b", DataType::Int16, false)].into();
    let entries = DataType::Struct(
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Float32, true)].into(),
    );
    ArrowSchema::new(vec![
        Field::new("id", DataType::UInt32, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("big", DataType::UInt64, true),
        Field::new("pair", DataType::Struct(pair.clone()), true),
        Field::new("pairs", DataType::List(Arc::new(Field::new("item", DataType::Struct(pair), true))), true),
        Field::new("map", DataType::Map(Arc::new(Field::new("entries", entries, false)), false), true),
    ])
}

#[test]
fn a_table_made_for_rows_takes_them() {
    let table = new_schema(&rows(), false).unwrap();
    let Fit::Fits(target) = fit(&table, &rows(), false).unwrap() else { panic!("fits") };
    assert_eq!(target.field(0).data_type(), &DataType::Int64);
    assert_eq!(target.field(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
    assert_eq!(target.field(3).data_type(), &DataType::Decimal128(20, 0));
    assert!(!target.field(0).is_nullable() && target.field(1).is_nullable());
    let mut ids = Vec::new();
    fn collect(field: &Field, ids: &mut Vec<i32>) {
        ids.extend(field.metadata().get(PARQUET_FIELD_ID_META_KEY).map(|id| id.parse::<i32>().unwrap()));
        match field.data_type() {
            DataType::Struct(fields) => fields.iter().for_each(|f| collect(f, ids)),
            DataType::List(item) | DataType::Map(item, _) => collect(item, ids),
            _ => {}
        }
    }
    target.fields().iter().for_each(|f| collect(f, &mut ids));
    ids.sort_unstable();
    assert_eq!(ids, (1..=14).collect::<Vec<_>>(), "each field has an id, and its own");
}

#[test]
fn types_may_grow_and_not_shrink() {
    let table = |of: PrimitiveType| {
        Schema::builder().with_fields([NestedField::optional(5, "c", Type::Primitive(of)).into()]).build().unwrap()
    };
    let row = |of: DataType| ArrowSchema::new(vec![Field::new("c", of, true)]);
    for (of, column) in [
        (DataType::Int32, PrimitiveType::Long),
        (DataType::Float32, PrimitiveType::Double),
        (DataType::Decimal128(5, 2), PrimitiveType::Decimal { precision: 9, scale: 2 }),
        (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), PrimitiveType::String),
        (DataType::Timestamp(TimeUnit::Nanosecond, None), PrimitiveType::TimestampNs),
    ] {
        assert!(matches!(fit(&table(column), &row(of), false), Ok(Fit::Fits(_))));
    }
    for (of, column) in [
        (DataType::Int64, PrimitiveType::Int),
        (DataType::Float64, PrimitiveType::Float),
        (DataType::Utf8, PrimitiveType::Long),
        (DataType::Decimal128(5, 2), PrimitiveType::Decimal { precision: 9, scale: 3 }),
        (DataType::Timestamp(TimeUnit::Microsecond, None), PrimitiveType::Timestamptz),
        (DataType::Timestamp(TimeUnit::Nanosecond, None), PrimitiveType::Timestamp),
        (DataType::Struct(Fields::empty()), PrimitiveType::String),
    ] {
        let error = fit(&table(column.clone()), &row(of.clone()), false).unwrap_err().to_string();
        assert!(error.contains("column `c`"), "{of} into {column}: {error}");
    }
}

#[test]
fn columns_are_added_as_optional_ones_with_new_ids() {
    let first = ArrowSchema::new(vec![Field::new("id", DataType::Int64, false)]);
    let more = ArrowSchema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("new", DataType::List(Arc::new(Field::new("item", DataType::Int32, false))), false),
    ]);
    let table = new_schema(&first, false).unwrap();
    let Fit::Lacks(columns) = fit(&table, &more, false).unwrap() else { panic!("lacks `new`") };
    let grown = with_columns(&table, &columns, 7, false).unwrap();
    let new = grown.field_by_name("new").unwrap();
    assert_eq!((new.id, new.required), (8, false));
    assert_eq!(grown.field_by_name("id").unwrap().id, 1);
    assert!(matches!(fit(&grown, &more, false), Ok(Fit::Fits(_))));
    // Rows without an optional column are fine, without a required one they are not.
    assert!(matches!(fit(&grown, &first, false), Ok(Fit::Fits(_))));
    let error = fit(&grown, &ArrowSchema::new(vec![more.field(1).clone()]), false).unwrap_err().to_string();
    assert!(error.contains("`id` is required"), "{error}");
}

#[test]
fn what_has_no_type_is_named() {
    let rows = ArrowSchema::new(vec![Field::new("c", DataType::Timestamp(TimeUnit::Nanosecond, None), true)]);
    assert!(new_schema(&rows, false).unwrap_err().to_string().contains("column `c`: the table holds microseconds"));
    let rows = ArrowSchema::new(vec![Field::new("c", DataType::Null, true)]);
    assert!(new_schema(&rows, false).unwrap_err().to_string().contains("column `c`: Iceberg has no type"));
}
