//! What the suite of all sinks does not ask: other writers, schemas, properties, checkpoints, lost answers, history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, Add, Remove};
use deltalake::protocol::{DeltaOperation, SaveMode};
use support::Ground;
use tidemill_delta::{DeltaOptions, DeltaSink, SchemaEvolution, history, read_positions};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError, Staged};
use tidemill_engine::testkit::{plain_schema, rows};

fn p() -> Partition {
    Partition::new("orders", 0)
}

fn to(start: Option<i64>, end: i64) -> OffsetRanges {
    [(p(), OffsetRange { start, end, topic_id: None })].into_iter().collect()
}

async fn start(mut sink: DeltaSink) -> DeltaSink {
    let held = sink.recover(&[p()]).await.unwrap();
    if held.is_empty() {
        assert!(matches!(sink.commit(None, &to(None, 0)).await, Ok(Commit::Landed(_))));
    }
    sink
}

async fn staged(sink: &mut DeltaSink, batches: Vec<RecordBatch>) -> Result<Staged, SinkError> {
    let mut staging = sink.open().await?;
    for batch in batches {
        staging.write(batch).await?;
    }
    staging.seal().await
}

/// Commits the records `start..end` of [`plain_schema`].
async fn write(sink: &mut DeltaSink, start: i64, end: i64) -> Result<Commit, SinkError> {
    let window = staged(sink, vec![rows(&plain_schema(), "orders", 0, start..end)]).await?;
    sink.commit(Some(window), &to(Some(start), end)).await
}

fn landed(outcome: Result<Commit, SinkError>) -> String {
    match outcome {
        Ok(Commit::Landed(receipt)) => receipt.id,
        other => panic!("expected the commit to land, got {other:?}"),
    }
}

async fn offsets(ground: &Ground) -> Vec<i64> {
    let mut all: Vec<i64> = ground.rows().await.into_iter().map(|(_, _, offset)| offset).collect();
    all.sort_unstable();
    all
}

/// A commit of delta-rs, as another engine would make it.
async fn other(ground: &Ground, actions: Vec<Action>, operation: DeltaOperation) -> u64 {
    let table = ground.table().await.unwrap();
    let snapshot = table.snapshot().unwrap();
    let commit = CommitBuilder::default().with_actions(actions);
    commit.build(Some(snapshot), table.log_store(), operation).await.unwrap().version()
}

fn append() -> DeltaOperation {
    DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None }
}

/// Another writer appends a copy of a data file between our windows and under a window that commits.
async fn other_appends(ground: &Ground, copy_of: &str) -> u64 {
    use object_store::ObjectStoreExt as _;
    let name = format!("other-{:08x}.parquet", rand::random::<u32>());
    let bytes = ground.object(copy_of).await;
    let size = bytes.len() as i64;
    let path = object_store::path::Path::parse(format!("{}/{name}", ground.place.prefix)).unwrap();
    ground.place.objects.put(&path, bytes.into()).await.unwrap();
    let add = Add { path: name, size, modification_time: 1, data_change: true, ..Default::default() };
    other(ground, vec![Action::Add(add)], append()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writers_and_optimize_get_along_with_a_job() {
    for ground in [Ground::local(), Ground::s3()] {
        let mut sink = start(ground.sink("a", &plain_schema())).await;
        assert_eq!(landed(write(&mut sink, 0, 10).await), "2");
        let first = ground.active().await.pop_first().unwrap();
        // It knows nothing of the other's commits until its put finds version 3 taken, and 4.
        let window = staged(&mut sink, vec![rows(&plain_schema(), "orders", 0, 10..15)]).await.unwrap();
        assert_eq!(other_appends(&ground, &first).await, 3);
        let bytes = ground.object(&first).await;
        let size = bytes.len() as i64;
        let path = object_store::path::Path::parse(format!("{}/rewritten.parquet", ground.place.prefix)).unwrap();
        object_store::ObjectStoreExt::put(&ground.place.objects, &path, bytes.into()).await.unwrap();
        let remove = Remove { path: first.clone(), data_change: false, size: Some(size), ..Default::default() };
        let add = Add { path: "rewritten.parquet".into(), size, modification_time: 1, ..Default::default() };
        let optimize = DeltaOperation::Optimize { predicate: None, target_size: 1 };
        assert_eq!(other(&ground, vec![Action::Remove(remove), Action::Add(add)], optimize).await, 4);
        assert_eq!(landed(sink.commit(Some(window), &to(Some(10), 15)).await), "5");
        // The ten rows of the other's file, and ours once.
        let mut expected: Vec<i64> = (0..10).chain(0..15).collect();
        expected.sort_unstable();
        assert_eq!(offsets(&ground).await, expected);
        assert_eq!(landed(write(&mut sink, 15, 20).await), "6");
        // And the other sees our transactions as delta-rs does.
        let table = ground.table().await.unwrap();
        let log = table.log_store();
        let snapshot = table.snapshot().unwrap();
        let version = snapshot.transaction_version(log.as_ref(), "tidemill/orders/orders/0").await.unwrap();
        assert_eq!(version, Some(20));
    }
}

/// Two writers of one job and somebody else, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_lose_nothing() {
    for ground in [Ground::local(), Ground::s3()] {
        let schema = plain_schema();
        let mut first = start(ground.sink("a", &schema)).await;
        landed(write(&mut first, 0, 1).await);
        let file = ground.active().await.pop_first().unwrap();
        let writer = |partition: i32| {
            let mut sink = ground.sink(&format!("i{partition}"), &schema);
            let schema = schema.clone();
            async move {
                let held = Partition::new("orders", partition);
                sink.recover(std::slice::from_ref(&held)).await.unwrap();
                let range =
                    |start, end| [(held.clone(), OffsetRange { start, end, topic_id: None })].into_iter().collect();
                landed(sink.commit(None, &range(None, 0)).await);
                for at in 0..8 {
                    let window =
                        staged(&mut sink, vec![rows(&schema, "orders", held.index, at..at + 1)]).await.unwrap();
                    landed(sink.commit(Some(window), &range(Some(at), at + 1)).await);
                }
            }
        };
        let somebody = async {
            for _ in 0..5 {
                other_appends(&ground, &file).await;
            }
        };
        futures::join!(writer(1), writer(2), writer(3), somebody);
        assert_eq!(ground.rows().await.len(), 1 + 3 * 8 + 5);
        let history = history(&ground.place, "orders").await.unwrap();
        assert_eq!(history.commits.iter().filter(|c| c.rows == Some(1)).count(), 1 + 3 * 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_those_of_delta_and_values_stay() {
    let ground = Ground::local();
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("country", DataType::Utf8, true),
        Field::new("n", DataType::UInt32, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
    ]));
    let values = ["NL", "a b/%ü=", "", "NL"];
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(StringArray::from(values.to_vec())) as ArrayRef,
            Arc::new(UInt32Array::from(vec![1, u32::MAX, 3, 4])),
            Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(-1), Some(2)]).with_timezone("+00:00")),
        ],
    )
    .unwrap();
    let options = DeltaOptions { partition_by: vec!["country".into()], ..ground.options("a", &schema) };
    let mut sink = start(DeltaSink::new(options.clone()).unwrap()).await;
    let window = staged(&mut sink, vec![batch]).await.unwrap();
    assert_eq!(window.files, 3);
    landed(sink.commit(Some(window), &to(Some(0), 4)).await);
    let table = ground.table().await.unwrap();
    let snapshot = table.snapshot().unwrap();
    assert_eq!(snapshot.metadata().partition_columns(), &["country"]);
    let types: Vec<String> = snapshot.schema().fields().map(|f| f.data_type().to_string()).collect();
    assert_eq!(types, ["string", "long", "timestamp"]);
    let mut found = BTreeMap::new();
    for file in snapshot.log_data() {
        let values = file.partition_values().unwrap();
        let country = format!("{:?}", values.fields().iter().map(|f| f.name()).zip(values.values()).next().unwrap().1);
        let bytes = ground.object(file.path().as_ref()).await;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        assert_eq!(
            *batch.schema().field(1).data_type(),
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        );
        let n = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec();
        found.insert(country, n);
    }
    let found: Vec<_> = found.into_iter().collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|(c, n)| c.contains("NL") && n == &[1, 4]), "{found:?}");
    assert!(found.iter().any(|(c, n)| c.contains("a b/%ü=") && n == &[i64::from(u32::MAX)]), "{found:?}");
    assert!(found.iter().any(|(c, n)| c.contains("Null") && n == &[3]), "an empty text is null: {found:?}");
    // The next start finds it, and takes its partition columns if it names none.
    drop(sink);
    let mut again = DeltaSink::new(DeltaOptions { partition_by: vec![], ..options.clone() }).unwrap();
    assert_eq!(again.recover(&[p()]).await.unwrap().offset(&p()), Some(4));
    let mut wrong = DeltaSink::new(DeltaOptions { partition_by: vec!["n".into()], ..options }).unwrap();
    let error = wrong.recover(&[p()]).await.unwrap_err();
    assert!(error.reaction == Reaction::Person && error.message.contains("partitioned by [country]"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_are_added_where_that_is_allowed() {
    let ground = Ground::local();
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    landed(write(&mut sink, 0, 5).await);
    let mut fields: Vec<_> = plain_schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new("more", DataType::Int64, true));
    let wider: SchemaRef = Arc::new(Schema::new(fields));
    let error = ground.sink("a", &wider).recover(&[p()]).await.unwrap_err();
    assert!(error.reaction == Reaction::Person && error.message.contains("no column `more`"), "{error}");
    let options = DeltaOptions { evolution: SchemaEvolution::Add, ..ground.options("b", &wider) };
    let mut wide = DeltaSink::new(options.clone()).unwrap();
    assert_eq!(wide.recover(&[p()]).await.unwrap().offset(&p()), Some(5));
    let window = staged(&mut wide, vec![rows(&wider, "orders", 0, 5..7)]).await.unwrap();
    landed(wide.commit(Some(window), &to(Some(5), 7)).await);
    // The sink of the narrow schema goes on: its files have no such column, which reads as null.
    let window = staged(&mut sink, vec![rows(&plain_schema(), "orders", 0, 7..9)]).await.unwrap();
    landed(sink.commit(Some(window), &to(Some(7), 9)).await);
    assert_eq!(offsets(&ground).await, (0..9).collect::<Vec<_>>());
    let table = ground.table().await.unwrap();
    let names: Vec<String> = table.snapshot().unwrap().schema().fields().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["_topic", "_partition", "_offset", "payload", "more"]);
    // Nothing to add, nothing is committed.
    let version = table.version();
    DeltaSink::new(options).unwrap().recover(&[p()]).await.unwrap();
    assert_eq!(ground.table().await.unwrap().version(), version);
}

/// The table's metadata with one property changed, as another writer's commit.
async fn set_property(ground: &Ground, name: &str, value: &str) {
    let table = ground.table().await.unwrap();
    let (log, version) = (table.log_store(), table.version().unwrap());
    let mut metadata = None;
    for v in 0..=version {
        let commit = log.read_commit_entry(v).await.unwrap().unwrap();
        for line in commit.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            metadata = line.get("metaData").cloned().or(metadata);
        }
    }
    let mut line = serde_json::json!({"metaData": metadata.unwrap()});
    line["metaData"]["configuration"][name] = value.into();
    let name = format!("_delta_log/{:020}.json", version + 1);
    let put = ground.place.store.put_if_absent(&name, line.to_string().into(), "_delta_log/.scratch").await;
    assert_eq!(put.unwrap(), tidemill_connectors::files::store::Put::Created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_forgets_positions_is_refused_also_in_the_middle() {
    let ground = Ground::local();
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    landed(write(&mut sink, 0, 5).await);
    set_property(&ground, "delta.dataSkippingNumIndexedCols", "1").await;
    landed(write(&mut sink, 5, 6).await);
    set_property(&ground, "delta.setTransactionRetentionDuration", "interval 7 days").await;
    let error = write(&mut sink, 6, 7).await.unwrap_err();
    assert!(error.reaction == Reaction::Person && error.message.contains("setTransactionRetentionDuration"), "{error}");
    let error = ground.sink("a", &plain_schema()).recover(&[p()]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person, "{error}");
    assert_eq!(offsets(&ground).await, (0..6).collect::<Vec<_>>());
    assert!(ground.leftovers().await.is_empty(), "{:?}", ground.leftovers().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_outlive_the_commits_below_a_checkpoint() {
    for ground in [Ground::local(), Ground::s3()] {
        let options = DeltaOptions { checkpoint_every: Some(5), ..ground.options("a", &plain_schema()) };
        let mut sink = start(DeltaSink::new(options.clone()).unwrap()).await;
        for at in 0..12 {
            let version: u64 = landed(write(&mut sink, at, at + 1).await).parse().unwrap();
            // Written beside the windows.
            if version.is_multiple_of(5) {
                checkpoint(&ground, version).await;
            }
        }
        let objects = ground.objects().await;
        assert!(objects.contains("_delta_log/_last_checkpoint"), "{objects:?}");
        // What a VACUUM of the log would do.
        let old: Vec<String> = (0..10).map(|v| format!("_delta_log/{v:020}.json")).collect();
        ground.place.store.delete(&old).await.unwrap();
        assert_eq!(read_positions(&ground.place, "orders").await.unwrap().offset(&p()), Some(12));
        assert!(read_positions(&ground.place, "order").await.unwrap().is_empty(), "another job");
        let mut again = start(DeltaSink::new(options).unwrap()).await;
        landed(write(&mut again, 12, 13).await);
        assert_eq!(offsets(&ground).await, (0..13).collect::<Vec<_>>());
        let history = history(&ground.place, "orders").await.unwrap();
        assert_eq!(history.positions.offset(&p()), Some(13));
        let kept: Vec<_> = history.commits.iter().map(|c| (c.id.as_str(), c.ranges.0[&p()].end)).collect();
        assert_eq!(kept, [("10", 9), ("11", 10), ("12", 11), ("13", 12), ("14", 13)]);
        assert!(history.commits.iter().all(|c| c.at_ms.is_some() && c.rows == Some(1)));
    }
}

/// A run that commits nothing while others go on, write a checkpoint and tidy the log away: the name of the version it
/// wants is free again, and nobody reads what is put there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_into_a_part_of_the_log_that_was_tidied_away_does_not_count() {
    // After a minute it looks before it puts the version, else behind it.
    for (ground, slept, reaction) in [
        (Ground::local(), Duration::ZERO, Reaction::Unknown),
        (Ground::s3(), Duration::ZERO, Reaction::Unknown),
        (Ground::local(), Duration::from_secs(61), Reaction::Retry),
    ] {
        let clock = Clock::held(1_800_000_000_000);
        let options = DeltaOptions { clock: clock.clone(), ..ground.options("a", &plain_schema()) };
        let mut sleeper = start(DeltaSink::new(options).unwrap()).await;
        assert_eq!(landed(write(&mut sleeper, 0, 5).await), "2");
        let window = staged(&mut sleeper, vec![rows(&plain_schema(), "orders", 0, 5..9)]).await.unwrap();
        let other =
            DeltaOptions { checkpoint_every: Some(5), job: "other".into(), ..ground.options("b", &plain_schema()) };
        let mut other = start(DeltaSink::new(other).unwrap()).await;
        for at in 0..3 {
            landed(write(&mut other, at, at + 1).await);
        }
        checkpoint(&ground, 5).await;
        let old: Vec<String> = (0..5).map(|v| format!("_delta_log/{v:020}.json")).collect();
        ground.place.store.delete(&old).await.unwrap();
        clock.advance(slept);
        let error = sleeper.commit(Some(window), &to(Some(5), 9)).await.unwrap_err();
        assert_eq!(error.reaction, reaction, "{error}");
        let mut sleeper = ground.sink("a", &plain_schema());
        assert_eq!(sleeper.recover(&[p()]).await.unwrap().offset(&p()), Some(5));
        assert_eq!(landed(write(&mut sleeper, 5, 9).await), "7");
        assert_eq!(offsets(&ground).await, [0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8]);
        // What was put in vain is none of the job's history.
        let history = history(&ground.place, "orders").await.unwrap();
        let kept: Vec<_> = history.commits.iter().map(|c| (c.id.as_str(), c.ranges.0[&p()].end)).collect();
        assert_eq!(kept, [("7", 9)]);
    }
}

/// Waits for the checkpoint of a version, which is written beside the windows.
async fn checkpoint(ground: &Ground, version: u64) {
    let hint = format!("\"version\":{version}");
    for _ in 0..1000 {
        let last = ground.place.store.get("_delta_log/_last_checkpoint").await.unwrap().unwrap_or_default();
        if String::from_utf8_lossy(&last).contains(&hint) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no checkpoint of version {version} within 10 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_found_in_the_log() {
    let ground = Ground::local();
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    // The commit's file is there and says whose it is.
    ground.store.lose_answer(true);
    landed(write(&mut sink, 0, 5).await);
    ground.store.repeat_put();
    landed(write(&mut sink, 5, 7).await);
    // Nothing is there yet: it may come.
    ground.store.lose_answer(false);
    let error = write(&mut sink, 7, 9).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Unknown, "{error}");
    assert!(!ground.leftovers().await.is_empty(), "its data file stays");
    assert_eq!(write(&mut sink, 7, 9).await.unwrap_err().reaction, Reaction::Retry, "this sink is over");
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    landed(write(&mut sink, 7, 9).await);
    assert_eq!(offsets(&ground).await, (0..9).collect::<Vec<_>>());
}

/// A person resets a position; a topic is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_takes_the_position_over() {
    let ground = Ground::local();
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    landed(write(&mut sink, 0, 5).await);
    let range = OffsetRange { start: Some(5), end: 0, topic_id: Some("new".into()) };
    landed(sink.commit(None, &[(p(), range)].into_iter().collect()).await);
    drop(sink);
    let mut sink = ground.sink("b", &plain_schema());
    let held = sink.recover(&[p()]).await.unwrap();
    assert_eq!(held.get(&p()), Some(&Position { offset: 0, topic_id: Some("new".into()) }));
    assert_eq!(held.len(), 1);
    let window = staged(&mut sink, vec![rows(&plain_schema(), "orders", 0, 0..2)]).await.unwrap();
    let outcome = sink.commit(Some(window), &to(Some(5), 7)).await.unwrap();
    assert!(matches!(outcome, Commit::Lost(_)), "the old topic's position is no more: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_fit_is_a_bad_row() {
    let ground = Ground::local();
    let narrow: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let mut sink = start(ground.sink("a", &narrow)).await;
    let wide: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Utf8, true)]));
    let batch = RecordBatch::try_new(wide, vec![Arc::new(StringArray::from(vec!["1", "x"]))]).unwrap();
    let error = staged(&mut sink, vec![batch]).await.unwrap_err();
    assert!(error.reaction == Reaction::BadRow && error.message.contains("column `n`"), "{error}");
    assert!(ground.leftovers().await.is_empty());
}

/// The statistics in the log are right, as delta-rs reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_find_statistics() {
    let ground = Ground::local();
    let mut sink = start(ground.sink("a", &plain_schema())).await;
    landed(write(&mut sink, 0, 100).await);
    let table = ground.table().await.unwrap();
    let files: Vec<_> = table.snapshot().unwrap().log_data().into_iter().collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].num_records(), Some(100));
    let bounds = format!("{:?} {:?}", files[0].min_values(), files[0].max_values());
    assert!(bounds.contains("Long(0)") && bounds.contains("Long(99)"), "{bounds}");
}
