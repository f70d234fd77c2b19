//! How old records are when they become visible: the tail over the last five minutes.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Seconds that the tail looks back.
pub const SPAN: f64 = 300.0;
const SLICE: f64 = 10.0;
const PER_DOUBLING: f64 = 16.0;
/// Ages below this are not told apart, seconds.
const LOWEST: f64 = 1e-3;

/// A histogram of ages; bins grow by 4.4 %.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ages {
    bins: BTreeMap<u16, f64>,
    total: f64,
}

impl Ages {
    /// Counts `rows` records of this age, seconds.
    pub fn add(&mut self, age: f64, rows: f64) {
        if rows <= 0.0 {
            return;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, saturates
        let bin = ((age.max(LOWEST) / LOWEST).log2() * PER_DOUBLING) as u16;
        *self.bins.entry(bin).or_default() += rows;
        self.total += rows;
    }

    /// Counts `rows` records spread evenly between two ages.
    pub fn add_between(&mut self, from: f64, to: f64, rows: f64) {
        const PARTS: u8 = 8;
        for i in 0..PARTS {
            let share = (f64::from(i) + 0.5) / f64::from(PARTS);
            self.add(from + share * (to - from), rows / f64::from(PARTS));
        }
    }

    /// Takes in another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bin, rows) in &other.bins {
            *self.bins.entry(*bin).or_default() += rows;
        }
        self.total += other.total;
    }

    /// Records counted.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The age that a share `p` of records stays below, within 5 %; `None` without records.
    #[must_use]
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let mut left = p * self.total;
        for (bin, rows) in &self.bins {
            if left <= *rows {
                let at = f64::from(*bin) + left / rows;
                return Some(LOWEST * (at / PER_DOUBLING).exp2());
            }
            left -= rows;
        }
        self.bins.keys().next_back().map(|bin| LOWEST * (f64::from(bin + 1) / PER_DOUBLING).exp2())
    }
}

/// Ages of one window's records, with what does not count as fresh or late: backlog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowAges {
    /// Of records that came since the run began.
    pub ages: Ages,
    /// Records that count and are older than the target.
    pub late: f64,
    /// Records that were there before the run began: they tell how long nobody ran, not how windows are cut.
    pub backlog: f64,
    /// Records without a timestamp.
    pub unknown: f64,
    /// Age of the oldest record that counts, seconds.
    pub oldest: f64,
}

/// The last five minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tail {
    slices: VecDeque<(f64, Ages, f64)>,
    backlog: f64,
}

impl Tail {
    /// Takes in a window that became visible at `now`, seconds.
    pub fn add(&mut self, now: f64, window: &WindowAges) {
        self.backlog = window.backlog;
        match self.slices.back_mut() {
            Some((from, ages, late)) if now - *from < SLICE => {
                ages.merge(&window.ages);
                *late += window.late;
            }
            _ => self.slices.push_back((now, window.ages.clone(), window.late)),
        }
        while self.slices.front().is_some_and(|(from, ..)| now - from > SPAN) {
            self.slices.pop_front();
        }
    }

    fn sum(&self) -> Ages {
        let mut sum = Ages::default();
        for (_, ages, _) in &self.slices {
            sum.merge(ages);
        }
        sum
    }

    /// Age that 99 of 100 records stayed below, seconds.
    #[must_use]
    pub fn p99(&self) -> Option<f64> {
        self.sum().quantile(0.99)
    }

    /// Share of records that were late.
    #[must_use]
    pub fn late(&self) -> f64 {
        let all: f64 = self.slices.iter().map(|(_, ages, _)| ages.total()).sum();
        let late: f64 = self.slices.iter().map(|(.., late)| late).sum();
        if all > 0.0 { late / all } else { 0.0 }
    }

    /// Records of the last window that were older than the run.
    #[must_use]
    pub fn backlog(&self) -> f64 {
        self.backlog
    }
}
