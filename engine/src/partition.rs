//! Partitions, positions and offset ranges: the vocabulary of exactly-once, and its one rule.
//!
//! Everything here is half-open: a *position* is the next offset to read, a range covers `[start, end)`.
//! Holes inside a range are normal (control records of transactions, compaction).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One partition of a source topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// Topic name as the source spells it.
    #[serde(with = "crate::arc_str")]
    pub topic: Arc<str>,
    /// Partition number within the topic.
    pub index: i32,
}

impl Partition {
    /// The partition `index` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, index: i32) -> Self {
        Self { topic: topic.into(), index }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// The next offset to read of a partition, and the identity of the topic it was counted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Next offset to read.
    pub offset: i64,
    /// The broker's id of the topic, where the source knows one: a topic that was deleted and made
    /// again under the same name has another id, and old positions mean nothing on it.
    #[serde(default, with = "crate::arc_str::option", skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<Arc<str>>,
}

impl Position {
    /// A position on a topic whose id is not known.
    #[must_use]
    pub fn at(offset: i64) -> Self {
        Self { offset, topic_id: None }
    }
}

/// Positions by partition, as a sink holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub BTreeMap<Partition, Position>);

impl Positions {
    /// The position of `partition`; `None` when the sink never anchored it.
    #[must_use]
    pub fn get(&self, partition: &Partition) -> Option<&Position> {
        self.0.get(partition)
    }

    /// The offset of `partition`'s position.
    #[must_use]
    pub fn offset(&self, partition: &Partition) -> Option<i64> {
        self.0.get(partition).map(|p| p.offset)
    }

    /// Sets a position.
    pub fn set(&mut self, partition: Partition, position: Position) {
        self.0.insert(partition, position);
    }

    /// Partitions and positions in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &Position)> {
        self.0.iter()
    }

    /// Number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when no partition has a position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Partition, Position)> for Positions {
    fn from_iter<I: IntoIterator<Item = (Partition, Position)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// What a commit does to one partition's position: from `start` to `end`.
///
/// `start` is the position the sink is required to hold (`None`: the sink must hold none, the first
/// *anchor*); it is not the first record's offset. `end` may lie below `start` only when a person resets a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// Position required before the commit; `None` where there must be none.
    pub start: Option<i64>,
    /// Position after the commit: the last record taken + 1.
    pub end: i64,
    /// See [`Position::topic_id`].
    #[serde(default, with = "crate::arc_str::option", skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<Arc<str>>,
}

impl OffsetRange {
    /// `[start, end)` on a topic whose id is not known.
    #[must_use]
    pub fn new(start: i64, end: i64) -> Self {
        Self { start: Some(start), end, topic_id: None }
    }

    /// The first position of a partition that has none.
    #[must_use]
    pub fn anchor(end: Position) -> Self {
        Self { start: None, end: end.offset, topic_id: end.topic_id }
    }

    /// The position that this range leaves behind.
    #[must_use]
    pub fn landed(&self) -> Position {
        Position { offset: self.end, topic_id: self.topic_id.clone() }
    }
}

/// The ranges of one commit, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetRanges(pub BTreeMap<Partition, OffsetRange>);

impl OffsetRanges {
    /// **The rule.** True if and only if `held` has exactly `start` for *every* partition of these ranges.
    #[must_use]
    pub fn continue_from(&self, held: &Positions) -> bool {
        self.0.iter().all(|(partition, range)| held.offset(partition) == range.start)
    }

    /// What `held` has for the partitions of these ranges: the answer to a lost race.
    #[must_use]
    pub fn found_in(&self, held: &Positions) -> Positions {
        self.0.keys().filter_map(|p| held.get(p).map(|at| (p.clone(), at.clone()))).collect()
    }

    /// Moves `held` to the ends of these ranges.
    pub fn apply_to(&self, held: &mut Positions) {
        for (partition, range) in &self.0 {
            held.set(partition.clone(), range.landed());
        }
    }

    /// Partitions and ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &OffsetRange)> {
        self.0.iter()
    }

    /// True when no partition moves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Partition, OffsetRange)> for OffsetRanges {
    fn from_iter<I: IntoIterator<Item = (Partition, OffsetRange)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    #[serde(with = "crate::arc_str")]
    topic: Arc<str>,
    partition: i32,
    #[serde(flatten)]
    at: T,
}

/// Both maps are written as lists of flat objects (`[{topic, partition, …}]`): a struct cannot be a JSON key.
macro_rules! as_list {
    ($map:ty, $value:ty) => {
        impl Serialize for $map {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.iter().map(|(p, at)| Entry {
                    topic: p.topic.clone(),
                    partition: p.index,
                    at: at.clone(),
                }))
            }
        }
        impl<'de> Deserialize<'de> for $map {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let list = Vec::<Entry<$value>>::deserialize(deserializer)?;
                Ok(list.into_iter().map(|e| (Partition { topic: e.topic, index: e.partition }, e.at)).collect())
            }
        }
    };
}
as_list!(Positions, Position);
as_list!(OffsetRanges, OffsetRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_continues_only_from_exactly_its_start() {
        let p = Partition::new("t", 0);
        let q = Partition::new("t", 1);
        let held: Positions = [(p.clone(), Position::at(5)), (q.clone(), Position::at(7))].into_iter().collect();
        let ranges = |a, b| -> OffsetRanges {
            [(p.clone(), OffsetRange::new(a, 10)), (q.clone(), OffsetRange::new(b, 10))].into_iter().collect()
        };
        assert!(ranges(5, 7).continue_from(&held));
        assert!(!ranges(4, 7).continue_from(&held), "stored above start: somebody was faster");
        assert!(!ranges(5, 8).continue_from(&held), "stored below start: a gap");
        let anchor: OffsetRanges = [(p.clone(), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
        assert!(!anchor.continue_from(&held), "an anchor needs an absent position");
        assert!(anchor.continue_from(&Positions::default()));
    }

    #[test]
    fn json_form_is_stable() {
        let ranges: OffsetRanges = [(Partition::new("t", 3), OffsetRange::new(1, 9))].into_iter().collect();
        let text = serde_json::to_string(&ranges).expect("serialises");
        assert_eq!(text, r#"[{"topic":"t","partition":3,"start":1,"end":9}]"#);
        assert_eq!(serde_json::from_str::<OffsetRanges>(&text).expect("parses"), ranges);
    }
}
