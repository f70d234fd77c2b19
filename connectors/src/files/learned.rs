//! Which columns of Parquet files gain nothing from a dictionary or from compression, learned from the files that were
//! written.
//!
//! A column of many different values (an id, a counter) fills its dictionary, 1 MiB, and goes on without: the values of
//! that mebibyte are hashed for nothing in each row group, and the dictionary and its indices make the file larger. Where
//! row groups are too small for that (wide tables), the dictionary is most of what the column takes.
//!
//! A column of random bytes (an id in hex) is as large after Snappy as before, and costs the writer and every reader the
//! same time as one that shrinks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use parquet::basic::{Compression, Encoding, PageType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;

/// So many files do without before it is tried again: data change.
const FILES_WITHOUT: u32 = 32;

/// Smaller dictionaries and columns cost little, whatever they are worth.
const SMALL_BYTES: i64 = 16 << 10;

/// A column is worth compressing when that saves an eighth of it: the bound of LevelDB and RocksDB for their blocks.
const WORTH_SAVING: i64 = 8;

/// What a sink knows of its columns. Forgotten with the sink.
#[derive(Debug, Default)]
pub(super) struct Learned {
    columns: Mutex<BTreeMap<Vec<String>, Without>>,
}

/// For how many more files a column does without.
#[derive(Debug, Default)]
struct Without {
    dictionary: u32,
    compression: u32,
}

/// What is not worth its cost for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Useless {
    dictionary: bool,
    compression: bool,
}

impl Learned {
    /// Settings of the next file, without what is not worth doing for its columns.
    pub(super) fn apply(&self, mut properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        for (column, useless) in self.useless() {
            if useless.dictionary {
                properties = properties.set_column_dictionary_enabled(column.clone(), false);
            }
            if useless.compression {
                properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
            }
        }
        properties
    }

    /// The columns for which something is not worth doing in the next file.
    fn useless(&self) -> Vec<(ColumnPath, Useless)> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let useless = |w: &Without| Useless { dictionary: w.dictionary > 0, compression: w.compression > 0 };
        columns.iter().map(|(column, w)| (ColumnPath::new(column.clone()), useless(w))).collect()
    }

    /// Takes note of a finished file.
    pub(super) fn learn(&self, footer: &ParquetMetaData) {
        let mut seen: BTreeMap<&[String], Seen> = BTreeMap::new();
        for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
            seen.entry(chunk.column_path().parts()).or_default().add(chunk);
        }
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        for without in columns.values_mut() {
            without.dictionary = without.dictionary.saturating_sub(1);
            without.compression = without.compression.saturating_sub(1);
        }
        for (column, seen) in seen {
            let (dictionary, compression) = (seen.dictionary_is_useless(), seen.compression_is_useless());
            if dictionary || compression {
                let without = columns.entry(column.to_vec()).or_default();
                without.dictionary = if dictionary { FILES_WITHOUT } else { without.dictionary };
                without.compression = if compression { FILES_WITHOUT } else { without.compression };
            }
        }
        columns.retain(|_, without| without.dictionary > 0 || without.compression > 0);
    }
}

/// What a file says of one column.
#[derive(Debug, Default)]
struct Seen {
    /// Data pages, and those that did not refer to the dictionary there was.
    pages: i64,
    plain_pages: i64,
    /// Bytes of the column, and of its dictionaries.
    bytes: i64,
    dictionary_bytes: i64,
    /// Bytes of the row groups in which it was to be compressed, before and after.
    plain: i64,
    compressed: i64,
}

impl Seen {
    fn add(&mut self, chunk: &ColumnChunkMetaData) {
        if chunk.compression() != Compression::UNCOMPRESSED {
            self.plain += chunk.uncompressed_size();
            self.compressed += chunk.compressed_size();
        }
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

    fn compression_is_useless(&self) -> bool {
        self.plain >= SMALL_BYTES && (self.plain - self.compressed) * WORTH_SAVING < self.plain
    }

    fn dictionary_is_useless(&self) -> bool {
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
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A file of two columns: few different values, and all different. Its size, and how many dictionaries were made.
    fn write(learned: &Learned, rows: i64) -> (u64, usize) {
        let many = (0..rows).map(|i| format!("{:032x}", i * 7919));
        let footer = write_columns(learned, rows, many, Compression::UNCOMPRESSED);
        let columns = footer.row_group(0).columns();
        let made = columns.iter().filter(|c| c.dictionary_page_offset().is_some()).count();
        (columns.iter().map(|c| c.compressed_size() as u64).sum(), made)
    }

    fn write_columns(
        learned: &Learned,
        rows: i64,
        many: impl Iterator<Item = String>,
        compression: Compression,
    ) -> ParquetMetaData {
        let few: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|i| i % 9)));
        let many: ArrayRef = Arc::new(StringArray::from_iter_values(many));
        let batch = RecordBatch::try_from_iter([("few", few), ("many", many)]).unwrap();
        let properties = learned.apply(WriterProperties::builder().set_compression(compression));
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.finish().unwrap();
        learned.learn(&footer);
        footer
    }

    fn without(dictionary: bool, compression: bool) -> Vec<(ColumnPath, Useless)> {
        vec![(ColumnPath::from("many"), Useless { dictionary, compression })]
    }

    #[test]
    fn a_dictionary_that_overflowed_is_not_made_again_for_some_files() {
        let learned = Learned::default();
        let (large, made) = write(&learned, 200_000);
        assert_eq!(made, 2);
        assert_eq!(learned.useless(), without(true, false));
        let (small, made) = write(&learned, 200_000);
        assert_eq!(made, 1);
        assert!(small < large, "{small} {large}");
        for _ in 2..FILES_WITHOUT {
            assert_eq!(write(&learned, 10).1, 1);
        }
        assert_eq!(write(&learned, 10).1, 1, "the last without");
        assert_eq!(write(&learned, 10).1, 2, "tried again");
        assert!(learned.useless().is_empty(), "few rows never fill it");
    }

    #[test]
    fn a_dictionary_that_is_most_of_its_column_is_not_made_again() {
        let learned = Learned::default();
        assert_eq!(write(&learned, 400).1, 2);
        assert!(learned.useless().is_empty(), "too small to matter");
        assert_eq!(write(&learned, 4_000).1, 2);
        assert_eq!(learned.useless(), without(true, false), "4,000 values, all different");
        assert_eq!(write(&learned, 4_000).1, 1);
    }

    #[test]
    fn a_column_that_does_not_shrink_is_not_compressed_for_some_files() {
        // Random hex digits: Snappy saves a tenth of them.
        let mut random = SmallRng::seed_from_u64(7);
        let mut hex =
            |rows: i64| -> Vec<String> { (0..rows).map(|_| format!("{:032x}", random.random::<u128>())).collect() };
        let learned = Learned::default();
        let mut write = |learned: &Learned, rows: i64, values: Option<&str>| {
            let values = values.map_or_else(|| hex(rows), |v| vec![v.to_owned(); rows as usize]);
            let footer = write_columns(learned, rows, values.into_iter(), Compression::SNAPPY);
            let codecs: Vec<Compression> = footer.row_group(0).columns().iter().map(|c| c.compression()).collect();
            assert_eq!(codecs[0], Compression::SNAPPY, "few different values, and little to save");
            codecs[1]
        };
        assert_eq!(write(&learned, 300, None), Compression::SNAPPY);
        assert!(learned.useless().is_empty(), "too small to matter");
        assert_eq!(write(&learned, 100_000, None), Compression::SNAPPY);
        assert_eq!(learned.useless(), without(true, true));
        for file in 0..FILES_WITHOUT {
            assert_eq!(write(&learned, 10_000, Some("the same")), Compression::UNCOMPRESSED, "file {file}");
        }
        assert_eq!(write(&learned, 10_000, Some("the same")), Compression::SNAPPY, "tried again");
        assert!(learned.useless().is_empty(), "it shrinks");
    }
}
