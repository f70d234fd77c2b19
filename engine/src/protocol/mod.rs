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

use crate::partition::{OffsetRange, OffsetRanges, Partition, Positions};
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

/// Moves positions over records that are gone from the source, so that this is recorded before anything is read
/// behind them. `lost`: from the position that the rows have to the one that the source begins at.
///
/// Dead letters that are ahead stay where they are, as in [`window_ranges`]. On a topic that was made again (it has
/// another id, or the rows' position lies above its end) every old position has to go, also to below.
#[must_use]
pub fn pass_over_ranges(held: &Positions, lost: &OffsetRanges) -> OffsetRanges {
    lost.iter()
        .filter_map(|(partition, range)| {
            let at = held.get(partition)?;
            let other_id = at.topic_id.is_some() && range.topic_id.is_some() && at.topic_id != range.topic_id;
            let made_again = other_id || range.start.is_some_and(|start| range.end < start);
            let start = Some(at.offset);
            (made_again || at.offset < range.end)
                .then(|| (partition.clone(), OffsetRange { start, end: range.end, topic_id: range.topic_id.clone() }))
        })
        .collect()
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

    /// Dead letters that are ahead of what is gone must not go back, or the rejects between would come twice.
    #[test]
    fn passing_over_never_goes_back_on_the_same_topic() {
        let moved = |held: &[i64], lost: OffsetRange| -> Vec<_> {
            let lost = [(Partition::new("t", 0), lost)].into_iter().collect();
            pass_over_ranges(&positions(held), &lost).iter().map(|(_, r)| (r.start, r.end)).collect()
        };
        assert_eq!(moved(&[50], OffsetRange::new(20, 40)), []);
        assert_eq!(moved(&[30], OffsetRange::new(20, 40)), [(Some(30), 40)]);
        assert_eq!(moved(&[90], OffsetRange::new(80, 3)), [(Some(90), 3)], "a topic that was made again");
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
