//! What librdkafka calls back into: it records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::traffic::Traffic;

/// State of one producer.
pub(super) struct SinkContext {
    job: String,
    /// A connection failed or a request was not answered since the last look: the client may have tried again.
    shaken: AtomicBool,
    last_error: Mutex<Option<String>>,
    /// The first message that was not delivered since the last look.
    undelivered: Mutex<Option<(RDKafkaErrorCode, String)>>,
    traffic: Traffic,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SinkContext {
    pub(super) fn new(job: &str) -> Self {
        Self {
            job: job.to_owned(),
            shaken: AtomicBool::new(false),
            last_error: Mutex::default(),
            undelivered: Mutex::default(),
            traffic: Traffic::of_sink(job),
        }
    }

    /// Whether something may have been tried again since the last call.
    pub(super) fn take_shaken(&self) -> bool {
        self.shaken.swap(false, Ordering::AcqRel)
    }

    /// The first message since the last call that was not delivered.
    pub(super) fn take_undelivered(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.undelivered).take()
    }

    /// The last thing librdkafka complained about, for messages.
    pub(super) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What is wrong is told by the run that ends over it, once.
        const TOLD: &[&str] = &[
            "FAIL",
            "ERROR",
            "FATAL",
            "BROKERFAIL",
            "TERMINATE",
            "REQTMOUT",
            "TXNERR",
            "ADDPARTS",
            "ADDOFFSETS",
            "TXNOFFSETS",
            "ENDTXN",
            "GETPID",
        ];
        if TOLD.contains(&facility) {
            tracing::debug!(target: "librdkafka", job = self.job, facility, "{message}");
            return;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "librdkafka", job = self.job, facility, "{message}");
            }
            _ => tracing::debug!(target: "librdkafka", job = self.job, facility, "{message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.traffic.on_statistics(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", job = self.job, %error, reason, "producer error");
        self.shaken.store(true, Ordering::Release);
        *lock(&self.last_error) = Some(reason.to_owned());
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            // Taken back because something else went wrong, or we abort.
            if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
                return;
            }
            let text = format!("a message to {}/{} was not delivered: {error}", message.topic(), message.partition());
            lock(&self.undelivered).get_or_insert((code, text));
        }
    }
}
