//! A memory pool that shows how much of it is used.

use std::fmt;

use datafusion::common::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use metrics::{Gauge, gauge};
use tidemill_engine::metrics::MEMORY;

/// A [`FairSpillPool`] of one operator. Those of one job add up in what is shown.
pub(crate) struct ShownPool {
    pool: FairSpillPool,
    shown: Gauge,
}

impl ShownPool {
    /// `bytes` for an operator of this job.
    pub(crate) fn new(bytes: usize, job: &str) -> Self {
        let shown = gauge!(MEMORY, "job" => job.to_owned(), "kind" => "sql");
        Self { pool: FairSpillPool::new(bytes), shown }
    }
}

impl fmt::Debug for ShownPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.pool, f)
    }
}

impl fmt::Display for ShownPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.pool, f)
    }
}

#[allow(clippy::cast_precision_loss)] // a gauge is a float
impl MemoryPool for ShownPool {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.shown.increment(additional as f64);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.shown.decrement(shrink as f64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.pool.try_grow(reservation, additional)?;
        self.shown.increment(additional as f64);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}
