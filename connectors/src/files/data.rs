//! Data files for sinks that keep a list of files of their own (Delta, Iceberg): windows become Parquet files under
//! their final names, which no reader sees before the sink's commit names them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::{SinkError, Staging};

use super::held::Held;
use super::partition::Partitioner;
use super::staging::{FileStaging, NameFile, Shared};
use super::store::Store;
use super::{FileFormat, MAX_FILE, ParquetOptions};

/// Everything [`DataFiles`] is made of.
pub struct DataFilesOptions {
    /// The job: stands in the files' metadata.
    pub job: String,
    /// Where the files go.
    pub store: Arc<dyn Store>,
    /// Makes the name of a new file from its folder.
    pub name_file: NameFile,
    /// Schema of the rows in the table, partition columns too. Columns that come with other types are cast to it, in
    /// their order; what does not fit is a bad row.
    pub schema: SchemaRef,
    /// Columns that become folders, in order; they are not in the files.
    pub partition_by: Vec<String>,
    /// Form of the files.
    pub parquet: ParquetOptions,
    /// A file that reaches this many bytes is closed and the next one begun; at most 4 GiB.
    pub file_size: u64,
    /// Files open at once; the least recently used one is closed for another.
    pub open_files: usize,
    /// Bytes that the encoders of all open windows may hold together.
    pub memory: usize,
    /// The clock.
    pub clock: Clock,
}

/// Writes windows into data files.
#[derive(Clone, Debug)]
pub struct DataFiles {
    shared: Arc<Shared>,
    clock: Clock,
}

impl DataFiles {
    /// Checks the options; touches nothing.
    ///
    /// # Errors
    /// When rows of the schema cannot be written, or columns cannot be folders.
    pub fn new(options: DataFilesOptions) -> Result<Self, SinkError> {
        let partitioner = Partitioner::new(&options.schema, &options.partition_by)?;
        let format = FileFormat::Parquet(options.parquet);
        format.check(partitioner.schema())?;
        let shared = Shared {
            store: options.store,
            held: Held::new(&options.job),
            job: options.job,
            name_file: options.name_file,
            format,
            partitioner,
            keep_footers: true,
            cast_to: Some(options.schema),
            file_size: options.file_size.clamp(1, MAX_FILE),
            open_files: options.open_files.max(1),
            memory: options.memory,
            learned: Arc::default(),
        };
        Ok(Self { shared: Arc::new(shared), clock: options.clock })
    }

    /// Begins a window. What [`Staging::seal`] answers holds a [`Window`](super::Window) as its payload.
    #[must_use]
    pub fn open(&self) -> Box<dyn Staging> {
        Box::new(FileStaging::start(self.shared.clone(), self.clock.clone()))
    }
}
