//! How many instances a job needs: one number for whoever starts and stops them. Pure.
//!
//! After DS2 (Kalavri et al., "Three steps is all you need", OSDI '18), whose decision is the arrival rate over the true
//! rate of one instance, reached in a step or two because neither depends on how busy an instance is:
//!
//! ```text
//! need      = arrivals + unread / CATCH_UP                    records a second, of the partitions assigned here
//! instances = need / (UTILISATION · capacity) / share         share = partitions here / partitions in all
//! ```
//!
//! A member sees its own partitions. `1 / share` is the number of members now, in units of this one: what is needed here
//! is needed by each of them. An instance has more than it can do long before 100 % (arrivals are uneven, and partitions
//! are whole), hence `UTILISATION`. Offsets that hold no record (markers of transactions, compacted ones) count as
//! records, on the side of more.
//!
//! A daemon runs all jobs of its file, so the number of daemons is the most that any of its jobs needs, and enough of
//! them that their processors suffice for all of the jobs together:
//!
//! ```text
//! daemons = max(max over jobs of instances, Σ over jobs of need · work / (UTILISATION · processors) / share)
//! ```
//!
//! [`Stable`] makes a number of it that does not flap: a dead band, and the two windows of Kubernetes' horizontal pod
//! autoscaler (the least that was asked for lately on the way up, the most on the way down).

use std::collections::VecDeque;
use std::time::Duration;

/// What waits is worked off within so many seconds, beside what comes.
const CATCH_UP: f64 = 300.0;
/// Part of its capacity that an instance is to be used at.
const UTILISATION: f64 = 0.8;
/// A need that differs by less than this part changes nothing.
const BAND: f64 = 0.1;
/// How long more has to be asked for.
const UP_AFTER: Duration = Duration::from_secs(15);
/// How long less has to be asked for.
const DOWN_AFTER: Duration = Duration::from_secs(60);

/// What an instance knows of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Records a second that come for its partitions.
    pub arrivals: f64,
    /// Records that wait in its partitions.
    pub unread: f64,
    /// Its part of all partitions, above 0 and at most 1.
    pub share: f64,
}

impl Need {
    /// Records a second that all instances together have to do.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        (self.arrivals + self.unread / CATCH_UP) / self.share
    }

    /// Instances that can do `capacity` records a second each: a part of one, or many.
    #[must_use]
    pub fn instances(&self, capacity: f64) -> f64 {
        match self.per_second() {
            0.0 => 0.0,
            need => need / (UTILISATION * capacity),
        }
    }

    /// Machines with so many processors that it takes, at `work` seconds of one of them for each record.
    #[must_use]
    pub fn machines(&self, work: f64, processors: f64) -> f64 {
        self.per_second() * work / (UTILISATION * processors)
    }
}

/// A number of instances that does not flap: it changes to more after it was asked for for 15 s, to less after 60 s, and
/// not at all for a difference of less than a tenth.
#[derive(Clone, Debug, Default)]
pub struct Stable {
    asked: VecDeque<(Duration, f64)>,
    begun: Option<Duration>,
    now: Option<u32>,
}

/// At least 1, at most `most`.
fn whole(instances: f64, most: u32) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the bounds of a u32; NaN is 0
    let whole = instances.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    whole.clamp(1, most.max(1))
}

impl Stable {
    /// At `now` so many instances are needed; more than `most` would have nothing to do. `None`: it is too early to say.
    ///
    /// 1. At least 1, at most `most`.
    /// 2. Never less than what it would be if less had been needed at any time.
    pub fn ask(&mut self, now: Duration, instances: f64, most: u32) -> Option<u32> {
        self.asked.push_back((now, instances));
        let begun = *self.begun.get_or_insert(now);
        while self.asked.front().is_some_and(|(at, _)| now.saturating_sub(*at) > DOWN_AFTER) {
            self.asked.pop_front();
        }
        let last = |time: Duration| self.asked.iter().filter(move |(at, _)| now.saturating_sub(*at) <= time);
        let up = last(UP_AFTER).map(|(_, n)| whole(n * (1.0 - BAND), most)).min().unwrap_or(1);
        let down = last(DOWN_AFTER).map(|(_, n)| whole(n * (1.0 + BAND), most)).max().unwrap_or(1);
        if self.now.is_some() || now.saturating_sub(begun) >= UP_AFTER {
            self.now = Some(self.now.unwrap_or(1).clamp(up, down));
        }
        self.now
    }

    /// What it is now.
    #[must_use]
    pub fn now(&self) -> Option<u32> {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn what_comes_and_what_waits_over_what_one_can_do() {
        let need = Need { arrivals: 800.0, unread: 0.0, share: 1.0 };
        assert_eq!(need.instances(1000.0), 1.0, "as much as it is to be used");
        assert_eq!(Need { unread: 240_000.0, ..need }.instances(1000.0), 2.0, "300 s for what waits");
        assert_eq!(Need { share: 0.25, ..need }.instances(1000.0), 4.0, "one of four members, each with as much");
        assert_eq!(Need { arrivals: 0.0, ..need }.instances(0.0), 0.0, "nothing to do");
        assert_eq!(need.machines(0.002, 2.0), 1.0, "1.6 of 2 processors");
    }

    /// The last answer to asking for the same thing, every 5 s, for some seconds.
    fn ask(stable: &mut Stable, from: u64, to: u64, instances: f64) -> Option<u32> {
        (from..to).step_by(5).map(|at| stable.ask(S(at), instances, 8)).last().flatten()
    }

    #[test]
    fn up_after_a_while_down_after_a_longer_one() {
        let mut stable = Stable::default();
        assert_eq!(ask(&mut stable, 0, 15, 3.4), None, "too early");
        assert_eq!(ask(&mut stable, 15, 20, 3.4), Some(4));
        assert_eq!(ask(&mut stable, 20, 75, 0.2), Some(4), "for so short a time nobody is stopped");
        assert_eq!(ask(&mut stable, 75, 90, 0.2), Some(1));
        assert_eq!(ask(&mut stable, 90, 100, 20.0), Some(1), "a spike");
        assert_eq!(ask(&mut stable, 100, 110, 20.0), Some(8), "there are eight partitions");
        assert_eq!(ask(&mut stable, 110, 500, 2.05), Some(3));
        assert_eq!(ask(&mut stable, 500, 900, 1.85), Some(3), "within the band");
        assert_eq!(ask(&mut stable, 900, 1300, 1.8), Some(2));
        assert_eq!(ask(&mut stable, 1300, 1700, 2.15), Some(2), "within the band");
        assert_eq!(ask(&mut stable, 1700, 1800, f64::INFINITY), Some(8));
    }

    fn needs() -> impl Strategy<Value = Vec<(f64, f64)>> {
        prop::collection::vec((0.0..20.0f64, 0.0..3.0f64), 1..80)
    }

    proptest! {
        #[test]
        fn more_arrivals_never_ask_for_less(
            arrivals in 0.0..1e6f64, more in 0.0..1e6f64, unread in 0.0..1e9f64, share in 0.01..1.0f64,
            capacity in 1.0..1e6f64,
        ) {
            let need = Need { arrivals, unread, share };
            let greater = Need { arrivals: arrivals + more, ..need };
            prop_assert!(greater.instances(capacity) >= need.instances(capacity));
            prop_assert!(greater.machines(1e-5, 2.0) >= need.machines(1e-5, 2.0));
            prop_assert!(need.instances(capacity) >= need.instances(2.0 * capacity));
        }

        #[test]
        fn the_stable_number_is_in_bounds_and_monotone(needs in needs(), most in 1u32..12, every in 1u64..20) {
            let (mut low, mut high) = (Stable::default(), Stable::default());
            for (i, (need, more)) in needs.iter().enumerate() {
                let at = S(i as u64 * every);
                let (less, greater) = (low.ask(at, *need, most), high.ask(at, need + more, most));
                prop_assert_eq!(less.is_some(), greater.is_some());
                if let (Some(less), Some(greater)) = (less, greater) {
                    prop_assert!((1..=most).contains(&less) && less <= greater && greater <= most);
                }
            }
        }

        /// Whatever noise of less than a tenth there is, the number changes in one direction at most.
        #[test]
        fn noise_does_not_make_it_flap(need in 0.1..10.0f64, noise in prop::collection::vec(-0.09..0.09f64, 30..100)) {
            let mut stable = Stable::default();
            let mut seen = Vec::new();
            for (i, noise) in noise.iter().enumerate() {
                seen.extend(stable.ask(S(i as u64 * 5), need * (1.0 + noise), 100));
            }
            seen.dedup();
            prop_assert!(seen.is_sorted() || seen.iter().rev().is_sorted(), "{:?}", seen);
        }
    }
}
