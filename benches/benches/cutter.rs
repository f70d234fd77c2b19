//! The cutter's decision: taken after every look at the source.
#![allow(missing_docs)] // criterion's macro makes a public function without

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tidemill_engine::window::{Facts, WindowBounds, decide, wait};

fn cutter(c: &mut Criterion) {
    let bounds = WindowBounds {
        max_age: Duration::from_secs(5),
        max_rows: 500_000,
        max_bytes: 256 << 20,
        idle: Some(Duration::from_millis(500)),
    };
    let at = Duration::from_millis;
    let open = Facts { rows: 1000, bytes: 235_000, opened_at: Some(at(10)), last_at: at(20), commit_in_flight: false };
    c.bench_function("cutter/decide, window stays open", |b| {
        b.iter(|| decide(black_box(&bounds), black_box(&open), black_box(at(30))));
    });
    c.bench_function("cutter/wait", |b| b.iter(|| wait(black_box(&bounds), black_box(&open), black_box(at(30)))));
}

criterion_group!(benches, cutter);
criterion_main!(benches);
