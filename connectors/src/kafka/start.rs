//! Positions against the log, as pure decisions: where to start without one, and whether one still holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_engine::partition::{OffsetRange, Partition, Position};

/// The ends of a log and who it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// First offset still there.
    pub(super) low: i64,
    /// Next offset to be written.
    pub(super) high: i64,
    /// See [`Position::topic_id`].
    pub(super) topic_id: Option<Arc<str>>,
}

/// Whether a position still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Read on there.
    Holds,
    /// Records are gone: the range from the position asked to the log's low end, and what happened.
    Lost {
        /// From the position to the low end; `end` lies below `start` when the log is shorter than the position.
        range: OffsetRange,
        /// For the message: what happened.
        why: String,
    },
}

/// Compares a position with its log.
pub(super) fn check(position: &Position, log: &Log) -> Verdict {
    let lost = |why: String| Verdict::Lost {
        range: OffsetRange { start: Some(position.offset), end: log.low, topic_id: log.topic_id.clone() },
        why,
    };
    if let (Some(was), Some(is)) = (&position.topic_id, &log.topic_id)
        && was != is
    {
        return lost(format!("the topic was deleted and made again (id {is}, was {was})"));
    }
    if position.offset < log.low {
        return lost(format!(
            "records [{}, {}) were deleted before they were read (retention, or deleted by hand)",
            position.offset, log.low
        ));
    }
    if position.offset > log.high {
        return lost(format!(
            "the log ends at {} below the position {} (topic made again, or log truncated)",
            log.high, position.offset
        ));
    }
    Verdict::Holds
}

/// What a person has to know about a lost range, and can do.
pub(super) fn data_loss(partition: &Partition, why: &str, job: &str) -> String {
    format!(
        "{partition}: {why}; set on_data_loss = \"continue\" to go on at the log's low end, or decide with \
         `tidemill positions {job} --reset earliest`"
    )
}

/// The offset to start at where `wanted` (of a timestamp or of the group) may be missing (below 0).
pub(super) fn or_else(wanted: &BTreeMap<Partition, i64>, partition: &Partition, otherwise: i64) -> i64 {
    wanted.get(partition).copied().filter(|&at| at >= 0).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(low: i64, high: i64, id: Option<&str>) -> Log {
        Log { low, high, topic_id: id.map(Arc::from) }
    }

    #[test]
    fn both_ends_of_the_log_are_positions() {
        for at in [10, 15, 20] {
            assert_eq!(check(&Position::at(at), &log(10, 20, None)), Verdict::Holds, "{at}");
        }
        for at in [9, 21] {
            let Verdict::Lost { range, .. } = check(&Position::at(at), &log(10, 20, None)) else { panic!("{at} held") };
            assert_eq!((range.start, range.end), (Some(at), 10));
        }
    }

    #[test]
    fn another_topic_id_is_another_log() {
        let position = Position { offset: 15, topic_id: Some("a".into()) };
        assert_eq!(check(&position, &log(10, 20, Some("a"))), Verdict::Holds);
        assert_eq!(check(&position, &log(10, 20, None)), Verdict::Holds, "an id that is not known proves nothing");
        assert!(matches!(check(&position, &log(10, 20, Some("b"))), Verdict::Lost { .. }));
    }

    #[test]
    fn a_missing_answer_falls_back() {
        let wanted: BTreeMap<_, _> = [(Partition::new("t", 0), 7), (Partition::new("t", 1), -1)].into();
        assert_eq!(or_else(&wanted, &Partition::new("t", 0), 3), 7);
        assert_eq!(or_else(&wanted, &Partition::new("t", 1), 3), 3);
        assert_eq!(or_else(&wanted, &Partition::new("t", 2), 3), 3);
    }
}
