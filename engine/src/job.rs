//! A job: its parts, and the thread that starts runs until the job is over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::bounds::BoundsHandle;
use crate::chunk::Chunk;
use crate::clock::Clock;
use crate::control::Control;
use crate::decode::DecodeStage;
use crate::format::Format;
use crate::intake::{ChunkLimits, Keep};
use crate::mark::MarkStore;
use crate::operator::{Operator, RowOperator, WindowOperator};
use crate::progress::{JobState, Progress};
use crate::rejects::RejectCount;
use crate::run::{self, RunEnd, RunError};
use crate::sink::{Sink, SinkError};
use crate::source::{Source, SourceError};
use crate::tuning::Tuning;

/// What becomes of a refused record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The job stops and names it.
    Fail,
    /// It is counted and passed over.
    Skip,
    /// It goes to the dead-letter sink.
    DeadLetter,
}

impl OnError {
    /// Its name in the configuration and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// Makes the source of a job, anew after each error.
pub type MakeSource = Box<dyn Fn() -> Result<Box<dyn Source>, SourceError> + Send>;
/// Makes a sink, anew for each run. Called within the runtime of the job, where it may not wait for anything. The token is
/// cancelled when the run is over: a commit that has not begun by then is not to begin.
pub type MakeSink = Box<dyn Fn(&CancellationToken) -> Result<Box<dyn Sink>, SinkError> + Send>;

/// How much a job may hold in memory between source and sink.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of a chunk.
    pub chunk: ChunkLimits,
    /// Chunks that wait between the intake and the pipeline.
    pub queued_chunks: usize,
    /// Chunks decoded or waiting to be written at the same time.
    pub decode_ahead: usize,
}

/// Everything a job is made of.
pub struct JobSpec {
    /// The job's name: its identity.
    pub name: String,
    /// Its source.
    pub source: MakeSource,
    /// Its format.
    pub format: Arc<dyn Format>,
    /// Its operators, in order.
    pub operators: Vec<Operator>,
    /// Its sink.
    pub sink: MakeSink,
    /// Where refused records go, with [`OnError::DeadLetter`].
    pub dead_letter: Option<MakeSink>,
    /// What becomes of refused records.
    pub on_error: OnError,
    /// Refused records a minute that stop the job.
    pub max_errors_per_minute: Option<u64>,
    /// Window bounds; may change while the job runs.
    pub bounds: BoundsHandle,
    /// What tunes the window, for a job that has a freshness to keep.
    pub tuning: Option<Arc<Tuning>>,
    /// Which parts of a record the job uses.
    pub keep: Keep,
    /// Memory limits.
    pub limits: Limits,
    /// How often and how long after an error it starts again.
    pub restart: Restart,
    /// Where the job's mark is kept.
    pub marks: Box<dyn MarkStore>,
    /// The clock.
    pub clock: Clock,
}

/// Stops a job: in order first, then at once.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Cut, commit, end.
    pub gracefully: CancellationToken,
    /// End without committing.
    pub now: CancellationToken,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// A bounded job has done everything.
    Finished,
    /// It was told to stop.
    Stopped,
    /// It needs a person.
    Failed(String),
}

/// Shared by the runs of a job.
pub(crate) struct JobContext {
    pub spec: JobSpec,
    pub stage: Arc<DecodeStage>,
    pub windows: Vec<Arc<dyn WindowOperator>>,
    pub rejects: Arc<Mutex<RejectCount>>,
    pub former: Arc<Mutex<Vec<Chunk>>>,
    /// Records to be read carefully, because the sink refused a row among them; 0: none.
    pub careful: AtomicU64,
    pub progress: Arc<Progress>,
    pub runtime: tokio::runtime::Handle,
    pub stop: Stop,
    pub control: Control,
}

/// What happens after an error that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The first pause; it doubles with each error, and begins anew once a commit has landed.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// So many errors within so long put the job into quarantine: it waits for a person.
    pub give_up: Option<(u32, Duration)>,
}

impl Default for Restart {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(15), give_up: None }
    }
}

impl Restart {
    /// Whether the job is given up after `errors` (the wall times of the last ones), and why.
    fn gives_up(&self, progress: &Progress, clock: &Clock) -> Option<String> {
        let (most, within) = self.give_up?;
        let errors = progress.snapshot().errors_within(within, clock.wall_ms());
        (errors >= most as usize).then(|| format!("in quarantine: {errors} errors within {} s", within.as_secs()))
    }
}

/// Starts a job on a thread of its own. `progress` is what it publishes; the thread's result is how it ended.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn(
    spec: JobSpec,
    progress: Arc<Progress>,
    runtime: tokio::runtime::Handle,
    control: Control,
) -> std::io::Result<std::thread::JoinHandle<JobEnd>> {
    let (rows, windows) = split(&spec.operators);
    progress.metrics.may_reject(spec.format.causes(), spec.on_error);
    let context = JobContext {
        stage: Arc::new(DecodeStage::new(spec.format.clone(), rows)),
        windows,
        rejects: Arc::new(Mutex::new(RejectCount::new(spec.max_errors_per_minute))),
        former: Arc::default(),
        careful: AtomicU64::new(0),
        progress,
        runtime,
        stop: control.stop.clone(),
        control,
        spec,
    };
    std::thread::Builder::new().name(format!("job-{}", context.spec.name)).spawn(move || live(&context))
}

type Chain = (Vec<Arc<dyn RowOperator>>, Vec<Arc<dyn WindowOperator>>);

/// Row-wise operators at the head of the chain run on the decode workers; from the first window operator on,
/// everything runs on windows.
fn split(operators: &[Operator]) -> Chain {
    let (mut rows, mut windows): Chain = (vec![], vec![]);
    for op in operators {
        match op {
            Operator::Rows(op) if windows.is_empty() => rows.push(op.clone()),
            Operator::Rows(op) => windows.push(Arc::new(crate::rows_in_window::RowsInWindow(op.clone()))),
            Operator::Window(op) => windows.push(op.clone()),
        }
    }
    (rows, windows)
}

/// Runs until the job is over.
fn live(context: &JobContext) -> JobEnd {
    let progress = &context.progress;
    let restart = context.spec.restart;
    let mut backoff = restart.first;
    let end = loop {
        let landed = progress.snapshot().landed;
        let error = match attempt(context) {
            Ok(end) => break end,
            Err(error) => error,
        };
        let text = error.to_string();
        progress.error(&text);
        if context.stop.gracefully.is_cancelled() {
            tracing::warn!(job = context.spec.name, error = text, "stopped without committing its last window");
            break JobEnd::Stopped;
        }
        if error.needs_a_person() {
            tracing::error!(job = context.spec.name, error = text, "job failed, it waits for a person");
            break JobEnd::Failed(text);
        }
        if progress.snapshot().landed > landed {
            backoff = restart.first;
        }
        if let Some(why) = restart.gives_up(progress, &context.spec.clock) {
            tracing::error!(job = context.spec.name, why, error = text, "job failed, it waits for a person");
            break JobEnd::Failed(format!("{why}, the last: {text}"));
        }
        let pause = backoff.mul_f64(rand::rng().random_range(0.8..1.2));
        backoff = (backoff * 2).min(restart.longest);
        tracing::warn!(
            job = context.spec.name,
            error = text,
            retry_in_ms = pause.as_millis(),
            "run ended, starts again"
        );
        progress.backs_off(pause, text);
        context.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = context.stop.gracefully.cancelled() => {}
            }
        });
        if context.stop.gracefully.is_cancelled() {
            break JobEnd::Stopped;
        }
    };
    if end == JobEnd::Finished || end == JobEnd::Stopped {
        progress.left();
    }
    match &end {
        JobEnd::Finished => progress.set_state(JobState::Finished, "everything up to the bound is in the sink"),
        JobEnd::Stopped => progress.set_state(JobState::Stopped, context.control.why_drained()),
        JobEnd::Failed(why) => progress.set_state(JobState::Failed, why),
    }
    tracing::info!(job = context.spec.name, end = ?end, "job is over");
    end
}

/// The life of one source: run after run, until an error or the end.
fn attempt(context: &JobContext) -> Result<JobEnd, RunError> {
    let mut source = (context.spec.source)()?;
    let result = loop {
        match run::run(context, source.as_mut()) {
            Ok(RunEnd::Again) => {}
            Ok(RunEnd::Finished) => break Ok(JobEnd::Finished),
            Ok(RunEnd::Stopped) => break Ok(JobEnd::Stopped),
            Err(error) if error.is_bad_row() && context.careful.load(Ordering::Relaxed) == 0 => {
                // The refused window, the one staged behind it, and as many again: they may come in another order.
                let records = context.spec.bounds.get().max_rows.saturating_mul(4);
                context.careful.store(records, Ordering::Relaxed);
                tracing::warn!(job = context.spec.name, %error, "the sink refused a window, looking for the record");
                context.progress.error(&error.to_string());
                source.end_run();
            }
            Err(error) => break Err(error),
        }
    };
    source.close();
    result
}
