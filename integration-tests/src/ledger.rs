//! What was acknowledged by the broker: which record lies at each offset, and whether its transaction was committed.

use crate::records::{Fate, Maker, Record};

const NOTHING: u64 = u64::MAX;
const ABORTED: u64 = 1 << 63;

/// What lies at an offset of a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Nothing of ours: beyond the end, a control record, a compacted hole.
    Nothing,
    /// A record of an aborted transaction: nobody may ever see it.
    Aborted,
    /// A committed record.
    Record(Record),
}

/// The truth about one topic.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The topic.
    pub topic: String,
    maker: Maker,
    /// By partition and offset: the record's number, [`NOTHING`], or with the bit [`ABORTED`].
    offsets: Vec<Vec<u64>>,
}

impl Ledger {
    /// A ledger of nothing.
    #[must_use]
    pub fn new(topic: &str, partitions: usize, maker: Maker) -> Self {
        Self { topic: topic.to_owned(), maker, offsets: vec![Vec::new(); partitions] }
    }

    /// Writes down that record `n` lies at `offset` of `partition`. Answers false if something lay there already.
    pub fn note(&mut self, partition: i32, offset: i64, n: u64, aborted: bool) -> bool {
        let (Ok(partition), Ok(offset)) = (usize::try_from(partition), usize::try_from(offset)) else { return false };
        let offsets = &mut self.offsets[partition];
        if offsets.len() <= offset {
            offsets.resize(offset + 1, NOTHING);
        }
        let free = offsets[offset] == NOTHING;
        offsets[offset] = if aborted { n | ABORTED } else { n };
        free
    }

    /// Number of partitions.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.offsets.len()
    }

    /// The offset after the last one known of a partition.
    #[must_use]
    pub fn end(&self, partition: usize) -> usize {
        self.offsets.get(partition).map_or(0, Vec::len)
    }

    /// What lies at an offset.
    #[must_use]
    pub fn expected(&self, partition: usize, offset: usize) -> Expected {
        match self.offsets.get(partition).and_then(|offsets| offsets.get(offset)) {
            None | Some(&NOTHING) => Expected::Nothing,
            Some(n) if n & ABORTED != 0 => Expected::Aborted,
            Some(&n) => Expected::Record(self.maker.record(n)),
        }
    }

    /// How many records were committed.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.count(|n| n & ABORTED == 0)
    }

    /// How many were aborted.
    #[must_use]
    pub fn aborted(&self) -> usize {
        self.count(|n| n != NOTHING && n & ABORTED != 0)
    }

    /// How many committed records are good, bad and tombstones.
    #[must_use]
    pub fn fates(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for &n in self.offsets.iter().flatten().filter(|n| **n & ABORTED == 0) {
            match self.maker.record(n).fate {
                Fate::Good(_) => counts.0 += 1,
                Fate::Bad(_) => counts.1 += 1,
                Fate::Tombstone => counts.2 += 1,
            }
        }
        counts
    }

    fn count(&self, which: impl Fn(u64) -> bool) -> usize {
        self.offsets.iter().flatten().filter(|n| which(**n)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Mix;

    #[test]
    fn holes_and_aborted_offsets_are_not_records() {
        let maker = Maker { seed: 1, mix: Mix::PLAIN };
        let mut ledger = Ledger::new("t", 2, maker);
        assert!(ledger.note(1, 3, 0, false));
        assert!(ledger.note(1, 1, 1, true));
        assert!(!ledger.note(1, 3, 2, false), "an offset is acknowledged once");
        assert_eq!(ledger.expected(1, 0), Expected::Nothing);
        assert_eq!(ledger.expected(1, 1), Expected::Aborted);
        assert_eq!(ledger.expected(1, 3), Expected::Record(maker.record(2)));
        assert_eq!(ledger.expected(0, 0), Expected::Nothing);
        assert_eq!((ledger.end(0), ledger.end(1), ledger.committed(), ledger.aborted()), (0, 4, 1, 1));
    }
}
