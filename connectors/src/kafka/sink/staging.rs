//! A window on its way: rows are encoded and wait, within the sink's memory, until the worker sends them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use metrics::{Gauge, gauge};
use tidemill_engine::metrics::MEMORY;
use tidemill_engine::sink::{SinkError, Staged, Staging};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::message::{Encoder, Messages};
use super::worker::{Command, Orders};

/// Rows up to this many are encoded where they come in; more are given a thread that may block.
const ENCODED_AT_ONCE: usize = 512;

/// What is left to do about a window.
#[derive(Debug, Default)]
pub(super) struct Window {
    dropped: AtomicBool,
    /// Why it cannot land any more.
    failed: Mutex<Option<SinkError>>,
}

impl Window {
    /// Nobody wants it any more.
    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub(super) fn fail(&self, error: SinkError) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The same error, as often as it is asked for.
    pub(super) fn failure(&self) -> Option<SinkError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|e| SinkError::new(e.reaction, e.message.clone()))
    }
}

/// Keeps a window wanted: dropped without having landed, what was sent of it is aborted.
pub(super) struct Wanted(pub(super) Arc<Window>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Release);
    }
}

/// Messages of a window, and the memory they hold until they are dropped.
pub(super) struct Block {
    pub(super) window: Arc<Window>,
    pub(super) messages: Messages,
    _memory: Taken,
}

/// Memory taken, and shown until it is dropped.
pub(super) struct Taken {
    _permit: OwnedSemaphorePermit,
    shown: Gauge,
    bytes: f64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shown.decrement(self.bytes);
    }
}

/// Memory of messages that wait, in KiB; each block takes one at least.
#[derive(Clone)]
pub(super) struct Room {
    kib: Arc<Semaphore>,
    all: u32,
    shown: Gauge,
}

impl Room {
    pub(super) fn new(bytes: usize, job: &str) -> Self {
        let all = u32::try_from((bytes >> 10).max(64)).unwrap_or(u32::MAX >> 4);
        let shown = gauge!(MEMORY, "job" => job.to_owned(), "kind" => "messages");
        Self { kib: Arc::new(Semaphore::new(all as usize)), all, shown }
    }

    async fn take(&self, bytes: usize) -> Result<Taken, SinkError> {
        // So that blocks without bytes do not grow beyond number, each takes 16 KiB.
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(16).min(self.all);
        let permit = self.kib.clone().acquire_many_owned(kib).await;
        let permit = permit.map_err(|_| SinkError::bug("the sink is closed"))?;
        let bytes = f64::from(kib) * 1024.0;
        self.shown.increment(bytes);
        Ok(Taken { _permit: permit, shown: self.shown.clone(), bytes })
    }

    /// Most blocks that fit.
    pub(super) fn blocks(&self) -> usize {
        self.all as usize / 16 + 1
    }
}

/// Rows of one window.
pub(super) struct KafkaStaging {
    encoder: Arc<Encoder>,
    orders: Orders,
    room: Room,
    wanted: Wanted,
    rows: u64,
    bytes: AtomicU64,
    /// The largest message that the client takes, and whether it may refuse one of these.
    largest: usize,
    doubtful: bool,
}

impl KafkaStaging {
    /// Staging for messages of which the client takes those up to `largest` bytes.
    pub(super) fn new(encoder: Arc<Encoder>, orders: Orders, room: Room, largest: usize) -> Self {
        let doubtful = encoder.names_partitions();
        Self {
            encoder,
            orders,
            room,
            wanted: Wanted(Arc::default()),
            rows: 0,
            bytes: AtomicU64::new(0),
            largest,
            doubtful,
        }
    }
}

#[async_trait]
impl Staging for KafkaStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        let at_once = self.encoder.rows_at_once();
        let mut from = 0;
        while from < rows.num_rows() {
            if let Some(failure) = self.wanted.0.failure() {
                return Err(failure);
            }
            let part = rows.slice(from, at_once.min(rows.num_rows() - from));
            from += part.num_rows();
            self.rows += part.num_rows() as u64;
            let messages = if part.num_rows() <= ENCODED_AT_ONCE {
                self.encoder.encode(&part)?
            } else {
                let encoder = self.encoder.clone();
                tokio::task::spawn_blocking(move || encoder.encode(&part))
                    .await
                    .map_err(|e| SinkError::bug(format!("an encoder panicked: {e}")))??
            };
            let bytes = messages.bytes();
            // Half: what the client counts beside key and value is not known here.
            self.doubtful |= bytes >= self.largest / 2;
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let memory = self.room.take(bytes).await?;
            let block = Block { window: self.wanted.0.clone(), messages, _memory: memory };
            self.orders.give(Command::Produce(Box::new(block)))?;
        }
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        if self.doubtful {
            // What the client refuses has to be known before the commit: behind it nobody looks for the row any more.
            let (reached, all) = oneshot::channel();
            self.orders.give(Command::Reach(reached))?;
            all.await.map_err(|_| SinkError::retry("the sink's thread has ended"))?;
        }
        if let Some(failure) = self.wanted.0.failure() {
            return Err(failure);
        }
        let (rows, bytes) = (self.rows, self.bytes.into_inner());
        Ok(Staged { rows, bytes, files: 0, payload: Box::new(self.wanted) })
    }
}
