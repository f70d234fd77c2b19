//! Bytes that the encoders of a sink hold: what they are bounded by, and shown.

use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Gauge, gauge};
use tidemill_engine::metrics::MEMORY;

/// An account. Sinks of one job add up in what is shown.
pub(super) struct Held {
    bytes: AtomicUsize,
    shown: Gauge,
}

#[allow(clippy::cast_precision_loss)] // a gauge is a float
impl Held {
    /// Of a sink of this job.
    pub(super) fn new(job: &str) -> Self {
        let shown = gauge!(MEMORY, "job" => job.to_owned(), "kind" => "encoders");
        Self { bytes: AtomicUsize::new(0), shown }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// What held `before` bytes holds `after`; in one step, so that nobody sees both.
    pub(super) fn change(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after.wrapping_sub(before), Ordering::AcqRel);
        self.shown.increment(after as f64 - before as f64);
    }
}
