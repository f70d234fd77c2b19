//! Which librdkafka properties a job's file may set for a Kafka sink. The reasons are those of the source's list.

use std::collections::BTreeMap;

use crate::kafka::properties::reason_if_dangerous;

/// Allowed: tuning, identity, TLS and SASL by value.
const ALLOWED: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.sigalgs.list",
    "sticky.partitioning.linger.ms",
    "topic.metadata.refresh.interval.ms",
];

/// Never: the sink sets these itself. With the reason.
const OWNED: &[(&str, &str)] = &[
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
    ("statistics.interval.ms", "the sink reads no statistics"),
    ("transaction.timeout.ms", "three times max_age of the window, 10 s at least"),
    ("transactional.id", "made of job and instance"),
];

/// All faults of `properties`, one sentence each; empty: none. Names only: values are for librdkafka to judge.
#[must_use]
pub fn check(properties: &BTreeMap<String, String>, unsafe_properties: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for key in properties.keys() {
        if let Some((_, why)) = OWNED.iter().find(|(k, _)| k == key) {
            faults.push(format!("property {key} cannot be set: {why}"));
        } else if !unsafe_properties && !ALLOWED.contains(&key.as_str()) {
            faults.push(match reason_if_dangerous(key) {
                Some(why) => format!("property {key} {why}: it needs unsafe_properties = true"),
                None => format!("property {key} is not on the list of allowed ones: it needs unsafe_properties = true"),
            });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(key: &str, unsafe_properties: bool) -> usize {
        check(&[(key.to_owned(), "x".to_owned())].into(), unsafe_properties).len()
    }

    #[test]
    fn the_lists_do_what_they_say() {
        for key in ALLOWED {
            assert_eq!(faults(key, false), 0, "{key}");
            assert!(reason_if_dangerous(key).is_none() && !OWNED.iter().any(|(k, _)| k == key), "{key}");
        }
        for (key, _) in OWNED {
            assert_eq!(faults(key, true), 1, "{key}");
        }
        for key in ["plugin.library.paths", "ssl.ca.location", "debug"] {
            assert_eq!((faults(key, false), faults(key, true)), (1, 0), "{key}");
        }
    }
}
