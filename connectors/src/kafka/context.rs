//! What librdkafka calls back into: it records and answers nothing.
//!
//! A rebalance is *recorded* in the callback and answered later by the source, when the run it ends has landed.
//! librdkafka waits for the answer (`incremental_assign`, `incremental_unassign`), while heartbeats go on in its own
//! thread; it pauses the partitions held meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use tidemill_engine::partition::Partition;

use super::connection::{Change, Connection};
use super::group_metadata::GroupMetadataSlot;
use super::membership::GroupEvent;
use super::traffic::Traffic;

/// Callback state shared by the client and the source.
pub(super) struct Context {
    job: String,
    events: Mutex<VecDeque<GroupEvent>>,
    connection: Mutex<Connection>,
    /// Counts callbacks: whoever polls knows by it that something was served.
    activity: AtomicU64,
    closing: AtomicBool,
    metadata: Arc<GroupMetadataSlot>,
    traffic: Traffic,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(super) fn new(job: String, metadata: Arc<GroupMetadataSlot>) -> Self {
        Self {
            traffic: Traffic::of_source(&job),
            job,
            events: Mutex::default(),
            connection: Mutex::default(),
            activity: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            metadata,
        }
    }

    /// Number of callbacks so far.
    pub(super) fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }

    /// Moves what the group said into `into`, in order.
    pub(super) fn take_events(&self, into: &mut VecDeque<GroupEvent>) {
        into.append(&mut lock(&self.events));
    }

    /// From now on rebalances are answered in the callback: nobody else will.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The last thing librdkafka complained about, for messages.
    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.connection).last_error().map(str::to_owned)
    }

    /// True while no broker is connected.
    pub(super) fn is_down(&self) -> bool {
        lock(&self.connection).is_down()
    }

    fn served(&self) {
        self.activity.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self, change: Option<Change>) {
        match change {
            Some(Change::Down { reason }) => {
                tracing::warn!(job = self.job, reason, "no broker can be reached; waiting for one");
            }
            Some(Change::Up) => tracing::info!(job = self.job, "brokers can be reached again"),
            None => {}
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|e| Partition::new(e.topic(), e.partition())).collect()
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.served();
        let assigned = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative if assigned => consumer.incremental_assign(&TopicPartitionList::new()),
                RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
                _ => consumer.unassign(),
            };
            if let Err(error) = answered {
                tracing::debug!(job = self.job, %error, "the group was left in the middle of a rebalance");
            }
            return;
        }
        let lost = !assigned && consumer.assignment_lost();
        if lost {
            self.metadata.forget();
        }
        let partitions = partitions(list);
        lock(&self.events).push_back(if assigned {
            GroupEvent::Assigned(partitions)
        } else {
            GroupEvent::Revoked { partitions, lost }
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        self.served();
        if let Err(error) = result {
            tracing::debug!(job = self.job, %error, "informational group commit failed");
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.served();
        // Connections that fail are told once by `report`, not at every attempt.
        if matches!(facility, "FAIL" | "ERROR" | "BROKERFAIL" | "TERMINATE") {
            tracing::debug!(target: "librdkafka", job = self.job, facility, "{message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", job = self.job, facility, "{message}"),
            _ => tracing::debug!(target: "librdkafka", job = self.job, facility, "{message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.served();
        self.traffic.on_statistics(statistics);
        let change = lock(&self.connection).on_statistics(statistics);
        self.report(change);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.served();
        tracing::debug!(target: "librdkafka", job = self.job, %error, reason, "client error");
        lock(&self.connection).on_error(reason);
    }
}
