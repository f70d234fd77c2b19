//! A window of W1 through the files sink: encoded into staged files and sealed. Rows a second; disk and fsync are
//! in it.
#![allow(missing_docs)] // criterion's macro makes a public function without

use std::sync::Arc;

use arrow::array::RecordBatch;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_benches::clicks::{Clicks, SEED};
use tidemill_benches::parts::{decoder, full_chunk};
use tidemill_connectors::files::{Compression, FileFormat, FilesOptions, FilesSink, LocalStore, ParquetOptions};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::Sink;

/// Batches of a window: about 150,000 rows.
const BATCHES: usize = 8;

fn parquet(c: &mut Criterion) {
    // All different: rows that come again would make dictionaries of what has none.
    let (mut clicks, mut decoder) = (Clicks::new(SEED), decoder());
    let batches: Vec<RecordBatch> =
        (0..BATCHES).map(|_| decoder.decode(&full_chunk(&mut clicks, 4 << 20)).rows).collect();
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("parquet");
    group.throughput(Throughput::Elements(count as u64));
    group.sample_size(10);
    for (name, compression) in [("snappy", Compression::Snappy), ("zstd", Compression::Zstd)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(LocalStore::new(folder.path()));
        let mut options = FilesOptions::new("bench", "a", store, batches[0].schema(), Clock::system());
        options.format = FileFormat::Parquet(ParquetOptions { compression, ..ParquetOptions::default() });
        let mut sink = FilesSink::new(options).expect("a sink");
        runtime.block_on(sink.recover(&[])).expect("recovers");
        group.bench_function(format!("stage a window, {name}"), |b| {
            b.iter_batched(
                || runtime.block_on(sink.open()).expect("opens"),
                |mut staging| {
                    runtime.block_on(async {
                        for rows in &batches {
                            staging.write(rows.clone()).await.expect("writes");
                        }
                        let staged = staging.seal().await.expect("seals");
                        assert_eq!(staged.rows, count as u64);
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, parquet);
criterion_main!(benches);
