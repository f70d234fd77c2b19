//! What a sink promises: data and positions move together, or not at all.

use std::any::Any;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use crate::partition::{OffsetRanges, Partition, Positions};

/// A sink owns the truth about how far its job has come. For each source partition it durably holds
/// one position; rows and positions become visible in **one atomic commit**.
///
/// Promises of every implementation (the [conformance suite](crate::testkit) holds them to it):
/// 1. [`commit`](Sink::commit) makes everything in `staged` visible and moves each partition's position to
///    its range's `end` **if and only if** the position held for *every* partition of the ranges equals the
///    range's `start`. Otherwise nothing becomes visible and the answer is [`Commit::Lost`].
/// 2. Nothing staged is visible to a reader before its commit has landed, whatever crashes.
/// 3. An error of `commit` with [`Reaction::Unknown`] means that it may have landed: the caller drops the
///    sink, opens a new one and asks [`recover`](Sink::recover). The sink deletes nothing of such a commit.
/// 4. A row that the target refuses is an error of its staging ([`Reaction::BadRow`], of `write` or `seal`, never of
///    `commit`: dead letters of the window are committed in between). The sink goes on serving: the caller looks for the
///    row with smaller windows.
/// 5. [`recover`](Sink::recover) first finishes or fences what former owners had decided, then reads the truth.
#[async_trait]
pub trait Sink: Send {
    /// Positions this job holds: of `partitions` at least, of all its partitions where that costs nothing more
    /// (absent: never anchored). Fences earlier runs of this job and instance;
    /// completes what they had decided but not finished. Called once, before anything else, on every start.
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError>;

    /// A place for the next window's rows, invisible to readers. The next window stages while one commits.
    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError>;

    /// See promise 1. `staged` comes from this sink's own [`Staging::seal`].
    /// `None` moves positions without rows: an anchor, an empty window, a person's reset.
    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError>;

    /// Whether a commit that moves positions without rows costs next to nothing. If not, the positions of windows without
    /// rows wait for the next window with rows, for a minute at most.
    fn commits_are_cheap(&self) -> bool {
        false
    }

    /// A name for this very target that another target never has (a UUID made with it), known once `recover`
    /// returned. `None`: the target has none.
    fn identity(&self) -> Option<String> {
        None
    }
}

/// Rows of one window on their way. Dropped without [`seal`](Staging::seal) = aborted.
#[async_trait]
pub trait Staging: Send {
    /// Takes rows. May encode and write at once, or buffer a bounded amount.
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError>;

    /// Everything written is durable (but invisible) when this returns.
    async fn seal(self: Box<Self>) -> Result<Staged, SinkError>;
}

/// A sealed window, ready to commit.
pub struct Staged {
    /// Rows in it.
    pub rows: u64,
    /// Bytes in the sink's own form (files, statements).
    pub bytes: u64,
    /// Files, for sinks that write files.
    pub files: u64,
    /// What the sink needs to commit it. Only the sink that made it looks inside.
    pub payload: Box<dyn Any + Send>,
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staged")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// The definite answers to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Visible, and the positions moved.
    Landed(Receipt),
    /// Nothing became visible: the sink holds these positions for the ranges' partitions.
    Lost(Positions),
}

/// What landed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Rows made visible.
    pub rows: u64,
    /// Bytes made visible.
    pub bytes: u64,
    /// Files made visible, for sinks that write files.
    pub files: u64,
    /// The commit's name in the sink: a log record's number, a version, a snapshot id.
    pub id: String,
}

/// What a sink (source, operator) guarantees: a job is as good as its weakest part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Every record once or more.
    AtLeastOnce,
    /// Every record exactly once.
    ExactlyOnce,
}

/// Says what to do about an error; the message says what happened, where, and what a person can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Start the run again after a pause; it may pass.
    Retry,
    /// As `Retry`, and a commit may or may not have landed: only `recover` knows.
    Unknown,
    /// Another owner took over: start the run again, at once.
    Fenced,
    /// A person has to change something (configuration, permissions, a record that `recover` cannot complete).
    Person,
    /// A row the sink refuses, whatever is tried.
    BadRow,
    /// Ours to fix.
    Bug,
}

/// An error of a sink.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// What to do.
    pub reaction: Reaction,
    /// What happened, with its place.
    pub message: String,
    /// Not before this time has passed, where the other side said so.
    pub retry_after: Option<Duration>,
}

impl SinkError {
    /// An error with a reaction.
    pub fn new(reaction: Reaction, message: impl Into<String>) -> Self {
        Self { reaction, message: message.into(), retry_after: None }
    }

    /// An error that may pass.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(Reaction::Retry, message)
    }

    /// The answer to a commit never came.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(Reaction::Unknown, message)
    }

    /// A person is needed.
    pub fn person(message: impl Into<String>) -> Self {
        Self::new(Reaction::Person, message)
    }

    /// Should not happen.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Reaction::Bug, message)
    }
}
