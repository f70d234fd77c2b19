//! A client that lost its only broker is told of it again.
#![allow(unsafe_code)] // rdkafka has no safe form of rd_kafka_brokers_add

use std::ffi::CStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

/// How long nothing has to come of it. A healthy client that is told again has one connection more for a moment.
const STANDSTILL: Duration = Duration::from_secs(3);

/// Tells `producer` of `brokers` whenever `progress` has not moved for [`STANDSTILL`], until `end` is hung up.
///
/// A broker that starts, or goes on after a freeze that outlasted its session, answers before it is in its own metadata.
/// librdkafka 2.12 takes an answer without brokers as an order to give up those it has, the ones of `bootstrap.servers`
/// too, and may have nobody to ask then, for ever. Told again, it asks there.
pub fn remind<C: ProducerContext>(
    producer: &BaseProducer<C>,
    brokers: &CStr,
    progress: impl Fn() -> u64,
    end: &Receiver<()>,
) {
    let mut last = progress();
    while end.recv_timeout(STANDSTILL) == Err(RecvTimeoutError::Timeout) {
        let now = progress();
        if now == last {
            // SAFETY: the handle lives as long as the producer, any thread may call this, and the text is copied.
            unsafe { sys::rd_kafka_brokers_add(producer.client().native_ptr(), brokers.as_ptr()) };
        }
        last = now;
    }
}
