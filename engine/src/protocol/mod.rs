//! The protocol of exactly-once as decisions: facts in, actions out. No I/O, no waiting, no clock.
//!
//! A run asks here what to do next and says what came of it: [`Start`] leads from an assignment to reading, the
//! functions on positions say what a commit asks for, [`answered`] what its answer means, [`leave`] how a run ends. The
//! real run and the simulation (`tests/simulation.rs`) call the same functions, so what the simulation finds holds for
//! both.
//!
//! Who belongs to what needs no number: an answer is given to the [run](crate::job) that asked and to nobody else. A run
//! that ended has dropped everything it waited for, so a late answer finds nobody, and a late *commit* meets the compare.

mod start;

pub use self::start::{Start, Step};

use std::time::Duration;

use crate::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use crate::sink::{Commit, Reaction, SinkError};

/// One of a job's two sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Where rows go.
    Main,
    /// Where refused records go.
    DeadLetters,
}

/// The order in which a window's two commits are made.
///
/// Dead letters first: a crash in between leaves them ahead, the window is read again, and its rejects lie below the
/// dead letters' position then ([`is_new`]). The other way round they would be lost.
pub const COMMIT_ORDER: [Target; 2] = [Target::DeadLetters, Target::Main];

/// What a commit of a window asks of a sink that holds `held`: from there to `ends`, for the partitions that moved.
///
/// `start` is what the sink holds, never the first record's offset. No range goes backwards: dead letters may be ahead of
/// a window that is read again, and what they hold must not be given up. Partitions without a position are left out:
/// they have to be anchored first.
#[must_use]
pub fn window_ranges<'a>(held: &Positions, ends: impl IntoIterator<Item = (&'a Partition, i64)>) -> OffsetRanges {
    ends.into_iter()
        .filter_map(|(partition, end)| {
            let from = held.get(partition)?;
            let range = OffsetRange { start: Some(from.offset), end, topic_id: from.topic_id.clone() };
            (from.offset < end).then(|| (partition.clone(), range))
        })
        .collect()
}

/// The first positions of those partitions that have none: *absent* is what the compare asks for.
#[must_use]
pub fn anchor_ranges(held: &Positions, starts: &Positions) -> OffsetRanges {
    starts
        .iter()
        .filter(|(partition, _)| held.get(partition).is_none())
        .map(|(partition, at)| (partition.clone(), OffsetRange::anchor(at.clone())))
        .collect()
}

/// Moves the rows' positions over records that are gone from the source, so that this is recorded before anything is
/// read behind them. `lost`: from the position that the rows have to the one that the source begins at.
#[must_use]
pub fn pass_over_ranges(held: &Positions, lost: &OffsetRanges) -> OffsetRanges {
    lost.iter()
        .filter_map(|(partition, range)| {
            let start = Some(held.get(partition)?.offset);
            Some((partition.clone(), OffsetRange { start, ..range.clone() }))
        })
        .collect()
}

/// Moves the dead letters' positions to where the rows go on: `rows` have these positions, and pass over `lost` next.
///
/// Dead letters that are ahead stay where they are, as in [`window_ranges`]. On a topic that was made again (it has
/// another id, or the rows' position lies above its end) every old position has to go, also to below: [`is_new`] would
/// take its records for those of the old one. They may be on the new topic already, and the rows not: then they stay.
#[must_use]
pub fn follow_ranges(held: &Positions, rows: &Positions, lost: &OffsetRanges) -> OffsetRanges {
    rows.iter()
        .filter_map(|(partition, rows_at)| {
            let at = held.get(partition)?;
            let range = lost.0.get(partition);
            let to = range.map_or_else(|| rows_at.clone(), OffsetRange::landed);
            let rows_change_topic = is_other_topic(rows_at, &to);
            let moves = is_other_topic(at, &to)
                || (at.topic_id.is_none() && rows_change_topic)
                || range.is_some_and(|lost| {
                    at.offset < lost.end || !rows_change_topic && lost.start.is_some_and(|start| lost.end < start)
                });
            let range = OffsetRange { start: Some(at.offset), ..OffsetRange::anchor(to) };
            moves.then(|| (partition.clone(), range))
        })
        .collect()
}

/// Whether the two are known to be positions on different topics of one name.
fn is_other_topic(a: &Position, b: &Position) -> bool {
    a.topic_id.is_some() && b.topic_id.is_some() && a.topic_id != b.topic_id
}

/// Whether a refused record is not in the dead letters yet. `floor`: the positions that they held when the run began.
#[must_use]
pub fn is_new(floor: &Positions, partition: &Partition, offset: i64) -> bool {
    floor.offset(partition).is_none_or(|at| offset >= at)
}

/// How long positions of windows without rows may wait for a commit with rows.
pub const EMPTY_FOR: Duration = Duration::from_secs(60);

/// Whether a window that was cut waits for the next one instead of being committed: it has neither rows nor dead letters,
/// and the first such since the last commit was cut at `since`, less than [`EMPTY_FOR`] ago. The next commit covers it,
/// for its ranges begin at what the sink holds. A run that ends in order commits it.
#[must_use]
pub fn holds_back(has_rows: bool, since: Duration, now: Duration) -> bool {
    !has_rows && now.saturating_sub(since) < EMPTY_FOR
}

/// What is known about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Visible, and the positions moved.
    Landed,
    /// The compare failed: another owner committed first.
    Lost,
    /// It did not happen, and never will.
    Failed,
    /// It may have happened, or may still happen: only `recover` knows.
    Unknown,
}

impl Answer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Landed, Self::Lost, Self::Failed, Self::Unknown];

    /// The answer that a sink's result is.
    #[must_use]
    pub fn of(result: &Result<Commit, SinkError>) -> Self {
        match result {
            Ok(Commit::Landed(_)) => Self::Landed,
            Ok(Commit::Lost(_)) => Self::Lost,
            Err(error) => Self::of_error(error.reaction),
        }
    }

    /// The answer that an error of a commit is. *Unknown is not failed.*
    #[must_use]
    pub fn of_error(reaction: Reaction) -> Self {
        match reaction {
            Reaction::Unknown => Self::Unknown,
            Reaction::Retry | Reaction::Fenced | Reaction::Person | Reaction::BadRow | Reaction::Bug => Self::Failed,
        }
    }

    /// Whether what the commit staged may be deleted: only when it is certain that no commit names it.
    #[must_use]
    pub fn frees_staged(self) -> bool {
        matches!(self, Self::Lost | Self::Failed)
    }

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Takes the answer to a commit of `ranges`. True: `held` has moved and the run goes on. False: the run is over, and what
/// was staged behind that commit goes with it; the next run asks the sink. There is no third way: nothing is tried again
/// on what this run believes to know.
#[must_use]
pub fn answered(held: &mut Positions, ranges: &OffsetRanges, answer: Answer) -> bool {
    if answer == Answer::Landed {
        ranges.apply_to(held);
    }
    answer == Answer::Landed
}

/// Why a run ends in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The assignment is changing, and the group waits for us up to a deadline.
    Revoked,
    /// The assignment is gone: somebody else may own the partitions.
    Lost,
    /// The job was told to stop.
    Stopped,
    /// A bounded source has given everything.
    Ended,
}

/// How a run waits for its commits when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: what is in flight is left alone, it lands or it does not.
    None,
    /// Until the group's deadline, then as `None`.
    UntilDeadline,
    /// Until everything landed.
    UntilLanded,
}

/// What to do with what was read when a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Whether the open window is cut and committed.
    pub cut: bool,
    /// How long its commit is waited for.
    pub patience: Patience,
}

/// How a run ends.
#[must_use]
pub fn leave(why: Leave) -> Leaving {
    match why {
        Leave::Revoked => Leaving { cut: true, patience: Patience::UntilDeadline },
        Leave::Lost => Leaving { cut: false, patience: Patience::None },
        Leave::Stopped | Leave::Ended => Leaving { cut: true, patience: Patience::UntilLanded },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Position;

    fn positions(offsets: &[i64]) -> Positions {
        (0..).zip(offsets).map(|(i, at)| (Partition::new("t", i), Position::at(*at))).collect()
    }

    /// A window that is read again may end before the dead letters' position on one partition and behind it on
    /// another: the first must stay where it is, or its rejects would come twice after the next restart.
    #[test]
    fn positions_of_dead_letters_never_go_back() {
        let held = positions(&[100, 100]);
        let partitions = [Partition::new("t", 0), Partition::new("t", 1), Partition::new("t", 2)];
        let ranges = window_ranges(&held, partitions.iter().zip([60, 140, 10]));
        let moved: Vec<_> = ranges.iter().map(|(p, r)| (p.index, r.start, r.end)).collect();
        assert_eq!(moved, [(1, Some(100), 140)], "and a partition without a position is not made one");
    }

    #[test]
    fn anchors_ask_for_absence_and_leave_known_positions_alone() {
        let ranges = anchor_ranges(&positions(&[5]), &positions(&[0, 7]));
        let moved: Vec<_> = ranges.iter().map(|(p, r)| (p.index, r.start, r.end)).collect();
        assert_eq!(moved, [(1, None, 7)]);
    }

    fn on(offset: i64, id: Option<&str>) -> Position {
        Position { offset, topic_id: id.map(Into::into) }
    }

    /// What dead letters at `at` move to before rows at `rows` pass over what is lost up to `to`.
    fn follow(at: Position, rows: Position, to: Option<Position>) -> Option<Position> {
        let one = |at| -> Positions { [(Partition::new("t", 0), at)].into_iter().collect() };
        let lost = |to| OffsetRange { start: Some(rows.offset), ..OffsetRange::anchor(to) };
        let lost = to.map(|to| (Partition::new("t", 0), lost(to))).into_iter().collect();
        let mut held = one(at);
        let ranges = follow_ranges(&held, &one(rows), &lost);
        assert!(ranges.continue_from(&held));
        ranges.apply_to(&mut held);
        (!ranges.is_empty()).then(|| held.get(&Partition::new("t", 0)).expect("it stays").clone())
    }

    /// Dead letters that are ahead of what is gone must not go back, or the rejects between would come twice.
    #[test]
    fn passing_over_never_goes_back_on_the_same_topic() {
        for id in [None, Some("a")] {
            let on = |offset| on(offset, id);
            assert_eq!(follow(on(50), on(20), None), None);
            assert_eq!(follow(on(50), on(20), Some(on(40))), None);
            assert_eq!(follow(on(30), on(20), Some(on(40))), Some(on(40)));
            assert_eq!(follow(on(90), on(80), Some(on(3))), Some(on(3)), "made again, or truncated");
        }
        let lost = [(Partition::new("t", 0), OffsetRange::new(20, 40))].into_iter().collect();
        assert!(follow_ranges(&positions(&[]), &positions(&[20]), &lost).is_empty(), "they have to be anchored first");
    }

    /// What dead letters hold of a topic that was made again says nothing about the new one, wherever they are.
    #[test]
    fn dead_letters_follow_the_rows_to_a_topic_made_again() {
        let (old, new) = (|offset| on(offset, Some("a")), |offset| on(offset, Some("b")));
        // A person has moved the rows.
        assert_eq!(follow(old(1000), new(0), None), Some(new(0)));
        assert_eq!(follow(old(0), new(30), None), Some(new(30)));
        // The rows are about to move.
        assert_eq!(follow(old(1000), old(1000), Some(new(0))), Some(new(0)));
        assert_eq!(follow(old(10), old(5), Some(new(7))), Some(new(7)));
        assert_eq!(follow(on(1000, None), old(0), Some(new(0))), Some(new(0)));
        // A daemon died between the two moves.
        assert_eq!(follow(new(0), old(1000), Some(new(0))), None);
        assert_eq!(follow(new(50), old(1000), Some(new(0))), None);
        // What is not known proves nothing.
        assert_eq!(follow(on(1000, None), new(0), None), None);
        assert_eq!(follow(old(1000), on(0, None), None), None);
    }

    #[test]
    fn rows_move_to_where_the_source_begins() {
        let moved = |held: &[i64], lost: OffsetRange| -> Vec<_> {
            let lost = [(Partition::new("t", 0), lost)].into_iter().collect();
            pass_over_ranges(&positions(held), &lost).iter().map(|(_, r)| (r.start, r.end)).collect()
        };
        assert_eq!(moved(&[20], OffsetRange::new(20, 40)), [(Some(20), 40)]);
        assert_eq!(moved(&[80], OffsetRange::new(80, 3)), [(Some(80), 3)]);
        assert_eq!(moved(&[], OffsetRange::new(20, 40)), []);
    }

    #[test]
    fn a_window_without_rows_waits_for_a_bounded_time() {
        let s = Duration::from_secs;
        assert!(holds_back(false, s(10), s(10)) && holds_back(false, s(10), s(69)));
        assert!(!holds_back(false, s(10), s(70)) && !holds_back(true, s(10), s(10)));
    }

    #[test]
    fn only_landed_moves_what_is_held_and_unknown_deletes_nothing() {
        let ranges = window_ranges(&positions(&[5]), [(&Partition::new("t", 0), 9)]);
        for answer in [Answer::Landed, Answer::Lost, Answer::Failed, Answer::Unknown] {
            let mut held = positions(&[5]);
            let goes_on = answered(&mut held, &ranges, answer);
            assert_eq!(goes_on, answer == Answer::Landed);
            assert_eq!(held, positions(&[if goes_on { 9 } else { 5 }]));
        }
        assert!(!Answer::Unknown.frees_staged() && !Answer::Landed.frees_staged());
        assert_eq!(Answer::of(&Err(SinkError::unknown("?"))), Answer::Unknown);
        assert_eq!(Answer::of(&Err(SinkError::retry("no"))), Answer::Failed);
    }
}
