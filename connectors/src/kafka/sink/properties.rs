//! Which librdkafka properties a job's file may set for a Kafka sink. The reasons are those of the source's list.

use std::collections::BTreeMap;

use crate::kafka::properties::check_against;

/// Allowed to a sink beside those of every connection.
pub(in crate::kafka) const ALLOWED: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.timeout.ms",
    "sticky.partitioning.linger.ms",
];

/// Never: the sink sets these itself. With the reason.
pub(in crate::kafka) const OWNED: &[(&str, &str)] = &[
    ("acks", "a commit waits for all replicas"),
    ("bootstrap.servers", "set brokers instead"),
    ("compression.codec", "set compression instead"),
    ("compression.type", "set compression instead"),
    ("delivery.report.only.error", "the sink waits for messages by it"),
    ("enable.gapless.guarantee", "the transaction sees to it"),
    ("enable.idempotence", "a retry must not double a message"),
    ("enabled_events", "the sink chooses the client's events"),
    ("log.queue", "the sink serves the client's log"),
    ("metadata.broker.list", "set brokers instead"),
    ("partitioner", "set partitioner of the sink instead"),
    ("request.required.acks", "a commit waits for all replicas"),
    ("statistics.interval.ms", "the sink counts its bytes by it"),
    ("transaction.timeout.ms", "three times max_age of the window, 10 s at least"),
    ("transactional.id", "made of job and instance"),
];

/// All faults of `properties`, one sentence each; empty: none. Names only: values are for librdkafka to judge.
#[must_use]
pub fn check(properties: &BTreeMap<String, String>, unsafe_properties: bool) -> Vec<String> {
    check_against(properties, unsafe_properties, ALLOWED, OWNED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::properties::{CONNECTION, is_not_dangerous};

    fn faults(key: &str, unsafe_properties: bool) -> usize {
        check(&[(key.to_owned(), "x".to_owned())].into(), unsafe_properties).len()
    }

    #[test]
    fn the_lists_do_what_they_say() {
        for key in CONNECTION.iter().chain(ALLOWED) {
            assert_eq!(faults(key, false), 0, "{key}");
            assert!(is_not_dangerous(key) && !OWNED.iter().any(|(k, _)| k == key), "{key}");
        }
        for (key, _) in OWNED {
            assert_eq!(faults(key, true), 1, "{key}");
        }
        for key in ["plugin.library.paths", "ssl.ca.location", "debug"] {
            assert_eq!((faults(key, false), faults(key, true)), (1, 0), "{key}");
        }
    }
}
