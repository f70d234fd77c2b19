//! Tables of an Iceberg catalog.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sink::{Compression, file_size};
use super::sink_delta::SchemaEvolution;
use crate::forms::size;
use crate::text::{Properties, Text, secret};

/// A table of an Iceberg catalog; each window is a snapshot. Exactly-once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Iceberg {
    /// The catalog that knows the table.
    pub catalog: IcebergCatalog,
    /// `namespace.table`. Made when it is missing, with its namespace. Several jobs may share one.
    pub table: Text,
    /// Partition fields, in order: a column, or a transform of one: `identity(c)`, `bucket[16](c)`, `truncate[4](c)`,
    /// `year(c)`, `month(c)`, `day(c)`, `hour(c)`, `void(c)`. A table that exists has to be partitioned so already.
    #[serde(default)]
    #[schemars(extend("x-default" = "as the table has it; a new table has none"))]
    pub partition_by: Vec<Text>,
    /// What becomes of a column of the rows that the table does not have.
    #[serde(default)]
    pub schema_evolution: SchemaEvolution,
    /// Name of the `[storage.NAME]` table that says how to reach the table's files on S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "what the catalog says about the table, else the environment"))]
    pub storage: Option<Text>,
    /// Compression of column chunks. A column that it shrinks by less than an eighth is left as it is in the next files.
    #[serde(default)]
    pub compression: Compression,
    /// A file that has reached this size is closed and the next one begun. At most 4GiB.
    #[serde(default = "file_size", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub file_size: u64,
}

/// How to reach an Iceberg catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum IcebergCatalog {
    /// A server with Iceberg's REST protocol.
    Rest(IcebergRest),
}

/// A server with Iceberg's REST protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IcebergRest {
    /// Its address, without `/v1`: `https://host:port`.
    pub uri: Text,
    /// The warehouse, as the catalog names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the catalog's own"))]
    pub warehouse: Option<Text>,
    /// A bearer token, sent as it is; best a reference.
    #[serde(default, deserialize_with = "secret", skip_serializing_if = "Option::is_none")]
    pub token: Option<Text>,
    /// `id:secret` of an OAuth2 client, exchanged for tokens; best a reference. Not beside `token`.
    #[serde(default, deserialize_with = "secret", skip_serializing_if = "Option::is_none")]
    pub credential: Option<Text>,
    /// Properties of the client, as Iceberg's own clients name them: `prefix`, `scope`, `audience`, `resource`,
    /// `oauth2-server-uri`, `header.NAME`.
    #[serde(default)]
    pub properties: Properties,
}
