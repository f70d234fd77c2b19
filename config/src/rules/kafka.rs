//! Rules about a Kafka source.

use std::collections::BTreeMap;

use super::Rules;
use crate::fault::quote;
use crate::text::Text;
use crate::types::{Config, GroupProtocol, Kafka, Source};

pub(super) fn check(rules: &mut Rules<'_>, path: &str, kafka: &Kafka) {
    brokers(rules, &format!("{path}.brokers"), &kafka.brokers);
    for (i, topic) in kafka.topics.iter().enumerate() {
        let key = format!("{path}.topics[{i}]");
        if let Err(problem) = check_topic(topic, topic.is_secret()) {
            rules.bad(&key, format!("{problem}, found {}", quote(topic.shown())));
        } else if kafka.topics[..i].contains(topic) {
            rules.bad(&key, format!("the topic {} is given a second time", quote(topic.shown())));
        }
    }
    if let Some(group) = &kafka.consumer_group {
        rules.not_empty(&format!("{path}.consumer_group"), group);
    }
    if kafka.group_protocol == GroupProtocol::Consumer && kafka.static_membership {
        rules.conflict(
            &format!("{path}.static_membership"),
            "not with group_protocol = \"consumer\": the broker refuses a restarted member until its old session ends",
        );
    }
    super::bounds::check(rules, path, kafka);
    rules.inline_secrets(&format!("{path}.properties"), &kafka.properties);
}

pub(super) fn brokers(rules: &mut Rules<'_>, key: &str, brokers: &Text) {
    for broker in brokers.split(',') {
        if let Err(problem) = check_broker(broker.trim()) {
            // A part of what a reference gave is not shown.
            let found = if brokers.is_secret() { quote(brokers.shown()) } else { quote(broker.trim()) };
            rules.bad(key, format!("expected \"HOST:PORT\", several with commas between; {problem} in {found}"));
        }
    }
}

fn check_broker(broker: &str) -> Result<(), &'static str> {
    if broker.contains("://") {
        return Err("there is a protocol (set it as properties.\"security.protocol\")");
    }
    let (host, port) = broker.rsplit_once(':').ok_or("the port is missing")?;
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("the port is not a number from 1 to 65535");
    }
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match v6 {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => Ok(()),
        Some(_) => Err("there is no IPv6 address between the brackets"),
        None if host.contains(':') => Err("an IPv6 address without brackets stands"),
        None if host.is_empty() => Err("the host is missing"),
        None if host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')) => Ok(()),
        None => Err("there is a host with characters that none has"),
    }
}

/// A name as Kafka allows it, or a regular expression that librdkafka (POSIX) and we read the same way.
pub(super) fn check_topic(topic: &str, secret: bool) -> Result<(), String> {
    if topic.starts_with('^') {
        if let Err(error) = regex::Regex::new(topic) {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(if secret {
                "expected a regular expression".into()
            } else {
                format!("expected a regular expression ({last})")
            });
        }
        for (foreign, instead) in [("\\d", "[0-9]"), ("\\D", "[^0-9]"), ("\\p", "[…]"), ("(?", "plain parentheses")] {
            if topic.contains(foreign) {
                return Err(format!("expected a POSIX regular expression, which has no {foreign:?}: write {instead}"));
            }
        }
        return Ok(());
    }
    if topic.is_empty() {
        return Err("expected the name of a topic".into());
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        return Err("expected a name of up to 249 characters of a-z, A-Z, 0-9, '.', _ and -, or a regular expression \
                    that begins with ^"
            .into());
    }
    Ok(())
}

/// Two jobs in one group would each get only a part of the partitions.
pub(super) fn shared_groups(rules: &mut Rules<'_>, config: &Config) {
    let mut groups: BTreeMap<(String, String), &str> = BTreeMap::new();
    for (name, job) in &config.jobs {
        let Source::Kafka(kafka) = &job.source else { continue };
        let path = crate::tree::join("job", name);
        if rules.broken(&format!("{path}.source.brokers")) || rules.broken(&format!("{path}.source.type")) {
            continue;
        }
        let key = (kafka.brokers.as_str().to_owned(), kafka.group(name));
        match groups.get(&key) {
            Some(first) => {
                let group = kafka.consumer_group.as_ref().map_or(&*key.1, Text::shown);
                let message = format!(
                    "the consumer group {} is also that of job {first:?}: each would get a part of the records; \
                     give each its own",
                    quote(group)
                );
                rules.conflict(&format!("{path}.source.consumer_group"), message);
            }
            None => {
                groups.insert(key, name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for good in ["127.0.0.1:9092", "kafka-1.example.org:9092", "[::1]:9092", "a_b:1"] {
            assert_eq!(check_broker(good), Ok(()), "{good}");
        }
        for bad in
            ["", "kafka", "kafka:", "kafka:0", "kafka:99999", ":9092", "::1:9092", "[x]:1", "http://a:1", "a b:1"]
        {
            assert!(check_broker(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topics_are_names_or_patterns() {
        for good in ["orders", "a.b-c_D9", "^orders-.*", "^(a|b)[0-9]+$"] {
            assert_eq!(check_topic(good, false), Ok(()), "{good}");
        }
        for bad in ["", ".", "or ders", "orders*", "^(", "^a\\d+", "^(?i)a", &"a".repeat(250)] {
            assert!(check_topic(bad, false).is_err(), "{bad}");
        }
    }
}
