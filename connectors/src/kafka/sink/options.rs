//! Settings of the Kafka sink as plain data, and the client configuration made from them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rdkafka::config::ClientConfig;
use tidemill_engine::sink::SinkError;

use super::properties;
use crate::kafka::properties::{is_secret, set_properties};

/// What a message's value is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A JSON object of the columns.
    Json,
    /// The bytes of one column, binary or string. Null is a tombstone.
    Raw {
        /// Its name.
        column: String,
    },
}

/// Which columns become which parts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The value.
    pub value: Value,
    /// Column of the key: binary, string, or an integer or boolean as text. Null is no key.
    pub key: Option<String>,
    /// Column of the headers: `list<struct<key string, value binary | string>>`.
    pub headers: Option<String>,
    /// Columns that become headers of their own name: string or binary, numbers as text. Null is no header.
    pub header_columns: Vec<String>,
    /// Column of the timestamp: a timestamp, or an integer in ms. Null is the time of sending.
    pub timestamp: Option<String>,
    /// Column of the partition: an integer. Null leaves it to the partitioner.
    pub partition: Option<String>,
}

impl Mapping {
    /// Values as JSON, nothing else.
    #[must_use]
    pub fn json() -> Self {
        Self {
            value: Value::Json,
            key: None,
            headers: None,
            header_columns: Vec::new(),
            timestamp: None,
            partition: None,
        }
    }
}

/// Compression of the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How a message without a partition finds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioner {
    /// By a murmur2 hash of the key, as Kafka's Java clients; without a key at random, some ms at a time.
    Murmur2,
    /// By a CRC32 of the key, as other clients of librdkafka; without a key at random.
    Crc32,
    /// By an FNV-1a hash of the key; without a key at random.
    Fnv1a,
    /// At random, whatever the key.
    Random,
}

impl Partitioner {
    fn as_str(self) -> &'static str {
        match self {
            Self::Murmur2 => "murmur2_random",
            Self::Crc32 => "consistent_random",
            Self::Fnv1a => "fnv1a_random",
            Self::Random => "random",
        }
    }
}

/// For tests: makes the answer of the next commit get lost.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Lose(Arc<AtomicU8>);

impl Lose {
    /// The next commit lands or does not, and its answer does not come.
    pub fn next(&self, landed: bool) {
        self.0.store(if landed { 2 } else { 1 }, Ordering::SeqCst);
    }

    /// Whether to lose this answer, and whether after it landed.
    pub(super) fn take(&self) -> Option<bool> {
        match self.0.swap(0, Ordering::SeqCst) {
            0 => None,
            n => Some(n == 2),
        }
    }
}

/// Everything a Kafka sink is made from.
#[derive(Clone)]
pub struct KafkaSinkOptions {
    /// Job name, for the transactional id and for logs.
    pub job: String,
    /// Name of this daemon, for the transactional id.
    pub instance: String,
    /// `host:port` list, comma separated.
    pub brokers: String,
    /// The topic written to. It must exist.
    pub topic: String,
    /// The source's consumer group, which holds the positions.
    pub group: String,
    /// Which columns become which parts of a message.
    pub mapping: Mapping,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// Compression.
    pub compression: Compression,
    /// Partitioner.
    pub partitioner: Partitioner,
    /// librdkafka properties from the job's file, checked by [`properties::check`].
    pub properties: BTreeMap<String, String>,
    /// Lets properties through that are not on the allow-list (never those the sink owns).
    pub unsafe_properties: bool,
    /// Bytes of messages to hold between rows and broker.
    pub memory: usize,
    /// The longest a window stays open.
    pub max_age: Duration,
    /// For tests.
    #[doc(hidden)]
    pub lose: Lose,
}

impl fmt::Debug for KafkaSinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(k, v)| (k.as_str(), if is_secret(k) { "(hidden)" } else { v.as_str() }))
            .collect();
        f.debug_struct("KafkaSinkOptions")
            .field("job", &self.job)
            .field("instance", &self.instance)
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("mapping", &self.mapping)
            .field("compression", &self.compression)
            .field("partitioner", &self.partitioner)
            .field("properties", &shown)
            .field("unsafe_properties", &self.unsafe_properties)
            .field("memory", &self.memory)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

const MIB: usize = 1 << 20;
/// What brokers allow by default (`transaction.max.timeout.ms`).
const LONGEST_TRANSACTION: Duration = Duration::from_secs(900);
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(10);
/// Windows up to this age are for latency: nothing is held back to make larger batches.
const LATENCY: Duration = Duration::from_millis(200);

impl KafkaSinkOptions {
    /// Options of a job that writes rows of `schema` as JSON to `topic`, everything else at its default.
    #[must_use]
    pub fn new(job: &str, instance: &str, brokers: &str, topic: &str, schema: SchemaRef) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            brokers: brokers.to_owned(),
            topic: topic.to_owned(),
            group: format!("tidemill-{job}"),
            mapping: Mapping::json(),
            schema,
            compression: Compression::Lz4,
            partitioner: Partitioner::Murmur2,
            properties: BTreeMap::new(),
            unsafe_properties: false,
            memory: 32 * MIB,
            max_age: Duration::from_secs(5),
            lose: Lose::default(),
        }
    }

    /// The transactional id of this job and instance: whoever initialises it fences its former users.
    #[must_use]
    pub fn transactional_id(&self) -> String {
        format!("tidemill-{}-{}", self.job, self.instance)
    }

    /// The transactional id under which every instance of the job writes anchors. Instances cannot be named like it:
    /// it has a character that none has.
    pub(super) fn anchor_id(&self) -> String {
        format!("tidemill-{}-@anchor", self.job)
    }

    /// How long a broker keeps a transaction that nobody ends: three times the longest window.
    #[must_use]
    pub fn transaction_timeout(&self) -> Duration {
        (self.max_age * 3).clamp(SHORTEST_TRANSACTION, LONGEST_TRANSACTION)
    }

    /// Bytes of messages that wait before the client's own queue.
    pub(super) fn staged_bytes(&self) -> usize {
        (self.memory / 2).max(MIB)
    }

    /// The largest message that the client takes, in bytes.
    pub(super) fn largest_message(&self) -> usize {
        self.properties.get("message.max.bytes").and_then(|v| v.parse().ok()).unwrap_or(1_000_000)
    }

    /// The configuration of a producer without transactions. All faults of the properties are named at once.
    pub(super) fn plain_config(&self) -> Result<ClientConfig, SinkError> {
        let faults = properties::check(&self.properties, self.unsafe_properties);
        if !faults.is_empty() {
            return Err(SinkError::person(format!("kafka sink of job {}: {}", self.job, faults.join("; "))));
        }
        // A message that is larger than the queue would never find room.
        let queue = (self.memory / 2).max(2 * self.largest_message()).clamp(MIB, 1 << 31);
        // A partition that joins a transaction costs a request before its messages and a look of the broker at the
        // transaction behind it: messages without a key stay with one over some windows. Measured: docs/adr/0010.
        // Where that does not matter, batches wait to be large: many small ones in flight keep the client's thread and the
        // broker busy with themselves. Measured: docs/adr/0013.
        let (linger_ms, sticky_ms, in_flight) =
            if self.max_age <= LATENCY { ("0", "100", "5") } else { ("20", "10", "3") };
        let mut config = ClientConfig::new();
        config
            .set("client.id", "tidemill")
            .set("linger.ms", linger_ms)
            .set("sticky.partitioning.linger.ms", sticky_ms)
            .set("max.in.flight.requests.per.connection", in_flight)
            .set("compression.type", self.compression.as_str())
            .set("partitioner", self.partitioner.as_str())
            .set("queue.buffering.max.kbytes", (queue >> 10).to_string())
            // Beside its bytes the client keeps some 300 for each message.
            .set("queue.buffering.max.messages", (queue >> 8).clamp(10_000, 1_000_000).to_string())
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("statistics.interval.ms", "5000");
        set_properties(&mut config, &self.properties);
        // What the sink's promises rest on comes last.
        config
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("delivery.report.only.error", "true");
        Ok(config)
    }

    /// The configuration of a producer with transactions under `id`.
    pub(super) fn transactional_config(&self, id: &str) -> Result<ClientConfig, SinkError> {
        let mut config = self.plain_config()?;
        // While the markers of one transaction are written the next is told to try again: by default after 100 ms.
        for (key, value) in [("retry.backoff.ms", "1"), ("retry.backoff.max.ms", "5")] {
            if !self.properties.contains_key(key) {
                config.set(key, value);
            }
        }
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", self.transaction_timeout().as_millis().to_string());
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn options() -> KafkaSinkOptions {
        KafkaSinkOptions::new("j", "a", "127.0.0.1:9092", "out", Arc::new(arrow::datatypes::Schema::empty()))
    }

    #[test]
    fn a_transaction_outlives_its_window_three_times_within_what_brokers_allow() {
        let with = |ms| KafkaSinkOptions { max_age: Duration::from_millis(ms), ..options() }.transaction_timeout();
        assert_eq!(with(10), Duration::from_secs(10));
        assert_eq!(with(20_000), Duration::from_secs(60));
        assert_eq!(with(3_600_000), Duration::from_secs(900));
    }

    #[test]
    fn properties_tune_and_do_not_undo_promises() {
        let mut options = options();
        options.properties.insert("linger.ms".into(), "7".into());
        let config = options.transactional_config("id").expect("made");
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        options.properties.insert("transactional.id".into(), "other".into());
        let error = options.transactional_config("id").expect_err("refused");
        assert!(error.message.contains("transactional.id"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut options = options();
        options.properties.insert("sasl.password".into(), "hunter2".into());
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
