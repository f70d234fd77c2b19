//! What the brokers say of the logs of some partitions: ends and topic identities, in a few requests for any number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::Partition;
use tidemill_engine::source::SourceError;

use super::ffi::{self, AdminError, KafkaConsumer, OffsetSpec};

/// Longest that one question may take with all its retries.
const ASK_FOR: Duration = Duration::from_secs(30);
const DESCRIBE: Duration = Duration::from_secs(2);
const ONE_REQUEST: Duration = Duration::from_secs(5);
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The answer where no record is as young as the time asked for. Whatever is below (`RD_KAFKA_OFFSET_INVALID`, -1001)
/// is no answer: taken for the end of a log it would say that records are gone.
const NO_RECORD: i64 = -1;

/// Asks brokers through a consumer's connections.
pub(super) struct LogFacts<'a> {
    pub(super) consumer: &'a KafkaConsumer,
    pub(super) clock: &'a Clock,
}

/// How to take an error of a request.
fn passes(code: Code) -> bool {
    !matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidArgument
            | Code::InvalidTopic
    )
}

fn expressions(subscribed: &[String]) -> Vec<regex::Regex> {
    subscribed.iter().filter(|t| t.starts_with('^')).filter_map(|t| regex::Regex::new(t).ok()).collect()
}

impl LogFacts<'_> {
    /// Offsets at `spec` for every one of `partitions`. Retries what may pass for 30 s.
    pub(super) fn offsets(
        &self,
        partitions: &[Partition],
        spec: OffsetSpec,
        read_committed: bool,
    ) -> Result<BTreeMap<Partition, i64>, SourceError> {
        let mut found = BTreeMap::new();
        let mut open: Vec<Partition> = partitions.to_vec();
        let give_up = self.clock.now() + ASK_FOR;
        while !open.is_empty() {
            let mut failed: Option<(String, AdminError)> = None;
            match ffi::list_offsets(self.consumer, &open, spec, read_committed, ONE_REQUEST) {
                Err(error) => failed = Some((format!("{} partitions", open.len()), error)),
                Ok(answers) => {
                    for (partition, answer) in answers {
                        match answer {
                            // A broker that is just starting answers without an error and without an offset.
                            Ok(offset) if offset < NO_RECORD => {}
                            Ok(offset) => drop(found.insert(partition, offset)),
                            Err(error) => failed = Some((partition.to_string(), error)),
                        }
                    }
                    open.retain(|p| !found.contains_key(p));
                }
            }
            if open.is_empty() {
                break;
            }
            if let Some((what, AdminError { code, text })) = &failed
                && (!passes(*code) || self.clock.now() >= give_up)
            {
                let message = format!("cannot read the offsets of {what}: {text} ({code:?})");
                return Err(SourceError { retry: passes(*code), message });
            }
            if self.clock.now() >= give_up {
                return Err(SourceError::retry(format!("no broker tells the offsets of {}", open[0])));
            }
            std::thread::sleep(RETRY_AFTER);
            self.forget_missing_leaders(&open);
        }
        Ok(found)
    }

    /// Asks anew who leads the topics of `partitions`. librdkafka takes a partition without a leader, as a broker that has
    /// just come back tells of it, for a lasting state until its metadata are 15 minutes old, and asks for no offset of it
    /// before that.
    fn forget_missing_leaders(&self, partitions: &[Partition]) {
        let topics: std::collections::BTreeSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
        for topic in topics {
            // The answer goes into the client's own metadata. Where there is none, the others would only take time.
            if self.consumer.fetch_metadata(Some(topic), ONE_REQUEST).is_err() {
                return;
            }
        }
    }

    /// What the group has committed for `partitions`; those without are absent.
    pub(super) fn committed(&self, partitions: &[Partition]) -> Result<BTreeMap<Partition, i64>, SourceError> {
        let mut list = TopicPartitionList::new();
        for p in partitions {
            list.add_partition(&p.topic, p.index);
        }
        let found = self
            .consumer
            .committed_offsets(list, ASK_FOR)
            .map_err(|e| SourceError::retry(format!("cannot read the group's committed offsets: {e}")))?;
        let mut offsets = BTreeMap::new();
        for e in found.elements() {
            e.error().map_err(|error| {
                SourceError::retry(format!(
                    "cannot read the committed offset of {}/{}: {error}",
                    e.topic(),
                    e.partition()
                ))
            })?;
            if let Offset::Offset(at) = e.offset() {
                offsets.insert(Partition::new(e.topic(), e.partition()), at);
            }
        }
        Ok(offsets)
    }

    /// All partitions of the topics that these names and `^expressions` subscribe to, and `assigned` in any case: the
    /// group's leader may have seen a topic a moment before us.
    pub(super) fn known_partitions(
        &self,
        subscribed: &[String],
        assigned: &[Partition],
    ) -> Result<Vec<Partition>, SourceError> {
        let expressions = expressions(subscribed);
        let metadata = self
            .consumer
            .fetch_metadata(None, ASK_FOR)
            .map_err(|error| SourceError::retry(format!("cannot ask which partitions there are: {error}")))?;
        let wanted = |name: &str| subscribed.iter().any(|t| t == name) || expressions.iter().any(|e| e.is_match(name));
        let mut found: std::collections::BTreeSet<Partition> = assigned.iter().cloned().collect();
        for topic in metadata.topics().iter().filter(|t| wanted(t.name())) {
            let name: Arc<str> = topic.name().into();
            found.extend(topic.partitions().iter().map(|p| Partition::new(name.clone(), p.id())));
        }
        Ok(found.into_iter().collect())
    }

    /// How many partitions these names and `^expressions` subscribe to, where the brokers say so at once: it is no reason
    /// to wait, nor to fail.
    pub(super) fn partitions_in_all(&self, subscribed: &[String]) -> Option<usize> {
        let count = |topics: &[MetadataTopic], wanted: &dyn Fn(&str) -> bool| -> usize {
            topics.iter().filter(|t| wanted(t.name())).map(|t| t.partitions().len()).sum()
        };
        let ask = |topic| self.consumer.fetch_metadata(topic, ONE_REQUEST).ok();
        let expressions = expressions(subscribed);
        if expressions.is_empty() {
            return subscribed
                .iter()
                .map(|t| ask(Some(t.as_str())).map(|m| count(m.topics(), &|name| name == t)))
                .sum();
        }
        let wanted = |name: &str| subscribed.iter().any(|t| t == name) || expressions.iter().any(|e| e.is_match(name));
        ask(None).map(|metadata| count(metadata.topics(), &wanted))
    }

    /// Topic ids by name; topics without one (older brokers) are absent. A topic that does not exist is an error.
    pub(super) fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, Arc<str>>, SourceError> {
        let give_up = self.clock.now() + ASK_FOR;
        loop {
            let failed = match ffi::describe_topics(self.consumer, topics, DESCRIBE) {
                Err(AdminError { code: Code::UnsupportedFeature | Code::UnsupportedVersion, .. }) => {
                    return Ok(BTreeMap::new());
                }
                // Brokers answered before this, and none of them takes administrative requests: a mock cluster.
                // Without ids a recreated topic is found only by its offsets.
                Err(AdminError { code: Code::OperationTimedOut, text }) if text.contains("waiting for controller") => {
                    return Ok(BTreeMap::new());
                }
                Err(error) => (format!("{} topics", topics.len()), error),
                Ok(answers) => {
                    let mut ids = BTreeMap::new();
                    let mut failed = None;
                    for (topic, answer) in answers {
                        match answer {
                            Ok(facts) => {
                                if let Some(id) = facts.id {
                                    ids.insert(topic, id);
                                }
                            }
                            Err(error) => failed = Some((format!("topic {topic}"), error)),
                        }
                    }
                    match failed {
                        None => return Ok(ids),
                        Some(failed) => failed,
                    }
                }
            };
            let (what, AdminError { code, text }) = failed;
            if !passes(code) || self.clock.now() >= give_up {
                return Err(SourceError {
                    retry: passes(code),
                    message: format!("cannot describe {what}: {text} ({code:?})"),
                });
            }
            std::thread::sleep(RETRY_AFTER);
        }
    }
}
