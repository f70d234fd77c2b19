//! A topic to write to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Properties, Text};

/// A topic of Apache Kafka, or of a broker that speaks its protocol. Exactly-once: rows and positions are one Kafka
/// transaction, on the cluster of the source. Readers need `isolation.level = "read_committed"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSink {
    /// Bootstrap brokers: `HOST:PORT`, several with commas between.
    pub brokers: Text,
    /// The topic. It must exist.
    pub topic: Text,
    /// What a message's value is made of.
    #[serde(default)]
    pub format: MessageFormat,
    /// Column of the key: `string`, `binary`, an integer or `bool` as text. Null is no key. A column whose name begins
    /// with `_` is then no part of a JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "no key"))]
    pub key: Option<Text>,
    /// Column of the headers: `list<struct>` of a name (`string`) and a value (`binary` or `string`), as the metadata
    /// column `_headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "no headers"))]
    pub headers: Option<Text>,
    /// Columns that become headers of their own name, after those of `headers`; numbers and `bool` as text. Null is no
    /// header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_columns: Vec<Text>,
    /// Column of the timestamp: `timestamp`, or an integer in milliseconds. Null is the time of sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the time of sending"))]
    pub timestamp: Option<Text>,
    /// Column of the partition: an integer. Null leaves it to `partitioner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "by `partitioner`"))]
    pub partition: Option<Text>,
    /// How a message finds its partition.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// Compression of batches.
    #[serde(default)]
    pub compression: MessageCompression,
    /// Writes rows and positions in one transaction. `false`: at-least-once, to any cluster, with positions in
    /// `state_dir`; needs `delivery = "at_least_once"`.
    #[serde(default = "yes")]
    pub transactional: bool,
    /// Properties of librdkafka, from [a list of safe ones](kafka-client.md); TLS and SASL of the source are repeated
    /// here. Values are strings, integers or booleans.
    #[serde(default)]
    pub properties: Properties,
    /// Allows properties that are not on [the list](kafka-client.md): some run commands or read files.
    #[serde(default)]
    pub unsafe_properties: bool,
}

fn yes() -> bool {
    true
}

impl KafkaSink {
    /// The columns it names, each with its key in the configuration.
    #[must_use]
    pub fn columns(&self) -> Vec<(String, &Text)> {
        let mut columns: Vec<(String, &Text)> = Vec::new();
        for (key, column) in [
            ("key", &self.key),
            ("headers", &self.headers),
            ("timestamp", &self.timestamp),
            ("partition", &self.partition),
        ] {
            columns.extend(column.as_ref().map(|column| (key.to_owned(), column)));
        }
        columns.extend(self.header_columns.iter().enumerate().map(|(i, c)| (format!("header_columns[{i}]"), c)));
        if let MessageFormat::Raw(raw) = &self.format {
            columns.push(("format.column".into(), &raw.column));
        }
        columns
    }
}

/// What a message's value is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageFormat {
    /// A JSON object of the columns.
    Json(JsonMessage),
    /// The bytes of one column.
    Raw(RawMessage),
}

impl Default for MessageFormat {
    fn default() -> Self {
        Self::Json(JsonMessage {})
    }
}

/// A JSON object of the columns, nulls written out. Columns whose names begin with `_` and that are the key, headers,
/// timestamp or partition are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonMessage {}

/// The bytes of one column: `binary` or `string`. Null is a tombstone. With `metadata = ["value"]` of the format,
/// `_value` is the record as it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawMessage {
    /// The column.
    pub column: Text,
}

/// How a message finds its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// By a murmur2 hash of the key, as Kafka's Java clients do; without a key at random.
    #[default]
    Murmur2,
    /// By a CRC32 of the key, as most clients of librdkafka do; without a key at random.
    Crc32,
    /// By an FNV-1a hash of the key, as Sarama does; without a key at random.
    Fnv1a,
    /// At random, whatever the key.
    Random,
}

/// Compression of batches of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageCompression {
    /// Uncompressed.
    None,
    /// Small and slow.
    Gzip,
    /// Fast, larger.
    Snappy,
    /// Fastest.
    #[default]
    Lz4,
    /// Small, and fast enough.
    Zstd,
}
