//! What the tests of whole jobs share.
#![allow(dead_code)] // each file of tests is a crate of its own and uses a part of it

use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_engine::chunk::{Chunk, Record};
use tidemill_engine::format::{Decoded, Decoder, Format};
use tidemill_engine::mark::{Mark, MarkStore};

/// A row for each record, with its place.
pub struct AllPlaces;

impl AllPlaces {
    pub fn rows(records: &[Record<'_>]) -> RecordBatch {
        RecordBatch::try_new(
            AllPlaces.schema(),
            vec![
                Arc::new(records.iter().map(|r| Some(&*r.partition.topic)).collect::<StringArray>()),
                Arc::new(records.iter().map(|r| r.partition.index).collect::<Int32Array>()),
                Arc::new(records.iter().map(|r| r.offset).collect::<Int64Array>()),
            ],
        )
        .expect("as the schema says")
    }
}

impl Format for AllPlaces {
    fn schema(&self) -> SchemaRef {
        let field = |name, kind| Field::new(name, kind, false);
        Arc::new(Schema::new(vec![
            field("_topic", DataType::Utf8),
            field("_partition", DataType::Int32),
            field("_offset", DataType::Int64),
        ]))
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(AllPlaces)
    }
}

impl Decoder for AllPlaces {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let rows = Self::rows(&chunk.iter().collect::<Vec<_>>());
        Decoded { rows, records: None, rejects: vec![], tombstones_skipped: 0 }
    }
}

/// Remembers nothing.
pub struct NoMarks;

impl MarkStore for NoMarks {
    fn load(&self) -> Result<Option<Mark>, String> {
        Ok(None)
    }
    fn store(&self, _: &Mark) -> Result<(), String> {
        Ok(())
    }
}
