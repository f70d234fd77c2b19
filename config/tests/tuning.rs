//! `freshness` and what comes with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{faults, job, load};
use tidemill_config::{Tuning, Window};

fn window(lines: &str) -> Window {
    load(&job(&format!("window = {{ {lines} }}"))).expect("loads").config.jobs["a"].window.clone()
}

#[test]
fn a_freshness_opens_the_bounds_that_are_not_given() {
    let s = Duration::from_secs;
    let fresh = window("freshness = \"10s\"");
    assert_eq!((fresh.freshness, fresh.tuning, fresh.max_age), (Some(s(10)), None, s(10)));
    assert_eq!((fresh.max_rows, fresh.max_bytes), (100_000_000, 4 << 30));
    assert_eq!(Tuning::default(), Tuning::On);
    let capped = window("freshness = \"10s\", max_age = \"5s\", max_rows = 500000, tuning = \"observe\"");
    assert_eq!((capped.max_age, capped.max_rows, capped.tuning), (s(5), 500_000, Some(Tuning::Observe)));
    assert_eq!(window("").max_age, s(5));
}

#[test]
fn what_is_wrong_with_a_freshness_is_said() {
    for (lines, part) in [
        ("freshness = \"100ms\"", "job.a.window.freshness: expected at least \"500ms\""),
        ("tuning = \"on\"", "job.a.window.tuning: without effect: expected a freshness"),
        ("freshness = \"5s\", tuning = \"maybe\"", "job.a.window.tuning"),
    ] {
        let faults = faults(&job(&format!("window = {{ {lines} }}")));
        assert!(faults.len() == 1 && faults[0].contains(part), "{lines}: {faults:#?}");
    }
}
