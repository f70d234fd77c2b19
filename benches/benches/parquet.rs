//! A window of W1 through the files sink: encoded into staged files and sealed. Rows a second; disk and fsync are
//! in it.
#![allow(missing_docs)] // criterion's macro makes a public function without

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill_benches::parts::{decoder, full_chunk};
use tidemill_connectors::files::{Compression, FileFormat, FilesOptions, FilesSink, LocalStore, ParquetOptions};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::Sink;

/// Batches of a window: about 150,000 rows.
const BATCHES: usize = 8;

fn parquet(c: &mut Criterion) {
    let rows = decoder().decode(&full_chunk(4 << 20)).rows;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut group = c.benchmark_group("parquet");
    group.throughput(Throughput::Elements((rows.num_rows() * BATCHES) as u64));
    group.sample_size(10);
    for (name, compression) in [("snappy", Compression::Snappy), ("zstd", Compression::Zstd)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(LocalStore::new(folder.path()));
        let mut options = FilesOptions::new("bench", "a", store, rows.schema(), Clock::system());
        options.format = FileFormat::Parquet(ParquetOptions { compression, ..ParquetOptions::default() });
        let mut sink = FilesSink::new(options).expect("a sink");
        runtime.block_on(sink.recover(&[])).expect("recovers");
        group.bench_function(format!("stage a window, {name}"), |b| {
            b.iter_batched(
                || runtime.block_on(sink.open()).expect("opens"),
                |mut staging| {
                    runtime.block_on(async {
                        for _ in 0..BATCHES {
                            staging.write(rows.clone()).await.expect("writes");
                        }
                        let staged = staging.seal().await.expect("seals");
                        assert_eq!(staged.rows as usize, rows.num_rows() * BATCHES);
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
