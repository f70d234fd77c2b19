//! Queries that need the whole window.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::Result;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use tidemill_engine::operator::{OpenWindow, OperatorError, WindowOperator, WindowRows};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::conform::Conform;
use crate::drive::{Query, Window, drive};
use crate::error::operator_error;
use crate::limits::SqlLimits;
use crate::plan::same_columns;
use crate::rows::{panic_text, schema_differs};

/// Batches in either channel: enough to keep both sides busy, few enough not to count.
const CHANNEL_BATCHES: usize = 2;

/// A share of the pool: rows that wait leave three quarters to the query.
const HOLD_SHARE: usize = 4;

/// A query over whole windows. While a window fills, its rows stream into the running query (or are held, when the
/// query reads them more than once); what holds rows does so in the memory pool and spills. Each window that has rows
/// takes one blocking thread of the runtime from its first row to its end.
pub struct SqlWindow {
    text: String,
    query: Arc<Query>,
    shared: Arc<Shared>,
}

struct Shared {
    limits: SqlLimits,
    pool: Arc<dyn MemoryPool>,
    /// Made when the first window starts, as it makes folders.
    env: OnceLock<Arc<RuntimeEnv>>,
}

impl SqlWindow {
    pub(crate) fn new(
        text: &str,
        state: SessionState,
        logical: LogicalPlan,
        scans: usize,
        input: SchemaRef,
        conform: Conform,
        limits: SqlLimits,
    ) -> Self {
        let (pool, bytes) = limits.pool();
        let query = Query {
            state,
            logical,
            scans,
            input,
            conform,
            output_rows_max: limits.output_rows_max,
            hold_bytes_max: bytes.map_or(usize::MAX, |bytes| bytes / HOLD_SHARE),
        };
        Self {
            text: text.to_owned(),
            query: Arc::new(query),
            shared: Arc::new(Shared { limits, pool, env: OnceLock::new() }),
        }
    }

    /// True when rows go into the query as they come, false when the window is held first.
    #[must_use]
    pub fn streams_in(&self) -> bool {
        self.query.scans <= 1
    }
}

impl Shared {
    fn env(&self) -> Result<Arc<RuntimeEnv>> {
        if let Some(env) = self.env.get() {
            return Ok(Arc::clone(env));
        }
        let mode = match &self.limits.spill_dir {
            Some(dir) => DiskManagerMode::Directories(vec![dir.clone()]),
            None => DiskManagerMode::Disabled,
        };
        let disk =
            DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(self.limits.spill_bytes_max);
        let env = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&self.pool))
            .with_disk_manager_builder(disk)
            .build_arc()?;
        Ok(Arc::clone(self.env.get_or_init(|| env)))
    }
}

impl WindowOperator for SqlWindow {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.query.conform.schema())
    }

    fn describe(&self) -> String {
        self.text.clone()
    }

    fn open(&self) -> Box<dyn OpenWindow> {
        Box::new(Filling {
            query: Arc::clone(&self.query),
            shared: Arc::clone(&self.shared),
            running: None,
            wait: Wait { left: self.shared.limits.deadline },
        })
    }
}

/// How long the caller may still wait for the query.
#[derive(Clone, Copy)]
struct Wait {
    left: Option<Duration>,
}

impl Wait {
    async fn on<T>(&mut self, work: impl Future<Output = T>) -> Result<T, OperatorError> {
        let Some(left) = &mut self.left else { return Ok(work.await) };
        let begun = Instant::now();
        let done = timeout(*left, work).await;
        *left = left.saturating_sub(begun.elapsed());
        done.map_err(|_| OperatorError {
            message: "the window's query took longer than its deadline: make the window smaller or the query simpler"
                .to_owned(),
        })
    }
}

type Results = mpsc::Receiver<Result<RecordBatch, OperatorError>>;

struct Filling {
    query: Arc<Query>,
    shared: Arc<Shared>,
    running: Option<Running>,
    wait: Wait,
}

/// Our ends of the channels. Dropping `results` aborts the query.
struct Running {
    rows: mpsc::Sender<RecordBatch>,
    finished: watch::Sender<bool>,
    results: Results,
    failed: Arc<Mutex<Option<OperatorError>>>,
    driver: JoinHandle<()>,
}

impl Running {
    fn start(query: &Arc<Query>, shared: &Shared) -> Result<Self> {
        let (rows, rows_in) = mpsc::channel(CHANNEL_BATCHES);
        let (results_out, results) = mpsc::channel(CHANNEL_BATCHES);
        let (finished, is_finished) = watch::channel(false);
        let failed = Arc::new(Mutex::new(None));
        let window = Window {
            env: shared.env()?,
            started_ms: shared.limits.clock.wall_ms(),
            rows: rows_in,
            finished: is_finished,
            results: results_out,
            failed: Arc::clone(&failed),
        };
        let query = Arc::clone(query);
        let runtime = tokio::runtime::Handle::current();
        // A query computes for as long as it likes: not on the threads that serve everybody else.
        let driver = tokio::task::spawn_blocking(move || runtime.block_on(drive(query, window)));
        Ok(Self { rows, finished, results, failed, driver })
    }
}

#[async_trait]
impl OpenWindow for Filling {
    async fn push(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        if !same_columns(&self.query.input, rows.schema_ref()) {
            return Err(OperatorError { message: schema_differs(&self.query.input, rows.schema_ref()) });
        }
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.query, &self.shared).map_err(|e| operator_error(&e))?),
        };
        if self.wait.on(running.rows.send(rows)).await?.is_ok() {
            return Ok(());
        }
        // Nobody takes rows: the query failed, or has all it wants. Which of the two is known a moment later at the
        // latest, and `next` tells it in any case.
        let failed = running.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.map_or(Ok(()), Err)
    }

    fn finish(self: Box<Self>) -> Box<dyn WindowRows> {
        Box::new(Emptying {
            wait: self.wait,
            running: self.running.map(|running| {
                // In this order: the end of the rows must find the window finished, not aborted.
                running.finished.send_replace(true);
                (running.results, running.driver)
            }),
        })
    }
}

/// A window that gives its results.
struct Emptying {
    wait: Wait,
    running: Option<(Results, JoinHandle<()>)>,
}

#[async_trait]
impl WindowRows for Emptying {
    async fn next(&mut self) -> Option<Result<RecordBatch, OperatorError>> {
        let (results, driver) = self.running.as_mut()?;
        let result = match self.wait.on(results.recv()).await {
            Ok(Some(result)) => Some(result),
            // The channel also closes when the driver panics.
            Ok(None) => match driver.await {
                Ok(()) => None,
                Err(e) if e.is_panic() => Some(Err(OperatorError {
                    message: format!("the query engine failed: {}", panic_text(e.into_panic().as_ref())),
                })),
                Err(_) => Some(Err(OperatorError { message: "the runtime is shutting down".to_owned() })),
            },
            Err(late) => Some(Err(late)),
        };
        if !matches!(result, Some(Ok(_))) {
            self.running = None;
        }
        result
    }
}
