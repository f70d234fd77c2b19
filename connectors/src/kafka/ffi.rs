//! The calls into librdkafka that `rdkafka` has no safe form of; the only unsafe code of this crate.
//!
//! What lives here: one queue that all partitions of a run are forwarded to, batches of messages taken from it, admin
//! requests whose results `rdkafka` does not expose (`ListOffsets`, `DescribeTopics`, [`group_offsets`]), the steps
//! of a [transaction](transactions), and messages [by topic handle](produce).
//!
//! Lifetimes: librdkafka requires that queues and messages are gone before their client is destroyed. [`AppQueue`] and
//! [`Batch`] therefore hold the consumer by `Arc`: the client is destroyed after the last of them.
#![allow(unsafe_code)]

pub(super) mod group_offsets;
pub(super) mod produce;
pub(super) mod transactions;

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use tidemill_engine::chunk::Header;
use tidemill_engine::partition::Partition;

use super::context::Context;

/// The consumer of this connector.
pub(super) type KafkaConsumer = BaseConsumer<Context>;

/// A client of librdkafka: the handle lives as long as the client.
pub(super) trait Native {
    /// Its handle.
    fn native(&self) -> *mut sys::rd_kafka_t;
}

impl<C: rdkafka::consumer::ConsumerContext> Native for BaseConsumer<C> {
    fn native(&self) -> *mut sys::rd_kafka_t {
        self.client().native_ptr()
    }
}

impl<C: ProducerContext> Native for BaseProducer<C> {
    fn native(&self) -> *mut sys::rd_kafka_t {
        self.client().native_ptr()
    }
}

/// Rounded up: a wait whose last part of a millisecond became 0 would be spent spinning.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn code(err: sys::rd_kafka_resp_err_t) -> Option<RDKafkaErrorCode> {
    (err != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| err.into())
}

/// # Safety
/// `text` is null or a NUL-terminated string that outlives the call.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// One queue for the records of all partitions of a run.
pub(super) struct AppQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    consumer: Arc<KafkaConsumer>,
}

// SAFETY: librdkafka's queues are thread-safe handles; batches are taken from one thread only (`&mut Batch`).
unsafe impl Send for AppQueue {}

impl AppQueue {
    /// A new queue that nothing is forwarded to yet.
    pub(super) fn new(consumer: &Arc<KafkaConsumer>) -> Self {
        // SAFETY: the client is alive; the call never returns null (it allocates or aborts).
        let raw = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { queue: NonNull::new(raw).expect("librdkafka allocates a queue or aborts"), consumer: consumer.clone() }
    }

    /// Makes records of `partition` come to this queue, with what waits in the partition's own queue.
    /// False when librdkafka cannot name the partition.
    pub(super) fn forward(&self, partition: &Partition) -> bool {
        let Ok(topic) = CString::new(&*partition.topic) else { return false };
        // SAFETY: the client is alive and `topic` is NUL-terminated. The partition's queue is a counted reference that
        // is given back here; forwarding takes its own reference to the destination.
        unsafe {
            let rk = self.consumer.client().native_ptr();
            let own = sys::rd_kafka_queue_get_partition(rk, topic.as_ptr(), partition.index);
            if own.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(own, self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(own);
        }
        true
    }
}

impl Drop for AppQueue {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_queue_new`, destroyed once, while the client is alive (held by `self.consumer`).
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Messages taken from a queue and not yet handed on; its memory is used again and again.
pub(super) struct Batch {
    messages: Vec<*mut sys::rd_kafka_message_t>,
    next: usize,
    _consumer: Arc<KafkaConsumer>,
}

// SAFETY: a message is owned by whoever took it from the queue and is not tied to a thread.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty batch with room for `capacity` messages.
    pub(super) fn new(consumer: &Arc<KafkaConsumer>, capacity: usize) -> Self {
        Self { messages: Vec::with_capacity(capacity), next: 0, _consumer: consumer.clone() }
    }

    /// True when every message was handed on.
    pub(super) fn is_empty(&self) -> bool {
        self.next == self.messages.len()
    }

    /// Takes up to `max` messages: returns at once when that many are there, else after `timeout` with what came.
    ///
    /// # Panics
    /// When the batch still holds messages.
    pub(super) fn fill(&mut self, queue: &AppQueue, max: usize, timeout: Duration) -> usize {
        assert!(self.is_empty(), "a batch is filled when it is empty");
        self.messages.clear();
        self.next = 0;
        let max = max.min(self.messages.capacity());
        // SAFETY: the vector is empty and has room for `max` pointers; librdkafka writes the first `taken` of them.
        unsafe {
            let taken = sys::rd_kafka_consume_batch_queue(
                queue.queue.as_ptr(),
                millis(timeout),
                self.messages.as_mut_ptr(),
                max,
            );
            self.messages.set_len(usize::try_from(taken).unwrap_or(0).min(max));
        }
        self.messages.len()
    }

    /// The next message.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Message<'_>> {
        let raw = *self.messages.get(self.next)?;
        self.next += 1;
        Some(Message { raw: NonNull::new(raw)?, _batch: PhantomData })
    }

    /// Throws away what was not handed on.
    pub(super) fn clear(&mut self) {
        while self.next().is_some() {}
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One message, a record or an event of a partition; destroyed when dropped.
pub(super) struct Message<'b> {
    raw: NonNull<sys::rd_kafka_message_t>,
    _batch: PhantomData<&'b mut Batch>,
}

impl Message<'_> {
    #[inline]
    fn get(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: `raw` came from the batch that owns it and is destroyed only when `self` is dropped.
        unsafe { self.raw.as_ref() }
    }

    /// What went wrong; `None` for a record.
    #[inline]
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        code(self.get().err)
    }

    /// librdkafka's words on the error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the answer is null or a string that lives as long as it.
        unsafe { owned(sys::rd_kafka_message_errstr(self.raw.as_ptr())) }
    }

    /// A number that is the same for messages of one topic while that topic is assigned; 0: no topic.
    #[inline]
    pub(super) fn topic_token(&self) -> usize {
        self.get().rkt as usize
    }

    /// Topic name; empty when the message belongs to none.
    pub(super) fn topic(&self) -> String {
        if self.get().rkt.is_null() {
            return String::new();
        }
        // SAFETY: the topic handle is not null and held by the message.
        unsafe { owned(sys::rd_kafka_topic_name(self.get().rkt)) }
    }

    /// Partition number.
    #[inline]
    pub(super) fn partition(&self) -> i32 {
        self.get().partition
    }

    /// Offset; for an end-of-partition event the next offset to come.
    #[inline]
    pub(super) fn offset(&self) -> i64 {
        self.get().offset
    }

    /// Timestamp in ms since the epoch, where the record has one.
    #[inline]
    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        // SAFETY: the message is alive; a null type pointer means that the type is not asked for.
        let ms = unsafe { sys::rd_kafka_message_timestamp(self.raw.as_ptr(), ptr::null_mut()) };
        (ms >= 0).then_some(ms)
    }

    /// The value; `None` is a tombstone.
    #[inline]
    pub(super) fn value(&self) -> Option<&[u8]> {
        let m = self.get();
        // SAFETY: a payload that is not null has `len` readable bytes, for as long as the message lives.
        (!m.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(m.payload.cast::<u8>(), m.len) })
    }

    /// The key.
    #[inline]
    pub(super) fn key(&self) -> Option<&[u8]> {
        let m = self.get();
        // SAFETY: as for the value.
        (!m.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(m.key.cast::<u8>(), m.key_len) })
    }

    /// Headers in order. A name that is not UTF-8 comes as the replacement character.
    pub(super) fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive; on success `headers` stays valid as long as it (they are not detached).
        let found = unsafe { sys::rd_kafka_message_headers(self.raw.as_ptr(), &raw mut headers) };
        let present = code(found).is_none() && !headers.is_null();
        let mut i = 0;
        std::iter::from_fn(move || {
            if !present {
                return None;
            }
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            // SAFETY: `headers` is valid; on success name is a NUL-terminated string and value is null or has `len`
            // readable bytes, both for as long as the message lives.
            unsafe {
                let found = sys::rd_kafka_header_get_all(headers, i, &raw mut name, &raw mut value, &raw mut len);
                if code(found).is_some() {
                    return None;
                }
                i += 1;
                let name = CStr::from_ptr(name).to_str().unwrap_or("\u{fffd}");
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), len));
                Some((name, value))
            }
        })
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken from the queue once, handed out once (`Batch::next` moves on), destroyed once; the client is
        // alive because the batch holds it.
        unsafe { sys::rd_kafka_message_destroy(self.raw.as_ptr()) };
    }
}

/// Cached low and high end of a partition's log; `None` where librdkafka has not seen it yet. Asks nobody.
pub(super) fn cached_high(consumer: &KafkaConsumer, topic: &CStr, index: i32) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, `topic` is NUL-terminated, both results are valid for writing.
    let err = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            index,
            &raw mut low,
            &raw mut high,
        )
    };
    (code(err).is_none() && high >= 0).then_some(high)
}

/// Which end of a log `ListOffsets` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetSpec {
    /// The first offset still there.
    Earliest,
    /// The next offset to be written, or the last stable one under `read_committed`.
    Latest,
    /// The first offset whose timestamp is this (ms since the epoch) or later; the answer is -1 when there is none.
    Time(i64),
}

/// A failed admin request or the failed part of one.
#[derive(Clone, Debug)]
pub(super) struct AdminError {
    /// The broker's or librdkafka's code.
    pub(super) code: RDKafkaErrorCode,
    /// Its words.
    pub(super) text: String,
}

/// Answers to a request about many things, each with an outcome of its own.
pub(super) type Answers<K, V> = Vec<(K, Result<V, AdminError>)>;

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicFacts {
    /// The broker's id of the topic, in base64; `None` where the broker has none.
    pub(super) id: Option<Arc<str>>,
}

/// An admin request under way: its queue, options and result event, given back together.
struct Request {
    queue: *mut sys::rd_kafka_queue_t,
    options: *mut sys::rd_kafka_AdminOptions_t,
    event: *mut sys::rd_kafka_event_t,
}

// SAFETY: queue, options and event belong to the request alone, and librdkafka ties none of them to a thread.
unsafe impl Send for Request {}

impl Request {
    fn new(client: &impl Native, op: sys::rd_kafka_admin_op_t, timeout: Duration) -> Self {
        let rk = client.native();
        let mut err = [0 as c_char; 256];
        // SAFETY: the client is alive and outlives the request (borrowed by every caller for the whole request); the
        // error buffer is valid for its length.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(rk, op);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(timeout), err.as_mut_ptr(), err.len());
            Self { queue: sys::rd_kafka_queue_new(rk), options, event: ptr::null_mut() }
        }
    }

    /// Waits for the result event and its request-level error.
    fn wait(&mut self, timeout: Duration) -> Result<*mut sys::rd_kafka_event_t, AdminError> {
        // librdkafka ends the request by itself after its timeout; the margin lets that answer through.
        self.poll(timeout + Duration::from_millis(500)).unwrap_or_else(|| {
            Err(AdminError { code: RDKafkaErrorCode::OperationTimedOut, text: "no answer in time".to_owned() })
        })
    }

    /// The same, `None` as long as there is no event. Not called again once there was one.
    fn poll(&mut self, timeout: Duration) -> Option<Result<*mut sys::rd_kafka_event_t, AdminError>> {
        // SAFETY: the queue is ours; an event that is not null is ours until destroyed in `drop`.
        unsafe {
            self.event = sys::rd_kafka_queue_poll(self.queue, millis(timeout));
            if self.event.is_null() {
                return None;
            }
            Some(match code(sys::rd_kafka_event_error(self.event)) {
                Some(code) => Err(AdminError { code, text: owned(sys::rd_kafka_event_error_string(self.event)) }),
                None => Ok(self.event),
            })
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: each was made by librdkafka for this request and is destroyed once; a null event is skipped.
        unsafe {
            if !self.event.is_null() {
                sys::rd_kafka_event_destroy(self.event);
            }
            sys::rd_kafka_AdminOptions_destroy(self.options);
            sys::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// One end of many logs in one request per leader. Partitions answer each for itself.
#[allow(clippy::type_complexity)] // an answer for each name
pub(super) fn list_offsets(
    consumer: &KafkaConsumer,
    partitions: &[Partition],
    spec: OffsetSpec,
    read_committed: bool,
    timeout: Duration,
) -> Result<Answers<Partition, i64>, AdminError> {
    let mut request = Request::new(consumer, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
    let level = if read_committed {
        sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
    } else {
        sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
    };
    let wanted = match spec {
        OffsetSpec::Earliest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
        OffsetSpec::Latest => sys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
        OffsetSpec::Time(ms) => ms,
    };
    // SAFETY: list, options and queue are valid; librdkafka copies the list. The result and everything read from it
    // belong to the event, which lives until `request` is dropped; all of it is copied out before that.
    unsafe {
        let error = sys::rd_kafka_AdminOptions_set_isolation_level(request.options, level);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        let list = sys::rd_kafka_topic_partition_list_new(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        for partition in partitions {
            if let Ok(topic) = CString::new(&*partition.topic) {
                let added = sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition.index);
                (*added).offset = wanted;
            }
        }
        sys::rd_kafka_ListOffsets(consumer.client().native_ptr(), list, request.options, request.queue);
        sys::rd_kafka_topic_partition_list_destroy(list);
        let event = request.wait(timeout)?;
        let result = sys::rd_kafka_event_ListOffsets_result(event);
        let mut count = 0;
        let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
        Ok((0..count)
            .map(|i| {
                let at = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(i));
                let offset = match code(at.err) {
                    None => Ok(at.offset),
                    Some(code) => Err(AdminError { code, text: owned(sys::rd_kafka_err2str(at.err)) }),
                };
                (Partition::new(owned(at.topic), at.partition), offset)
            })
            .collect())
    }
}

/// Facts of topics by name, in one request. Topics answer each for itself.
pub(super) fn describe_topics(
    client: &impl Native,
    topics: &[&str],
    timeout: Duration,
) -> Result<Answers<String, TopicFacts>, AdminError> {
    let mut request = ask_for_topics(client, topics, timeout);
    let event = request.wait(timeout)?;
    // SAFETY: the event came from this request, which is alive.
    Ok(unsafe { described(event) })
}

/// The same question, which nobody waits for.
pub(super) struct TopicsAsked {
    /// Dropped before the client it came from.
    request: Request,
    _consumer: Arc<KafkaConsumer>,
}

impl TopicsAsked {
    /// Asks. There will be an answer about `timeout` later at the latest.
    pub(super) fn new(consumer: &Arc<KafkaConsumer>, topics: &[&str], timeout: Duration) -> Self {
        Self { request: ask_for_topics(&**consumer, topics, timeout), _consumer: consumer.clone() }
    }

    /// The answer, once it is there. Given once.
    pub(super) fn answer(&mut self) -> Option<Result<Answers<String, TopicFacts>, AdminError>> {
        let event = self.request.poll(Duration::ZERO)?;
        // SAFETY: the event came from this request, which is alive.
        Some(event.map(|event| unsafe { described(event) }))
    }
}

fn ask_for_topics(client: &impl Native, topics: &[&str], timeout: Duration) -> Request {
    let request = Request::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
    let names: Vec<CString> = topics.iter().filter_map(|t| CString::new(*t).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    // SAFETY: the collection copies the names, the request copies the collection; options and queue are the request's.
    unsafe {
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(client.native(), collection, request.options, request.queue);
        sys::rd_kafka_TopicCollection_destroy(collection);
    }
    request
}

/// What an answer says.
///
/// # Safety
/// `event` is the answer to [`ask_for_topics`] and lives during the call.
unsafe fn described(event: *mut sys::rd_kafka_event_t) -> Answers<String, TopicFacts> {
    // SAFETY: result and descriptions belong to the event; all of it is copied out.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        (0..count)
            .map(|i| {
                let topic = *found.add(i);
                let name = owned(sys::rd_kafka_TopicDescription_name(topic));
                let error = sys::rd_kafka_TopicDescription_error(topic);
                let failed = if error.is_null() { None } else { code(sys::rd_kafka_error_code(error)) };
                if let Some(code) = failed {
                    let text = owned(sys::rd_kafka_error_string(error));
                    return (name, Err(AdminError { code, text }));
                }
                let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                let known = !id.is_null()
                    && (sys::rd_kafka_Uuid_most_significant_bits(id) != 0
                        || sys::rd_kafka_Uuid_least_significant_bits(id) != 0);
                let id = known.then(|| Arc::from(owned(sys::rd_kafka_Uuid_base64str(id))));
                (name, Ok(TopicFacts { id }))
            })
            .collect()
    }
}
