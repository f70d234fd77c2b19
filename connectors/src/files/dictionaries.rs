//! Which columns of Parquet files gain nothing from a dictionary, learned from the files that were written.
//!
//! A column of many different values (an id, a counter) fills its dictionary, 1 MiB, and goes on without: the values of
//! that mebibyte are hashed for nothing in each row group, and the dictionary and its indices make the file larger. Where
//! row groups are too small for that (wide tables), the dictionary is most of what the column takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use parquet::basic::{Encoding, PageType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::schema::types::ColumnPath;

/// So many files do without a dictionary before it is tried again: data change.
const FILES_WITHOUT: u32 = 32;

/// Smaller dictionaries cost little, whatever they are worth.
const SMALL_BYTES: i64 = 16 << 10;

/// What a sink knows of its columns. Forgotten with the sink.
#[derive(Debug, Default)]
pub(super) struct Dictionaries {
    /// Columns that do without, and for how many more files.
    without: Mutex<BTreeMap<Vec<String>, u32>>,
}

impl Dictionaries {
    /// The columns whose dictionary is not worth making in the next file.
    pub(super) fn useless(&self) -> Vec<ColumnPath> {
        let without = self.without.lock().unwrap_or_else(PoisonError::into_inner);
        without.keys().cloned().map(ColumnPath::new).collect()
    }

    /// Takes note of a finished file.
    pub(super) fn learn(&self, footer: &ParquetMetaData) {
        let mut seen: BTreeMap<&[String], Seen> = BTreeMap::new();
        for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
            seen.entry(chunk.column_path().parts()).or_default().add(chunk);
        }
        let mut without = self.without.lock().unwrap_or_else(PoisonError::into_inner);
        without.retain(|_, files| {
            *files -= 1;
            *files > 0
        });
        for (column, seen) in seen {
            if seen.is_useless() {
                without.insert(column.to_vec(), FILES_WITHOUT);
            }
        }
    }
}

/// What a file says of the dictionaries of one column.
#[derive(Debug, Default)]
struct Seen {
    /// Data pages, and those that did not refer to the dictionary there was.
    pages: i64,
    plain_pages: i64,
    /// Bytes of the column, and of its dictionaries.
    bytes: i64,
    dictionary_bytes: i64,
}

impl Seen {
    fn add(&mut self, chunk: &ColumnChunkMetaData) {
        // Without a dictionary page the column was not to have one.
        let Some(dictionary_at) = chunk.dictionary_page_offset() else { return };
        for stats in chunk.page_encoding_stats().into_iter().flatten() {
            if matches!(stats.page_type, PageType::DATA_PAGE | PageType::DATA_PAGE_V2) {
                let plain = !matches!(stats.encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
                self.pages += i64::from(stats.count);
                self.plain_pages += if plain { i64::from(stats.count) } else { 0 };
            }
        }
        self.bytes += chunk.compressed_size();
        self.dictionary_bytes += chunk.data_page_offset() - dictionary_at;
    }

    fn is_useless(&self) -> bool {
        let large = self.dictionary_bytes >= SMALL_BYTES && self.dictionary_bytes * 2 > self.bytes;
        large || self.plain_pages * 2 > self.pages
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    /// A file of two columns: few different values, and all different.
    fn write(dictionaries: &Dictionaries, rows: i64) -> (u64, usize) {
        let few: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|i| i % 9)));
        let many: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("{:032x}", i * 7919))));
        let batch = RecordBatch::try_from_iter([("few", few), ("many", many)]).unwrap();
        let mut properties = WriterProperties::builder();
        for column in dictionaries.useless() {
            properties = properties.set_column_dictionary_enabled(column, false);
        }
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.finish().unwrap();
        dictionaries.learn(&footer);
        let made = footer.row_group(0).columns().iter().filter(|c| c.dictionary_page_offset().is_some()).count();
        drop(writer);
        (bytes.len() as u64, made)
    }

    #[test]
    fn a_dictionary_that_overflowed_is_not_made_again_for_some_files() {
        let dictionaries = Dictionaries::default();
        let (large, made) = write(&dictionaries, 200_000);
        assert_eq!(made, 2);
        assert_eq!(dictionaries.useless(), [ColumnPath::from("many")]);
        let (small, made) = write(&dictionaries, 200_000);
        assert_eq!(made, 1);
        assert!(small < large, "{small} {large}");
        for _ in 2..FILES_WITHOUT {
            assert_eq!(write(&dictionaries, 10).1, 1);
        }
        assert_eq!(write(&dictionaries, 10).1, 1, "the last without");
        assert_eq!(write(&dictionaries, 10).1, 2, "tried again");
        assert!(dictionaries.useless().is_empty(), "few rows never fill it");
    }

    #[test]
    fn a_dictionary_that_is_most_of_its_column_is_not_made_again() {
        let dictionaries = Dictionaries::default();
        assert_eq!(write(&dictionaries, 400).1, 2);
        assert!(dictionaries.useless().is_empty(), "too small to matter");
        assert_eq!(write(&dictionaries, 4_000).1, 2);
        assert_eq!(dictionaries.useless(), [ColumnPath::from("many")], "4,000 values, all different");
        assert_eq!(write(&dictionaries, 4_000).1, 1);
    }
}
