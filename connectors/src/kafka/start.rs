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

/// Partitions that a table of offsets names and the topics have not, for a message; `None`: there are all.
pub(super) fn unknown(named: &BTreeMap<Partition, i64>, known: &[Partition]) -> Option<String> {
    let one = |p: &Partition| match known.iter().filter(|k| k.topic == p.topic).map(|k| k.index).max() {
        Some(last) => format!("{p} (the topic has partitions 0 to {last})"),
        None => format!("{p} (no such topic)"),
    };
    let unknown: Vec<String> = named.keys().filter(|p| !known.contains(p)).map(one).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Where to start at offsets given by hand: others than those named at their low end.
///
/// # Errors
/// All offsets that the logs do not have: beyond the end always, below the low end unless `pass_lost`, which leaves it
/// to [`check`] to report the range.
pub(super) fn at_offsets(
    named: &BTreeMap<Partition, i64>,
    low: &BTreeMap<Partition, i64>,
    high: &BTreeMap<Partition, i64>,
    pass_lost: bool,
) -> Result<BTreeMap<Partition, i64>, String> {
    let mut wrong = Vec::new();
    let mut found = BTreeMap::new();
    for (partition, &low) in low {
        let high = high.get(partition).copied().unwrap_or(i64::MAX);
        let at = named.get(partition).copied().unwrap_or(low);
        if at > high {
            wrong.push(format!("{partition}: `start` names offset {at}, and the log ends at {high}"));
        } else if at < low && !pass_lost {
            wrong.push(format!(
                "{partition}: `start` names offset {at}, and records below {low} are gone (retention, or deleted by \
                 hand); name {low}, or set on_data_loss = \"continue\""
            ));
        }
        found.insert(partition.clone(), at);
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong.join("; ")) }
}

/// Where a source with an `until` of offsets stops: one that is not named before its first record.
pub(super) fn stop_at(named: &BTreeMap<Partition, i64>, partition: &Partition) -> i64 {
    named.get(partition).copied().unwrap_or(0)
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

    fn p(index: i32) -> Partition {
        Partition::new("t", index)
    }

    #[test]
    fn offsets_by_hand_lie_within_the_log() {
        let (low, high) = ([(p(0), 10), (p(1), 0)].into(), [(p(0), 20), (p(1), 5)].into());
        for at in [10, 15, 20] {
            let found = at_offsets(&[(p(0), at)].into(), &low, &high, false);
            assert_eq!(found, Ok([(p(0), at), (p(1), 0)].into()), "the other begins at its low end");
        }
        let error = at_offsets(&[(p(0), 9), (p(1), 6)].into(), &low, &high, false).unwrap_err();
        for said in [
            "t/0: `start` names offset 9, and records below 10 are gone",
            "t/1: `start` names offset 6, and the log ends at 5",
        ] {
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(at_offsets(&[(p(0), 9)].into(), &low, &high, true), Ok([(p(0), 9), (p(1), 0)].into()));
        assert!(at_offsets(&[(p(0), 21)].into(), &low, &high, true).is_err(), "a log that is too short lost nothing");
    }

    #[test]
    fn partitions_that_are_not_there_are_named() {
        let known = [p(0), p(1)];
        assert_eq!(unknown(&[(p(0), 1), (p(1), 1)].into(), &known), None);
        let named = [(p(2), 1), (Partition::new("u", 0), 1)].into();
        let said = unknown(&named, &known).unwrap();
        assert_eq!(said, "t/2 (the topic has partitions 0 to 1), u/0 (no such topic)");
    }

    #[test]
    fn nothing_is_read_of_a_partition_without_an_end() {
        assert_eq!(stop_at(&[(p(0), 7)].into(), &p(0)), 7);
        assert_eq!(stop_at(&[(p(0), 7)].into(), &p(1)), 0);
    }

    #[test]
    fn a_missing_answer_falls_back() {
        let wanted: BTreeMap<_, _> = [(Partition::new("t", 0), 7), (Partition::new("t", 1), -1)].into();
        assert_eq!(or_else(&wanted, &Partition::new("t", 0), 3), 7);
        assert_eq!(or_else(&wanted, &Partition::new("t", 1), 3), 3);
        assert_eq!(or_else(&wanted, &Partition::new("t", 2), 3), 3);
    }
}
