//! Where rows go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sink_delta::Delta;
use super::sink_iceberg::Iceberg;
use crate::forms::size;
use crate::text::Text;
use crate::types::Postgres;

use super::sink_kafka::KafkaSink;

/// Where rows, or refused records, go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Sink {
    /// A folder of Parquet files. Exactly-once.
    Parquet(Parquet),
    /// A folder of files with one JSON object a line. Exactly-once.
    Ndjson(Ndjson),
    /// A Delta table. Exactly-once.
    Delta(Delta),
    /// A table of an Iceberg catalog. Exactly-once.
    Iceberg(Iceberg),
    /// A table in PostgreSQL. Exactly-once.
    Postgres(Postgres),
    /// A topic of Apache Kafka, on the source's cluster. Exactly-once, unless `transactional = false`.
    Kafka(Box<KafkaSink>),
    /// One JSON object a line on standard output. At-least-once.
    Stdout(Stdout),
    /// Counts rows and forgets them: for measuring. At-least-once.
    Blackhole(Blackhole),
}

impl Sink {
    /// Its `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Ndjson(_) => "ndjson",
            Self::Delta(_) => "delta",
            Self::Iceberg(_) => "iceberg",
            Self::Postgres(_) => "postgres",
            Self::Kafka(_) => "kafka",
            Self::Stdout(_) => "stdout",
            Self::Blackhole(_) => "blackhole",
        }
    }

    /// The folder of a sink that writes plain files.
    #[must_use]
    pub fn path(&self) -> Option<&Text> {
        match self {
            Self::Parquet(sink) => Some(&sink.path),
            Self::Ndjson(sink) => Some(&sink.path),
            _ => None,
        }
    }

    /// The folder of a sink that has one, on a disk or in a bucket, and the key that names it.
    #[must_use]
    pub fn place(&self) -> Option<(&'static str, &Text)> {
        match self {
            Self::Delta(sink) => Some(("uri", &sink.uri)),
            _ => self.path().map(|path| ("path", path)),
        }
    }

    /// The object store that it names.
    #[must_use]
    pub fn storage(&self) -> Option<&Text> {
        match self {
            Self::Parquet(sink) => sink.storage.as_ref(),
            Self::Ndjson(sink) => sink.storage.as_ref(),
            Self::Delta(sink) => sink.storage.as_ref(),
            Self::Iceberg(sink) => sink.storage.as_ref(),
            _ => None,
        }
    }

    /// The columns its folders are made from.
    #[must_use]
    pub fn partition_by(&self) -> &[Text] {
        match self {
            Self::Parquet(sink) => &sink.partition_by,
            Self::Ndjson(sink) => &sink.partition_by,
            Self::Delta(sink) => &sink.partition_by,
            // Iceberg's fields are transforms of columns.
            _ => &[],
        }
    }

    /// Whether its commits take turns with those of its group: an open transaction of Kafka cannot wait.
    #[must_use]
    pub fn takes_turns(&self) -> bool {
        !matches!(self, Self::Kafka(sink) if sink.transactional)
    }

    /// Whether it holds positions: without them a job is at-least-once.
    #[must_use]
    pub fn holds_positions(&self) -> bool {
        match self {
            Self::Kafka(sink) => sink.transactional,
            other => !matches!(other, Self::Stdout(_) | Self::Blackhole(_)),
        }
    }
}

/// A folder of Parquet files. Exactly-once: readers of the folder never see a partial or a doubled file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parquet {
    /// The folder, relative to the working directory, or `s3://bucket/prefix` (`gs://`, `az://`). Made when it is
    /// missing. Several jobs may share one.
    pub path: Text,
    /// Name of the `[storage.NAME]` table that says how to reach the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub storage: Option<Text>,
    /// Compression of column chunks. A column that it shrinks by less than an eighth is left as it is in the next files.
    #[serde(default)]
    pub compression: Compression,
    /// A file that has reached this size is closed and the next one begun. At most 4GiB.
    #[serde(default = "file_size", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub file_size: u64,
    /// Columns that become hive-style folders (`country=NL/`), outermost first.
    #[serde(default)]
    pub partition_by: Vec<Text>,
}

/// A folder of files with one JSON object a line. Exactly-once, as with Parquet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ndjson {
    /// The folder, relative to the working directory, or `s3://bucket/prefix` (`gs://`, `az://`). Made when it is
    /// missing. Several jobs may share one.
    pub path: Text,
    /// Name of the `[storage.NAME]` table that says how to reach the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub storage: Option<Text>,
    /// A file that has reached this size is closed and the next one begun. At most 4GiB.
    #[serde(default = "file_size", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub file_size: u64,
    /// Columns that become hive-style folders (`country=NL/`), outermost first.
    #[serde(default)]
    pub partition_by: Vec<Text>,
}

/// One JSON object a line on standard output. At-least-once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stdout {}

/// Counts rows and forgets them: for measuring. At-least-once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blackhole {}

pub(super) fn file_size() -> u64 {
    256 << 20
}

/// Compression of Parquet's column chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Uncompressed.
    None,
    /// Fast, larger.
    Snappy,
    /// Small, and fast enough.
    #[default]
    Zstd,
    /// Fastest, larger (LZ4_RAW).
    Lz4,
}
