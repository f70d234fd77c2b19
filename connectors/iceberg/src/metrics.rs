//! From the footer of a Parquet file to what Iceberg keeps of a data file: sizes, counts, bounds.

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct, Type,
};
use parquet::basic::Type as Physical;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use tidemill_engine::sink::SinkError;

/// A finished file.
pub(crate) struct Finished<'a> {
    /// Its whole address.
    pub(crate) uri: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Rows in it.
    pub(crate) rows: u64,
    /// Its partition's values.
    pub(crate) partition: Struct,
    /// The partition spec these are of.
    pub(crate) spec_id: i32,
    /// Its end.
    pub(crate) footer: &'a ParquetMetaData,
}

/// What a table says about a data file.
pub(crate) fn data_file(file: Finished<'_>, table: &Schema) -> Result<DataFile, SinkError> {
    let mut sizes: HashMap<i32, u64> = HashMap::new();
    let mut values: HashMap<i32, u64> = HashMap::new();
    let mut nulls: HashMap<i32, u64> = HashMap::new();
    let (mut lower, mut upper) = (Bounds::default(), Bounds::default());
    for group in file.footer.row_groups() {
        for column in group.columns() {
            let descr = column.column_descr();
            let info = descr.self_type().get_basic_info();
            if !info.has_id() {
                continue;
            }
            let id = info.id();
            *sizes.entry(id).or_default() += u64::try_from(column.compressed_size()).unwrap_or(0);
            *values.entry(id).or_default() += u64::try_from(column.num_values()).unwrap_or(0);
            // Within lists and maps, Parquet counts also what is not there, and Iceberg keeps no bounds.
            if descr.max_rep_level() > 0 {
                continue;
            }
            let Some(statistics) = column.statistics() else {
                lower.forget(id);
                upper.forget(id);
                continue;
            };
            if let Some(count) = statistics.null_count_opt() {
                *nulls.entry(id).or_default() += count;
            }
            let Some(Type::Primitive(of)) = table.field_by_id(id).map(|f| f.field_type.as_ref()) else { continue };
            let all_null = statistics.null_count_opt() == u64::try_from(column.num_values()).ok();
            if !all_null {
                let physical = descr.physical_type();
                lower.take(id, bound(statistics.min_bytes_opt(), statistics, of, physical), |new, old| new < old);
                upper.take(id, bound(statistics.max_bytes_opt(), statistics, of, physical), |new, old| new > old);
            }
        }
    }
    let offsets = file.footer.row_groups().iter().filter_map(|g| g.file_offset().or_else(|| first_page(g))).collect();
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(file.uri)
        .file_format(DataFileFormat::Parquet)
        .partition(file.partition)
        .partition_spec_id(file.spec_id)
        .record_count(file.rows)
        .file_size_in_bytes(file.bytes)
        .column_sizes(sizes)
        .value_counts(values)
        .null_value_counts(nulls)
        .lower_bounds(lower.known())
        .upper_bounds(upper.known())
        .split_offsets(Some(offsets))
        .build()
        .map_err(|e| SinkError::bug(format!("a data file cannot be described: {e}")))
}

fn first_page(group: &parquet::file::metadata::RowGroupMetaData) -> Option<i64> {
    let column = group.columns().first()?;
    Some(column.dictionary_page_offset().unwrap_or(column.data_page_offset()))
}

/// The bounds of one side, over all row groups. A group without one leaves its column without.
#[derive(Default)]
struct Bounds(HashMap<i32, Option<Datum>>);

impl Bounds {
    fn forget(&mut self, id: i32) {
        self.0.insert(id, None);
    }

    fn take(&mut self, id: i32, bound: Option<Datum>, better: impl Fn(&Datum, &Datum) -> bool) {
        match (self.0.get_mut(&id), bound) {
            (None, bound) => {
                self.0.insert(id, bound);
            }
            (Some(None), _) => {}
            (Some(held), None) => *held = None,
            (Some(Some(held)), Some(bound)) => {
                if better(&bound, held) {
                    *held = bound;
                }
            }
        }
    }

    fn known(self) -> HashMap<i32, Datum> {
        self.0.into_iter().filter_map(|(id, bound)| Some((id, bound?))).collect()
    }
}

/// A bound of Parquet's statistics as Iceberg's value.
fn bound(bytes: Option<&[u8]>, statistics: &Statistics, of: &PrimitiveType, physical: Physical) -> Option<Datum> {
    // Statistics of ancient writers have no certain order.
    if statistics.is_min_max_deprecated() {
        return None;
    }
    let bytes = bytes?;
    let bytes = match (of, physical) {
        // Parquet's smaller decimals are little-endian numbers, Iceberg's are big-endian ones.
        (PrimitiveType::Decimal { .. }, Physical::INT32 | Physical::INT64) => {
            bytes.iter().rev().copied().collect::<Vec<_>>()
        }
        _ => bytes.to_vec(),
    };
    let datum = Datum::try_from_bytes(&bytes, of.clone()).ok()?;
    (!datum.is_nan()).then_some(datum)
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
