//! A pause that a person asked for, kept so that it outlasts the daemon.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::state::write_durably;

/// The newest form of a pause that this binary reads.
const VERSION: u32 = 1;

/// Who asked for a pause, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    v: u32,
    why: String,
    at_ms: i64,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A job's pause in a file: there while it is paused.
#[derive(Debug)]
pub struct PauseFile(PathBuf);

impl PauseFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Why the job is paused; `None`: it is not.
    ///
    /// # Errors
    /// When that cannot be known: the file is damaged, of a newer version, or cannot be read.
    pub fn load(&self) -> anyhow::Result<Option<String>> {
        let shown = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {shown}")),
        };
        let damaged = || {
            format!(
                "{shown} is damaged, and whether the job was paused is not known: `tidemill resume` lets it run and \
                 removes the file"
            )
        };
        let version: Version = serde_json::from_slice(&text).with_context(damaged)?;
        if version.v > VERSION {
            bail!("{shown} has version {}, this binary reads up to {VERSION}: run a newer one", version.v);
        }
        let pause: Pause = serde_json::from_slice(&text).with_context(damaged)?;
        Ok(Some(pause.why))
    }

    /// Keeps that the job is paused.
    ///
    /// # Errors
    /// When it cannot be written: then the pause does not outlast the daemon.
    pub fn store(&self, why: &str, at_ms: i64) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(&Pause { v: VERSION, why: why.to_owned(), at_ms })?;
        let write = || {
            if let Some(dir) = self.0.parent() {
                std::fs::create_dir_all(dir)?;
            }
            write_durably(&self.0, &text)
        };
        write().with_context(|| format!("cannot write {}", self.0.display()))
    }

    /// Forgets the pause, whatever the file holds.
    ///
    /// # Errors
    /// When it cannot be removed: then a daemon that starts again finds the job paused.
    pub fn clear(&self) -> anyhow::Result<()> {
        let remove = || match std::fs::remove_file(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => self.0.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all()),
        };
        remove().with_context(|| format!("cannot remove {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_there_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let file = PauseFile::new(dir.path().join("jobs/j/pause.json"));
        assert_eq!(file.load().unwrap(), None);
        file.clear().expect("nothing to do");
        file.store("asked", 5).unwrap();
        assert_eq!(file.load().unwrap().as_deref(), Some("asked"));
        file.store("asked again", 6).unwrap();
        assert_eq!(file.load().unwrap().as_deref(), Some("asked again"));
        file.clear().unwrap();
        assert_eq!(file.load().unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path().join("jobs/j")).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_that_names_the_file_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = PauseFile::new(dir.path().join("pause.json"));
        file.store("asked", 5).unwrap();
        let whole = std::fs::read(&file.0).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&file.0, &whole[..end]).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("pause.json is damaged") && error.contains("tidemill resume"), "{end}: {error}");
        }
        std::fs::write(&file.0, r#"{"v": 2, "until": "noon"}"#).unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("run a newer one"), "{error}");
        file.clear().unwrap();
        assert_eq!(file.load().unwrap(), None);
    }

    #[test]
    fn a_file_that_the_first_release_wrote_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = PauseFile::new(dir.path().join("pause.json"));
        std::fs::write(&file.0, r#"{"v": 1, "why": "asked by a person through the API", "at_ms": 1764288000000}"#)
            .unwrap();
        assert_eq!(file.load().unwrap().as_deref(), Some("asked by a person through the API"));
    }
}
