//! Takes rows and forgets them: for measuring what comes before a sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Delivery, Receipt, Sink, SinkError, Staged, Staging};

use crate::kept::KeptPositions;

/// Counts rows. Its positions are kept apart, so that a job goes on where it was.
pub struct BlackholeSink {
    rows: Arc<AtomicU64>,
    positions: KeptPositions,
    windows: u64,
}

impl BlackholeSink {
    /// What it guarantees: rows that nobody can read are there at most in a manner of speaking, but nothing is skipped.
    pub const DELIVERY: Delivery = Delivery::AtLeastOnce;

    /// Counts into `rows` what is committed.
    #[must_use]
    pub fn new(rows: Arc<AtomicU64>, positions: KeptPositions) -> Self {
        Self { rows, positions, windows: 0 }
    }
}

#[async_trait]
impl Sink for BlackholeSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.positions.load()
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        Ok(Box::new(Hole { rows: 0, bytes: 0 }))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        if let Some(found) = self.positions.refuses(ranges) {
            return Ok(Commit::Lost(found));
        }
        self.positions.advance(ranges)?;
        let (rows, bytes) = staged.map_or((0, 0), |s| (s.rows, s.bytes));
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.windows += 1;
        Ok(Commit::Landed(Receipt { rows, bytes, files: 0, id: self.windows.to_string() }))
    }
}

struct Hole {
    rows: u64,
    bytes: u64,
}

#[async_trait]
impl Staging for Hole {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        self.rows += rows.num_rows() as u64;
        self.bytes += rows.get_array_memory_size() as u64;
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        Ok(Staged { rows: self.rows, bytes: self.bytes, files: 0, payload: Box::new(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::partition::{OffsetRange, Position};
    use tidemill_engine::testkit::{plain_schema, rows};

    #[tokio::test]
    async fn counts_what_is_committed() {
        let count = Arc::new(AtomicU64::new(0));
        let kept = KeptPositions::in_memory();
        let mut sink = BlackholeSink::new(count.clone(), kept.clone());
        let p = Partition::new("t", 0);
        let anchor: OffsetRanges = [(p.clone(), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
        sink.commit(None, &anchor).await.unwrap();
        let mut staging = sink.open().await.unwrap();
        staging.write(rows(&plain_schema(), "t", 0, 0..7)).await.unwrap();
        let staged = staging.seal().await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 0);
        let moved = [(p.clone(), OffsetRange::new(0, 7))].into_iter().collect();
        sink.commit(Some(staged), &moved).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 7);
        assert!(matches!(sink.commit(None, &anchor).await, Ok(Commit::Lost(_))));
        assert_eq!(BlackholeSink::new(count, kept).recover(&[]).await.unwrap().offset(&p), Some(7));
    }
}
