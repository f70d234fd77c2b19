//! The commits a sink remembers, in one form for all sinks, so that a person can have them checked.

use crate::partition::{OffsetRanges, Positions};

/// One commit, as the sink remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Its name in the sink: a log record's number, a version, a snapshot id.
    pub id: String,
    /// What it moved: `start` is the position that was held before (`None`: an anchor), `end` the one held after.
    /// A range whose `end` is below its `start` is a person's reset.
    pub ranges: OffsetRanges,
    /// When it became visible, in milliseconds since the epoch, by the sink's clock, where that is known.
    pub at_ms: Option<i64>,
    /// Rows it made visible, where that is known.
    pub rows: Option<u64>,
}

/// What a sink remembers of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// As far back as they are retained, oldest first.
    pub commits: Vec<CommitRecord>,
    /// The positions held now.
    pub positions: Positions,
}
