//! From raw records to rows: what a format promises, and what becomes of the records it refuses.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::chunk::{Chunk, OwnedRecord};

/// A format of records (JSON, …) with the schema of the rows it makes. Shared; makes decoders.
pub trait Format: Send + Sync {
    /// Schema of the rows, metadata columns (`_topic`, `_partition`, …) included.
    fn schema(&self) -> SchemaRef;

    /// A decoder for one worker.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// Every [`Reject::cause`] that its decoders give.
    fn causes(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Decodes chunks one after the other. Keeps buffers between calls, and nothing of the records.
pub trait Decoder: Send {
    /// Rows of the good records in order, and the bad ones with the reason. Never fails as a whole, never lets
    /// a bad record touch its neighbours, never panics on any bytes.
    fn decode(&mut self, chunk: &Chunk) -> Decoded;
}

/// A decoded chunk.
#[derive(Debug)]
pub struct Decoded {
    /// One row for each good record, in the chunk's order, under [`Format::schema`].
    pub rows: RecordBatch,
    /// For each row the index of its record in the chunk; `None`: row *i* is record *i*.
    pub records: Option<Vec<u32>>,
    /// The refused records.
    pub rejects: Vec<Reject>,
    /// Tombstones passed over because the job says so.
    pub tombstones_skipped: u64,
}

/// Where a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// By the format.
    Decode,
    /// By an operator.
    Sql,
    /// By the sink.
    Sink,
}

impl Stage {
    /// Its name in metrics and dead letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Sql => "sql",
            Self::Sink => "sink",
        }
    }
}

/// A refused record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The record as it came.
    pub record: OwnedRecord,
    /// Who refused it.
    pub stage: Stage,
    /// The kind of fault, of a small fixed set: a metric's label (`not_json`, `type`, `missing_field`, …).
    pub cause: &'static str,
    /// What was found and what was expected, with the field and the byte.
    pub error: String,
}
