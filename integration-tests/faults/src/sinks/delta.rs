//! A Delta table, on a small disk or in S3.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::files::Local;
use super::log::Folder;
use super::s3::{Bucket, Store};
use super::{Server, Setup, UnderTest, s3};
use crate::disk::Disk;
use crate::kind::{Part, Surroundings};
use crate::proxy::Proxy;
use crate::readers;
use crate::tally::Tally;
use crate::watch::Look;

/// A table.
pub(super) struct Delta {
    place: Place,
    partitions: usize,
}

enum Place {
    Disk(Disk),
    S3(Box<Store>),
}

impl Delta {
    pub(super) fn local(setup: &Setup) -> Result<Self> {
        let disk = Disk::mount(&setup.root.join("disk"))?;
        Ok(Self { place: Place::Disk(disk), partitions: setup.partitions })
    }

    pub(super) fn s3(setup: &Setup) -> Result<Self> {
        Ok(Self { place: Place::S3(Box::new(Store::start(setup)?)), partitions: setup.partitions })
    }

    fn uri(&self) -> String {
        match &self.place {
            Place::Disk(disk) => disk.path().join("table").display().to_string(),
            Place::S3(store) => format!("s3://{}/table", store.bucket),
        }
    }
}

impl UnderTest for Delta {
    fn name(&self) -> &'static str {
        match &self.place {
            Place::Disk(_) => "delta",
            Place::S3(_) => "delta-s3",
        }
    }

    fn config(&self, daemon: usize) -> String {
        let more = match &self.place {
            Place::Disk(_) => String::new(),
            Place::S3(store) => format!("storage = \"lake\"\n{}", store.table(daemon)),
        };
        format!("type = \"delta\"\nuri = \"{}\"\n{more}", self.uri())
    }

    fn max_age(&self) -> &'static str {
        "500ms"
    }

    fn failpoints(&self) -> &'static [&'static str] {
        &[
            "delta.before_commit",
            "delta.after_commit",
            "delta.in_recover",
            "delta.before_checkpoint",
            "delta.after_checkpoint",
        ]
    }

    fn surroundings(&self) -> Surroundings {
        match &self.place {
            Place::Disk(_) => Surroundings { disk: true, ..Surroundings::default() },
            Place::S3(_) => s3::surroundings(),
        }
    }

    fn server(&mut self, part: Part) -> Result<&mut dyn Server> {
        match &mut self.place {
            Place::Disk(_) => bail!("a local table has no {}", part.name()),
            Place::S3(store) => Ok(&mut store.server),
        }
    }

    fn link(&self, part: Part, daemon: usize) -> Result<&Proxy> {
        match &self.place {
            Place::Disk(_) => bail!("a local table has no {}", part.name()),
            Place::S3(store) => store.link(part, daemon),
        }
    }

    fn disk(&self) -> Option<&Disk> {
        match &self.place {
            Place::Disk(disk) => Some(disk),
            Place::S3(_) => None,
        }
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        let folder: Box<dyn Folder> = match &self.place {
            Place::Disk(_) => Box::new(Local(PathBuf::from(self.uri()))),
            Place::S3(store) => Box::new(Bucket::new(store, "table")),
        };
        Ok(Box::new(Versions { folder, next: 0, visible: vec![-1; self.partitions] }))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        let uri = self.uri();
        match &self.place {
            Place::Disk(_) => readers::read("delta", &[&uri], &[], tally),
            Place::S3(store) => readers::read("delta", &[&uri, &store.server.endpoint()], &[], tally),
        }
    }
}

/// Reads version after version, and the positions in them.
struct Versions {
    folder: Box<dyn Folder>,
    next: u64,
    visible: Vec<i64>,
}

impl Look for Versions {
    fn positions(&mut self) -> Result<Vec<i64>> {
        while let Some(bytes) = self.folder.get(&format!("_delta_log/{:020}.json", self.next))? {
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let action: Value = serde_json::from_slice(line).context("an action that is not JSON")?;
                // `tidemill/JOB/TOPIC/PARTITION`, and perhaps the topic's id.
                let id = action["txn"]["appId"].as_str().unwrap_or_default();
                let partition = id.split('/').nth(3).and_then(|index| index.parse::<usize>().ok());
                if let (Some(partition), Some(version)) = (partition, action["txn"]["version"].as_i64())
                    && let Some(visible) = self.visible.get_mut(partition)
                    && version >= 0
                {
                    *visible = version;
                }
            }
            self.next += 1;
        }
        Ok(self.visible.clone())
    }
}
