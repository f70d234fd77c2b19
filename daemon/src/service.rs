//! The process: everything is put together here, signals are heard, and the exit code comes out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tidemill_config::{Fault, Loaded};
use tidemill_engine::clock::Clock;
use tidemill_engine::job::Stop;
use tidemill_engine::progress::Snapshot;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, ABORTED, FAILED, FAULTY, OK};
use crate::http::{self, Http};
use crate::jobs::{Live, Shared};
use crate::machine::{Found, Machine};
use crate::plan::{self, Plan};
use crate::state::State;
use crate::supervisor::{self, Maker, Origin, Supervisor};
use crate::wire::budget::Budget;
use crate::{live, wire};

/// Decoding recurses no deeper than 64, SQL plans on stacks of its own.
const WORKER_STACK: usize = 2 << 20;
/// How often the line on a terminal is drawn.
const TICK: Duration = Duration::from_millis(200);
/// Jobs that the bound on blocking threads has room for, at least.
const MOST_JOBS: usize = 64;

/// A started daemon.
pub struct Service {
    /// Shared with HTTP.
    pub shared: Arc<Shared>,
    /// Stops all jobs.
    pub stop: Stop,
    /// Where HTTP listens.
    pub http: Http,
    runtime: tokio::runtime::Runtime,
    supervisor: Option<JoinHandle<u8>>,
    /// The supervisor's thread has done its work.
    ended: CancellationToken,
    signals: Option<[Signal; 3]>,
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
    /// Plans `loaded` and starts all its jobs. `origin`: how it can be read again for a reload.
    ///
    /// # Errors
    /// Faults of the configuration, or what the machine refuses. Nothing runs then.
    pub fn start(loaded: Loaded, origin: Option<Origin>) -> Result<Self, StartError> {
        let daemon = loaded.config.daemon.clone();
        let clock = Clock::system();
        let machine = Machine::here();
        let (memory, cores) = (machine.memory(daemon.memory), machine.processors());
        let budget = Budget::of(memory.number, loaded.config.jobs.len(), cores.number);
        // Faults come before anything on disk is touched.
        let spill = Path::new(daemon.state_dir.as_str()).join("spill");
        let limits = wire::sql::limits(budget.sql_bytes, spill, clock.clone());
        let plan = plan::plan(loaded, &limits).map_err(StartError::Faults)?;
        Self::start_plan(plan, origin, limits, clock, &memory, &cores).map_err(StartError::Other)
    }

    fn start_plan(
        plan: Plan,
        origin: Option<Origin>,
        limits: wire::sql::Limits,
        clock: Clock,
        memory: &Found<u64>,
        cores: &Found<usize>,
    ) -> anyhow::Result<Self> {
        let config = plan.loaded.config;
        let daemon = &config.daemon;
        let state = State::open(Path::new(daemon.state_dir.as_str()), daemon.instance.as_deref())?;
        let state = Arc::new(state);
        empty(&state.spill_dir())?;
        tracing::info!(
            memory_mib = memory.number >> 20,
            memory_from = memory.from,
            processors = cores.number,
            processors_from = cores.from,
            "what this daemon may use"
        );
        let (memory, cores) = (memory.number, cores.number);
        let metrics = crate::metrics::install(memory)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores)
            // A bound, not a number of threads; jobs that a reload adds need theirs too.
            .max_blocking_threads(4 * cores + 4 * plan.jobs.len().max(MOST_JOBS) + 8)
            .thread_stack_size(WORKER_STACK)
            .thread_name("worker")
            .enable_all()
            .build()
            .context("cannot start the worker threads")?;
        // Before anything runs: from here on a signal stops in order.
        let signals = {
            let _inside = runtime.enter();
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?]
        };
        let listener = http::bind(daemon.http.0)?;
        let stop = Stop::default();
        let (asking, heard) = supervisor::channel();
        let shared = Arc::new(Shared::new(clock.clone(), state.instance().to_owned(), asking, Live::of(&config)));
        let http = http::serve(listener, shared.clone(), metrics)?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            instance = state.instance(),
            jobs = plan.jobs.len(),
            http = %format_args!("http://{}", http.address),
            "tidemill runs"
        );
        let maker =
            Maker { state, memory, cores, limits, clock, runtime: runtime.handle().clone(), gates: BTreeMap::new() };
        let supervisor = Supervisor::new(shared.clone(), heard, stop.clone(), maker, origin, config, plan.jobs);
        let ended = CancellationToken::new();
        let ending = ended.clone().drop_guard();
        let supervisor = std::thread::Builder::new().name("supervisor".into()).spawn(move || {
            let _ending = ending;
            supervisor.run()
        })?;
        Ok(Self { shared, stop, http, runtime, supervisor: Some(supervisor), ended, signals: Some(signals) })
    }

    /// Where asynchronous work runs.
    #[must_use]
    pub fn handle(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// True when no job does anything any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.jobs().iter().all(|job| job.progress.state().is_over())
    }

    /// Waits until all jobs are over, or a signal has ended them. An unbounded job that failed keeps the daemon up:
    /// it can be looked at, and its neighbours go on. The answer is the process's exit code.
    ///
    /// # Errors
    /// When signals cannot be listened to.
    pub fn wait(mut self, terminal: bool) -> anyhow::Result<u8> {
        let runtime = std::mem::replace(&mut self.runtime, no_runtime()?);
        let mut signals = self.signals.take().context("the service is waited for already")?;
        let aborted = runtime.block_on(self.watch(terminal, &mut signals));
        if terminal {
            live::show("");
        }
        let code = if aborted { ABORTED } else { self.join() };
        runtime.shutdown_timeout(Duration::from_secs(if aborted { 0 } else { 5 }));
        Ok(code)
    }

    /// Until the supervisor has ended. True when a second signal ended it.
    async fn watch(&self, terminal: bool, [term, int, hup]: &mut [Signal; 3]) -> bool {
        let mut tick = tokio::time::interval(TICK);
        let mut line = Line::new(&self.shared);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    if terminal {
                        line.draw(&self.shared);
                    }
                }
                () = self.ended.cancelled() => return false,
                _ = term.recv() => if self.signalled() { return true },
                _ = int.recv() => if self.signalled() { return true },
                _ = hup.recv() => {
                    tracing::info!("SIGHUP: taking over the configuration as it is now");
                    self.shared.asking.reload_soon();
                }
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
        self.supervisor.take().map_or(OK, |supervisor| supervisor.join().unwrap_or(FAILED))
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
    before: BTreeMap<String, Snapshot>,
}

impl Line {
    fn new(shared: &Shared) -> Self {
        Self { at: shared.clock.now(), before: snapshots(shared) }
    }

    fn draw(&mut self, shared: &Shared) {
        let now = snapshots(shared);
        let forecast = |name: &str| {
            let job = shared.job(name).filter(|job| job.is_bounded() && !job.progress.state().is_over())?;
            Some(job.progress.forecast())
        };
        let elapsed = shared.clock.now().saturating_sub(self.at);
        let line = |(name, now): (&String, &Snapshot)| {
            live::describe(name, self.before.get(name).unwrap_or(now), now, elapsed, forecast(name))
        };
        live::show(&now.iter().take(3).map(line).collect::<Vec<_>>().join("  |  "));
        if elapsed >= Duration::from_secs(2) {
            (self.at, self.before) = (shared.clock.now(), now);
        }
    }
}

fn snapshots(shared: &Shared) -> BTreeMap<String, Snapshot> {
    shared.jobs().iter().map(|job| (job.name.clone(), job.progress.snapshot())).collect()
}

/// `tidemill run`.
///
/// # Errors
/// What the machine refuses.
pub fn run(origin: Origin, terminal: bool) -> anyhow::Result<u8> {
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(faults) => {
            cli::print_faults(&faults);
            return Ok(FAULTY);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match Service::start(loaded, Some(origin)) {
        Ok(service) => service.wait(terminal),
        Err(StartError::Faults(faults)) => {
            cli::print_faults(&faults);
            Ok(FAULTY)
        }
        Err(StartError::Other(error)) => Err(error),
    }
}
