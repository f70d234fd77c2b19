//! Mutation fuzzing of the decoder: chunks of damaged records, of many schemas, against the oracle.
//!
//! Seeds are the files of `connectors/tests/corpus/json`. Records whose outcome was not seen before (another cause,
//! another message, another kind of value in a column) join the seeds, so that faults are built on faults.
//!
//! ```sh
//! cargo test -p tidemill-connectors --lib json::tests::fuzz                       # a short share, always the same
//! TIDEMILL_FUZZ_SECONDS=1800 TIDEMILL_FUZZ_SEED=7 cargo test -p tidemill-connectors --lib \
//!     json::tests::fuzz::mutated_records -- --nocapture                           # half an hour of CPU time
//! ```
//! What it finds is made small and printed as bytes; once it is understood it goes to the corpus, under
//! `found/`, and as a named case to `table`.

mod corpus;
mod driver;
mod mutate;
mod outcome;
mod sabotage;
mod target;

use std::time::{Duration, Instant};

use driver::Fuzzer;

/// Chunks in the share that every run of the tests has.
const SHORT: u64 = 3_000;
/// A run ends when it has found so many different faults.
const FOUND_MAX: usize = 10;

#[test]
fn every_seed_comes_out_as_the_oracle_says() {
    let seeds = corpus::seeds();
    assert!(seeds.len() >= 100, "only {} seeds in {}", seeds.len(), corpus::folder().display());
    for mut target in target::all() {
        for values in seeds.chunks(7) {
            let values: Vec<_> = values.iter().map(|s| Some(s.bytes.clone())).collect();
            if let Err(what) = target.execute(&values) {
                panic!("schema `{}`: {what}", target.name);
            }
        }
    }
}

#[test]
fn mutated_records() {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect(name));
    let seconds = number("TIDEMILL_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("TIDEMILL_FUZZ_SEED").unwrap_or(1);
    let mut fuzzer = Fuzzer::new(seed, target::all(), corpus::seeds());
    let (started, mut told) = (Instant::now(), Instant::now());
    let spent = || cpu_time().unwrap_or_else(|| started.elapsed());
    let begun = spent();
    loop {
        fuzzer.step();
        if fuzzer.executions.is_multiple_of(100) {
            let enough = match seconds {
                Some(seconds) => spent().saturating_sub(begun) >= seconds,
                None => fuzzer.executions >= SHORT,
            };
            if enough || fuzzer.found.len() >= FOUND_MAX {
                break;
            }
            if told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                tell(&fuzzer, seed, spent().saturating_sub(begun));
            }
        }
    }
    tell(&fuzzer, seed, spent().saturating_sub(begun));
    assert!(fuzzer.found.is_empty(), "{} found:\n{}", fuzzer.found.len(), fuzzer.found.join("\n"));
    // A run that only meets garbage, or only good records, shows nothing.
    let taken = fuzzer.taken as f64 / fuzzer.records as f64;
    assert!((0.05..0.95).contains(&taken), "{taken:.3} of the records are good ones");
    assert!(fuzzer.grown > 100, "{} new outcomes", fuzzer.grown);
}

#[allow(clippy::print_stderr)]
fn tell(fuzzer: &Fuzzer, seed: u64, spent: Duration) {
    eprintln!(
        "seed {seed}: {} chunks, {} records ({} good), {:.0} CPU seconds, {} new outcomes, slowest chunk {:?}, {} found",
        fuzzer.executions,
        fuzzer.records,
        fuzzer.taken,
        spent.as_secs_f64(),
        fuzzer.grown,
        fuzzer.slowest,
        fuzzer.found.len(),
    );
}

/// CPU time of this thread, where the system tells it.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
