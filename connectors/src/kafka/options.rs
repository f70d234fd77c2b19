//! Settings of the Kafka source as plain data, and the client configuration made from them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use tidemill_engine::partition::Partition;
use tidemill_engine::source::SourceError;

use super::properties;

/// Where a job starts that has no position yet. Applies to the partitions known at the job's first anchor; partitions
/// that appear later start at their low end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The first offset still in the log.
    Earliest,
    /// The end of the log (under `read_committed` the last stable offset).
    Latest,
    /// The offset the group has committed; a partition without one starts at its low end.
    Committed,
    /// The first record whose broker timestamp is this (ms since the epoch) or later; the end of the log if none is.
    Time(i64),
    /// These offsets; a partition that is not named starts at its low end. An offset beyond the log's end, and a
    /// partition that does not exist, are errors; one below the low end is data loss.
    Offsets(BTreeMap<Partition, i64>),
}

/// When a bounded job is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the ends of the logs as they were when each partition was first begun.
    End,
    /// At the first record of each partition whose broker timestamp is this (ms since the epoch) or later, or at the
    /// log's end as it was when the partition was first begun if there is none.
    Time(i64),
    /// Before these offsets, waiting for records that are not there yet. Of a partition that is not named nothing is
    /// read; one that does not exist is an error.
    Offsets(BTreeMap<Partition, i64>),
}

/// What to do when records between the wanted position and the log are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDataLoss {
    /// Stop with an error that names topic, partition and range: a person decides.
    Fail,
    /// Go on at the low end and report the range.
    Continue,
}

/// Everything a [`KafkaSource`](super::KafkaSource) is made from.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Job name, for the static member id and for logs.
    pub job: String,
    /// Name of this daemon, for the static member id.
    pub instance: String,
    /// `host:port` list, comma separated.
    pub brokers: String,
    /// Topic names, or regular expressions (POSIX extended) that begin with `^`.
    pub topics: Vec<String>,
    /// Consumer group id.
    pub group: String,
    /// Where to start without a position.
    pub start: Start,
    /// Where to stop; `None`: never.
    pub until: Option<Until>,
    /// See [`OnDataLoss`].
    pub on_data_loss: OnDataLoss,
    /// librdkafka properties from the job's file, checked by [`properties::check`].
    pub properties: BTreeMap<String, String>,
    /// Lets properties through that are not on the allow-list (never those the source owns).
    pub unsafe_properties: bool,
    /// Bytes of fetched records to hold ready; the queue passes it by at most one fetch per broker.
    pub prefetch_bytes: usize,
    /// Static group membership (`group.instance.id = tidemill-<job>-<instance>`): a restarted daemon takes its place at
    /// once. Without effect under `group.protocol = "consumer"`, whose brokers refuse a restarted static member until
    /// its old session has ended.
    pub static_membership: bool,
    /// Written as the metadata of informational group commits (at most 4096 bytes by the broker's default).
    pub commit_metadata: Option<String>,
    /// Whether landed positions are committed to the group, for the usual lag tools. Not where the sink itself commits
    /// them there: a commit that comes late would set them back.
    pub commit_landed: bool,
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: BTreeMap<&str, &str> = self
            .properties
            .iter()
            .map(|(k, v)| (k.as_str(), if properties::is_secret(k) { "(hidden)" } else { v.as_str() }))
            .collect();
        f.debug_struct("KafkaOptions")
            .field("job", &self.job)
            .field("instance", &self.instance)
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("until", &self.until)
            .field("on_data_loss", &self.on_data_loss)
            .field("properties", &shown)
            .field("unsafe_properties", &self.unsafe_properties)
            .field("prefetch_bytes", &self.prefetch_bytes)
            .field("static_membership", &self.static_membership)
            .finish_non_exhaustive()
    }
}

const MIB: usize = 1 << 20;

impl KafkaOptions {
    /// Options of a job that reads `topics` from `brokers`, everything else at its default: group `tidemill-<job>`,
    /// from the earliest offset on, without end, 16 MiB of prefetch, static membership.
    #[must_use]
    pub fn new(job: &str, instance: &str, brokers: &str, topics: &[&str]) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            brokers: brokers.to_owned(),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            group: format!("tidemill-{job}"),
            start: Start::Earliest,
            until: None,
            on_data_loss: OnDataLoss::Fail,
            properties: BTreeMap::new(),
            unsafe_properties: false,
            prefetch_bytes: 16 * MIB,
            static_membership: true,
            commit_metadata: None,
            commit_landed: true,
        }
    }

    /// True under the KIP-848 group protocol.
    pub(super) fn is_consumer_protocol(&self) -> bool {
        self.properties.get("group.protocol").is_some_and(|v| v == "consumer")
    }

    /// True when only committed records are read.
    pub(super) fn read_committed(&self) -> bool {
        self.properties.get("isolation.level").is_none_or(|v| v == "read_committed")
    }

    /// The static member id, where one is used.
    #[must_use]
    pub fn member_id(&self) -> Option<String> {
        (self.static_membership && !self.is_consumer_protocol())
            .then(|| format!("tidemill-{}-{}", self.job, self.instance))
    }

    /// How long a revocation may be answered late: a third of `max.poll.interval.ms`, at most 10 s.
    pub(super) fn revoke_deadline(&self) -> Duration {
        let max_poll_ms = self.properties.get("max.poll.interval.ms").and_then(|v| v.parse().ok()).unwrap_or(300_000);
        Duration::from_millis(max_poll_ms / 3).min(Duration::from_secs(10))
    }

    /// The client configuration. All faults of the properties are named at once.
    pub(super) fn client_config(&self) -> Result<ClientConfig, SourceError> {
        let mut faults = properties::check(&self.properties, self.unsafe_properties);
        if self.topics.is_empty() {
            faults.push("no topics: name at least one, or a pattern that begins with ^".to_owned());
        }
        if !faults.is_empty() {
            return Err(SourceError::person(format!("kafka source of job {}: {}", self.job, faults.join("; "))));
        }
        let prefetch = self.prefetch_bytes.clamp(MIB, 1 << 31);
        // A fetch comes compressed and is several times larger when unpacked; one per broker may pass the limit.
        // The client wants a fetch no smaller than `message.max.bytes`, which is all that this does to a consumer but for
        // one thing: an LZ4 batch that does not say its size is taken for four times as large as it comes, up to that.
        // Memory for a batch that is so large grows in a few steps.
        let message = self.properties.get("message.max.bytes").and_then(|v| v.parse().ok()).unwrap_or(64 << 10);
        let least = (prefetch / 8).clamp(MIB / 4, MIB);
        let fetch = (prefetch / 16).clamp(least, 16 * MIB).max(message);
        let per_partition = (prefetch / 32).clamp(least, 4 * MIB);
        // The limit in bytes counts values and keys alone, but the client keeps some 400 bytes more for each record:
        // small records are limited by their number. With half as many, a job that takes 1.5 M a second empties the queue
        // before the client looks at it again (`fetch.queue.backoff.ms`).
        let records = (prefetch >> 9).clamp(1000, 500_000);
        let mut config = ClientConfig::new();
        config
            .set("client.id", "tidemill")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", records.to_string())
            .set("queued.max.messages.kbytes", (prefetch >> 10).to_string())
            .set("fetch.max.bytes", fetch.to_string())
            .set("message.max.bytes", message.to_string())
            .set("fetch.message.max.bytes", per_partition.to_string())
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("statistics.interval.ms", "5000");
        if !self.is_consumer_protocol() {
            // A cooperative rebalance has two halves, and a member that is killed between them and is back under its
            // fixed id gets its old share without a rebalance: what it had just given up is then nobody's, until the
            // next one (tried: `tidemill-faults --only "in a rebalance"`). Eager ones share out everything each time,
            // and cost us nothing more, for every change of an assignment ends the run.
            let strategy = if self.static_membership { "roundrobin" } else { "cooperative-sticky" };
            config.set("partition.assignment.strategy", strategy).set("session.timeout.ms", "10000");
        }
        properties::set_properties(&mut config, &self.properties);
        // What the source's promises rest on comes last.
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false");
        if let Some(id) = self.member_id() {
            config.set("group.instance.id", id);
        }
        Ok(config)
    }
}
