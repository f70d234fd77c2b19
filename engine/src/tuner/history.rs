//! What arrived and what windows cost of late: a small ring, to ask "what if" of last night.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::cost::Sample;
use super::loads::Trace;

/// Seconds of one entry of arrivals.
pub const STEP_SECONDS: u32 = 5;
/// Entries kept: a day.
const ARRIVALS: usize = 24 * 3600 / STEP_SECONDS as usize;
/// Costs of windows kept.
const COSTS: usize = 1000;

/// The ring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Wall time at which the first entry of arrivals begins, ms since the epoch.
    from_ms: i64,
    /// Rows of each step of [`STEP_SECONDS`].
    rows: VecDeque<f64>,
    /// Bytes of all rows in the ring.
    bytes_per_row: f64,
    /// Costs of the last windows.
    costs: VecDeque<Sample>,
}

impl History {
    /// Takes in a window that became visible at `wall_ms` and was filled over the `seconds` before its cut. `arrived`:
    /// its rows came then; rows of a backlog came earlier and say nothing about arrivals.
    pub fn add(&mut self, wall_ms: i64, seconds: f64, window: Sample, arrived: bool) {
        if self.costs.len() == COSTS {
            self.costs.pop_front();
        }
        self.costs.push_back(window);
        if !arrived || window.rows < 1.0 {
            return;
        }
        let per_row = window.bytes / window.rows;
        self.bytes_per_row += if self.bytes_per_row == 0.0 { per_row } else { 0.05 * (per_row - self.bytes_per_row) };
        // Its rows go to the steps it was filling in.
        let step = i64::from(STEP_SECONDS) * 1000;
        #[allow(clippy::cast_possible_truncation)] // seconds
        let end = wall_ms - (window.seconds * 1000.0) as i64;
        #[allow(clippy::cast_possible_truncation)] // seconds
        let begin = end - ((seconds * 1000.0) as i64).clamp(1, step * 1000);
        let mut at = begin;
        while at < end {
            let next = (at.div_euclid(step) + 1) * step;
            let until = next.min(end);
            #[allow(clippy::cast_precision_loss)] // milliseconds
            self.count(at.div_euclid(step) * step, window.rows * (until - at) as f64 / (end - begin) as f64);
            at = until;
        }
    }

    fn count(&mut self, slot_ms: i64, rows: f64) {
        let step = i64::from(STEP_SECONDS) * 1000;
        let length = i64::try_from(self.rows.len()).unwrap_or(0);
        let limit = i64::try_from(ARRIVALS).unwrap_or(i64::MAX);
        let ahead = (slot_ms - self.from_ms) / step - length;
        if self.rows.is_empty() || ahead >= limit {
            self.rows.clear();
            self.from_ms = slot_ms;
        }
        let at = (slot_ms - self.from_ms) / step;
        let Ok(at) = usize::try_from(at) else { return };
        while self.rows.len() <= at {
            self.rows.push_back(0.0);
        }
        self.rows[at] += rows;
        while self.rows.len() > ARRIVALS {
            self.rows.pop_front();
            self.from_ms += step;
        }
    }

    /// The arrivals as a trace for the simulator, and when it begins (ms since the epoch); `None`: nothing arrived.
    #[must_use]
    pub fn trace(&self) -> Option<(Trace, i64)> {
        let any = self.rows.iter().any(|rows| *rows > 0.0);
        any.then(|| (Trace::new(f64::from(STEP_SECONDS), self.rows.iter().copied(), self.bytes_per_row), self.from_ms))
    }

    /// Costs of the last windows.
    pub fn costs(&self) -> impl Iterator<Item = &Sample> {
        self.costs.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_the_steps_they_came_in_and_the_ring_is_a_day() {
        let mut history = History::default();
        let window = |rows| Sample { rows, bytes: rows * 100.0, seconds: 1.0 };
        // Filled from 2 s to 12 s, visible at 13 s.
        history.add(13_000, 10.0, window(100.0), true);
        let (trace, from) = history.trace().unwrap();
        assert_eq!(from, 0);
        let sums: Vec<f64> = [5.0, 10.0, 15.0].map(|t| trace.before(t)).to_vec();
        assert_eq!(sums, [30.0, 80.0, 100.0]);
        history.add(100_000, 5.0, window(50.0), false);
        assert_eq!(history.trace().unwrap().0.total(), 100.0, "a backlog is no arrival");
        for i in 0..40_000 {
            history.add(200_000 + i * 5_000, 5.0, window(10.0), true);
        }
        assert_eq!(history.trace().unwrap().0.seconds(), 86_400.0);
        assert_eq!(history.costs().count(), COSTS);
        let day_later = 40_000 * 5_000 + 2 * 86_400_000;
        history.add(day_later, 1.0, window(1.0), true);
        assert_eq!(history.trace().unwrap().0.total(), 1.0, "what is older than the ring is gone");
    }
}
