//! Tests of the comparison of rows and table.

use std::sync::Arc;

use arrow::datatypes::Schema;

use super::*;
use crate::options::TableName;

fn options(fields: Vec<Field>) -> PostgresOptions {
    let table = TableName { schema: "shop".into(), table: "orders".into() };
    PostgresOptions::new("postgres://u@h/d", table, "job", "a", Arc::new(Schema::new(fields)))
}

fn found(name: &str, shown: &str, kind: Kind) -> Found {
    Found { name: name.into(), shown: shown.into(), kind, demanding: false, computed: false, not_null: false }
}

fn keys(of: &[&str]) -> Rules {
    Rules { keys: vec![of.iter().map(|k| (*k).to_owned()).collect()], others: false }
}

#[test]
fn every_misfit_is_named_with_what_was_expected() {
    let options = options(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("amount", DataType::Decimal128(10, 4), true),
        Field::new("gone", DataType::Utf8, true),
    ]);
    let mut stamp = found("stamp", "timestamptz", Kind::Timestamptz);
    stamp.demanding = true;
    let table = [found("id", "text", Kind::Text), found("amount", "numeric(10,2)", Kind::Numeric(Some(2))), stamp];
    let message = compare(&options, &table, &Rules::default()).unwrap_err();
    for part in [
        "shop.orders.id: rows hold Int64, which needs the column type bigint; found text",
        "shop.orders.amount: rows hold Decimal128(10, 4), which needs the column type numeric(10,4); found numeric(10,2)",
        "shop.orders: expected a column gone of type text, found none",
        "shop.orders.stamp: timestamptz NOT NULL without a default",
    ] {
        assert!(message.contains(part), "{part} in\n{message}");
    }
}

#[test]
fn an_upsert_needs_its_unique_index() {
    let mut options = options(vec![Field::new("id", DataType::Int64, false), Field::new("n", DataType::Int32, true)]);
    (options.mode, options.key) = (Mode::Upsert, vec!["id".into()]);
    let table = [found("id", "bigint", Kind::Int8), found("n", "bigint", Kind::Int8)];
    let message = compare(&options, &table, &keys(&["id", "n"])).unwrap_err();
    assert!(message.contains(r#"ADD PRIMARY KEY ("id")"#), "{message}");
    let plan = compare(&options, &table, &keys(&["id"])).unwrap();
    let upsert = plan.upsert.unwrap();
    assert!(!upsert.rehearse, "nothing but types can refuse a row");
    let mut strict = table.clone();
    strict[1].not_null = true;
    assert!(compare(&options, &strict, &keys(&["id"])).unwrap().upsert.unwrap().rehearse, "n may be null");
    assert_eq!(upsert.key, [0]);
    assert!(upsert.insert.ends_with(r#"ON CONFLICT ("id") DO UPDATE SET "n" = EXCLUDED."n""#), "{}", upsert.insert);
    assert_eq!(
        ddl(&options).unwrap(),
        "CREATE TABLE \"shop\".\"orders\" (\"id\" bigint NOT NULL, \"n\" integer, PRIMARY KEY (\"id\"))"
    );
}
