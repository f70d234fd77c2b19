//! The protocol under a seeded scheduler: two to four daemons, two sinks, a consumer group and a network that delays,
//! doubles, loses and reorders commits and their answers. Daemons crash, freeze, wake up as zombies, lose partitions with
//! and without being asked; partitions appear, records vanish, a person resets positions. When the trouble is over,
//! every record has to be in its sink as often as it should, and the commits have to be a chain.
//!
//! `TIDEMILL_HISTORIES=5000000` plays so many histories instead of 20,000. `TIDEMILL_SEED=n` plays one and prints what
//! happened in it.
#![allow(clippy::print_stderr, clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

mod group;
mod instance;
mod store;
mod topic;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::{Counts, Mutation, play};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is to be a number, not `{text}`")))
}

/// Plays histories until one fails: the lowest seed that did, and why; else what happened in all of them.
fn search(histories: u64, mutation: Mutation) -> Result<Counts, (u64, String)> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let total = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let mut counts = Counts::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= histories {
                        break;
                    }
                    let outcome = play(seed, mutation, false);
                    counts.add(outcome.counts);
                    if let Some(why) = outcome.failure {
                        next.fetch_max(histories, Ordering::Relaxed);
                        let mut found = found.lock().expect("not poisoned");
                        if found.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                            *found = Some((seed, why));
                        }
                    }
                }
                total.lock().expect("not poisoned").add(counts);
            });
        }
    });
    match found.into_inner().expect("not poisoned") {
        Some(found) => Err(found),
        None => Ok(total.into_inner().expect("not poisoned")),
    }
}

#[test]
fn every_record_is_there_once_whatever_happens() {
    if let Some(seed) = number("TIDEMILL_SEED") {
        let outcome = play(seed, Mutation::Nothing, true);
        eprintln!("{}", outcome.trace.join("\n"));
        assert_eq!(outcome.failure, None, "seed {seed}");
        return;
    }
    let histories = number("TIDEMILL_HISTORIES").unwrap_or(20_000);
    let begun = Instant::now();
    let counts = match search(histories, Mutation::Nothing) {
        Ok(counts) => counts,
        Err((seed, why)) => panic!("seed {seed}: {why}; see it with TIDEMILL_SEED={seed}"),
    };
    eprintln!("{histories} histories in {:.1} s", begun.elapsed().as_secs_f64());
    for (what, times) in counts.named() {
        eprintln!("  {what:14} {times:>10}");
        // A simulation in which something never happens says nothing about it.
        assert!(histories < 1000 || times >= histories / 50, "{what} happened {times} times in {histories} histories");
    }
}

/// Leaves a part of the protocol out: the simulation has to notice within a few histories.
fn is_noticed(mutation: Mutation) {
    match search(2_000, mutation) {
        Ok(_) => panic!("{mutation:?}: nothing was noticed in 2000 histories"),
        Err((seed, why)) => eprintln!("{mutation:?}: noticed by seed {seed}: {why}"),
    }
}

#[test]
fn a_sink_that_does_not_compare_is_noticed() {
    is_noticed(Mutation::NoCompare);
}

#[test]
fn a_start_without_an_anchor_is_noticed() {
    is_noticed(Mutation::NoAnchor);
}

#[test]
fn taking_unknown_for_failed_is_noticed() {
    is_noticed(Mutation::UnknownIsFailed);
}

#[test]
fn dead_letters_after_the_rows_are_noticed() {
    is_noticed(Mutation::DeadLettersLast);
}

#[test]
fn believing_the_answer_to_an_earlier_run_is_noticed() {
    is_noticed(Mutation::AnyAnswer);
}
