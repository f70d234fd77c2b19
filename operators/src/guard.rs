//! `AND` that protects what stands to the right of it.
//!
//! DataFusion evaluates `x <> 0 AND 10 / x > 1` on a whole batch, and whether the zero in it is an error depends on the
//! other rows. Here the parts of a filter are evaluated one after the other, each on the rows that are left, whenever
//! the whole fails: the cheap way first, and an error only where a row itself has one.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};

/// A filter's predicate of several parts. True, or not true (null counts as false).
#[derive(Debug, Eq)]
pub(crate) struct Guarded {
    whole: Arc<dyn PhysicalExpr>,
}

// Not derived: rust-lang/rust issue 78808.
impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.whole.eq(&other.whole)
    }
}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.whole.hash(state);
    }
}

impl Guarded {
    /// `predicate`, guarded if it has several parts.
    pub(crate) fn filter(predicate: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        let guarded = (predicate.as_ref() as &dyn Any).is::<Self>();
        if guarded || split_conjunction(&predicate).len() < 2 { predicate } else { Arc::new(Self { whole: predicate }) }
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.whole.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if let Ok(mask) = self.whole.evaluate(batch) {
            return Ok(mask);
        }
        let rows = batch.num_rows();
        let mut left = BooleanArray::from(vec![true; rows]);
        for part in split_conjunction(&self.whole) {
            let mask = part.evaluate_selection(batch, &left)?.into_array(rows)?;
            let mask = as_boolean_array(&mask)?;
            // What was not selected comes back as null, or, of a constant, as true.
            let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
            left = arrow::compute::and(&left, &mask)?;
        }
        Ok(ColumnarValue::Array(Arc::new(left)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.whole]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(match children.pop() {
            Some(whole) => Arc::new(Self { whole }),
            None => self,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt_sql(f)
    }
}
