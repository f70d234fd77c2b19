//! Which librdkafka properties a job's file may set.
//!
//! A property can run code (`plugin.library.paths`, `sasl.kerberos.kinit.cmd`), read files (`*.location`) or reach
//! other services (token URLs). So there is a list of what is allowed; the rest needs `unsafe_properties = true` in
//! the same file; and what the source's guarantees rest on cannot be set at all.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

/// Allowed to sources and sinks: identity, connections, TLS and SASL by value.
pub(super) const CONNECTION: &[&str] = &[
    "broker.address.family",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "message.max.bytes",
    "metadata.max.age.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
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
    "topic.metadata.refresh.interval.ms",
];

/// Allowed to a source beside them.
pub(super) const ALLOWED: &[&str] = &[
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Other names of properties that we set, and ours. librdkafka takes the one that it is given last, and the order in which
/// `ClientConfig` gives them is left to chance.
const ALIASES: &[(&str, &str)] = &[
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("queue.buffering.max.ms", "linger.ms"),
];

/// Never: the source sets these itself. With the reason.
pub(super) const OWNED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "reading never makes a topic"),
    ("auto.commit.interval.ms", "positions live in the sink"),
    ("auto.offset.reset", "a position that is gone is a decision, not a jump; see on_data_loss"),
    ("bootstrap.servers", "set brokers instead"),
    ("enable.auto.commit", "positions live in the sink"),
    ("enable.auto.offset.store", "positions live in the sink"),
    ("enable.partition.eof", "the source needs end-of-partition events"),
    ("enabled_events", "the source chooses the client's events"),
    ("group.id", "set consumer_group instead"),
    ("group.instance.id", "made of job and instance; see static_membership"),
    ("log.queue", "the source serves the client's log"),
    ("metadata.broker.list", "set brokers instead"),
    ("offset.store.method", "positions live in the sink"),
    ("statistics.interval.ms", "the source watches connections and counts bytes by it"),
];

/// Dangerous: why these are not on the list, for the message.
pub(super) const DANGEROUS: &[(&str, &str)] = &[
    ("enable.ssl.certificate.verification", "turns off the check of the broker's certificate"),
    ("https.ca.location", "reads files"),
    ("plugin.library.paths", "loads and runs code"),
    ("sasl.kerberos.keytab", "reads files"),
    ("sasl.kerberos.kinit.cmd", "runs a shell command"),
    ("sasl.oauthbearer.assertion.file", "reads files"),
    ("sasl.oauthbearer.assertion.jwt.template.file", "reads files"),
    ("sasl.oauthbearer.assertion.private.key.file", "reads files"),
    ("sasl.oauthbearer.metadata.authentication.type", "asks the host's metadata service for credentials"),
    ("sasl.oauthbearer.token.endpoint.url", "makes requests to any address"),
    ("ssl.ca.location", "reads files; use ssl.ca.pem = \"${file:…}\""),
    ("ssl.certificate.location", "reads files; use ssl.certificate.pem = \"${file:…}\""),
    ("ssl.crl.location", "reads files"),
    ("ssl.endpoint.identification.algorithm", "can turn off the check of the broker's name"),
    ("ssl.engine.location", "loads and runs code"),
    ("ssl.key.location", "reads files; use ssl.key.pem = \"${file:…}\""),
    ("ssl.keystore.location", "reads files"),
    ("ssl.providers", "loads and runs code"),
];

fn beside(list: &[(&'static str, &'static str)], key: &str) -> Option<&'static str> {
    list.iter().find(|(k, _)| *k == key).map(|(_, why)| *why)
}

/// All faults of `properties`, one sentence each; empty: none. Names only: values are for librdkafka to judge.
#[must_use]
pub fn check(properties: &BTreeMap<String, String>, unsafe_properties: bool) -> Vec<String> {
    check_against(properties, unsafe_properties, ALLOWED, OWNED)
}

/// As [`check`], for a client that allows `allowed` beside [`CONNECTION`] and sets `owned` itself.
pub(super) fn check_against(
    properties: &BTreeMap<String, String>,
    unsafe_properties: bool,
    allowed: &[&str],
    owned: &[(&'static str, &'static str)],
) -> Vec<String> {
    let mut faults = Vec::new();
    for key in properties.keys() {
        if let Some(why) = beside(owned, key) {
            faults.push(format!("property {key} cannot be set: {why}"));
        } else if !unsafe_properties && !CONNECTION.contains(&key.as_str()) && !allowed.contains(&key.as_str()) {
            faults.push(match beside(DANGEROUS, key) {
                Some(why) => format!("property {key} {why}: it needs unsafe_properties = true"),
                None => format!("property {key} is not on the list of allowed ones: it needs unsafe_properties = true"),
            });
        }
    }
    faults
}

/// Sets a person's properties in place of ours, by whatever name.
pub(super) fn set_properties(config: &mut ClientConfig, properties: &BTreeMap<String, String>) {
    for (key, value) in properties {
        config.set(beside(ALIASES, key).unwrap_or(key), value);
    }
}

/// Whether nothing says that a property is dangerous.
#[cfg(test)]
pub(super) fn is_not_dangerous(key: &str) -> bool {
    beside(DANGEROUS, key).is_none()
}

/// True for properties whose values are secret and never shown.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    key.contains("password")
        || key.contains("secret")
        || key.contains("passphrase")
        || key.contains("key.pem")
        || key == "sasl.oauthbearer.config"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(keys: &[&str], unsafe_properties: bool) -> Vec<String> {
        check(&keys.iter().map(|k| ((*k).to_owned(), "x".to_owned())).collect(), unsafe_properties)
    }

    #[test]
    fn the_list_lets_tuning_and_credentials_through_and_nothing_that_runs_or_reads() {
        assert!(faults(&["client.id", "sasl.password", "ssl.ca.pem", "fetch.min.bytes"], false).is_empty());
        for key in ["plugin.library.paths", "sasl.kerberos.kinit.cmd", "ssl.ca.location", "debug"] {
            let found = faults(&[key], false);
            assert!(found.len() == 1 && found[0].contains("unsafe_properties"), "{found:?}");
            assert!(faults(&[key], true).is_empty());
        }
    }

    #[test]
    fn what_the_guarantees_rest_on_cannot_be_set_even_unsafely() {
        for (key, _) in OWNED {
            assert_eq!(faults(&[key], true).len(), 1, "{key}");
        }
    }

    #[test]
    fn the_three_lists_do_not_overlap() {
        for key in CONNECTION.iter().chain(ALLOWED) {
            assert!(beside(OWNED, key).is_none() && beside(DANGEROUS, key).is_none(), "{key}");
        }
    }

    #[test]
    fn what_a_person_sets_by_another_name_takes_the_place_of_ours() {
        let mut config = ClientConfig::new();
        config.set("linger.ms", "20").set("fetch.message.max.bytes", "1");
        let properties = [("queue.buffering.max.ms", "7"), ("client.id", "me")];
        set_properties(&mut config, &properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("queue.buffering.max.ms"), None);
        assert_eq!((config.get("client.id"), config.get("fetch.message.max.bytes")), (Some("me"), Some("1")));
    }

    #[test]
    fn secrets_are_known() {
        for key in ["sasl.password", "ssl.key.pem", "ssl.key.password", "sasl.oauthbearer.client.secret"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("sasl.username"));
    }
}
