//! The topic of a workload on a broker.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use tidemill_integration_tests::kafka::Kafka;

use crate::clicks::Totals;

/// Partitions of all workloads.
pub const PARTITIONS: i32 = 4;

/// How long a broker may take to say where a partition ends.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Records that a topic is filled with.
pub trait Records {
    /// The next record's key and value.
    fn next_record(&mut self) -> (&str, &str);

    /// What was made so far.
    fn totals(&self) -> Totals;
}

/// How records are laid out in a topic.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Partitions, filled in turn.
    pub partitions: i32,
    /// So many records into one partition before the next one's turn.
    pub stripe: u64,
    /// Most bytes of a batch, before compression.
    pub batch_bytes: u64,
}

impl Layout {
    /// That of the workloads.
    pub const WORKLOADS: Self = Self { partitions: PARTITIONS, stripe: 1, batch_bytes: 1_000_000 };
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// Makes a topic of as many partitions as all workloads have.
///
/// # Errors
/// When it is there already.
pub fn create(brokers: &str, topic: &str) -> Result<()> {
    Kafka::at(Some(brokers))?.create_topic(topic, PARTITIONS, &[])
}

/// A consumer of committed messages of all partitions, from `start`, that holds little ready. `ends`: it says so
/// whenever it comes to an end.
///
/// # Errors
/// When the topic is not there.
pub fn reader(brokers: &str, topic: &str, start: Offset, ends: bool) -> Result<BaseConsumer> {
    let mut config = client(brokers);
    config.set("group.id", "bench-reader").set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", if ends { "true" } else { "false" });
    config.set("fetch.wait.max.ms", "20").set("queued.max.messages.kbytes", "8192").set("fetch.queue.backoff.ms", "2");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, start)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Gives key and value of every committed message to `take`, to the topic's end.
///
/// # Errors
/// When the broker does not answer.
pub fn read_committed(brokers: &str, topic: &str, mut take: impl FnMut(Option<&[u8]>, &[u8])) -> Result<()> {
    let consumer = reader(brokers, topic, Offset::Beginning, true)?;
    let mut ends = 0;
    while ends < PARTITIONS {
        match consumer.poll(Duration::from_secs(30)).context("nothing came for 30 s")? {
            Ok(message) => take(message.key(), message.payload().unwrap_or_default()),
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where the partitions of a workload's topic end, asked again and again.
pub struct Ends {
    topic: String,
    consumer: BaseConsumer,
}

impl Ends {
    /// Of this topic.
    ///
    /// # Errors
    /// When there can be no client.
    pub fn of(brokers: &str, topic: &str) -> Result<Self> {
        Ok(Self { topic: topic.to_owned(), consumer: client(brokers).create()? })
    }

    /// Messages in it now. Without transactions they are as many as offsets.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn messages(&self) -> Result<u64> {
        (0..PARTITIONS).try_fold(0, |sum, partition| {
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, TIMEOUT)?;
            Ok(sum + u64::try_from(high - low)?)
        })
    }
}

/// Makes the topic and fills it with the next `records` records of a stream, lz4.
///
/// # Errors
/// When the topic is there already, or the broker does not take a record.
pub fn fill(brokers: &str, topic: &str, layout: Layout, records: u64, stream: &mut dyn Records) -> Result<Totals> {
    Kafka::at(Some(brokers))?.create_topic(topic, layout.partitions, &[])?;
    let mut config = client(brokers);
    config.set("linger.ms", "50").set("batch.size", layout.batch_bytes.to_string()).set("compression.type", "lz4");
    config.set("queue.buffering.max.messages", "500000").set("queue.buffering.max.kbytes", "500000");
    let producer: BaseProducer = config.create()?;
    for i in 0..records {
        let (key, value) = stream.next_record();
        let partition = i32::try_from(i / layout.stripe % u64::from(layout.partitions.unsigned_abs()))?;
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).with_context(|| format!("record {i} was not taken"));
            }
            record = back;
            producer.poll(Duration::from_millis(20));
        }
        if i % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(120)).context("the broker does not take the records")?;
    let mut stored = 0;
    for partition in 0..layout.partitions {
        let (low, high) = producer.client().fetch_watermarks(topic, partition, TIMEOUT)?;
        stored += u64::try_from(high - low)?;
    }
    if stored != records {
        return Err(anyhow!("{topic} has {stored} records, expected {records}"));
    }
    Ok(stream.totals())
}

/// Deletes the topic.
///
/// # Errors
/// When the broker refuses.
pub fn delete(brokers: &str, topic: &str) -> Result<()> {
    Kafka::at(Some(brokers))?.delete_topic(topic)
}
