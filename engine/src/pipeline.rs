//! The asynchronous half of a run: chunks and cuts come in, commits come out, everything in order.
//!
//! Decoding runs ahead on worker threads, a few chunks deep. Rows are written to the sink while their window is
//! still filling; at the cut only the tail is left. While window *n* commits, *n+1* is staged; at most one commit is
//! in flight, and if it does not land, what was staged behind it is dropped with the pipeline.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chunk::Chunk;
use crate::clock::Clock;
use crate::dead_letter;
use crate::decode::{DecodeStage, DecodedChunk};
use crate::failpoint;
use crate::format::{Reject, Stage};
use crate::held_back::HeldBack;
use crate::intake::ClosedWindow;
use crate::job::OnError;
use crate::operator::{OpenWindow, OperatorError, WindowOperator};
use crate::partition::{Partition, Positions};
use crate::progress::{LandedWindow, Progress};
use crate::protocol::{self, Answer, Target};
use crate::rejects::RejectCount;
use crate::run::{self, RunError};
use crate::sink::{Commit, Reaction, Receipt, Sink, SinkError, Staged, Staging};
use crate::tuning::{Spent, Stamps, Tuning, Visible};
use crate::window::Cause;
use crate::window_error;

/// What the intake sends.
pub(crate) enum Item {
    Chunk(Chunk),
    Cut(Cut),
}

/// The in-band mark of a window's end.
#[derive(Clone)]
pub(crate) struct Cut {
    pub cause: Cause,
    pub at: Duration,
    pub window: ClosedWindow,
    /// It was held back, and the intake knows that it waits for nothing.
    pub counted: bool,
}

/// A sink with the positions it is known to hold.
pub(crate) struct HeldSink {
    pub sink: Box<dyn Sink>,
    pub held: Positions,
}

/// What a pipeline needs; shared with the job where it outlives a run.
pub(crate) struct PipelineParts {
    pub partitions: Arc<[Partition]>,
    pub stage: Arc<DecodeStage>,
    pub windows: Vec<Arc<dyn WindowOperator>>,
    pub sink: HeldSink,
    pub dead: Option<HeldSink>,
    pub on_error: OnError,
    pub rejects: Arc<Mutex<RejectCount>>,
    pub former: Arc<Mutex<Vec<Chunk>>>,
    /// Chunks that may be decoded ahead of the writer.
    pub depth: usize,
    pub progress: Arc<Progress>,
    pub tuning: Option<Arc<Tuning>>,
    /// Windows of this run that landed.
    pub done: Arc<AtomicU64>,
    pub clock: Clock,
    /// The sink refused rows: every chunk is a window, and the culprit is looked for.
    pub careful: bool,
    /// The job is to end at once: a commit in flight is given up.
    pub stop_now: CancellationToken,
}

/// What a sealed window's commit came to.
struct Done {
    sink: HeldSink,
    dead: Option<HeldSink>,
    cut: Cut,
    receipt: Receipt,
    spent: Spent,
    stamps: Stamps,
}

enum Pending {
    Decoded(Box<(DecodedChunk, Duration)>),
    Decoding(JoinHandle<(DecodedChunk, Duration)>),
    Cut(Cut),
}

pub(crate) struct Pipeline {
    pub(crate) parts: PipelineShared,
    /// Where rows of the open window go, and whether any went.
    pub(crate) staging: Option<Box<dyn Staging>>,
    pub(crate) rows: u64,
    pub(crate) dead_staging: Option<Box<dyn Staging>>,
    pub(crate) dead_rows: u64,
    /// Rejects below these positions are in the dead letters already.
    pub(crate) dead_floor: Option<Positions>,
    pub(crate) windows: Option<Vec<Box<dyn OpenWindow>>>,
    pub(crate) sinks: Option<(HeldSink, Option<HeldSink>)>,
    committing: Option<JoinHandle<Result<Done, RunError>>>,
    /// Windows without rows that wait. Never beside a commit in flight, which covers them.
    held_back: Option<HeldBack>,
    /// Where the open window begins, by slot.
    window_from: Vec<i64>,
    /// What the open window took so far, and a sample of its records' timestamps.
    spent: Spent,
    stamps: Stamps,
    /// When the last commit landed, and when the window before was cut.
    landed_at: Duration,
    cut_at: Option<Duration>,
}

pub(crate) struct PipelineShared {
    pub(crate) partitions: Arc<[Partition]>,
    pub(crate) stage: Arc<DecodeStage>,
    pub(crate) windows: Vec<Arc<dyn WindowOperator>>,
    pub(crate) on_error: OnError,
    pub(crate) rejects: Arc<Mutex<RejectCount>>,
    pub(crate) former: Arc<Mutex<Vec<Chunk>>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) tuning: Option<Arc<Tuning>>,
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) clock: Clock,
    pub(crate) stop_now: CancellationToken,
}

/// Runs until the intake's end of the queue is dropped and everything before is committed, or something fails.
pub(crate) async fn run(parts: PipelineParts, mut queue: mpsc::Receiver<Item>) -> Result<(), RunError> {
    let (depth, careful) = (parts.depth, parts.careful);
    let mut held = Vec::new();
    let begins = |p: &Partition| parts.sink.held.offset(p).unwrap_or_default();
    let mut pipeline = Pipeline {
        window_from: parts.partitions.iter().map(begins).collect(),
        dead_floor: parts.dead.as_ref().map(|d| d.held.clone()),
        sinks: Some((parts.sink, parts.dead)),
        staging: None,
        rows: 0,
        dead_staging: None,
        dead_rows: 0,
        windows: None,
        committing: None,
        held_back: None,
        spent: Spent::default(),
        stamps: Stamps::default(),
        landed_at: Duration::ZERO,
        cut_at: None,
        parts: PipelineShared {
            partitions: parts.partitions,
            stage: parts.stage,
            windows: parts.windows,
            on_error: parts.on_error,
            rejects: parts.rejects,
            former: parts.former,
            progress: parts.progress,
            tuning: parts.tuning,
            done: parts.done,
            clock: parts.clock,
            stop_now: parts.stop_now,
        },
    };
    let mut ahead: VecDeque<Pending> = VecDeque::new();
    let mut open = true;
    let mut chunk_memory = 0;
    while open || !ahead.is_empty() {
        let left = pipeline.held_back.as_ref().map(|held_back| held_back.left(pipeline.parts.clock.now()));
        tokio::select! {
            biased;
            item = queue.recv(), if open && ahead.len() < depth => match item {
                Some(Item::Chunk(chunk)) => {
                    chunk_memory += chunk.memory();
                    let (stage, clock) = (pipeline.parts.stage.clone(), pipeline.parts.clock.clone());
                    let at_once = stage.is_quick_on(&chunk);
                    let work = move || {
                        let begun = clock.now();
                        let decoded = stage.work(chunk);
                        (decoded, clock.now().saturating_sub(begun))
                    };
                    ahead.push_back(match at_once {
                        true => Pending::Decoded(Box::new(work())),
                        false => Pending::Decoding(tokio::task::spawn_blocking(work)),
                    });
                }
                Some(Item::Cut(cut)) => ahead.push_back(Pending::Cut(cut)),
                None => open = false,
            },
            done = landed(&mut pipeline.committing) => pipeline.settle(done)?,
            () = due(left) => pipeline.release()?,
            next = ready(&mut ahead) => match next? {
                Ready::Rows(decoded, took) => {
                    pipeline.spent.decode += took;
                    chunk_memory -= decoded.chunk.memory();
                    if careful {
                        held.push(decoded);
                    } else {
                        pipeline.take(decoded).await?;
                    }
                }
                Ready::Cut(cut) if careful => pipeline.cut_carefully(std::mem::take(&mut held), cut).await?,
                Ready::Cut(cut) => pipeline.cut(cut).await?,
            },
        }
        #[allow(clippy::cast_precision_loss)] // gauges are floats
        {
            let metrics = &pipeline.parts.progress.metrics;
            metrics.queue_chunks.set((ahead.len() + queue.len()) as f64);
            metrics.chunk_memory.set(chunk_memory as f64);
        }
    }
    pipeline.settle_commit().await?;
    pipeline.release()?;
    pipeline.settle_commit().await
}

/// Waits until what is held back has to be committed; for ever when nothing is.
async fn due(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

enum Ready {
    Rows(DecodedChunk, Duration),
    Cut(Cut),
}

/// Waits for the front of the queue; for ever when it is empty.
async fn ready(ahead: &mut VecDeque<Pending>) -> Result<Ready, RunError> {
    if let Some(Pending::Decoding(handle)) = ahead.front_mut() {
        let (decoded, took) = handle.await.map_err(|e| RunError::bug(format!("a decode worker panicked: {e}")))?;
        ahead.pop_front();
        return Ok(Ready::Rows(decoded, took));
    }
    match ahead.pop_front() {
        Some(Pending::Cut(cut)) => Ok(Ready::Cut(cut)),
        Some(Pending::Decoded(decoded)) => Ok(Ready::Rows(decoded.0, decoded.1)),
        _ => std::future::pending().await,
    }
}

/// Waits for the commit in flight; for ever when there is none.
async fn landed(committing: &mut Option<JoinHandle<Result<Done, RunError>>>) -> Result<Done, RunError> {
    match committing {
        Some(handle) => {
            let done = handle.await;
            *committing = None;
            done.map_err(|e| RunError::bug(format!("a commit panicked: {e}")))?
        }
        None => std::future::pending().await,
    }
}

impl Pipeline {
    /// Rows and rejects of one chunk, in order.
    async fn take(&mut self, mut decoded: DecodedChunk) -> Result<(), RunError> {
        self.feed(&mut decoded).await?;
        self.recycle(decoded.chunk);
        Ok(())
    }

    /// As [`take`](Pipeline::take), and the chunk stays as it is.
    pub(crate) async fn feed(&mut self, decoded: &mut DecodedChunk) -> Result<(), RunError> {
        let metrics = &self.parts.progress.metrics;
        metrics.decoded_rows.increment(decoded.decoded_rows as u64);
        metrics.tombstones.increment(decoded.tombstones_skipped);
        if self.parts.tuning.is_some() {
            self.stamps.sample(&decoded.chunk);
        }
        if !decoded.rejects.is_empty() {
            self.reject(std::mem::take(&mut decoded.rejects)).await?;
        }
        let empty = RecordBatch::new_empty(decoded.rows.schema());
        let rows = std::mem::replace(&mut decoded.rows, empty);
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.parts.windows.is_empty() {
            return self.write(rows).await;
        }
        let windows = self.windows.get_or_insert_with(|| self.parts.windows.iter().map(|op| op.open()).collect());
        let begun = self.parts.clock.now();
        let pushed = windows[0].push(rows).await;
        self.spent.operators += self.parts.clock.now().saturating_sub(begun);
        pushed.map_err(|e| self.refused_rows(e))
    }

    /// The memory of a chunk that is done with serves the next.
    pub(crate) fn recycle(&self, chunk: Chunk) {
        let mut former = self.parts.former.lock().unwrap_or_else(PoisonError::into_inner);
        if former.len() < 4 {
            former.push(chunk);
        }
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), RunError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.open_staging().await?;
        let Some(staging) = self.staging.as_mut() else { return Err(RunError::bug("no staging is open")) };
        self.rows += rows.num_rows() as u64;
        #[allow(clippy::cast_precision_loss)] // a gauge is a float
        self.parts.progress.metrics.row_memory.set(rows.get_array_memory_size() as f64);
        let begun = self.parts.clock.now();
        staging.write(rows).await?;
        self.spent.write += self.parts.clock.now().saturating_sub(begun);
        failpoint!("run.after_write");
        Ok(())
    }

    /// The sink is away while it commits; the next staging is opened before it leaves, or when it is back.
    async fn open_staging(&mut self) -> Result<(), RunError> {
        if self.staging.is_none() {
            self.settle_commit().await?;
            let Some((sink, _)) = self.sinks.as_mut() else { return Err(RunError::bug("the sink is away")) };
            self.staging = Some(sink.sink.open().await?);
        }
        Ok(())
    }

    pub(crate) async fn reject(&mut self, mut rejects: Vec<Reject>) -> Result<(), RunError> {
        // In the source's order, whoever refused them.
        rejects.sort_by(|a, b| (&a.record.partition, a.record.offset).cmp(&(&b.record.partition, b.record.offset)));
        let outcome = self.parts.on_error;
        let now = self.parts.clock.now();
        let (new, over) = self.parts.rejects.lock().unwrap_or_else(PoisonError::into_inner).count(&rejects, now);
        for r in &new {
            self.parts.progress.metrics.reject(r.stage, r.cause, outcome);
        }
        self.parts.progress.rejected(new.len() as u64);
        let first = &rejects[0];
        let place = format!("{} offset {}", first.record.partition, first.record.offset);
        if self.parts.on_error == OnError::Fail {
            return Err(RunError::person(format!(
                "{place}: {} refused the record: {}; mend or skip it (on_error = \"skip\" or \"dead_letter\")",
                first.stage.as_str(),
                first.error
            )));
        }
        if let Some(limit) = over {
            return Err(RunError::person(format!(
                "more than max_errors_per_minute = {limit} records were refused, the last at {place}: {}",
                first.error
            )));
        }
        tracing::debug!(count = rejects.len(), %place, error = first.error, "records refused");
        if let Some(floor) = &self.dead_floor {
            for r in rejects.iter().filter(|r| r.stage == Stage::Sink) {
                if !protocol::is_new(floor, &r.record.partition, r.record.offset) {
                    // Refused now, perhaps taken when the dead letters moved on: then it is in the source only.
                    tracing::warn!(partition = %r.record.partition, offset = r.record.offset, error = r.error,
                        "the sink refused a record that lies behind the dead letters' position already");
                }
            }
            rejects.retain(|r| protocol::is_new(floor, &r.record.partition, r.record.offset));
            if !rejects.is_empty() {
                if self.dead_staging.is_none() {
                    self.settle_commit().await?;
                    let Some((_, Some(dead))) = self.sinks.as_mut() else {
                        return Err(RunError::bug("the dead-letter sink is away"));
                    };
                    self.dead_staging = Some(dead.sink.open().await.map_err(dead_letter_error)?);
                }
                let Some(staging) = self.dead_staging.as_mut() else {
                    return Err(RunError::bug("no dead-letter staging is open"));
                };
                self.dead_rows += rejects.len() as u64;
                let rows = dead_letter::rows(&rejects, self.parts.clock.wall_ms());
                staging.write(rows).await.map_err(dead_letter_error)?;
            }
        }
        Ok(())
    }

    /// Ends the open window: its last rows are written, and its commit begins once the one before has landed.
    async fn cut(&mut self, cut: Cut) -> Result<(), RunError> {
        let (begun, written) = (self.parts.clock.now(), self.spent.write);
        let finished = self.finish_windows().await;
        let took = self.parts.clock.now().saturating_sub(begun);
        self.spent.operators += took.saturating_sub(self.spent.write - written);
        let ends = Some(cut.window.ends.as_slice());
        finished.map_err(|e| window_error::within(e, &self.parts.partitions, &self.window_from, ends))?;
        self.window_from.clone_from(&cut.window.ends);
        let facts = &cut.window.facts;
        self.parts.progress.demand.worked(facts.rows, facts.bytes, &self.spent);
        self.settle_commit().await?;
        let cut = match self.hold_back(cut)? {
            Some(cut) => cut,
            None => return Ok(()),
        };
        let Some((mut sink, dead)) = self.sinks.take() else { return Err(RunError::bug("the sink is away")) };
        let dead_staging = self.dead_staging.take();
        let dead_rows = std::mem::take(&mut self.dead_rows);
        let staging = if std::mem::take(&mut self.rows) > 0 {
            // The next window's rows need a place while this one commits.
            let next = sink.sink.open().await?;
            self.staging.replace(next)
        } else {
            None // nothing was written: the positions move alone, and an open staging serves the next window
        };
        self.begin_commit(sink, staging, dead, dead_staging, dead_rows, cut);
        Ok(())
    }

    fn begin_commit(
        &mut self,
        sink: HeldSink,
        staging: Option<Box<dyn Staging>>,
        dead: Option<HeldSink>,
        dead_staging: Option<Box<dyn Staging>>,
        dead_rows: u64,
        cut: Cut,
    ) {
        let partitions = self.parts.partitions.clone();
        let (progress, clock) = (self.parts.progress.clone(), self.parts.clock.clone());
        let (mut spent, stamps) = (std::mem::take(&mut self.spent), std::mem::take(&mut self.stamps));
        let stop_now = self.parts.stop_now.clone();
        self.committing = Some(tokio::spawn(async move {
            let begun = clock.now();
            // One that hangs would keep its turn from the whole group. It is left unknown, as by a crash.
            let done = tokio::select! {
                done = commit(sink, staging, dead, dead_staging, dead_rows, partitions, cut, progress) => done?,
                () = stop_now.cancelled() => return Err(run::stopped_at_once()),
            };
            spent.commit = clock.now().saturating_sub(begun);
            Ok(Done { spent, stamps, ..done })
        }));
    }

    /// A window without rows waits for the next one, where a commit is costly. Else what is to be committed: `cut`, with
    /// what waited.
    fn hold_back(&mut self, cut: Cut) -> Result<Option<Cut>, RunError> {
        let Some((sink, _)) = &self.sinks else { return Err(RunError::bug("the sink is away")) };
        let has_rows = self.rows > 0 || self.dead_staging.is_some() || sink.sink.commits_are_cheap();
        let mut joined = HeldBack::join(self.held_back.take(), cut);
        if !joined.waits(has_rows, self.parts.clock.now()) {
            return Ok(Some(joined.release(None)));
        }
        let passed = joined.passed(&sink.held, &self.parts.partitions);
        let (newest, span) = times(&self.parts.partitions, &joined.cut().window);
        self.parts.progress.window_held_back(&passed, span, &newest);
        joined.published();
        self.held_back = Some(joined);
        (self.spent, self.stamps) = (Spent::default(), Stamps::default());
        self.parts.done.fetch_add(1, Ordering::Release);
        Ok(None)
    }

    /// Commits what is held back. There is no commit in flight.
    fn release(&mut self) -> Result<(), RunError> {
        let Some(held_back) = self.held_back.take() else { return Ok(()) };
        let Some((sink, dead)) = self.sinks.take() else { return Err(RunError::bug("the sink is away")) };
        let cut = held_back.release(Some(self.parts.clock.now()));
        self.begin_commit(sink, None, dead, None, 0, cut);
        Ok(())
    }

    pub(crate) async fn finish_windows(&mut self) -> Result<(), RunError> {
        let Some(windows) = self.windows.take() else { return Ok(()) };
        let operators = self.parts.windows.clone();
        let mut windows = windows.into_iter().zip(operators.iter()).peekable();
        while let Some((window, operator)) = windows.next() {
            let mut rows = window.finish();
            while let Some(batch) = rows.next().await {
                let batch = batch.map_err(|e| window_error::refused(operator.as_ref(), e))?;
                match windows.peek_mut() {
                    Some((next, operator)) => {
                        next.push(batch).await.map_err(|e| window_error::refused(operator.as_ref(), e))?;
                    }
                    None => self.write(batch).await?,
                }
            }
        }
        Ok(())
    }

    /// An error of the first window operator while the window fills.
    fn refused_rows(&self, error: OperatorError) -> RunError {
        let refused = window_error::refused(self.parts.windows[0].as_ref(), error);
        window_error::within(refused, &self.parts.partitions, &self.window_from, None)
    }

    async fn settle_commit(&mut self) -> Result<(), RunError> {
        if self.committing.is_some() {
            let done = landed(&mut self.committing).await;
            self.settle(done)?;
        }
        Ok(())
    }

    fn settle(&mut self, done: Result<Done, RunError>) -> Result<(), RunError> {
        let done = done?;
        self.publish(&done.cut, &done.receipt, &done.sink.held);
        let now = self.parts.clock.now();
        // A commit that only moves positions says nothing about windows.
        if let Some(tuning) = self.parts.tuning.as_ref().filter(|_| done.receipt.rows > 0) {
            tuning.landed(&Visible {
                facts: &done.cut.window.facts,
                cut_at: done.cut.at,
                cut_before: self.cut_at,
                begun_at: done.cut.at.max(self.landed_at),
                spent: &done.spent,
                stamps: &done.stamps,
            });
        }
        let facts = &done.cut.window.facts;
        self.parts.progress.demand.landed(now, self.landed_at, facts.rows, facts.bytes, done.spent.commit);
        (self.landed_at, self.cut_at) = (now, Some(done.cut.at));
        // A window that was held back has been counted.
        self.parts.done.fetch_add(u64::from(!done.cut.counted), Ordering::Release);
        self.sinks = Some((done.sink, done.dead));
        Ok(())
    }

    /// Tells whoever watches of a window that landed.
    pub(crate) fn publish(&self, cut: &Cut, receipt: &Receipt, held: &Positions) {
        let (newest, span) = times(&self.parts.partitions, &cut.window);
        self.parts.progress.window_landed(&LandedWindow {
            cause: cut.cause,
            records: cut.window.facts.rows,
            receipt,
            cut_at: cut.at,
            span_ms: span,
            newest_ms: &newest,
            positions: held,
        });
    }
}

type Times = (Vec<(Partition, i64)>, Option<(i64, i64)>);

/// Broker timestamps of a window: the newest by partition, and the oldest and newest of all.
fn times(partitions: &[Partition], window: &ClosedWindow) -> Times {
    let newest: Vec<_> = partitions
        .iter()
        .zip(&window.newest_ms)
        .filter(|(_, ms)| **ms != i64::MIN)
        .map(|(p, ms)| (p.clone(), *ms))
        .collect();
    let span = newest.iter().map(|(_, ms)| *ms).max().map(|newest| (window.oldest_ms, newest));
    (newest, span)
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // A commit in flight is left alone: it lands or it does not, and `recover` will say.
        if self.committing.is_some() {
            self.parts.progress.metrics.commit(Answer::Unknown);
        }
    }
}

#[allow(clippy::too_many_arguments)]
async fn commit(
    mut sink: HeldSink,
    staging: Option<Box<dyn Staging>>,
    mut dead: Option<HeldSink>,
    dead_staging: Option<Box<dyn Staging>>,
    dead_rows: u64,
    partitions: Arc<[Partition]>,
    cut: Cut,
    progress: Arc<Progress>,
) -> Result<Done, RunError> {
    let ends = &cut.window.ends;
    let dead_part = (dead_staging, dead_rows);
    let receipt = land(&mut sink, staging, dead.as_mut(), dead_part, &partitions, ends, &progress).await?;
    Ok(Done { sink, dead, cut, receipt, spent: Spent::default(), stamps: Stamps::default() })
}

/// Commits a window to both sinks, in the protocol's order.
pub(crate) async fn land(
    sink: &mut HeldSink,
    staging: Option<Box<dyn Staging>>,
    mut dead: Option<&mut HeldSink>,
    (mut dead_staging, dead_rows): (Option<Box<dyn Staging>>, u64),
    partitions: &[Partition],
    ends: &[i64],
    progress: &Progress,
) -> Result<Receipt, RunError> {
    // Sealed first: a row that the sink refuses becomes a dead letter too, and has to be known before those move on.
    let mut staged = seal(staging).await?;
    let mut receipt = Receipt::default();
    for target in protocol::COMMIT_ORDER {
        match target {
            Target::DeadLetters => {
                if let (Some(dead), Some(staging)) = (dead.as_mut(), dead_staging.take()) {
                    let of_dead = |e: RunError| e.of("dead_letter");
                    let staged = seal(Some(staging)).await.map_err(of_dead)?;
                    commit_to(dead, staged, partitions, ends, progress).await.map_err(of_dead)?;
                    progress.metrics.dead_letters.increment(dead_rows);
                    failpoint!("run.after_dead_letter");
                }
            }
            Target::Main => {
                failpoint!("run.before_commit");
                receipt = commit_to(sink, staged.take(), partitions, ends, progress).await?;
                failpoint!("run.after_commit");
            }
        }
    }
    Ok(receipt)
}

async fn seal(staging: Option<Box<dyn Staging>>) -> Result<Option<Staged>, RunError> {
    match staging {
        Some(staging) => Ok(Some(staging.seal().await?)),
        None => Ok(None),
    }
}

async fn commit_to(
    to: &mut HeldSink,
    staged: Option<Staged>,
    partitions: &[Partition],
    ends: &[i64],
    progress: &Progress,
) -> Result<Receipt, RunError> {
    let ranges = protocol::window_ranges(&to.held, partitions.iter().zip(ends.iter().copied()));
    if ranges.is_empty() {
        return match staged {
            None => Ok(Receipt::default()),
            Some(staged) => Err(RunError::bug(format!("{} rows belong to no offset range", staged.rows))),
        };
    }
    let mut result = to.sink.commit(staged, &ranges).await;
    let answer = Answer::of(&result);
    if !protocol::answered(&mut to.held, &ranges, answer) {
        progress.metrics.commit(answer);
    }
    if let Err(error) = &mut result
        && error.reaction == Reaction::BadRow
    {
        // Too late to look for it: see promise 4 of `Sink`.
        error.reaction = Reaction::Person;
    }
    match result? {
        Commit::Landed(receipt) => Ok(receipt),
        Commit::Lost(found) => Err(RunError::Lost(found)),
    }
}

fn dead_letter_error(error: SinkError) -> RunError {
    RunError::from(error).of("dead_letter")
}
