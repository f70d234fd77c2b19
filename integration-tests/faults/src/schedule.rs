//! Which fault, when, whom and for how long: from a seed, and from nothing else.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::kind::{Kind, Outage, Part, Trouble};

/// One fault to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What happens.
    pub kind: Kind,
    /// Trouble with the broker that lasts while it happens.
    pub during: Option<Trouble>,
    /// To which daemon.
    pub daemon: usize,
    /// Links: to all daemons at once.
    pub all: bool,
    /// How long after the recovery from the one before.
    pub gap: Duration,
    /// How long it lasts, where that is ours to say.
    pub hold: Duration,
    /// A number for whatever else is to be chosen.
    pub dice: u64,
}

/// An endless list of faults: every `kinds.len()` of them hold each kind once.
#[derive(Clone, Debug)]
pub struct Schedule {
    kinds: Vec<Kind>,
    daemons: usize,
    session: Duration,
    mixed: bool,
    rng: SmallRng,
    round: Vec<Kind>,
}

impl Schedule {
    /// `session`: how long a dead or frozen member keeps its partitions. `mixed`: every fourth fault happens while
    /// there is trouble with the broker as well.
    ///
    /// # Panics
    /// Without kinds or daemons.
    #[must_use]
    pub fn new(kinds: &[Kind], daemons: usize, session: Duration, mixed: bool, seed: u64) -> Self {
        assert!(!kinds.is_empty() && daemons > 0, "a schedule needs kinds of faults and daemons");
        Self { kinds: kinds.to_vec(), daemons, session, mixed, rng: SmallRng::seed_from_u64(seed), round: Vec::new() }
    }

    fn hold(&mut self, kind: Kind) -> Duration {
        let ms = |range: std::ops::Range<u64>, rng: &mut SmallRng| Duration::from_millis(rng.random_range(range));
        let rng = &mut self.rng;
        match kind {
            Kind::Kill | Kind::KillAll | Kind::Failpoint => ms(0..1_500, rng),
            Kind::Freeze | Kind::Zombie | Kind::Revoke => self.session + ms(500..2_000, rng),
            Kind::Storm => ms(3_000..6_000, rng),
            Kind::Clock | Kind::DiskFull => ms(1_000..3_000, rng),
            Kind::Outage(_, Outage::Stop | Outage::Kill) => ms(100..2_500, rng),
            Kind::Link(_, Trouble::Cut) => ms(200..1_500, rng),
            // Now shorter, now longer than a session.
            Kind::Outage(_, Outage::Hang) | Kind::Link(..) | Kind::Status(..) => ms(500..6_000, rng),
            Kind::CommitSwallowed(_) => ms(300..3_000, rng),
        }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.round.is_empty() {
            self.round = self.kinds.clone();
            self.round.shuffle(&mut self.rng);
        }
        let kind = self.round.pop()?;
        let hold = self.hold(kind);
        let rng = &mut self.rng;
        let troubles = [Trouble::Cut, Trouble::Delay, Trouble::Throttle, Trouble::HalfOpen, Trouble::SwallowAnswers];
        let trouble = troubles[rng.random_range(0..troubles.len())];
        let during = (rng.random_bool(0.25) && self.mixed && goes_with_trouble(kind)).then_some(trouble);
        Some(Planned {
            kind,
            during,
            daemon: rng.random_range(0..self.daemons),
            all: rng.random_bool(0.4),
            gap: Duration::from_millis(rng.random_range(0..1_200)),
            hold,
            dice: rng.random(),
        })
    }
}

/// Whether the broker may be hard to reach meanwhile. Not where it is the broker anyway, and not where the fault itself
/// waits for something to happen.
fn goes_with_trouble(kind: Kind) -> bool {
    match kind {
        Kind::Failpoint | Kind::Freeze | Kind::Zombie | Kind::Revoke => false,
        Kind::Outage(part, _) | Kind::Link(part, _) | Kind::CommitSwallowed(part) => part != Part::Broker,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{Surroundings, kinds};

    const SESSION: Duration = Duration::from_secs(3);

    fn all() -> Vec<Kind> {
        kinds(&Surroundings {
            servers: vec![Part::S3, Part::Catalog],
            http: vec![Part::S3, Part::Catalog],
            commits: Some(Part::Catalog),
            disk: true,
            daemons: 3,
        })
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let of = |seed| Schedule::new(&all(), 3, SESSION, true, seed).take(200).collect::<Vec<_>>();
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn every_round_has_every_kind_once_and_the_limits_hold() {
        let kinds = all();
        let planned: Vec<Planned> = Schedule::new(&kinds, 3, SESSION, false, 1).take(kinds.len() * 5).collect();
        let mut sorted = kinds.clone();
        sorted.sort_unstable();
        for round in planned.chunks(kinds.len()) {
            let mut found: Vec<Kind> = round.iter().map(|p| p.kind).collect();
            found.sort_unstable();
            assert_eq!(found, sorted);
        }
        for p in &planned {
            assert!(p.daemon < 3 && p.hold < Duration::from_secs(8) && p.gap < Duration::from_secs(2), "{p:?}");
            assert!(p.during.is_none(), "not mixed: one after the other");
            if matches!(p.kind, Kind::Freeze | Kind::Zombie) {
                assert!(p.hold > SESSION, "{p:?}");
            }
        }
        assert!(planned.iter().any(|p| p.all) && planned.iter().any(|p| !p.all));
    }

    #[test]
    fn mixed_ones_overlap_but_never_two_on_one_link() {
        let planned: Vec<Planned> = Schedule::new(&all(), 2, SESSION, true, 1).take(500).collect();
        assert!(planned.iter().filter(|p| p.during.is_some()).count() > 50);
        assert!(planned.iter().all(|p| p.during.is_none() || goes_with_trouble(p.kind)));
    }

    #[test]
    fn what_does_not_apply_does_not_happen() {
        let lonely = kinds(&Surroundings { daemons: 1, ..Surroundings::default() });
        assert!(lonely.iter().all(|k| !matches!(k, Kind::Zombie | Kind::DiskFull | Kind::Status(..))));
        assert!(lonely.contains(&Kind::Outage(Part::Broker, Outage::Kill)));
    }
}
