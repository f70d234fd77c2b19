//! One file being encoded, in the format of the job.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::file::metadata::ParquetMetaData;
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use super::learned::Learned;
use super::ndjson::NdjsonEncoder;
use super::parquet::{ParquetEncoder, ParquetOptions};
use super::store::StoreFile;

/// The format of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Apache Parquet.
    Parquet(ParquetOptions),
    /// One JSON object a line.
    Ndjson,
}

impl FileFormat {
    /// What the final names end with, no dot.
    #[must_use]
    pub fn extension(&self) -> &'static str {
        match self {
            Self::Parquet(_) => "parquet",
            Self::Ndjson => "ndjson",
        }
    }

    /// Fails when rows of `schema` cannot be written in this format, and says which column.
    pub fn check(&self, schema: &SchemaRef) -> Result<(), SinkError> {
        let trial = Counted::new(Box::new(Nowhere));
        let refused = |e| SinkError::person(format!("the sink cannot write this schema: {e}"));
        let mut encoder = self.encoder(schema, trial, "", Uuid::nil(), &Arc::default()).map_err(refused)?;
        encoder.write(&RecordBatch::new_empty(schema.clone())).map_err(refused)
    }

    /// Starts a file of rows of `schema`; `learned` is what earlier files of the sink have taught.
    pub(super) fn encoder(
        &self,
        schema: &SchemaRef,
        file: Counted,
        job: &str,
        token: Uuid,
        learned: &Arc<Learned>,
    ) -> Result<Box<dyn Encoder>, EncodeError> {
        Ok(match self {
            Self::Parquet(options) => Box::new(ParquetEncoder::new(options, schema, file, job, token, learned)?),
            Self::Ndjson => Box::new(NdjsonEncoder::new(file)),
        })
    }
}

/// Encodes batches into a file. Called per batch, by one thread.
pub(super) trait Encoder: Send {
    /// Encodes rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError>;

    /// Bytes of memory held.
    fn memory(&self) -> usize;

    /// About the size of the file if it were finished now.
    fn size(&self) -> u64;

    /// Gives up memory by writing out what is complete enough.
    fn flush(&mut self) -> Result<(), EncodeError>;

    /// Writes the end. The file is not durable yet.
    fn finish(self: Box<Self>) -> Result<Finished, EncodeError>;
}

/// A file with its end.
pub(super) struct Finished {
    pub(super) file: Counted,
    /// What a Parquet file's footer says.
    pub(super) footer: Option<Arc<ParquetMetaData>>,
}

/// Why a file cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// The file refuses bytes.
    #[error("{0}")]
    Io(io::Error),
    /// The encoder refuses the rows.
    #[error("{0}")]
    Rows(String),
}

/// A file that knows its size, and whether it ever refused bytes: encoders wrap that in words of their own.
pub(super) struct Counted {
    pub(super) file: Box<dyn StoreFile>,
    pub(super) bytes: u64,
    pub(super) trouble: Trouble,
}

/// The first error of a file.
pub(super) type Trouble = Arc<OnceLock<String>>;

impl Counted {
    pub(super) fn new(file: Box<dyn StoreFile>) -> Self {
        Self { file, bytes: 0, trouble: Trouble::default() }
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        match &written {
            Ok(n) => self.bytes += *n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                let _ = self.trouble.set(e.to_string());
            }
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Takes what a trial writes.
pub(super) struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for Nowhere {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
