//! The files' log, as data: what a record says, what it follows from, what to do about one that is in the way.
//!
//! `_tidemill/<job>/log/<n>.json` is the truth about a job: each record holds the full positions, so the newest
//! one alone answers where to go on. Only the newest can be incomplete, because *n + 1* is put after *n*'s files
//! have their final names. Nothing here does I/O.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemill_engine::partition::{OffsetRanges, Positions};
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use super::store::Move;

/// The version of every durable form here.
pub const VERSION: u32 = 1;

/// Why a record was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A run began: earlier runs of this instance are shut out.
    Fence,
    /// A window landed.
    Commit,
    /// Positions moved without rows: an anchor, an empty window, a person's reset.
    Move,
}

/// Who put a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The daemon.
    pub instance: String,
    /// One life of the sink within it.
    pub run: Uuid,
}

/// A file of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name while it was staged.
    pub staged: String,
    /// Its final name, relative to the folder.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl DataFile {
    /// Its way to its final name.
    #[must_use]
    pub fn step(&self) -> Move {
        Move { staged: self.staged.clone(), path: self.path.clone() }
    }
}

/// One record of the log. Record 1 is the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`] of its form.
    pub v: u32,
    /// Its number, as in its name.
    pub n: u64,
    /// Why it was put.
    pub cause: Cause,
    /// Names this commit: a writer tells its own record by it.
    pub token: Uuid,
    /// Who put it.
    pub writer: Writer,
    /// When, by the writer's clock: for people only.
    pub at_ms: i64,
    /// What moved.
    pub ranges: OffsetRanges,
    /// Positions of *all* partitions of the job after it.
    pub positions: Positions,
    /// The files it makes visible.
    pub files: Vec<DataFile>,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// A summary of everything before record `floor`: records below it are ignored and may be gone.
/// Record `floor` itself is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`VERSION`] of its form.
    pub v: u32,
    /// The first record that counts.
    pub floor: u64,
    /// Positions before record `floor`.
    pub positions: Positions,
    /// When, by the writer's clock.
    pub at_ms: i64,
}

/// `sink.json`: what tells this very folder from another one at the same path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// [`VERSION`] of its form.
    pub v: u32,
    /// Made once, with the folder.
    pub sink_id: Uuid,
    /// The job.
    pub job: String,
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// Reads a durable form. A newer version is refused by name; anything unreadable needs a person.
pub fn decode<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, SinkError> {
    let broken = |e: serde_json::Error| {
        SinkError::person(format!("{name} is not a record of tidemill ({e}): restore it from a backup"))
    };
    let Versioned { v } = serde_json::from_slice(bytes).map_err(broken)?;
    if v > VERSION {
        return Err(SinkError::person(format!(
            "{name} has form v{v}, written by a newer tidemill; this one knows up to v{VERSION}: run the newer version"
        )));
    }
    serde_json::from_slice(bytes).map_err(broken)
}

/// The bytes of a durable form.
pub fn encode<T: Serialize>(form: &T) -> Result<bytes::Bytes, SinkError> {
    serde_json::to_vec(form).map(Into::into).map_err(|e| SinkError::bug(format!("cannot write a log record: {e}")))
}

/// The file name of number `n` in `log/` and `checkpoint/`.
#[must_use]
pub fn file_name(n: u64) -> String {
    format!("{n:020}.json")
}

/// The number in a file name; `None` for a file that is not ours.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The newest number of a listing that has to run without a gap from `floor`. `Ok(None)`: it is empty.
/// `Err`: the number that is missing.
pub fn newest(floor: u64, numbers: impl IntoIterator<Item = u64>) -> Result<Option<u64>, u64> {
    let mut last = None;
    for n in numbers {
        let expected = last.map_or(floor, |last| last + 1);
        if n != expected {
            return Err(expected);
        }
        last = Some(n);
    }
    Ok(last)
}

/// The newest known state of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of the newest record; 0 for an empty log.
    pub n: u64,
    /// Positions after it.
    pub positions: Positions,
}

impl Head {
    /// The state after `record`.
    #[must_use]
    pub fn after(record: &Record) -> Self {
        Self { n: record.n, positions: record.positions.clone() }
    }
}

/// What the record that took our number means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is ours: an earlier attempt landed.
    Ours,
    /// A later run of this instance has begun: we are its past.
    Fenced,
    /// Somebody else's: look again at what we want, after it.
    Theirs,
}

/// Judges the record that has the number we wanted.
#[must_use]
pub fn judge(found: &Record, token: Uuid, writer: &Writer) -> Found {
    if found.token == token {
        Found::Ours
    } else if found.cause == Cause::Fence && found.writer.instance == writer.instance && found.writer.run != writer.run
    {
        Found::Fenced
    } else {
        Found::Theirs
    }
}

/// Replays a log and checks it: numbers without a gap, every range continuing from the positions before it, every
/// record's positions being those before it moved by its ranges. Answers the newest state, or says which record is
/// wrong and how.
pub fn fold<'a>(
    checkpoint: Option<&Checkpoint>,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Head, String> {
    let mut head = checkpoint.map_or_else(Head::default, |c| Head { n: c.floor - 1, positions: c.positions.clone() });
    for record in records {
        if record.n != head.n + 1 {
            return Err(format!("log record {} is missing, record {} follows", head.n + 1, record.n));
        }
        if !record.ranges.continue_from(&head.positions) {
            return Err(format!("log record {} does not continue from the positions before it", record.n));
        }
        record.ranges.apply_to(&mut head.positions);
        if record.positions != head.positions {
            return Err(format!("log record {} has other positions than its ranges lead to", record.n));
        }
        head.n = record.n;
    }
    Ok(head)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
