//! Counts every offset in the sink and in the dead letters, reading them as their users do: every `*.parquet` below
//! a folder, with nothing but the parquet crate. Knows nothing of Tidemill's own log.

mod columns;
mod report;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::array::{Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

pub use report::{Counts, Report};

use crate::ledger::{Expected, Ledger};
use crate::records::{Fate, Row};
use columns::{LetterColumns, RowColumns, column};

/// Compares a sink's folder and, where there is one, the dead letters' folder with what was produced.
///
/// `ledgers`: one for each topic of the job. An error only where there is nothing to read at all; what is wrong
/// with a file or a row is in the report.
pub fn check(ledgers: &[&Ledger], out: &Path, dead_letters: Option<&Path>) -> Result<Report> {
    let mut report = Report::default();
    let mut rows = Seen::new(ledgers);
    read_folder(out, &mut report, |report, file, batch| {
        report.rows += batch.num_rows();
        check_rows(&mut rows, report, file, batch)
    })?;
    let mut letters = Seen::new(ledgers);
    if let Some(folder) = dead_letters {
        read_folder(folder, &mut report, |report, file, batch| {
            report.letters += batch.num_rows();
            check_letters(&mut letters, report, file, batch)
        })?;
    }
    for (t, ledger) in ledgers.iter().enumerate() {
        for partition in 0..ledger.partitions() {
            for offset in 0..ledger.end(partition) {
                let place = || format!("{}/{partition} offset {offset}", ledger.topic);
                let (row, letter) = (rows.count(t, partition, offset), letters.count(t, partition, offset));
                match ledger.expected(partition, offset) {
                    // What is seen here was counted as foreign when it was read.
                    Expected::Nothing => (),
                    Expected::Aborted => report.aborted += 1,
                    Expected::Record(record) => match record.fate {
                        Fate::Tombstone => report.tombstones += 1,
                        Fate::Good(_) => report.count(true, row, place),
                        Fate::Bad(kind) if dead_letters.is_some() => {
                            report.count(false, letter, || format!("{} ({kind})", place()));
                        }
                        Fate::Bad(_) => report.skipped += 1,
                    },
                }
            }
        }
    }
    Ok(report)
}

/// How often each offset was read.
struct Seen<'a> {
    ledgers: &'a [&'a Ledger],
    topics: HashMap<&'a str, usize>,
    counts: Vec<Vec<Vec<u8>>>,
}

impl<'a> Seen<'a> {
    fn new(ledgers: &'a [&'a Ledger]) -> Self {
        let topics = ledgers.iter().enumerate().map(|(t, ledger)| (ledger.topic.as_str(), t)).collect();
        let counts = ledgers.iter().map(|l| (0..l.partitions()).map(|p| vec![0; l.end(p)]).collect()).collect();
        Self { ledgers, topics, counts }
    }

    fn count(&self, topic: usize, partition: usize, offset: usize) -> u8 {
        self.counts[topic][partition][offset]
    }

    /// Counts one and says what should be there.
    fn see(&mut self, topic: &str, partition: i32, offset: i64) -> Expected {
        let (Some(&t), Ok(p), Ok(o)) = (self.topics.get(topic), usize::try_from(partition), usize::try_from(offset))
        else {
            return Expected::Nothing;
        };
        if let Some(count) = self.counts[t].get_mut(p).and_then(|offsets| offsets.get_mut(o)) {
            *count = count.saturating_add(1);
        }
        self.ledgers[t].expected(p, o)
    }
}

fn check_rows(seen: &mut Seen<'_>, report: &mut Report, file: &Path, batch: &RecordBatch) -> Result<()> {
    let places = Places::of(batch)?;
    let columns = RowColumns::of(batch)?;
    for i in 0..batch.num_rows() {
        match seen.see(places.topics.value(i), places.partitions.value(i), places.offsets.value(i)) {
            Expected::Record(record) => match record.fate {
                Fate::Good(row) => {
                    let found = columns.row(i);
                    if found != *row {
                        report.good.wrong += 1;
                        report.fault(|| format!("{}: expected {row:?}, found {found:?}", places.at(i, file)));
                    }
                }
                fate => report.foreign_row(|| format!("{}: a row of a record that is {fate:?}", places.at(i, file))),
            },
            other => report.foreign_row(|| format!("{}: a row where there is {other:?}", places.at(i, file))),
        }
    }
    Ok(())
}

fn check_letters(seen: &mut Seen<'_>, report: &mut Report, file: &Path, batch: &RecordBatch) -> Result<()> {
    let places = Places::of(batch)?;
    let columns = LetterColumns::of(batch)?;
    for i in 0..batch.num_rows() {
        match seen.see(places.topics.value(i), places.partitions.value(i), places.offsets.value(i)) {
            Expected::Record(record) if matches!(record.fate, Fate::Bad(_)) => {
                if let Some(difference) = columns.differs(i, &record) {
                    report.bad.wrong += 1;
                    report.fault(|| format!("{} ({:?}): {difference}", places.at(i, file), record.fate));
                }
            }
            Expected::Record(record) => {
                let (fate, error) = (record.fate, columns.error(i));
                report.foreign_letter(|| format!("{}: a dead letter ({error}) of {fate:?}", places.at(i, file)));
            }
            other => report.foreign_letter(|| format!("{}: a dead letter of {other:?}", places.at(i, file))),
        }
    }
    Ok(())
}

/// The columns that say which record a row is of.
struct Places {
    topics: StringArray,
    partitions: Int32Array,
    offsets: Int64Array,
}

impl Places {
    fn of(batch: &RecordBatch) -> Result<Self> {
        Ok(Self {
            topics: column(batch, &["_topic", "topic"], &DataType::Utf8)?,
            partitions: column(batch, &["_partition", "partition"], &DataType::Int32)?,
            offsets: column(batch, &["_offset", "offset"], &DataType::Int64)?,
        })
    }

    fn at(&self, i: usize, file: &Path) -> String {
        let (topic, partition, offset) = (self.topics.value(i), self.partitions.value(i), self.offsets.value(i));
        format!("{topic}/{partition} offset {offset} in {}", file.display())
    }
}

/// Every `*.parquet` below a folder, as a recursive glob finds them. A folder that does not exist has none.
pub fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "parquet") {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read_folder(
    folder: &Path,
    report: &mut Report,
    mut look: impl FnMut(&mut Report, &Path, &RecordBatch) -> Result<()>,
) -> Result<()> {
    for path in parquet_files(folder)? {
        report.files += 1;
        if let Err(error) = read_file(&path, |batch| look(report, &path, batch)) {
            report.unreadable += 1;
            report.fault(|| format!("{}: {error:#}", path.display()));
        }
    }
    Ok(())
}

fn read_file(path: &Path, mut look: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.with_batch_size(8192).build()?;
    for batch in reader {
        look(&batch?)?;
    }
    Ok(())
}

/// Where each row of a folder was read: topic, partition and offset, in order. One that is there twice comes twice.
pub fn places(folder: &Path) -> Result<Vec<(String, i32, i64)>> {
    let mut found = Vec::new();
    for path in parquet_files(folder)? {
        read_file(&path, |batch| {
            let places = Places::of(batch)?;
            let row = |i| (places.topics.value(i).to_owned(), places.partitions.value(i), places.offsets.value(i));
            found.extend((0..batch.num_rows()).map(row));
            Ok(())
        })?;
    }
    found.sort();
    Ok(found)
}

/// The rows of a batch with the columns of a good record.
pub fn rows_of(batch: &RecordBatch) -> Result<Vec<Row>> {
    let columns = RowColumns::of(batch)?;
    Ok((0..batch.num_rows()).map(|i| columns.row(i)).collect())
}

/// Counts rows only: for watching a run.
pub fn count_rows(folder: &Path) -> Result<usize> {
    let mut rows = 0;
    for path in parquet_files(folder)? {
        let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?;
        rows += usize::try_from(file.metadata().file_metadata().num_rows())?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
