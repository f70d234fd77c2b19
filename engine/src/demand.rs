//! What a job publishes for [`scaling`](crate::scaling): what comes for it, and what it can do.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::capacity::{Capacity, Room};
use crate::load::{Load, Look};
use crate::scaling::Need;
use crate::tuning::Spent;

/// What is asked of a job, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demanded {
    /// What is asked of it.
    pub need: Need,
    /// Partitions there are, those of other members included.
    pub partitions: u32,
    /// Records a second that this instance could do; `None`: not known yet.
    pub capacity: Option<f64>,
    /// Seconds of a processor that a record takes.
    pub work: f64,
}

#[derive(Default)]
struct Inner {
    capacity: Capacity,
    load: Load,
    /// Partitions here, and in all.
    partitions: (usize, usize),
    room: Option<Room>,
}

/// Fed by a job's runs, read by the daemon.
#[derive(Default)]
pub struct Demand(Mutex<Inner>);

impl Demand {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins, with so many partitions of so many.
    pub(crate) fn run_begins(&self, here: usize, in_all: usize) {
        let mut inner = self.inner();
        inner.load = Load::default();
        inner.partitions = (here, in_all.max(here));
    }

    /// See [`Load::look`].
    pub(crate) fn look(&self, now: Duration, look: &Look) {
        self.inner().load.look(now, look);
    }

    /// See [`Capacity::worked`].
    #[allow(clippy::cast_precision_loss)] // records, far below 2^52
    pub(crate) fn worked(&self, rows: u64, bytes: u64, spent: &Spent) {
        self.inner().capacity.worked(rows as f64, bytes as f64, spent);
    }

    /// A commit landed at `now`; the one before it at `before` (zero: there was none in this run).
    #[allow(clippy::cast_precision_loss)] // records, far below 2^52
    pub(crate) fn landed(&self, now: Duration, before: Duration, rows: u64, bytes: u64, commit: Duration) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.capacity.committed(rows as f64, bytes as f64, commit);
        if let Some(room) = &inner.room
            && !before.is_zero()
            && inner.load.behind_since(before)
        {
            inner.capacity.passed(rows as f64, now.saturating_sub(before), room);
        }
    }

    /// What it comes to within `room`; `None`: it is too early to say.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // records and partitions, far below 2^52
    pub fn look_at(&self, room: Room) -> Option<Demanded> {
        let mut inner = self.inner();
        inner.room = Some(room);
        let (here, in_all) = inner.partitions;
        let partitions = u32::try_from(in_all).unwrap_or(u32::MAX);
        let capacity = inner.capacity.per_second(&room);
        let work = inner.capacity.work(&room);
        if here == 0 {
            // Standing by: whoever has partitions says what is needed.
            let need = Need { arrivals: 0.0, unread: 0.0, share: 1.0 };
            return Some(Demanded { need, partitions, capacity, work });
        }
        let need = Need {
            arrivals: inner.load.arrivals()?,
            unread: inner.load.unread() as f64,
            share: here as f64 / in_all as f64,
        };
        (capacity.is_some() || need.per_second() == 0.0).then_some(Demanded { need, partitions, capacity, work })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_sees_its_part_and_one_that_stands_by_asks_for_nothing() {
        let room = Room { workers: 2.0, rows: 1000.0, bytes: 1e9, commit: None };
        let s = Duration::from_secs;
        let demand = Demand::default();
        let standing_by = demand.look_at(room).unwrap();
        assert_eq!((standing_by.need.per_second(), standing_by.capacity), (0.0, None));
        demand.run_begins(2, 8);
        assert_eq!(demand.look_at(room), None, "too early");
        for i in 0..10 {
            let look = Look { ends: (i64::try_from(100 * i).unwrap(), 2), unread: 0, taken: 100, waited: s(1) };
            demand.look(s(i), &look);
        }
        assert_eq!(demand.look_at(room), None, "nothing is known of what it can do");
        demand.worked(100, 20_000, &Spent { decode: s(1), write: s(1), ..Spent::default() });
        demand.landed(s(10), s(9), 100, 20_000, s(1));
        let found = demand.look_at(room).unwrap();
        assert_eq!((found.partitions, found.need.share), (8, 0.25));
        assert!((found.need.per_second() - 400.0).abs() < 1e-6 && found.capacity.is_some(), "{found:?}");
        demand.run_begins(8, 8);
        assert_eq!(demand.look_at(room), None, "another assignment is looked at anew");
    }
}
