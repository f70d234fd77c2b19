//! A window's rows on their way into data files: cast to the table's types, split by partition, encoded.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use iceberg::spec::{DataFile, PartitionSpecRef, SchemaRef as TableSchema, Struct};
use tidemill_connectors::files::Window;
use tidemill_connectors::files::data::{DataFiles, DataFilesOptions};
use tidemill_engine::sink::{Reaction, SinkError, Staged, Staging};
use uuid::Uuid;

use crate::metrics::{Finished, data_file};
use crate::options::IcebergOptions;
use crate::partition::{Partitions, Splitter};
use crate::places::{Place, Places};

/// Stands beside the rows until they are split; not in the files. No column can be called so.
const PARTITION: &str = "\u{1}partition";

/// Batches from this size on are prepared off the async threads.
const LARGE: usize = 64 << 10;

/// Writes windows for one schema and partition spec of the table.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) schema: TableSchema,
    pub(crate) spec: PartitionSpecRef,
    shape: Arc<Shape>,
    files: DataFiles,
    /// Address of the data files' folder, and the same in its store.
    folder: String,
    stored: String,
}

/// How rows become rows of the table.
#[derive(Debug)]
struct Shape {
    /// The table's types.
    target: SchemaRef,
    /// `target`, and the partition where there is one.
    whole: SchemaRef,
    splitter: Option<Splitter>,
    partitions: Arc<Mutex<Partitions>>,
}

/// A sealed window.
pub(crate) struct Payload {
    pub(crate) window: Window,
    pub(crate) files: Vec<DataFile>,
    pub(crate) schema: TableSchema,
    pub(crate) spec: PartitionSpecRef,
}

impl Writer {
    /// Rows come in the order of `target`, which has the table's types and field ids. `location`: of the data files.
    pub(crate) fn new(
        options: &IcebergOptions,
        places: &Places,
        location: &str,
        schema: TableSchema,
        spec: PartitionSpecRef,
        target: SchemaRef,
    ) -> Result<Self, SinkError> {
        let splitter = Splitter::new(&spec, &schema, &target)?;
        let mut fields: Vec<_> = target.fields().iter().cloned().collect();
        if splitter.is_some() {
            fields.push(Arc::new(Field::new(PARTITION, DataType::Utf8, false)));
        }
        let whole = Arc::new(ArrowSchema::new(fields));
        let folder = location.trim_end_matches('/').to_owned();
        let Place { store, name: stored } = places.resolve(&folder)?;
        let partitions: Arc<Mutex<Partitions>> = Arc::default();
        let partition_by = splitter.iter().map(|_| PARTITION.to_owned()).collect();
        let files = DataFiles::new(DataFilesOptions {
            job: options.job.clone(),
            store,
            name_file: Arc::new(name_file(stored.clone(), partitions.clone())),
            schema: whole.clone(),
            partition_by,
            parquet: options.parquet.clone(),
            file_size: options.file_size,
            open_files: options.open_files,
            memory: options.memory,
            clock: options.clock.clone(),
        })?;
        let shape = Arc::new(Shape { target, whole, splitter, partitions });
        Ok(Self { schema, spec, shape, files, folder, stored })
    }

    /// Whether another one should take its place.
    pub(crate) fn is_worn(&self) -> bool {
        self.shape.partitions.lock().unwrap_or_else(PoisonError::into_inner).is_full()
    }
}

/// Names files `data/ts_day=2026-01-31/<uuid>.parquet`.
fn name_file(folder: String, partitions: Arc<Mutex<Partitions>>) -> impl Fn(&str) -> String + Send + Sync {
    move |partition: &str| {
        let label = partition.rsplit_once('=').map_or("", |(_, label)| label);
        let partitions = partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let name = Uuid::new_v4();
        match partitions.get(label) {
            Some((_, part)) => format!("{folder}/{part}/{name}.parquet"),
            None => format!("{folder}/{name}.parquet"),
        }
    }
}

impl Shape {
    fn prepare(&self, rows: &RecordBatch) -> Result<RecordBatch, SinkError> {
        let mut columns = Vec::with_capacity(self.whole.fields().len());
        for (column, field) in rows.columns().iter().zip(self.target.fields()) {
            columns.push(conform(column, field)?);
        }
        let refused =
            |e: arrow::error::ArrowError| SinkError::new(Reaction::BadRow, format!("the table refuses a row: {e}"));
        let rows = RecordBatch::try_new(self.target.clone(), columns).map_err(refused)?;
        let Some(splitter) = &self.splitter else { return Ok(rows) };
        let partition = splitter.assign(&mut self.partitions.lock().unwrap_or_else(PoisonError::into_inner), &rows)?;
        let columns: Vec<ArrayRef> = rows.columns().iter().cloned().chain([partition]).collect();
        RecordBatch::try_new(self.whole.clone(), columns).map_err(|e| SinkError::bug(format!("cannot split rows: {e}")))
    }
}

/// A column with the type of its field; what does not fit is a bad row.
fn conform(column: &ArrayRef, field: &Field) -> Result<ArrayRef, SinkError> {
    if column.data_type() == field.data_type() {
        return Ok(column.clone());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, field.data_type(), &strict).map_err(|e| {
        SinkError::new(
            Reaction::BadRow,
            format!("column `{}`: a value does not fit the table's type: {e}", field.name()),
        )
    })
}

/// The async end of a window being written.
pub(crate) struct IcebergStaging {
    writer: Arc<Writer>,
    files: Box<dyn Staging>,
}

impl IcebergStaging {
    pub(crate) fn start(writer: Arc<Writer>) -> Self {
        let files = writer.files.open();
        Self { writer, files }
    }
}

#[async_trait]
impl Staging for IcebergStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let shape = self.writer.shape.clone();
        let rows = if rows.get_array_memory_size() < LARGE {
            shape.prepare(&rows)?
        } else {
            let prepared = tokio::task::spawn_blocking(move || shape.prepare(&rows)).await;
            prepared.unwrap_or_else(|e| Err(SinkError::bug(format!("rows could not be prepared: {e}"))))?
        };
        self.files.write(rows).await
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        let staged = self.files.seal().await?;
        let window = staged.payload.downcast::<Window>().map_err(|_| SinkError::bug("a window of another kind"))?;
        let writer = &self.writer;
        let mut files = Vec::with_capacity(window.files.len());
        for file in &window.files {
            let footer = file.footer.as_ref().ok_or_else(|| SinkError::bug("a data file without its footer"))?;
            let rest = file.staged.strip_prefix(&writer.stored);
            let rest =
                rest.ok_or_else(|| SinkError::bug(format!("a data file in the wrong place: {}", file.staged)))?;
            let partition = match &file.values {
                None => Struct::empty(),
                Some(values) => {
                    let label = values.column(0).as_string::<i32>().value(0);
                    let partitions = writer.shape.partitions.lock().unwrap_or_else(PoisonError::into_inner);
                    let found = partitions.get(label).map(|(values, _)| values.clone());
                    found.ok_or_else(|| SinkError::bug(format!("a data file of an unknown partition {label}")))?
                }
            };
            let finished = Finished {
                uri: format!("{}{rest}", writer.folder),
                bytes: file.bytes,
                rows: file.rows,
                partition,
                spec_id: writer.spec.spec_id(),
                footer,
            };
            files.push(data_file(finished, &writer.schema)?);
        }
        let payload = Payload { window: *window, files, schema: writer.schema.clone(), spec: writer.spec.clone() };
        Ok(Staged { rows: staged.rows, bytes: staged.bytes, files: staged.files, payload: Box::new(payload) })
    }
}
