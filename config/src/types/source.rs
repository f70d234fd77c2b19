//! Where records come from.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forms::start;
use crate::text::{Properties, Text};

/// Where records come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Topics of Apache Kafka, or of a broker that speaks its protocol.
    Kafka(Kafka),
    /// A synthetic clickstream of JSON records, without any broker.
    Generator(Generator),
}

/// Topics of Apache Kafka, or of a broker that speaks its protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap brokers: `HOST:PORT`, several with commas between.
    pub brokers: Text,
    /// Names of topics. One that begins with `^` is a POSIX regular expression (no `\d`, `\p`, `(?i)`: `[0-9]`, `[…]`);
    /// topics that match later are picked up.
    #[schemars(length(min = 1))]
    pub topics: Vec<Text>,
    /// Consumer group. It shares out the partitions among daemons; positions are the sink's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`tidemill-<job>`"))]
    pub consumer_group: Option<Text>,
    /// Where the job's first start begins in the partitions it finds: `earliest`, `latest`, `committed` (the consumer
    /// group's offsets), an RFC 3339 time, or a table of offsets such as `{ "orders/0" = 1500, "orders/1" = 1720 }`
    /// (with one topic also `{ 0 = 1500, 1 = 1720 }`), in which partitions that are not named begin at their low end.
    /// Partitions that appear later begin at their low end. Without effect once the sink holds positions.
    #[serde(default)]
    pub start: Start,
    /// `end`: read to the ends of the partitions as they are at the start, then finish. An RFC 3339 time: to each
    /// partition's first record of this time or later, or to its end as it is at the start where there is none. A table
    /// of offsets, written as in `start`: up to these offsets and not including them, waiting for records that are not
    /// there yet; of partitions that are not named nothing is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "never"))]
    pub until: Option<Until>,
    /// What to do when offsets still to be read are gone (retention, a topic made anew).
    #[serde(default)]
    pub on_data_loss: OnDataLoss,
    /// Properties of librdkafka, from [a list of safe ones](kafka-client.md), TLS and SASL among them. Values are strings,
    /// integers or booleans.
    #[serde(default)]
    pub properties: Properties,
    /// Allows properties that are not on [the list](kafka-client.md): some run commands or read files.
    #[serde(default)]
    pub unsafe_properties: bool,
    /// Joins the group under a fixed member id (made of job and instance), so that a restarted daemon takes its place at
    /// once. Not with `group_protocol = "consumer"`.
    #[serde(default = "yes")]
    #[schemars(extend("x-default" = "`true`; `false` with `group_protocol = \"consumer\"`"))]
    pub static_membership: bool,
    /// The group protocol.
    #[serde(default)]
    pub group_protocol: GroupProtocol,
}

fn yes() -> bool {
    true
}

impl Kafka {
    /// The consumer group: the one given, or `tidemill-<job>`.
    #[must_use]
    pub fn group(&self, job: &str) -> String {
        self.consumer_group.as_ref().map_or_else(|| format!("tidemill-{job}"), |group| group.as_str().to_owned())
    }
}

/// Offsets by partition, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(pub(crate) BTreeMap<String, i64>);

impl Offsets {
    /// The offsets by topic and partition. `topics`: those of the source, one of which a bare number is of.
    pub fn by_partition<'a>(&'a self, topics: &'a [Text]) -> impl Iterator<Item = ((&'a str, i32), i64)> {
        self.0.iter().filter_map(|(key, offset)| {
            let (topic, partition) = start::parse_partition(key).ok()?;
            Some(((topic.or_else(|| topics.first().map(Text::as_str))?, partition), *offset))
        })
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<String> = self.0.iter().map(|(key, offset)| format!("{key:?} = {offset}")).collect();
        write!(f, "{{ {} }}", entries.join(", "))
    }
}

/// A word or a time, or a table of offsets.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Offsets(Offsets),
}

/// Where a job's first start begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the low ends.
    #[default]
    Earliest,
    /// At the high ends.
    Latest,
    /// At the offsets that the consumer group has committed.
    Committed,
    /// At the first record of this time or later.
    Time(DateTime<Utc>),
    /// At these offsets.
    Offsets(Offsets),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Committed => f.write_str("committed"),
            Self::Time(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            Self::Offsets(offsets) => offsets.fmt(f),
        }
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Offsets(offsets) => offsets.serialize(serializer),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => start::parse(&text).map_err(serde::de::Error::custom),
            Written::Offsets(offsets) => Ok(Self::Offsets(offsets)),
        }
    }
}

/// Where a bounded job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the ends of the partitions as they are at the start.
    End,
    /// At the first record of this time or later.
    Time(DateTime<Utc>),
    /// Before these offsets; partitions that are not named are not read.
    Offsets(Offsets),
}

impl Serialize for Until {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::End => serializer.serialize_str("end"),
            Self::Time(time) => serializer.collect_str(&Start::Time(*time)),
            Self::Offsets(offsets) => offsets.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => start::parse_until(&text).map_err(serde::de::Error::custom),
            Written::Offsets(offsets) => Ok(Self::Offsets(offsets)),
        }
    }
}

/// What to do about offsets that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDataLoss {
    /// Stop, and let a person decide.
    #[default]
    Fail,
    /// Log and count the lost range, go on after it.
    Continue,
}

/// How the consumer group shares out partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupProtocol {
    /// Assignment by the members: round-robin under static membership, else cooperative-sticky.
    #[default]
    Classic,
    /// Assignment by the broker (KIP-848, Kafka 4).
    Consumer,
}

/// A synthetic clickstream of JSON records, without any broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Records a second over all partitions. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "as fast as they are taken"))]
    pub rate: Option<u64>,
    /// Ends after this many records over all partitions. At least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "never ends"))]
    pub records: Option<u64>,
    /// Partitions. 1 to 10000.
    #[serde(default = "partitions")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u32,
    /// The same seed gives the same records.
    #[serde(default)]
    pub seed: u64,
}

fn partitions() -> u32 {
    4
}

impl Default for Generator {
    fn default() -> Self {
        Self { rate: None, records: None, partitions: partitions(), seed: 0 }
    }
}
