//! What runs the query of one window: rows in through a bounded channel, results out through another.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::StreamExt;
use tidemill_engine::operator::OperatorError;
use tokio::sync::{mpsc, watch};

use crate::conform::Conform;
use crate::error::operator_error;
use crate::hold::{Held, Hold};
use crate::plan::{at_time, physical};

/// The table `input` as a plan sees it. Which window's rows it gives is up to the context that the plan runs in.
pub(crate) struct InputStream {
    schema: SchemaRef,
}

impl InputStream {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }
}

impl fmt::Debug for InputStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputStream")
    }
}

/// The rows of one window, put into the session's extensions.
enum Feed {
    /// As they come; can be read once.
    Live(Mutex<Option<mpsc::Receiver<RecordBatch>>>),
    /// All of them, as often as wanted.
    Held(Arc<Held>),
}

impl PartitionStream for InputStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let found = match context.session_config().get_extension::<Feed>().as_deref() {
            Some(Feed::Held(held)) => held.stream(),
            Some(Feed::Live(rows)) => match rows.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(rows) => {
                    let rows = futures::stream::unfold(rows, |mut rows| async {
                        rows.recv().await.map(|batch| (Ok(batch), rows))
                    });
                    Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)) as _)
                }
                None => Err(DataFusionError::Internal("the plan reads its input twice".to_owned())),
            },
            None => Err(DataFusionError::Internal("the plan runs without a window".to_owned())),
        };
        found.unwrap_or_else(|error| {
            let failed = futures::stream::iter([Err(error)]);
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), failed))
        })
    }
}

/// What all windows of an operator have in common.
pub(crate) struct Query {
    pub(crate) state: SessionState,
    pub(crate) logical: LogicalPlan,
    /// How often the plan reads the input: more than once, and the window is held first.
    pub(crate) scans: usize,
    pub(crate) input: SchemaRef,
    pub(crate) conform: Conform,
    pub(crate) output_rows_max: u64,
    /// Bytes that rows which wait may take of the pool.
    pub(crate) hold_bytes_max: usize,
}

/// One window's ends of the channels, as the driver holds them.
pub(crate) struct Window {
    pub(crate) env: Arc<RuntimeEnv>,
    pub(crate) started_ms: i64,
    pub(crate) rows: mpsc::Receiver<RecordBatch>,
    /// True when no more rows come and results may be sent.
    pub(crate) finished: watch::Receiver<bool>,
    /// Closed when nobody wants results: the window is aborted.
    pub(crate) results: mpsc::Sender<std::result::Result<RecordBatch, OperatorError>>,
    /// Why rows are not taken any more.
    pub(crate) failed: Arc<Mutex<Option<OperatorError>>>,
}

/// Runs a window to its end, its error or its abort. On a thread that may block.
pub(crate) async fn drive(query: Arc<Query>, window: Window) {
    let Window { env, started_ms, rows, finished, results, failed } = window;
    let work = run(&query, &env, started_ms, rows, finished, &results);
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = results.closed() => Ok(()),
    };
    if let Err(error) = outcome {
        let error = operator_error(&error);
        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        // Room is certain while the window fills, as results are sent only after its end.
        let _ = results.send(Err(error)).await;
    }
}

async fn run(
    query: &Query,
    env: &Arc<RuntimeEnv>,
    started_ms: i64,
    mut rows: mpsc::Receiver<RecordBatch>,
    mut finished: watch::Receiver<bool>,
    results: &mpsc::Sender<std::result::Result<RecordBatch, OperatorError>>,
) -> Result<()> {
    let feed = if query.scans > 1 {
        let mut hold = Hold::new("rows of a window", Arc::clone(&query.input), env, query.hold_bytes_max);
        while let Some(batch) = rows.recv().await {
            hold.push(batch)?;
        }
        if !*finished.borrow() {
            return Ok(());
        }
        Feed::Held(Arc::new(hold.finish()?))
    } else {
        Feed::Live(Mutex::new(Some(rows)))
    };
    let state = at_time(&query.state, started_ms);
    let plan = physical(&state, &query.logical)?;
    let config = state.config().clone().with_extension(Arc::new(feed));
    let context = Arc::new(TaskContext::from(&state).with_session_config(config).with_runtime(Arc::clone(env)));
    let mut stream = execute_stream(plan, context)?;
    // Results that come while the window still fills (`LIMIT`, `UNION`, `unnest`) wait: whoever pushes does not read.
    let mut early = Some(Hold::new("early results", Arc::clone(query.conform.schema()), env, query.hold_bytes_max));
    let mut sent = 0u64;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        sent += batch.num_rows() as u64;
        if sent > query.output_rows_max {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the query gives more than {} rows for one window",
                query.output_rows_max
            )));
        }
        let count = batch.num_rows();
        let (_, columns, _) = batch.into_parts();
        let batch = query.conform.batch(columns, count)?;
        match &mut early {
            Some(hold) if !*finished.borrow() => hold.push(batch)?,
            _ => {
                if !flush(early.take(), results).await? || results.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    // A query that has enough stops taking rows: with its stream goes the other end of the input channel.
    drop(stream);
    if finished.wait_for(|finished| *finished).await.is_ok() {
        flush(early, results).await?;
    }
    Ok(())
}

/// Sends what waited. False: nobody wants it.
async fn flush(
    early: Option<Hold>,
    results: &mpsc::Sender<std::result::Result<RecordBatch, OperatorError>>,
) -> Result<bool> {
    let Some(early) = early else { return Ok(true) };
    let mut waiting = Arc::new(early.finish()?).stream()?;
    while let Some(batch) = waiting.next().await {
        if results.send(Ok(batch?)).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
