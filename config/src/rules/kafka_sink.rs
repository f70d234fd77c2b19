//! Rules about a Kafka sink.

use std::time::Duration;

use super::{Rules, kafka};
use crate::fault::{FaultKind, quote};
use crate::types::{Job, KafkaSink, Sink, Source};

/// A third of the longest transaction that brokers allow by default.
const LONGEST_WINDOW: Duration = Duration::from_secs(300);

pub(super) fn check(rules: &mut Rules<'_>, path: &str, job: &Job) {
    for (part, sink) in [("sink", Some(&job.sink)), ("dead_letter", job.dead_letter.as_ref())] {
        let Some(Sink::Kafka(sink)) = sink else { continue };
        one(rules, &format!("{path}.{part}"), job, sink);
        if sink.transactional {
            match part {
                "sink" => transactional(rules, path, job, sink),
                _ => rules.conflict(
                    &format!("{path}.{part}.transactional"),
                    "positions of dead letters would take the place of the sink's in the consumer group: expected \
                     transactional = false, and delivery = \"at_least_once\" of the job",
                ),
            }
        }
    }
}

fn one(rules: &mut Rules<'_>, path: &str, job: &Job, sink: &KafkaSink) {
    kafka::brokers(rules, &format!("{path}.brokers"), &sink.brokers);
    let key = format!("{path}.topic");
    let shown = quote(sink.topic.shown());
    if sink.topic.starts_with('^') {
        rules.bad(&key, format!("expected the name of one topic, found {shown}"));
    } else if let Err(problem) = kafka::check_topic(&sink.topic, sink.topic.is_secret()) {
        rules.bad(&key, format!("{problem}, found {shown}"));
    }
    if let Source::Kafka(source) = &job.source
        && source.topics.contains(&sink.topic)
        && source.brokers == sink.brokers
    {
        rules.conflict(
            &key,
            format!("{shown} is a topic that the job reads: it would read what it writes, without end"),
        );
    }
    rules.inline_secrets(&format!("{path}.properties"), &sink.properties);
}

/// What a transaction needs.
fn transactional(rules: &mut Rules<'_>, path: &str, job: &Job, sink: &KafkaSink) {
    let Source::Kafka(source) = &job.source else {
        rules.conflict(
            &format!("{path}.sink.transactional"),
            "positions go into the source's consumer group, and this source has none: expected a source of type \
             \"kafka\", or transactional = false and delivery = \"at_least_once\"",
        );
        return;
    };
    let key = format!("{path}.sink.brokers");
    if source.brokers != sink.brokers && !rules.broken(&format!("{path}.source.brokers")) {
        rules.warn(
            FaultKind::Conflict,
            &key,
            "not the brokers of the source: a transaction needs the source's cluster, which is compared at the start",
        );
    }
    if job.window.max_age > LONGEST_WINDOW {
        rules.bad(
            &format!("{path}.window.max_age"),
            "expected at most \"5m\" with a Kafka sink: its transaction may last three times as long, and brokers \
             allow 15 minutes",
        );
    }
}
