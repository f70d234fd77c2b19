//! Counts rows as any reader of the folder would: all `*.parquet` below it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::util::pretty::pretty_format_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// What is in a folder.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub files: usize,
    pub rows: u64,
    pub doubled: u64,
}

impl Count {
    pub(super) fn exactly(&self, rows: u64) -> bool {
        self.rows == rows && self.doubled == 0
    }
}

/// Counts the rows below `folder`, and those whose `(_partition, _offset)` was there already.
pub(super) fn count(folder: &Path, ends: &[i64]) -> anyhow::Result<Count> {
    let mut seen: Vec<Vec<bool>> = ends.iter().map(|end| vec![false; usize::try_from(*end).unwrap_or(0)]).collect();
    let mut count = Count::default();
    for file in files(folder)? {
        count.files += 1;
        for batch in read(&file)? {
            let batch = batch?;
            let column = |name| batch.column_by_name(name).with_context(|| format!("{} lacks {name}", file.display()));
            let partitions = column("_partition")?.as_primitive::<Int32Type>();
            let offsets = column("_offset")?.as_primitive::<Int64Type>();
            for (p, o) in partitions.values().iter().zip(offsets.values()) {
                count.rows += 1;
                let place = usize::try_from(*p).ok().zip(usize::try_from(*o).ok());
                let place = place.and_then(|(p, o)| seen.get_mut(p)?.get_mut(o));
                match place {
                    Some(seen) if !*seen => *seen = true,
                    _ => count.doubled += 1,
                }
            }
        }
    }
    Ok(count)
}

/// The first rows of the newest file, as a table.
pub(super) fn sample(folder: &Path, rows: usize) -> anyhow::Result<String> {
    let Some(file) = files(folder)?.pop() else { return Ok(String::new()) };
    let Some(batch) = read(&file)?.next() else { return Ok(String::new()) };
    let batch = batch?;
    Ok(pretty_format_batches(&[batch.slice(0, rows.min(batch.num_rows()))])?.to_string())
}

fn read(file: &Path) -> anyhow::Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>> {
    let open = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(ParquetRecordBatchReaderBuilder::try_new(open)
        .with_context(|| format!("cannot read {}", file.display()))?
        .build()?)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
