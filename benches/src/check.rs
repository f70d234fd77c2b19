//! Whether a run wrote what it had to.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute;
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidemill_integration_tests::checker::parquet_files;

use crate::clicks::Totals;
use crate::topic;
use crate::workload::Workload;

/// What a folder of Parquet files is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Sum of the checked column.
    pub sum: f64,
}

/// Reads all committed messages of W3's topic and compares their number with what was produced.
///
/// # Errors
/// When something is missing, too much, or other than it should be.
pub fn check_topic(brokers: &str, topic: &str, totals: &Totals) -> Result<Found> {
    let mut found = Found::default();
    let (mut wrong, mut keyless) = (0, 0);
    topic::read_committed(brokers, topic, |key, value| {
        found.rows += 1;
        found.bytes += value.len() as u64;
        wrong += u64::from(memchr_purchase(value).is_none());
        keyless += u64::from(key.is_none());
    })?;
    if (found.rows, wrong, keyless) != (totals.purchases, 0, 0) {
        let (rows, expected) = (found.rows, totals.purchases);
        bail!("{topic}: expected {expected} messages, found {rows}, {wrong} of another type, {keyless} without a key");
    }
    Ok(found)
}

fn memchr_purchase(value: &[u8]) -> Option<usize> {
    const TYPE: &[u8] = br#""type":"purchase""#;
    value.windows(TYPE.len()).position(|window| window == TYPE)
}

/// Reads all Parquet files below `folder` and compares rows and a sum with what was produced.
///
/// # Errors
/// When something is missing, too much, or other than it should be.
pub fn check(folder: &Path, workload: Workload, totals: &Totals) -> Result<Found> {
    check_files(&parquet_files(folder)?, folder, workload, totals)
}

/// The same for these Parquet files of `folder`, whatever their names.
///
/// # Errors
/// When something is missing, too much, or other than it should be.
pub fn check_files(files: &[PathBuf], folder: &Path, workload: Workload, totals: &Totals) -> Result<Found> {
    let (column, rows, sum, tolerance) = match workload {
        Workload::W1 => ("seq", totals.records, totals.seq_sum as f64, 0.0),
        // Sums of floating-point products; a record more or less is far above this.
        Workload::W2 => ("amount", totals.purchases, totals.purchase_cents as f64 / 100.0, 0.01),
        Workload::W3 => bail!("w3 writes no files"),
    };
    check_column(files, folder, column, rows, sum, tolerance)
}

/// The same for any number of rows and the sum of any column, which may be wrong by `tolerance`.
///
/// # Errors
/// When something is missing, too much, or other than it should be.
pub fn check_column(
    files: &[PathBuf],
    folder: &Path,
    column: &str,
    rows: u64,
    sum: f64,
    tolerance: f64,
) -> Result<Found> {
    let mut found = Found::default();
    for path in files {
        found.files += 1;
        found.bytes += path.metadata()?.len();
        read(path, column, &mut found).with_context(|| path.display().to_string())?;
    }
    if found.rows != rows || (found.sum - sum).abs() > tolerance {
        bail!(
            "{}: expected {rows} rows with sum({column}) = {sum}, found {} rows with {}",
            folder.display(),
            found.rows,
            found.sum
        );
    }
    Ok(found)
}

fn read(path: &Path, column: &str, found: &mut Found) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [column]);
    for batch in builder.with_projection(mask).with_batch_size(8192).build()? {
        let batch = batch?;
        found.rows += batch.num_rows() as u64;
        found.sum += sum(&batch, column)?;
    }
    Ok(())
}

fn sum(batch: &RecordBatch, name: &str) -> Result<f64> {
    let column = batch.column_by_name(name).with_context(|| format!("no column {name}"))?;
    if column.null_count() > 0 {
        bail!("{name} has nulls");
    }
    if let Some(whole) = column.as_primitive_opt::<Int64Type>() {
        return Ok(compute::sum(whole).unwrap_or(0) as f64);
    }
    let float =
        column.as_primitive_opt::<Float64Type>().with_context(|| format!("{name} is {}", column.data_type()))?;
    Ok(compute::sum(float).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_row_too_few_or_wrong_is_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let values: Int64Array = (0..100).collect::<Vec<i64>>().into();
        let batch = RecordBatch::try_from_iter([("seq", Arc::new(values) as _)]).expect("a batch");
        let file = File::create(dir.path().join("a.parquet")).expect("creates");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("writes");
        writer.close().expect("closes");
        let totals = Totals { records: 100, seq_sum: 4950, ..Totals::default() };
        let found = check(dir.path(), Workload::W1, &totals).expect("right");
        assert_eq!((found.files, found.rows), (1, 100));
        check(dir.path(), Workload::W1, &Totals { records: 99, ..totals }).expect_err("a row too many");
        check(dir.path(), Workload::W1, &Totals { seq_sum: 4951, ..totals }).expect_err("a wrong value");
    }
}
