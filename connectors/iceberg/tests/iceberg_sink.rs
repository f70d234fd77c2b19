//! What the suite of all sinks does not know: other writers, answers of gateways, schemas, partitions, manifests, history.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use iceberg::spec::{Datum, FormatVersion, Literal};
use serde_json::json;
use support::Lake;
use support::proxy::Fault;
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError};
use tidemill_engine::testkit::conformance::Subject;
use tidemill_engine::testkit::{Key, plain_schema, rows};
use tidemill_iceberg::{CatalogOptions, IcebergOptions, IcebergSink, SchemaEvolution, history};
use tidemill_test_servers::iceberg_rest::IcebergRest;

fn p(index: i32) -> Partition {
    Partition::new("t", index)
}

fn range(index: i32, start: i64, end: i64) -> OffsetRanges {
    [(p(index), OffsetRange::new(start, end))].into_iter().collect()
}

fn anchor(index: i32, at: i64) -> OffsetRanges {
    [(p(index), OffsetRange::anchor(Position::at(at)))].into_iter().collect()
}

async fn lake(schema: SchemaRef) -> Lake {
    let server = tokio::task::spawn_blocking(IcebergRest::shared).await.expect("a catalog");
    Lake::new(server, schema).await
}

async fn started(lake: &Lake, instance: &str) -> (IcebergSink, Positions) {
    let mut sink = lake.sink(instance);
    let positions = sink.recover(&[p(0)]).await.expect("recovers");
    (sink, positions)
}

/// A sink whose partition 0 is anchored at 0.
async fn anchored(lake: &Lake) -> IcebergSink {
    let (mut sink, _) = started(lake, "a").await;
    assert!(matches!(sink.commit(None, &anchor(0, 0)).await, Ok(Commit::Landed(_))));
    sink
}

async fn write(sink: &mut IcebergSink, batch: RecordBatch, moved: &OffsetRanges) -> Result<Commit, SinkError> {
    let mut staging = sink.open().await?;
    staging.write(batch).await?;
    let staged = staging.seal().await?;
    sink.commit(Some(staged), moved).await
}

async fn window(sink: &mut IcebergSink, index: i32, start: i64, end: i64) -> Result<Commit, SinkError> {
    write(sink, rows(&plain_schema(), "t", index, start..end), &range(index, start, end)).await
}

fn landed(outcome: Result<Commit, SinkError>) {
    assert!(matches!(outcome, Ok(Commit::Landed(_))), "expected the commit to land, got {outcome:?}");
}

async fn keys(lake: &Lake) -> Vec<Key> {
    let mut keys = lake.rows().await;
    keys.sort_unstable();
    keys
}

fn of(index: i32, offsets: std::ops::Range<i64>) -> Vec<Key> {
    offsets.map(|o| ("t".to_owned(), index, o)).collect()
}

/// Positions move without rows too, and of two such commits on the same positions one lands: if it were a change of
/// properties alone, the snapshot would stay the same, and both would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_without_rows_race_like_others() {
    let lake = lake(plain_schema()).await;
    for round in 0..8 {
        let mut sinks = Vec::new();
        for instance in ["a", "b", "c"] {
            sinks.push(started(&lake, instance).await.0);
        }
        let moved = match round {
            0 => anchor(0, 0),
            n => range(0, n - 1, n),
        };
        let outcomes = futures::future::join_all(sinks.iter_mut().map(|sink| sink.commit(None, &moved))).await;
        let won = outcomes.iter().filter(|o| matches!(o, Ok(Commit::Landed(_)))).count();
        let lost = outcomes.iter().filter(|o| matches!(o, Ok(Commit::Lost(_)))).count();
        assert_eq!((won, lost), (1, 2), "{outcomes:?}");
    }
    assert_eq!(lake.table().unwrap().snapshots().len(), 8);
}

/// A gateway says 502 for a commit that landed: unknown, and nothing of it is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_gateway_knows_nothing() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    lake.proxy.next(Fault::BadGateway);
    let error = window(&mut sink, 0, 0, 10).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Unknown, "{error}");
    drop(sink);
    assert_eq!(keys(&lake).await, of(0, 0..10));
    let (_, positions) = started(&lake, "a").await;
    assert_eq!(positions.offset(&p(0)), Some(10));
}

/// A gateway sends a commit twice and answers for the second: the first landed, and so says the sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_sent_twice_lands_once() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    lake.proxy.next(Fault::Twice);
    landed(window(&mut sink, 0, 0, 10).await);
    assert_eq!(keys(&lake).await, of(0, 0..10));
    landed(window(&mut sink, 0, 10, 20).await);
    assert_eq!(keys(&lake).await, of(0, 0..20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_catalog_is_given_time() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    lake.proxy.next(Fault::TooMany);
    let begun = std::time::Instant::now();
    landed(window(&mut sink, 0, 0, 10).await);
    assert!(begun.elapsed() >= Duration::from_secs(1), "came again after {:?}", begun.elapsed());
    lake.proxy.next(Fault::MuchTooMany);
    let error = window(&mut sink, 0, 10, 20).await.unwrap_err();
    assert_eq!((error.reaction, error.retry_after), (Reaction::Retry, Some(Duration::from_secs(3600))), "{error}");
    assert_eq!(keys(&lake).await, of(0, 0..10));
}

/// A credential becomes a token; one that is refused is renewed, and the request made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_becomes_a_token() {
    let mut lake = lake(plain_schema()).await;
    lake.tune = |o| o.catalog.credential = Some("me:hunter2".into());
    let mut sink = anchored(&lake).await;
    lake.proxy.next(Fault::Unauthorized);
    landed(window(&mut sink, 0, 0, 10).await);
    assert_eq!(keys(&lake).await, of(0, 0..10));
    let heads = lake.proxy.heads();
    let (tokens, others): (Vec<_>, Vec<_>) = heads.iter().partition(|h| h.starts_with("POST /v1/oauth/tokens "));
    assert_eq!(tokens.len(), 2, "once at the start, once after the refusal");
    assert!(others.len() > 5 && others.iter().all(|h| h.contains("Bearer ")), "{others:#?}");
    assert!(heads.iter().all(|h| !h.contains("hunter2")));

    lake.tune = |o| o.catalog.token = Some("abc".into());
    let _ = started(&lake, "b").await;
    assert!(lake.proxy.heads().last().unwrap().contains("Bearer abc"));
}

/// A catalog that is away refuses nothing: the run ends and the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_may_go_away() {
    let mut server = tokio::task::spawn_blocking(IcebergRest::start).await.unwrap().expect("starts");
    let catalog = CatalogOptions { uri: server.uri(), ..CatalogOptions::default() };
    let options = IcebergOptions::new("orders", "a", catalog, "tests.away", plain_schema(), Clock::system());
    let mut sink = IcebergSink::new(options.clone()).unwrap();
    sink.recover(&[]).await.unwrap();
    landed(sink.commit(None, &anchor(0, 0)).await);
    server.kill9().unwrap();
    // What the client does not know to be unsent is unknown; both are right, and nothing is there.
    let error = window(&mut sink, 0, 0, 10).await.unwrap_err();
    assert!(matches!(error.reaction, Reaction::Retry | Reaction::Unknown), "{error}");
    let error = IcebergSink::new(options.clone()).unwrap().recover(&[]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Retry, "{error}");
    server.restart().unwrap();
    let mut sink = IcebergSink::new(options.clone()).unwrap();
    assert_eq!(sink.recover(&[]).await.unwrap().offset(&p(0)), Some(0));
    landed(window(&mut sink, 0, 0, 10).await);
    assert_eq!(history(&options).await.unwrap().positions.offset(&p(0)), Some(10));
    server.stop().unwrap();
}

/// Two jobs and another program write to one table at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_write_to_the_table_too() {
    let lake = lake(plain_schema()).await;
    let (mut ours, _) = started(&lake, "a").await;
    landed(ours.commit(None, &anchor(0, 0)).await);
    let mut options = lake.options("a");
    options.job = "other".into();
    let mut theirs = IcebergSink::new(options).unwrap();
    assert!(theirs.recover(&[p(0)]).await.unwrap().is_empty(), "positions are of a job");
    landed(theirs.commit(None, &anchor(0, 0)).await);
    for i in 0..6 {
        let at = i * 10;
        // Partition 7 stands for the other job's rows.
        let moved = range(0, at, at + 10);
        let theirs = write(&mut theirs, rows(&plain_schema(), "t", 7, at..at + 10), &moved);
        let (a, b) = futures::join!(window(&mut ours, 0, at, at + 10), theirs);
        landed(a);
        landed(b);
        lake.change(json!([{ "action": "set-properties", "updates": { "touched": i.to_string() } }]));
    }
    assert_eq!(keys(&lake).await, [of(0, 0..60), of(7, 0..60)].concat());
    let table = lake.table().unwrap();
    let total = &table.current_snapshot().unwrap().summary().additional_properties["total-records"];
    assert_eq!(total, "120");
    let history = history(&lake.options("x")).await.unwrap();
    assert_eq!(history.positions.offset(&p(0)), Some(60));
    let moved: Vec<_> =
        history.commits.iter().map(|c| (c.ranges.0[&p(0)].start, c.ranges.0[&p(0)].end, c.rows)).collect();
    let expected: Vec<_> =
        std::iter::once((None, 0, Some(0))).chain((0..6).map(|i| (Some(i * 10), i * 10 + 10, Some(10)))).collect();
    assert_eq!(moved, expected, "a chain of this job's commits alone");
    assert!(history.commits.iter().all(|c| c.at_ms.is_some()));
}

/// A writer that commits all the time takes turns with another one, which has to come through without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_writer_starves_nobody() {
    let lake = lake(plain_schema()).await;
    let mut ours = anchored(&lake).await;
    let mut options = lake.options("a");
    options.job = "other".into();
    let mut theirs = IcebergSink::new(options).unwrap();
    theirs.recover(&[p(0)]).await.unwrap();
    landed(theirs.commit(None, &anchor(0, 0)).await);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = tokio::spawn({
        let done = done.clone();
        async move {
            let mut at = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // The busy one may lose all its races: it has to be busy, no more.
                if let Ok(Commit::Landed(_)) = theirs.commit(None, &range(0, at, at + 1)).await {
                    at += 1;
                }
            }
            at
        }
    });
    for at in 0..15 {
        landed(window(&mut ours, 0, at, at + 1).await);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let theirs = busy.await.unwrap();
    assert!(theirs >= 5, "the other one was not busy: {theirs}");
    assert_eq!(keys(&lake).await, of(0, 0..15));
}

/// The table is dropped and made again under the sink: no commit of the old one lands in the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_table_of_the_same_name_is_another_table() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    let identity = sink.identity();
    let path = format!("/v1/namespaces/tests/tables/{}", lake.name);
    let (status, _) = lake.server.request("DELETE", &path, "").unwrap();
    assert!(matches!(status, 200 | 204), "{status}");
    let (other, _) = started(&lake, "b").await;
    assert_ne!(other.identity(), identity);
    let error = window(&mut sink, 0, 0, 10).await.unwrap_err();
    assert!(error.reaction == Reaction::Retry && error.message.contains("another one"), "{error:?}");
    assert!(keys(&lake).await.is_empty());
}

fn orders() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("country", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("count", DataType::UInt64, true),
    ]))
}

const DAY_MS: i64 = 86_400_000;

fn order_rows(ids: std::ops::Range<i32>) -> RecordBatch {
    let n: Vec<i64> = ids.clone().map(i64::from).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.collect::<Int32Array>()),
        Arc::new(
            n.iter().map(|i| Some(i * DAY_MS / 4 + 1)).collect::<TimestampMillisecondArray>().with_timezone("UTC"),
        ),
        Arc::new(n.iter().map(|i| ["DE", "N/L"].get((*i % 3) as usize).copied()).collect::<StringArray>()),
        Arc::new(
            n.iter()
                .map(|i| Some(i128::from(*i) * 100 - 500))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(12, 2)
                .unwrap(),
        ),
        Arc::new(n.iter().map(|i| Some(u64::MAX - *i as u64)).collect::<UInt64Array>()),
    ];
    RecordBatch::try_new(orders(), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_to_their_partitions_with_types_and_bounds() {
    let mut lake = lake(orders()).await;
    lake.tune = |o| {
        o.partition_by = vec!["day(ts)".into(), "country".into()];
        o.open_files = 2;
    };
    let mut sink = anchored(&lake).await;
    landed(write(&mut sink, order_rows(0..24), &range(0, 0, 24)).await);
    let table = lake.table().unwrap();
    let names: Vec<_> = table.default_partition_spec().fields().iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["ts_day", "country"]);
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for entry in lake.files().await {
        let file = entry.data_file();
        let values = file.partition().fields();
        let (Some(day), country) = (&values[0], &values[1]) else { panic!("a day") };
        let country = country.as_ref().map(|c| format!("{c:?}"));
        let text = format!("{:?} {}", day, country.unwrap_or_default());
        *found.entry(text).or_default() += file.record_count();
        let path = file.file_path();
        assert!(path.contains("/data/ts_day=1970-01-0") && path.contains("/country="), "{path}");
        let id = |name: &str| table.current_schema().field_id_by_name(name).unwrap();
        let (low, high) = (&file.lower_bounds()[&id("ts")], &file.upper_bounds()[&id("ts")]);
        let day = |d: &Datum| match Literal::from(d.clone()).as_primitive_literal() {
            Some(iceberg::spec::PrimitiveLiteral::Long(v)) => i32::try_from(v.div_euclid(DAY_MS * 1000)).unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(Some(Literal::date(day(low))), values[0]);
        assert_eq!(Some(Literal::date(day(high))), values[0]);
        assert_eq!(file.value_counts()[&id("price")], file.record_count());
        assert!(file.column_sizes()[&id("id")] > 0 && file.split_offsets().is_some());
    }
    // Six days of four orders each, three countries.
    assert_eq!(found.values().sum::<u64>(), 24);
    assert_eq!(found.len(), 18, "{found:?}");
    let mut seen: Vec<(i64, i64)> = Vec::new();
    for batch in lake.batches().await {
        assert_eq!(batch.schema().field_with_name("count").unwrap().data_type(), &DataType::Decimal128(20, 0));
        let id = arrow::compute::cast(batch.column_by_name("id").unwrap(), &DataType::Int64).unwrap();
        let ts = batch.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>();
        let ids = id.as_primitive::<Int64Type>();
        seen.extend((0..batch.num_rows()).map(|i| (ids.value(i), ts.value(i))));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..24).map(|i| (i, (i * DAY_MS / 4 + 1) * 1000)).collect::<Vec<_>>());

    // Somebody who asks for other partitions is told.
    let mut options = lake.options("b");
    options.partition_by = vec!["month(ts)".into()];
    let error = IcebergSink::new(options).unwrap().recover(&[]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person);
    assert!(error.message.contains("[month(ts)]") && error.message.contains("[day(ts), identity(country)]"), "{error}");
    // Who asks for nothing writes as the table has it.
    let mut options = lake.options("c");
    options.partition_by = Vec::new();
    let mut sink = IcebergSink::new(options).unwrap();
    sink.recover(&[]).await.unwrap();
    landed(write(&mut sink, order_rows(24..28), &range(0, 24, 28)).await);
    assert_eq!(lake.batches().await.iter().map(RecordBatch::num_rows).sum::<usize>(), 28);
}

fn wider() -> SchemaRef {
    let mut fields: Vec<_> = plain_schema().fields().iter().cloned().collect();
    let pair = vec![Field::new("a", DataType::Utf8, false)];
    fields.insert(1, Arc::new(Field::new("extra", DataType::Struct(pair.into()), false)));
    fields.push(Arc::new(Field::new("more", DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_added_where_that_is_asked_for() {
    let lake = lake(plain_schema()).await;
    let mut old = anchored(&lake).await;
    landed(window(&mut old, 0, 0, 5).await);
    let mut options = lake.options("b");
    options.schema = wider();
    let error = IcebergSink::new(options.clone()).unwrap().recover(&[]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person);
    assert!(error.message.contains("extra, more") && error.message.contains("schema_evolution"), "{error}");
    options.evolution = SchemaEvolution::Add;
    // Two daemons with the new configuration start at once.
    let (mut one, mut two) = (IcebergSink::new(options.clone()).unwrap(), IcebergSink::new(options.clone()).unwrap());
    let (a, b) = futures::join!(one.recover(&[]), two.recover(&[]));
    assert_eq!((a.unwrap().offset(&p(0)), b.unwrap().offset(&p(0))), (Some(5), Some(5)));
    let table = lake.table().unwrap();
    assert_eq!(table.current_schema().as_struct().fields().len(), 6, "added once");
    assert!(!table.current_schema().field_by_name("extra").unwrap().required);
    let plain = rows(&plain_schema(), "t", 0, 5..9);
    let pair = arrow::array::StructArray::from(vec![(
        Arc::new(Field::new("a", DataType::Utf8, false)),
        Arc::new(StringArray::from(vec!["x"; 4])) as ArrayRef,
    )]);
    let mut columns = plain.columns().to_vec();
    columns.insert(1, Arc::new(pair));
    columns.push(Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])));
    landed(write(&mut two, RecordBatch::try_new(wider(), columns).unwrap(), &range(0, 5, 9)).await);
    // The daemon with the old configuration goes on, in the grown table.
    let (mut old, positions) = started(&lake, "a").await;
    assert_eq!(positions.offset(&p(0)), Some(9));
    landed(window(&mut old, 0, 9, 12).await);
    assert_eq!(keys(&lake).await, of(0, 0..12));
}

/// Columns and partitions change under a running sink: its windows fit, the later ones the new way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_changes_under_a_running_sink() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    let mut staging = sink.open().await.unwrap();
    staging.write(rows(&plain_schema(), "t", 0, 0..10)).await.unwrap();
    let staged = staging.seal().await.unwrap();
    let table = lake.table().unwrap();
    let id = table.current_schema().field_id_by_name("_offset").unwrap();
    lake.change(json!([
        { "action": "add-spec", "spec": { "spec-id": 1, "fields": [
            { "source-id": id, "field-id": 1000, "name": "bucket", "transform": "bucket[4]" } ] } },
        { "action": "set-default-spec", "spec-id": -1 },
    ]));
    landed(sink.commit(Some(staged), &range(0, 0, 10)).await);
    landed(window(&mut sink, 0, 10, 30).await);
    assert_eq!(keys(&lake).await, of(0, 0..30));
    let specs: std::collections::BTreeSet<i32> = lake
        .manifests(&lake.table().unwrap(), lake.table().unwrap().current_snapshot().unwrap().manifest_list())
        .await
        .iter()
        .map(|m| m.partition_spec_id)
        .collect();
    assert_eq!(specs, [0, 1].into());
}

/// Tables that others made: of other versions, with wider types, in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_others_are_written_as_they_are() {
    for (version, expected) in [("1", FormatVersion::V1), ("2", FormatVersion::V2), ("3", FormatVersion::V3)] {
        let lake = lake(plain_schema()).await;
        lake.create(json!({
            "schema": { "type": "struct", "fields": [
                { "id": 1, "name": "payload", "required": false, "type": "string" },
                { "id": 2, "name": "_offset", "required": false, "type": "long" },
                { "id": 3, "name": "_partition", "required": true, "type": "long" },
                { "id": 4, "name": "unused", "required": false, "type": "date" },
                { "id": 5, "name": "_topic", "required": true, "type": "string" } ] },
            "properties": { "format-version": version },
        }));
        let mut sink = anchored(&lake).await;
        landed(window(&mut sink, 0, 0, 10).await);
        landed(window(&mut sink, 0, 10, 20).await);
        let table = lake.table().unwrap();
        assert_eq!(table.format_version(), expected);
        assert_eq!(keys(&lake).await, of(0, 0..20), "version {version}");
        if version == "3" {
            assert_eq!(table.next_row_id(), 20, "rows are numbered");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_tables_that_do_not_fit_are_refused() {
    let lake = lake(plain_schema()).await;
    lake.create(json!({
        "schema": { "type": "struct", "fields": [
            { "id": 1, "name": "payload", "required": true, "type": "string" },
            { "id": 2, "name": "_offset", "required": true, "type": "long" },
            { "id": 3, "name": "_partition", "required": true, "type": "int" },
            { "id": 5, "name": "_topic", "required": true, "type": "string" } ] },
        "properties": { "format-version": "2" },
    }));
    let mut sink = anchored(&lake).await;
    // Every third payload is null.
    let error = window(&mut sink, 0, 0, 10).await.unwrap_err();
    assert!(error.reaction == Reaction::BadRow && error.message.contains("payload"), "{error:?}");
    let (mut sink, _) = started(&lake, "a").await;
    landed(window(&mut sink, 0, 0, 2).await);

    let mut options = lake.options("b");
    let mut fields: Vec<_> = plain_schema().fields().iter().cloned().collect();
    fields[2] = Arc::new(Field::new("_offset", DataType::Utf8, false));
    options.schema = Arc::new(Schema::new(fields));
    let error = IcebergSink::new(options).unwrap().recover(&[]).await.unwrap_err();
    assert!(error.reaction == Reaction::Person && error.message.contains("column `_offset`"), "{error:?}");
}

/// Manifests are merged when many have come together, and everything stays where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_are_merged() {
    let lake = lake(plain_schema()).await;
    drop(anchored(&lake).await);
    let updates = json!({ "commit.manifest.min-count-to-merge": "4" });
    lake.change(json!([{ "action": "set-properties", "updates": updates }]));
    let (mut sink, _) = started(&lake, "a").await;
    for i in 0..14 {
        landed(window(&mut sink, 0, i * 3, i * 3 + 3).await);
    }
    let table = lake.table().unwrap();
    let manifests = lake.manifests(&table, table.current_snapshot().unwrap().manifest_list()).await;
    assert!(manifests.len() <= 7, "{} manifests", manifests.len());
    assert!(manifests.iter().any(|m| m.existing_files_count == Some(4)));
    assert_eq!(keys(&lake).await, of(0, 0..42));
    let sequences: std::collections::BTreeSet<_> = lake.files().await.iter().map(|e| e.sequence_number()).collect();
    assert!(sequences.len() > 8, "files keep the sequence numbers of their snapshots: {sequences:?}");
}

/// After a rollback by a person the job goes on where it was; its positions are the property's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_takes_rows_and_no_position() {
    let lake = lake(plain_schema()).await;
    let mut sink = anchored(&lake).await;
    landed(window(&mut sink, 0, 0, 10).await);
    let before = lake.table().unwrap().current_snapshot_id().unwrap();
    landed(window(&mut sink, 0, 10, 20).await);
    lake.change(json!([{ "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": before }]));
    let (mut sink, positions) = started(&lake, "b").await;
    assert_eq!(positions.offset(&p(0)), Some(20));
    landed(window(&mut sink, 0, 20, 25).await);
    assert_eq!(keys(&lake).await, [of(0, 0..10), of(0, 20..25)].concat());
    let history = history(&lake.options("x")).await.unwrap();
    assert_eq!(history.commits.len(), 3, "what was rolled back is no part of it");
}
