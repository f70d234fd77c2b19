use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields};
use tidemill_engine::dead_letter;
use tidemill_engine::sink::Reaction;

use super::*;

fn headers() -> ArrayRef {
    let fields =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)]);
    let mut list = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    for row in [&[("a", Some("1")), ("b", None)][..], &[]] {
        for (name, value) in row {
            let item = list.values();
            item.field_builder::<StringBuilder>(0).unwrap().append_value(name);
            item.field_builder::<BinaryBuilder>(1).unwrap().append_option(value.map(str::as_bytes));
            item.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("_key", Arc::new(BinaryArray::from_opt_vec(vec![Some(b"k"), None])) as ArrayRef),
        ("id", Arc::new(Int64Array::from(vec![7, 8]))),
        ("text", Arc::new(StringArray::from(vec![Some("a\n\"ä"), None]))),
        ("ok", Arc::new(BooleanArray::from(vec![true, false]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_456), None]))),
        ("_headers", headers()),
    ])
    .unwrap()
}

fn mapping() -> Mapping {
    Mapping {
        key: Some("_key".into()),
        headers: Some("_headers".into()),
        header_columns: vec!["id".into(), "text".into()],
        timestamp: Some("at".into()),
        partition: Some("id".into()),
        ..Mapping::json()
    }
}

#[test]
fn each_column_becomes_its_part() {
    let rows = rows();
    let encoder = Encoder::new(&mapping(), &rows.schema()).unwrap();
    let messages = encoder.encode(&rows).unwrap();
    assert_eq!(messages.len(), 2);
    let first = messages.get(0);
    assert_eq!(first.key, Some(&b"k"[..]));
    assert_eq!((first.timestamp, first.partition), (Some(1_700_000_000_123), Some(7)));
    let value: serde_json::Value = serde_json::from_slice(first.value.unwrap()).unwrap();
    assert_eq!(value["text"], "a\n\"ä");
    assert_eq!(value["id"], 7, "a column of the rows stays in the value");
    assert!(value.get("_key").is_none() && value.get("_headers").is_none(), "metadata that went elsewhere does not");
    let of_first: Vec<_> = messages.headers(0).collect();
    let expected = [("a", Some(&b"1"[..])), ("b", None), ("id", Some(&b"7"[..])), ("text", Some("a\n\"ä".as_bytes()))];
    assert_eq!(of_first, expected);
    let second = messages.get(1);
    assert_eq!((second.key, second.timestamp, second.partition), (None, None, Some(8)));
    assert!(second.value.unwrap().ends_with(b"}"), "no newline");
    assert_eq!(messages.headers(1).collect::<Vec<_>>(), [("id", Some(&b"8"[..]))], "null is no header");
    // Of a slice the right ones.
    let messages = encoder.encode(&rows.slice(1, 1)).unwrap();
    assert_eq!(messages.headers(0).collect::<Vec<_>>(), [("id", Some(&b"8"[..]))]);
    assert_eq!(messages.get(0).partition, Some(8));
}

#[test]
fn raw_values_are_the_bytes_themselves_and_null_is_a_tombstone() {
    let rows = rows();
    let raw = Mapping { value: Value::Raw { column: "text".into() }, key: Some("id".into()), ..Mapping::json() };
    let messages = Encoder::new(&raw, &rows.schema()).unwrap().encode(&rows).unwrap();
    assert_eq!(messages.get(0).value, Some("a\n\"ä".as_bytes()));
    assert_eq!(messages.get(0).key, Some(&b"7"[..]));
    assert_eq!(messages.get(1).value, None);
    assert!(messages.bytes() >= 6);
}

#[test]
fn a_partition_that_is_no_number_of_one_is_the_rows_fault() {
    let rows = RecordBatch::try_from_iter([
        ("p", Arc::new(Int64Array::from(vec![i64::MAX])) as ArrayRef),
        ("v", Arc::new(Int64Array::from(vec![1]))),
    ])
    .unwrap();
    let mapping = Mapping { partition: Some("p".into()), ..Mapping::json() };
    let error = Encoder::new(&mapping, &rows.schema()).unwrap().encode(&rows).err().unwrap();
    assert_eq!(error.reaction, Reaction::BadRow);
}

#[test]
fn wrong_columns_are_named_with_what_was_expected() {
    let schema = rows().schema();
    let fault = |mapping: Mapping| Encoder::new(&mapping, &schema).err().unwrap();
    let with = |key: &str| Mapping { key: Some(key.into()), ..Mapping::json() };
    assert!(fault(with("nope")).contains("no column `nope`; there are _key, id"));
    assert!(fault(with("_headers")).contains("expected a string"));
    let raw = Mapping { value: Value::Raw { column: "id".into() }, ..Mapping::json() };
    assert!(fault(raw).contains("format.column"));
    let partition = Mapping { partition: Some("text".into()), ..Mapping::json() };
    assert!(fault(partition).contains("expected an integer"));
}

#[test]
fn dead_letters_can_be_messages_with_their_reasons_as_headers() {
    let mapping = Mapping {
        value: Value::Raw { column: "_value".into() },
        key: Some("_key".into()),
        headers: Some("_headers".into()),
        header_columns: vec!["stage".into(), "cause".into(), "error".into(), "_offset".into()],
        timestamp: Some("_timestamp".into()),
        partition: None,
    };
    Encoder::new(&mapping, &dead_letter::schema()).unwrap();
    Encoder::new(&Mapping::json(), &dead_letter::schema()).unwrap();
}
