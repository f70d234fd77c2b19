//! The consumer group's metadata (member and generation) for a transactional sink.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::ConsumerGroupMetadata;

/// Holds the group metadata of the present run, for sinks that commit positions in a Kafka transaction.
///
/// The coordinator checks member and generation but not who owns a partition, so metadata that is newer than a
/// revocation already answered would let a late commit pass. Promises:
/// 1. What [`get`](Self::get) returns was captured at a moment at which every partition of run `run` was still held:
///    in each rebalance callback before it is answered, and when the run began.
/// 2. It returns `None` for any other run: as soon as a run has ended or its assignment is lost, nothing of it can be
///    committed with metadata from here.
///
/// A sink notes [`run`](Self::run) when its run begins and asks with it at each commit.
#[derive(Default)]
pub struct GroupMetadataSlot(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    run: u64,
    open: bool,
    metadata: Option<Arc<ConsumerGroupMetadata>>,
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

    /// The newest metadata that may be used for commits of run `run`.
    #[must_use]
    pub fn get(&self, run: u64) -> Option<Arc<ConsumerGroupMetadata>> {
        let slot = self.lock();
        (slot.open && slot.run == run).then(|| slot.metadata.clone()).flatten()
    }

    /// A run begins with what the group says now.
    pub(super) fn begin(&self, metadata: Option<ConsumerGroupMetadata>) {
        let mut slot = self.lock();
        slot.run += 1;
        slot.open = true;
        slot.metadata = metadata.map(Arc::new);
    }

    /// The generation changed while everything is still held.
    pub(super) fn renew(&self, metadata: ConsumerGroupMetadata) {
        self.lock().metadata = Some(Arc::new(metadata));
    }

    /// The run has ended, or its assignment is lost.
    pub(super) fn forget(&self) {
        let mut slot = self.lock();
        slot.open = false;
        slot.metadata = None;
    }
}
