//! The work on one chunk that needs no order and no other chunk: decoding and row-wise operators, on a worker thread.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::chunk::Chunk;
use crate::format::{Decoder, Format, Reject, Stage};
use crate::metrics::REFUSED_BY_OPERATOR;
use crate::operator::{OperatorError, RowOperator};

/// Chunks up to this size are decoded in some tenths of a millisecond.
const QUICK_RECORDS: usize = 512;
const QUICK_BYTES: usize = 128 << 10;

/// Decoders and the row-wise head of the operator chain, shared by the workers of one job.
pub struct DecodeStage {
    format: Arc<dyn Format>,
    operators: Vec<Arc<dyn RowOperator>>,
    idle: Mutex<Vec<Box<dyn Decoder>>>,
}

/// A chunk's rows behind the row-wise operators, and what was refused.
pub struct DecodedChunk {
    /// Rows for the window operators or the sink.
    pub rows: RecordBatch,
    /// Rows before the operators.
    pub decoded_rows: usize,
    /// Refused records, of decoder and operators.
    pub rejects: Vec<Reject>,
    /// Tombstones passed over.
    pub tombstones_skipped: u64,
    /// The chunk, to be used again.
    pub chunk: Chunk,
}

impl DecodeStage {
    /// A stage that decodes with `format` and applies `operators` in order.
    #[must_use]
    pub fn new(format: Arc<dyn Format>, operators: Vec<Arc<dyn RowOperator>>) -> Self {
        Self { format, operators, idle: Mutex::default() }
    }

    /// Schema of the rows it makes.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.operators.last().map_or_else(|| self.format.schema(), |op| op.schema())
    }

    /// True when the work on a chunk takes no longer than handing it to another thread.
    #[must_use]
    pub fn is_quick_on(&self, chunk: &Chunk) -> bool {
        self.operators.is_empty() && chunk.len() <= QUICK_RECORDS && chunk.bytes() <= QUICK_BYTES
    }

    /// Gives back the memory of decoders that have nothing to do.
    pub fn rest(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Works on a chunk. Blocking; called from several threads.
    #[must_use]
    pub fn work(&self, chunk: Chunk) -> DecodedChunk {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let popped = idle().pop();
        let mut decoder = popped.unwrap_or_else(|| self.format.decoder());
        let decoded = decoder.decode(&chunk);
        idle().push(decoder);

        let decoded_rows = decoded.rows.num_rows();
        let mut rejects = decoded.rejects;
        let rows = if self.operators.is_empty() {
            decoded.rows
        } else {
            let mut refused = Vec::new();
            let rows = self.apply_by_halves(decoded.rows, 0, &mut refused);
            rejects.extend(refused.into_iter().map(|(row, error)| {
                let record = decoded.records.as_ref().map_or(row, |map| map[row] as usize);
                Reject {
                    record: chunk.record(record).to_owned_record(),
                    stage: Stage::Sql,
                    cause: REFUSED_BY_OPERATOR,
                    error: error.message,
                }
            }));
            rows
        };
        DecodedChunk { rows, decoded_rows, rejects, tombstones_skipped: decoded.tombstones_skipped, chunk }
    }

    fn apply(&self, rows: RecordBatch) -> Result<RecordBatch, OperatorError> {
        self.operators.iter().try_fold(rows, |rows, op| op.apply(rows))
    }

    /// Applies the operators; where they refuse a batch, to its halves, down to the single row that is at fault.
    /// `first` is the index of the batch's first row in the decoded chunk.
    fn apply_by_halves(
        &self,
        rows: RecordBatch,
        first: usize,
        refused: &mut Vec<(usize, OperatorError)>,
    ) -> RecordBatch {
        let error = match self.apply(rows.clone()) {
            Ok(done) => return done,
            Err(error) => error,
        };
        let n = rows.num_rows();
        if n <= 1 {
            if n == 1 {
                refused.push((first, error));
            }
            return RecordBatch::new_empty(self.schema());
        }
        let head = self.apply_by_halves(rows.slice(0, n / 2), first, refused);
        let tail = self.apply_by_halves(rows.slice(n / 2, n - n / 2), first + n / 2, refused);
        concat_batches(&self.schema(), [&head, &tail]).unwrap_or_else(|error| {
            // Both halves come from the same operator; a schema that differs is its bug, and no row may vanish.
            tracing::error!(%error, "an operator changed its schema between two batches");
            refused.extend(
                (first..first + n)
                    .map(|row| (row, OperatorError { message: format!("operator changed its schema: {error}") })),
            );
            RecordBatch::new_empty(self.schema())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Decoded;
    use crate::partition::Partition;
    use arrow::array::{Array, Int64Array};
    use arrow::datatypes::{DataType, Field, Schema};

    struct Lengths;
    impl Format for Lengths {
        fn schema(&self) -> SchemaRef {
            Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
        }
        fn decoder(&self) -> Box<dyn Decoder> {
            Box::new(Lengths)
        }
    }
    impl Decoder for Lengths {
        fn decode(&mut self, chunk: &Chunk) -> Decoded {
            let n: Int64Array = chunk.iter().map(|r| Some(r.value.unwrap_or_default().len() as i64)).collect();
            let rows = RecordBatch::try_new(Format::schema(self), vec![Arc::new(n)]).unwrap();
            Decoded { rows, records: None, rejects: vec![], tombstones_skipped: 0 }
        }
    }

    struct RefusesThree;
    impl RowOperator for RefusesThree {
        fn schema(&self) -> SchemaRef {
            Format::schema(&Lengths)
        }
        fn apply(&self, rows: RecordBatch) -> Result<RecordBatch, OperatorError> {
            let n = rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            if n.values().contains(&3) { Err(OperatorError { message: "three".into() }) } else { Ok(rows) }
        }
    }

    #[test]
    fn a_refused_row_is_found_and_its_neighbours_pass() {
        let mut chunk = Chunk::new([Partition::new("t", 0)].into(), 100);
        for (offset, value) in ["a", "bbb", "cc", "ddd", "e"].iter().enumerate() {
            chunk.push(0, offset as i64, None, Some(value.as_bytes()), None, []);
        }
        chunk.seal();
        let stage = DecodeStage::new(Arc::new(Lengths), vec![Arc::new(RefusesThree)]);
        let done = stage.work(chunk);
        let offsets: Vec<_> = done.rejects.iter().map(|r| (r.record.offset, r.stage)).collect();
        assert_eq!(offsets, [(1, Stage::Sql), (3, Stage::Sql)]);
        let n = done.rows.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        assert_eq!((n.values().as_ref(), n.null_count()), (&[1, 2, 1][..], 0));
    }
}
