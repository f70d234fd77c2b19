//! Windows under pressure: little memory, early ends, aborts, explosions, deadlines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use tidemill_engine::operator::{Operator, WindowOperator};
use tidemill_operators::{Memory, SqlLimits, SqlOperator};

use common::run_window;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false), Field::new("s", DataType::Utf8, false)]))
}

/// Rows `from..to`, with about 100 bytes each.
fn batch(from: i64, to: i64) -> RecordBatch {
    let keys = Int64Array::from_iter_values(from..to);
    let texts =
        StringArray::from_iter_values((from..to).map(|k| format!("{:0>100}", k.wrapping_mul(7919) % 1_000_003)));
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(texts)]).expect("fits")
}

fn batches(rows: i64) -> Vec<RecordBatch> {
    (0..rows).step_by(5000).map(|from| batch(from, (from + 5000).min(rows))).collect()
}

fn window(query: &str, limits: SqlLimits) -> Arc<dyn WindowOperator> {
    match SqlOperator::plan(query, schema(), limits).expect("plans") {
        Operator::Window(op) => op,
        Operator::Rows(_) => panic!("is not row-wise: {query}"),
    }
}

fn limits(bytes: usize, dir: Option<&Path>) -> SqlLimits {
    SqlLimits {
        memory: Memory::Bytes(bytes),
        spill_dir: dir.map(Path::to_owned),
        deadline: Some(Duration::from_secs(120)),
        ..SqlLimits::default()
    }
}

fn sum(batches: &[RecordBatch], column: usize) -> i64 {
    batches.iter().flat_map(|b| b.column(column).as_primitive::<Int64Type>().values().iter()).sum()
}

fn files_below(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries.flatten().map(|e| if e.path().is_dir() { files_below(&e.path()) } else { 1 }).sum()
    })
}

const N: i64 = 200_000;

/// Every kind of query that holds rows, in an eighth or less of the memory that its rows take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_larger_than_memory_spill_and_are_right() {
    let dir = tempfile::tempdir().expect("a folder");
    for (query, count, total) in [
        ("SELECT k, count(*) AS n FROM input GROUP BY k", N, N * (N - 1) / 2),
        ("SELECT k, s FROM input ORDER BY s, k", N, N * (N - 1) / 2),
        ("SELECT DISTINCT k, s FROM input", N, N * (N - 1) / 2),
        // Comes while the window fills, so it waits outside of the query.
        ("SELECT k, unnest(make_array(1, 2)) AS u, s FROM input", 2 * N, N * (N - 1)),
        // Reads its input twice, so the input waits.
        ("SELECT k, s FROM input UNION ALL SELECT k, s FROM input", 2 * N, N * (N - 1)),
    ] {
        let op = window(query, limits(4 << 20, Some(dir.path())));
        let result = run_window(op.as_ref(), batches(N)).await.unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(result.iter().map(|b| b.num_rows() as i64).sum::<i64>(), count, "{query}");
        assert_eq!(sum(&result, 0), total, "{query}");
        assert_eq!(files_below(dir.path()), 0, "{query} leaves files");
    }
    let op = window("SELECT s, k FROM input ORDER BY s, k", limits(4 << 20, Some(dir.path())));
    let result = run_window(op.as_ref(), batches(N)).await.expect("is sorted");
    let texts: Vec<&str> =
        result.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().map(|s| s.expect("no null"))).collect();
    assert!(texts.is_sorted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_place_to_spill_a_window_that_does_not_fit_is_an_error_and_memory_comes_back() {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(4 << 20));
    let limits = SqlLimits { memory: Memory::Pool(Arc::clone(&pool)), ..SqlLimits::default() };
    for query in [
        "SELECT k, s, count(*) AS n FROM input GROUP BY k, s",
        "SELECT k, s FROM input ORDER BY s",
        "SELECT a.k FROM input AS a JOIN input AS b ON a.k = b.k",
    ] {
        let op = window(query, limits.clone());
        let e = run_window(op.as_ref(), batches(N)).await.expect_err(query);
        assert!(e.message.contains("memory") || e.message.contains("disk"), "{query}: {e}");
        // The thread of a failed window ends a moment after its error is told.
        for _ in 0..500 {
            if pool.reserved() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(pool.reserved(), 0, "{query}");
        let small = run_window(op.as_ref(), batches(100)).await.expect("the next window is a new one");
        assert!(!small.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spill_folder_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = SqlLimits { spill_bytes_max: 1 << 20, ..limits(4 << 20, Some(dir.path())) };
    let op = window("SELECT k, s FROM input ORDER BY s", limits);
    let e = run_window(op.as_ref(), batches(N)).await.expect_err("does not fit");
    assert!(e.message.contains("disk") || e.message.contains("spill"), "{e}");
}

/// A query that has enough must not leave the pushing side waiting for ever.
#[tokio::test]
async fn a_limit_that_stops_reading_takes_the_rest_of_the_window() {
    for query in
        ["SELECT k FROM input LIMIT 3", "SELECT k FROM input WHERE k >= 0 LIMIT 3", "SELECT k FROM input LIMIT 0"]
    {
        let op = window(query, limits(4 << 20, None));
        let work = run_window(op.as_ref(), batches(N));
        let result = tokio::time::timeout(Duration::from_secs(30), work).await.expect("ends").expect("is no error");
        let expected = if query.ends_with('0') { 0 } else { 3 };
        assert_eq!(result.iter().map(RecordBatch::num_rows).sum::<usize>(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_window_without_rows_is_not_run() {
    let op = window("SELECT count(*) AS n FROM input", limits(4 << 20, None));
    assert!(run_window(op.as_ref(), vec![]).await.expect("is no error").is_empty());
    assert!(run_window(op.as_ref(), vec![batch(0, 0)]).await.expect("is no error").is_empty());
    assert_eq!(sum(&run_window(op.as_ref(), vec![batch(0, 2)]).await.expect("runs"), 0), 2);
}

/// Two windows of one operator at once, as the engine fills one while it commits another.
#[tokio::test]
async fn windows_do_not_see_each_other() {
    let op = window("SELECT sum(k) AS s, count(*) AS n FROM input", limits(4 << 20, None));
    let (mut a, mut b) = (op.open(), op.open());
    for i in 0..10 {
        a.push(batch(i, i + 1)).await.expect("is taken");
        b.push(batch(100 + i, 101 + i)).await.expect("is taken");
    }
    let (mut b, mut a) = (b.finish(), a.finish());
    assert_eq!(sum(&[a.next().await.expect("a row").expect("is no error")], 0), 45);
    assert_eq!(sum(&[b.next().await.expect("a row").expect("is no error")], 0), 1045);
    assert!(a.next().await.is_none() && a.next().await.is_none(), "stays at its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_window_ends_its_query_and_gives_memory_and_files_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(8 << 20));
    let limits = SqlLimits {
        memory: Memory::Pool(Arc::clone(&pool)),
        spill_dir: Some(dir.path().to_owned()),
        ..SqlLimits::default()
    };
    for (query, finish) in [
        ("SELECT k, s FROM input ORDER BY s", false),
        ("SELECT a.k FROM input AS a CROSS JOIN input AS b", true),
        ("SELECT k, s FROM input UNION ALL SELECT k, s FROM input", true),
    ] {
        let op = window(query, limits.clone());
        let mut filling = op.open();
        for rows in batches(50_000) {
            filling.push(rows).await.expect("is taken");
        }
        if finish {
            let mut results = filling.finish();
            results.next().await.expect("a batch").expect("is no error");
            drop(results);
        } else {
            drop(filling);
        }
        for _ in 0..1000 {
            if pool.reserved() == 0 && files_below(dir.path()) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((pool.reserved(), files_below(dir.path())), (0, 0), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explosions_end_at_the_cap_on_rows() {
    let limits = SqlLimits { output_rows_max: 1_000_000, ..limits(32 << 20, None) };
    let op = window("SELECT a.k FROM input AS a CROSS JOIN input AS b", limits);
    let e = run_window(op.as_ref(), batches(20_000)).await.expect_err("is too many");
    assert!(e.message.contains("more than 1000000 rows"), "{e}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_beyond_its_deadline_is_an_error() {
    let limits = SqlLimits { deadline: Some(Duration::from_millis(300)), ..limits(256 << 20, None) };
    let op = window("SELECT sum(a.k + b.k) AS s FROM input AS a CROSS JOIN input AS b", limits);
    let e = run_window(op.as_ref(), batches(50_000)).await.expect_err("takes too long");
    assert!(e.message.contains("deadline"), "{e}");
}

/// The deadline is for the query, not for a window that fills slowly or a sink that reads slowly.
#[tokio::test]
async fn waiting_for_others_does_not_count() {
    let limits = SqlLimits { deadline: Some(Duration::from_millis(400)), ..limits(32 << 20, None) };
    let op = window("SELECT k FROM input ORDER BY k", limits);
    let mut filling = op.open();
    for i in 0..3 {
        filling.push(batch(i, i + 1)).await.expect("is taken");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut results = filling.finish();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sum(&[results.next().await.expect("a batch").expect("is no error")], 0), 3);
}

#[tokio::test]
async fn an_error_of_a_row_fails_the_window() {
    let op = window("SELECT sum(10 / k) AS s FROM input", limits(4 << 20, None));
    let e = run_window(op.as_ref(), vec![batch(0, 3)]).await.expect_err("divides by zero");
    assert!(e.message.contains("divide by zero"), "{e}");
    assert!(run_window(op.as_ref(), vec![batch(1, 3)]).await.is_ok());
}
