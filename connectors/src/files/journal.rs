//! The files' log on its store: reading the newest state, putting records, finishing and tidying.

use std::sync::Arc;

use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use super::layout::{self, Layout};
use super::log::{self, Checkpoint, Head, Identity, Record};
use super::sink_error;
use super::store::{Fault, Move, Put, Store};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Records below the floor are kept this long: a writer that slept meets them, or the floor.
const KEEP_RECORDS_MS: i64 = 30 * DAY_MS;
/// Staged files of other instances are left alone this long.
const KEEP_STAGED_MS: i64 = 7 * DAY_MS;
/// Most files tidied away at once.
const TIDY: usize = 2_000;

/// The log of one job as one writer uses it.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) store: Arc<dyn Store>,
    pub(super) layout: Layout,
    pub(super) clock: Clock,
}

/// What came of putting a record.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the log.
    Landed,
    /// This record has its number.
    Taken(Box<Record>),
}

impl Journal {
    /// The identity of the folder, made when there is none.
    pub(super) async fn identity(&self) -> Result<Uuid, SinkError> {
        let name = self.layout.identity();
        // Twice at most: somebody else may make it between the two steps.
        for _ in 0..3 {
            if let Some(bytes) = self.store.get(&name).await.map_err(sink_error)? {
                return Ok(log::decode::<Identity>(&self.at(&name), &bytes)?.sink_id);
            }
            let identity = Identity { v: log::VERSION, sink_id: Uuid::new_v4(), job: self.layout.job().to_owned() };
            let bytes = log::encode(&identity)?;
            self.store.put_if_absent(&name, bytes, &self.layout.staged()).await.map_err(sink_error)?;
        }
        Err(SinkError::retry(format!("{} exists and cannot be read", self.at(&name))))
    }

    /// The newest record and the state after it; `None` and an empty state where there is no log.
    pub(super) async fn newest(&self) -> Result<(Head, Option<Record>), SinkError> {
        let checkpoint = newest_checkpoint(self.store.as_ref(), self.layout.job()).await?;
        let floor = checkpoint.as_ref().map_or(1, |c| c.floor);
        let Some(n) = newest_number(self.store.as_ref(), self.layout.job(), floor).await? else {
            if checkpoint.is_some() {
                return Err(missing(&self.at(&self.layout.record(floor))));
            }
            return Ok((Head::default(), None));
        };
        let record = self.read(n).await?.ok_or_else(|| missing(&self.at(&self.layout.record(n))))?;
        Ok((Head::after(&record), Some(record)))
    }

    /// Record `n`, where it is.
    pub(super) async fn read(&self, n: u64) -> Result<Option<Record>, SinkError> {
        read_record(self.store.as_ref(), self.layout.job(), n).await
    }

    /// Puts `record`, unless its number is taken. An error with [`Reaction::Unknown`](tidemill_engine::sink::Reaction)
    /// means that it may be there.
    pub(super) async fn put(&self, record: &Record) -> Result<Outcome, SinkError> {
        let name = self.layout.record(record.n);
        let bytes = log::encode(record)?;
        for _ in 0..3 {
            match self.store.put_if_absent(&name, bytes.clone(), &self.layout.staged()).await.map_err(sink_error)? {
                Put::Created => return Ok(Outcome::Landed),
                Put::Exists => {
                    // Our own first attempt, a neighbour's record, or (object stores) a conflict that wrote nothing.
                    // From here on an error leaves open whether ours is the one that is there.
                    let found = self.read(record.n).await.map_err(|e| SinkError::unknown(e.message))?;
                    match found {
                        Some(found) if found.token == record.token => return Ok(Outcome::Landed),
                        Some(found) => return Ok(Outcome::Taken(Box::new(found))),
                        None => {}
                    }
                }
            }
        }
        Err(SinkError::unknown(format!("{} exists and cannot be read", self.at(&name))))
    }

    /// Fails as unknown when the log has been compacted past `n`: whatever was put there does not count.
    pub(super) async fn check_floor(&self, n: u64) -> Result<(), SinkError> {
        let after = log::file_name(n);
        let above = self.store.list(&self.layout.checkpoints(), Some(&after), 1).await;
        let above = above.map_err(|e| SinkError::unknown(e.message))?;
        if above.iter().any(|e| log::number(&e.name).is_some()) {
            return Err(SinkError::unknown(format!(
                "record {n} of {} was put long after the log went past it: starting again",
                self.at(&self.layout.log())
            )));
        }
        Ok(())
    }

    /// Gives the files of `record` their final names: whoever needs the next number does this first.
    pub(super) async fn complete(&self, record: &Record) -> Result<(), SinkError> {
        if record.files.is_empty() {
            return Ok(());
        }
        let moves: Vec<Move> = record.files.iter().map(|f| f.step()).collect();
        let gone = self.store.publish(&moves).await.map_err(sink_error)?;
        let Some(first) = gone.first() else { return Ok(()) };
        // Neither staged nor in place: somebody completed it and the file has been moved on by its users. That is
        // certain only once a newer record exists, for that was put after all files were in place.
        if self.read(record.n + 1).await?.is_some() {
            return Ok(());
        }
        Err(SinkError::person(format!(
            "{} names {} file(s) that are neither staged nor in place, the first is {}: restore it, or accept the loss of \
             its rows by creating an empty file of that name",
            self.at(&self.layout.record(record.n)),
            gone.len(),
            self.at(&first.path),
        )))
    }

    /// Deletes staged files that no record will ever name: those of earlier runs of this instance (call it after the
    /// fence), and those of other instances that are long out of date.
    pub(super) async fn sweep(&self) -> Result<usize, SinkError> {
        let folder = self.layout.staging();
        let me = self.layout.writer();
        let now = self.clock.wall_ms();
        let staged = self.store.list(&folder, None, usize::MAX).await.map_err(sink_error)?;
        let names: Vec<String> = staged
            .iter()
            .filter(|entry| match layout::parse_staged(&entry.name) {
                Some(name) if name.instance == me.instance => name.run != me.run,
                Some(_) => now.saturating_sub(entry.modified_ms) > KEEP_STAGED_MS,
                None => false,
            })
            .map(|entry| format!("{folder}/{}", entry.name))
            .collect();
        if !names.is_empty() {
            self.store.delete(&names).await.map_err(sink_error)?;
        }
        Ok(names.len())
    }

    /// Writes a checkpoint at record `n`, which `before` led to, and deletes what is below it and old.
    pub(super) async fn compact(&self, n: u64, before: &Head) -> Result<(), SinkError> {
        let positions = before.positions.clone();
        let checkpoint = Checkpoint { v: log::VERSION, floor: n, positions, at_ms: self.clock.wall_ms() };
        failpoint!("files.before_checkpoint");
        let bytes = log::encode(&checkpoint)?;
        let name = self.layout.checkpoint(n);
        self.store.put_if_absent(&name, bytes, &self.layout.staged()).await.map_err(sink_error)?;
        for folder in [self.layout.log(), self.layout.checkpoints()] {
            let entries = self.store.list(&folder, None, TIDY).await.map_err(sink_error)?;
            let old = self.clock.wall_ms().saturating_sub(KEEP_RECORDS_MS);
            let names: Vec<String> = entries
                .iter()
                .take_while(|e| log::number(&e.name).is_none_or(|k| k < n) && e.modified_ms < old)
                .filter(|e| log::number(&e.name).is_some())
                .map(|e| format!("{folder}/{}", e.name))
                .collect();
            self.store.delete(&names).await.map_err(sink_error)?;
        }
        Ok(())
    }

    /// A name with its place, for messages.
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.store.place())
    }
}

/// The newest checkpoint of a job's log, if there is one.
pub(super) async fn newest_checkpoint(store: &dyn Store, job: &str) -> Result<Option<Checkpoint>, SinkError> {
    let folder = layout::checkpoint_folder(job);
    let entries = store.list(&folder, None, usize::MAX).await.map_err(sink_error)?;
    let Some(n) = entries.iter().rev().find_map(|e| log::number(&e.name)) else { return Ok(None) };
    let name = format!("{folder}/{}", log::file_name(n));
    match store.get(&name).await.map_err(sink_error)? {
        Some(bytes) => Ok(Some(log::decode(&format!("{}/{name}", store.place()), &bytes)?)),
        None => Err(missing(&format!("{}/{name}", store.place()))),
    }
}

/// The newest record's number, from `floor` on.
async fn newest_number(store: &dyn Store, job: &str, floor: u64) -> Result<Option<u64>, SinkError> {
    let found = numbers(store, job, floor).await?;
    log::newest(floor, found)
        .map_err(|gap| missing(&format!("{}/{}/{}", store.place(), layout::log_folder(job), log::file_name(gap))))
}

/// The numbers of all records from `floor` on, in order. One that is missing is missing.
pub(super) async fn numbers(store: &dyn Store, job: &str, floor: u64) -> Result<Vec<u64>, SinkError> {
    let folder = layout::log_folder(job);
    let after = log::file_name(floor - 1);
    let mut found = Vec::new();
    // A listing that runs beside a writer may show a newer record and not the one before it: look again.
    for _ in 0..3 {
        let entries = store.list(&folder, Some(&after), usize::MAX).await.map_err(sink_error)?;
        found = entries.iter().filter_map(|e| log::number(&e.name)).collect();
        if log::newest(floor, found.iter().copied()).is_ok() {
            break;
        }
    }
    Ok(found)
}

pub(super) async fn read_record(store: &dyn Store, job: &str, n: u64) -> Result<Option<Record>, SinkError> {
    let name = format!("{}/{}", layout::log_folder(job), log::file_name(n));
    let Some(bytes) = store.get(&name).await.map_err(sink_error)? else { return Ok(None) };
    let place = format!("{}/{name}", store.place());
    let record: Record = log::decode(&place, &bytes)?;
    if record.n != n {
        return Err(SinkError::person(format!(
            "{place} says that it is record {}: restore it from a backup",
            record.n
        )));
    }
    Ok(Some(record))
}

fn missing(place: &str) -> SinkError {
    SinkError::person(format!("{place} is missing: without it the log cannot be trusted; restore it from a backup"))
}

/// True when the store knows that nothing happened: what was staged may be deleted.
pub(super) fn definite(error: &SinkError) -> bool {
    tidemill_engine::protocol::Answer::of_error(error.reaction).frees_staged()
}

/// What a store's error means to the run.
pub(super) fn reaction(fault: Fault) -> tidemill_engine::sink::Reaction {
    use tidemill_engine::sink::Reaction;
    match fault {
        Fault::Failed => Reaction::Retry,
        Fault::Unknown => Reaction::Unknown,
        Fault::Refused => Reaction::Person,
    }
}
