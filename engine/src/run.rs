//! A run: the life of a job under one assignment. Start, rebalance, lost race and error all come back here:
//! *starting is recovering*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failpoint;
use crate::intake::Intake;
use crate::job::{JobContext, MakeSink};
use crate::mark::{self, Mark};
use crate::operator::OperatorError;
use crate::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use crate::pipeline::{self, Cut, HeldSink, Item, PipelineParts};
use crate::progress::JobState;
use crate::sink::{Commit, Reaction, SinkError};
use crate::source::{Source, SourceError, SourceEvent};
use crate::window::{self, Cause};

/// How a run ended in order.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// Start the next one on the same source.
    Again,
    /// A bounded source is done.
    Finished,
    /// Told to stop.
    Stopped,
}

/// How a run failed. The sink is dropped with it, the source too.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("another owner committed first: {}", describe(.0))]
    Lost(Positions),
    #[error("{part}: {message}")]
    Part { part: &'static str, reaction: Reaction, message: String },
}

fn describe(found: &Positions) -> String {
    let shown: Vec<_> = found.iter().take(5).map(|(p, at)| format!("{p} is at {}", at.offset)).collect();
    let more = found.len().saturating_sub(shown.len());
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

impl RunError {
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::Part { part: "engine", reaction: Reaction::Bug, message: message.into() }
    }

    pub(crate) fn person(message: impl Into<String>) -> Self {
        Self::Part { part: "record", reaction: Reaction::Person, message: message.into() }
    }

    #[allow(clippy::needless_pass_by_value)] // used as a function of `map_err`
    pub(crate) fn operator(error: OperatorError) -> Self {
        Self::Part { part: "operator", reaction: Reaction::Person, message: error.message }
    }

    /// The same error, of another part.
    pub(crate) fn of(self, part: &'static str) -> Self {
        match self {
            Self::Part { reaction, message, .. } => Self::Part { part, reaction, message },
            lost @ Self::Lost(_) => lost,
        }
    }

    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(self, Self::Part { reaction: Reaction::Person | Reaction::BadRow, .. })
    }
}

impl From<SinkError> for RunError {
    fn from(e: SinkError) -> Self {
        Self::Part { part: "sink", reaction: e.reaction, message: e.message }
    }
}

impl From<SourceError> for RunError {
    fn from(e: SourceError) -> Self {
        let reaction = if e.retry { Reaction::Retry } else { Reaction::Person };
        Self::Part { part: "source", reaction, message: e.message }
    }
}

/// How often ends, lag and the group's positions are refreshed.
const REFRESH: Duration = Duration::from_secs(1);
/// The longest single wait for records, so that a stop is noticed.
const POLL_MAX: Duration = Duration::from_millis(100);
/// How often the intake looks whether a commit landed that a due cut waits for.
const POLL_DUE: Duration = Duration::from_millis(1);

/// One run, from asking for an assignment to its end.
pub(crate) fn run(context: &JobContext, source: &mut dyn Source) -> Result<RunEnd, RunError> {
    let progress = &context.progress;
    progress.set_state(JobState::Starting, "waiting for an assignment of partitions");
    let assigned = loop {
        if context.stop.gracefully.is_cancelled() {
            return Ok(RunEnd::Stopped);
        }
        if let Some(assigned) = source.assignment(POLL_MAX)? {
            break assigned;
        }
    };
    let (mut sink, mut dead) = if assigned.is_empty() {
        (None, None)
    } else {
        progress.set_state(JobState::Starting, "asking the sink for its positions");
        match recover(context, source, &assigned)? {
            Some((sink, dead)) => (Some(sink), dead),
            None => return Ok(RunEnd::Again),
        }
    };
    let held = sink.as_ref().map(|s| s.held.clone()).unwrap_or_default();
    let starts: Vec<(Partition, Position)> =
        assigned.iter().filter_map(|p| held.get(p).map(|at| (p.clone(), at.clone()))).collect();
    let lost = source.begin(&starts)?;
    if !lost.is_empty() {
        // What is passed over is recorded as such before anything is read behind it: on a topic that was made again
        // the old position may lie above every new offset, and its id has to go.
        for held in sink.iter_mut().chain(dead.iter_mut()) {
            if !pass_over(context, held, &lost)? {
                return Ok(RunEnd::Again);
            }
        }
    }
    let mut begin: Vec<(Partition, i64)> = starts.iter().map(|(p, at)| (p.clone(), at.offset)).collect();
    for (partition, range) in lost.iter() {
        let from = range.start.unwrap_or(range.end);
        tracing::error!(job = context.spec.name, %partition, from, to = range.end, "offsets vanished from the source, passing over them as on_data_loss says");
        progress.metrics.data_loss(partition, u64::try_from(range.end - from).unwrap_or(0));
        if let Some(slot) = begin.iter_mut().find(|(p, _)| p == partition) {
            slot.1 = range.end;
        }
    }
    progress.run_begins(sink.as_ref().map(|s| s.held.clone()).unwrap_or_default());
    let why = match begin.len() {
        0 => "no partition is assigned here, standing by".to_owned(),
        n => format!("reading {n} partitions"),
    };
    tracing::info!(job = context.spec.name, partitions = begin.len(), "run begins");
    progress.set_state(JobState::Running, why);
    Reading::new(context, source, &begin, sink, dead).read()
}

/// Asks sinks for the truth and anchors what they do not know. `None`: another owner anchored first, start again.
fn recover(
    context: &JobContext,
    source: &mut dyn Source,
    assigned: &[Partition],
) -> Result<Option<(HeldSink, Option<HeldSink>)>, RunError> {
    let ask = |make: &MakeSink| -> Result<HeldSink, RunError> {
        let mut sink = {
            let _inside = context.runtime.enter();
            make()?
        };
        let held = block_on(context, sink.recover(assigned))??;
        Ok(HeldSink { sink, held })
    };
    failpoint!("run.before_recover");
    let mut sink = ask(&context.spec.sink)?;
    let mark = context.spec.marks.load().map_err(RunError::person)?;
    mark::check(mark.as_ref(), sink.sink.identity().as_deref(), assigned, &sink.held)
        .map_err(|e| RunError::person(e.to_string()))?;
    if assigned.iter().any(|p| sink.held.get(p).is_none()) {
        let missing: Vec<Partition> = assigned.iter().filter(|p| sink.held.get(p).is_none()).cloned().collect();
        let starts = source.start_positions(&missing, sink.held.is_empty())?;
        tracing::info!(
            job = context.spec.name,
            partitions = starts.len(),
            "anchoring partitions that have no position yet"
        );
        if !anchor(context, &mut sink, &starts)? {
            return Ok(None);
        }
    }
    failpoint!("run.after_anchor");
    let known: Mark = Mark {
        v: 1,
        sink: sink.sink.identity(),
        partitions: sink
            .held
            .iter()
            .map(|(p, _)| p.clone())
            .chain(mark.iter().flat_map(|m| m.partitions.clone()))
            .collect(),
    };
    if mark.as_ref() != Some(&known) {
        context.spec.marks.store(&known).map_err(RunError::person)?;
    }
    let Some(make) = &context.spec.dead_letter else { return Ok(Some((sink, None))) };
    let mut dead = ask(make).map_err(|e| e.of("dead_letter"))?;
    let missing: Positions = assigned
        .iter()
        .filter(|p| dead.held.get(p).is_none())
        .filter_map(|p| sink.held.get(p).map(|at| (p.clone(), at.clone())))
        .collect();
    if !missing.is_empty() && !anchor(context, &mut dead, &missing).map_err(|e| e.of("dead_letter"))? {
        return Ok(None);
    }
    Ok(Some((sink, Some(dead))))
}

/// Gives partitions their first position. False: the race was lost.
fn anchor(context: &JobContext, to: &mut HeldSink, starts: &Positions) -> Result<bool, RunError> {
    let ranges: OffsetRanges = starts
        .iter()
        .filter(|(p, _)| to.held.get(p).is_none())
        .map(|(p, at)| (p.clone(), OffsetRange::anchor(at.clone())))
        .collect();
    match block_on(context, to.sink.commit(None, &ranges))?? {
        Commit::Landed(_) => {
            ranges.apply_to(&mut to.held);
            Ok(true)
        }
        Commit::Lost(_) => Ok(false),
    }
}

/// Moves the positions of partitions whose records vanished to where reading begins. False: the race was lost.
fn pass_over(context: &JobContext, held: &mut HeldSink, lost: &OffsetRanges) -> Result<bool, RunError> {
    let ranges: OffsetRanges = lost
        .iter()
        .filter_map(|(p, range)| {
            let start = Some(held.held.offset(p)?);
            Some((p.clone(), OffsetRange { start, end: range.end, topic_id: range.topic_id.clone() }))
        })
        .collect();
    match block_on(context, held.sink.commit(None, &ranges))?? {
        Commit::Landed(_) => {
            ranges.apply_to(&mut held.held);
            Ok(true)
        }
        Commit::Lost(_) => Ok(false),
    }
}

/// Waits for the sink on the job's thread, unless the job is told to end at once.
fn block_on<T>(context: &JobContext, work: impl Future<Output = T>) -> Result<T, RunError> {
    context.runtime.block_on(async {
        tokio::select! {
            done = work => Ok(done),
            () = context.stop.now.cancelled() => Err(stopped_at_once()),
        }
    })
}

fn stopped_at_once() -> RunError {
    RunError::Part { part: "engine", reaction: Reaction::Retry, message: "told to end at once".into() }
}

/// The reading half of a run, on the job's thread.
struct Reading<'a> {
    context: &'a JobContext,
    source: &'a mut dyn Source,
    intake: Intake,
    queue: Option<mpsc::Sender<Item>>,
    pipeline: JoinHandle<Result<(), RunError>>,
    cuts: u64,
    done: Arc<AtomicU64>,
    /// What the source said while the queue was full.
    heard: Option<SourceEvent>,
}

impl<'a> Reading<'a> {
    fn new(
        context: &'a JobContext,
        source: &'a mut dyn Source,
        begin: &[(Partition, i64)],
        sink: Option<HeldSink>,
        dead: Option<HeldSink>,
    ) -> Self {
        let spec = &context.spec;
        let intake = Intake::new(begin, spec.limits.chunk, spec.keep);
        let (queue, receiver) = mpsc::channel(spec.limits.queued_chunks.max(1));
        let done = Arc::new(AtomicU64::new(0));
        let pipeline = match sink {
            None => context.runtime.spawn(async { Ok(()) }),
            Some(sink) => context.runtime.spawn(pipeline::run(
                PipelineParts {
                    partitions: intake.partitions().clone(),
                    stage: context.stage.clone(),
                    windows: context.windows.clone(),
                    sink,
                    dead,
                    on_error: spec.on_error,
                    rejects_per_minute: context.rejects_per_minute.clone(),
                    former: context.former.clone(),
                    depth: spec.limits.decode_ahead.max(1),
                    progress: context.progress.clone(),
                    done: done.clone(),
                    clock: spec.clock.clone(),
                },
                receiver,
            )),
        };
        Self { context, source, intake, queue: Some(queue), pipeline, cuts: 0, done, heard: None }
    }

    fn read(mut self) -> Result<RunEnd, RunError> {
        let clock = self.context.spec.clock.clone();
        let idle = self.intake.partitions().is_empty();
        let mut refreshed = clock.now();
        let mut told = 0;
        self.context.progress.saw_ends(self.source.ends());
        loop {
            if self.context.stop.gracefully.is_cancelled() {
                self.context.progress.set_state(JobState::Stopping, "committing its last window");
                self.cut(Cause::Stop)?;
                self.drain()?;
                return Ok(RunEnd::Stopped);
            }
            if !idle && self.pipeline.is_finished() {
                return Err(self.why_pipeline_ended());
            }
            let bounds = self.context.spec.bounds.get();
            let facts = self.facts();
            let now = clock.now();
            let wait = match window::wait(&bounds, &facts, now) {
                Some(due) if due.is_zero() && facts.commit_in_flight => POLL_DUE,
                Some(due) => due.min(POLL_MAX),
                None => POLL_MAX,
            };
            self.intake.prepare(now, bounds.max_rows, bounds.max_bytes);
            let before = self.intake.facts();
            let event = match self.heard.take() {
                Some(event) => event,
                None => self.source.poll(&mut self.intake, wait)?,
            };
            let after = self.intake.facts();
            if after.rows > before.rows {
                self.context.progress.took(after.rows - before.rows, after.bytes - before.bytes);
            }
            let repeated = self.intake.take_repeated();
            if repeated > 0 {
                self.context.progress.metrics.repeated.increment(repeated);
            }
            match event {
                SourceEvent::Continue => {
                    let now = clock.now();
                    if let Some(cause) = window::decide(&bounds, &self.facts(), now) {
                        self.cut(cause)?;
                    } else if self.intake.chunk_is_full() {
                        self.hand_on()?;
                    }
                    if now.saturating_sub(refreshed) >= REFRESH {
                        refreshed = now;
                        told = self.refresh(told);
                    }
                }
                SourceEvent::Revoked { deadline } => return self.revoked(deadline),
                SourceEvent::Lost => return Ok(self.lost()),
                SourceEvent::End => {
                    self.cut(Cause::End)?;
                    self.drain()?;
                    self.refresh(u64::MAX);
                    return Ok(RunEnd::Finished);
                }
            }
        }
    }

    fn facts(&self) -> window::Facts {
        let commit_in_flight = self.cuts > self.done.load(Ordering::Acquire);
        window::Facts { commit_in_flight, ..self.intake.facts() }
    }

    /// Publishes ends and lag; tells the group what landed since `told` commits.
    fn refresh(&mut self, told: u64) -> u64 {
        self.context.progress.saw_ends(self.source.ends());
        let snapshot = self.context.progress.snapshot();
        if snapshot.landed != told {
            self.source.landed(&snapshot.positions);
        }
        snapshot.landed
    }

    /// Sends the open chunk on.
    fn hand_on(&mut self) -> Result<(), RunError> {
        let former = self.context.former.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let chunk = self.intake.take_chunk(former);
        self.send(Item::Chunk(chunk))
    }

    /// Ends the open window, if it has anything.
    fn cut(&mut self, cause: Cause) -> Result<(), RunError> {
        if !self.intake.chunk_is_empty() {
            self.hand_on()?;
        }
        if self.intake.facts().rows == 0 {
            return Ok(());
        }
        self.context.progress.metrics.window(cause);
        self.cuts += 1;
        let window = self.intake.close_window();
        self.send(Item::Cut(Cut { cause, at: self.context.spec.clock.now(), window }))
    }

    /// Puts an item into the queue, keeping the membership alive while there is no room.
    fn send(&mut self, item: Item) -> Result<(), RunError> {
        let Some(queue) = self.queue.clone() else { return Err(RunError::bug("the queue is closed")) };
        loop {
            let room = self.context.runtime.block_on(async { tokio::time::timeout(POLL_MAX, queue.reserve()).await });
            match room {
                Ok(Ok(permit)) => {
                    permit.send(item);
                    return Ok(());
                }
                Ok(Err(_)) => return Err(self.why_pipeline_ended()),
                Err(_) if self.context.stop.now.is_cancelled() => return Err(stopped_at_once()),
                Err(_) => {
                    if self.heard.is_none() {
                        let event = self.source.idle()?;
                        if event != SourceEvent::Continue {
                            self.heard = Some(event);
                        }
                    }
                    if self.heard == Some(SourceEvent::Lost) {
                        // What waits for room belongs to somebody else now; the caller's next look finds `heard`.
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits until everything sent is committed.
    fn drain(&mut self) -> Result<(), RunError> {
        self.queue = None;
        loop {
            let done =
                self.context.runtime.block_on(async { tokio::time::timeout(POLL_MAX, &mut self.pipeline).await });
            match done {
                Ok(result) => return result.map_err(|e| RunError::bug(format!("the pipeline panicked: {e}")))?,
                Err(_) if self.context.stop.now.is_cancelled() => return Err(stopped_at_once()),
                Err(_) => {
                    // A revoke that comes now finds this very commit under way.
                    self.source.idle()?;
                }
            }
        }
    }

    /// The assignment changes: what is read is committed by a deadline, or given up.
    fn revoked(mut self, deadline: Duration) -> Result<RunEnd, RunError> {
        self.context.progress.metrics.rebalance("revoked");
        let clock = self.context.spec.clock.clone();
        let due = clock.now() + deadline;
        failpoint!("run.in_revoke");
        self.cut(Cause::Revoke)?;
        self.queue = None;
        let left = due.saturating_sub(clock.now());
        let done = self.context.runtime.block_on(async { tokio::time::timeout(left, &mut self.pipeline).await });
        let result = match done {
            Ok(result) => result.map_err(|e| RunError::bug(format!("the pipeline panicked: {e}"))).and_then(|r| r),
            Err(_) => {
                self.pipeline.abort();
                tracing::warn!(
                    job = self.context.spec.name,
                    "the last window was not committed before the assignment changed, it is read again"
                );
                Ok(())
            }
        };
        let landed = self.context.progress.snapshot().positions;
        self.source.landed(&landed);
        self.source.end_run();
        tracing::info!(job = self.context.spec.name, "assignment changes");
        match result {
            Ok(()) | Err(RunError::Lost(_)) => Ok(RunEnd::Again),
            Err(error) => Err(error),
        }
    }

    /// The assignment is gone.
    fn lost(self) -> RunEnd {
        self.context.progress.metrics.rebalance("lost");
        self.pipeline.abort();
        self.source.end_run();
        tracing::warn!(job = self.context.spec.name, "assignment lost, its open window is given up");
        RunEnd::Again
    }

    fn why_pipeline_ended(&mut self) -> RunError {
        self.queue = None;
        match self.context.runtime.block_on(&mut self.pipeline) {
            Ok(Err(error)) => error,
            Ok(Ok(())) => RunError::bug("the pipeline ended early"),
            Err(e) => RunError::bug(format!("the pipeline panicked: {e}")),
        }
    }
}
