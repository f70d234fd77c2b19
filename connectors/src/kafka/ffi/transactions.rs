//! Transactions: `rdkafka` flushes before a commit in steps of 100 ms, and hides the generation in a group's metadata.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;

use super::{Native, code, millis, owned};

/// A failed step of a transaction, with librdkafka's word on what is left to do.
#[derive(Clone, Debug)]
pub(in crate::kafka) struct TxnError {
    /// The broker's or librdkafka's code.
    pub(in crate::kafka) code: RDKafkaErrorCode,
    /// Its words.
    pub(in crate::kafka) text: String,
    /// The transaction has to be aborted: it has not landed and cannot.
    pub(in crate::kafka) abort: bool,
}

/// Takes over an error that librdkafka returned; null is none.
fn outcome(error: *mut sys::rd_kafka_error_t) -> Result<(), TxnError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, ours since the call that returned it, read before it is destroyed once.
    unsafe {
        let taken = TxnError {
            code: sys::rd_kafka_error_code(error).into(),
            text: owned(sys::rd_kafka_error_string(error)),
            abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        sys::rd_kafka_error_destroy(error);
        Err(taken)
    }
}

/// A member of a consumer group, and the generation it was in, at one moment.
pub(in crate::kafka) struct GroupMetadata(NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: written once by librdkafka, only read after that, and not tied to a thread.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above: nothing changes it.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// What the consumer knows now. Asks the client's own thread, no broker. `None`: it has no group.
    pub(in crate::kafka) fn now(consumer: &impl Native) -> Option<Self> {
        // SAFETY: the client is alive; the result is ours, or null.
        NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(consumer.native()) }).map(Self)
    }

    /// Metadata of no member: what brokers take without looking at generations. For tests that switch the compare off.
    pub(in crate::kafka) fn of_nobody(group: &str) -> Option<Self> {
        let group = CString::new(group).ok()?;
        // SAFETY: NUL-terminated and copied; the result is ours, or null.
        NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata_new(group.as_ptr()) }).map(Self)
    }

    /// The generation (KIP-848: the member's epoch); below 0 for whoever is no member.
    pub(in crate::kafka) fn generation(&self) -> i32 {
        // SAFETY: alive as long as `self`.
        unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }

    /// The member's id; empty for whoever is no member.
    pub(in crate::kafka) fn member(&self) -> String {
        // SAFETY: alive as long as `self`; a NUL-terminated string of it.
        unsafe { owned(sys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr())) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: made by librdkafka, destroyed once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) };
    }
}

/// Fences whoever used the transactional id before, and waits until what that one had decided is finished.
pub(in crate::kafka) fn init(producer: &impl Native, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    outcome(unsafe { sys::rd_kafka_init_transactions(producer.native(), millis(timeout)) })
}

/// Begins a transaction; asks no broker.
pub(in crate::kafka) fn begin(producer: &impl Native) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    outcome(unsafe { sys::rd_kafka_begin_transaction(producer.native()) })
}

/// Adds offsets to the transaction, as the member in `group`.
pub(in crate::kafka) fn send_offsets(
    producer: &impl Native,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    timeout: Duration,
) -> Result<(), TxnError> {
    // SAFETY: client, list and metadata are alive; librdkafka copies both.
    outcome(unsafe {
        sys::rd_kafka_send_offsets_to_transaction(producer.native(), offsets.ptr(), group.0.as_ptr(), millis(timeout))
    })
}

/// Waits until no message is in flight, woken by the last one. False: some still are.
///
/// The producer must report failed deliveries only (`delivery.report.only.error`), or reports nobody took count too.
pub(in crate::kafka) fn flush(producer: &impl Native, timeout: Duration) -> bool {
    // SAFETY: the client is alive.
    code(unsafe { sys::rd_kafka_flush(producer.native(), millis(timeout)) }).is_none()
}

/// Commits the transaction.
pub(in crate::kafka) fn commit(producer: &impl Native, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    outcome(unsafe { sys::rd_kafka_commit_transaction(producer.native(), millis(timeout)) })
}

/// Aborts the transaction.
pub(in crate::kafka) fn abort(producer: &impl Native, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    outcome(unsafe { sys::rd_kafka_abort_transaction(producer.native(), millis(timeout)) })
}
