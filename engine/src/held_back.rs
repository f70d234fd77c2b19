//! Windows without rows, whose positions wait for the next commit: a commit costs a sink much more than the second or
//! so of reading that it would save after a crash.

use std::time::Duration;

use crate::partition::{Partition, Positions};
use crate::pipeline::Cut;
use crate::protocol;

/// Cut windows that moved positions and made no row.
pub(crate) struct HeldBack {
    /// When the first of them was cut.
    since: Duration,
    /// All of them as one.
    cut: Cut,
}

impl HeldBack {
    /// `cut` behind what was held back before it.
    pub(crate) fn join(before: Option<Self>, mut cut: Cut) -> Self {
        let since = before.as_ref().map_or(cut.at, |b| b.since);
        // Ends only grow, so the newest ones cover all of them.
        cut.window.facts.rows += before.map_or(0, |b| b.cut.window.facts.rows);
        Self { since, cut }
    }

    /// Whether it may wait longer.
    pub(crate) fn waits(&self, has_rows: bool, now: Duration) -> bool {
        protocol::holds_back(has_rows, self.since, now)
    }

    /// How long it may wait.
    pub(crate) fn left(&self, now: Duration) -> Duration {
        (self.since + protocol::EMPTY_FOR).saturating_sub(now)
    }

    /// The positions that everything up to is dealt with: those held, or those that wait.
    pub(crate) fn passed(&self, held: &Positions, partitions: &[Partition]) -> Positions {
        let mut passed = held.clone();
        for (partition, end) in partitions.iter().zip(&self.cut.window.ends) {
            if let Some(at) = passed.0.get_mut(partition) {
                at.offset = at.offset.max(*end);
            }
        }
        passed
    }

    /// It was published: its records are not told of again when it lands.
    pub(crate) fn published(&mut self) {
        self.cut.window.oldest_ms = i64::MAX;
        self.cut.window.newest_ms.fill(i64::MIN);
    }

    /// What to commit: with the window that it waited for, or alone at `now`, for waiting is no part of how long a commit
    /// takes.
    pub(crate) fn release(self, now: Option<Duration>) -> Cut {
        Cut { at: now.unwrap_or(self.cut.at), counted: now.is_some(), ..self.cut }
    }

    /// The window itself.
    pub(crate) fn cut(&self) -> &Cut {
        &self.cut
    }
}
