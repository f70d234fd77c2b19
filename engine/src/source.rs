//! What a source promises. It runs on the job's own thread and is never called from async code.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::intake::Intake;
use crate::partition::{OffsetRanges, Partition, Position, Positions};

/// Records with positions, from partitions that may be handed out by a group.
///
/// Protocol of one run, as the engine calls it: `assignment` (until there is one) → `start_positions` for what
/// the sink does not know → `begin` → `poll` … → `end_run`. Then from the top: the source outlives its runs.
pub trait Source: Send {
    /// Waits up to `timeout` for an assignment. `None`: none yet. An empty one is an assignment.
    /// Also serves whatever keeps the membership alive.
    fn assignment(&mut self, timeout: Duration) -> Result<Option<Vec<Partition>>, SourceError>;

    /// Why there is no assignment yet, where the source knows: for people.
    fn waits_for(&self) -> Option<String> {
        None
    }

    /// Where to start partitions that no position is known of. `first`: the job never anchored anything; then the job's
    /// `start` decides, and the answer holds *every* partition there is now, so that it decides for those of other
    /// daemons too. Else they appeared later, and begin at their low end.
    fn start_positions(&mut self, partitions: &[Partition], first: bool) -> Result<Positions, SourceError>;

    /// Starts reading exactly here. The order is the order of slots. Checks that each position lies within the
    /// log and that its topic is the same one; what was lost is an error, unless the job says otherwise, and then
    /// the answer holds the ranges lost for these partitions, from the position asked to the one begun at.
    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError>;

    /// Waits up to `timeout` for records and pushes them into `intake` until it is full or nothing is left.
    fn poll(&mut self, intake: &mut Intake, timeout: Duration) -> Result<SourceEvent, SourceError>;

    /// Keeps membership alive without taking records: called while the intake has no room.
    /// Answers as `poll` does, never with records.
    fn idle(&mut self) -> Result<SourceEvent, SourceError>;

    /// A person pauses the job, or lets it go on. While paused nothing is fetched; [`idle`](Source::idle) keeps the
    /// membership. Called when everything read is committed; a run that paused ends with `end_run`, and the next one
    /// begins from positions. By default nothing: a source that is not polled gives nothing.
    fn pause(&mut self, _paused: bool) -> Result<(), SourceError> {
        Ok(())
    }

    /// The run is over: its window landed, or is given up. Revoked partitions may be handed back now.
    fn end_run(&mut self);

    /// Positions that landed in the sink, for whoever watches the group; informational, never read back as truth.
    /// Must not block.
    fn landed(&mut self, positions: &Positions);

    /// What is known of the log's ends without asking anybody: newest known end by partition, for lag.
    fn ends(&self) -> BTreeMap<Partition, i64>;

    /// How many partitions there are to share out, those of other members included, as the last `begin` found them: for
    /// scaling. `None`: it knows only its own.
    fn partitions_in_all(&self) -> Option<usize> {
        None
    }

    /// Leaves for good.
    fn close(&mut self);
}

/// What a poll came back with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceEvent {
    /// Went on: perhaps records, perhaps none within the timeout.
    Continue,
    /// The assignment is changing: finish the window and end the run within `deadline`, then call `end_run`.
    Revoked {
        /// How long a commit may take.
        deadline: Duration,
    },
    /// The assignment is gone: what is not committed belongs to somebody else. End the run, commit nothing.
    Lost,
    /// A bounded source has given everything.
    End,
}

/// An error of a source.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// False: a person has to decide or change something.
    pub retry: bool,
    /// What happened, with topic, partition and offset, and what to do.
    pub message: String,
}

impl SourceError {
    /// An error that may pass.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { retry: true, message: message.into() }
    }

    /// A person is needed.
    pub fn person(message: impl Into<String>) -> Self {
        Self { retry: false, message: message.into() }
    }
}
