//! How much comes for a job here, and how much waits: from looks at the ends of its logs. Pure.

use std::time::Duration;

/// Seconds until what was seen counts a third.
const REMEMBERED: f64 = 20.0;
/// Seconds that have to be seen before a rate is one.
const SOONEST: f64 = 5.0;
/// Part of the time between two looks that may be spent waiting for records by a job that has more than it can do.
const WAITED: f64 = 0.1;
/// Seconds of work that wait for it, at least.
const BEHIND: f64 = 0.5;

/// What a look at a run finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The newest known ends of the run's partitions, added up, and of how many one is known.
    pub ends: (i64, usize),
    /// Records between what was taken and those ends.
    pub unread: u64,
    /// Records taken since the last look.
    pub taken: u64,
    /// Time since the last look spent waiting for records that did not come.
    pub waited: Duration,
}

/// Load of one run.
#[derive(Clone, Debug, Default)]
pub struct Load {
    before: Option<(Duration, (i64, usize))>,
    /// Rates seen, each with its weight.
    sum: f64,
    weight: f64,
    seen: f64,
    unread: u64,
    /// Since when more has been waiting than could be taken, at every look.
    behind_since: Option<Duration>,
}

impl Load {
    /// Takes in a look.
    #[allow(clippy::cast_precision_loss)] // records, far below 2^52
    pub fn look(&mut self, now: Duration, look: &Look) {
        self.unread = look.unread;
        let before = self.before.replace((now, look.ends));
        let Some((at, ends)) = before else { return };
        let seconds = now.saturating_sub(at).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let taken = look.taken as f64 / seconds;
        let waited = look.waited.as_secs_f64() > WAITED * seconds;
        if waited || look.unread == 0 || (look.unread as f64) < BEHIND * taken {
            self.behind_since = None;
        } else {
            self.behind_since.get_or_insert(at);
        }
        // An end that became known did not come just now.
        if ends.1 == look.ends.1 {
            let rate = look.ends.0.saturating_sub(ends.0).max(0) as f64 / seconds;
            let fade = (-seconds / REMEMBERED).exp();
            self.sum = fade * self.sum + (1.0 - fade) * rate;
            self.weight = fade * self.weight + (1.0 - fade);
            self.seen += seconds;
        }
    }

    /// Records a second that come; `None` before it was looked at for some seconds.
    #[must_use]
    pub fn arrivals(&self) -> Option<f64> {
        (self.seen >= SOONEST).then(|| self.sum / self.weight)
    }

    /// Records that wait to be taken.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Whether there has been more than could be taken at every look since `since`.
    #[must_use]
    pub fn behind_since(&self, since: Duration) -> bool {
        self.behind_since.is_some_and(|at| at <= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn arrivals_are_what_the_ends_grow_by() {
        let mut load = Load::default();
        let look = |ends| Look { ends: (ends, 2), unread: 0, taken: 0, waited: S(1) };
        for i in 0..=4 {
            load.look(S(i), &look(1_000_000 + 100 * i as i64));
            assert_eq!(load.arrivals(), None, "too early");
        }
        load.look(S(5), &look(1_000_500));
        assert!((load.arrivals().unwrap() - 100.0).abs() < 1e-6, "whatever was there before");
        for i in 6..200 {
            load.look(S(i), &look(1_000_500));
        }
        assert!(load.arrivals().unwrap() < 1.0, "nothing comes any more");
        load.look(S(200), &Look { ends: (9_000_000, 3), ..look(0) });
        load.look(S(201), &look(5));
        load.look(S(202), &look(0));
        assert!(load.arrivals().unwrap() < 1.0, "another partition's end became known, and a topic was made again");
    }

    #[test]
    fn behind_is_who_never_waits_and_has_more() {
        let mut load = Load::default();
        let full = Look { ends: (0, 1), unread: 5_000, taken: 3_000, waited: Duration::ZERO };
        load.look(S(0), &full);
        load.look(S(1), &full);
        assert!(load.behind_since(S(0)) && load.behind_since(S(1)));
        load.look(S(2), &Look { taken: 0, ..full });
        assert!(load.behind_since(S(0)), "blocked by what comes after it");
        load.look(S(3), &Look { unread: 20, ..full });
        assert!(!load.behind_since(S(3)), "keeps up: a few have just come");
        load.look(S(4), &Look { waited: Duration::from_millis(500), ..full });
        assert!(!load.behind_since(S(4)), "they exist, but they do not come: the broker's doing");
        load.look(S(5), &full);
        assert!(load.behind_since(S(4)) && !load.behind_since(S(3)));
    }
}
