//! The sink without transactions: messages are sent as rows come, and positions are kept in a file after the brokers
//! have acknowledged them. A crash between the two sends a window again.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Delivery, Receipt, Sink, SinkError, Staged, Staging};

use super::client::Client;
use super::ledger;
use super::message::{self, Encoder};
use super::options::KafkaSinkOptions;
use crate::kept::KeptPositions;

/// Rows into a topic, of any cluster, at least once.
pub struct AtLeastOnceKafkaSink {
    options: KafkaSinkOptions,
    encoder: Arc<Encoder>,
    positions: KeptPositions,
    clock: Clock,
    client: Option<Arc<Client>>,
    windows: u64,
}

impl AtLeastOnceKafkaSink {
    /// What it guarantees.
    pub const DELIVERY: Delivery = Delivery::AtLeastOnce;

    /// A sink whose positions are kept in `positions`.
    ///
    /// # Errors
    /// When the options do not fit the schema, or a property is not allowed.
    pub fn new(options: KafkaSinkOptions, positions: KeptPositions, clock: Clock) -> Result<Self, SinkError> {
        let encoder = message::check(&options.mapping, &options.schema).map_err(SinkError::person)?;
        options.plain_config()?;
        Ok(Self { options, encoder, positions, clock, client: None, windows: 0 })
    }

    fn client(&self) -> Result<Arc<Client>, SinkError> {
        self.client.clone().ok_or_else(|| SinkError::bug("used before recover"))
    }
}

/// Calls into the client, which block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| SinkError::bug(format!("the Kafka sink panicked: {e}")))?
}

#[async_trait]
impl Sink for AtLeastOnceKafkaSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        let (options, clock) = (self.options.clone(), self.clock.clone());
        let client = blocking(move || {
            let client = Client::plain(&options, &clock)?;
            let cluster = ledger::cluster(client.client(), &options)?;
            ledger::identity(client.client(), &cluster, &options, &clock)?;
            Ok(client)
        })
        .await?;
        self.client = Some(Arc::new(client));
        self.positions.load()
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        Ok(Box::new(Sending { client: self.client()?, encoder: self.encoder.clone(), rows: 0, bytes: 0 }))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        if let Some(found) = self.positions.refuses(ranges) {
            return Ok(Commit::Lost(found));
        }
        let (rows, bytes) = staged.as_ref().map_or((0, 0), |s| (s.rows, s.bytes));
        failpoint!("kafka.before_flush");
        // Also what was sent of the window after this one: it is the same queue.
        let client = self.client()?;
        blocking(move || client.flush()).await?;
        failpoint!("kafka.after_flush");
        self.positions.advance(ranges)?;
        self.windows += 1;
        Ok(Commit::Landed(Receipt { rows, bytes, files: 0, id: self.windows.to_string() }))
    }
}

struct Sending {
    client: Arc<Client>,
    encoder: Arc<Encoder>,
    rows: u64,
    bytes: u64,
}

#[async_trait]
impl Staging for Sending {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        let (client, encoder) = (self.client.clone(), self.encoder.clone());
        self.rows += rows.num_rows() as u64;
        self.bytes += blocking(move || {
            let (mut from, mut bytes) = (0, 0);
            while from < rows.num_rows() {
                let part = rows.slice(from, encoder.rows_at_once().min(rows.num_rows() - from));
                from += part.num_rows();
                let messages = encoder.encode(&part)?;
                bytes += messages.bytes() as u64;
                client.produce(&messages, &AtomicBool::new(false))?;
            }
            Ok(bytes)
        })
        .await?;
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        Ok(Staged { rows: self.rows, bytes: self.bytes, files: 0, payload: Box::new(()) })
    }
}
