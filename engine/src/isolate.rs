//! Rows that the sink refuses: finding the record that is at fault.
//!
//! A sink refuses a window as a whole, and a row says no longer which record it came of. So the run is given up and
//! read again *carefully*: every chunk is a window of its own, and a chunk that is refused is committed in halves, down
//! to the single record, which then goes the way of all refused records (`on_error`). Halves are windows as good as any
//! others: nothing depends on where a window is cut.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chunk::{Chunk, OwnedRecord, Record};
use crate::decode::{DecodeStage, DecodedChunk};
use crate::format::{Reject, Stage};
use crate::intake::ClosedWindow;
use crate::metrics::REFUSED_BY_SINK;
use crate::pipeline::{Cut, Pipeline, land};
use crate::run::RunError;
use crate::window::Facts;

/// A part of a window on its way: what it holds, and how far it moves positions.
struct Piece {
    decoded: DecodedChunk,
    cut: Cut,
}

impl Pipeline {
    /// Ends the open window of a careful run, in as many commits as it takes.
    pub(crate) async fn cut_carefully(&mut self, chunks: Vec<DecodedChunk>, cut: Cut) -> Result<(), RunError> {
        // Each piece ends where its records end; only the last one knows of the holes behind.
        let last = chunks.len().saturating_sub(1);
        let mut pieces: Vec<Piece> = Vec::new();
        for (i, decoded) in chunks.into_iter().enumerate() {
            let cut = if i == last { cut.clone() } else { part(&cut, &decoded.chunk) };
            pieces.push(Piece { decoded, cut });
        }
        pieces.reverse();
        while let Some(mut piece) = pieces.pop() {
            let refused = match self.try_piece(&mut piece).await {
                Ok(()) => {
                    self.recycle(piece.decoded.chunk);
                    continue;
                }
                Err(error) if error.is_bad_row() => error,
                Err(error) => return Err(error),
            };
            self.give_up();
            let chunk = &piece.decoded.chunk;
            match chunk.len() {
                0 => return Err(refused),
                1 => self.pass_over(chunk.record(0).to_owned_record(), &refused, &piece.cut).await?,
                n => {
                    let stage = &self.parts.stage.clone();
                    let head = decoded(stage, chunk, 0..n / 2, &piece.cut, false).await?;
                    let tail = decoded(stage, chunk, n / 2..n, &piece.cut, true).await?;
                    pieces.extend([tail, head]);
                }
            }
        }
        self.parts.done.fetch_add(1, Ordering::Release);
        Ok(())
    }

    async fn try_piece(&mut self, piece: &mut Piece) -> Result<(), RunError> {
        self.feed(&mut piece.decoded).await?;
        self.finish_windows().await?;
        self.land_here(&piece.cut).await
    }

    /// Commits what is staged, and nothing beside it.
    async fn land_here(&mut self, cut: &Cut) -> Result<(), RunError> {
        let Some((mut sink, mut dead)) = self.sinks.take() else { return Err(RunError::bug("the sink is away")) };
        let staging = if std::mem::take(&mut self.rows) > 0 { self.staging.take() } else { None };
        let dead_part = (self.dead_staging.take(), std::mem::take(&mut self.dead_rows));
        let (partitions, progress) = (self.parts.partitions.clone(), self.parts.progress.clone());
        let landed = land(&mut sink, staging, dead.as_mut(), dead_part, &partitions, &cut.window.ends, &progress).await;
        // The dead letters of a window that is refused after them are in their sink.
        self.dead_floor = dead.as_ref().map(|dead| dead.held.clone());
        if let Ok(receipt) = &landed {
            self.publish(cut, receipt, &sink.held);
        }
        self.sinks = Some((sink, dead));
        landed.map(drop)
    }

    /// Drops what is staged.
    fn give_up(&mut self) {
        (self.staging, self.rows) = (None, 0);
        (self.dead_staging, self.dead_rows) = (None, 0);
        self.windows = None;
    }

    /// The culprit: refused as the job says, and its position moves without it.
    async fn pass_over(&mut self, record: OwnedRecord, refused: &RunError, cut: &Cut) -> Result<(), RunError> {
        let error = match refused {
            RunError::Part { message, .. } => message.clone(),
            other => other.to_string(),
        };
        self.reject(vec![Reject { record, stage: Stage::Sink, cause: REFUSED_BY_SINK, error }]).await?;
        self.land_here(cut).await
    }
}

/// Records of a chunk as a chunk of their own, decoded. `last`: it ends where the whole ends.
async fn decoded(
    stage: &Arc<DecodeStage>,
    of: &Chunk,
    records: Range<usize>,
    cut: &Cut,
    last: bool,
) -> Result<Piece, RunError> {
    let mut chunk = Chunk::new(of.partitions().clone(), 0);
    for i in records {
        let r = of.record(i);
        chunk.push(r.slot, r.offset, r.timestamp_ms, r.value, r.key, r.headers());
    }
    chunk.seal();
    let mut here = part(cut, &chunk);
    if last {
        here.window.ends.clone_from(&cut.window.ends);
    }
    let stage = stage.clone();
    let decoded = tokio::task::spawn_blocking(move || stage.work(chunk))
        .await
        .map_err(|e| RunError::bug(format!("a decode worker panicked: {e}")))?;
    Ok(Piece { decoded, cut: here })
}

/// The cut of a window that ends with these records.
fn part(cut: &Cut, chunk: &Chunk) -> Cut {
    let slots = chunk.partitions().len();
    let mut window = ClosedWindow {
        facts: Facts { rows: chunk.len() as u64, bytes: chunk.bytes() as u64, ..cut.window.facts },
        // Below every position: a partition that has no record here does not move.
        ends: vec![i64::MIN; slots],
        oldest_ms: i64::MAX,
        newest_ms: vec![i64::MIN; slots],
    };
    for record in chunk.iter() {
        let Record { slot, offset, timestamp_ms, .. } = record;
        window.ends[slot as usize] = offset + 1;
        if let Some(ms) = timestamp_ms {
            window.oldest_ms = window.oldest_ms.min(ms);
            window.newest_ms[slot as usize] = ms;
        }
    }
    Cut { cause: cut.cause, at: cut.at, window, counted: false }
}
