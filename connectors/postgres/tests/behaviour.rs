//! What the suite of all sinks does not ask: upserts and tombstones, TLS, a server that goes away, commits that are
//! remembered, a zombie that holds locks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::*;
use arrow::datatypes::*;
use support::{fresh_table, options, sql};
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError};
use tidemill_engine::testkit::{plain_schema, rows};
use tidemill_postgres::{Mode, PostgresOptions, PostgresSink, history, positions};
use tidemill_test_servers::postgres::Postgres;

fn p() -> Partition {
    Partition::new("t", 0)
}

fn ranges(start: i64, end: i64) -> OffsetRanges {
    [(p(), OffsetRange::new(start, end))].into_iter().collect()
}

fn anchor() -> OffsetRanges {
    [(p(), OffsetRange::anchor(Position::at(0)))].into_iter().collect()
}

/// A sink whose partition is anchored at 0.
async fn anchored(options: &PostgresOptions) -> PostgresSink {
    let mut sink = PostgresSink::new(options.clone()).unwrap();
    sink.recover(&[p()]).await.unwrap();
    sink.commit(None, &anchor()).await.unwrap();
    sink
}

async fn put(sink: &mut PostgresSink, rows: RecordBatch, start: i64, end: i64) -> Result<Commit, SinkError> {
    let mut staging = sink.open().await?;
    staging.write(rows).await?;
    let staged = staging.seal().await?;
    sink.commit(Some(staged), &ranges(start, end)).await
}

/// Rows of `id, name, _key`; a row without id and name is a tombstone.
fn people(of: &[(Option<i64>, Option<&str>, Option<&str>)]) -> RecordBatch {
    let key: BinaryArray = of.iter().map(|(_, _, key)| key.map(str::as_bytes)).collect();
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("_key", DataType::Binary, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(of.iter().map(|(id, _, _)| *id).collect::<Int64Array>()),
        Arc::new(of.iter().map(|(_, name, _)| *name).collect::<StringArray>()),
        Arc::new(key),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn upserting(key: &str, schema: SchemaRef) -> PostgresOptions {
    let mut options = options(&Postgres::shared().url(), fresh_table("people"), schema);
    (options.mode, options.key) = (Mode::Upsert, vec![key.into()]);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_row_of_a_key_wins_and_tombstones_delete() {
    let first = people(&[
        (Some(1), Some("a"), Some("1")),
        (Some(2), Some("b"), Some("2")),
        (Some(1), Some("c"), Some("1")),
        (Some(3), Some("d"), Some("3")),
        (None, None, Some("3")),
        (None, None, Some("9")),
        (None, None, Some("4")),
        (Some(4), None, Some("4")),
    ]);
    let options = upserting("id", first.schema());
    let mut sink = anchored(&options).await;
    put(&mut sink, first, 0, 8).await.unwrap();
    let all = format!("SELECT id, coalesce(name, '-') FROM {} ORDER BY id", options.table.sql());
    assert_eq!(sql(Postgres::shared(), &all), ["1|c", "2|b", "4|-"]);
    // Batches of one window are in order too; the next window sees the last.
    let mut staging = sink.open().await.unwrap();
    staging.write(people(&[(None, None, Some(r#"{"id": 1}"#)), (Some(2), Some("B"), None)])).await.unwrap();
    staging.write(people(&[(Some(1), Some("again"), None), (None, None, Some("2"))])).await.unwrap();
    let staged = staging.seal().await.unwrap();
    sink.commit(Some(staged), &ranges(8, 12)).await.unwrap();
    assert_eq!(sql(Postgres::shared(), &all), ["1|again", "4|-"]);
    let error = put(&mut sink, people(&[(None, Some("x"), Some("1"))]), 12, 13).await.expect_err("no key");
    assert_eq!(error.reaction, Reaction::BadRow);
    assert_eq!(sql(Postgres::shared(), &all), ["1|again", "4|-"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_s_key_serves_as_the_key_and_a_column_may_say_what_is_deleted() {
    let rows = people(&[(Some(1), Some("a"), Some("k1")), (Some(2), Some("b"), Some("k2"))]);
    let options = upserting("_key", rows.schema());
    let mut sink = anchored(&options).await;
    put(&mut sink, rows, 0, 2).await.unwrap();
    put(&mut sink, people(&[(None, None, Some("k1"))]), 2, 3).await.unwrap();
    let all = format!("SELECT id, name, convert_from(_key, 'UTF8') FROM {}", options.table.sql());
    assert_eq!(sql(Postgres::shared(), &all), ["2|b|k2"]);

    let changes = |ids: Vec<i64>, gone: Vec<Option<bool>>| {
        RecordBatch::try_from_iter(vec![
            ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("gone", Arc::new(BooleanArray::from(gone)) as ArrayRef),
        ])
        .unwrap()
    };
    let rows = changes(vec![1, 2, 3], vec![Some(false), None, Some(true)]);
    let mut options = upserting("id", rows.schema());
    options.delete_column = Some("gone".into());
    let mut sink = anchored(&options).await;
    put(&mut sink, rows, 0, 3).await.unwrap();
    let all = format!("SELECT * FROM {} ORDER BY id", options.table.sql());
    assert_eq!(sql(Postgres::shared(), &all), ["1", "2"], "the column is not written");
    put(&mut sink, changes(vec![2], vec![Some(true)]), 3, 4).await.unwrap();
    assert_eq!(sql(Postgres::shared(), &all), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_upsert_s_table_refuses_is_known_when_the_window_is_sealed() {
    let options = upserting("id", people(&[]).schema());
    Postgres::shared()
        .sql(&format!(
            "CREATE SCHEMA {0}; CREATE TABLE {0}.parent (name text PRIMARY KEY); INSERT INTO {0}.parent VALUES ('a'); \
             CREATE TABLE {0}.people (id bigint PRIMARY KEY, name text NOT NULL REFERENCES {0}.parent \
             DEFERRABLE INITIALLY DEFERRED)",
            options.table.schema
        ))
        .unwrap();
    let mut sink = anchored(&options).await;
    for (name, part) in [(Some("x"), "people_name_fkey"), (None, "23502")] {
        let mut staging = sink.open().await.unwrap();
        staging.write(people(&[(Some(1), Some("a"), None), (Some(2), name, None)])).await.unwrap();
        let error = staging.seal().await.expect_err(part);
        assert_eq!(error.reaction, Reaction::BadRow, "{error}");
        assert!(error.message.contains(part), "{error}");
    }
    put(&mut sink, people(&[(Some(1), Some("a"), None), (None, None, Some("2"))]), 0, 2).await.unwrap();
    assert_eq!(sql(Postgres::shared(), &format!("SELECT * FROM {}", options.table.sql())), ["1|a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_verified_as_far_as_sslmode_asks() {
    let postgres = Postgres::shared();
    postgres.sql("CREATE ROLE secretive LOGIN SUPERUSER PASSWORD 'p%4Ass'").unwrap();
    let port = postgres.port();
    let table = fresh_table("tls");
    let open = |host: &str, mode: &str, ca: Option<std::path::PathBuf>| {
        // This role is let in over TLS only, and by its password.
        let url = format!("postgres://secretive:p%254Ass@{host}:{port}/tide?sslmode={mode}");
        let url = if mode == "disable" { url.replace("secretive:p%254Ass", "tide") } else { url };
        let options = PostgresOptions { ca, ..options(&url, table.clone(), plain_schema()) };
        async move { PostgresSink::new(options)?.recover(&[p()]).await }
    };
    let (ca, other) = (|| Some(postgres.ca()), || Some(postgres.other_ca()));
    for (host, mode, ca, works) in [
        ("localhost", "verify-full", ca(), true),
        ("127.0.0.1", "verify-full", ca(), false), // the certificate names localhost only
        ("localhost", "verify-full", other(), false),
        ("127.0.0.1", "verify-ca", ca(), true),
        ("127.0.0.1", "verify-ca", other(), false),
        ("127.0.0.1", "require", None, true),
        ("127.0.0.1", "require", other(), false), // as in libpq: certificates given are looked at
        ("127.0.0.1", "prefer", None, true),
        ("127.0.0.1", "disable", None, true),
        ("localhost", "verify-full", None, false), // the system does not know this authority
    ] {
        match open(host, mode, ca.clone()).await {
            Ok(_) => assert!(works, "{host} {mode} {ca:?} got in"),
            Err(e) => {
                assert!(!works, "{host} {mode}: {e}");
                assert_eq!(e.reaction, Reaction::Person, "{host} {mode}: {e}");
                assert!(!e.message.contains("4Ass"), "{e}");
            }
        }
    }
    let url = format!("postgres://secretive:wrong@localhost:{port}/tide?sslmode=require");
    let error = PostgresSink::new(options(&url, table, plain_schema())).unwrap().recover(&[p()]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person, "{error}");
    assert!(error.message.contains("28P01") && !error.message.contains("wrong@"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_remembered_and_pruned() {
    let mut options = options(&Postgres::shared().url(), fresh_table("orders"), plain_schema());
    assert!(positions(&options).await.unwrap().is_empty(), "nothing is made by looking");
    let mut sink = anchored(&options).await;
    for i in 0..3 {
        put(&mut sink, rows(&plain_schema(), "t", 0, i * 10..i * 10 + 5), i * 10, i * 10 + 10).await.unwrap();
    }
    sink.commit(None, &ranges(30, 20)).await.unwrap();
    let found = history(&options).await.unwrap();
    assert_eq!(found.positions.offset(&p()), Some(20));
    assert_eq!(positions(&options).await.unwrap(), found.positions);
    let moved: Vec<_> = found.commits.iter().map(|c| (c.ranges.0[&p()].start, c.ranges.0[&p()].end, c.rows)).collect();
    let expected = [
        (None, 0, Some(0)),
        (Some(0), 10, Some(5)),
        (Some(10), 20, Some(5)),
        (Some(20), 30, Some(5)),
        (Some(30), 20, Some(0)),
    ];
    assert_eq!(moved, expected);
    assert!(found.commits.iter().all(|c| c.at_ms.is_some_and(|ms| ms > 1_600_000_000_000)));
    // The first commit of a sink prunes.
    let commits = options.table.sql().replace("orders", "tidemill_commit");
    Postgres::shared()
        .sql(&format!("UPDATE {commits} SET committed_at = now() - interval '8 days' WHERE id <= 2"))
        .unwrap();
    options.history = Duration::from_secs(7 * 86_400);
    let mut sink = PostgresSink::new(options.clone()).unwrap();
    sink.recover(&[p()]).await.unwrap();
    sink.commit(None, &ranges(20, 21)).await.unwrap();
    assert_eq!(history(&options).await.unwrap().commits.len(), 4);
    // A later release's rows are not guessed at.
    Postgres::shared().sql(&format!("UPDATE {} SET v = 2", commits.replace("_commit", "_position"))).unwrap();
    let error = PostgresSink::new(options).unwrap().recover(&[p()]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person);
    assert!(error.message.contains("version 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_over_waits_for_a_commit_that_is_under_way_and_not_longer() {
    let options = options(&Postgres::shared().url(), fresh_table("orders"), plain_schema());
    drop(anchored(&options).await);
    // What a frozen owner leaves: positions moved, and no COMMIT.
    let (zombie, connection) = tokio_postgres::connect(&Postgres::shared().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let position = options.table.sql().replace("orders", "tidemill_position");
    zombie
        .batch_execute(&format!(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 2000; UPDATE {position} SET position = 99"
        ))
        .await
        .unwrap();
    let begun = Instant::now();
    let mut heir = PostgresSink::new(PostgresOptions { instance: "b".into(), ..options.clone() }).unwrap();
    let held = heir.recover(&[p()]).await.unwrap();
    assert_eq!(held.offset(&p()), Some(0), "the frozen commit is given up");
    assert!(begun.elapsed() > Duration::from_millis(1500), "it has been waited for: {:?}", begun.elapsed());
    // One that commits in time is waited for, too.
    let (slow, connection) = tokio_postgres::connect(&Postgres::shared().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    slow.batch_execute(&format!("BEGIN; UPDATE {position} SET position = 7")).await.unwrap();
    let committing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        slow.batch_execute("COMMIT").await
    });
    let held = PostgresSink::new(options).unwrap().recover(&[p()]).await.unwrap();
    committing.await.unwrap().unwrap();
    assert_eq!(held.offset(&p()), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_waited_for() {
    let mut postgres = Postgres::start().unwrap();
    let options = options(&postgres.url(), fresh_table("orders"), plain_schema());
    let mut sink = anchored(&options).await;
    let mut staging = sink.open().await.unwrap();
    staging.write(rows(&plain_schema(), "t", 0, 0..1000)).await.unwrap();
    postgres.stop().unwrap();
    let error = staging.write(rows(&plain_schema(), "t", 0, 1000..2000)).await.expect_err("the server is away");
    assert_eq!(error.reaction, Reaction::Retry, "{error}");
    let error = PostgresSink::new(options.clone()).unwrap().recover(&[p()]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Retry, "{error}");
    postgres.restart().unwrap();
    let mut sink = PostgresSink::new(options.clone()).unwrap();
    assert_eq!(sink.recover(&[p()]).await.unwrap().offset(&p()), Some(0));
    // Killed between sealing and the commit: the answer is not known, and nothing landed.
    let mut staging = sink.open().await.unwrap();
    staging.write(rows(&plain_schema(), "t", 0, 0..10)).await.unwrap();
    let staged = staging.seal().await.unwrap();
    postgres.kill9().unwrap();
    let error = sink.commit(Some(staged), &ranges(0, 10)).await.expect_err("the server is dead");
    assert!(matches!(error.reaction, Reaction::Retry | Reaction::Unknown), "{error}");
    postgres.restart().unwrap();
    let mut sink = PostgresSink::new(options.clone()).unwrap();
    assert_eq!(sink.recover(&[p()]).await.unwrap().offset(&p()), Some(0));
    put(&mut sink, rows(&plain_schema(), "t", 0, 0..10), 0, 10).await.unwrap();
    assert_eq!(postgres.sql(&format!("SELECT count(*) FROM {}", options.table.sql())).unwrap(), "10");
}
