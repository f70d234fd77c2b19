//! The lines of a Delta log, as far as this sink reads and writes them.
//! (<https://github.com/delta-io/delta/blob/master/PROTOCOL.md>)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_engine::partition::OffsetRanges;
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

/// The form of [`Mark`].
pub(crate) const VERSION: u32 = 1;

/// One line of a commit: of its actions those that this sink knows.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    /// Only written: a file is none of this sink's business once it is committed.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
}

/// What readers and writers of the table have to know.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// Schema and properties of the table. What this sink does not know is kept as it is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub id: String,
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Metadata {
    /// A property of the table.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.configuration.get(name)?.as_deref()
    }
}

/// How far an application has come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub app_id: String,
    pub version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// A file that becomes part of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// A relative URI, percent-encoded.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: u64,
    pub modification_time: i64,
    pub data_change: bool,
    /// JSON.
    pub stats: String,
}

/// What stands under `tidemill` in the `commitInfo` of a commit of ours: by it a writer tells its own commit, and
/// anybody can check that a job's commits follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Mark {
    /// [`VERSION`].
    pub v: u32,
    /// Names the commit.
    pub token: Uuid,
    pub job: String,
    pub instance: String,
    pub ranges: OffsetRanges,
    pub rows: u64,
}

/// A commit of anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commit {
    pub lines: Vec<Line>,
}

impl Commit {
    /// Reads the lines of a commit (or of a checkpoint as JSON). `place` names it in errors.
    pub(crate) fn parse(place: &str, bytes: &[u8]) -> Result<Self, SinkError> {
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        let lines = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        let lines = lines.map_err(|e| SinkError::person(format!("{place} is no part of a Delta log: {e}")))?;
        Ok(Self { lines })
    }

    /// The text of the commit.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, SinkError> {
        let mut text = Vec::new();
        for line in &self.lines {
            serde_json::to_writer(&mut text, line).map_err(|e| SinkError::bug(format!("a commit is no JSON: {e}")))?;
            text.push(b'\n');
        }
        Ok(text)
    }

    /// Our own mark; `None` for a commit of somebody else. (A newer form is somebody else's too: the compare decides
    /// about positions, never the mark.)
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.lines
            .iter()
            .find_map(|line| serde_json::from_value(line.commit_info.as_ref()?.get("tidemill")?.clone()).ok())
    }

    /// When it was made, in ms since the epoch, by its writer's clock.
    pub(crate) fn at_ms(&self) -> Option<i64> {
        self.lines.iter().find_map(|line| line.commit_info.as_ref()?.get("timestamp")?.as_i64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_writers_are_read_and_kept() {
        let text = br#"{"commitInfo":{"timestamp":5,"operation":"OPTIMIZE","isBlindAppend":false}}
{"add":{"path":"a.parquet","partitionValues":{},"size":1,"modificationTime":1,"dataChange":false}}
{"txn":{"appId":"other","version":3}}
{"domainMetadata":{"domain":"x","configuration":"","removed":false}}

{"metaData":{"id":"i","name":"n","format":{"provider":"parquet","options":{}},"schemaString":"s","partitionColumns":["c"],"configuration":{"a":"b"},"createdTime":7}}
"#;
        let commit = Commit::parse("x", text).unwrap();
        assert_eq!((commit.lines.len(), commit.at_ms(), commit.mark()), (5, Some(5), None));
        let metadata = commit.lines[4].meta_data.clone().unwrap();
        assert_eq!(metadata.property("a"), Some("b"));
        let again = serde_json::to_string(&metadata).unwrap();
        assert!(again.contains("\"createdTime\":7") && again.contains("\"name\":\"n\""), "{again}");
        assert!(Commit::parse("x", b"{\"txn\":1}").unwrap_err().message.contains("no part of a Delta log"));
    }
}
