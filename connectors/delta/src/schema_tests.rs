use super::*;

fn schema(columns: &[(&str, DataType)]) -> Schema {
    Schema::new(columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect::<Vec<_>>())
}

fn ts(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("+00:00".into()))
}

fn planned(rows: &Schema, evolution: SchemaEvolution, metadata: &Metadata) -> Result<Plan, String> {
    plan("here", rows, &[], evolution, metadata).map_err(|e| e.message)
}

#[test]
fn a_created_table_takes_the_rows_it_was_created_for() {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let pair = Fields::from(vec![Field::new("a", DataType::UInt8, true), Field::new("b", ts(TimeUnit::Second), true)]);
    let rows = schema(&[
        ("s", DataType::Utf8View),
        ("u", DataType::UInt64),
        ("t", ts(TimeUnit::Millisecond)),
        ("l", DataType::List(item)),
        ("p", DataType::Struct(pair)),
        ("d", DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
    ]);
    let (protocol, metadata) = create(&rows, &["s".to_owned()], 5).unwrap();
    assert_eq!((protocol.min_reader_version, protocol.min_writer_version), (1, 2));
    let plan = planned(&rows, SchemaEvolution::Strict, &metadata).unwrap();
    assert_eq!((plan.partition_by, plan.evolved), (vec!["s".to_owned()], None));
    let types: Vec<String> = plan.target.fields().iter().map(|f| f.data_type().to_string()).collect();
    assert_eq!(
        types[..3],
        ["Utf8".to_owned(), "Decimal128(20, 0)".to_owned(), "Timestamp(µs, \"UTC\")".to_owned()],
        "{types:?}"
    );
    let (protocol, _) = create(&schema(&[("t", DataType::Timestamp(TimeUnit::Second, None))]), &[], 5).unwrap();
    assert_eq!(protocol.writer_features, Some(vec!["timestampNtz".to_owned()]));
}

#[test]
fn what_does_not_fit_is_refused_with_its_column() {
    let (_, table) = create(&schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]), &[], 5).unwrap();
    let says = |rows: Schema, part: &str| {
        let error = planned(&rows, SchemaEvolution::Strict, &table).unwrap_err();
        assert!(error.contains(part) && error.contains("here") || error.contains("column"), "{error}");
    };
    says(schema(&[("a", DataType::Utf8)]), "column `a` of Int64, the job has Utf8: cast it in the query");
    says(schema(&[("a", DataType::Int64), ("c", DataType::Int64)]), "no column `c`");
    says(schema(&[("A", DataType::Int64)]), "has a column `a`, the job `A`");
    says(schema(&[("a", DataType::Time32(TimeUnit::Second))]), "no times of day");
    says(schema(&[("a", ts(TimeUnit::Nanosecond))]), "microseconds");
    says(schema(&[("a b", DataType::Int64)]), "no Delta table takes this name");
    assert!(planned(&schema(&[("a", DataType::Int8)]), SchemaEvolution::Strict, &table).is_ok(), "widened, b left out");
    let error = plan("here", &schema(&[("a", DataType::Int64)]), &["b".into()], SchemaEvolution::Add, &table);
    assert!(error.unwrap_err().message.contains("partitioned by [] and partition_by says [b]"));
    let twice = create(&schema(&[("a", DataType::Int8), ("A", DataType::Int8)]), &[], 5).unwrap_err();
    assert!(twice.message.contains("two columns"), "{twice}");
}

#[test]
fn columns_are_added_at_the_end_and_the_others_stay() {
    let (_, mut table) = create(&schema(&[("a", DataType::Int64)]), &[], 5).unwrap();
    table.schema_string = table.schema_string.replace("\"metadata\":{}", "\"metadata\":{\"comment\":\"kept\"}");
    let rows = schema(&[("n", DataType::UInt32), ("a", DataType::Int64)]);
    let plan = planned(&rows, SchemaEvolution::Add, &table).unwrap();
    let evolved = plan.evolved.unwrap();
    assert!(evolved.schema_string.contains("kept") && evolved.schema_string.contains("\"n\""));
    let again = planned(&rows, SchemaEvolution::Strict, &evolved).unwrap();
    assert_eq!((again.evolved, again.target), (None, plan.target));
}

#[test]
fn columns_without_nulls_are_minded() {
    let (_, mut table) = create(&schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]), &[], 5).unwrap();
    table.schema_string = table.schema_string.replacen("\"nullable\":true", "\"nullable\":false", 1);
    let error = planned(&schema(&[("a", DataType::Int64)]), SchemaEvolution::Strict, &table).unwrap_err();
    assert!(error.contains("takes no nulls in column `a`, and the job's may be null"), "{error}");
    let error = planned(&schema(&[("b", DataType::Utf8)]), SchemaEvolution::Strict, &table).unwrap_err();
    assert!(error.contains("takes no nulls in column `a`, which the job does not have"), "{error}");
    let sure = Schema::new(vec![Field::new("a", DataType::Int64, false)]);
    assert!(planned(&sure, SchemaEvolution::Strict, &table).is_ok());
}
