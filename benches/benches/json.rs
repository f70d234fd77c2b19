//! Decoding JSON of W1, beside arrow-json: MB of JSON a second on one core.
#![allow(missing_docs)] // criterion's macro makes a public function without

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidemill_benches::clicks::{Clicks, SEED};
use tidemill_benches::parts::{decoder, full_chunk};
use tidemill_engine::chunk::Chunk;

fn json(c: &mut Criterion) {
    let chunk = full_chunk(&mut Clicks::new(SEED), 4 << 20);
    let mut group = c.benchmark_group("json");
    group.throughput(Throughput::Bytes(chunk.bytes() as u64));
    let mut ours = decoder();
    group.bench_function("tidemill", |b| {
        b.iter(|| {
            let decoded = ours.decode(&chunk);
            assert_eq!(decoded.rows.num_rows(), chunk.len(), "{:?}", decoded.rejects.first());
        });
    });
    group.bench_function("arrow-json", |b| b.iter(|| assert_eq!(arrow_json(&chunk), chunk.len())));
    group.finish();
}

/// As the raw loop decodes: without a look at what each record is.
fn arrow_json(chunk: &Chunk) -> usize {
    let mut decoder = arrow_json::ReaderBuilder::new(tidemill_benches::clicks::schema())
        .with_batch_size(chunk.len())
        .build_decoder()
        .expect("a decoder");
    for record in chunk.iter() {
        decoder.decode(record.value.unwrap_or_default()).expect("good records");
    }
    decoder.flush().expect("rows").map_or(0, |batch| batch.num_rows())
}

criterion_group!(benches, json);
criterion_main!(benches);
