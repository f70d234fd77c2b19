//! Where a source puts its records: the guard on offsets, the open chunk, and the facts of the open window.

use std::sync::Arc;
use std::time::Duration;

use crate::chunk::{Chunk, Header, Slot};
use crate::partition::Partition;
use crate::window::Facts;

/// How much a chunk takes before it is handed on.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Bytes of memory, about; passed by at most one record.
    pub bytes: usize,
    /// Records.
    pub records: usize,
}

/// Which parts of a record the job uses; the rest is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Keys.
    pub key: bool,
    /// Headers.
    pub headers: bool,
}

/// Takes the records of one run.
///
/// The guard: for each partition the next expected offset is known; a record below it is dropped and counted
/// (a client may deliver old offsets again after a rebalance), so that a range holds each record once.
pub struct Intake {
    partitions: Arc<[Partition]>,
    expected: Vec<i64>,
    chunk: Chunk,
    limits: ChunkLimits,
    keep: Keep,
    facts: Facts,
    max_rows: u64,
    max_bytes: u64,
    now: Duration,
    oldest_ms: i64,
    newest_ms: Vec<i64>,
    repeated: u64,
}

impl Intake {
    /// An intake that expects each partition to begin at the offset beside it. The order is the order of slots.
    #[must_use]
    pub fn new(starts: &[(Partition, i64)], limits: ChunkLimits, keep: Keep) -> Self {
        let partitions: Arc<[Partition]> = starts.iter().map(|(p, _)| p.clone()).collect();
        Self {
            expected: starts.iter().map(|(_, at)| *at).collect(),
            chunk: Chunk::new(partitions.clone(), limits.bytes),
            partitions,
            limits,
            keep,
            facts: Facts::default(),
            max_rows: u64::MAX,
            max_bytes: u64::MAX,
            now: Duration::ZERO,
            oldest_ms: i64::MAX,
            newest_ms: vec![i64::MIN; starts.len()],
            repeated: 0,
        }
    }

    /// Which parts of a record to hand in; others are not looked at.
    #[must_use]
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The run's partitions, by slot.
    #[must_use]
    pub fn partitions(&self) -> &Arc<[Partition]> {
        &self.partitions
    }

    /// True while another record may be pushed: ask before taking one from the client.
    #[inline]
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.chunk_is_full() && self.facts.rows < self.max_rows && self.facts.bytes < self.max_bytes
    }

    /// Whether the open window has records: then nobody waits for the next one alone.
    #[must_use]
    pub fn window_is_open(&self) -> bool {
        self.facts.rows > 0
    }

    /// Takes a record, copying its bytes. A record below the expected offset is dropped and counted.
    #[inline]
    pub fn push<'h>(
        &mut self,
        slot: Slot,
        offset: i64,
        timestamp_ms: Option<i64>,
        value: Option<&[u8]>,
        key: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) {
        let expected = &mut self.expected[slot as usize];
        if offset < *expected {
            self.repeated += 1;
            return;
        }
        *expected = offset + 1;
        let before = self.chunk.bytes();
        self.chunk.push(slot, offset, timestamp_ms, value, key, headers);
        self.facts.rows += 1;
        self.facts.bytes += (self.chunk.bytes() - before) as u64;
        self.facts.opened_at.get_or_insert(self.now);
        self.facts.last_at = self.now;
        if let Some(ms) = timestamp_ms {
            self.oldest_ms = self.oldest_ms.min(ms);
            self.newest_ms[slot as usize] = ms;
        }
    }

    /// The source knows that nothing lies between the last record and `next` (control records, compacted offsets).
    pub fn advance(&mut self, slot: Slot, next: i64) {
        let expected = &mut self.expected[slot as usize];
        *expected = (*expected).max(next);
    }

    /// The next offset expected of a slot.
    #[must_use]
    pub fn expected(&self, slot: Slot) -> i64 {
        self.expected[slot as usize]
    }

    /// Sets the time that records pushed from now on came at, and the bounds of the open window.
    pub(crate) fn prepare(&mut self, now: Duration, max_rows: u64, max_bytes: u64) {
        self.now = now;
        self.max_rows = max_rows;
        self.max_bytes = max_bytes;
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    #[inline]
    pub(crate) fn chunk_is_full(&self) -> bool {
        self.chunk.used() >= self.limits.bytes || self.chunk.len() >= self.limits.records
    }

    pub(crate) fn chunk_is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Gives back the memory of an open chunk that has nothing in it.
    pub(crate) fn rest(&mut self) {
        if self.chunk.is_empty() {
            self.chunk = Chunk::new(self.partitions.clone(), self.limits.bytes);
        }
    }

    /// Whether the memory of a chunk that is done with serves the next: one that had to grow for a large record is not kept.
    pub(crate) fn keeps(&self, former: &Chunk) -> bool {
        former.memory() <= 2 * self.limits.bytes
    }

    /// Hands the open chunk on, putting an empty one made of `former` in its place.
    pub fn take_chunk(&mut self, former: Option<Chunk>) -> Chunk {
        let next = match former {
            Some(former) => Chunk::reusing(self.partitions.clone(), former),
            None => Chunk::new(self.partitions.clone(), self.limits.bytes),
        };
        let mut chunk = std::mem::replace(&mut self.chunk, next);
        chunk.seal();
        chunk
    }

    /// Ends the window.
    pub(crate) fn close_window(&mut self) -> ClosedWindow {
        let slots = self.newest_ms.len();
        ClosedWindow {
            facts: std::mem::take(&mut self.facts),
            ends: self.expected.clone(),
            oldest_ms: std::mem::replace(&mut self.oldest_ms, i64::MAX),
            newest_ms: std::mem::replace(&mut self.newest_ms, vec![i64::MIN; slots]),
        }
    }

    /// Records dropped since the last call because they came again.
    pub(crate) fn take_repeated(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }
}

/// What the intake knows of a window at its cut.
#[derive(Clone)]
pub(crate) struct ClosedWindow {
    pub facts: Facts,
    /// Next expected offset by slot.
    pub ends: Vec<i64>,
    /// Oldest broker timestamp; `i64::MAX`: none.
    pub oldest_ms: i64,
    /// Broker timestamp of the newest record by slot; `i64::MIN`: none.
    pub newest_ms: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_drops_what_came_before_and_holes_pass() {
        let limits = ChunkLimits { bytes: 100, records: 3 };
        let mut intake = Intake::new(&[(Partition::new("t", 0), 10)], limits, Keep { key: false, headers: false });
        for offset in [8, 9, 10, 10, 13, 12] {
            intake.push(0, offset, None, Some(b"x"), None, []);
        }
        assert_eq!(intake.take_repeated(), 4);
        let offsets: Vec<_> = intake.chunk.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, [10, 13]);
        intake.advance(0, 20);
        intake.advance(0, 5);
        assert_eq!(intake.close_window().ends, [20]);
    }
}
