//! Tests of keys and tombstones.

use arrow::array::{BinaryArray, Int64Array, StringArray};
use arrow::datatypes::{Field, Int64Type, Schema};

use super::*;
use crate::catalog::Planned;
use crate::types::Kind;

fn batch(id: Vec<Option<i64>>, name: Vec<Option<&str>>, key: Vec<Option<&str>>) -> RecordBatch {
    let key: BinaryArray = key.into_iter().map(|k| k.map(str::as_bytes)).collect();
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("_key", DataType::Binary, true),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(id)), Arc::new(StringArray::from(name)), Arc::new(key)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn run(batch: &RecordBatch) -> Result<Keyed, String> {
    let schema = batch.schema();
    let columns = schema.fields().iter().enumerate();
    let columns = columns.map(|(source, field)| Planned { source, field: field.clone(), kind: Kind::Other }).collect();
    let plan = Plan { table: "t".into(), columns, copy: String::new(), upsert: None };
    let none = String::new;
    let upsert = Upsert { rehearse: false, key: vec![0], stage: none(), delete: none(), insert: none() };
    keyed(&plan, &upsert, None, batch).map_err(|e| {
        assert_eq!(e.reaction, Reaction::BadRow);
        e.message
    })
}

#[test]
fn a_tombstone_takes_its_key_from_the_record() {
    let rows = batch(
        vec![Some(1), None, None, None],
        vec![None; 4],
        vec![
            Some("1"),
            Some("2"),
            Some(r#"{"id": 9007199254740993}"#),
            Some(r#"{"schema": {}, "payload": {"id": 4}}"#),
        ],
    );
    let keyed = run(&rows).unwrap();
    assert_eq!(keyed.deletes, BooleanArray::from(vec![false, true, true, true]), "a key without more is a row");
    let ids = keyed.columns[0].1.as_primitive::<Int64Type>();
    assert_eq!(ids.values().as_ref(), [1, 2, 9_007_199_254_740_993, 4]);
    assert!(any(&keyed.deletes));
}

#[test]
fn a_row_without_a_key_is_refused() {
    let said = |rows: RecordBatch| run(&rows).err().unwrap_or_default();
    let one = |id, name, key| said(batch(vec![id], vec![name], vec![key]));
    assert!(one(None, Some("x"), Some("1")).contains("column id is null"), "a row that is no tombstone");
    assert!(one(None, None, None).contains("without a key"));
    assert!(one(None, None, Some("x")).contains("does not fit the column id"));
    assert!(one(None, None, Some(r#"{"other": 1}"#)).contains("no member id"));
    assert!(one(None, None, Some(r#"{"id": null}"#)).contains("null as id"));
    assert_eq!(one(Some(1), None, None), "");
}

#[test]
fn several_columns_come_from_an_object() {
    assert_eq!(parse(br#"{"a": "x\ny", "b": 1.50}"#, &["a", "b"]).unwrap(), ["x\ny", "1.50"]);
    assert_eq!(parse(br#""quoted""#, &["a"]).unwrap(), ["quoted"]);
    assert_eq!(parse(b"1e3", &["a"]).unwrap(), ["1e3"]);
    assert!(parse(b"x", &["a", "b"]).is_err());
    assert!(parse(b"\xff", &["a"]).is_err());
}

#[test]
fn the_value_says_it_where_it_is_at_hand() {
    let rows = batch(vec![None, None], vec![None, None], vec![Some("1"), Some("2")]);
    let value: ArrayRef = Arc::new(BinaryArray::from(vec![Some(b"{}".as_ref()), None]));
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("_value", DataType::Binary, true)));
    let columns = rows.columns().iter().cloned().chain([value]).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    assert_eq!(tombstones(&rows), BooleanArray::from(vec![false, true]));
}
