//! Checkpoints, so that the log stays quick to read, and tidying up what they stand for. Nothing here is needed for
//! correctness: a failure is a warning.

use std::sync::Arc;
use std::time::Duration;

use delta_kernel::snapshot::Snapshot;
use deltalake::logstore::{LogStore, StorageConfig, default_logstore};
use deltalake::protocol::checkpoints::cleanup_expired_logs_for;
use object_store::prefix::PrefixStore;
use tidemill_engine::failpoint;

use super::actions::Metadata;
use super::place::DeltaPlace;

/// Commits between two checkpoints where neither the job nor the table says otherwise.
pub(crate) const EVERY: u64 = 100;
/// How long commits below a checkpoint are kept, unless the table says otherwise.
const RETENTION: Duration = Duration::from_secs(30 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// Whether `version` gets a checkpoint.
pub(crate) fn is_due(version: u64, every: Option<u64>, metadata: &Metadata) -> bool {
    let table = || metadata.property("delta.checkpointInterval").and_then(|text| text.parse().ok());
    version > 0 && version.is_multiple_of(every.or_else(table).unwrap_or(EVERY).max(1))
}

/// Writes a checkpoint of `version` and deletes commits that are below a checkpoint and old.
pub(crate) async fn write(place: DeltaPlace, version: u64, metadata: Metadata, now_ms: i64) {
    failpoint!("delta.before_checkpoint");
    let table = Arc::new(PrefixStore::new(Arc::clone(&place.objects), place.prefix.clone()));
    let log = default_logstore(table, Arc::clone(&place.objects), &place.url, &StorageConfig::default());
    let (engine, url) = (log.engine(None), place.url.clone());
    let written = tokio::task::spawn_blocking(move || {
        let snapshot = Snapshot::builder_for(url).at_version(version).build(engine.as_ref())?;
        snapshot.checkpoint(engine.as_ref(), None).map(drop)
    });
    match written.await {
        Ok(Ok(())) => tracing::debug!(table = %place.url, version, "checkpoint written"),
        Ok(Err(e)) => {
            tracing::warn!(table = %place.url, version, error = %e, "cannot write a checkpoint; a later version gets one");
            return;
        }
        Err(_) => return,
    }
    failpoint!("delta.after_checkpoint");
    let Some(retention) = retention(&metadata) else { return };
    let cutoff = now_ms - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    if let Err(e) = cleanup_expired_logs_for(version, log.as_ref(), cutoff, None).await {
        tracing::warn!(table = %place.url, error = %e, "cannot delete old commits of the log; it is tried again later");
    }
}

/// How long commits are kept; `None`: for ever, or for a time that this sink cannot read.
fn retention(metadata: &Metadata) -> Option<Duration> {
    if metadata.property("delta.enableExpiredLogCleanup").is_some_and(|text| text != "true") {
        return None;
    }
    let Some(text) = metadata.property("delta.logRetentionDuration") else { return Some(RETENTION) };
    let words: Vec<&str> = text.trim_start_matches("interval").split_whitespace().collect();
    let [count, unit] = words.as_slice() else { return None };
    let seconds = match unit.trim_end_matches('s') {
        "hour" => 60 * 60,
        "day" => DAY,
        "week" => 7 * DAY,
        _ => return None,
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(properties: &[(&str, &str)]) -> Metadata {
        Metadata {
            id: String::new(),
            schema_string: String::new(),
            partition_columns: Vec::new(),
            configuration: properties.iter().map(|(k, v)| ((*k).into(), Some((*v).into()))).collect(),
            rest: Default::default(),
        }
    }

    #[test]
    fn the_job_then_the_table_say_how_often() {
        let table = metadata(&[("delta.checkpointInterval", "10")]);
        assert!(is_due(20, None, &table) && !is_due(20, Some(15), &table) && !is_due(0, None, &table));
        assert!(is_due(200, None, &metadata(&[])) && !is_due(10, None, &metadata(&[])));
    }

    #[test]
    fn the_table_says_how_long_commits_are_kept() {
        let of = |text| retention(&metadata(&[("delta.logRetentionDuration", text)]));
        assert_eq!(of("interval 7 days"), Some(Duration::from_secs(7 * DAY)));
        assert_eq!(of("interval 1 week"), of("interval 7 days"));
        assert_eq!(of("interval 3 fortnights"), None);
        assert_eq!(retention(&metadata(&[])), Some(RETENTION));
        assert_eq!(retention(&metadata(&[("delta.enableExpiredLogCleanup", "false")])), None);
    }
}
