//! Reading a Delta log: the newest state from the newest checkpoint and what follows it, then commit after commit.
//!
//! Only what this sink cares for is read: protocol, metadata and application transactions. The list of files, which
//! makes logs large, is passed over.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::{filter_record_batch, is_not_null, or};
use arrow::json::LineDelimitedWriter;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use serde::Deserialize;
use tidemill_connectors::files::store::{Fault, StoreError};
use tidemill_engine::history::{CommitRecord, History};
use tidemill_engine::sink::{Reaction, SinkError};

use super::actions::Commit;
use super::names::{self, LOG, Listing};
use super::parts::Parts;
use super::place::DeltaPlace;
use super::state::TableState;

/// Commits read at the same time.
const AHEAD: usize = 16;
/// Columns of a checkpoint that this sink reads.
const COLUMNS: [&str; 3] = ["txn", "protocol", "metaData"];

/// What a reader of the log sees, for one job.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) place: DeltaPlace,
    pub(crate) job: String,
}

#[derive(Deserialize)]
struct LastCheckpoint {
    version: u64,
}

impl Reader {
    /// The newest state; `None` where there is no table.
    pub(crate) async fn newest(&self) -> Result<Option<TableState>, SinkError> {
        let Some(listing) = self.list().await? else { return Ok(None) };
        let mut state = TableState::new(&self.job, listing.commits.first().copied().unwrap_or(0));
        if let Some((version, parts)) = &listing.checkpoint {
            for part in parts {
                state.apply(&self.checkpoint(part).await?.lines);
            }
            state.version = *version;
        }
        let mut commits = futures::stream::iter(listing.commits)
            .map(|version| async move { Ok::<_, SinkError>((version, self.expect(version).await?)) })
            .buffered(AHEAD);
        while let Some((version, commit)) = commits.try_next().await? {
            state.apply(&commit.lines);
            state.version = version;
        }
        Ok(Some(state))
    }

    /// The commit of `version`, where it is.
    pub(crate) async fn commit(&self, version: u64) -> Result<Option<Commit>, SinkError> {
        let name = names::commit(version);
        match self.place.store.get(&name).await.map_err(sink_error)? {
            Some(bytes) => Commit::parse(&self.at(&name), &bytes).map(Some),
            None => Ok(None),
        }
    }

    async fn expect(&self, version: u64) -> Result<Commit, SinkError> {
        self.commit(version).await?.ok_or_else(|| self.missing(version))
    }

    /// Every commit of the job that the log still has, oldest first, and the positions held now.
    pub(crate) async fn history(&self) -> Result<History, SinkError> {
        let Some(state) = self.newest().await? else { return Ok(History::default()) };
        let names = self.place.store.list(LOG, None, usize::MAX).await.map_err(sink_error)?;
        // What came after the state was read is left out, so that the two agree.
        let mut versions: Vec<u64> = names.iter().filter_map(|e| names::commit_version(&e.name)).collect();
        versions.retain(|version| *version <= state.version);
        versions.sort_unstable();
        // Below a gap lies what was put into a part of the log that had been tidied away: no reader sees it.
        let end =
            versions.iter().rev().zip((0..=state.version).rev()).take_while(|(found, whole)| *found == whole).count();
        versions.drain(..versions.len() - end);
        let mut reads = futures::stream::iter(versions)
            // One that is gone meanwhile was tidied away.
            .map(|version| async move { Ok::<_, SinkError>((version, self.commit(version).await?)) })
            .buffered(AHEAD);
        let mut commits = Vec::new();
        while let Some((version, commit)) = reads.try_next().await? {
            let Some(commit) = commit else { continue };
            if let Some(mark) = commit.mark().filter(|mark| mark.job == self.job) {
                let at_ms = commit.at_ms();
                commits.push(CommitRecord {
                    id: version.to_string(),
                    ranges: mark.ranges,
                    at_ms,
                    rows: Some(mark.rows),
                });
            }
        }
        Ok(History { commits, positions: state.positions() })
    }

    /// Whether the log goes on from a checkpoint of `version` or above, or the version before it was tidied away: then
    /// the log may have had this version, and no reader sees what is put in its place.
    pub(crate) async fn is_past(&self, version: u64) -> Result<bool, SinkError> {
        if self.hint().await?.is_some_and(|checkpoint| checkpoint >= version) {
            return Ok(true);
        }
        // A slow writer may have set the hint back. Versions are tidied away by age: this one not before the one below.
        let Some(before) = version.checked_sub(1) else { return Ok(false) };
        Ok(self.place.store.get(&names::commit(before)).await.map_err(sink_error)?.is_none())
    }

    /// The newest checkpoint's version, as far as the log says it.
    async fn hint(&self) -> Result<Option<u64>, SinkError> {
        let hint = self.place.store.get(&format!("{LOG}/_last_checkpoint")).await.map_err(sink_error)?;
        Ok(hint.and_then(|bytes| serde_json::from_slice::<LastCheckpoint>(&bytes).ok()).map(|hint| hint.version))
    }

    /// What there is of the log, from its newest checkpoint on.
    async fn list(&self) -> Result<Option<Listing>, SinkError> {
        // It is a hint: damaged or outdated, it costs time and nothing else.
        let from_hint = self.hint().await?.map(|version| format!("{version:020}"));
        let mut missing = 0;
        // A listing that runs beside a writer may show a newer commit and not the one before it: look again.
        for after in [from_hint.as_deref(), None, None] {
            let entries = self.place.store.list(LOG, after, usize::MAX).await.map_err(sink_error)?;
            match names::read(entries.iter().map(|e| e.name.as_str())) {
                Ok(None) if after.is_some() => {}
                Ok(listing) => return Ok(listing),
                Err(version) => missing = version,
            }
        }
        Err(self.missing(missing))
    }

    async fn checkpoint(&self, name: &str) -> Result<Commit, SinkError> {
        let name = format!("{LOG}/{name}");
        let place = self.at(&name);
        if name.ends_with(".json") {
            let bytes = self.place.store.get(&name).await.map_err(sink_error)?;
            let bytes = bytes.ok_or_else(|| SinkError::retry(format!("{place} was listed and is gone")))?;
            return Commit::parse(&place, &bytes);
        }
        let broken = |e: &dyn std::fmt::Display| SinkError::retry(format!("cannot read {place}: {e}"));
        let path =
            Path::parse(format!("{}/{name}", self.place.prefix).trim_start_matches('/')).map_err(|e| broken(&e))?;
        let size = self.place.objects.head(&path).await.map_err(|e| broken(&e))?.size;
        let parts = Parts { objects: Arc::clone(&self.place.objects), path, size };
        let builder = ParquetRecordBatchStreamBuilder::new(parts).await.map_err(|e| broken(&e))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let mut rows = builder.with_projection(mask).build().map_err(|e| broken(&e))?;
        // As JSON they are lines like those of a commit.
        let mut text = LineDelimitedWriter::new(Vec::new());
        while let Some(batch) = rows.try_next().await.map_err(|e| broken(&e))? {
            let mut wanted = BooleanArray::from(vec![false; batch.num_rows()]);
            for column in batch.columns() {
                let present = is_not_null(column).map_err(|e| broken(&e))?;
                wanted = or(&wanted, &present).map_err(|e| broken(&e))?;
            }
            if wanted.true_count() > 0 {
                let batch = filter_record_batch(&batch, &wanted).map_err(|e| broken(&e))?;
                text.write(&batch).map_err(|e| broken(&e))?;
            }
        }
        text.finish().map_err(|e| broken(&e))?;
        Commit::parse(&place, &text.into_inner())
    }

    fn missing(&self, version: u64) -> SinkError {
        let place = self.at(&names::commit(version));
        SinkError::person(format!("{place} is missing: without it the table cannot be read; restore it from a backup"))
    }

    /// A name with its place, for messages.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.place.store.place())
    }
}

/// A store's error as a sink's.
pub(crate) fn sink_error(error: StoreError) -> SinkError {
    let reaction = match error.fault {
        Fault::Failed => Reaction::Retry,
        Fault::Unknown => Reaction::Unknown,
        Fault::Refused => Reaction::Person,
    };
    SinkError::new(reaction, error.message)
}
