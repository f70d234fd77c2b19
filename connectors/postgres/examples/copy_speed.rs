//! Rows a second into Postgres through the sink, beside `psql` copying the same rows from a file.
//!
//! `cargo run -p tidemill-postgres --example copy_speed [ROWS]`: on a server of its own, which it starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::*;
use arrow::datatypes::TimeUnit;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::Sink;
use tidemill_postgres::{Mode, PostgresOptions, PostgresSink, TableName};
use tidemill_test_servers::postgres::Postgres;

/// Ten columns of a clickstream.
fn batch(from: i64, rows: i64) -> RecordBatch {
    let at = from..from + rows;
    let text = |f: fn(i64) -> String| Arc::new(at.clone().map(|i| Some(f(i))).collect::<StringArray>()) as ArrayRef;
    let tags: ListArray = {
        let mut tags = ListBuilder::new(StringBuilder::new());
        at.clone().for_each(|i| tags.append_value([Some(format!("tag{}", i % 7)), Some("b".into())]));
        tags.finish()
    };
    let amount: Decimal128Array = at.clone().map(|i| Some(i128::from(i % 1_000_000))).collect();
    let ts: TimestampMillisecondArray = at.clone().map(|i| Some(1_790_000_000_000 + i)).collect();
    assert!(matches!(ts.data_type(), arrow::datatypes::DataType::Timestamp(TimeUnit::Millisecond, None)));
    RecordBatch::try_from_iter(vec![
        ("event_id", text(|i| format!("0190ab12-0000-7000-8000-{i:012x}"))),
        ("seq", Arc::new(at.clone().collect::<Int64Array>()) as ArrayRef),
        ("user_id", Arc::new(at.clone().map(|i| (i * 7) % 100_000).collect::<Int64Array>())),
        ("ts", Arc::new(ts.with_timezone("+00:00"))),
        ("type", text(|i| ["view", "cart", "order"][(i % 3) as usize].into())),
        ("url", text(|i| format!("https://shop.example/products/{}?ref={}", i % 5000, i % 11))),
        ("price", Arc::new(at.clone().map(|i| i as f64 / 100.0).collect::<Float64Array>())),
        ("mobile", Arc::new(at.clone().map(|i| Some(i % 2 == 0)).collect::<BooleanArray>())),
        ("amount", Arc::new(amount.with_precision_and_scale(12, 2).unwrap())),
        ("tags", Arc::new(tags)),
    ])
    .unwrap()
}

fn peak_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    const BATCH: i64 = 20_000;
    let postgres = Postgres::start().unwrap();
    let table = TableName::parse("clicks").unwrap();
    let batches: Vec<RecordBatch> = (0..rows / BATCH).map(|i| batch(i * BATCH, BATCH)).collect();
    let mut options = PostgresOptions::new(&postgres.url(), table, "speed", "a", batches[0].schema());
    options.create = true;
    let partition = Partition::new("t", 0);
    let anchor: OffsetRanges = [(partition.clone(), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
    let all: OffsetRanges = [(partition.clone(), OffsetRange::new(0, rows))].into_iter().collect();
    for mode in [Mode::Append, Mode::Upsert] {
        let mut options = options.clone();
        if mode == Mode::Upsert {
            (options.mode, options.key) = (mode, vec!["event_id".into()]);
            options.table = TableName::parse("clicks_upserted").unwrap();
        }
        let mut sink = PostgresSink::new(options).unwrap();
        sink.recover(std::slice::from_ref(&partition)).await.unwrap();
        sink.commit(None, &anchor).await.unwrap();
        let (before, begun) = (peak_rss_kib(), Instant::now());
        let mut staging = sink.open().await.unwrap();
        for batch in &batches {
            staging.write(batch.clone()).await.unwrap();
        }
        let staged = staging.seal().await.unwrap();
        let bytes = staged.bytes;
        sink.commit(Some(staged), &all).await.unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "sink, {mode:?}: {rows} rows, {} MiB in one window in {seconds:.2} s: {:.0} rows/s; memory grew by {} KiB",
            bytes >> 20,
            rows as f64 / seconds,
            peak_rss_kib() - before
        );
    }
    let small = Instant::now();
    options.table = TableName::parse("small").unwrap();
    let mut sink = PostgresSink::new(options).unwrap();
    sink.recover(std::slice::from_ref(&partition)).await.unwrap();
    sink.commit(None, &anchor).await.unwrap();
    for i in 0..500 {
        let mut staging = sink.open().await.unwrap();
        staging.write(batches[0].slice(0, 10)).await.unwrap();
        let staged = staging.seal().await.unwrap();
        let moved = [(partition.clone(), OffsetRange::new(i, i + 1))].into_iter().collect();
        sink.commit(Some(staged), &moved).await.unwrap();
    }
    println!("sink: windows of 10 rows: {:.2} ms each", small.elapsed().as_secs_f64() * 1000.0 / 500.0);
    for form in ["binary", "text"] {
        let file = postgres.folder().join("rows");
        let psql = |sql: &str| {
            let done = Command::new(postgres.program("psql"))
                .args(["-X", "-q", &postgres.url(), "-v", "ON_ERROR_STOP=1", "-c", sql])
                .status()
                .unwrap();
            assert!(done.success());
        };
        psql(&format!("\\copy clicks to '{}' (format {form})", file.display()));
        psql(&format!("CREATE TABLE plain_{form} (LIKE clicks)"));
        let begun = Instant::now();
        psql(&format!("\\copy plain_{form} from '{}' (format {form})", file.display()));
        let seconds = begun.elapsed().as_secs_f64();
        println!("psql \\copy, {form}: {rows} rows in {seconds:.2} s: {:.0} rows/s", rows as f64 / seconds);
    }
}
