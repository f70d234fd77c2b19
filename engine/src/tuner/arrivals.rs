//! How much comes: the rate of the last windows, and a peak that fades. Up at once, down slowly.

use serde::{Deserialize, Serialize};

/// Seconds until a peak counts half.
const PEAK_HALF_LIFE: f64 = 20.0;
/// So many times the peak is a burst.
const BURST: f64 = 1.3;

/// Arrival rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Rows a second, smoothed.
    level: f64,
    /// Rows a second, of the worst of late.
    peak: f64,
    bytes_per_row: f64,
    seen: bool,
}

impl Arrivals {
    /// Takes in a window of `seconds` with these rows and bytes.
    pub fn learn(&mut self, rows: f64, bytes: f64, seconds: f64) {
        let rate = rows / seconds.max(1e-3);
        let per_row = bytes / rows.max(1.0);
        if !self.seen {
            *self = Self { level: rate, peak: rate, bytes_per_row: per_row, seen: true };
            return;
        }
        let share = if rate > self.level { 0.7 } else { 0.3 };
        self.level += share * (rate - self.level);
        self.peak = rate.max(self.level + (self.peak - self.level) * (-seconds / PEAK_HALF_LIFE).exp2());
        self.bytes_per_row += 0.3 * (per_row - self.bytes_per_row);
    }

    /// Takes in the rate of the last moment, in the middle of a window. True for a burst: then it is the rate to be
    /// ready for.
    pub fn glance(&mut self, rate: f64) -> bool {
        let burst = self.seen && rate > BURST * self.peak();
        if burst {
            self.peak = rate;
        }
        burst
    }

    /// Rows a second to be ready for.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.peak.max(self.level)
    }

    /// Rows a second of late.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Bytes of a row, on average.
    #[must_use]
    pub fn bytes_per_row(&self) -> f64 {
        self.bytes_per_row
    }
}
