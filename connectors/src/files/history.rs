//! A job's log as the history of its commits.

use tidemill_engine::history::{self, CommitRecord, History};
use tidemill_engine::sink::SinkError;

use super::store::Store;
use super::{Log, read_log};

impl Log {
    /// The commits that count, oldest first, and the positions after the newest one. Fences are commits that move
    /// nothing.
    #[must_use]
    pub fn history(&self) -> History {
        let commit = |r: &super::log::Record| CommitRecord {
            id: r.n.to_string(),
            ranges: r.ranges.clone(),
            at_ms: Some(r.at_ms),
            rows: Some(r.rows),
        };
        History { commits: self.records.iter().map(commit).collect(), positions: self.positions() }
    }
}

/// The commits that the log of `job` on `store` remembers. Changes nothing; may run beside writers.
///
/// # Errors
/// When the log cannot be read, and when it is broken in a way that its offsets do not show: a record is missing that
/// moved nothing, or one has other positions than its ranges lead to. What offsets show is left to
/// [`history::verify`].
pub async fn history(store: &dyn Store, job: &str) -> Result<History, SinkError> {
    let log = read_log(store, job).await?;
    let history = log.history();
    if history::verify(&history).is_proven() {
        log.verify().map_err(|e| SinkError::person(format!("{}/_tidemill/{job}: {e}", store.place())))?;
    }
    Ok(history)
}
