//! Messages by topic handle: `rdkafka` looks the topic up by its name, in a new allocation, for each one.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, ProducerContext};

use super::Native;

/// A topic to produce to.
pub(in crate::kafka) struct TopicHandle<C: ProducerContext + 'static> {
    topic: NonNull<sys::rd_kafka_topic_t>,
    _producer: Arc<BaseProducer<C>>,
}

// SAFETY: topic handles are counted and thread-safe in librdkafka; the producer is Send and Sync.
unsafe impl<C: ProducerContext + 'static> Send for TopicHandle<C> {}
// SAFETY: as above.
unsafe impl<C: ProducerContext + 'static> Sync for TopicHandle<C> {}

impl<C: ProducerContext + 'static> TopicHandle<C> {
    /// The topic of this name, under the producer's settings. `None`: librdkafka takes no such name.
    pub(in crate::kafka) fn new(producer: &Arc<BaseProducer<C>>, topic: &str) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the client is alive, the name NUL-terminated and copied; a null configuration is the client's default.
        let topic = unsafe { sys::rd_kafka_topic_new(producer.native(), name.as_ptr(), ptr::null_mut()) };
        Some(Self { topic: NonNull::new(topic)?, _producer: producer.clone() })
    }

    /// Copies a message into the client's queue. `partition` below 0: the partitioner's choice.
    #[inline]
    pub(in crate::kafka) fn produce(
        &self,
        partition: i32,
        value: Option<&[u8]>,
        key: Option<&[u8]>,
    ) -> Result<(), RDKafkaErrorCode> {
        let raw = |bytes: Option<&[u8]>| bytes.map_or((ptr::null(), 0), |b| (b.as_ptr().cast::<c_void>(), b.len()));
        let ((value, value_len), (key, key_len)) = (raw(value), raw(key));
        // SAFETY: the handle is alive; both slices are readable for their lengths, and with F_COPY librdkafka copies
        // them before it returns and does not write to them.
        unsafe {
            let taken = sys::rd_kafka_produce(
                self.topic.as_ptr(),
                partition,
                sys::RD_KAFKA_MSG_F_COPY,
                value.cast_mut(),
                value_len,
                key,
                key_len,
                ptr::null_mut(),
            );
            if taken == 0 { Ok(()) } else { Err(sys::rd_kafka_last_error().into()) }
        }
    }
}

impl<C: ProducerContext + 'static> Drop for TopicHandle<C> {
    fn drop(&mut self) {
        // SAFETY: made by `rd_kafka_topic_new`, destroyed once, while the client is alive (held by `self`).
        unsafe { sys::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}
