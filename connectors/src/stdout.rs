//! Rows as NDJSON on the standard output (or any writer): at least once.
//!
//! Lines cannot be taken back and positions cannot be written together with them, so a crash between the two
//! repeats a window. The job's file has to say `delivery = "at_least_once"`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Delivery, Receipt, Sink, SinkError, Staged, Staging};

use crate::files::ndjson::lines;
use crate::kept::KeptPositions;

/// Lines of a window that are held back until its commit; what is more is printed before.
const HELD_BACK: usize = 8 << 20;

/// Where lines go; jobs of a daemon share it.
pub type Lines = Arc<Mutex<dyn Write + Send>>;

/// Prints rows.
pub struct StdoutSink {
    out: Lines,
    positions: KeptPositions,
    windows: u64,
}

impl StdoutSink {
    /// What it guarantees.
    pub const DELIVERY: Delivery = Delivery::AtLeastOnce;

    /// Prints to the standard output.
    #[must_use]
    pub fn new(positions: KeptPositions) -> Self {
        Self::to(Arc::new(Mutex::new(io::stdout())), positions)
    }

    /// Prints to `out`.
    #[must_use]
    pub fn to(out: Lines, positions: KeptPositions) -> Self {
        Self { out, positions, windows: 0 }
    }
}

#[async_trait]
impl Sink for StdoutSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.positions.load()
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        Ok(Box::new(StdoutStaging { out: self.out.clone(), held: Vec::new(), rows: 0, bytes: 0 }))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        if let Some(found) = self.positions.refuses(ranges) {
            return Ok(Commit::Lost(found));
        }
        let (rows, bytes) = staged.as_ref().map_or((0, 0), |s| (s.rows, s.bytes));
        if let Some(staged) = staged {
            let held = *staged.payload.downcast::<Vec<u8>>().map_err(|_| SinkError::bug("a window of another sink"))?;
            print(&self.out, held).await?;
        }
        self.positions.advance(ranges)?;
        self.windows += 1;
        Ok(Commit::Landed(Receipt { rows, bytes, files: 0, id: self.windows.to_string() }))
    }
}

struct StdoutStaging {
    out: Lines,
    held: Vec<u8>,
    rows: u64,
    bytes: u64,
}

#[async_trait]
impl Staging for StdoutStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        let before = self.held.len();
        lines(&mut self.held).write(&rows).map_err(|e| SinkError::bug(format!("cannot write rows as JSON: {e}")))?;
        self.rows += rows.num_rows() as u64;
        self.bytes += (self.held.len() - before) as u64;
        if self.held.len() > HELD_BACK {
            print(&self.out, std::mem::take(&mut self.held)).await?;
        }
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        Ok(Staged { rows: self.rows, bytes: self.bytes, files: 0, payload: Box::new(self.held) })
    }
}

/// Prints whole lines off the async threads: a reader may be slow.
async fn print(out: &Lines, held: Vec<u8>) -> Result<(), SinkError> {
    if held.is_empty() {
        return Ok(());
    }
    let out = out.clone();
    let work = move || -> io::Result<()> {
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&held)?;
        out.flush()
    };
    let printed = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    printed.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => SinkError::person("nobody reads the standard output any more"),
        _ => SinkError::retry(format!("cannot write to the standard output: {e}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::partition::{OffsetRange, Position};
    use tidemill_engine::testkit::{plain_schema, rows};

    #[tokio::test]
    async fn lines_come_with_their_commit_and_positions_behind_them() {
        let out = Arc::new(Mutex::new(Vec::new()));
        let folder = tempfile::tempdir().unwrap();
        let kept = || KeptPositions::in_file(folder.path().join("p.json"));
        let p = Partition::new("t", 0);
        let of = |start, end| -> OffsetRanges { [(p.clone(), OffsetRange::new(start, end))].into_iter().collect() };
        let mut sink = StdoutSink::to(out.clone(), kept());
        assert!(sink.recover(&[]).await.unwrap().is_empty());
        let anchor = [(p.clone(), OffsetRange::anchor(Position::at(0)))].into_iter().collect();
        assert!(matches!(sink.commit(None, &anchor).await, Ok(Commit::Landed(_))));

        let mut staging = sink.open().await.unwrap();
        staging.write(rows(&plain_schema(), "t", 0, 0..3)).await.unwrap();
        let staged = staging.seal().await.unwrap();
        assert!(out.lock().unwrap().is_empty(), "held back until the commit");
        assert!(matches!(sink.commit(Some(staged), &of(0, 3)).await, Ok(Commit::Landed(r)) if r.rows == 3));
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        let offsets: Vec<i64> = text
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["_offset"].as_i64().unwrap())
            .collect();
        assert_eq!(offsets, [0, 1, 2]);
        assert!(text.lines().nth(2).unwrap().contains(r#""payload":null"#), "nulls are written out: {text}");

        assert!(matches!(sink.commit(None, &of(0, 9)).await, Ok(Commit::Lost(_))));
        let mut next = StdoutSink::to(out, kept());
        assert_eq!(next.recover(&[]).await.unwrap().offset(&p), Some(3));
    }
}
