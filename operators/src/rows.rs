//! Row-wise queries: a chain of compiled expressions, evaluated at once on the caller's thread. No planning, no
//! streams, nothing async, and no copy of a column that is only passed on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::streaming::StreamingTableExec;
use tidemill_engine::clock::Clock;
use tidemill_engine::operator::{OperatorError, RowOperator};

use crate::conform::Conform;
use crate::error::{SqlError, operator_error};
use crate::functions::HeldNow;
use crate::plan::same_columns;

/// A row-wise query.
pub struct SqlRows {
    input: SchemaRef,
    steps: Vec<Step>,
    conform: Conform,
    clock: Clock,
}

enum Step {
    /// Columns passed on.
    Select(Vec<usize>),
    /// Rows for which the predicate is true, of the columns to keep.
    Filter { predicate: Arc<dyn PhysicalExpr>, keep: Option<Vec<usize>> },
    /// Columns computed.
    Project { expressions: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef },
}

impl SqlRows {
    /// The chain of `plan`, or `None` when it has a node that needs more than one row at a time.
    pub(crate) fn compile(
        plan: &Arc<dyn ExecutionPlan>,
        input: SchemaRef,
        conform: Conform,
        clock: &Clock,
    ) -> Result<Option<Self>> {
        let mut steps = Vec::new();
        let mut node = plan;
        loop {
            if let Some(scan) = node.downcast_ref::<StreamingTableExec>() {
                if scan.limit().is_some() {
                    return Ok(None);
                }
                if let Some(columns) = scan.projection() {
                    steps.push(Step::Select(columns.to_vec()));
                }
                steps.reverse();
                return Ok(Some(Self { input, steps, conform, clock: clock.clone() }));
            }
            if let Some(filter) = node.downcast_ref::<FilterExec>() {
                if filter.fetch().is_some() {
                    return Ok(None);
                }
                steps.push(Step::Filter {
                    predicate: Arc::clone(filter.predicate()),
                    keep: filter.projection().as_ref().map(|p| p.to_vec()),
                });
                node = filter.input();
            } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
                steps.push(Step::Project {
                    expressions: projection.expr().iter().map(|e| Arc::clone(&e.expr)).collect(),
                    schema: projection.schema(),
                });
                node = projection.input();
            } else {
                return Ok(None);
            }
        }
    }

    /// Refuses expressions of more levels than a worker's stack is sure to hold.
    pub(crate) fn depth_within(&self, max: usize) -> std::result::Result<(), SqlError> {
        let mut open: Vec<(&Arc<dyn PhysicalExpr>, usize)> = Vec::new();
        for step in &self.steps {
            match step {
                Step::Select(_) => {}
                Step::Filter { predicate, .. } => open.push((predicate, 1)),
                Step::Project { expressions, .. } => open.extend(expressions.iter().map(|e| (e, 1))),
            }
        }
        while let Some((expr, depth)) = open.pop() {
            if depth > max {
                return Err(SqlError::new(format!("an expression has more than {max} levels: split it")));
            }
            open.extend(expr.children().into_iter().map(|child| (child, depth + 1)));
        }
        Ok(())
    }

    fn run(&self, mut batch: RecordBatch) -> Result<RecordBatch> {
        let _now = HeldNow::at(self.clock.wall_ms());
        for step in &self.steps {
            if batch.num_rows() == 0 {
                return Ok(RecordBatch::new_empty(Arc::clone(self.conform.schema())));
            }
            batch = step.run(batch)?;
        }
        let rows = batch.num_rows();
        let (_, columns, _) = batch.into_parts();
        Ok(self.conform.batch(columns, rows)?)
    }
}

impl Step {
    fn run(&self, batch: RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Select(columns) => Ok(batch.project(columns)?),
            Self::Filter { predicate, keep } => keep_rows(&batch, predicate, keep.as_deref()),
            Self::Project { expressions, schema } => {
                let rows = batch.num_rows();
                let columns =
                    expressions.iter().map(|e| e.evaluate(&batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
            }
        }
    }
}

fn keep_rows(batch: &RecordBatch, predicate: &Arc<dyn PhysicalExpr>, keep: Option<&[usize]>) -> Result<RecordBatch> {
    let mask = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
    let mask = as_boolean_array(&mask)?;
    let mask: &BooleanArray = &match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    };
    let kept = match keep {
        Some(columns) => batch.project(columns)?,
        None => batch.clone(),
    };
    if mask.true_count() == batch.num_rows() {
        return Ok(kept);
    }
    Ok(filter_record_batch(&kept, mask)?)
}

impl RowOperator for SqlRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.conform.schema())
    }

    fn apply(&self, rows: RecordBatch) -> std::result::Result<RecordBatch, OperatorError> {
        if !same_columns(&self.input, rows.schema_ref()) {
            return Err(OperatorError { message: schema_differs(&self.input, rows.schema_ref()) });
        }
        // A kernel that panics on some value refuses its row like any other error.
        match catch_unwind(AssertUnwindSafe(|| self.run(rows))) {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(operator_error(&error)),
            Err(panic) => Err(operator_error(&DataFusionError::Internal(panic_text(panic.as_ref())))),
        }
    }
}

pub(crate) fn schema_differs(planned: &SchemaRef, found: &SchemaRef) -> String {
    let columns = |s: &SchemaRef| {
        s.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>().join(", ")
    };
    format!(
        "the rows have other columns than the query was planned for: ({}), expected ({})",
        columns(found),
        columns(planned)
    )
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}
