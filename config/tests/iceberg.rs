//! Iceberg sinks: what loads, what is refused, what is not shown.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{faults, job, load};
use tidemill_config::{FaultKind, IcebergCatalog, SchemaEvolution, Sink, System};

/// A job whose sink has these lines besides catalog and table.
fn sink(catalog: &str, more: &str) -> String {
    let sink = format!("sink = {{ type = \"iceberg\", catalog = {{ type = \"rest\", {catalog} }}, {more} }}");
    job("").replace("sink = { type = \"parquet\", path = \"./out\" }", &sink)
}

const URI: &str = "uri = \"https://lake:8181\"";
const TABLE: &str = "table = \"shop.orders\"";

#[test]
fn the_example_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/iceberg.toml");
    let found = tidemill_config::check(path.as_ref(), &System);
    // Its keys come from an environment that tests do not have.
    assert!(found.faults.iter().all(|f| f.kind == FaultKind::Reference), "{:#?}", found.faults);
    let Sink::Iceberg(sink) = &found.loaded.config.jobs["orders"].sink else { panic!("iceberg") };
    assert_eq!((sink.table.as_str(), sink.schema_evolution), ("shop.orders", SchemaEvolution::Add));
    assert_eq!(sink.partition_by.iter().map(|f| f.as_str()).collect::<Vec<_>>(), ["day(ts)"]);
    let IcebergCatalog::Rest(rest) = &sink.catalog;
    assert_eq!(rest.warehouse.as_deref(), Some("s3://lake/wh"));
}

#[track_caller]
fn says(text: &str, part: &str) {
    let faults = faults(text);
    assert!(faults.len() == 1 && faults[0].contains(part), "expected {part:?} in {faults:#?}\n{text}");
}

#[test]
fn what_does_not_go_together_is_named() {
    assert_eq!(load(&sink(URI, TABLE)).expect("loads").warnings, []);
    says(&sink("uri = \"lake:8181\"", TABLE), "job.a.sink.catalog.uri: expected https://host:port");
    says(&sink(URI, "table = \"orders\""), "job.a.sink.table: expected namespace.table, found \"orders\"");
    says(&sink(URI, "table = \"a..b\""), "expected namespace.table");
    says(&sink(URI, &format!("{TABLE}, partition_by = [\"day(x)\", \"day(x)\"]")), "given a second time");
    says(&sink(URI, &format!("{TABLE}, partitionby = []")), "did you mean \"partition_by\"");
    says(&sink(URI, &format!("{TABLE}, file_size = \"5GiB\"")), "expected at most \"4GiB\"");
    says(&sink(URI, &format!("{TABLE}, storage = \"lake\"")), "no [storage.NAME] table is named \"lake\"");
    let both = format!("{URI}, token = \"${{env:A}}\", credential = \"a:b\"");
    let faults = faults(&sink(&both, TABLE));
    assert!(faults.iter().any(|f| f.contains("job.a.sink.catalog.token")), "{faults:#?}");
}

#[test]
fn secrets_are_hidden_and_warned_of() {
    let text = sink(&format!("{URI}, credential = \"id:hunter2\", properties = {{ scopes = \"x\" }}"), TABLE);
    let loaded = load(&text).expect("loads");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|w| w.contains("credential: a secret stands in the file")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("scopes: without effect")), "{warnings:?}");
}
