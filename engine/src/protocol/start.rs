//! From an assignment to reading: the one path for start, rebalance, lost race and unknown answer.

use super::{Answer, Target, anchor_ranges, answered, follow_ranges, pass_over_ranges};
use crate::mark::{self, Mark, MarkError};
use crate::partition::{OffsetRanges, Partition, Position, Positions};

/// What to do next. Each step but the last two is answered by the method of [`Start`] that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this sink anew and ask it for its positions: [`Start::recovered`].
    Recover(Target),
    /// Ask the source where these partitions begin; `first`: the job never anchored anything. [`Start::resolved`].
    Resolve {
        /// Partitions that the sink holds no position of.
        partitions: Vec<Partition>,
        /// The job's `start` decides; else they appeared later.
        first: bool,
    },
    /// Commit these ranges without rows (an anchor, or records that are gone): [`Start::moved`].
    Move(Target, OffsetRanges),
    /// Keep this mark: [`Start::remembered`].
    Remember(Mark),
    /// Tell the source to begin here: [`Start::begun`].
    Begin(Vec<(Partition, Position)>),
    /// Read from these offsets. The end of a start.
    Read(Vec<(Partition, i64)>),
    /// Another owner was faster: start again.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Recover(Target),
    Resolve,
    Anchor(Target),
    Remember,
    Begin,
    PassOver(Target),
    Read,
    Again,
}

/// A run's way to its first record. Asks [`step`](Start::step), does it, says what came of it.
#[derive(Clone, Debug)]
pub struct Start {
    assigned: Vec<Partition>,
    mark: Option<Mark>,
    identity: Option<String>,
    has_dead_letters: bool,
    at: At,
    main: Positions,
    dead: Positions,
    resolved: Positions,
    starts: Vec<(Partition, Position)>,
    lost: OffsetRanges,
}

impl Start {
    /// The start of a run on `assigned`; nothing is held of what an earlier run knew.
    #[must_use]
    pub fn new(assigned: Vec<Partition>, mark: Option<Mark>, has_dead_letters: bool) -> Self {
        Self {
            // Standing by needs no sink: whoever holds the partitions asks it.
            at: if assigned.is_empty() { At::Begin } else { At::Recover(Target::Main) },
            assigned,
            mark,
            identity: None,
            has_dead_letters,
            main: Positions::default(),
            dead: Positions::default(),
            resolved: Positions::default(),
            starts: Vec::new(),
            lost: OffsetRanges::default(),
        }
    }

    /// What this sink is known to hold.
    #[must_use]
    pub fn held(&self, target: Target) -> &Positions {
        match target {
            Target::Main => &self.main,
            Target::DeadLetters => &self.dead,
        }
    }

    /// Where reading begins although the source had lost records: from the positions held to what it still has.
    #[must_use]
    pub fn lost(&self) -> &OffsetRanges {
        &self.lost
    }

    /// What to do now. Steps with nothing to do are passed over.
    #[must_use = "the step has to be done"]
    pub fn step(&mut self) -> Step {
        loop {
            match self.at {
                At::Recover(target) => return Step::Recover(target),
                At::Resolve => {
                    let partitions: Vec<_> =
                        self.assigned.iter().filter(|p| self.main.get(p).is_none()).cloned().collect();
                    if !partitions.is_empty() {
                        return Step::Resolve { partitions, first: self.main.is_empty() };
                    }
                    self.at = At::Remember;
                }
                At::Anchor(target) => {
                    let ranges = anchor_ranges(self.held(target), &self.resolved);
                    if !ranges.is_empty() {
                        return Step::Move(target, ranges);
                    }
                    self.at = self.after_anchor(target);
                }
                At::Remember => {
                    let known = self.known();
                    if self.mark.as_ref() != Some(&known) {
                        return Step::Remember(known);
                    }
                    self.at = self.after_mark();
                }
                At::Begin => {
                    self.starts = self
                        .assigned
                        .iter()
                        .filter_map(|p| self.main.get(p).map(|at| (p.clone(), at.clone())))
                        .collect();
                    return Step::Begin(self.starts.clone());
                }
                At::PassOver(target) => {
                    let ranges = match target {
                        Target::Main => pass_over_ranges(&self.main, &self.lost),
                        Target::DeadLetters => {
                            let rows = self.starts.iter().cloned().collect();
                            follow_ranges(&self.dead, &rows, &self.lost)
                        }
                    };
                    if !ranges.is_empty() {
                        return Step::Move(target, ranges);
                    }
                    self.at = self.after_pass(target);
                }
                At::Read => {
                    let from = |(p, at): &(Partition, Position)| {
                        (p.clone(), self.lost.0.get(p).map_or(at.offset, |lost| lost.end))
                    };
                    return Step::Read(self.starts.iter().map(from).collect());
                }
                At::Again => return Step::Again,
            }
        }
    }

    /// The sink answered with these positions; `identity` is its own name.
    ///
    /// # Errors
    /// When the mark says that this sink should hold positions that it does not hold, or is another one.
    pub fn recovered(&mut self, target: Target, held: Positions, identity: Option<String>) -> Result<(), MarkError> {
        match target {
            Target::Main => {
                mark::check(self.mark.as_ref(), identity.as_deref(), &self.assigned, &held)?;
                self.main = held;
                self.identity = identity;
                self.at = At::Resolve;
            }
            Target::DeadLetters => {
                self.dead = held;
                // They begin where the rows go on.
                let rows_at = |p: &Partition| self.main.get(p).map(|at| (p.clone(), at.clone()));
                self.resolved = self.assigned.iter().filter_map(rows_at).collect();
                self.at = At::Anchor(target);
            }
        }
        Ok(())
    }

    /// The source begins at these positions.
    pub fn resolved(&mut self, starts: Positions) {
        self.resolved = starts;
        self.at = At::Anchor(Target::Main);
    }

    /// The answer to a [`Step::Move`] of `ranges`. Unless it landed, the truth is no longer what was recovered.
    pub fn moved(&mut self, target: Target, ranges: &OffsetRanges, answer: Answer) {
        let held = match target {
            Target::Main => &mut self.main,
            Target::DeadLetters => &mut self.dead,
        };
        self.at = match (answered(held, ranges, answer), self.at) {
            (false, _) => At::Again,
            (true, At::PassOver(_)) => self.after_pass(target),
            (true, _) => self.after_anchor(target),
        };
    }

    /// The mark is kept.
    pub fn remembered(&mut self) {
        self.at = self.after_mark();
    }

    /// The source begins; `lost` is what it no longer has, from the positions asked for to those begun at.
    pub fn begun(&mut self, lost: OffsetRanges) {
        self.lost = lost;
        // Dead letters first: what is lost follows from the rows' positions, so a crash in between finds it again.
        self.at = match (self.assigned.is_empty(), self.has_dead_letters) {
            (true, _) => At::Read,
            (false, true) => At::PassOver(Target::DeadLetters),
            (false, false) => At::PassOver(Target::Main),
        };
    }

    fn after_anchor(&self, target: Target) -> At {
        match target {
            Target::Main => At::Remember,
            Target::DeadLetters => At::Begin,
        }
    }

    fn after_mark(&self) -> At {
        if self.has_dead_letters { At::Recover(Target::DeadLetters) } else { At::Begin }
    }

    fn after_pass(&self, target: Target) -> At {
        match target {
            Target::DeadLetters => At::PassOver(Target::Main),
            Target::Main => At::Read,
        }
    }

    /// The mark of what is known now: it only grows.
    fn known(&self) -> Mark {
        let before = self.mark.iter().flat_map(|m| m.partitions.iter());
        let held = self.main.iter().map(|(p, _)| p);
        Mark { v: 1, sink: self.identity.clone(), partitions: held.chain(before).cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::OffsetRange;

    fn p(i: i32) -> Partition {
        Partition::new("t", i)
    }

    fn at(offsets: &[(i32, i64)]) -> Positions {
        offsets.iter().map(|(i, at)| (p(*i), Position::at(*at))).collect()
    }

    #[test]
    fn a_first_start_anchors_both_sinks_before_anything_is_read() {
        let mut start = Start::new(vec![p(0)], None, true);
        assert_eq!(start.step(), Step::Recover(Target::Main));
        start.recovered(Target::Main, Positions::default(), Some("s".into())).expect("no mark");
        assert_eq!(start.step(), Step::Resolve { partitions: vec![p(0)], first: true });
        start.resolved(at(&[(0, 4), (1, 6)]));
        let Step::Move(Target::Main, ranges) = start.step() else { panic!("an anchor") };
        assert_eq!(ranges.iter().map(|(_, r)| (r.start, r.end)).collect::<Vec<_>>(), [(None, 4), (None, 6)]);
        start.moved(Target::Main, &ranges, Answer::Landed);
        let Step::Remember(mark) = start.step() else { panic!("the mark") };
        assert_eq!((mark.sink.as_deref(), mark.partitions.len()), (Some("s"), 2));
        start.remembered();
        assert_eq!(start.step(), Step::Recover(Target::DeadLetters));
        start.recovered(Target::DeadLetters, Positions::default(), None).expect("no mark of its own");
        let Step::Move(Target::DeadLetters, ranges) = start.step() else { panic!("an anchor") };
        start.moved(Target::DeadLetters, &ranges, Answer::Landed);
        assert_eq!(start.step(), Step::Begin(vec![(p(0), Position::at(4))]));
        start.begun(OffsetRanges::default());
        assert_eq!(start.step(), Step::Read(vec![(p(0), 4)]));
        assert_eq!(
            (start.held(Target::Main), start.held(Target::DeadLetters)),
            (&at(&[(0, 4), (1, 6)]), &at(&[(0, 4)]))
        );
    }

    #[test]
    fn a_lost_or_unknown_anchor_starts_again() {
        for answer in [Answer::Lost, Answer::Unknown, Answer::Failed] {
            let mut start = Start::new(vec![p(0)], None, false);
            start.recovered(Target::Main, Positions::default(), None).expect("no mark");
            start.resolved(at(&[(0, 4)]));
            let Step::Move(_, ranges) = start.step() else { panic!("an anchor") };
            start.moved(Target::Main, &ranges, answer);
            assert_eq!(start.step(), Step::Again);
        }
    }

    #[test]
    fn what_is_gone_from_the_source_is_recorded_before_reading() {
        let mark = Mark { v: 1, sink: None, partitions: [p(0)].into() };
        let mut start = Start::new(vec![p(0)], Some(mark), false);
        start.recovered(Target::Main, at(&[(0, 4)]), None).expect("known");
        assert_eq!(start.step(), Step::Begin(vec![(p(0), Position::at(4))]));
        start.begun([(p(0), OffsetRange::new(4, 9))].into_iter().collect());
        let Step::Move(Target::Main, ranges) = start.step() else { panic!("a move") };
        start.moved(Target::Main, &ranges, Answer::Landed);
        assert_eq!(start.step(), Step::Read(vec![(p(0), 9)]));
    }

    fn on(offset: i64, id: &str) -> Position {
        Position { offset, topic_id: Some(id.into()) }
    }

    /// A start of a job with dead letters whose sinks hold these positions, up to the source's answer.
    fn begun(main: Position, dead: Position, lost: Option<OffsetRange>) -> Start {
        let mark = Mark { v: 1, sink: None, partitions: [p(0)].into() };
        let mut start = Start::new(vec![p(0)], Some(mark), true);
        start.recovered(Target::Main, [(p(0), main)].into_iter().collect(), None).expect("known");
        assert_eq!(start.step(), Step::Recover(Target::DeadLetters));
        start.recovered(Target::DeadLetters, [(p(0), dead)].into_iter().collect(), None).expect("no mark of its own");
        assert!(matches!(start.step(), Step::Begin(_)));
        start.begun(lost.map(|lost| (p(0), lost)).into_iter().collect());
        start
    }

    fn land(start: &mut Start, target: Target) {
        let Step::Move(to, ranges) = start.step() else { panic!("a move of {target:?}") };
        assert_eq!(to, target);
        start.moved(target, &ranges, Answer::Landed);
    }

    #[test]
    fn dead_letters_follow_rows_that_a_person_moved_to_a_topic_made_again() {
        let mut start = begun(on(0, "new"), on(1000, "old"), None);
        land(&mut start, Target::DeadLetters);
        assert_eq!(start.step(), Step::Read(vec![(p(0), 0)]));
        assert_eq!(start.held(Target::DeadLetters).get(&p(0)), Some(&on(0, "new")));
    }

    /// Were the rows moved first, the next start would find nothing lost, and never move the dead letters.
    #[test]
    fn dead_letters_move_to_a_topic_made_again_before_the_rows() {
        let lost = OffsetRange { topic_id: Some("new".into()), ..OffsetRange::new(1000, 0) };
        let mut start = begun(on(1000, "old"), on(1000, "old"), Some(lost.clone()));
        land(&mut start, Target::DeadLetters);
        // Killed here, it starts again.
        let mut start =
            begun(on(1000, "old"), start.held(Target::DeadLetters).get(&p(0)).cloned().expect("held"), Some(lost));
        land(&mut start, Target::Main);
        assert_eq!(start.step(), Step::Read(vec![(p(0), 0)]));
        for target in [Target::Main, Target::DeadLetters] {
            assert_eq!(start.held(target).get(&p(0)), Some(&on(0, "new")));
        }
    }

    #[test]
    fn positions_that_are_gone_stop_the_start() {
        let mark = Mark { v: 1, sink: None, partitions: [p(0)].into() };
        let mut start = Start::new(vec![p(0)], Some(mark), false);
        assert!(start.recovered(Target::Main, Positions::default(), None).is_err());
    }

    #[test]
    fn standing_by_touches_no_sink() {
        let mut start = Start::new(vec![], None, true);
        assert_eq!(start.step(), Step::Begin(vec![]));
        start.begun(OffsetRanges::default());
        assert_eq!(start.step(), Step::Read(vec![]));
    }
}
