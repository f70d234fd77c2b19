//! Sources.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_config as config;
use tidemill_connectors::generator::{GeneratorOptions, GeneratorSource};
use tidemill_connectors::kafka::{GroupMetadataSlot, KafkaOptions, KafkaSource, OnDataLoss, Start, Until, properties};
use tidemill_engine::clock::Clock;
use tidemill_engine::job::MakeSource;
use tidemill_engine::partition::Partition;

use super::budget::Budget;
use crate::state::State;

/// What is wrong with a source's client properties.
#[must_use]
pub fn check_properties(kafka: &config::Kafka) -> Vec<String> {
    properties::check(&plain(kafka), kafka.unsafe_properties)
}

fn plain(kafka: &config::Kafka) -> BTreeMap<String, String> {
    let mut plain: BTreeMap<String, String> =
        kafka.properties.iter().map(|(k, v)| (k.to_string(), v.as_str().to_owned())).collect();
    if kafka.group_protocol == config::GroupProtocol::Consumer {
        plain.insert("group.protocol".into(), "consumer".into());
    }
    plain
}

fn offsets(offsets: &config::Offsets, kafka: &config::Kafka) -> BTreeMap<Partition, i64> {
    offsets.by_partition(&kafka.topics).map(|((topic, index), at)| (Partition::new(topic, index), at)).collect()
}

/// Settings of the Kafka source, for `instance`.
#[must_use]
pub fn kafka_options(kafka: &config::Kafka, job: &str, instance: &str, budget: Budget) -> KafkaOptions {
    KafkaOptions {
        job: job.to_owned(),
        instance: instance.to_owned(),
        brokers: kafka.brokers.as_str().to_owned(),
        topics: kafka.topics.iter().map(|t| t.as_str().to_owned()).collect(),
        group: kafka.group(job),
        start: match &kafka.start {
            config::Start::Earliest => Start::Earliest,
            config::Start::Latest => Start::Latest,
            config::Start::Committed => Start::Committed,
            config::Start::Time(time) => Start::Time(time.timestamp_millis()),
            config::Start::Offsets(at) => Start::Offsets(offsets(at, kafka)),
        },
        until: kafka.until.as_ref().map(|until| match until {
            config::Until::End => Until::End,
            config::Until::Time(time) => Until::Time(time.timestamp_millis()),
            config::Until::Offsets(at) => Until::Offsets(offsets(at, kafka)),
        }),
        on_data_loss: match kafka.on_data_loss {
            config::OnDataLoss::Fail => OnDataLoss::Fail,
            config::OnDataLoss::Continue => OnDataLoss::Continue,
        },
        properties: plain(kafka),
        unsafe_properties: kafka.unsafe_properties,
        prefetch_bytes: budget.prefetch_bytes,
        static_membership: kafka.static_membership,
        commit_metadata: None,
        commit_landed: true,
    }
}

/// Makes the source of these settings. `slot`: where a Kafka sink finds the group's metadata. `commit_landed`: whether
/// the source tells the group what landed.
#[must_use]
pub fn factory(
    settings: &config::Source,
    job: &str,
    state: &Arc<State>,
    budget: Budget,
    clock: &Clock,
    slot: &Arc<GroupMetadataSlot>,
    commit_landed: bool,
) -> MakeSource {
    let clock = clock.clone();
    match settings {
        config::Source::Kafka(kafka) => {
            let mut options = kafka_options(kafka, job, state.instance(), budget);
            options.commit_landed = commit_landed;
            let slot = slot.clone();
            Box::new(move || {
                let source = KafkaSource::with_group_metadata(options.clone(), clock.clone(), slot.clone())?;
                Ok(Box::new(source))
            })
        }
        config::Source::Generator(generator) => {
            let options = GeneratorOptions {
                topic: job.to_owned(),
                partitions: generator.partitions,
                rate: generator.rate.unwrap_or(0),
                records: generator.records,
                seed: generator.seed,
            };
            Box::new(move || Ok(Box::new(GeneratorSource::new(options.clone(), clock.clone()))))
        }
    }
}

/// Makes a source end by itself where it does not already. False: it has no end that it could come to.
pub fn bound(settings: &mut config::Source) -> bool {
    match settings {
        config::Source::Kafka(kafka) => {
            kafka.until.get_or_insert(config::Until::End);
            true
        }
        config::Source::Generator(generator) => generator.records.is_some(),
    }
}

/// Whether a job with this source ends by itself.
#[must_use]
pub fn is_bounded(settings: &config::Source) -> bool {
    match settings {
        config::Source::Kafka(kafka) => kafka.until.is_some(),
        config::Source::Generator(generator) => generator.records.is_some(),
    }
}

/// Its name in the configuration.
#[must_use]
pub fn kind(settings: &config::Source) -> &'static str {
    match settings {
        config::Source::Kafka(_) => "kafka",
        config::Source::Generator(_) => "generator",
    }
}
