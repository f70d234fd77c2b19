//! What a query may use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::memory_pool::{FairSpillPool, MemoryLimit, MemoryPool};
use tidemill_engine::clock::Clock;

use crate::pool::ShownPool;

/// Memory for the windows of a query.
#[derive(Clone, Debug)]
pub enum Memory {
    /// A pool of its own, of this many bytes, shared fairly between what can spill.
    Bytes(usize),
    /// A pool shared with others.
    Pool(Arc<dyn MemoryPool>),
}

/// Bounds of one SQL operator. Row-wise queries hold nothing, so only `query_bytes_max` and `clock` concern them.
#[derive(Clone, Debug)]
pub struct SqlLimits {
    /// The job whose memory this is, where it is to be shown in the metrics.
    pub job: Option<String>,
    /// Memory of all windows of the operator together (one fills while another ends).
    pub memory: Memory,
    /// Folder for rows that do not fit; made when first needed. What a killed process leaves in it may be deleted
    /// before the next starts. `None`: nothing spills, a window that does not fit is an error.
    pub spill_dir: Option<PathBuf>,
    /// Bytes on disk for all windows of the operator together.
    pub spill_bytes_max: u64,
    /// How long a window's caller may wait for its query, all waits together. `None`: for ever.
    pub deadline: Option<Duration>,
    /// Rows that one window may give: stops a join that explodes.
    pub output_rows_max: u64,
    /// Length of a query's text.
    pub query_bytes_max: usize,
    /// What `now()` asks.
    pub clock: Clock,
}

impl Default for SqlLimits {
    /// 64 MiB of memory, no spilling, 10 minutes, 100 million rows, 64 KiB of text, the machine's clock.
    fn default() -> Self {
        Self {
            job: None,
            memory: Memory::Bytes(64 << 20),
            spill_dir: None,
            spill_bytes_max: 16 << 30,
            deadline: Some(Duration::from_secs(600)),
            output_rows_max: 100_000_000,
            query_bytes_max: 64 << 10,
            clock: Clock::system(),
        }
    }
}

impl SqlLimits {
    /// The pool, and its size where that is known.
    pub(crate) fn pool(&self) -> (Arc<dyn MemoryPool>, Option<usize>) {
        match &self.memory {
            Memory::Bytes(bytes) => {
                let pool: Arc<dyn MemoryPool> = match &self.job {
                    Some(job) => Arc::new(ShownPool::new(*bytes, job)),
                    None => Arc::new(FairSpillPool::new(*bytes)),
                };
                (pool, Some(*bytes))
            }
            Memory::Pool(pool) => {
                let bytes = match pool.memory_limit() {
                    MemoryLimit::Finite(bytes) => Some(bytes),
                    MemoryLimit::Infinite | MemoryLimit::Unknown => None,
                };
                (Arc::clone(pool), bytes)
            }
        }
    }
}
