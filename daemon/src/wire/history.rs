//! What a sink remembers of its commits.

use tidemill_config as config;
use tidemill_connectors::files;
use tidemill_engine::clock::Clock;
use tidemill_engine::dead_letter;
use tidemill_engine::history::History;
use tidemill_engine::sink::SinkError;

use super::sink::{self, Role};
use crate::plan::PlannedJob;

/// What there is to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Commits with offset ranges.
    Commits(History),
    /// Offsets prove nothing here, and why.
    NotProvable(&'static str),
}

/// Asks a sink of `job` for its commits, without changing anything. Called within a runtime.
///
/// # Errors
/// When it cannot be read, or is broken in a way that offsets do not show.
pub async fn of(settings: &config::Sink, job: &PlannedJob, role: Role) -> Result<Remembered, SinkError> {
    let schema = match role {
        Role::Main => job.schema.clone(),
        Role::DeadLetter => dead_letter::schema(),
    };
    // One line for each kind of sink.
    match settings {
        config::Sink::Parquet(_) | config::Sink::Ndjson(_) => {
            let clock = Clock::system();
            match sink::files(settings, &job.storages, &job.name, "verify", &schema, 1 << 20, &clock)? {
                Some(options) => files::history(&*options.store, &job.name).await.map(Remembered::Commits),
                None => Err(SinkError::bug("a files sink without a place")),
            }
        }
        #[cfg(feature = "delta")]
        config::Sink::Delta(delta) => {
            let place = super::delta::place(delta, &job.storages)?;
            tidemill_delta::history(&place, &job.name).await.map(Remembered::Commits)
        }
        #[cfg(not(feature = "delta"))]
        config::Sink::Delta(_) => Err(SinkError::person(sink::left_out("delta"))),
        #[cfg(feature = "iceberg")]
        config::Sink::Iceberg(iceberg) => {
            let clock = Clock::system();
            let options =
                super::iceberg::options(iceberg, &job.storages, &job.name, "verify", &schema, 1 << 20, &clock);
            tidemill_iceberg::history(&options).await.map(Remembered::Commits)
        }
        #[cfg(not(feature = "iceberg"))]
        config::Sink::Iceberg(_) => Err(SinkError::person(sink::left_out("iceberg"))),
        config::Sink::Postgres(postgres) => {
            super::postgres::history(postgres, &job.name, &schema).await.map(Remembered::Commits)
        }
        config::Sink::Kafka(_) => Ok(Remembered::NotProvable(
            "a consumer group keeps its newest positions only; what is in the topic was committed with them",
        )),
        config::Sink::Stdout(_) => {
            Ok(Remembered::NotProvable("standard output remembers nothing, it is at least once"))
        }
        config::Sink::Blackhole(_) => Ok(Remembered::NotProvable("a black hole keeps nothing")),
    }
}
