//! The Delta sink: rows as data files of our own writer, positions as application transactions, both in one commit.
//!
//! Reading order: `names` and `actions` (the log as it is written) → `app_id` (a position as an application id) →
//! `state` (what a log says at a version: a pure fold) → `reader` (the newest state, history) → `protocol` and `schema`
//! (tables that are refused, and how rows fit) → `add` with `stats` (a data file as an action) → `sink` (recover, commit)
//! → `checkpoint`.
//!
//! **The compare.** Version *n + 1* can be created once, and is put only by a writer that has read version *n*: so the
//! positions that a commit was compared with are those of the very version it follows. A writer that finds the version
//! taken reads it and compares again.

mod actions;
mod add;
mod app_id;
mod checkpoint;
mod names;
mod parts;
mod place;
mod protocol;
mod reader;
mod schema;
mod sink;
mod state;
mod stats;

use tidemill_engine::history::History;
use tidemill_engine::partition::Positions;
use tidemill_engine::sink::SinkError;

pub use self::place::DeltaPlace;
pub use self::schema::SchemaEvolution;
pub use self::sink::{DeltaOptions, DeltaSink, check};

/// The positions that `job` holds in the table; empty where there is no table. Changes nothing.
///
/// # Errors
/// When the log cannot be read.
pub async fn read_positions(place: &DeltaPlace, job: &str) -> Result<Positions, SinkError> {
    let reader = reader::Reader { place: place.clone(), job: job.to_owned() };
    Ok(reader.newest().await?.map(|state| state.positions()).unwrap_or_default())
}

/// The commits of `job` that the table's log still has, oldest first, and the positions held now. Changes nothing.
///
/// # Errors
/// When the log cannot be read.
pub async fn history(place: &DeltaPlace, job: &str) -> Result<History, SinkError> {
    reader::Reader { place: place.clone(), job: job.to_owned() }.history().await
}
