//! Positions of sinks that cannot hold them beside the rows: a small file, or memory. At least once, then.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tidemill_engine::partition::{OffsetRanges, Positions};
use tidemill_engine::sink::SinkError;

const VERSION: u32 = 1;

/// Positions of one job, kept apart from its rows. Clones share what is in memory.
#[derive(Clone, Debug)]
pub struct KeptPositions {
    path: Option<PathBuf>,
    held: Arc<Mutex<Positions>>,
}

#[derive(Serialize, Deserialize)]
struct Form {
    v: u32,
    positions: Positions,
}

impl KeptPositions {
    /// In the file at `path`, which is made when there is something to keep.
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), held: Arc::default() }
    }

    /// In memory: gone with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { path: None, held: Arc::default() }
    }

    /// Reads what is kept.
    pub fn load(&self) -> Result<Positions, SinkError> {
        let Some(path) = &self.path else { return Ok(self.lock().clone()) };
        let positions = match fs::read(path) {
            Ok(bytes) => parse(path, &bytes)?,
            Err(e) if e.kind() == ErrorKind::NotFound => Positions::default(),
            Err(e) => return Err(SinkError::retry(format!("cannot read {path:?}: {e}"))),
        };
        self.lock().clone_from(&positions);
        Ok(positions)
    }

    /// The positions that `ranges` do not continue from, if so.
    #[must_use]
    pub fn refuses(&self, ranges: &OffsetRanges) -> Option<Positions> {
        let held = self.lock();
        (!ranges.continue_from(&held)).then(|| ranges.found_in(&held))
    }

    /// Moves the positions, durably where there is a file.
    pub fn advance(&self, ranges: &OffsetRanges) -> Result<(), SinkError> {
        let mut held = self.lock();
        let mut moved = held.clone();
        ranges.apply_to(&mut moved);
        if let Some(path) = &self.path {
            let form = Form { v: VERSION, positions: moved.clone() };
            let bytes =
                serde_json::to_vec(&form).map_err(|e| SinkError::bug(format!("cannot write positions: {e}")))?;
            replace(path, &bytes).map_err(|e| SinkError::unknown(format!("cannot write {path:?}: {e}")))?;
        }
        *held = moved;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Positions> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Positions, SinkError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let broken = |e| SinkError::person(format!("{path:?} does not hold positions ({e}): restore or remove it"));
    let Versioned { v } = serde_json::from_slice(bytes).map_err(broken)?;
    if v > VERSION {
        return Err(SinkError::person(format!(
            "{path:?} has form v{v}, written by a newer tidemill; this one knows up to v{VERSION}: run the newer version"
        )));
    }
    let form: Form = serde_json::from_slice(bytes).map_err(broken)?;
    Ok(form.positions)
}

/// Replaces a file's content: a crash leaves the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::partition::{OffsetRange, Partition, Position};

    fn to(start: Option<i64>, end: i64) -> OffsetRanges {
        let range = OffsetRange { start, ..OffsetRange::anchor(Position::at(end)) };
        [(Partition::new("t", 0), range)].into_iter().collect()
    }

    #[test]
    fn positions_outlive_the_process_and_are_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/positions.json");
        let kept = KeptPositions::in_file(&path);
        assert!(kept.load().unwrap().is_empty());
        assert_eq!(kept.refuses(&to(None, 5)), None);
        kept.advance(&to(None, 5)).unwrap();
        let again = KeptPositions::in_file(&path);
        assert_eq!(again.load().unwrap().offset(&Partition::new("t", 0)), Some(5));
        assert!(again.refuses(&to(Some(4), 9)).is_some());
        assert_eq!(again.refuses(&to(Some(5), 9)), None);
    }

    #[test]
    fn a_newer_form_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, r#"{"v":9,"what":"ever"}"#).unwrap();
        let error = KeptPositions::in_file(&path).load().unwrap_err();
        assert!(error.message.contains("p.json") && error.message.contains("v9"), "{error}");
    }
}
