//! What happens to rows between the format and the sink.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

/// One step of a job's chain.
#[derive(Clone)]
pub enum Operator {
    /// Each batch on its own: streams while the window fills, on the decode workers.
    Rows(Arc<dyn RowOperator>),
    /// Needs the whole window.
    Window(Arc<dyn WindowOperator>),
}

impl Operator {
    /// Schema of the rows it makes.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Rows(op) => op.schema(),
            Self::Window(op) => op.schema(),
        }
    }
}

/// Maps a batch to a batch, row by row: what it makes of a row does not depend on the other rows.
/// Called from several threads; blocking, CPU only.
pub trait RowOperator: Send + Sync {
    /// Schema of the rows it makes.
    fn schema(&self) -> SchemaRef;

    /// An error means that at least one row is refused; the caller finds out which by halves.
    fn apply(&self, rows: RecordBatch) -> Result<RecordBatch, OperatorError>;
}

/// Takes the rows of a window and gives its result at the end.
#[async_trait]
pub trait WindowOperator: Send + Sync {
    /// Schema of the rows it makes.
    fn schema(&self) -> SchemaRef;

    /// Starts a window.
    fn open(&self) -> Box<dyn OpenWindow>;

    /// What it does, for messages: the text of its query. Empty: nothing to say.
    fn describe(&self) -> String {
        String::new()
    }
}

/// A window being filled. Dropped without [`finish`](OpenWindow::finish) = aborted.
#[async_trait]
pub trait OpenWindow: Send {
    /// Takes rows; waits when memory is short.
    async fn push(&mut self, rows: RecordBatch) -> Result<(), OperatorError>;

    /// No more rows come. Calls `next` until it answers `None`.
    fn finish(self: Box<Self>) -> Box<dyn WindowRows>;
}

/// The rows that came of a window.
#[async_trait]
pub trait WindowRows: Send {
    /// The next batch; `None` at the end.
    async fn next(&mut self) -> Option<Result<RecordBatch, OperatorError>>;
}

/// A row, or a window, that an operator refuses.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct OperatorError {
    /// What happened, in the words of the engine that runs the query.
    pub message: String,
}
