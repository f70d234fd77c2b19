//! Parquet: row groups bounded in rows and in bytes, dictionaries and min/max statistics on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use uuid::Uuid;

use super::encode::{Counted, EncodeError, Encoder, Finished, Nowhere};

/// Bounds and settings of Parquet files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// How pages are compressed.
    pub compression: Compression,
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// Most bytes of a row group, encoded.
    pub row_group_bytes: usize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self { compression: Compression::Zstd, row_group_rows: 1 << 20, row_group_bytes: 64 << 20 }
    }
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

/// A Parquet file being written.
pub(super) struct ParquetEncoder {
    writer: ArrowWriter<Counted>,
}

impl ParquetEncoder {
    /// Starts a file whose metadata names the job and the window's token, by which its log record is found.
    pub(super) fn new(
        options: &ParquetOptions,
        schema: &SchemaRef,
        file: Counted,
        job: &str,
        token: Uuid,
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
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(options.row_group_rows))
            .set_max_row_group_bytes(Some(options.row_group_bytes))
            .set_key_value_metadata(Some(vec![
                KeyValue::new("tidemill.job".to_owned(), job.to_owned()),
                KeyValue::new("tidemill.token".to_owned(), token.to_string()),
            ]))
            .build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(from_parquet)?;
        Ok(Self { writer })
    }
}

impl Encoder for ParquetEncoder {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        self.writer.write(rows).map_err(from_parquet)
    }

    fn memory(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().file.memory()
    }

    fn size(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    fn flush(&mut self) -> Result<(), EncodeError> {
        self.writer.flush().map_err(from_parquet)
    }

    fn finish(mut self: Box<Self>) -> Result<Finished, EncodeError> {
        let footer = self.writer.finish().map_err(from_parquet)?;
        // `into_inner` would write the footer once more.
        let taken = Counted::new(Box::new(Nowhere));
        let file = std::mem::replace(self.writer.inner_mut(), taken);
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
