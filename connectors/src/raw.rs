//! The format that reads nothing: rows of metadata columns only, for jobs that pass records on as they are.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::{Decoded, Decoder, Format, Reject, Stage};

use crate::json::{Cause, FormatError, Tombstones};
use crate::metadata::{Metadata, Picks, Room};

/// Rows of metadata columns; a record's bytes are in `_value`, whatever they are.
#[derive(Clone, Debug)]
pub struct RawFormat {
    metadata: Arc<[Metadata]>,
    tombstones: Tombstones,
    max_record_bytes: usize,
    schema: SchemaRef,
    room: Room,
}

impl RawFormat {
    /// Rows with these columns, in this order. [`Tombstones::Row`] keeps a tombstone as a row whose `_value` is null;
    /// a value longer than `max_record_bytes` is rejected.
    ///
    /// # Errors
    /// When a column is asked for twice.
    pub fn new(metadata: &[Metadata], tombstones: Tombstones, max_record_bytes: usize) -> Result<Self, FormatError> {
        for (i, column) in metadata.iter().enumerate() {
            if metadata[..i].contains(column) {
                return Err(FormatError::DuplicateField { path: column.column().to_owned() });
            }
        }
        let schema = Arc::new(Schema::new(metadata.iter().map(|m| m.field()).collect::<Vec<Field>>()));
        Ok(Self { metadata: metadata.into(), tombstones, max_record_bytes, schema, room: Room::default() })
    }

    /// The same with only the columns named, in the order they have here.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn with_projection<S: AsRef<str>>(&self, columns: &[S]) -> Result<Self, FormatError> {
        for column in columns {
            if self.schema.index_of(column.as_ref()).is_err() {
                return Err(FormatError::no_such_column(column.as_ref(), &self.schema));
            }
        }
        let kept: Vec<Metadata> =
            self.metadata.iter().copied().filter(|m| columns.iter().any(|c| c.as_ref() == m.column())).collect();
        Self::new(&kept, self.tombstones, self.max_record_bytes)
    }
}

impl Format for RawFormat {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }

    fn causes(&self) -> &'static [&'static str] {
        const { &[Cause::TooLarge.as_str(), Cause::Tombstone.as_str()] }
    }
}

impl Decoder for RawFormat {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let mut picks = Picks::default();
        let mut rejects = Vec::new();
        let mut tombstones_skipped = 0;
        for (i, record) in chunk.iter().enumerate() {
            let len = record.value.map_or(0, <[u8]>::len);
            if len > self.max_record_bytes {
                picks.pass();
                let error = format!("expected at most max_record_bytes = {}, found {len} bytes", self.max_record_bytes);
                let cause = Cause::TooLarge.as_str();
                rejects.push(Reject { record: record.to_owned_record(), stage: Stage::Decode, cause, error });
                continue;
            }
            if record.value.is_some() || self.tombstones == Tombstones::Row {
                picks.pick(i);
                continue;
            }
            picks.pass();
            if self.tombstones == Tombstones::Skip {
                tombstones_skipped += 1;
            } else {
                rejects.push(Reject {
                    record: record.to_owned_record(),
                    stage: Stage::Decode,
                    cause: Cause::Tombstone.as_str(),
                    error: Tombstones::REJECTED.into(),
                });
            }
        }
        let picked = picks.of(chunk);
        let columns = self.metadata.iter().map(|m| m.build(&picked, &mut self.room)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(picks.rows()));
        let rows = RecordBatch::try_new_with_options(self.schema(), columns, &options)
            .expect("each metadata column is built as its field says, with a value for each row");
        Decoded { rows, records: picks.into_records(), rejects, tombstones_skipped }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType};
    use tidemill_engine::partition::Partition;

    use super::*;

    fn chunk() -> Chunk {
        let mut chunk = Chunk::new([Partition::new("a", 0), Partition::new("b", 7)].into(), 64);
        chunk.push(0, 5, Some(9), Some(b"\xFFany"), Some(b"k"), [("h", Some(&b"1"[..])), ("h", None)]);
        chunk.push(1, 6, None, None, None, []);
        chunk.push(1, 7, Some(11), Some(b""), Some(b""), [("x", Some(&b""[..]))]);
        chunk.seal();
        chunk
    }

    #[test]
    fn all_metadata_columns_come_out() {
        let mut decoder = RawFormat::new(&Metadata::ALL, Tombstones::Row, 1 << 20).unwrap();
        let decoded = decoder.decode(&chunk());
        assert_eq!((decoded.rows.num_rows(), decoded.records.as_deref()), (3, None));
        assert_eq!(decoded.rows.schema(), decoder.schema());
        let rows = &decoded.rows;
        let topics: Vec<_> = rows["_topic"].as_string::<i32>().iter().flatten().collect();
        assert_eq!(topics, ["a", "b", "b"]);
        assert_eq!(rows["_partition"].as_primitive::<Int32Type>().values(), &[0, 7, 7]);
        assert_eq!(rows["_offset"].as_primitive::<Int64Type>().values(), &[5, 6, 7]);
        let timestamps: Vec<_> = rows["_timestamp"].as_primitive::<TimestampMillisecondType>().iter().collect();
        assert_eq!(timestamps, [Some(9), None, Some(11)]);
        let values: Vec<_> = rows["_value"].as_binary::<i32>().iter().collect();
        assert_eq!(values, [Some(&b"\xFFany"[..]), None, Some(b"")]);
        let keys: Vec<_> = rows["_key"].as_binary::<i32>().iter().collect();
        assert_eq!(keys, [Some(&b"k"[..]), None, Some(b"")]);
        let headers = rows["_headers"].as_list::<i32>();
        assert_eq!(headers.value_offsets(), &[0, 2, 2, 3]);
        let pairs = headers.values().as_struct();
        assert_eq!(pairs.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["h", "h", "x"]);
        assert_eq!(pairs.column(1).as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"1"[..]), None, Some(b"")]);
    }

    #[test]
    fn tombstones_are_skipped_or_rejected() {
        let decoded = RawFormat::new(&[Metadata::Offset], Tombstones::Skip, 1 << 20).unwrap().decode(&chunk());
        assert_eq!(decoded.records, Some(vec![0, 2]));
        assert_eq!((decoded.tombstones_skipped, decoded.rejects.len()), (1, 0));
        assert_eq!(decoded.rows["_offset"].as_primitive::<Int64Type>().values(), &[5, 7]);
        let decoded = RawFormat::new(&[Metadata::Offset], Tombstones::Reject, 1 << 20).unwrap().decode(&chunk());
        assert_eq!((decoded.rows.num_rows(), decoded.tombstones_skipped), (2, 0));
        assert_eq!((decoded.rejects[0].cause, decoded.rejects[0].record.offset), ("tombstone", 6));
    }

    #[test]
    fn no_columns_still_count_rows() {
        let format = RawFormat::new(&[Metadata::Key, Metadata::Topic], Tombstones::Row, 1 << 20).unwrap();
        assert_eq!(format.with_projection::<&str>(&[]).unwrap().decode(&chunk()).rows.num_rows(), 3);
        assert_eq!(format.with_projection(&["_topic"]).unwrap().decode(&chunk()).rows.num_columns(), 1);
        assert!(format.with_projection(&["_offset"]).is_err());
        assert!(RawFormat::new(&[Metadata::Key, Metadata::Key], Tombstones::Row, 1 << 20).is_err());
    }
}
