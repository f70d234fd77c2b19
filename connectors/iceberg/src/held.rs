//! What the table holds about a job: its positions, in a table property, and what each snapshot moved, in its summary.
//!
//! A commit sets the property and adds a snapshot in one change of the table, and requires that the snapshot it was
//! based on is still the newest. Every commit adds a snapshot, also one without rows: so of two commits based on the
//! same positions only one can be accepted.

use std::collections::HashMap;

use iceberg::spec::{Snapshot, TableMetadata};
use serde::{Deserialize, Serialize};
use tidemill_engine::history::{CommitRecord, History};
use tidemill_engine::partition::{OffsetRanges, Positions};
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

/// Version of the property's form.
const VERSION: u32 = 1;

/// In a snapshot's summary: the job whose commit it is.
const JOB: &str = "tidemill.job";
/// In a snapshot's summary: names the commit.
const TOKEN: &str = "tidemill.token";
/// In a snapshot's summary: who wrote it.
const WRITER: &str = "tidemill.writer";
/// In a snapshot's summary: what moved, as JSON.
const RANGES: &str = "tidemill.ranges";

/// How far back other writers are looked for: so many snapshots, and so many milliseconds.
const LOOK_BACK: usize = 1000;
const LOOK_BACK_MS: i64 = 600_000;

/// The value of a job's property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    v: u32,
    /// The newest commit.
    pub(crate) token: Uuid,
    /// The snapshot that it made.
    pub(crate) snapshot: i64,
    /// Of all partitions of the job.
    pub(crate) positions: Positions,
}

/// Name of a job's property.
pub(crate) fn property(job: &str) -> String {
    format!("tidemill.positions.{job}")
}

impl Held {
    pub(crate) fn new(token: Uuid, snapshot: i64, positions: Positions) -> Self {
        Self { v: VERSION, token, snapshot, positions }
    }

    /// What the table holds about `job`; `None`: nothing.
    pub(crate) fn of(table: &TableMetadata, job: &str) -> Result<Option<Self>, SinkError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let key = property(job);
        let Some(text) = table.properties().get(&key) else { return Ok(None) };
        let unreadable = |e: serde_json::Error| {
            SinkError::person(format!("table property `{key}` cannot be read ({e}); set it back to what it was"))
        };
        let Version { v } = serde_json::from_str(text).map_err(unreadable)?;
        if v > VERSION {
            return Err(SinkError::person(format!(
                "table property `{key}` has version {v}, this is an older tidemill that knows {VERSION}: update it"
            )));
        }
        serde_json::from_str(text).map(Some).map_err(unreadable)
    }

    /// The property's value.
    pub(crate) fn text(&self) -> Result<String, SinkError> {
        serde_json::to_string(self).map_err(|e| SinkError::bug(format!("cannot write positions: {e}")))
    }

    /// Whether the snapshot of the newest commit is in the table, and yet not part of its main branch: somebody rolled
    /// the table back.
    pub(crate) fn is_rolled_back(&self, table: &TableMetadata) -> bool {
        table.snapshot_by_id(self.snapshot).is_some() && !lineage(table).any(|s| s.snapshot_id() == self.snapshot)
    }
}

/// What a snapshot says about the commit that made it.
pub(crate) fn summary(
    job: &str,
    writer: &str,
    token: Uuid,
    ranges: &OffsetRanges,
) -> Result<HashMap<String, String>, SinkError> {
    let text = serde_json::to_string(ranges).map_err(|e| SinkError::bug(format!("cannot write ranges: {e}")))?;
    Ok(HashMap::from([
        (JOB.to_owned(), job.to_owned()),
        (WRITER.to_owned(), writer.to_owned()),
        (TOKEN.to_owned(), token.to_string()),
        (RANGES.to_owned(), text),
    ]))
}

/// The snapshot that the commit of this token made.
pub(crate) fn landed(table: &TableMetadata, token: Uuid) -> Option<i64> {
    let token = token.to_string();
    let made = |s: &&std::sync::Arc<Snapshot>| s.summary().additional_properties.get(TOKEN) == Some(&token);
    table.snapshots().find(made).map(|s| s.snapshot_id())
}

/// Whether others write to the table now: a snapshot of the last ten minutes is not of this instance of this job.
pub(crate) fn is_shared(table: &TableMetadata, job: &str, instance: &str) -> bool {
    let newest = table.current_snapshot().map_or(0, |s| s.timestamp_ms());
    let ours = |s: &Snapshot| {
        let said = &s.summary().additional_properties;
        let is = |key: &str, value: &str| said.get(key).is_some_and(|v| v == value);
        is(JOB, job) && is(WRITER, instance)
    };
    lineage(table).take(LOOK_BACK).take_while(|s| s.timestamp_ms() > newest - LOOK_BACK_MS).any(|s| !ours(s))
}

/// The main branch's snapshots, newest first, as far as they are retained.
fn lineage(table: &TableMetadata) -> impl Iterator<Item = &Snapshot> {
    let mut at = table.current_snapshot();
    std::iter::from_fn(move || {
        let snapshot = at?;
        at = snapshot.parent_snapshot_id().and_then(|id| table.snapshot_by_id(id));
        Some(snapshot.as_ref())
    })
}

/// The commits of a job that the table remembers, and the positions it holds.
pub(crate) fn history(table: &TableMetadata, job: &str) -> Result<History, SinkError> {
    let mut commits = Vec::new();
    for snapshot in lineage(table) {
        let said = &snapshot.summary().additional_properties;
        if said.get(JOB).map(String::as_str) != Some(job) {
            continue;
        }
        let id = snapshot.snapshot_id();
        let ranges = said.get(RANGES).map_or("null", String::as_str);
        let ranges = serde_json::from_str(ranges)
            .map_err(|e| SinkError::person(format!("snapshot {id}: `{RANGES}` cannot be read: {e}")))?;
        commits.push(CommitRecord {
            id: id.to_string(),
            ranges,
            at_ms: Some(snapshot.timestamp_ms()),
            rows: Some(said.get("added-records").and_then(|n| n.parse().ok()).unwrap_or(0)),
        });
    }
    commits.reverse();
    Ok(History { commits, positions: Held::of(table, job)?.map(|h| h.positions).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::partition::{Partition, Position};

    #[test]
    fn the_property_is_stable() {
        let positions = [(Partition::new("t", 3), Position::at(9))].into_iter().collect();
        let held = Held::new(Uuid::nil(), 7, positions);
        let golden = r#"{"v":1,"token":"00000000-0000-0000-0000-000000000000","snapshot":7,"positions":[{"topic":"t","partition":3,"offset":9}]}"#;
        assert_eq!(held.text().unwrap(), golden);
        assert_eq!(serde_json::from_str::<Held>(golden).unwrap(), held);
    }
}
