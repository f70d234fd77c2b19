//! How records become rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{DataType, size};
use crate::text::Text;

/// How records become rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a record.
    Json(Json),
    /// Records as they come: the metadata columns are the row.
    Raw(Raw),
}

impl Format {
    /// The metadata columns asked for.
    #[must_use]
    pub fn metadata(&self) -> &[Metadata] {
        match self {
            Self::Json(json) => &json.metadata,
            Self::Raw(raw) => &raw.metadata,
        }
    }
}

/// One JSON object a record. A record that does not fit the fields is refused (`on_error`), never bent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Json {
    /// The columns. Members of the object that are not named here are ignored.
    #[schemars(length(min = 1))]
    pub fields: Vec<Field>,
    /// Columns about the record itself, after the fields: `_topic`, `_partition`, ….
    #[serde(default)]
    pub metadata: Vec<Metadata>,
    /// What becomes of a record without a value.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// A larger record is refused before the decoder sees it. At most 1GiB.
    #[serde(default = "max_record_bytes", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub max_record_bytes: u64,
    /// Takes numbers and booleans for string fields, as text.
    #[serde(default)]
    pub coerce: bool,
}

/// Records as they come: the metadata columns are the row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The columns: `_topic`, `_partition`, ….
    #[serde(default = "raw_metadata")]
    #[schemars(length(min = 1))]
    pub metadata: Vec<Metadata>,
    /// What becomes of a record without a value: with `row` its `_value` is null.
    #[serde(default = "row")]
    pub tombstones: Tombstones,
    /// A larger record is refused. At most 1GiB.
    #[serde(default = "max_record_bytes", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub max_record_bytes: u64,
}

fn max_record_bytes() -> u64 {
    1 << 20
}

fn raw_metadata() -> Vec<Metadata> {
    use Metadata::{Key, Offset, Partition, Timestamp, Topic, Value};
    vec![Topic, Partition, Offset, Timestamp, Key, Value]
}

fn row() -> Tombstones {
    Tombstones::Row
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "FieldKeys", into = "FieldKeys")]
#[schemars(with = "FieldKeys")]
pub struct Field {
    /// Name of the column, and of the object's member.
    pub name: Text,
    /// Its type, with the fields of a struct inside.
    pub data_type: DataType,
    /// Whether a missing member or `null` is allowed.
    pub nullable: bool,
}

/// A column as it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Field")]
struct FieldKeys {
    /// Name of the column, and of the object's member.
    name: Text,
    /// Its type, as in the table of types.
    #[serde(rename = "type")]
    data_type: DataType,
    /// Whether a missing member or `null` is allowed; else such a record is refused.
    #[serde(default = "yes")]
    nullable: bool,
    /// The fields of a `struct`, also of one inside a list: `type = "list<struct>"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
}

fn yes() -> bool {
    true
}

impl From<FieldKeys> for Field {
    fn from(keys: FieldKeys) -> Self {
        Self { name: keys.name, data_type: keys.data_type.with_fields(keys.fields), nullable: keys.nullable }
    }
}

impl From<Field> for FieldKeys {
    fn from(field: Field) -> Self {
        let fields = field.data_type.fields().to_vec();
        Self { name: field.name, data_type: field.data_type, nullable: field.nullable, fields }
    }
}

/// A column about the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// `_topic string`
    Topic,
    /// `_partition int32`
    Partition,
    /// `_offset int64`
    Offset,
    /// `_timestamp timestamp(ms)`, UTC
    Timestamp,
    /// `_key binary`
    Key,
    /// `_value binary`: the record's bytes as they came
    Value,
    /// `_headers list<struct<key string, value binary>>`
    Headers,
}

impl Metadata {
    /// Name of the column.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Topic => "_topic",
            Self::Partition => "_partition",
            Self::Offset => "_offset",
            Self::Timestamp => "_timestamp",
            Self::Key => "_key",
            Self::Value => "_value",
            Self::Headers => "_headers",
        }
    }
}

/// What becomes of a record without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// It is counted and left out.
    #[default]
    Skip,
    /// A row whose fields are all null.
    Row,
    /// It is refused, as `on_error` says.
    Reject,
}
