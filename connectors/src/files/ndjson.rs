//! NDJSON: one object a line, every column in every object.

use std::io::{BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_json::writer::LineDelimited;
use arrow_json::{Writer, WriterBuilder};

use super::encode::{Counted, EncodeError, Encoder, Finished};

const BUFFER: usize = 256 << 10;

/// An NDJSON file being written.
pub(super) struct NdjsonEncoder {
    writer: Writer<BufWriter<Counted>, LineDelimited>,
}

impl NdjsonEncoder {
    pub(super) fn new(file: Counted) -> Self {
        Self { writer: lines(BufWriter::with_capacity(BUFFER, file)) }
    }
}

/// Writes rows as lines: nulls are written out, so that every line names every column.
pub(crate) fn lines<W: Write>(to: W) -> Writer<W, LineDelimited> {
    WriterBuilder::new().with_explicit_nulls(true).build(to)
}

impl Encoder for NdjsonEncoder {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), EncodeError> {
        self.writer.write(rows).map_err(from_arrow)
    }

    fn memory(&self) -> usize {
        BUFFER + self.writer.get_ref().get_ref().file.memory()
    }

    fn size(&self) -> u64 {
        let buffered = self.writer.get_ref();
        buffered.get_ref().bytes + buffered.buffer().len() as u64
    }

    fn flush(&mut self) -> Result<(), EncodeError> {
        self.writer.get_mut().flush().map_err(EncodeError::Io)
    }

    fn finish(mut self: Box<Self>) -> Result<Finished, EncodeError> {
        self.writer.finish().map_err(from_arrow)?;
        let file = self.writer.into_inner().into_inner().map_err(|e| EncodeError::Io(e.into_error()))?;
        Ok(Finished { file, footer: None })
    }
}

fn from_arrow(error: ArrowError) -> EncodeError {
    match error {
        ArrowError::IoError(_, e) => EncodeError::Io(e),
        e => EncodeError::Rows(e.to_string()),
    }
}
