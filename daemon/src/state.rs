//! The folder a daemon owns: its lock, its instance id, and what is kept of its jobs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tidemill_engine::mark::{Mark, MarkStore};
use tidemill_engine::tuning::{SAVED_VERSION, Saved};
use uuid::Uuid;

use crate::pause::PauseFile;

/// The newest form of a mark that this binary reads.
const MARK_VERSION: u32 = 1;

/// A locked state folder. The lock is gone with the process, however it ends.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    instance: String,
    _lock: File,
}

impl State {
    /// Locks `dir`, making it when needed, and reads or makes the instance id.
    ///
    /// # Errors
    /// When another daemon holds it, or it cannot be written.
    pub fn open(dir: &Path, instance: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make state_dir {}", dir.display()))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "state_dir {} belongs to another running daemon: stop it, or give this one its own state_dir",
                dir.display()
            ),
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
        let instance = match instance {
            Some(name) => name.to_owned(),
            None => kept_instance(&dir.join("instance"))?,
        };
        Ok(Self { dir: dir.to_owned(), instance, _lock: lock })
    }

    /// This daemon's name among those that share a job.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where `job`'s mark is kept.
    #[must_use]
    pub fn marks(&self, job: &str) -> MarkFile {
        MarkFile(self.dir.join("jobs").join(job).join("mark.json"))
    }

    /// Where it is kept that a person paused `job`.
    #[must_use]
    pub fn pause(&self, job: &str) -> PauseFile {
        PauseFile::new(self.dir.join("jobs").join(job).join("pause.json"))
    }

    /// A folder for what does not fit into memory; emptied at each start.
    #[must_use]
    pub fn spill_dir(&self) -> PathBuf {
        self.dir.join("spill")
    }

    /// What `job`'s tuner knew when it was last saved. A file that cannot be read is only lost knowledge: it is learned
    /// again.
    #[must_use]
    pub fn load_tuning(&self, job: &str) -> Option<Saved> {
        let path = self.tuning_file(job);
        read_tuning(&path).unwrap_or_else(|why| {
            tracing::warn!(job, why = %format_args!("{why:#}"), "what the tuner had learned is lost, it learns again");
            None
        })
    }

    /// Saves what `job`'s tuner knows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_tuning(&self, job: &str, saved: &Saved) -> anyhow::Result<()> {
        let path = self.tuning_file(job);
        let text = serde_json::to_vec(saved)?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        write_durably(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn tuning_file(&self, job: &str) -> PathBuf {
        tuning_file(&self.dir, job)
    }

    /// Where sinks without a place of their own keep `job`'s positions.
    #[must_use]
    pub fn positions_file(&self, job: &str, role: &str) -> PathBuf {
        self.dir.join("jobs").join(job).join(format!("{role}-positions.json"))
    }
}

/// Where the knowledge of `job`'s tuner is kept in the state folder `dir`.
#[must_use]
pub fn tuning_file(dir: &Path, job: &str) -> PathBuf {
    dir.join("jobs").join(job).join("tuning.json")
}

/// Reads what a tuner knew; `None`: there is no such file.
///
/// # Errors
/// When the file is damaged or of a newer version.
pub fn read_tuning(path: &Path) -> anyhow::Result<Option<Saved>> {
    let shown = path.display();
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("cannot read {shown}")),
    };
    let version: Version = serde_json::from_slice(&text).with_context(|| format!("{shown} is damaged"))?;
    if version.v > SAVED_VERSION {
        bail!("{shown} has version {}, this binary reads up to {SAVED_VERSION}: run a newer one", version.v);
    }
    Ok(Some(serde_json::from_slice(&text).with_context(|| format!("{shown} is damaged"))?))
}

#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

fn kept_instance(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let id = text.trim();
            Uuid::parse_str(id).with_context(|| format!("{} does not hold a UUID", path.display()))?;
            Ok(id.to_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = Uuid::new_v4().to_string();
            write_durably(path, id.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(id)
        }
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A mark in a file.
#[derive(Clone, Debug)]
pub struct MarkFile(PathBuf);

impl MarkStore for MarkFile {
    fn load(&self) -> Result<Option<Mark>, String> {
        let shown = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(format!("cannot read {shown}: {e}")),
        };
        let mark: Mark = serde_json::from_slice(&text).map_err(|e| format!("{shown} is damaged: {e}"))?;
        if mark.v > MARK_VERSION {
            return Err(format!(
                "{shown} has version {}, this binary reads up to {MARK_VERSION}: run a newer one",
                mark.v
            ));
        }
        Ok(Some(mark))
    }

    fn store(&self, mark: &Mark) -> Result<(), String> {
        let fault = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", self.0.display());
        let text = serde_json::to_vec_pretty(mark).map_err(|e| fault(&e))?;
        if let Some(dir) = self.0.parent() {
            std::fs::create_dir_all(dir).map_err(|e| fault(&e))?;
        }
        write_durably(&self.0, &text).map_err(|e| fault(&e))
    }
}

/// Replaces a file whole, or not at all.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_refused_and_the_instance_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path(), None).unwrap();
        let error = State::open(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("another running daemon"), "{error}");
        let id = first.instance().to_owned();
        drop(first);
        assert_eq!(State::open(dir.path(), None).unwrap().instance(), id);
        assert_eq!(State::open(dir.path(), Some("a")).unwrap().instance(), "a");
    }

    #[test]
    fn a_mark_survives_and_a_newer_or_damaged_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), None).unwrap();
        let marks = state.marks("j");
        assert_eq!(marks.load(), Ok(None));
        let mark = Mark {
            v: 1,
            sink: Some("s".into()),
            partitions: [tidemill_engine::partition::Partition::new("t", 0)].into(),
        };
        marks.store(&mark).unwrap();
        assert_eq!(marks.load(), Ok(Some(mark.clone())));
        marks.store(&Mark { v: 2, ..mark }).unwrap();
        assert!(marks.load().unwrap_err().contains("version 2"));
        std::fs::write(&marks.0, "{").unwrap();
        assert!(marks.load().unwrap_err().contains("damaged"));
    }
}
