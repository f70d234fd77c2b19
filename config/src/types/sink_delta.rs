//! A Delta table as a sink.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sink::{Compression, file_size};
use crate::forms::size;
use crate::text::Text;

/// A Delta table, created where there is none. Exactly-once: positions are application transactions (`txn`) in the same
/// commit as the rows. Other writers, OPTIMIZE and VACUUM may work on the table at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The table's folder, relative to the working directory, or `s3://bucket/prefix` (`gs://`, `az://`).
    pub uri: Text,
    /// Name of the `[storage.NAME]` table that says how to reach the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub storage: Option<Text>,
    /// Partition columns of a table that is created. A table that exists keeps its own, and they have to be these.
    #[serde(default)]
    #[schemars(extend("x-default" = "none, or those of the table"))]
    pub partition_by: Vec<Text>,
    /// What happens when the job has columns that the table has not.
    #[serde(default)]
    pub schema_evolution: SchemaEvolution,
    /// Compression of column chunks. A column that it shrinks by less than an eighth is left as it is in the next files.
    #[serde(default)]
    pub compression: Compression,
    /// A data file that has reached this size is closed and the next one begun. At most 4GiB.
    #[serde(default = "file_size", with = "size")]
    #[schemars(with = "size::SizeForm")]
    pub file_size: u64,
    /// A checkpoint of the log is written every so many versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "the table's `delta.checkpointInterval`, else 100"))]
    pub checkpoint_every: Option<u64>,
}

/// What happens when the job has columns that the table has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaEvolution {
    /// The job stops and names them.
    #[default]
    Strict,
    /// They are added to the table, nullable, when the job starts.
    Add,
}
