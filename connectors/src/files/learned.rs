//! Which columns of Parquet files gain nothing from a dictionary or from compression, learned from the files that were
//! written.
//!
//! A column of many different values (an id, a counter) fills its dictionary, 1 MiB, and goes on without: the values of
//! that mebibyte are hashed for nothing in each row group, and the dictionary and its indices make the file larger. Where
//! row groups are too small for that (wide tables), the dictionary is most of what the column takes.
//!
//! A dictionary takes 80 KiB before it has a value. A table of hundreds of columns has them for some columns at a time:
//! those for which one paid, then those that were not tried yet.
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
    columns: Mutex<BTreeMap<Vec<String>, Known>>,
}

/// A column of a file.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub path: ColumnPath,
    /// Whether values of its type can be in a dictionary.
    pub can_have_dictionary: bool,
}

/// What is known of a column.
#[derive(Debug, Default)]
struct Known {
    /// For how many more files it does without a dictionary, and without compression.
    no_dictionary: u32,
    no_compression: u32,
    /// Whether the last dictionary was worth its cost.
    dictionary_pays: bool,
}

/// What a column is to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Without {
    dictionary: bool,
    compression: bool,
}

impl Learned {
    /// Settings of the next file, which has the columns `leaves`: without what is not worth doing for them, and with at
    /// most so many dictionaries.
    pub(super) fn apply(
        &self,
        mut properties: WriterPropertiesBuilder,
        leaves: &[Leaf],
        dictionaries: usize,
    ) -> WriterPropertiesBuilder {
        for (column, without) in self.without(leaves, dictionaries) {
            if without.dictionary {
                properties = properties.set_column_dictionary_enabled(column.clone(), false);
            }
            if without.compression {
                properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
            }
        }
        properties
    }

    /// The columns that do without something in the next file.
    fn without(&self, leaves: &[Leaf], dictionaries: usize) -> Vec<(ColumnPath, Without)> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |leaf: &Leaf| columns.get(leaf.path.parts());
        let may = |leaf: &Leaf| leaf.can_have_dictionary && known(leaf).is_none_or(|k| k.no_dictionary == 0);
        let mut candidates: Vec<usize> = (0..leaves.len()).filter(|&i| may(&leaves[i])).collect();
        // Stable: in the schema's order beside that.
        candidates.sort_by_key(|&i| known(&leaves[i]).is_none_or(|k| !k.dictionary_pays));
        let mut dictionary = vec![false; leaves.len()];
        candidates.into_iter().take(dictionaries).for_each(|i| dictionary[i] = true);
        leaves
            .iter()
            .zip(dictionary)
            .map(|(leaf, has)| (leaf, has, known(leaf).is_some_and(|k| k.no_compression > 0)))
            .filter(|(_, has, plain)| !has || *plain)
            .map(|(leaf, has, plain)| (leaf.path.clone(), Without { dictionary: !has, compression: plain }))
            .collect()
    }

    /// Takes note of a finished file.
    pub(super) fn learn(&self, footer: &ParquetMetaData) {
        let mut seen: BTreeMap<&[String], Seen> = BTreeMap::new();
        for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
            seen.entry(chunk.column_path().parts()).or_default().add(chunk);
        }
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        for known in columns.values_mut() {
            known.no_dictionary = known.no_dictionary.saturating_sub(1);
            known.no_compression = known.no_compression.saturating_sub(1);
        }
        for (column, seen) in seen {
            let known = columns.entry(column.to_vec()).or_default();
            if seen.dictionary_is_useless() {
                known.no_dictionary = FILES_WITHOUT;
            }
            if seen.compression_is_useless() {
                known.no_compression = FILES_WITHOUT;
            }
            if seen.has_dictionary() {
                known.dictionary_pays = !seen.dictionary_is_useless();
            }
        }
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

    fn has_dictionary(&self) -> bool {
        self.pages > 0
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
        let properties = WriterProperties::builder().set_compression(compression);
        let properties = learned.apply(properties, &leaves(), 2);
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        let footer = writer.finish().unwrap();
        learned.learn(&footer);
        footer
    }

    fn leaf(name: &str) -> Leaf {
        Leaf { path: ColumnPath::from(name), can_have_dictionary: true }
    }

    fn leaves() -> Vec<Leaf> {
        ["few", "many"].map(leaf).into()
    }

    fn without(learned: &Learned) -> Vec<(ColumnPath, Without)> {
        learned.without(&leaves(), 2)
    }

    fn many(dictionary: bool, compression: bool) -> Vec<(ColumnPath, Without)> {
        vec![(ColumnPath::from("many"), Without { dictionary, compression })]
    }

    #[test]
    fn a_dictionary_that_overflowed_is_not_made_again_for_some_files() {
        let learned = Learned::default();
        let (large, made) = write(&learned, 200_000);
        assert_eq!(made, 2);
        assert_eq!(without(&learned), many(true, false));
        let (small, made) = write(&learned, 200_000);
        assert_eq!(made, 1);
        assert!(small < large, "{small} {large}");
        for _ in 2..FILES_WITHOUT {
            assert_eq!(write(&learned, 10).1, 1);
        }
        assert_eq!(write(&learned, 10).1, 1, "the last without");
        assert_eq!(write(&learned, 10).1, 2, "tried again");
        assert!(without(&learned).is_empty(), "few rows never fill it");
    }

    #[test]
    fn a_dictionary_that_is_most_of_its_column_is_not_made_again() {
        let learned = Learned::default();
        assert_eq!(write(&learned, 400).1, 2);
        assert!(without(&learned).is_empty(), "too small to matter");
        assert_eq!(write(&learned, 4_000).1, 2);
        assert_eq!(without(&learned), many(true, false), "4,000 values, all different");
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
        assert!(without(&learned).is_empty(), "too small to matter");
        assert_eq!(write(&learned, 100_000, None), Compression::SNAPPY);
        assert_eq!(without(&learned), many(true, true));
        for file in 0..FILES_WITHOUT {
            assert_eq!(write(&learned, 10_000, Some("the same")), Compression::UNCOMPRESSED, "file {file}");
        }
        assert_eq!(write(&learned, 10_000, Some("the same")), Compression::SNAPPY, "tried again");
        assert!(without(&learned).is_empty(), "it shrinks");
    }

    #[test]
    fn a_table_of_many_columns_has_dictionaries_where_they_pay_then_where_none_was_tried() {
        let learned = Learned::default();
        let names: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
        let leaves: Vec<Leaf> = names.iter().map(|n| leaf(n)).collect();
        // Even columns hold few different values, odd ones nothing else.
        let write = |rows: i64| -> Vec<usize> {
            let column = |c: usize| -> (&str, ArrayRef) {
                let values = (0..rows).map(|i| if c.is_multiple_of(2) { i % 9 } else { i * 7919 });
                (&names[c], Arc::new(Int64Array::from_iter_values(values)))
            };
            let batch = RecordBatch::try_from_iter((0..10).map(column)).unwrap();
            let properties = learned.apply(WriterProperties::builder(), &leaves, 4).build();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            let footer = writer.finish().unwrap();
            learned.learn(&footer);
            let columns = footer.row_group(0).columns().iter().enumerate();
            columns.filter(|(_, c)| c.dictionary_page_offset().is_some()).map(|(i, _)| i).collect()
        };
        assert_eq!(write(10_000), [0, 1, 2, 3]);
        assert_eq!(write(10_000), [0, 2, 4, 5], "1 and 3 have shown that none pays");
        assert_eq!(write(10_000), [0, 2, 4, 6]);
        assert_eq!(write(10_000), [0, 2, 4, 6], "all four pay, the others have to do without");
    }

    #[test]
    fn a_column_whose_type_has_no_dictionaries_takes_none_from_others() {
        let mut leaves: Vec<Leaf> = ["a", "b", "c"].map(leaf).into();
        leaves[0].can_have_dictionary = false;
        let without = Learned::default().without(&leaves, 1);
        let names: Vec<String> = without.iter().filter(|(_, w)| w.dictionary).map(|(path, _)| path.string()).collect();
        assert_eq!(names, ["a", "c"]);
    }
}
