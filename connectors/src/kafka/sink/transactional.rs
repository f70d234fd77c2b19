//! The sink with transactions, as the engine sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Delivery, Sink, SinkError, Staged, Staging};
use tokio::sync::oneshot;

use super::client::{COMMIT_WITHIN, INIT_WITHIN};
use super::message::{self, Encoder};
use super::options::KafkaSinkOptions;
use super::staging::{KafkaStaging, Room, Wanted};
use super::worker::{self, Command, Order, Orders};
use crate::kafka::GroupMetadataSlot;

/// The watchdog's margin over what the client was given.
const MARGIN: Duration = Duration::from_secs(10);

/// Rows into a topic and positions into the source's consumer group, in one transaction each window.
pub struct KafkaSink {
    options: KafkaSinkOptions,
    encoder: Arc<Encoder>,
    slot: Arc<GroupMetadataSlot>,
    run: u64,
    clock: Clock,
    room: Room,
    orders: Option<Orders>,
    identity: Option<String>,
}

impl KafkaSink {
    /// What it guarantees.
    pub const DELIVERY: Delivery = Delivery::ExactlyOnce;

    /// A sink for the present run of the source that `slot` belongs to; the run has its assignment already.
    ///
    /// # Errors
    /// When the options do not fit the schema, or a property is not allowed.
    pub fn new(options: KafkaSinkOptions, slot: Arc<GroupMetadataSlot>, clock: Clock) -> Result<Self, SinkError> {
        let encoder = message::check(&options.mapping, &options.schema).map_err(SinkError::person)?;
        options.transactional_config("check")?;
        let (run, room) = (slot.run(), Room::new(options.staged_bytes(), &options.job));
        Ok(Self { options, encoder, slot, run, clock, room, orders: None, identity: None })
    }

    fn orders(&self) -> Result<&Orders, SinkError> {
        self.orders.as_ref().ok_or_else(|| SinkError::bug("used before recover"))
    }

    /// Waits for the thread's answer; one that does not come gives the thread up.
    async fn answer<T>(
        &self,
        answer: oneshot::Receiver<Result<T, SinkError>>,
        limit: Duration,
        otherwise: fn(String) -> SinkError,
    ) -> Result<T, SinkError> {
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(otherwise("the sink's thread ended without an answer".into())),
            Err(_) => {
                self.orders()?.abandon();
                Err(otherwise(format!("the Kafka client did not answer in {limit:?} and is given up")))
            }
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        let orders = worker::spawn(self.options.clone(), self.slot.clone(), self.run, &self.room, self.clock.clone())?;
        let (answer, answered) = oneshot::channel();
        orders.give(Command::Recover { partitions: partitions.to_vec(), answer })?;
        self.orders = Some(orders);
        // Facts of the cluster and the topic, fencing, and a former owner's open transaction, one after the other.
        let limit = 3 * INIT_WITHIN + INIT_WITHIN + self.options.transaction_timeout() + MARGIN;
        let (held, identity) = self.answer(answered, limit, SinkError::retry).await?;
        self.identity = Some(identity);
        Ok(held)
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        let orders = self.orders()?.clone();
        Ok(Box::new(KafkaStaging::new(self.encoder.clone(), orders, self.room.clone(), self.options.largest_message())))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let (answer, answered) = oneshot::channel();
        let (rows, bytes) = staged.as_ref().map_or((0, 0), |s| (s.rows, s.bytes));
        let wanted = match staged {
            None => None,
            Some(staged) => {
                Some(staged.payload.downcast::<Wanted>().map_err(|_| SinkError::bug("a window of another sink"))?)
            }
        };
        let window = wanted.as_ref().map(|w| w.0.clone());
        self.orders()?.give(Command::Commit(Order { window, rows, bytes, ranges: ranges.clone(), answer }))?;
        // Messages still to be sent, then offsets, flush and commit.
        let limit = self.options.transaction_timeout() + 3 * COMMIT_WITHIN + MARGIN;
        self.answer(answered, limit, SinkError::unknown).await
    }

    fn commits_are_cheap(&self) -> bool {
        true
    }

    fn identity(&self) -> Option<String> {
        self.identity.clone()
    }
}
