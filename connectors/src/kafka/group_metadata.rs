//! The consumer group's metadata (member and generation) for a transactional sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use super::ffi::KafkaConsumer;
use super::ffi::transactions::GroupMetadata;

/// Where a sink that commits positions in a Kafka transaction finds the group metadata of its run.
///
/// The coordinator checks member and generation but not who owns a partition, so metadata that is newer than a
/// revocation already answered would let a late commit pass. Promises:
/// 1. What [`now`](Self::now) returns was read at a moment at which every partition of run `run` was still held: a
///    generation in which they are somebody else's begins only after this member has answered their revocation, or
///    has been thrown out, and then it is no member until the loss is answered.
/// 2. It returns `None` for any other run: as soon as a run has ended or its assignment is lost, nothing of it can be
///    committed with metadata from here.
///
/// A sink notes [`run`](Self::run) when it is made (the run has its assignment then) and asks with it at each commit.
#[derive(Default)]
pub struct GroupMetadataSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    run: u64,
    open: bool,
    consumer: Weak<KafkaConsumer>,
    /// Instead of asking the consumer.
    captured: Option<Arc<GroupMetadata>>,
    cluster: Option<String>,
}

impl GroupMetadataSlot {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the present or the last run; it grows with every run.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.lock().run
    }

    /// The id of the cluster that the group is on, as far as it is known.
    #[must_use]
    pub(super) fn cluster(&self) -> Option<String> {
        self.lock().cluster.clone()
    }

    /// Metadata for a commit of run `run`, as it is now.
    #[must_use]
    pub(super) fn now(&self, run: u64) -> Option<Arc<GroupMetadata>> {
        let consumer = {
            let slot = self.lock();
            if !slot.open || slot.run != run {
                return None;
            }
            if let Some(captured) = &slot.captured {
                return Some(captured.clone());
            }
            slot.consumer.upgrade()?
        };
        // Not under the lock: it waits for the client's thread.
        let metadata = Arc::new(GroupMetadata::now(&*consumer)?);
        let slot = self.lock();
        (slot.open && slot.run == run).then_some(metadata)
    }

    /// A run begins, with an assignment.
    pub(super) fn begin(&self, consumer: &Arc<KafkaConsumer>, cluster: Option<String>) {
        let mut slot = self.lock();
        slot.run += 1;
        slot.open = true;
        slot.consumer = Arc::downgrade(consumer);
        slot.captured = None;
        slot.cluster = cluster;
    }

    /// The run has ended, or its assignment is lost.
    pub(super) fn forget(&self) {
        let mut slot = self.lock();
        slot.open = false;
        slot.captured = None;
        slot.consumer = Weak::new();
    }

    /// For tests of sinks: what `consumer` says now, for good, as in a process that was frozen.
    #[doc(hidden)]
    pub fn capture<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        let mut slot = self.lock();
        slot.open = true;
        slot.captured = GroupMetadata::now(consumer).map(Arc::new);
    }

    /// For tests of sinks: the generation captured.
    #[doc(hidden)]
    #[must_use]
    pub fn captured_generation(&self) -> Option<i32> {
        self.lock().captured.as_ref().map(|m| m.generation())
    }
}
