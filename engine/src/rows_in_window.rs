//! A row-wise operator behind a window operator: it passes batches on as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::operator::{OpenWindow, OperatorError, RowOperator, WindowOperator, WindowRows};

/// Holds what it made until the window's end; what a window operator gives is small beside its input.
pub(crate) struct RowsInWindow(pub Arc<dyn RowOperator>);

impl WindowOperator for RowsInWindow {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn open(&self) -> Box<dyn OpenWindow> {
        Box::new(Open { operator: self.0.clone(), done: VecDeque::new() })
    }
}

struct Open {
    operator: Arc<dyn RowOperator>,
    done: VecDeque<RecordBatch>,
}

#[async_trait]
impl OpenWindow for Open {
    async fn push(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.done.push_back(self.operator.apply(rows)?);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Box<dyn WindowRows> {
        self
    }
}

#[async_trait]
impl WindowRows for Open {
    async fn next(&mut self) -> Option<Result<RecordBatch, OperatorError>> {
        self.done.pop_front().map(Ok)
    }
}
