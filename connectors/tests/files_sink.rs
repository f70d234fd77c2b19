//! What the files sink does with files: sizes, folders, its log and what is in its way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use parquet::file::reader::{FileReader, SerializedFileReader};
use support::{FaultyStore, data_files, files_below, leftovers, read_keys};
use tidemill_connectors::files::store::Store;
use tidemill_connectors::files::{
    Compression, FileFormat, FilesOptions, FilesSink, LocalStore, NULL_PARTITION, ParquetOptions, read_log,
};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError, Staged};
use tidemill_engine::testkit::{plain_schema, rows};

fn options(root: &Path, job: &str, instance: &str) -> FilesOptions {
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(root));
    FilesOptions::new(job, instance, store, plain_schema(), Clock::system())
}

async fn start(options: FilesOptions) -> FilesSink {
    let mut sink = FilesSink::new(options).unwrap();
    sink.recover(&[]).await.unwrap();
    sink
}

fn to(start: Option<i64>, end: i64) -> OffsetRanges {
    let range = OffsetRange { start, ..OffsetRange::anchor(Position::at(end)) };
    [(Partition::new("t", 0), range)].into_iter().collect()
}

async fn stage(sink: &mut FilesSink, schema: &SchemaRef, start: i64, end: i64, batch: i64) -> Staged {
    let mut staging = sink.open().await.unwrap();
    let mut at = start;
    while at < end {
        let next = (at + batch).min(end);
        staging.write(rows(schema, "t", 0, at..next)).await.unwrap();
        at = next;
    }
    staging.seal().await.unwrap()
}

/// Anchors at 0 and lands `windows` windows of ten rows.
async fn land(sink: &mut FilesSink, windows: i64) {
    assert!(matches!(sink.commit(None, &to(None, 0)).await, Ok(Commit::Landed(_))));
    for i in 0..windows {
        let staged = stage(sink, &plain_schema(), i * 10, i * 10 + 10, 10).await;
        let outcome = sink.commit(Some(staged), &to(Some(i * 10), i * 10 + 10)).await;
        assert!(matches!(outcome, Ok(Commit::Landed(_))), "{outcome:?}");
    }
}

fn seen(root: &Path) -> Vec<i64> {
    let mut seen: Vec<i64> = read_keys(root, "parquet", &plain_schema()).into_iter().map(|k| k.2).collect();
    seen.sort_unstable();
    seen
}

fn person(outcome: Result<impl std::fmt::Debug, SinkError>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person, "{error}");
    error.message
}

#[tokio::test]
async fn files_roll_by_size_and_row_groups_by_rows_and_bytes() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path(), "j", "a");
    o.file_size = 100_000;
    o.format = FileFormat::Parquet(ParquetOptions {
        compression: Compression::None,
        row_group_rows: 1_500,
        row_group_bytes: 30_000,
        ..ParquetOptions::default()
    });
    let mut sink = start(o).await;
    sink.commit(None, &to(None, 0)).await.unwrap();
    let staged = stage(&mut sink, &plain_schema(), 0, 30_000, 500).await;
    assert!(staged.files > 3, "{} files", staged.files);
    let files = staged.files;
    sink.commit(Some(staged), &to(Some(0), 30_000)).await.unwrap();
    let paths = data_files(root.path(), "parquet");
    assert_eq!(paths.len() as u64, files);
    for path in &paths {
        // Passed by one batch at most (500 rows of some 40 bytes) and the footer.
        assert!(fs::metadata(path).unwrap().len() < 140_000, "{path:?}");
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            assert!(group.num_rows() <= 1_500, "{} rows", group.num_rows());
            assert!(group.total_byte_size() < 45_000, "{} bytes", group.total_byte_size());
            assert!(group.columns().iter().all(|c| c.statistics().is_some_and(|s| s.min_bytes_opt().is_some())));
        }
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let value = |key: &str| pairs.iter().find(|p| p.key == key).and_then(|p| p.value.clone()).unwrap();
        assert_eq!(value("tidemill.job"), "j");
        let log = read_log(&LocalStore::new(root.path()), "j").await.unwrap();
        assert_eq!(value("tidemill.token"), log.records.last().unwrap().token.to_string());
    }
    assert_eq!(seen(root.path()), (0..30_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_compression_can_be_read() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd, Compression::Lz4] {
        let root = tempfile::tempdir().unwrap();
        let mut o = options(root.path(), "j", "a");
        o.format = FileFormat::Parquet(ParquetOptions { compression, ..ParquetOptions::default() });
        land(&mut start(o).await, 1).await;
        assert_eq!(seen(root.path()), (0..10).collect::<Vec<_>>(), "{compression:?}");
    }
}

#[tokio::test]
async fn encoders_keep_to_their_memory() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path(), "j", "a");
    o.memory = 300_000;
    let mut sink = start(o).await;
    sink.commit(None, &to(None, 0)).await.unwrap();
    let mut staging = sink.open().await.unwrap();
    let mut peak = 0;
    for i in 0..300 {
        staging.write(rows(&plain_schema(), "t", 0, i * 200..i * 200 + 200)).await.unwrap();
        peak = peak.max(sink.memory());
    }
    let staged = staging.seal().await.unwrap();
    assert!(peak > 100_000, "the test does not reach its bound: {peak}");
    assert!(peak < 400_000, "{peak} bytes held");
    assert_eq!(sink.memory(), 0, "a sealed window holds nothing");
    sink.commit(Some(staged), &to(Some(0), 60_000)).await.unwrap();
    assert_eq!(seen(root.path()).len(), 60_000);
}

#[tokio::test]
async fn partitions_are_folders_and_few_files_are_open() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path(), "j", "a");
    o.partition_by = vec!["payload".to_owned()];
    o.open_files = 4;
    let mut sink = start(o).await;
    sink.commit(None, &to(None, 0)).await.unwrap();
    let staged = stage(&mut sink, &plain_schema(), 0, 30, 7).await;
    sink.commit(Some(staged), &to(Some(0), 30)).await.unwrap();
    assert_eq!(seen(root.path()), (0..30).collect::<Vec<_>>(), "the key columns stay in the files");
    let null = root.path().join(format!("payload={NULL_PARTITION}"));
    let nulls = read_keys(&null, "parquet", &plain_schema());
    assert_eq!(nulls.len(), 10, "every third payload is null");
    let files = data_files(root.path(), "parquet");
    assert!(files.iter().all(|f| f.strip_prefix(root.path()).unwrap().components().count() == 2), "{files:?}");
    let folders = fs::read_dir(root.path()).unwrap().count() - 1;
    assert_eq!(folders, 21, "20 texts and null");
}

#[tokio::test]
async fn a_row_that_cannot_be_placed_is_a_bad_row_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut o = options(root.path(), "j", "a");
    o.partition_by = vec!["_topic".to_owned()];
    let mut sink = start(o).await;
    let mut staging = sink.open().await.unwrap();
    staging.write(rows(&plain_schema(), "fine", 0, 0..5)).await.unwrap();
    staging.write(rows(&plain_schema(), &"x".repeat(300), 0, 5..6)).await.unwrap();
    let error = staging.seal().await.unwrap_err();
    assert_eq!(error.reaction, Reaction::BadRow, "{error}");
    assert_eq!(leftovers(root.path()).len(), 0);
}

#[tokio::test]
async fn two_jobs_share_a_folder_and_each_has_its_log() {
    let root = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (start(options(root.path(), "a", "i")).await, start(options(root.path(), "b", "i")).await);
    assert_ne!(a.identity(), b.identity());
    land(&mut a, 2).await;
    land(&mut b, 3).await;
    assert_eq!(seen(root.path()).len(), 50);
    let store = LocalStore::new(root.path());
    for (job, end) in [("a", 20), ("b", 30)] {
        let log = read_log(&store, job).await.unwrap();
        log.verify().unwrap();
        assert_eq!(log.positions().offset(&Partition::new("t", 0)), Some(end));
    }
    let again = start(options(root.path(), "a", "other")).await;
    assert_eq!(again.identity(), a.identity(), "the folder is the same for every instance");
}

#[tokio::test]
async fn names_that_leave_the_folder_and_schemas_that_cannot_be_written_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for (job, instance) in [("../j", "a"), ("j", "a/b"), ("", "a"), ("j", "..")] {
        person(FilesSink::new(options(root.path(), job, instance)));
    }
    let mut o = options(root.path(), "j", "a");
    o.partition_by = vec!["missing".to_owned()];
    assert!(person(FilesSink::new(o)).contains("`missing`"));
    assert!(person(read_log(&LocalStore::new(root.path()), "../j").await).contains("../j"));
    assert_eq!(files_below(root.path()).len(), 0, "checking touches nothing");
}

/// The staged files of a fenced run are gone, and it cannot put a record that names them.
#[tokio::test]
async fn a_former_run_of_the_instance_is_fenced_and_swept() {
    let root = tempfile::tempdir().unwrap();
    let mut zombie = start(options(root.path(), "j", "a")).await;
    land(&mut zombie, 1).await;
    let held = stage(&mut zombie, &plain_schema(), 10, 20, 10).await;
    let mut bystander = start(options(root.path(), "j", "a-b")).await;
    let kept = stage(&mut bystander, &plain_schema(), 10, 20, 10).await;
    assert_eq!(leftovers(root.path()).len(), 2);
    let _heir = start(options(root.path(), "j", "a")).await;
    assert_eq!(leftovers(root.path()).len(), 1, "another instance's file stays, though its name begins alike");
    let error = zombie.commit(Some(held), &to(Some(10), 20)).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Fenced, "{error}");
    assert!(matches!(bystander.commit(Some(kept), &to(Some(10), 20)).await, Ok(Commit::Landed(_))));
    assert_eq!(seen(root.path()), (0..20).collect::<Vec<_>>());
}

/// Staged files of other instances go after seven days, by the time of this instance's clock.
#[tokio::test]
async fn old_leftovers_of_others_are_swept() {
    let root = tempfile::tempdir().unwrap();
    let mut dead = start(options(root.path(), "j", "dead")).await;
    std::mem::forget(stage(&mut dead, &plain_schema(), 0, 5, 5).await);
    fs::write(root.path().join("_tidemill/j/staged/notes.txt"), "mine").unwrap();
    let in_days = |days: u64| {
        let clock = Clock::held(Clock::system().wall_ms());
        clock.advance(Duration::from_secs(days * 24 * 3600));
        FilesOptions { clock, ..options(root.path(), "j", "b") }
    };
    start(in_days(6)).await;
    assert_eq!(leftovers(root.path()).len(), 1);
    start(in_days(8)).await;
    assert_eq!(leftovers(root.path()).len(), 0);
    assert!(root.path().join("_tidemill/j/staged/notes.txt").exists(), "nothing else is ever deleted");
}

/// A window that waited so long that others may have swept its files is not put.
#[tokio::test]
async fn a_window_that_waited_for_days_does_not_land() {
    let root = tempfile::tempdir().unwrap();
    let clock = Clock::held(Clock::system().wall_ms());
    let mut sink = start(FilesOptions { clock: clock.clone(), ..options(root.path(), "j", "a") }).await;
    land(&mut sink, 1).await;
    let held = stage(&mut sink, &plain_schema(), 10, 20, 10).await;
    clock.advance(Duration::from_secs(4 * 24 * 3600));
    assert_eq!(sink.commit(Some(held), &to(Some(10), 20)).await.unwrap_err().reaction, Reaction::Retry);
    assert_eq!(seen(root.path()), (0..10).collect::<Vec<_>>());
    assert_eq!(leftovers(root.path()).len(), 0);
}

/// Old records go once a checkpoint is above them; the log goes on, and a zombie from before meets the floor.
#[tokio::test]
async fn compaction_forgets_old_records_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let records = || fs::read_dir(root.path().join("_tidemill/j/log")).unwrap().count();
    let mut sink = start(FilesOptions { checkpoint_every: 10, ..options(root.path(), "j", "a") }).await;
    land(&mut sink, 12).await;
    assert_eq!(records(), 14, "fence, anchor, 12 windows: too young to go");
    // A zombie that knows the log up to its second record only.
    let mut zombie = start(options(root.path(), "j", "z")).await;
    drop(sink);
    let clock = Clock::held(Clock::system().wall_ms());
    clock.advance(Duration::from_secs(40 * 24 * 3600));
    let mut sink = start(FilesOptions { checkpoint_every: 5, clock, ..options(root.path(), "j", "a") }).await;
    for i in 12..17 {
        let staged = stage(&mut sink, &plain_schema(), i * 10, i * 10 + 10, 10).await;
        assert!(matches!(sink.commit(Some(staged), &to(Some(i * 10), i * 10 + 10)).await, Ok(Commit::Landed(_))));
    }
    let log = read_log(&LocalStore::new(root.path()), "j").await.unwrap();
    log.verify().unwrap();
    let floor = log.checkpoint.as_ref().unwrap().floor;
    assert_eq!(records() as u64, log.records.last().unwrap().n - floor + 1, "all below the floor are gone");
    assert_eq!(seen(root.path()), (0..170).collect::<Vec<_>>(), "data is never touched");
    // Its number is free again: the put succeeds and must not count.
    let error = zombie.commit(None, &to(Some(120), 121)).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Unknown, "{error}");
    let mut sink = start(options(root.path(), "j", "a")).await;
    let staged = stage(&mut sink, &plain_schema(), 170, 180, 10).await;
    assert!(matches!(sink.commit(Some(staged), &to(Some(170), 180)).await, Ok(Commit::Landed(_))));
    read_log(&LocalStore::new(root.path()), "j").await.unwrap().verify().unwrap();
}

#[tokio::test]
async fn a_damaged_log_is_named_and_not_guessed_around() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = start(options(root.path(), "j", "a")).await;
    land(&mut sink, 4).await;
    drop(sink);
    let name = |n: u64| root.path().join(format!("_tidemill/j/log/{n:020}.json"));
    let recover = || async { FilesSink::new(options(root.path(), "j", "a")).unwrap().recover(&[]).await };
    let third = fs::read(name(3)).unwrap();
    fs::remove_file(name(3)).unwrap();
    assert!(person(recover().await).contains("00003.json is missing"));
    fs::write(name(3), third).unwrap();
    fs::write(name(7), r#"{"v":9}"#).unwrap();
    let message = person(recover().await);
    assert!(message.contains("00007.json") && message.contains("v9"), "{message}");
    fs::write(name(7), r#"{"v":1,"n"#).unwrap();
    assert!(person(recover().await).contains("00007.json"));
    fs::remove_file(name(7)).unwrap();
    recover().await.unwrap();
}

/// Users may move and compact files of records that are complete; of the newest one that is known only once a newer
/// record exists.
#[tokio::test]
async fn files_may_be_taken_away_once_a_newer_record_exists() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = start(options(root.path(), "j", "a")).await;
    land(&mut sink, 2).await;
    drop(sink);
    let files = data_files(root.path(), "parquet");
    fs::remove_file(&files[0]).unwrap();
    drop(start(options(root.path(), "j", "a")).await);
    // The newest record is the fence now.
    fs::remove_file(&files[1]).unwrap();
    let mut sink = start(options(root.path(), "j", "a")).await;
    let staged = stage(&mut sink, &plain_schema(), 20, 30, 10).await;
    sink.commit(Some(staged), &to(Some(20), 30)).await.unwrap();
    drop(sink);
    fs::remove_file(&data_files(root.path(), "parquet")[0]).unwrap();
    let message = person(FilesSink::new(options(root.path(), "j", "a")).unwrap().recover(&[]).await);
    assert!(message.contains("neither staged nor in place") && message.contains(".parquet"), "{message}");
}

/// A writer that finds another's decided window unfinished finishes it before it takes the next number.
#[tokio::test]
async fn whoever_takes_the_next_number_completes_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
    let mut a = start(FilesOptions { store: Arc::new(store.clone()), ..options(root.path(), "j", "a") }).await;
    land(&mut a, 1).await;
    let mut b = start(options(root.path(), "j", "b")).await;
    let staged = stage(&mut a, &plain_schema(), 10, 20, 10).await;
    store.fail_next("publish");
    let error = a.commit(Some(staged), &to(Some(10), 20)).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Unknown, "decided, so it may not be taken for failed: {error}");
    assert_eq!(seen(root.path()), (0..10).collect::<Vec<_>>());
    let other = [(Partition::new("t", 1), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
    assert!(matches!(b.commit(None, &other).await, Ok(Commit::Landed(_))));
    assert_eq!(seen(root.path()), (0..20).collect::<Vec<_>>());
    assert_eq!(a.commit(None, &to(Some(20), 21)).await.unwrap_err().reaction, Reaction::Retry, "its run is over");
}

/// "Already exists" may be the answer to our own record: it landed, once.
#[tokio::test]
async fn a_put_that_was_made_twice_landed() {
    let root = tempfile::tempdir().unwrap();
    let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
    let mut sink = start(FilesOptions { store: Arc::new(store.clone()), ..options(root.path(), "j", "a") }).await;
    land(&mut sink, 1).await;
    let staged = stage(&mut sink, &plain_schema(), 10, 20, 10).await;
    store.repeat_put();
    let outcome = sink.commit(Some(staged), &to(Some(10), 20)).await;
    assert!(matches!(outcome, Ok(Commit::Landed(_))), "{outcome:?}");
    assert_eq!(seen(root.path()), (0..20).collect::<Vec<_>>());
    let log = read_log(&LocalStore::new(root.path()), "j").await.unwrap();
    assert_eq!(log.records.len(), 4, "fence, anchor and two windows");
}

/// The disk is full while a window is written: the run ends, says where, and leaves nothing.
#[tokio::test]
async fn a_full_disk_is_retried_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
    let mut sink = start(FilesOptions { store: Arc::new(store.clone()), ..options(root.path(), "j", "a") }).await;
    land(&mut sink, 1).await;
    store.fail_next("write");
    let mut staging = sink.open().await.unwrap();
    staging.write(rows(&plain_schema(), "t", 0, 10..20)).await.unwrap();
    let error = staging.seal().await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Retry, "{error}");
    assert!(error.message.contains(".part") && error.message.contains(&*root.path().to_string_lossy()), "{error}");
    assert_eq!(leftovers(root.path()).len(), 0);
}
