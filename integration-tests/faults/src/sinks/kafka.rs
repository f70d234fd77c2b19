//! A topic of the source's own cluster, written in transactions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use super::{Setup, UnderTest};
use crate::kind::{Part, Surroundings};
use crate::tally::Tally;
use crate::watch::{LOOK, Look};

/// Longest silence of the broker while the topic is read to its end.
const SILENCE: Duration = Duration::from_secs(60);

/// A topic as a sink.
pub(super) struct Kafka {
    setup: Setup,
}

impl Kafka {
    pub(super) fn new(setup: &Setup) -> Self {
        Self { setup: setup.clone() }
    }

    fn client(&self, group: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.setup.brokers)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        config
    }
}

impl UnderTest for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn config(&self, daemon: usize) -> String {
        let Setup { ways, sink_topic, .. } = &self.setup;
        format!(
            "type = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{sink_topic}\"\nformat = {{ type = \"json\" }}",
            ways[daemon]
        )
    }

    fn max_age(&self) -> &'static str {
        "100ms"
    }

    fn failpoints(&self) -> &'static [&'static str] {
        &[
            "kafka.before_init",
            "kafka.after_init",
            "kafka.before_flush",
            "kafka.after_flush",
            "kafka.before_offsets",
            "kafka.after_offsets",
            "kafka.before_commit",
            "kafka.after_commit",
        ]
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { commits: Some(Part::Broker), ..Surroundings::default() }
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        let consumer = self.client(&self.setup.group).create()?;
        let mut positions = TopicPartitionList::new();
        for partition in 0..self.setup.partitions {
            positions.add_partition(&self.setup.topic, i32::try_from(partition)?);
        }
        Ok(Box::new(Committed { consumer, positions }))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        let mut config = self.client("faults-reader");
        let consumer: BaseConsumer = config.set("enable.partition.eof", "true").create()?;
        let topic = &self.setup.sink_topic;
        let found = consumer.fetch_metadata(Some(topic), SILENCE)?;
        let partitions = found.topics().first().map_or(0, |topic| topic.partitions().len());
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, i32::try_from(partition)?, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let (mut ended, mut last) = (vec![false; partitions], Instant::now());
        while ended.contains(&false) {
            match consumer.poll(Duration::from_millis(500)) {
                None if last.elapsed() > SILENCE => bail!("{topic} cannot be read to its end: {ended:?}"),
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => ended[usize::try_from(partition)?] = true,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(message)) => {
                    let row: Row<'_> = serde_json::from_slice(message.payload().context("a message without a value")?)?;
                    tally.row(row.topic, row.partition, row.offset, row.seq);
                }
            }
            last = Instant::now();
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(rename = "_topic")]
    topic: &'a str,
    #[serde(rename = "_partition")]
    partition: i64,
    #[serde(rename = "_offset")]
    offset: i64,
    seq: i64,
}

/// The group's offsets: they are visible with the transaction that the rows are visible with.
struct Committed {
    consumer: BaseConsumer,
    positions: TopicPartitionList,
}

impl Look for Committed {
    fn positions(&mut self) -> Result<Vec<i64>> {
        let found = self.consumer.committed_offsets(self.positions.clone(), LOOK)?;
        let offsets: HashMap<i32, i64> = found
            .elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => Some((element.partition(), offset)),
                _ => None,
            })
            .collect();
        (0..self.positions.count()).map(|p| Ok(offsets.get(&i32::try_from(p)?).copied().unwrap_or(-1))).collect()
    }
}
