//! From a query to an operator: planned once on a thread with room for deep expressions, checked against the input's
//! schema, and sorted into the two kinds.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use tidemill_engine::operator::Operator;

use crate::conform::Conform;
use crate::drive::InputStream;
use crate::error::SqlError;
use crate::functions::{Now, checked};
use crate::limits::SqlLimits;
use crate::query;
use crate::rows::SqlRows;
use crate::window::SqlWindow;

/// Parsing, checking and planning follow expressions recursively. Only what is touched becomes memory.
const STACK_BYTES: usize = 256 << 20;

/// Levels of one compiled expression: evaluation follows them on a worker's stack.
const EXPRESSION_DEPTH_MAX: usize = 256;

/// SQL as an operator of the engine.
pub struct SqlOperator;

impl SqlOperator {
    /// Plans `query` over the table `input` of the given schema. The operator refuses batches of any other schema.
    ///
    /// Row-wise queries give [`Operator::Rows`], all others [`Operator::Window`]. The operator's schema is exactly
    /// that of its batches; names are unique, types plain (see the crate's documentation).
    ///
    /// # Errors
    /// Anything but one read-only `SELECT` over `input`; unknown names; types that do not fit; two output columns of
    /// one name; a column without a type. With the place in the query where it is known.
    pub fn plan(query: &str, input: SchemaRef, limits: SqlLimits) -> Result<Operator, SqlError> {
        on_a_deep_stack(|| plan_here(query, input, limits))
    }

    /// The columns of `input` that `query` reads, in the schema's order: what a format has to decode. Planning the
    /// same query over only these columns gives the same output schema.
    ///
    /// # Errors
    /// As [`plan`](SqlOperator::plan).
    pub fn columns_used(query: &str, input: SchemaRef) -> Result<Vec<String>, SqlError> {
        on_a_deep_stack(|| columns_here(query, &input))
    }
}

fn plan_here(query: &str, input: SchemaRef, limits: SqlLimits) -> Result<Operator, SqlError> {
    let fail = |e: DataFusionError| SqlError::from_datafusion(&e, &input);
    let now = Now::all(&limits.clock);
    let (state, logical) = logical(query, &input, &limits, now)?;
    let physical = physical(&state, &logical).map_err(fail)?;
    let conform = Conform::new(&physical.schema())?;
    if let Some(rows) = SqlRows::compile(&physical, Arc::clone(&input), conform.clone(), &limits.clock).map_err(fail)? {
        rows.depth_within(EXPRESSION_DEPTH_MAX)?;
        return Ok(Operator::Rows(Arc::new(rows)));
    }
    // Over a window the standard functions are right: one time for the whole query, set when it starts.
    let (state, logical) = self::logical(query, &input, &limits, Vec::new())?;
    let state = at_time(&state, limits.clock.wall_ms());
    let physical = self::physical(&state, &logical).map_err(fail)?;
    let conform = Conform::new(&physical.schema())?;
    Ok(Operator::Window(Arc::new(SqlWindow::new(query, state, logical, scans(&physical), input, conform, limits))))
}

fn columns_here(query: &str, input: &SchemaRef) -> Result<Vec<String>, SqlError> {
    let read = |over: &SchemaRef| -> Result<(Vec<String>, SchemaRef), SqlError> {
        let limits = SqlLimits::default();
        let (state, logical) = logical(query, over, &limits, Now::all(&limits.clock))?;
        let plan = physical(&state, &logical).map_err(|e| SqlError::from_datafusion(&e, over))?;
        let mut used = BTreeSet::new();
        each_scan(&plan, &mut |scan| match scan.projection() {
            Some(columns) => used.extend(columns.iter().copied()),
            None => used.extend(0..over.fields().len()),
        });
        Ok((used.into_iter().map(|i| over.field(i).name().clone()).collect(), plan.schema()))
    };
    let all = || input.fields().iter().map(|f| f.name().clone()).collect();
    let (used, schema) = read(input)?;
    // A query may name columns without reading them (`* EXCEPT (a)`): only what plans alike without them counts.
    let indices: Vec<usize> = used.iter().filter_map(|name| input.index_of(name).ok()).collect();
    let Ok(fewer) = input.project(&indices).map(Arc::new) else { return Ok(all()) };
    match read(&fewer) {
        Ok((_, again)) if again == schema => Ok(used),
        _ => Ok(all()),
    }
}

/// Text to logical plan, analysed but not optimised.
fn logical(
    text: &str,
    input: &SchemaRef,
    limits: &SqlLimits,
    functions: Vec<datafusion::logical_expr::ScalarUDF>,
) -> Result<(SessionState, LogicalPlan), SqlError> {
    let fail = |e: DataFusionError| SqlError::from_datafusion(&e, input);
    let state = session(input, limits, functions).map_err(fail)?;
    let table_functions: Vec<&str> = state.table_functions().keys().map(String::as_str).collect();
    let statement = query::parse(text, limits.query_bytes_max, &table_functions)?;
    let plan = block_on(state.statement_to_plan(statement)).map_err(fail)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(fail)?;
    Ok((state, plan))
}

/// Optimises and compiles. Called again for each window, as plans of DataFusion hold the state of their execution.
pub(crate) fn physical(state: &SessionState, logical: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    checked(block_on(state.create_physical_plan(logical))?)
}

/// `state` with the time that `now()` stands for.
pub(crate) fn at_time(state: &SessionState, wall_ms: i64) -> SessionState {
    let mut state = state.clone();
    state.execution_props_mut().query_execution_start_time = chrono::DateTime::from_timestamp_millis(wall_ms);
    state
}

fn session(
    input: &SchemaRef,
    limits: &SqlLimits,
    functions: Vec<datafusion::logical_expr::ScalarUDF>,
) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let options = config.options_mut();
    // JSON's names are mixed case more often than SQL's.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.enable_recursive_ctes = false;
    options.execution.time_zone = Some("+00:00".to_owned());
    if let (_, Some(bytes)) = limits.pool() {
        // What a sort sets aside to merge its runs; the default alone would fill a small pool.
        let reservation = &mut options.execution.sort_spill_reservation_bytes;
        *reservation = (*reservation).min(bytes / 8);
    }
    let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    let context = SessionContext::new_with_state(state);
    for function in functions {
        context.register_udf(function);
    }
    let table = StreamingTable::try_new(Arc::clone(input), vec![Arc::new(InputStream::new(Arc::clone(input)))])?;
    context.register_table(query::TABLE, Arc::new(table))?;
    Ok(context.state())
}

/// How often a plan reads the input.
fn scans(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let mut scans = 0;
    each_scan(plan, &mut |_| scans += 1);
    scans
}

fn each_scan(plan: &Arc<dyn ExecutionPlan>, seen: &mut dyn FnMut(&StreamingTableExec)) {
    if let Some(scan) = plan.downcast_ref::<StreamingTableExec>() {
        seen(scan);
    }
    for child in plan.children() {
        each_scan(child, seen);
    }
}

fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> Result<T, SqlError> + Send) -> Result<T, SqlError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("sql-plan".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|e| SqlError::new(format!("cannot start a thread to plan the query: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(SqlError::new("the query engine panicked while planning this query")))
    })
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Planning is async in name only (all tables are in memory): no runtime is needed, nor may one be disturbed.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// True when a batch of `found` can stand for `expected`: same names and types; nullability is checked by whoever
/// made the batch.
pub(crate) fn same_columns(expected: &Schema, found: &Schema) -> bool {
    std::ptr::eq(expected, found)
        || (expected.fields().len() == found.fields().len()
            && expected
                .fields()
                .iter()
                .zip(found.fields())
                .all(|(e, f)| Arc::ptr_eq(e, f) || (e.name() == f.name() && e.data_type() == f.data_type())))
}
