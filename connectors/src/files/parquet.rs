//! Parquet: row groups bounded in rows and in bytes, dictionaries and min/max statistics on, columns encoded in parallel.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;
use uuid::Uuid;

use super::encode::{Counted, EncodeError, Encoder, Finished, Nowhere};
use super::learned::{Leaf, Learned};
use super::share::share;

/// What the dictionary of a column takes before its first value: the table of 4,096 that `parquet` begins with, twice as many
/// places of 9 bytes, for which the allocator has blocks of 80 KiB.
pub const DICTIONARY_BYTES: usize = 80 << 10;

/// Bounds and settings of Parquet files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// How pages are compressed.
    pub compression: Compression,
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// Most bytes of a row group, encoded.
    pub row_group_bytes: usize,
    /// Most threads that encode the columns of one file.
    pub threads: usize,
    /// Most columns of a file that have a dictionary, each of which takes [`DICTIONARY_BYTES`] at once.
    pub dictionaries: usize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd,
            row_group_rows: 1 << 20,
            row_group_bytes: 64 << 20,
            threads: threads(),
            dictionaries: usize::MAX,
        }
    }
}

/// The cores there are; more than four columns at once do not pay.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4)
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy: fast.
    Snappy,
    /// Zstandard, level 1: small.
    Zstd,
    /// LZ4 (the frameless `LZ4_RAW` of the Parquet specification).
    Lz4,
}

/// A Parquet file being written, its columns by several threads.
pub(super) struct ParquetEncoder {
    file: SerializedFileWriter<Counted>,
    columns: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    options: ParquetOptions,
    learned: Arc<Learned>,
    group: Option<RowGroup>,
}

/// The row group being filled: a writer for each leaf column, in the schema's order.
struct RowGroup {
    writers: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl RowGroup {
    fn bytes(&self) -> usize {
        self.writers.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

/// A data page is ended at about so many bytes before compression. With the usual 1 MiB an eighth of the CPU time of W1 went
/// into pages that the kernel mapped anew (ADR 8, measured with the allocator of before ADR 12). Files do not grow: Snappy
/// compresses 64 KiB at a time anyway.
const PAGE_BYTES: usize = 64 << 10;

/// Batches below this are encoded by one thread: waking another costs as much.
const WORTH_SHARING: usize = 256 << 10;

impl ParquetEncoder {
    /// Starts a file whose metadata names the job and the window's token, by which its log record is found.
    pub(super) fn new(
        options: &ParquetOptions,
        schema: &SchemaRef,
        file: Counted,
        job: &str,
        token: Uuid,
        learned: &Arc<Learned>,
    ) -> Result<Self, EncodeError> {
        let compression = match options.compression {
            Compression::None => basic::Compression::UNCOMPRESSED,
            Compression::Snappy => basic::Compression::SNAPPY,
            Compression::Zstd => basic::Compression::ZSTD(basic::ZstdLevel::default()),
            Compression::Lz4 => basic::Compression::LZ4_RAW,
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(concat!("tidemill version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_dictionary_enabled(true)
            .set_data_page_size_limit(PAGE_BYTES)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_key_value_metadata(Some(vec![
                KeyValue::new("tidemill.job".to_owned(), job.to_owned()),
                KeyValue::new("tidemill.token".to_owned(), token.to_string()),
            ]));
        let leaves = leaves(schema).map_err(from_parquet)?;
        let properties = learned.apply(properties, &leaves, options.dictionaries).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(from_parquet)?;
        let (file, columns) = writer.into_serialized_writer().map_err(from_parquet)?;
        let (schema, options, learned) = (schema.clone(), options.clone(), learned.clone());
        Ok(Self { file, columns, schema, options, learned, group: None })
    }

    /// How many of `rows` more rows the open row group takes before it is full.
    fn room(&self, rows: usize) -> usize {
        let Some(group) = &self.group else { return rows.min(self.options.row_group_rows) };
        let by_rows = self.options.row_group_rows.saturating_sub(group.rows);
        let bytes = group.bytes();
        let by_bytes = match bytes.checked_div(group.rows) {
            Some(a_row) if a_row > 0 => self.options.row_group_bytes.saturating_sub(bytes) / a_row,
            _ => rows,
        };
        rows.min(by_rows).min(by_bytes)
    }

    fn append(&mut self, rows: &RecordBatch) -> Result<(), ParquetError> {
        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                let index = self.file.flushed_row_groups().len();
                RowGroup { writers: self.columns.create_column_writers(index)?, rows: 0 }
            }
        };
        let mut leaves = Vec::with_capacity(group.writers.len());
        for (field, column) in self.schema.fields().iter().zip(rows.columns()) {
            leaves.extend(compute_leaves(field, column)?);
        }
        let threads = if rows.get_array_memory_size() < WORTH_SHARING { 1 } else { self.options.threads };
        let tasks = group.writers.into_iter().zip(leaves).collect();
        let written = share(threads, tasks, |(mut writer, leaf): (ArrowColumnWriter, ArrowLeafColumn)| {
            writer.write(&leaf).map(|()| writer)
        });
        group.writers = written.ok_or_else(died)?.into_iter().collect::<Result<_, _>>()?;
        group.rows += rows.num_rows();
        let full = group.rows >= self.options.row_group_rows || group.bytes() >= self.options.row_group_bytes;
        self.group = Some(group);
        if full { self.close_group() } else { Ok(()) }
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let threads = if group.bytes() < WORTH_SHARING { 1 } else { self.options.threads };
        let chunks = share(threads, group.writers, ArrowColumnWriter::close).ok_or_else(died)?;
        let mut out = self.file.next_row_group()?;
        for chunk in chunks {
            chunk?.append_to_row_group(&mut out)?;
        }
        out.close().map(drop)
    }
}

/// The columns that a file of `schema` has.
fn leaves(schema: &SchemaRef) -> Result<Vec<Leaf>, ParquetError> {
    let schema = ArrowSchemaConverter::new().convert(schema)?;
    // `parquet` makes no dictionaries of the others in files of version 1.
    let has_dictionary = |of| !matches!(of, basic::Type::BOOLEAN | basic::Type::FIXED_LEN_BYTE_ARRAY);
    let leaf = |column: &ColumnDescPtr| Leaf {
        path: column.path().clone(),
        can_have_dictionary: has_dictionary(column.physical_type()),
    };
    Ok(schema.columns().iter().map(leaf).collect())
}

fn died() -> ParquetError {
    ParquetError::General("a thread that encoded a column panicked".to_owned())
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        let mut at = 0;
        while at < rows.num_rows() {
            let take = self.room(rows.num_rows() - at);
            if take == 0 {
                self.close_group().map_err(from_parquet)?;
            } else {
                self.append(&rows.slice(at, take)).map_err(from_parquet)?;
                at += take;
            }
        }
        Ok(())
    }

    fn memory(&self) -> usize {
        let columns = self.group.iter().flat_map(|g| &g.writers).map(ArrowColumnWriter::memory_size).sum::<usize>();
        columns + self.file.inner().file.memory()
    }

    fn size(&self) -> u64 {
        (self.file.bytes_written() + self.group.as_ref().map_or(0, RowGroup::bytes)) as u64
    }

    fn flush(&mut self) -> Result<(), EncodeError> {
        self.close_group().map_err(from_parquet)
    }

    fn finish(mut self: Box<Self>) -> Result<Finished, EncodeError> {
        self.close_group().map_err(from_parquet)?;
        let footer = self.file.finish().map_err(from_parquet)?;
        self.learned.learn(&footer);
        // `into_inner` would write the footer once more.
        let taken = Counted::new(Box::new(Nowhere));
        let file = std::mem::replace(self.file.inner_mut(), taken);
        Ok(Finished { file, footer: Some(Arc::new(footer)) })
    }
}

fn from_parquet(error: ParquetError) -> EncodeError {
    match error {
        ParquetError::External(e) => match e.downcast::<std::io::Error>() {
            Ok(e) => EncodeError::Io(*e),
            Err(e) => EncodeError::Rows(e.to_string()),
        },
        e => EncodeError::Rows(e.to_string()),
    }
}
