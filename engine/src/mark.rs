//! What a job remembers outside its sink: only that it has begun, never how far it came.
//!
//! Positions live in the sink alone. A mark says "this job anchored these partitions in that sink", so that positions
//! which are gone, or a sink that is not the same one, are noticed and a person is asked, instead of starting over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::partition::{Partition, Positions};

/// A job's mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Format version of this record.
    pub v: u32,
    /// [`Sink::identity`](crate::sink::Sink::identity) of the sink that was anchored.
    pub sink: Option<String>,
    /// Partitions that were anchored.
    pub partitions: BTreeSet<Partition>,
}

/// Where a job keeps its mark.
pub trait MarkStore: Send + Sync {
    /// The mark; `None` when the job never began.
    fn load(&self) -> Result<Option<Mark>, String>;
    /// Keeps it durably.
    fn store(&self, mark: &Mark) -> Result<(), String>;
}

/// Why a start is refused: a mark says that positions should be there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// The sink is another one than the job was anchored in.
    #[error(
        "the sink is not the one this job began with (it was {was}, it is {is}): \
         point the job at its old sink, or accept this one with `tidemill positions JOB --reset earliest|latest|TIME`"
    )]
    OtherSink {
        /// Identity in the mark.
        was: String,
        /// Identity found.
        is: String,
    },
    /// A partition has been anchored before, and the sink does not know it any more.
    #[error(
        "the sink holds no position for {0}, although this job had begun it: \
         restore the sink, or decide with `tidemill positions JOB --set P=N` or `--reset earliest|latest|TIME`"
    )]
    PositionGone(Partition),
}

/// Compares what the sink says with the mark.
pub fn check(
    mark: Option<&Mark>,
    identity: Option<&str>,
    partitions: &[Partition],
    held: &Positions,
) -> Result<(), MarkError> {
    let Some(mark) = mark else { return Ok(()) };
    if let (Some(was), Some(is)) = (mark.sink.as_deref(), identity)
        && was != is
    {
        return Err(MarkError::OtherSink { was: was.to_owned(), is: is.to_owned() });
    }
    match partitions.iter().find(|p| mark.partitions.contains(p) && held.get(p).is_none()) {
        Some(gone) => Err(MarkError::PositionGone(gone.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Position;

    #[test]
    fn a_mark_notices_another_sink_and_lost_positions() {
        let p = Partition::new("t", 0);
        let mark = Mark { v: 1, sink: Some("a".into()), partitions: [p.clone()].into() };
        let none = Positions::default();
        let held: Positions = [(p.clone(), Position::at(3))].into_iter().collect();
        assert_eq!(
            check(None, Some("b"), std::slice::from_ref(&p), &none),
            Ok(()),
            "a first start has nothing to compare"
        );
        assert_eq!(check(Some(&mark), Some("a"), std::slice::from_ref(&p), &held), Ok(()));
        assert_eq!(
            check(Some(&mark), Some("a"), std::slice::from_ref(&p), &none),
            Err(MarkError::PositionGone(p.clone())),
            "never re-anchored silently"
        );
        assert!(matches!(check(Some(&mark), Some("b"), &[p], &held), Err(MarkError::OtherSink { .. })));
        assert_eq!(check(Some(&mark), Some("a"), &[Partition::new("t", 1)], &held), Ok(()), "a new partition");
    }
}
