//! Slow commits for tests and measurements, in debug builds only: `TIDEMILL_TEST_COMMIT_SECONDS` is a number of seconds,
//! or `@FILE` with the number in a file, which is read at each commit.

use std::time::Duration;

use async_trait::async_trait;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Sink, SinkError, Staged, Staging};

use super::sink::Role;

const VARIABLE: &str = "TIDEMILL_TEST_COMMIT_SECONDS";

/// The sink, or one that takes its time over commits, if this is a debug build that is told so.
#[must_use]
pub fn wrap(role: Role, sink: Box<dyn Sink>) -> Box<dyn Sink> {
    match std::env::var(VARIABLE) {
        Ok(told) if cfg!(debug_assertions) && role == Role::Main && !told.is_empty() => {
            // Whoever measures looks for this line: a release build slows nothing and does not say it.
            tracing::warn!(told, "commits are slowed down, for a test");
            Box::new(Slow { sink, told })
        }
        _ => sink,
    }
}

struct Slow {
    sink: Box<dyn Sink>,
    told: String,
}

async fn wait(told: &str) {
    let text = match told.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).unwrap_or_default(),
        None => told.to_owned(),
    };
    let seconds = text.trim().parse().unwrap_or(0.0);
    if seconds > 0.0 {
        // A test knows by this line that it has begun.
        tracing::warn!(seconds, "a commit is held, for a test");
    }
    tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
}

#[async_trait]
impl Sink for Slow {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.sink.recover(partitions).await
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        self.sink.open().await
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        if staged.is_some() {
            wait(&self.told).await;
        }
        self.sink.commit(staged, ranges).await
    }

    fn commits_are_cheap(&self) -> bool {
        self.sink.commits_are_cheap()
    }

    fn identity(&self) -> Option<String> {
        self.sink.identity()
    }
}
