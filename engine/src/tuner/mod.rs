//! The window that tunes itself: how long to let a window grow so that what a user reads is fresh enough at the least
//! number of commits.
//!
//! Everything here is pure: facts of landed windows and the time go in, a choice comes out. Reading order:
//! [`cost`] (what a window costs) and [`ratios`] (how far that is off) → [`arrivals`] (how much comes) → [`outlook`]
//! (what a window of so many seconds leads to) → [`decide`] (which one) → [`Tuner`] (states, trim, fallback) with the
//! [`pi`] loop it falls back to → [`explain`] (in words). [`simulator`] runs the very same code over [`loads`].
//!
//! A choice is a [`Line`]: cut when the age of the window's first record plus what its rows and bytes will cost passes a
//! budget. A burst shortens the window it falls into, not only the next one.
//!
//! Correctness is never touched: a tuner only says when a window is cut, within the bounds a person set.

pub mod arrivals;
pub mod cost;
pub mod decide;
pub mod explain;
pub mod freshness;
pub mod history;
mod learner;
pub mod loads;
pub mod outlook;
pub mod pi;
pub mod plot;
pub mod policy;
pub mod ratios;
pub mod simulator;

pub use cost::Cost;
pub use learner::{Caps, Choice, Kept, Landed, Limit, Mode, Reachable, State, Tuner};

use serde::{Deserialize, Serialize};

/// When to cut: once `age + per_row · rows + per_byte · bytes ≥ budget`, all in seconds, `age` being that of the window's
/// first record; but not before `shortest`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Seconds.
    pub budget: f64,
    /// Seconds a row.
    pub per_row: f64,
    /// Seconds a byte.
    pub per_byte: f64,
    /// The least age at a cut, seconds.
    pub shortest: f64,
}

impl Line {
    /// A line that looks at time alone.
    #[must_use]
    pub fn time(seconds: f64) -> Self {
        Self { budget: seconds, per_row: 0.0, per_byte: 0.0, shortest: seconds }
    }

    /// The age at which a window with these rows and bytes is cut, seconds.
    #[must_use]
    pub fn age(&self, rows: f64, bytes: f64) -> f64 {
        (self.budget - self.per_row * rows - self.per_byte * bytes).max(self.shortest)
    }
}

#[cfg(test)]
mod tests;
