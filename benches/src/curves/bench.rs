//! The daemon measured at a point, idle, and at its start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidemill_integration_tests::checker::parquet_files;
use tidemill_integration_tests::daemon::Daemon;

use super::config::{config, out};
use super::point::{Point, Topic};
use super::report::{Idle, Run};
use crate::check::check_column;
use crate::clicks::Totals;
use crate::{binaries, measure, topic};

/// Longest that a daemon may take at a point: what takes longer has collapsed.
const LIMIT: Duration = Duration::from_secs(180);
/// Longest wait for the first file of a daemon that does not end.
const FIRST: Duration = Duration::from_secs(60);
/// How long a daemon without anything to do is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(5);

/// Where measurements are made.
pub struct Bench<'a> {
    /// `bootstrap.servers`.
    pub brokers: &'a str,
    /// A prefix of topics, folders and consumer groups that nothing else has.
    pub name: &'a str,
    /// The folder to work in.
    pub home: &'a Path,
    /// Whether what the daemon made is kept.
    pub keep: bool,
}

/// A topic that is filled.
pub struct Filled {
    name: String,
    totals: Totals,
}

impl Bench<'_> {
    /// Makes and fills a topic.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub fn fill(&self, topic: &Topic) -> Result<Filled> {
        let name = self.unique();
        let totals = binaries::fill_wide(self.brokers, &name, topic.records, topic.shape, topic.partitions, self.home)?;
        Ok(Filled { name, totals })
    }

    /// Deletes it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete(&self, filled: &Filled) -> Result<()> {
        topic::delete(self.brokers, &filled.name)
    }

    /// A daemon from exec to exit, and what every job of it wrote, checked.
    ///
    /// # Errors
    /// When it fails, takes too long, or wrote other rows than it should have.
    pub fn run(&self, point: &Point, filled: &Filled) -> Result<Run> {
        let folder = self.folder()?;
        let text = config(point, self.brokers, &filled.name, &folder, true)?;
        let command = binaries::daemon(&text, &folder, point.cores)?;
        let usage = measure::run(command, &folder.join("log"), LIMIT)?;
        let (mut files, mut output_bytes) = (0, 0);
        for n in 0..point.jobs {
            let out = out(&folder, n);
            let Totals { records, seq_sum, .. } = filled.totals;
            let found = check_column(&parquet_files(&out)?, &out, "seq", records, seq_sum as f64, 0.0)?;
            files += found.files;
            output_bytes += found.bytes;
        }
        self.clean(&folder)?;
        let jobs = point.jobs as u64;
        Ok(Run { usage, records: filled.totals.records * jobs, bytes: filled.totals.bytes * jobs, files, output_bytes })
    }

    /// A daemon with one job that has read everything, left alone: what it holds and uses in `length`.
    ///
    /// # Errors
    /// When it does not come so far.
    pub fn idle(&self, point: &Point, filled: &Filled, length: Duration) -> Result<Idle> {
        let folder = self.folder()?;
        let mut daemon = self.start(point, filled, &folder)?.0;
        std::thread::sleep(SETTLE);
        let (before, _) = measure::of(daemon.pid())?;
        let begun = Instant::now();
        std::thread::sleep(length);
        let (after, rss_bytes) = measure::of(daemon.pid())?;
        let seconds = begun.elapsed().as_secs_f64();
        daemon.term(LIMIT)?;
        self.clean(&folder)?;
        Ok(Idle { seconds, rss_bytes, core_percent: 100.0 * (after - before) / seconds })
    }

    /// Seconds from exec until the first file can be seen.
    ///
    /// # Errors
    /// When none comes.
    pub fn first_commit(&self, point: &Point, filled: &Filled) -> Result<f64> {
        let folder = self.folder()?;
        let (mut daemon, seconds) = self.start(point, filled, &folder)?;
        daemon.stop(LIMIT)?;
        self.clean(&folder)?;
        Ok(seconds)
    }

    /// A daemon whose job does not end, once its first file is there; how long that took.
    fn start(&self, point: &Point, filled: &Filled, folder: &Path) -> Result<(Daemon, f64)> {
        let text = config(point, self.brokers, &filled.name, folder, false)?;
        let out = out(folder, 0);
        let begun = Instant::now();
        let mut daemon = Daemon::spawn(folder, &text, &[])?;
        while parquet_files(&out)?.is_empty() {
            if let Some(status) = daemon.exited()? {
                bail!("the daemon ended with {status}:\n{}", daemon.log());
            }
            if begun.elapsed() > FIRST {
                bail!("no file in {} after {FIRST:?}:\n{}", out.display(), daemon.log());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok((daemon, begun.elapsed().as_secs_f64()))
    }

    fn unique(&self) -> String {
        format!("{}-{:08x}", self.name, rand::random::<u32>())
    }

    /// A folder whose name, and so its consumer groups, nothing else has.
    fn folder(&self) -> Result<PathBuf> {
        let folder = self.home.join(self.unique());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    fn clean(&self, folder: &Path) -> Result<()> {
        if !self.keep {
            fs::remove_dir_all(folder)?;
        }
        Ok(())
    }
}
