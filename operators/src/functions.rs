//! Where this SQL differs from DataFusion's defaults: time that does not freeze, and integers that do not wrap.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use tidemill_engine::clock::Clock;

use crate::guard::Guarded;

const DAY_MS: i64 = 86_400_000;
const MS_NS: i64 = 1_000_000;

thread_local! {
    /// The time of the batch being worked on by this thread: one for all the calls of a query.
    static BATCH_MS: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Holds `now()` on this thread until dropped.
pub(crate) struct HeldNow;

impl HeldNow {
    pub(crate) fn at(wall_ms: i64) -> Self {
        BATCH_MS.set(Some(wall_ms));
        Self
    }
}

impl Drop for HeldNow {
    fn drop(&mut self) {
        BATCH_MS.set(None);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Timestamp,
    Date,
    Time,
}

/// DataFusion replaces `now()` and its kin by a constant when it plans, which for a query that is planned once and
/// runs for months is the time of the start. These are evaluated, hence declared volatile.
#[derive(Debug)]
pub(crate) struct Now {
    kind: Kind,
    clock: Clock,
    signature: Signature,
    aliases: Vec<String>,
}

impl Now {
    /// `now`, `current_date`, `current_time` and their aliases.
    pub(crate) fn all(clock: &Clock) -> Vec<ScalarUDF> {
        [(Kind::Timestamp, &["current_timestamp"][..]), (Kind::Date, &["today"]), (Kind::Time, &[])]
            .into_iter()
            .map(|(kind, aliases)| {
                ScalarUDF::from(Self {
                    kind,
                    clock: clock.clone(),
                    signature: Signature::nullary(Volatility::Volatile),
                    aliases: aliases.iter().map(|a| (*a).to_owned()).collect(),
                })
            })
            .collect()
    }
}

impl PartialEq for Now {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Now {}

impl Hash for Now {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Timestamp => "now",
            Kind::Date => "current_date",
            Kind::Time => "current_time",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("+00:00"))),
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Nanosecond),
        })
    }

    fn return_field_from_args(
        &self,
        _args: datafusion::logical_expr::ReturnFieldArgs,
    ) -> Result<arrow::datatypes::FieldRef> {
        Ok(Arc::new(arrow::datatypes::Field::new(self.name(), self.return_type(&[])?, false)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ms = BATCH_MS.get().unwrap_or_else(|| self.clock.wall_ms());
        Ok(ColumnarValue::Scalar(match self.kind {
            Kind::Timestamp => {
                ScalarValue::TimestampNanosecond(Some(ms.saturating_mul(MS_NS)), Some(Arc::from("+00:00")))
            }
            Kind::Date => ScalarValue::Date32(i32::try_from(ms.div_euclid(DAY_MS)).ok()),
            Kind::Time => ScalarValue::Time64Nanosecond(Some(ms.rem_euclid(DAY_MS) * MS_NS)),
        }))
    }
}

/// `plan` with filters whose parts protect each other, and integer arithmetic that errs on overflow in its filters, select lists and aggregates' arguments.
/// DataFusion's own choice is to wrap: a wrong number in a table, and nobody told.
pub(crate) fn checked(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    plan.transform_up(|node| {
        if let Some(filter) = node.downcast_ref::<FilterExec>() {
            let predicate = Guarded::filter(checked_expr(filter.predicate())?.data);
            if !Arc::ptr_eq(&predicate, filter.predicate()) {
                let filter = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
                return Ok(Transformed::yes(Arc::new(filter) as Arc<dyn ExecutionPlan>));
            }
        } else if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
            let mut changed = false;
            let mut expressions = Vec::with_capacity(projection.expr().len());
            for ProjectionExpr { expr, alias } in projection.expr() {
                let expr = checked_expr(expr)?;
                changed |= expr.transformed;
                expressions.push(ProjectionExpr::new(expr.data, alias.clone()));
            }
            if changed {
                let projection = ProjectionExec::try_new_with_schema_metadata(
                    expressions,
                    Arc::clone(projection.input()),
                    &node.schema(),
                )?;
                return Ok(Transformed::yes(Arc::new(projection) as Arc<dyn ExecutionPlan>));
            }
        } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            let mut changed = false;
            let mut functions = Vec::with_capacity(aggregate.aggr_expr().len());
            for function in aggregate.aggr_expr() {
                let args: Vec<_> = function.expressions().iter().map(checked_expr).collect::<Result<_>>()?;
                let order_by = function.order_bys().iter().map(|o| Arc::clone(&o.expr)).collect();
                let new = args
                    .iter()
                    .any(|a| a.transformed)
                    .then(|| function.with_new_expressions(args.into_iter().map(|a| a.data).collect(), order_by))
                    .flatten();
                changed |= new.is_some();
                functions.push(new.map_or_else(|| Arc::clone(function), Arc::new));
            }
            if changed {
                let aggregate = aggregate.with_new_aggr_exprs(functions);
                return Ok(Transformed::yes(Arc::new(aggregate) as Arc<dyn ExecutionPlan>));
            }
        }
        Ok(Transformed::no(node))
    })
    .map(|plan| plan.data)
}

fn checked_expr(expr: &Arc<dyn PhysicalExpr>) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    Arc::clone(expr).transform_up(|node| {
        let Some(binary) = node.downcast_ref::<BinaryExpr>() else { return Ok(Transformed::no(node)) };
        if !matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) {
            return Ok(Transformed::no(node));
        }
        let binary = BinaryExpr::new(Arc::clone(binary.left()), *binary.op(), Arc::clone(binary.right()));
        Ok(Transformed::yes(Arc::new(binary.with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
    })
}
