//! The settings as plain data. The doc comments here are the text of `docs/configuration.md` and of the JSON Schema.

mod format;
mod group;
mod sink;
mod sink_delta;
mod sink_iceberg;
mod sink_kafka;
mod sink_postgres;
mod source;
mod storage;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Listen, duration, identity, size};
use crate::text::Text;

pub use format::{Field, Format, Json, Metadata, Raw, Tombstones};
pub use group::{Group, Restart};
pub use sink::{Blackhole, Compression, Ndjson, Parquet, Sink, Stdout};
pub use sink_delta::{Delta, SchemaEvolution};
pub use sink_iceberg::{Iceberg, IcebergCatalog, IcebergRest};
pub use sink_kafka::{JsonMessage, KafkaSink, MessageCompression, MessageFormat, Partitioner, RawMessage};
pub use sink_postgres::{Postgres, PostgresMode};
pub use source::{Generator, GroupProtocol, Kafka, Offsets, OnDataLoss, Source, Start, Until};
pub use storage::{S3, Storage};

/// Everything a daemon is told: itself, and its jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The daemon itself.
    #[serde(default)]
    pub daemon: Daemon,
    /// One table a group: jobs that are managed together under one budget. Jobs without a group are in `default`. Names
    /// have 1 to 63 characters of `a-z 0-9 _ -`.
    #[serde(default, rename = "group", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "identity::GroupTables")]
    pub groups: BTreeMap<String, Group>,
    /// One table a job. Its name is its identity (positions, metrics, consumer group): renaming starts anew. 1 to 63
    /// characters of `a-z 0-9 _ -`.
    #[serde(default, rename = "job")]
    #[schemars(with = "identity::JobTables")]
    pub jobs: BTreeMap<String, Job>,
    /// An object store that sinks and dead letters name with `storage = "NAME"`. Without one, `s3://…`, `gs://…`
    /// and `az://…` are reached with the settings and credentials of the environment (`AWS_*`, `GOOGLE_*` and `AZURE_*`
    /// variables, web identity, container, instance).
    #[serde(default, rename = "storage", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "identity::StorageTables")]
    pub storages: BTreeMap<String, Storage>,
}

/// The daemon itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// Folder that holds the instance id, marks and the spill files. Locked: one daemon to a folder.
    pub state_dir: Text,
    /// Name of this daemon among those that share a job: 1 to 63 characters of `a-z A-Z 0-9 . _ -`.
    #[schemars(with = "identity::InstanceForm", extend("x-default" = "a UUID kept in `state_dir`"))]
    pub instance: Option<Text>,
    /// Address of metrics, health and the API: `IP:PORT` or `localhost:PORT`. Port 0 takes any free one and logs it.
    pub http: Listen,
    /// Token that the verbs of the API (pause, drain, reload, …) ask for, as `Authorization: Bearer TOKEN`: at least 16
    /// characters of ASCII without blanks. Without one they are open on a loopback address, and refused on any other. Reading asks for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "none"))]
    pub api_token: Option<Text>,
    /// Takes over a changed configuration by itself, some seconds after its files were written. Without it by SIGHUP,
    /// `tidemill reload` or the API.
    pub watch: bool,
    /// Budget for everything that grows with the data: client prefetch, chunks, Arrow, encoders, SQL. At least 32MiB.
    /// Without it 60 % of the memory that the control group of the process (its container) allows, and at least 72 MiB
    /// less than that; where nothing limits it 512MiB, and at most 60 % of the machine's. The log says which.
    #[serde(with = "size::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "size::SizeForm", extend("x-default" = "60 % of the container's limit, else 512MiB"))]
    pub memory: Option<u64>,
    /// `/readyz` fails when the broker has data and nothing is polled, or records are polled and nothing is committed,
    /// for this long (for commits: on top of the window's `max_age`).
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub stall_after: Duration,
    /// What is to stay free on every disk that jobs write to: `state_dir` and the folders of sinks and dead letters. A job
    /// that writes to one with less is held: it commits what it has read and takes no more until an eighth more than
    /// this is free. Encoders write what they still have first, so leave room for `memory`. 0 turns it off.
    #[serde(with = "size::option", skip_serializing_if = "Option::is_none")]
    #[schemars(
        with = "size::SizeForm",
        extend("x-default" = "`\"512MiB\"`, and at most a twentieth of the disk")
    )]
    pub disk_reserve: Option<u64>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            state_dir: Text::from("./state"),
            instance: None,
            http: Listen::default(),
            api_token: None,
            watch: false,
            memory: None,
            stall_after: Duration::from_secs(60),
            disk_reserve: None,
        }
    }
}

/// One source, one chain of operators, one sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The group it belongs to.
    #[serde(default = "default_group")]
    pub group: Text,
    /// Jobs that must have finished before this one begins. They end by themselves (`until`, `records`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Text>,
    /// What becomes of a record that the format, an operator or the sink refuses.
    #[serde(default)]
    #[schemars(extend("x-default" = "`\"dead_letter\"` where a `dead_letter` table is given, else `\"fail\"`"))]
    pub on_error: OnError,
    /// A job that refuses more records than this within a minute stops, whatever `on_error` says. A record that is
    /// read again counts once. At least 1.
    #[serde(default = "max_errors_per_minute")]
    #[schemars(range(min = 1))]
    pub max_errors_per_minute: u64,
    /// What the job promises. A combination of parts that cannot keep it is refused.
    #[serde(default)]
    pub delivery: Delivery,
    /// Where records come from.
    pub source: Source,
    /// How records become rows.
    pub format: Format,
    /// Where refused records go with `on_error = "dead_letter"`: a sink of its own, whose columns are fixed: `_topic`,
    /// `_partition`, `_offset`, `_timestamp`, `_key`, `_value` and `_headers` as the record came, and why it was refused:
    /// `stage` (`decode`, `sql`, `sink`), `cause`, `error` and `rejected_at`. Its path may not lie under a sink's. Beside
    /// it `on_error` is `"dead_letter"`: `"fail"` and `"skip"` are refused, for nothing would go there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Sink>,
    /// When a window is cut and committed.
    #[serde(default)]
    pub window: Window,
    /// What happens to rows between the format and the sink, in this order.
    #[serde(default, rename = "operator", skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<Operator>,
    /// Where rows go.
    pub sink: Sink,
}

fn default_group() -> Text {
    Text::from("default")
}

fn max_errors_per_minute() -> u64 {
    1000
}

/// What becomes of refused records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The job stops at it.
    #[default]
    Fail,
    /// It is counted and left out.
    Skip,
    /// It goes to the job's `dead_letter`.
    DeadLetter,
}

/// What a job promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Every record once, whatever crashes.
    #[default]
    ExactlyOnce,
    /// Every record once or more: for `stdout`, `blackhole`, `kafka` with `transactional = false`, sink or dead letter.
    AtLeastOnce,
}

/// Bounds of a window: the one that is met first cuts it. With `freshness` the window tunes itself within them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Longest time from the window's first record to its cut. At most `5m` with a Kafka sink in transactions.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationForm", extend("x-default" = "`\"5s\"`; with `freshness`, as long as that"))]
    pub max_age: Duration,
    /// Most records. At least 1.
    #[schemars(range(min = 1), extend("x-default" = "`500000`; with `freshness`, `100000000`"))]
    pub max_rows: u64,
    /// Most bytes of raw records (passed by at most one record).
    #[serde(with = "size")]
    #[schemars(with = "size::SizeForm", extend("x-default" = "`\"256MiB\"`; with `freshness`, `\"4GiB\"`"))]
    pub max_bytes: u64,
    /// Cut early when no record came for this long.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "duration::DurationForm", extend("x-default" = "never"))]
    pub idle: Option<Duration>,
    /// How old 99 of 100 records may be when they become visible (over five minutes, from the broker's timestamp): turns
    /// tuning on. The window is then as long as this allows, so that there are as few commits as can be. Records that
    /// were there before the run began are backlog and do not count. At least `500ms`; at most `5m` with a Kafka sink in
    /// transactions, unless `max_age` is set. See [tuning](tuning.md).
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "duration::DurationForm", extend("x-default" = "none: windows stay as they are"))]
    pub freshness: Option<Duration>,
    /// What becomes of the tuner's choices, where `freshness` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`\"on\"` with `freshness`"))]
    pub tuning: Option<Tuning>,
}

/// What becomes of the tuner's choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tuning {
    /// There is no tuner.
    Off,
    /// It says what it would do (metrics, log, API), and windows stay as they are.
    Observe,
    /// Its choices hold, within the other bounds.
    #[default]
    On,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(5),
            max_rows: 500_000,
            max_bytes: 256 << 20,
            idle: None,
            freshness: None,
            tuning: None,
        }
    }
}

/// One step between the format and the sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Operator {
    /// A query in SQL.
    Sql(Sql),
}

/// A query in SQL over the rows of a window. Row-wise queries stream; others (GROUP BY, ORDER BY, DISTINCT) hold the
/// window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// A `SELECT` from the table `input`: what the format, or the operator before, gives.
    pub query: Text,
}
