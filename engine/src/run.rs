//! A run: the life of a job under one assignment. Start, rebalance, lost race and error all come back here:
//! *starting is recovering*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::Rest;
use crate::failpoint;
use crate::intake::Intake;
use crate::job::JobContext;
use crate::load::Look;
use crate::operator::OperatorError;
use crate::partition::{Partition, Positions};
use crate::pipeline::{self, Cut, HeldSink, Item, PipelineParts};
use crate::progress::JobState;
use crate::protocol::{self, Answer, Leave, Patience, Start, Step, Target};
use crate::sink::{Reaction, Sink, SinkError};
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

    /// The sink refuses a row of the window: which one is found by reading it again carefully.
    pub(crate) fn is_bad_row(&self) -> bool {
        matches!(self, Self::Part { part: "sink", reaction: Reaction::BadRow, .. })
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

const WAITING: &str = "waiting for an assignment of partitions";
/// How often ends, lag and the group's positions are refreshed.
const REFRESH: Duration = Duration::from_secs(1);
/// The longest single wait for records, so that a stop is noticed.
const POLL_MAX: Duration = Duration::from_millis(100);
/// How often the intake looks whether a commit landed that a due cut waits for.
const POLL_DUE: Duration = Duration::from_millis(1);

/// One run, from asking for an assignment to its end.
pub(crate) fn run(context: &JobContext, source: &mut dyn Source) -> Result<RunEnd, RunError> {
    let progress = &context.progress;
    progress.set_state(JobState::Starting, WAITING);
    let mut told = None;
    let assigned = loop {
        if context.stop.gracefully.is_cancelled() {
            return Ok(RunEnd::Stopped);
        }
        if let Some(assigned) = source.assignment(POLL_MAX)? {
            break assigned;
        }
        let why = source.waits_for();
        if why != told {
            let more = why.as_deref().map_or_else(|| WAITING.to_owned(), |why| format!("{WAITING}: {why}"));
            progress.set_state(JobState::Starting, more);
            told = why;
        }
    };
    let over = CancellationToken::new();
    // However it ends: in order, nothing waits any more.
    let _ends = over.clone().drop_guard();
    let Some(begun) = start(context, source, assigned, &over)? else { return Ok(RunEnd::Again) };
    if let Some(tuning) = &context.spec.tuning {
        tuning.run_begins();
    }
    let here = begun.from.len();
    progress.demand.run_begins(here, source.partitions_in_all().unwrap_or(here));
    let nothing = Positions::default();
    let held = begun.sink.as_ref().map_or(&nothing, |sink| &sink.held);
    progress.run_begins(begun.from.iter().map(|(partition, _)| partition), held);
    let why = match here {
        0 => "no partition is assigned here, standing by".to_owned(),
        n => format!("reading {n} partitions"),
    };
    tracing::info!(job = context.spec.name, partitions = begun.from.len(), "run begins");
    progress.set_state(JobState::Running, why);
    Reading::new(context, source, &begun.from, begun.sink, begun.dead).read()
}

/// What a start came to.
struct Begun {
    from: Vec<(Partition, i64)>,
    sink: Option<HeldSink>,
    dead: Option<HeldSink>,
}

/// Does what the protocol says, from an assignment to reading. `None`: another owner was faster, start again.
fn start(
    context: &JobContext,
    source: &mut dyn Source,
    assigned: Vec<Partition>,
    over: &CancellationToken,
) -> Result<Option<Begun>, RunError> {
    let spec = &context.spec;
    let mark = if assigned.is_empty() { None } else { spec.marks.load().map_err(RunError::person)? };
    let mut start = Start::new(assigned.clone(), mark, spec.dead_letter.is_some());
    let (mut main, mut dead): (Slot, Slot) = (None, None);
    loop {
        match start.step() {
            Step::Recover(target) => {
                let make = match target {
                    Target::Main => {
                        failpoint!("run.before_recover");
                        context.progress.set_state(JobState::Starting, "asking the sink for its positions");
                        &spec.sink
                    }
                    Target::DeadLetters => {
                        spec.dead_letter.as_ref().ok_or_else(|| RunError::bug("there is no dead-letter sink"))?
                    }
                };
                let recovered = || -> Result<_, RunError> {
                    let mut sink = {
                        let _inside = context.runtime.enter();
                        make(over)?
                    };
                    let held = block_on(context, sink.recover(&assigned))??;
                    Ok((sink, held))
                };
                let (sink, held) = recovered().map_err(|e| of(target, e))?;
                start.recovered(target, held, sink.identity()).map_err(|e| RunError::person(e.to_string()))?;
                *sink_of(target, &mut main, &mut dead) = Some(sink);
            }
            Step::Resolve { partitions, first } => {
                let starts = source.start_positions(&partitions, first)?;
                tracing::info!(
                    job = spec.name,
                    partitions = starts.len(),
                    "anchoring partitions that have no position yet"
                );
                start.resolved(starts);
            }
            Step::Move(target, ranges) => {
                let Some(sink) = sink_of(target, &mut main, &mut dead) else {
                    return Err(RunError::bug("a sink that was not asked for its positions is to move them"));
                };
                let result = block_on(context, sink.commit(None, &ranges)).map_err(|e| of(target, e))?;
                let answer = Answer::of(&result);
                result.map_err(|e| of(target, e.into()))?;
                start.moved(target, &ranges, answer);
            }
            Step::Remember(mark) => {
                failpoint!("run.after_anchor");
                spec.marks.store(&mark).map_err(RunError::person)?;
                start.remembered();
            }
            Step::Begin(starts) => {
                let lost = source.begin(&starts)?;
                start.begun(lost);
            }
            Step::Again => return Ok(None),
            Step::Read(from) => {
                for (partition, range) in start.lost().iter() {
                    let lost_from = range.start.unwrap_or(range.end);
                    if range.end < lost_from {
                        let mut rejects = context.rejects.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        rejects.forget(partition);
                    }
                    tracing::error!(job = spec.name, %partition, from = lost_from, to = range.end, "offsets vanished from the source, passing over them as on_data_loss says");
                    context.progress.metrics.data_loss(partition, u64::try_from(range.end - lost_from).unwrap_or(0));
                }
                let with = |sink: Slot, target| sink.map(|sink| HeldSink { sink, held: start.held(target).clone() });
                let (sink, dead) = (with(main, Target::Main), with(dead, Target::DeadLetters));
                return Ok(Some(Begun { from, sink, dead }));
            }
        }
    }
}

type Slot = Option<Box<dyn Sink>>;

fn sink_of<'s>(target: Target, main: &'s mut Slot, dead: &'s mut Slot) -> &'s mut Slot {
    match target {
        Target::Main => main,
        Target::DeadLetters => dead,
    }
}

/// The same error, of this sink.
fn of(target: Target, error: RunError) -> RunError {
    match target {
        Target::Main => error,
        Target::DeadLetters => error.of("dead_letter"),
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

pub(crate) fn stopped_at_once() -> RunError {
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
    /// When the group wants its partitions back, once it has said so.
    due: Option<Duration>,
    /// The pipeline was given up: nothing more is cut.
    given_up: bool,
    /// Records that are still to be read carefully; 0: this run is not careful.
    careful: u64,
    /// Records taken since the last refresh, and time spent waiting for some that did not come.
    taken: u64,
    waited: Duration,
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
        let careful = context.careful.load(Ordering::Relaxed);
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
                    rejects: context.rejects.clone(),
                    former: context.former.clone(),
                    depth: spec.limits.decode_ahead.max(1),
                    progress: context.progress.clone(),
                    tuning: spec.tuning.clone(),
                    done: done.clone(),
                    clock: spec.clock.clone(),
                    careful: careful > 0,
                    stop_now: context.stop.now.clone(),
                },
                receiver,
            )),
        };
        Self {
            context,
            source,
            intake,
            queue: Some(queue),
            pipeline,
            cuts: 0,
            done,
            heard: None,
            due: None,
            given_up: false,
            careful,
            taken: 0,
            waited: Duration::ZERO,
        }
    }

    fn read(mut self) -> Result<RunEnd, RunError> {
        let clock = self.context.spec.clock.clone();
        let idle = self.intake.partitions().is_empty();
        let mut refreshed = clock.now();
        let mut told = 0;
        self.look();
        loop {
            // First of all: the group does not wait, and no window is cut behind what was given up.
            if matches!(self.heard, Some(SourceEvent::Lost | SourceEvent::Revoked { .. })) {
                return self.ends_as_heard();
            }
            if self.context.stop.gracefully.is_cancelled() {
                self.context.progress.set_state(JobState::Draining, self.context.control.why_drained());
                self.leave(Leave::Stopped, Cause::Stop)?;
                return if self.given_up { self.ends_as_heard() } else { Ok(RunEnd::Stopped) };
            }
            if let Some(rest) = self.context.control.rest() {
                return self.rests(rest);
            }
            if self.context.control.take_cut() {
                self.cut(Cause::Request)?;
                continue;
            }
            if !idle && self.pipeline.is_finished() {
                return Err(self.why_pipeline_ended());
            }
            let facts = self.facts();
            let bounds = self.bounds(&facts);
            let now = clock.now();
            let wait = match window::wait(&bounds, &facts, now) {
                Some(due) if due.is_zero() && facts.commit_in_flight => POLL_DUE,
                Some(due) => due.min(POLL_MAX),
                None => POLL_MAX,
            };
            self.intake.prepare(now, bounds.max_rows, bounds.max_bytes);
            let before = self.intake.facts();
            self.context.progress.asks();
            let event = match self.heard.take() {
                Some(event) => event,
                // A source that is still a member and gives nothing.
                None if failpoint::hangs("run.poll") => {
                    std::thread::sleep(wait);
                    self.source.idle()?
                }
                None => self.source.poll(&mut self.intake, wait).map_err(|error| self.gives_up(error))?,
            };
            let after = self.intake.facts();
            let took = after.rows - before.rows;
            self.taken += took;
            if took == 0 {
                self.waited += clock.now().saturating_sub(now);
            }
            if took > 0 {
                self.context.progress.took(took, after.bytes - before.bytes);
                if let Some(tuning) = &self.context.spec.tuning {
                    tuning.took(clock.now(), took);
                }
            }
            let repeated = self.intake.take_repeated();
            if repeated > 0 {
                self.context.progress.metrics.repeated.increment(repeated);
            }
            match event {
                SourceEvent::Continue => {
                    let (now, facts) = (clock.now(), self.facts());
                    if let Some(cause) = window::decide(&self.bounds(&facts), &facts, now) {
                        let rows = facts.rows;
                        self.cut(cause)?;
                        if self.careful > 0 && !self.given_up {
                            self.careful = self.careful.saturating_sub(rows);
                            self.context.careful.store(self.careful, Ordering::Relaxed);
                            if self.careful == 0 {
                                return self.careful_no_more();
                            }
                        }
                    } else if self.intake.chunk_is_full() {
                        self.hand_on()?;
                    }
                    if now.saturating_sub(refreshed) >= REFRESH {
                        refreshed = now;
                        told = self.refresh(told);
                    }
                }
                SourceEvent::Revoked { .. } | SourceEvent::Lost => {
                    self.hear(event);
                    return self.ends_as_heard();
                }
                SourceEvent::End => {
                    self.leave(Leave::Ended, Cause::End)?;
                    if self.given_up {
                        return self.ends_as_heard();
                    }
                    self.refresh(u64::MAX);
                    return Ok(RunEnd::Finished);
                }
            }
        }
    }

    /// What the sink had refused lies behind: the next run takes whole windows again.
    fn careful_no_more(mut self) -> Result<RunEnd, RunError> {
        self.drain(None)?;
        self.refresh(u64::MAX);
        self.source.end_run();
        Ok(RunEnd::Again)
    }

    /// The bounds of the open window.
    fn bounds(&self, facts: &window::Facts) -> window::WindowBounds {
        let mut bounds = self.context.spec.bounds.at(facts);
        if self.careful > 0 {
            // A window is a chunk: what the sink refuses is looked for in memory.
            let chunk = self.context.spec.limits.chunk;
            bounds.max_rows = bounds.max_rows.min(chunk.records as u64);
            bounds.max_bytes = bounds.max_bytes.min(chunk.bytes as u64);
        }
        bounds
    }

    fn facts(&self) -> window::Facts {
        let commit_in_flight = self.cuts > self.done.load(Ordering::Acquire);
        window::Facts { commit_in_flight, ..self.intake.facts() }
    }

    /// Publishes what a look finds; tells the group what landed since `told` commits.
    fn refresh(&mut self, told: u64) -> u64 {
        if self.taken == 0 {
            // Nothing came for a while: what is kept for the next records serves others better.
            self.context.former.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
            self.context.stage.rest();
            self.intake.rest();
        }
        self.look();
        let snapshot = self.context.progress.snapshot();
        if snapshot.landed != told {
            self.source.landed(&snapshot.positions);
        }
        snapshot.landed
    }

    /// Publishes ends and lag, what comes and what waits.
    fn look(&mut self) {
        let ends = self.source.ends();
        let (mut sum, mut known, mut unread) = (0i64, 0, 0i64);
        for (slot, partition) in (0..).zip(self.intake.partitions().iter()) {
            let Some(end) = ends.get(partition) else { continue };
            sum = sum.saturating_add(*end);
            known += 1;
            unread = unread.saturating_add((end - self.intake.expected(slot)).max(0));
        }
        let look = Look {
            ends: (sum, known),
            unread: u64::try_from(unread).unwrap_or(0),
            taken: std::mem::take(&mut self.taken),
            waited: std::mem::take(&mut self.waited),
        };
        self.context.progress.demand.look(self.context.spec.clock.now(), &look);
        self.context.progress.saw_ends(ends);
    }

    /// Sends the open chunk on.
    fn hand_on(&mut self) -> Result<(), RunError> {
        let former = {
            let mut former = self.context.former.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            former.retain(|chunk| self.intake.keeps(chunk));
            former.pop()
        };
        let chunk = self.intake.take_chunk(former);
        self.send(Item::Chunk(chunk))
    }

    /// Ends the open window, if it has anything.
    fn cut(&mut self, cause: Cause) -> Result<(), RunError> {
        if !self.intake.chunk_is_empty() {
            self.hand_on()?;
        }
        if self.given_up || self.intake.facts().rows == 0 {
            return Ok(());
        }
        self.context.progress.metrics.window(cause);
        self.cuts += 1;
        let window = self.intake.close_window();
        self.send(Item::Cut(Cut { cause, at: self.context.spec.clock.now(), window, counted: false }))
    }

    /// Puts an item into the queue, keeping the membership alive while there is no room. When the assignment is lost
    /// meanwhile, or the group does not wait any longer, the pipeline is given up: nothing may come behind what is missing.
    fn send(&mut self, item: Item) -> Result<(), RunError> {
        let Some(queue) = self.queue.clone() else { return Err(RunError::bug("the queue is closed")) };
        loop {
            let wait = self.wait(self.due);
            let room = self.context.runtime.block_on(async { tokio::time::timeout(wait, queue.reserve()).await });
            match room {
                Ok(Ok(permit)) => {
                    permit.send(item);
                    return Ok(());
                }
                Ok(Err(_)) => return Err(self.why_pipeline_ended()),
                Err(_) if self.context.stop.now.is_cancelled() => return Err(self.ends_at_once()),
                Err(_) => {
                    self.context.progress.asks();
                    let event = self.source.idle().map_err(|error| self.gives_up(error))?;
                    self.hear(event);
                    if self.heard == Some(SourceEvent::Lost) {
                        self.give_up();
                        return Ok(());
                    }
                    if self.is_over(self.due) {
                        self.too_late();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Keeps what the source says while nothing is taken of it.
    fn hear(&mut self, event: SourceEvent) {
        if let SourceEvent::Revoked { deadline } = event {
            self.due.get_or_insert(self.context.spec.clock.now() + deadline);
        }
        if event != SourceEvent::Continue {
            self.heard = Some(event);
        }
    }

    /// How long to wait before the source is looked after again.
    fn wait(&self, due: Option<Duration>) -> Duration {
        due.map_or(POLL_MAX, |due| due.saturating_sub(self.context.spec.clock.now()).min(POLL_MAX))
    }

    fn is_over(&self, due: Option<Duration>) -> bool {
        due.is_some_and(|due| self.context.spec.clock.now() >= due)
    }

    /// Gives the pipeline up because the group does not wait any longer.
    fn too_late(&mut self) {
        self.give_up();
        tracing::warn!(
            job = self.context.spec.name,
            "the last window was not committed before the assignment changed, it is read again"
        );
    }

    /// Gives the pipeline up; a commit that has begun is left alone.
    fn give_up(&mut self) {
        self.given_up = true;
        self.queue = None;
        self.pipeline.abort();
    }

    /// Waits until everything sent is committed; at `due` it is given up.
    fn drain(&mut self, due: Option<Duration>) -> Result<(), RunError> {
        self.queue = None;
        loop {
            let wait = self.wait(due);
            let done = self.context.runtime.block_on(async { tokio::time::timeout(wait, &mut self.pipeline).await });
            match done {
                Ok(result) => return result.map_err(|e| RunError::bug(format!("the pipeline panicked: {e}")))?,
                Err(_) if self.context.stop.now.is_cancelled() => return Err(self.ends_at_once()),
                Err(_) if self.is_over(due) => {
                    self.too_late();
                    return Ok(());
                }
                Err(_) => {
                    self.context.progress.asks();
                    // A revoke that comes now finds this very commit under way.
                    self.source.idle().map_err(|error| self.gives_up(error))?;
                }
            }
        }
    }

    /// What was read and is not being committed yet goes with the run: the error may say that it was not what it seemed,
    /// and the next run reads it again.
    fn gives_up(&mut self, error: SourceError) -> RunError {
        self.give_up();
        error.into()
    }

    /// What the pipeline hangs at is given up: it would hold its memory, and its turn to commit, for good.
    fn ends_at_once(&mut self) -> RunError {
        self.give_up();
        stopped_at_once()
    }

    /// Ends the run as the protocol says: cuts or not, waits for the commits or not.
    fn leave(&mut self, why: Leave, cause: Cause) -> Result<(), RunError> {
        let leaving = protocol::leave(why);
        if leaving.cut && !self.given_up {
            self.cut(cause)?;
        }
        match leaving.patience {
            _ if self.given_up => Ok(()),
            Patience::UntilLanded => self.drain(None),
            Patience::UntilDeadline => self.drain(self.due),
            Patience::None => {
                self.give_up();
                Ok(())
            }
        }
    }

    /// Ends the run as the group wants it.
    fn ends_as_heard(self) -> Result<RunEnd, RunError> {
        if self.heard == Some(SourceEvent::Lost) { self.lost() } else { self.revoked() }
    }

    /// The job is paused or held: what is read is committed, then nothing is taken and the membership kept, until the
    /// job goes on or is stopped, or the assignment changes. The next run starts from the sink, as every run does.
    fn rests(mut self, rest: Rest) -> Result<RunEnd, RunError> {
        let progress = &self.context.progress.clone();
        self.leave(Leave::Stopped, Cause::Pause)?;
        if self.given_up {
            return self.ends_as_heard();
        }
        self.source.pause(true)?;
        progress.set_state(rest.state, &rest.why);
        tracing::info!(job = self.context.spec.name, why = rest.why, "{}", rest.state.as_str());
        let mut shown = rest;
        let mut told = self.refresh(u64::MAX);
        loop {
            if self.context.stop.gracefully.is_cancelled() {
                return Ok(RunEnd::Stopped);
            }
            let event = self.source.idle()?;
            let rest = self.context.control.rest();
            if rest.is_none() || event != SourceEvent::Continue {
                self.source.pause(false)?;
                if event != SourceEvent::Continue {
                    progress.metrics.rebalance(if event == SourceEvent::Lost { "lost" } else { "revoked" });
                }
                self.source.end_run();
                return Ok(RunEnd::Again);
            }
            if let Some(rest) = rest.filter(|rest| *rest != shown) {
                progress.set_state(rest.state, &rest.why);
                shown = rest;
            }
            told = self.refresh(told);
            self.context.runtime.block_on(async {
                let stopped = self.context.stop.gracefully.cancelled();
                let _ = tokio::time::timeout(POLL_MAX, stopped).await;
            });
        }
    }

    /// The assignment changes: what is read is committed by a deadline, or given up.
    fn revoked(mut self) -> Result<RunEnd, RunError> {
        self.context.progress.metrics.rebalance("revoked");
        failpoint!("run.in_revoke");
        let result = self.leave(Leave::Revoked, Cause::Revoke);
        if self.heard == Some(SourceEvent::Lost) {
            return self.lost();
        }
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
    fn lost(mut self) -> Result<RunEnd, RunError> {
        self.context.progress.metrics.rebalance("lost");
        self.leave(Leave::Lost, Cause::Revoke)?;
        self.source.end_run();
        tracing::warn!(job = self.context.spec.name, "assignment lost, its open window is given up");
        Ok(RunEnd::Again)
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
