//! Parquet and NDJSON in a folder, on a small disk.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Result;
use tidemill_integration_tests::checker::{Report, check};
use tidemill_integration_tests::ledger::Ledger;

use super::log::{Folder, FollowLog};
use super::{Setup, UnderTest};
use crate::disk::Disk;
use crate::kind::Surroundings;
use crate::readers;
use crate::tally::Tally;
use crate::watch::Look;

/// Steps of the files' commit.
pub(super) const FAILPOINTS: &[&str] = &[
    "files.staged_open",
    "files.after_seal",
    "files.before_record",
    "files.after_record",
    "files.mid_rename",
    "files.after_rename",
    "files.in_recover",
    "files.before_fence",
    "files.after_fence",
];

/// A folder of files.
pub(super) struct Files {
    name: &'static str,
    disk: Disk,
    out: PathBuf,
    partitions: usize,
}

impl Files {
    pub(super) fn parquet(setup: &Setup) -> Result<Self> {
        Self::new("parquet", setup)
    }

    pub(super) fn ndjson(setup: &Setup) -> Result<Self> {
        Self::new("ndjson", setup)
    }

    fn new(name: &'static str, setup: &Setup) -> Result<Self> {
        let disk = Disk::mount(&setup.root.join("disk"))?;
        let out = disk.path().join("out");
        Ok(Self { name, disk, out, partitions: setup.partitions })
    }
}

impl UnderTest for Files {
    fn name(&self) -> &'static str {
        self.name
    }

    fn config(&self, _daemon: usize) -> String {
        format!("type = \"{}\"\npath = \"{}\"", self.name, self.out.display())
    }

    fn failpoints(&self) -> &'static [&'static str] {
        FAILPOINTS
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { disk: true, ..Surroundings::default() }
    }

    fn disk(&self) -> Option<&Disk> {
        Some(&self.disk)
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        Ok(Box::new(FollowLog::new(Local(self.out.clone()), "clicks", self.partitions)))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        readers::read(self.name, &[&self.out.display().to_string()], &[], tally)
    }

    fn values(&self, ledger: &Ledger) -> Result<Option<Report>> {
        if self.name == "parquet" { check(&[ledger], &self.out, None).map(Some) } else { Ok(None) }
    }
}

/// A local folder.
pub(super) struct Local(pub(super) PathBuf);

impl Folder for Local {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    fn has(&self, path: &str) -> Result<bool> {
        Ok(self.0.join(path).try_exists()?)
    }
}
