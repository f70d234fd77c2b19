//! Jobs running together in one process: started, watched, stopped.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tidemill_config::{Fault, Loaded};
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::clock::Clock;
use tidemill_engine::job::{self, JobEnd, Stop};
use tidemill_engine::progress::{Progress, Snapshot};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{self, ABORTED, FAILED, FAULTY, OK};
use crate::http::{self, Http};
use crate::plan::{self, Plan};
use crate::state::State;
use crate::wire::budget::Budget;
use crate::{live, wire};

/// Decoding recurses no deeper than 64, SQL plans on stacks of its own.
const WORKER_STACK: usize = 2 << 20;
const TICK: Duration = Duration::from_millis(200);

/// A running job, as the rest of the daemon sees it.
pub struct RunningJob {
    /// Its name.
    pub name: String,
    /// What it publishes.
    pub progress: Arc<Progress>,
    /// Its window bounds, which may be changed.
    pub bounds: BoundsHandle,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// Kind of its source and its sink.
    pub kinds: (&'static str, &'static str),
}

/// What of a service outlives its start: shared with HTTP.
pub struct Shared {
    /// All jobs.
    pub jobs: Vec<RunningJob>,
    /// The clock.
    pub clock: Clock,
    /// How long nothing may happen before a job counts as stalled.
    pub stall_after: Duration,
    /// This daemon's name.
    pub instance: String,
}

/// A started daemon.
pub struct Service {
    /// Shared with HTTP.
    pub shared: Arc<Shared>,
    /// Stops all jobs.
    pub stop: Stop,
    /// Where HTTP listens.
    pub http: Http,
    runtime: tokio::runtime::Runtime,
    threads: Vec<JoinHandle<JobEnd>>,
    signals: Option<(Signal, Signal)>,
}

/// Why a service did not start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has faults.
    Faults(Vec<Fault>),
    /// Something else.
    Other(anyhow::Error),
}

impl Service {
    /// Plans `loaded` and starts all its jobs.
    ///
    /// # Errors
    /// Faults of the configuration, or what the machine refuses. Nothing runs then.
    pub fn start(loaded: Loaded) -> Result<Self, StartError> {
        let daemon = loaded.config.daemon.clone();
        let clock = Clock::system();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let budget = Budget::of(daemon.memory, loaded.config.jobs.len(), cores);
        // Faults come before anything on disk is touched.
        let spill = Path::new(daemon.state_dir.as_str()).join("spill");
        let limits = wire::sql::limits(budget.sql_bytes, spill, clock.clone());
        let plan = plan::plan(loaded, &limits).map_err(StartError::Faults)?;
        Self::start_plan(&plan, budget, clock, cores).map_err(StartError::Other)
    }

    fn start_plan(plan: &Plan, budget: Budget, clock: Clock, cores: usize) -> anyhow::Result<Self> {
        let daemon = &plan.loaded.config.daemon;
        let state = State::open(Path::new(daemon.state_dir.as_str()), daemon.instance.as_deref())?;
        let state = Arc::new(state);
        empty(&state.spill_dir())?;
        let metrics = crate::metrics::install(daemon.memory)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores)
            .max_blocking_threads(4 * cores + 4 * plan.jobs.len() + 8)
            .thread_stack_size(WORKER_STACK)
            .thread_name("worker")
            .enable_all()
            .build()
            .context("cannot start the worker threads")?;
        // Before anything runs: from here on a signal stops in order.
        let signals = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let listener = http::bind(daemon.http.0)?;
        let stop = Stop::default();
        let (mut jobs, mut specs) = (Vec::new(), Vec::new());
        for planned in &plan.jobs {
            let (spec, bounds) = wire::job(planned, &state, budget, &clock);
            let progress = Arc::new(Progress::new(&planned.name, clock.clone()));
            specs.push((spec, progress.clone()));
            jobs.push(RunningJob {
                name: planned.name.clone(),
                progress,
                bounds,
                bounded: wire::source::is_bounded(&planned.settings.source),
                kinds: (wire::source::kind(&planned.settings.source), planned.settings.sink.kind()),
            });
        }
        let shared =
            Arc::new(Shared { jobs, clock, stall_after: daemon.stall_after, instance: state.instance().to_owned() });
        let http = http::serve(listener, shared.clone(), metrics)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            instance = state.instance(),
            jobs = shared.jobs.len(),
            http = %format_args!("http://{}", http.address),
            "tidemill runs"
        );
        let mut threads = Vec::new();
        for (spec, progress) in specs {
            threads.push(job::spawn(spec, progress, runtime.handle().clone(), stop.clone())?);
        }
        Ok(Self { shared, stop, http, runtime, threads, signals: Some(signals) })
    }

    /// Where asynchronous work runs.
    #[must_use]
    pub fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// True when no job does anything any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all jobs are over, or a signal has ended them. An unbounded job that failed keeps the daemon up:
    /// it can be looked at, and its neighbours go on. The answer is the process's exit code.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn wait(mut self, terminal: bool) -> anyhow::Result<u8> {
        let runtime = std::mem::replace(&mut self.runtime, no_runtime()?);
        let (mut term, mut int) = self.signals.take().context("the service is waited for already")?;
        let aborted = runtime.block_on(self.watch(terminal, &mut term, &mut int));
        if terminal {
            live::show("");
        }
        let code = if aborted { ABORTED } else { self.join() };
        runtime.shutdown_timeout(Duration::from_secs(if aborted { 0 } else { 5 }));
        Ok(code)
    }

    /// True when a second signal ended it.
    async fn watch(&self, terminal: bool, term: &mut Signal, int: &mut Signal) -> bool {
        let mut tick = tokio::time::interval(TICK);
        let all_bounded = self.shared.jobs.iter().all(|j| j.bounded);
        let mut line = Line::new(&self.shared);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if terminal {
                        line.draw(&self.shared);
                    }
                    let stopping = self.stop.gracefully.is_cancelled();
                    if self.is_over() && (all_bounded || stopping) {
                        return false;
                    }
                }
                _ = term.recv() => if self.signalled() { return true },
                _ = int.recv() => if self.signalled() { return true },
            }
        }
    }

    /// The first signal stops in order, the second at once: then true.
    fn signalled(&self) -> bool {
        if self.stop.gracefully.is_cancelled() {
            tracing::warn!("second signal, ending at once; what is not committed is read again at the next start");
            self.stop.now.cancel();
            return true;
        }
        tracing::info!("stopping: committing the last windows (a second signal ends at once)");
        self.stop.gracefully.cancel();
        false
    }

    /// Waits for all jobs and says what the process should exit with.
    pub fn join(&mut self) -> u8 {
        let ends = std::mem::take(&mut self.threads).into_iter().map(|thread| thread.join());
        let failed = ends.filter(|end| !matches!(end, Ok(JobEnd::Finished | JobEnd::Stopped))).count();
        if failed > 0 { FAILED } else { OK }
    }
}

fn no_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?)
}

/// What a killed process left of its spilled rows is of no use to anybody.
fn empty(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot empty {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The live line over time.
struct Line {
    at: Duration,
    before: Vec<Snapshot>,
}

impl Line {
    fn new(shared: &Shared) -> Self {
        Self { at: shared.clock.now(), before: shared.jobs.iter().map(|j| j.progress.snapshot()).collect() }
    }

    fn draw(&mut self, shared: &Shared) {
        let now: Vec<_> = shared.jobs.iter().map(|j| j.progress.snapshot()).collect();
        let elapsed = shared.clock.now().saturating_sub(self.at);
        let shown: Vec<_> = shared
            .jobs
            .iter()
            .zip(self.before.iter().zip(&now))
            .take(3)
            .map(|(job, (before, now))| live::describe(&job.name, before, now, elapsed))
            .collect();
        live::show(&shown.join("  |  "));
        if elapsed >= Duration::from_secs(2) {
            (self.at, self.before) = (shared.clock.now(), now);
        }
    }
}

/// `tidemill run`.
///
/// # Errors
/// What the machine refuses.
pub fn run(config: &Path, terminal: bool) -> anyhow::Result<u8> {
    let loaded = match tidemill_config::load(config, &tidemill_config::System) {
        Ok(loaded) => loaded,
        Err(faults) => {
            // With what is wrong in the sound parts' queries, so that all faults come at once.
            cli::print_faults(&plan::load(config).err().unwrap_or(faults));
            return Ok(FAULTY);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match Service::start(loaded) {
        Ok(service) => service.wait(terminal),
        Err(StartError::Faults(faults)) => {
            cli::print_faults(&faults);
            Ok(FAULTY)
        }
        Err(StartError::Other(error)) => Err(error),
    }
}
