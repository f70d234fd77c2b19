//! The hot loop of a run: batches of messages from the run's queue into the intake.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tidemill_engine::chunk::Slot;
use tidemill_engine::intake::Intake;
use tidemill_engine::partition::Partition;
use tidemill_engine::source::SourceError;

use super::errors;
use super::ffi::{AppQueue, Batch, KafkaConsumer, Message};
use super::slots::Slots;

/// Most messages taken from the queue at once.
const BATCH_RECORDS: usize = 4096;
/// About so many bytes are taken at once: what is taken no longer counts as prefetched.
const BATCH_BYTES: usize = 1 << 20;

/// Where a bounded source stops.
struct Bound {
    /// By slot.
    stops: Vec<i64>,
    /// Slots that have not come to their stop.
    open: BTreeSet<Slot>,
    /// Slots that have since they were last asked for.
    done: Vec<Slot>,
}

/// What one run reads with.
pub(super) struct Reader {
    /// Destroyed before the queue it came from.
    batch: Batch,
    queue: AppQueue,
    slots: Slots,
    bound: Option<Bound>,
    batch_records: usize,
    /// Records of partitions that are not of this run.
    strays: u64,
}

impl Reader {
    /// A reader of `partitions` (in slot order), each `begins` at its offset and, in a bounded source, ends at `stop_at`.
    pub(super) fn new(consumer: &Arc<KafkaConsumer>, begins: &[(Partition, i64)], stop_at: Option<Vec<i64>>) -> Self {
        let partitions: Arc<[Partition]> = begins.iter().map(|(p, _)| p.clone()).collect();
        let bound = stop_at.map(|stops| {
            let below = (0..).zip(begins.iter().zip(&stops)).filter(|(_, ((_, at), stop))| at < *stop);
            Bound { open: below.map(|(slot, _)| slot).collect(), stops, done: Vec::new() }
        });
        Self {
            batch: Batch::new(consumer, BATCH_RECORDS),
            queue: AppQueue::new(consumer),
            slots: Slots::new(partitions),
            bound,
            batch_records: BATCH_RECORDS / 8,
            strays: 0,
        }
    }

    /// The run's partitions, by slot.
    pub(super) fn partitions(&self) -> &Arc<[Partition]> {
        self.slots.partitions()
    }

    /// Gives up everything taken and queued so far for a new, empty queue.
    pub(super) fn renew_queue(&mut self, consumer: &Arc<KafkaConsumer>) {
        self.batch.clear();
        self.queue = AppQueue::new(consumer);
    }

    /// The queue that the run's partitions are forwarded to.
    pub(super) fn queue(&self) -> &AppQueue {
        &self.queue
    }

    /// True when a bounded source has given everything.
    pub(super) fn is_done(&self) -> bool {
        self.bound.as_ref().is_some_and(|b| b.open.is_empty())
    }

    /// Partitions of a bounded source that have come to their stop since this was last asked.
    pub(super) fn take_done(&mut self) -> Vec<Partition> {
        let done = self.bound.as_mut().map(|b| std::mem::take(&mut b.done)).unwrap_or_default();
        done.into_iter().map(|slot| self.slots.partitions()[slot as usize].clone()).collect()
    }

    /// All partitions of a bounded source that have come to their stop, or began behind it.
    pub(super) fn all_done(&mut self) -> Vec<Partition> {
        let Some(bound) = &mut self.bound else { return Vec::new() };
        bound.done.clear();
        let slots = (0..).zip(self.slots.partitions().iter());
        slots.filter(|(slot, _)| !bound.open.contains(slot)).map(|(_, p)| p.clone()).collect()
    }

    /// Waits up to `timeout` for a message and keeps it for the next [`deliver`](Self::deliver).
    pub(super) fn wait(&mut self, timeout: Duration) -> bool {
        !self.batch.is_empty() || self.batch.fill(&self.queue, 1, timeout) > 0
    }

    /// Waits for `timeout` and keeps what came for the next [`deliver`](Self::deliver), back earlier only with a whole
    /// batch: one wake-up for many records.
    pub(super) fn gather(&mut self, timeout: Duration) -> bool {
        !self.batch.is_empty() || self.batch.fill(&self.queue, self.batch_records, timeout) > 0
    }

    /// Pushes what is there into `intake` while it has room. True when something was taken from the queue.
    pub(super) fn deliver(&mut self, intake: &mut Intake) -> Result<bool, SourceError> {
        let mut took = false;
        // More rounds than a chunk has batches: only messages that are no records could make it longer.
        for _ in 0..64 {
            took |= self.deliver_batch(intake)?;
            if !intake.has_room() || self.batch.fill(&self.queue, self.batch_records, Duration::ZERO) == 0 {
                break;
            }
        }
        Ok(took)
    }

    fn deliver_batch(&mut self, intake: &mut Intake) -> Result<bool, SourceError> {
        let keep = intake.keep();
        let (mut records, mut bytes, mut events) = (0usize, 0usize, 0usize);
        while intake.has_room() {
            let Some(message) = self.batch.next() else { break };
            let slot = self.slots.find(message.topic_token(), message.partition(), || message.topic());
            if let Some(code) = message.error() {
                events += 1;
                match (slot, code) {
                    (Some(slot), Code::PartitionEOF) => {
                        let end = message.offset();
                        drop(message);
                        self.came_to(slot, end, intake);
                    }
                    _ => failed(&message, code, slot.map(|s| intake.expected(s)))?,
                }
                continue;
            }
            let Some(slot) = slot else {
                self.strays += 1;
                continue;
            };
            let offset = message.offset();
            let value = message.value();
            records += 1;
            bytes += value.map_or(0, <[u8]>::len);
            let stop = self.bound.as_ref().map_or(i64::MAX, |b| b.stops[slot as usize]);
            if offset < stop {
                push(intake, keep, slot, &message);
            }
            if offset >= stop - 1 {
                drop(message);
                self.came_to(slot, offset + 1, intake);
            }
        }
        if let Some(mean) = bytes.checked_div(records) {
            self.batch_records = (BATCH_BYTES / mean.max(1)).clamp(16, BATCH_RECORDS);
        }
        Ok(records + events > 0)
    }

    /// Nothing that was not pushed lies below `next`; in a bounded source, below the stop if that is lower.
    fn came_to(&mut self, slot: Slot, next: i64, intake: &mut Intake) {
        let Some(bound) = &mut self.bound else {
            intake.advance(slot, next);
            return;
        };
        let stop = bound.stops[slot as usize];
        intake.advance(slot, next.min(stop));
        if next >= stop && bound.open.remove(&slot) {
            bound.done.push(slot);
            tracing::debug!(partition = %self.slots.partitions()[slot as usize], stop, "read to its end");
        }
    }
}

#[inline]
fn push(intake: &mut Intake, keep: tidemill_engine::intake::Keep, slot: Slot, message: &Message<'_>) {
    let key = if keep.key { message.key() } else { None };
    let headers = keep.headers.then(|| message.headers()).into_iter().flatten();
    intake.push(slot, message.offset(), message.timestamp_ms(), message.value(), key, headers);
}

/// An error from the run's queue: of a partition (whose next offset is `at`) or of none.
fn failed(message: &Message<'_>, code: Code, at: Option<i64>) -> Result<(), SourceError> {
    if errors::partition_recovers(code) || (at.is_none() && errors::client(code) == errors::Reaction::Wait) {
        tracing::debug!(topic = message.topic(), partition = message.partition(), ?code, "passing consumer error");
        return Ok(());
    }
    let place = format!("{}/{}", message.topic(), message.partition());
    let at = at.map_or_else(String::new, |at| format!(" at offset {at}"));
    let text = message.error_text();
    let what_now = match code {
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            "the position is outside the log; the next start decides by on_data_loss"
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => "the topic or partition is gone",
        _ => "reading stops here so that nothing is passed over; it is tried again from the last position",
    };
    Err(SourceError { retry: true, message: format!("{place}{at}: {text} ({code:?}): {what_now}") })
}
