//! Positions in the consumer group: reading them, and what this sink knows of them.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::SinkError;

use super::client::Producer;
use super::context::SinkContext;
use super::note::{self, Other};
use super::options::KafkaSinkOptions;
use crate::kafka::ffi::group_offsets::group_offsets;
use crate::kafka::ffi::{AdminError, describe_topics};

/// Longest single request.
const ONE_REQUEST: Duration = Duration::from_secs(5);
/// How long brokers are asked for what must be known.
const ASK_FOR: Duration = Duration::from_secs(30);
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What this sink holds, as it read it and as it committed itself.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Names the target; see [`Sink::identity`](tidemill_engine::sink::Sink::identity).
    pub(super) identity: String,
    pub(super) held: Positions,
    /// Partitions that are this run's alone: what another client finds of them has to be what is held.
    pub(super) own: BTreeSet<Partition>,
}

impl Ledger {
    /// The offsets to commit for `ranges`, each with its note.
    pub(super) fn offsets(&self, ranges: &OffsetRanges) -> Result<TopicPartitionList, SinkError> {
        let mut list = TopicPartitionList::with_capacity(ranges.0.len());
        for (partition, range) in ranges.iter() {
            let mut element = list.add_partition(&partition.topic, partition.index);
            element
                .set_offset(Offset::Offset(range.end))
                .map_err(|e| SinkError::bug(format!("{partition}: position {}: {e}", range.end)))?;
            element.set_metadata(note::write(&self.identity, range.topic_id.as_deref()));
        }
        Ok(list)
    }

    /// These ranges landed.
    pub(super) fn landed(&mut self, ranges: &OffsetRanges) {
        ranges.apply_to(&mut self.held);
        self.own.extend(ranges.iter().map(|(p, _)| p.clone()));
    }

    /// The first of this run's own partitions for which the group has something else than what is held.
    pub(super) fn differs(&self, found: &Positions) -> Option<&Partition> {
        self.own.iter().find(|p| self.held.offset(p) != found.offset(p))
    }
}

/// The id of the cluster.
pub(super) fn cluster(producer: &Producer, options: &KafkaSinkOptions) -> Result<String, SinkError> {
    producer.client().fetch_cluster_id(ASK_FOR).ok_or_else(|| {
        let why = producer.context().last_error().unwrap_or_else(|| "no answer".into());
        SinkError::retry(format!("the brokers {} do not say which cluster they are of: {why}", options.brokers))
    })
}

/// The name of the target that another never has: cluster, topic, and the topic's id where brokers give one.
pub(super) fn identity(
    producer: &Producer,
    cluster: &str,
    options: &KafkaSinkOptions,
    clock: &Clock,
) -> Result<String, SinkError> {
    let topic = &options.topic;
    let metadata = producer
        .client()
        .fetch_metadata(Some(topic), ASK_FOR)
        .map_err(|e| SinkError::retry(format!("cannot ask the brokers for topic {topic}: {e}")))?;
    let found = metadata.topics().iter().find(|t| t.name() == topic);
    if found.is_none_or(|t| t.error().is_some() || t.partitions().is_empty()) {
        return Err(SinkError::person(format!(
            "there is no topic {topic} on {}: create it (Tidemill creates none, as it cannot know how many partitions \
             and replicas it should have)",
            options.brokers
        )));
    }
    let give_up = clock.now() + ASK_FOR;
    let id = loop {
        let failed = match describe_topics(producer, &[topic.as_str()], ONE_REQUEST) {
            Ok(answers) => match answers.into_iter().next() {
                None => break None,
                Some((_, Ok(facts))) => break facts.id,
                Some((_, Err(error))) => error,
            },
            Err(AdminError { code: Code::UnsupportedFeature | Code::UnsupportedVersion, .. }) => break None,
            Err(error) => error,
        };
        if clock.now() >= give_up {
            let AdminError { code, text } = failed;
            return Err(SinkError::retry(format!("cannot describe topic {topic}: {text} ({code:?})")));
        }
        std::thread::sleep(RETRY_AFTER);
    };
    Ok(match id {
        Some(id) => format!("{cluster}/{topic}/{id}"),
        None => format!("{cluster}/{topic}"),
    })
}

/// All positions that the group holds for `identity`. `stable`: waits up to `patience` for transactions that are not
/// decided yet; a former owner's may still land.
pub(super) fn positions(
    producer: &Producer,
    group: &str,
    identity: &str,
    stable: bool,
    patience: Duration,
    clock: &Clock,
) -> Result<Positions, SinkError> {
    let give_up = clock.now() + patience;
    loop {
        let mut failed = None;
        match group_offsets(producer, group, stable, ONE_REQUEST) {
            Err(error) => failed = Some(error),
            Ok(answers) => {
                let mut found = Positions::default();
                for (partition, answer) in answers {
                    match answer {
                        Err(error) => {
                            failed = Some(AdminError { text: format!("{partition}: {}", error.text), ..error })
                        }
                        Ok(at) => match note::read(identity, at.offset, &at.metadata) {
                            Ok(position) => found.set(partition, position),
                            Err(Other::Foreign) => {}
                            Err(Other::Newer(v)) => {
                                return Err(SinkError::person(format!(
                                    "{partition}: the position in group {group} was written by a newer version of \
                                     Tidemill (form {v}); run that version"
                                )));
                            }
                        },
                    }
                }
                if failed.is_none() {
                    return Ok(found);
                }
            }
        }
        if let Some(AdminError { code, text }) = failed
            && (clock.now() >= give_up || code == Code::GroupAuthorizationFailed)
        {
            let message = format!("cannot read the positions in group {group}: {text} ({code:?})");
            return Err(match code {
                Code::GroupAuthorizationFailed => SinkError::person(message),
                _ => SinkError::retry(message),
            });
        }
        std::thread::sleep(RETRY_AFTER);
    }
}

/// What the group holds for this sink, without fencing anybody. Blocks; for showing to a person.
///
/// # Errors
/// When the brokers cannot be asked.
pub fn read_positions(options: &KafkaSinkOptions, clock: &Clock) -> Result<Positions, SinkError> {
    let producer: Producer = options
        .plain_config()?
        .create_with_context(SinkContext::new(&options.job))
        .map_err(|e| SinkError::person(format!("kafka sink of job {}: {e}", options.job)))?;
    let cluster = cluster(&producer, options)?;
    let identity = identity(&producer, &cluster, options, clock)?;
    positions(&producer, &options.group, &identity, false, ASK_FOR, clock)
}
