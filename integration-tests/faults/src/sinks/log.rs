//! What is visible of a files sink, from its log: the newest record whose files have their final names.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::watch::Look;

/// Reads files below the sink's folder, wherever it is.
pub(super) trait Folder: Send {
    /// A file's content, if it is there.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>>;
    /// Whether it is there.
    fn has(&self, path: &str) -> Result<bool>;
}

#[derive(Deserialize)]
struct Record {
    positions: Vec<Position>,
    files: Vec<DataFile>,
}

#[derive(Deserialize)]
struct Position {
    partition: usize,
    offset: i64,
}

#[derive(Deserialize)]
struct DataFile {
    path: String,
}

/// Follows a log.
pub(super) struct FollowLog<F> {
    folder: F,
    job: String,
    visible: Vec<i64>,
    n: u64,
    newest: Option<Record>,
}

impl<F: Folder> FollowLog<F> {
    pub(super) fn new(folder: F, job: &str, partitions: usize) -> Self {
        Self { folder, job: job.to_owned(), visible: vec![-1; partitions], n: 0, newest: None }
    }

    fn show(&mut self, record: &Record) {
        for at in &record.positions {
            if let Some(visible) = self.visible.get_mut(at.partition) {
                *visible = at.offset;
            }
        }
    }
}

impl<F: Folder> Look for FollowLog<F> {
    fn positions(&mut self) -> Result<Vec<i64>> {
        loop {
            let name = format!("_tidemill/{}/log/{:020}.json", self.job, self.n + 1);
            let Some(bytes) = self.folder.get(&name)? else { break };
            let record = serde_json::from_slice(&bytes).with_context(|| format!("{name} is not a record"))?;
            self.n += 1;
            // A record's files are in place before the next record is put.
            if let Some(before) = self.newest.replace(record) {
                self.show(&before);
            }
        }
        if let Some(newest) = self.newest.take() {
            let mut complete = true;
            for file in &newest.files {
                complete &= self.folder.has(&file.path)?;
            }
            if complete {
                self.show(&newest);
            } else {
                self.newest = Some(newest);
            }
        }
        Ok(self.visible.clone())
    }
}
