//! Rows that have to wait: in accounted memory, and on disk when that is short. Order is kept.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SpillFile};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::{SpillManager, get_record_batch_memory_size};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

/// Appends a batch to a spill file; `None` ends it and gives the file. (DataFusion's type for this has no public name.)
type Append = Box<dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send>;

/// Rows being gathered.
pub struct Hold {
    batches: Vec<RecordBatch>,
    memory: MemoryReservation,
    /// Bytes held in memory at most: the query that reads the rows needs some as well.
    memory_bytes_max: usize,
    spill: SpillManager,
    /// Once begun it takes every further batch, so that order is kept.
    file: Option<Append>,
}

/// Rows gathered; read as often as needed. Memory and file are given back when the last reader is dropped.
pub struct Held {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
    spill: SpillManager,
    file: Option<Arc<dyn SpillFile>>,
}

impl Hold {
    /// Nothing yet. `what` names the rows in errors of the memory pool.
    #[must_use]
    pub fn new(what: &str, schema: SchemaRef, env: &Arc<RuntimeEnv>, memory_bytes_max: usize) -> Self {
        let memory = MemoryConsumer::new(what).with_can_spill(true).register(&env.memory_pool);
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let spill = SpillManager::new(Arc::clone(env), metrics, schema);
        Self { batches: Vec::new(), memory, memory_bytes_max, spill, file: None }
    }

    /// Takes rows. Blocks while it writes.
    ///
    /// # Errors
    /// Memory is short, and the disk is full, failing, or not to be used.
    pub fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if self.file.is_none() {
            let bytes = get_record_batch_memory_size(&batch);
            let fits = self.memory.size().saturating_add(bytes) <= self.memory_bytes_max;
            if fits && self.memory.try_grow(bytes).is_ok() {
                self.batches.push(batch);
                return Ok(());
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(begin(&self.spill)?),
        };
        file(Some(&batch)).map(|_| ())
    }

    /// Rows are complete.
    ///
    /// # Errors
    /// Of the disk.
    pub fn finish(mut self) -> Result<Held> {
        let file = match &mut self.file {
            Some(file) => file(None)?,
            None => None,
        };
        Ok(Held { batches: self.batches, _memory: self.memory, spill: self.spill, file })
    }
}

fn begin(spill: &SpillManager) -> Result<Append> {
    let mut file = spill.create_in_progress_file("rows of a window")?;
    Ok(Box::new(move |batch| match batch {
        Some(batch) => file.append_batch(batch).map(|_| None),
        None => file.finish(),
    }))
}

impl Held {
    /// All rows in order.
    ///
    /// # Errors
    /// Of the disk.
    pub fn stream(self: &Arc<Self>) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(self.spill.schema());
        let held = Arc::clone(self);
        let in_memory = futures::stream::iter((0..self.batches.len()).map(move |i| Ok(held.batches[i].clone())));
        let on_disk = match &self.file {
            // The reader keeps the file.
            Some(file) => self.spill.read_spill_as_stream_unbuffered(Arc::clone(file), None)?.left_stream(),
            None => futures::stream::empty().right_stream(),
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, in_memory.chain(on_disk))))
    }

    /// True when some of the rows are on disk.
    #[must_use]
    pub fn spilled(&self) -> bool {
        self.file.is_some()
    }
}
