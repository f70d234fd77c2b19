//! Notices that the files of a configuration were written.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often to look.
const EVERY: Duration = Duration::from_secs(1);

/// Looks at a file, or the `*.toml` of a folder: names, sizes, times and inodes, so that a folder whose links are
/// switched over counts as written.
pub(super) struct Watch {
    path: PathBuf,
    looked_at: Duration,
    /// What was taken over, or refused.
    known: u64,
    /// What the last look saw.
    seen: u64,
}

impl Watch {
    pub(super) fn new(path: &Path, now: Duration) -> Self {
        let seen = fingerprint(path);
        Self { path: path.to_owned(), looked_at: now, known: seen, seen }
    }

    /// The files as they are now are known.
    pub(super) fn knows(&mut self) {
        self.seen = fingerprint(&self.path);
        self.known = self.seen;
    }

    /// True once for each change, when two looks in a row saw the same: whoever writes has come to an end.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.looked_at) < EVERY {
            return false;
        }
        self.looked_at = now;
        let before = std::mem::replace(&mut self.seen, fingerprint(&self.path));
        let due = self.seen == before && self.seen != self.known;
        if due {
            self.known = self.seen;
        }
        due
    }
}

fn fingerprint(path: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut files = vec![path.to_owned()];
    if let Ok(entries) = std::fs::read_dir(path) {
        files = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
        files.sort();
    }
    for file in files {
        file.hash(&mut hash);
        if let Ok(meta) = std::fs::metadata(&file) {
            (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino()).hash(&mut hash);
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_once_and_not_while_somebody_writes() {
        let dir = tempfile::tempdir().unwrap();
        let s = Duration::from_secs;
        std::fs::write(dir.path().join("a.toml"), "1").unwrap();
        let mut watch = Watch::new(dir.path(), s(0));
        assert!(!watch.is_due(s(1)) && !watch.is_due(s(2)));
        std::fs::write(dir.path().join("a.toml"), "12").unwrap();
        assert!(!watch.is_due(s(3)), "first seen");
        std::fs::write(dir.path().join("b.toml"), "1").unwrap();
        assert!(!watch.is_due(s(4)), "still written");
        assert!(!watch.is_due(s(4)), "too early");
        assert!(watch.is_due(s(5)));
        assert!(!watch.is_due(s(6)), "once");
        std::fs::write(dir.path().join("notes.txt"), "1").unwrap();
        assert!(!watch.is_due(s(7)) && !watch.is_due(s(8)), "no file of the configuration");
        std::fs::remove_file(dir.path().join("b.toml")).unwrap();
        watch.knows();
        assert!(!watch.is_due(s(9)) && !watch.is_due(s(10)));
    }
}
