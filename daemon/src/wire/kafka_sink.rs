//! The Kafka sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_connectors::kafka::sink::{
    AtLeastOnceKafkaSink, Compression, KafkaSink, KafkaSinkOptions, Mapping, Partitioner, Value, read_positions,
};
use tidemill_connectors::kafka::{GroupMetadataSlot, KafkaSource};
use tidemill_connectors::kept::KeptPositions;
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{Partition, Positions};
use tidemill_engine::sink::{Sink, SinkError};
use tidemill_engine::source::Source as _;

use super::budget::Budget;
use super::source;

/// What a sink takes from its job's source and window.
#[derive(Clone)]
pub struct FromJob {
    /// The consumer group, which holds the positions; `None`: the source has none.
    pub group: Option<String>,
    /// The group's metadata, for the present run.
    pub slot: Arc<GroupMetadataSlot>,
    /// The longest a window stays open.
    pub max_age: Duration,
}

impl FromJob {
    /// What these settings of a job give.
    #[must_use]
    pub fn new(settings: &config::Job, name: &str) -> Self {
        let group = match &settings.source {
            config::Source::Kafka(kafka) => Some(kafka.group(name)),
            config::Source::Generator(_) => None,
        };
        Self { group, slot: Arc::default(), max_age: settings.window.max_age }
    }
}

/// Whether the sink commits positions to the source's group.
#[must_use]
pub fn commits_to_the_group(sink: &config::Sink) -> bool {
    matches!(sink, config::Sink::Kafka(kafka) if kafka.transactional)
}

/// The options of these settings.
#[must_use]
pub fn options(
    settings: &config::KafkaSink,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    from: &FromJob,
) -> KafkaSinkOptions {
    let text = |text: &Option<config::Text>| text.as_ref().map(|t| t.as_str().to_owned());
    let properties: BTreeMap<String, String> =
        settings.properties.iter().map(|(k, v)| (k.to_string(), v.as_str().to_owned())).collect();
    let mut options =
        KafkaSinkOptions::new(job, instance, settings.brokers.as_str(), settings.topic.as_str(), schema.clone());
    if let Some(group) = &from.group {
        options.group.clone_from(group);
    }
    options.mapping = Mapping {
        value: match &settings.format {
            config::MessageFormat::Json(_) => Value::Json,
            config::MessageFormat::Raw(raw) => Value::Raw { column: raw.column.as_str().to_owned() },
        },
        key: text(&settings.key),
        headers: text(&settings.headers),
        header_columns: settings.header_columns.iter().map(|c| c.as_str().to_owned()).collect(),
        timestamp: text(&settings.timestamp),
        partition: text(&settings.partition),
    };
    options.compression = match settings.compression {
        config::MessageCompression::None => Compression::None,
        config::MessageCompression::Gzip => Compression::Gzip,
        config::MessageCompression::Snappy => Compression::Snappy,
        config::MessageCompression::Lz4 => Compression::Lz4,
        config::MessageCompression::Zstd => Compression::Zstd,
    };
    options.partitioner = match settings.partitioner {
        config::Partitioner::Murmur2 => Partitioner::Murmur2,
        config::Partitioner::Crc32 => Partitioner::Crc32,
        config::Partitioner::Fnv1a => Partitioner::Fnv1a,
        config::Partitioner::Random => Partitioner::Random,
    };
    options.properties = properties;
    options.unsafe_properties = settings.unsafe_properties;
    options.memory = memory;
    options.max_age = from.max_age;
    options
}

/// Makes the sink; `positions` is where one without transactions keeps them.
///
/// # Errors
/// What is wrong with the options.
pub fn make(
    transactional: bool,
    options: KafkaSinkOptions,
    from: &FromJob,
    positions: impl FnOnce() -> KeptPositions,
    clock: &Clock,
) -> Result<Box<dyn Sink>, SinkError> {
    Ok(if transactional {
        Box::new(KafkaSink::new(options, from.slot.clone(), clock.clone())?)
    } else {
        Box::new(AtLeastOnceKafkaSink::new(options, positions(), clock.clone())?)
    })
}

/// What the group holds for the sink of this job.
///
/// # Errors
/// When the brokers cannot be asked.
pub async fn read(options: KafkaSinkOptions) -> anyhow::Result<Positions> {
    let read = move || read_positions(&options, &Clock::system());
    Ok(tokio::task::spawn_blocking(read).await??)
}

/// Takes this daemon's place in the group, which has to hold all of `partitions`: a change by hand passes the same
/// compare as a window. The source is to be kept while the sink is used.
///
/// # Errors
/// When another member holds one of them, or the group does not answer.
pub async fn join(
    kafka: &config::Kafka,
    job: &str,
    instance: &str,
    slot: Arc<GroupMetadataSlot>,
    partitions: Vec<Partition>,
) -> anyhow::Result<KafkaSource> {
    let budget = Budget::of(64 << 20, 1, 1);
    let mut options = source::kafka_options(kafka, job, instance, budget);
    options.commit_landed = false;
    let work = move || {
        let mut source = KafkaSource::with_group_metadata(options, Clock::system(), slot)?;
        for _ in 0..30 {
            if let Some(share) = source.assignment(Duration::from_secs(1))? {
                return match partitions.iter().find(|p| !share.contains(p)) {
                    None => Ok(source),
                    Some(other) => {
                        bail!("{other} is held by another member of the group: stop the job's other daemons")
                    }
                };
            }
        }
        bail!("the consumer group gave no assignment within 30 s")
    };
    tokio::task::spawn_blocking(work).await?
}
