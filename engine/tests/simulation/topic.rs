//! The simulated topic: what is at each offset is a function of the place alone.

use tidemill_engine::partition::Partition;

/// What becomes of the record at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row of the main sink.
    Row,
    /// A dead letter.
    Reject,
    /// The query drops it: no row, but the position moves.
    Filtered,
    /// No record: a control record, or compacted.
    Hole,
}

/// A place in the topic.
pub type Place = (usize, i64);

/// What is at `place`.
pub fn kind((partition, offset): Place) -> Kind {
    let mixed =
        (offset as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) ^ (partition as u64 * 0x5851_F42D);
    match mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 59 {
        0..=6 => Kind::Reject,
        7..=11 => Kind::Filtered,
        12..=14 => Kind::Hole,
        _ => Kind::Row,
    }
}

/// The log of each partition.
pub struct Topic {
    pub names: Vec<Partition>,
    /// First offset that is still there.
    pub low: Vec<i64>,
    /// Next offset to be written.
    pub end: Vec<i64>,
}

impl Topic {
    pub fn new(partitions: usize) -> Self {
        let mut topic = Self { names: vec![], low: vec![], end: vec![] };
        (0..partitions).for_each(|_| topic.grow());
        topic
    }

    /// A new partition.
    pub fn grow(&mut self) {
        self.names.push(Partition::new("t", self.names.len() as i32));
        self.low.push(0);
        self.end.push(0);
    }

    /// Where a reader's position is when it has read everything: holes at the end open no window.
    pub fn read_up_to(&self, p: usize) -> i64 {
        let offsets = (self.low[p]..self.end[p]).rev();
        offsets.into_iter().find(|&o| kind((p, o)) != Kind::Hole).map_or(0, |o| o + 1)
    }

    pub fn partitions(&self) -> usize {
        self.names.len()
    }
}
