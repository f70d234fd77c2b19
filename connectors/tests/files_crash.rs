//! A crash at every single operation on the store, and a failure at every one: nothing lost, nothing doubled,
//! nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use support::{FaultyStore, How, fast_folder, leftovers, read_keys};
use tidemill_connectors::files::store::Store;
use tidemill_connectors::files::{FilesOptions, FilesSink, LocalStore, read_log};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Sink, SinkError};
use tidemill_engine::testkit::{Key, rows};

const END: i64 = 80;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        // Two folders (a value and null), so that a window has several files.
        Field::new("flag", DataType::Boolean, true),
    ]))
}

fn sink(store: Arc<dyn Store>, instance: &str) -> FilesSink {
    let mut options = FilesOptions::new("orders", instance, store, schema(), Clock::system());
    options.partition_by = vec!["flag".to_owned()];
    options.checkpoint_every = 3;
    FilesSink::new(options).unwrap()
}

/// A job from wherever the sink stands to the end: windows of 20 records, the next one staged before a commit.
async fn run(mut sink: FilesSink) -> Result<(), SinkError> {
    let p = Partition::new("t", 0);
    let held = sink.recover(std::slice::from_ref(&p)).await?;
    let mut at = match held.offset(&p) {
        Some(at) => at,
        None => {
            let anchor: OffsetRanges = [(p.clone(), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
            let outcome = sink.commit(None, &anchor).await?;
            assert!(matches!(outcome, Commit::Landed(_)), "{outcome:?}");
            0
        }
    };
    let mut sealed = None;
    while at < END {
        let staged = match sealed.take() {
            Some(staged) => staged,
            None => stage(&mut sink, at).await?,
        };
        let next = if at + 20 < END { Some(stage(&mut sink, at + 20).await?) } else { None };
        let moved: OffsetRanges = [(p.clone(), OffsetRange::new(at, at + 20))].into_iter().collect();
        match sink.commit(Some(staged), &moved).await? {
            Commit::Landed(receipt) => assert_eq!((receipt.rows, receipt.files), (20, 3)),
            Commit::Lost(found) => panic!("lost against nobody: {found:?}"),
        }
        at += 20;
        sealed = next;
    }
    Ok(())
}

async fn stage(sink: &mut FilesSink, at: i64) -> Result<tidemill_engine::sink::Staged, SinkError> {
    let mut staging = sink.open().await?;
    for from in [at, at + 10] {
        staging.write(rows(&schema(), "t", 0, from..from + 10)).await?;
    }
    staging.seal().await
}

/// What a plain reader sees is exactly what is before the position, or (a commit that is decided and not complete)
/// less, never anything beyond it or twice.
async fn check_before_recovery(root: &Path) {
    let store = LocalStore::new(root);
    let log = read_log(&store, "orders").await.unwrap();
    log.verify().unwrap();
    let position = log.positions().offset(&Partition::new("t", 0)).unwrap_or(0);
    let mut seen = read_keys(root, "parquet", &schema());
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all, "doubled rows");
    assert!(seen.iter().all(|(_, _, offset)| *offset < position), "rows that no record names");
}

fn check_done(root: &Path) {
    let mut seen = read_keys(root, "parquet", &schema());
    seen.sort_unstable();
    let expected: Vec<Key> = (0..END).map(|o| ("t".to_owned(), 0, o)).collect();
    assert_eq!(seen, expected);
    // An encoder thread that was told to stop may be a moment late.
    for _ in 0..200 {
        if leftovers(root).is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("files left behind: {:?}", leftovers(root));
}

async fn crash_everywhere(how: How, heir: &str) {
    let mut k = 0;
    loop {
        k += 1;
        let root = fast_folder();
        let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
        store.crash_at(k, how);
        let outcome = run(sink(Arc::new(store.clone()), "a")).await;
        if !store.came() {
            outcome.unwrap();
            check_done(root.path());
            break;
        }
        check_before_recovery(root.path()).await;
        run(sink(Arc::new(LocalStore::new(root.path())), heir)).await.unwrap_or_else(|e| panic!("{how:?} {k}: {e}"));
        if heir != "a" {
            // Another instance leaves the dead one's files alone (they may be seven days old); its next start does not.
            run(sink(Arc::new(LocalStore::new(root.path())), "a")).await.unwrap();
        }
        check_done(root.path());
        read_log(&LocalStore::new(root.path()), "orders").await.unwrap().verify().unwrap();
    }
    assert!(k > 50, "a scenario of {k} operations proves little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_before_every_operation() {
    crash_everywhere(How::Before, "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_within_every_operation() {
    crash_everywhere(How::Half, "b").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_after_every_operation() {
    crash_everywhere(How::After, "a").await;
}

/// The disk is full, or an answer got lost, once: the run ends, the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_every_operation_costs_a_run_and_no_row() {
    for how in [How::Before, How::Half, How::After] {
        for k in 1.. {
            let root = fast_folder();
            let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
            store.fail_at(k, how);
            let outcome = run(sink(Arc::new(store.clone()), "a")).await;
            if !store.came() {
                outcome.unwrap();
                break;
            }
            check_before_recovery(root.path()).await;
            run(sink(Arc::new(store), "a")).await.unwrap_or_else(|e| panic!("{how:?} {k}: {e}"));
            check_done(root.path());
        }
    }
}
