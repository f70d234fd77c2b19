//! Who may commit when: the commits of a group of jobs, few at a time and evenly spread. Pure: facts and `now` in,
//! decisions out; [`gate`](crate::gate) waits.

use std::collections::VecDeque;
use std::time::Duration;

/// Limits of a group's commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitLimits {
    /// Commits at the same time; `None`: no limit. 0 counts as 1.
    pub concurrent: Option<u32>,
    /// Commits a minute, each at least its part of the minute after the one before; `None`: no limit. 0 counts as 1.
    pub per_minute: Option<u32>,
}

impl CommitLimits {
    fn spacing(&self) -> Duration {
        self.per_minute.map_or(Duration::ZERO, |n| Duration::from_secs(60) / n.max(1))
    }
}

/// A place in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The answer to who asks for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Commit now, and [`leave`](CommitScheduler::leave) when it is done.
    Now,
    /// Ask again at this time.
    At(Duration),
    /// Ask again when somebody else has left or given up.
    Later,
}

/// Gives turns in the order of asking: a job has at most one commit under way, so that nobody is asked twice before
/// everybody else who waits has had a turn.
#[derive(Debug, Default)]
pub struct CommitScheduler {
    limits: CommitLimits,
    line: VecDeque<Ticket>,
    next: u64,
    running: u32,
    last: Option<Duration>,
}

impl CommitScheduler {
    /// With these limits.
    #[must_use]
    pub fn new(limits: CommitLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Other limits, from the next turn on.
    pub fn set(&mut self, limits: CommitLimits) {
        self.limits = limits;
    }

    /// Stands in line.
    pub fn enter(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.line.push_back(ticket);
        ticket
    }

    /// Whether it is this ticket's turn. Once it is, the ticket is used up.
    pub fn ask(&mut self, ticket: Ticket, now: Duration) -> Turn {
        if self.line.front() != Some(&ticket) {
            return Turn::Later;
        }
        if self.limits.concurrent.is_some_and(|most| self.running >= most.max(1)) {
            return Turn::Later;
        }
        let due = self.last.map_or(Duration::ZERO, |last| last + self.limits.spacing());
        if now < due {
            return Turn::At(due);
        }
        self.line.pop_front();
        self.running += 1;
        self.last = Some(now);
        Turn::Now
    }

    /// A commit that had its turn is over, whatever came of it.
    pub fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Who waited for a turn does not want it any more.
    pub fn give_up(&mut self, ticket: Ticket) {
        self.line.retain(|other| *other != ticket);
    }
}

/// What a party of a division asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its part in relation to the others'. 0 counts as 1.
    pub weight: u32,
    /// The most it can use.
    pub most: u64,
}

/// Divides `total` by weight. What one cannot use is lent to the others, by weight too; nobody gets more than `most`,
/// and nobody less than its own part by weight if it can use that (so what was lent comes back as soon as the owner
/// claims it). The parts together are at most `total`.
#[must_use]
pub fn divide(total: u64, claims: &[Claim]) -> Vec<u64> {
    let mut parts = vec![0u64; claims.len()];
    let mut open: Vec<usize> = (0..claims.len()).collect();
    let mut left = total;
    // Each round satisfies somebody whole, or divides what is left and ends.
    while !open.is_empty() {
        let weights: u64 = open.iter().map(|i| u64::from(claims[*i].weight.max(1))).sum();
        let part = |i: usize, left: u64| {
            let weight = u128::from(claims[i].weight.max(1));
            u64::try_from(u128::from(left) * weight / u128::from(weights)).unwrap_or(u64::MAX)
        };
        let (whole, rest): (Vec<usize>, Vec<usize>) =
            open.iter().copied().partition(|i| claims[*i].most <= part(*i, left));
        if whole.is_empty() {
            for i in rest {
                parts[i] = part(i, left);
            }
            break;
        }
        for i in whole {
            parts[i] = claims[i].most;
            left -= claims[i].most;
        }
        open = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn turns_come_in_order_few_at_a_time() {
        let mut line = CommitScheduler::new(CommitLimits { concurrent: Some(2), per_minute: None });
        let [a, b, c, d] = [(); 4].map(|()| line.enter());
        assert_eq!(line.ask(b, S(0)), Turn::Later, "not before a");
        assert_eq!([line.ask(a, S(0)), line.ask(b, S(0)), line.ask(c, S(0))], [Turn::Now, Turn::Now, Turn::Later]);
        line.leave();
        line.give_up(c);
        assert_eq!(line.ask(d, S(1)), Turn::Now, "who gave up holds nobody up");
    }

    #[test]
    fn turns_are_evenly_spread_over_the_minute_and_limits_may_change() {
        let mut line = CommitScheduler::new(CommitLimits { concurrent: None, per_minute: Some(6) });
        let [a, b, c] = [(); 3].map(|()| line.enter());
        assert_eq!(line.ask(a, S(100)), Turn::Now);
        assert_eq!(line.ask(b, S(101)), Turn::At(S(110)));
        assert_eq!(line.ask(b, S(110)), Turn::Now);
        assert_eq!(line.ask(c, S(111)), Turn::At(S(120)));
        line.set(CommitLimits::default());
        assert_eq!(line.ask(c, S(111)), Turn::Now);
    }

    #[test]
    fn what_one_cannot_use_is_lent() {
        let claim = |weight, most| Claim { weight, most };
        assert_eq!(divide(100, &[claim(1, 1000), claim(3, 1000)]), [25, 75]);
        assert_eq!(divide(100, &[claim(1, 1000), claim(3, 15)]), [85, 15]);
        assert_eq!(divide(100, &[claim(1, 1000), claim(1, 10), claim(2, 1000)]), [30, 10, 60]);
        assert_eq!(divide(100, &[claim(1, 20), claim(1, 30)]), [20, 30], "more than anybody can use");
        assert_eq!(divide(100, &[]), [0u64; 0]);
    }

    proptest! {
        #[test]
        fn a_division_is_fair(total in 0u64..10_000, claims in prop::collection::vec((0u32..10, 0u64..5_000), 1..12)) {
            let claims: Vec<Claim> = claims.into_iter().map(|(weight, most)| Claim { weight, most }).collect();
            let parts = divide(total, &claims);
            let weights: u64 = claims.iter().map(|c| u64::from(c.weight.max(1))).sum();
            prop_assert!(parts.iter().sum::<u64>() <= total);
            let wanted: u64 = claims.iter().map(|c| c.most).sum();
            // Rounding loses less than one for each party of a round.
            prop_assert!(parts.iter().sum::<u64>() + claims.len() as u64 >= total.min(wanted));
            for (claim, part) in claims.iter().zip(&parts) {
                prop_assert!(*part <= claim.most);
                let own = total * u64::from(claim.weight.max(1)) / weights;
                prop_assert!(*part + 1 >= own.min(claim.most), "{claim:?} got {part} of {total}, its own part is {own}");
            }
        }

        /// However jobs ask, leave and give up: never more than the limits, and everybody has a turn in the end.
        #[test]
        fn nobody_starves_and_limits_hold(concurrent in 1u32..4, per_minute in 1u32..200, jobs in 1usize..12, seconds in prop::collection::vec(0u64..5, 1..60)) {
            let clock = crate::clock::Clock::held(0);
            let mut line = CommitScheduler::new(CommitLimits { concurrent: Some(concurrent), per_minute: Some(per_minute) });
            let mut waiting: Vec<Option<Ticket>> = (0..jobs).map(|_| Some(line.enter())).collect();
            let (mut turns, mut running) = (vec![0u32; jobs], VecDeque::new());
            let mut granted = Vec::new();
            for step in 0..2_000 {
                clock.advance(S(seconds[step % seconds.len()] + 1));
                for (job, place) in waiting.iter_mut().enumerate() {
                    if place.is_some_and(|ticket| line.ask(ticket, clock.now()) == Turn::Now) {
                        *place = None;
                        turns[job] += 1;
                        running.push_back(job);
                        granted.push(clock.now());
                    }
                }
                prop_assert!(running.len() <= concurrent as usize);
                if let Some(job) = running.pop_front() {
                    line.leave();
                    waiting[job] = Some(line.enter());
                }
            }
            for pair in granted.windows(2) {
                prop_assert!(pair[1] - pair[0] >= S(60) / per_minute);
            }
            let (least, most) = (turns.iter().min().copied().unwrap_or(0), turns.iter().max().copied().unwrap_or(0));
            prop_assert!(least > 0 && most - least <= 1, "{turns:?}");
        }
    }
}
