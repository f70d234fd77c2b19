//! One producer and its open transaction. Every call here may block: it runs on the sink's own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::{Reaction, SinkError};

use super::context::SinkContext;
use super::errors::{self, Step};
use super::message::Messages;
use super::options::KafkaSinkOptions;
use crate::kafka::ffi::produce::TopicHandle;
use crate::kafka::ffi::transactions::{self, GroupMetadata, TxnError};

/// The producer of this sink.
pub(super) type Producer = BaseProducer<SinkContext>;

/// Longest that offsets or a commit may take before the client is given up.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(30);
/// Longest that initialising may take: it waits for the former owner's transaction to be finished.
pub(super) const INIT_WITHIN: Duration = Duration::from_secs(30);
/// Longest that a new client is given to connect before it is initialised.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest that aborting may take before it is left to the broker's own timeout.
const ABORT_WITHIN: Duration = Duration::from_secs(5);
/// Longest single wait for messages in flight.
const FLUSH_TURN: Duration = Duration::from_millis(5);
/// How often a full queue is looked at again.
const FULL_QUEUE: Duration = Duration::from_millis(2);

/// A producer with a transactional id of its own.
pub(super) struct Client {
    handle: TopicHandle<SinkContext>,
    producer: Arc<Producer>,
    topic: String,
    id: String,
    clock: Clock,
    timeout: Duration,
    open: bool,
}

impl Client {
    /// Makes the client; [`init`](Self::init) comes first.
    pub(super) fn new(options: &KafkaSinkOptions, id: String, clock: &Clock) -> Result<Self, SinkError> {
        Self::of(options, options.transactional_config(&id)?, id, clock)
    }

    /// A client without transactions: what it is given is sent, and that is all.
    pub(super) fn plain(options: &KafkaSinkOptions, clock: &Clock) -> Result<Self, SinkError> {
        Self::of(options, options.plain_config()?, String::new(), clock)
    }

    fn of(options: &KafkaSinkOptions, config: ClientConfig, id: String, clock: &Clock) -> Result<Self, SinkError> {
        let producer: Arc<Producer> = config
            .create_with_context(SinkContext::new(&options.job))
            .map(Arc::new)
            .map_err(|e| SinkError::person(format!("kafka sink of job {}: {e}", options.job)))?;
        let topic = options.topic.clone();
        let handle = TopicHandle::new(&producer, &topic).ok_or_else(|| {
            SinkError::person(format!("kafka sink of job {}: no topic can be named {topic:?}", options.job))
        })?;
        let timeout = options.transaction_timeout();
        Ok(Self { handle, producer, topic, id, clock: clock.clone(), timeout, open: false })
    }

    /// The client.
    pub(super) fn client(&self) -> &Producer {
        &self.producer
    }

    fn serve(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Serves what the client has to say; call it now and then.
    pub(super) fn idle(&self) {
        self.serve();
    }

    /// Whether a request may have been sent more than once since the last call: then the client is thrown away.
    pub(super) fn take_shaken(&self) -> bool {
        self.serve();
        self.producer.context().take_shaken()
    }

    fn failed(&self, what: &str, step: Step, error: &TxnError) -> SinkError {
        // A message that was not delivered is why the rest fails.
        for _ in 0..16 {
            self.serve();
        }
        let context = self.producer.context();
        let shaken = context.take_shaken();
        let what = match self.id.as_str() {
            "" => format!("messages to topic {}: {what}", self.topic),
            id => format!("transaction of {id} to topic {}: {what}", self.topic),
        };
        match context.take_undelivered() {
            Some((code, text)) => {
                let because = TxnError { code, text, ..error.clone() };
                errors::failed(&what, step, &because, shaken, None)
            }
            None => errors::failed(&what, step, error, shaken, context.last_error()),
        }
    }

    /// Fences former users of the id, and finishes what they had decided.
    pub(super) fn init(&self) -> Result<(), SinkError> {
        // librdkafka asks for the coordinator at once, and where no broker is connected yet it asks again after half a
        // second. Any answer will do; without one `init` says what is wrong.
        drop(self.producer.client().fetch_metadata(Some(&self.topic), CONNECT_WITHIN));
        transactions::init(&*self.producer, INIT_WITHIN)
            .map_err(|e| self.failed("cannot be initialised", Step::Init, &e))
    }

    /// Whether a transaction is open.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn begin(&mut self) -> Result<(), SinkError> {
        transactions::begin(&*self.producer).map_err(|e| self.failed("cannot begin", Step::Before, &e))?;
        self.producer.context().take_shaken();
        self.open = true;
        Ok(())
    }

    /// Hands messages to the client, which copies them. Waits while its queue is full, unless `abandoned`.
    pub(super) fn produce(&self, messages: &Messages, abandoned: &AtomicBool) -> Result<(), SinkError> {
        let plain = !messages.has_headers() && !messages.has_timestamps();
        for i in 0..messages.len() {
            let mut give_up = None;
            loop {
                match if plain { self.hand_over(messages, i) } else { self.hand_over_whole(messages, i) } {
                    Ok(()) => break,
                    Err(Code::QueueFull) => {
                        let now = self.clock.now();
                        let until = *give_up.get_or_insert(now + self.timeout);
                        if now >= until || abandoned.load(Ordering::Acquire) {
                            let waited = self.timeout;
                            return Err(SinkError::retry(format!("the brokers took no message for {waited:?}")));
                        }
                        self.producer.poll(FULL_QUEUE);
                    }
                    Err(code) => return Err(self.refused(code, messages, i)),
                }
            }
        }
        self.serve();
        Ok(())
    }

    /// The short way, for messages of a key and a value.
    #[inline]
    fn hand_over(&self, messages: &Messages, i: usize) -> Result<(), Code> {
        let message = messages.get(i);
        self.handle.produce(message.partition.unwrap_or(-1), message.value, message.key)
    }

    fn hand_over_whole(&self, messages: &Messages, i: usize) -> Result<(), Code> {
        let record = self.record(messages, i);
        self.producer.send(record).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }

    fn record<'a>(&'a self, messages: &'a Messages, i: usize) -> BaseRecord<'a, [u8], [u8]> {
        let message = messages.get(i);
        let mut record = BaseRecord::to(&self.topic);
        if let Some(value) = message.value {
            record = record.payload(value);
        }
        if let Some(key) = message.key {
            record = record.key(key);
        }
        if let Some(ms) = message.timestamp {
            record = record.timestamp(ms);
        }
        if let Some(partition) = message.partition {
            record = record.partition(partition);
        }
        if messages.has_headers() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in messages.headers(i) {
                headers = headers.insert(Header { key, value });
            }
            record = record.headers(headers);
        }
        record
    }

    /// A message that the client does not take.
    fn refused(&self, code: Code, messages: &Messages, i: usize) -> SinkError {
        let message = messages.get(i);
        let size = message.value.map_or(0, <[u8]>::len);
        let key = message.key.map(|k| String::from_utf8_lossy(&k[..k.len().min(60)]).into_owned()).unwrap_or_default();
        let place = format!("a message of {size} bytes with key {key:?} to topic {}", self.topic);
        match code {
            Code::MessageSizeTooLarge => SinkError::new(
                Reaction::BadRow,
                format!("{place} is too large for the client: raise properties.\"message.max.bytes\" of the sink"),
            ),
            Code::UnknownPartition => {
                let partition = message.partition.unwrap_or(-1);
                SinkError::new(Reaction::BadRow, format!("{place}: the topic has no partition {partition}"))
            }
            code => {
                let error = TxnError { code, text: "not taken by the client".into(), abort: true };
                self.failed(&place, Step::Before, &error)
            }
        }
    }

    /// Adds positions to the transaction.
    pub(super) fn send_offsets(&self, offsets: &TopicPartitionList, group: &GroupMetadata) -> Result<(), SinkError> {
        transactions::send_offsets(&*self.producer, offsets, group, COMMIT_WITHIN).map_err(|e| {
            let who = format!("as member {} of generation {}", group.member(), group.generation());
            self.failed(&format!("positions not taken {who}"), Step::Before, &e)
        })
    }

    /// Waits until every message is in the brokers' logs.
    pub(super) fn flush(&self) -> Result<(), SinkError> {
        // In short turns: each wakes the client's threads, which miss now and then that a partition has joined the
        // transaction, and then sleep for a second (seen with librdkafka 2.12.1).
        let give_up = self.clock.now() + COMMIT_WITHIN;
        let mut flushed = transactions::flush(&*self.producer, FLUSH_TURN);
        while !flushed && self.clock.now() < give_up {
            flushed = transactions::flush(&*self.producer, FLUSH_TURN);
        }
        if flushed {
            self.serve();
            return match self.producer.context().take_undelivered() {
                None => Ok(()),
                Some((code, text)) => {
                    let error = TxnError { code, text, abort: true };
                    Err(self.failed("cannot be flushed", Step::Before, &error))
                }
            };
        }
        let text = format!("messages are not acknowledged after {COMMIT_WITHIN:?}");
        let error = TxnError { code: Code::OperationTimedOut, text, abort: true };
        Err(self.failed("cannot be flushed", Step::Before, &error))
    }

    pub(super) fn commit(&mut self) -> Result<(), SinkError> {
        self.open = false;
        transactions::commit(&*self.producer, COMMIT_WITHIN).map_err(|e| self.failed("not committed", Step::Commit, &e))
    }

    /// Aborts what is open and ends the client: one that has aborted is not used again.
    pub(super) fn abandon(mut self) {
        if std::mem::take(&mut self.open)
            && let Err(error) = transactions::abort(&*self.producer, ABORT_WITHIN)
        {
            tracing::debug!(id = self.id, ?error, "transaction not aborted, the broker does it after its timeout");
        }
    }
}
