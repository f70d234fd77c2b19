//! Records to begin with, one a file.

use std::path::{Path, PathBuf};

/// A record of the corpus.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    pub(super) bytes: Vec<u8>,
}

/// Where they are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/json")
}

/// All of them, in the order of their paths.
pub(super) fn seeds() -> Vec<Seed> {
    let mut paths = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    paths.into_iter().map(|path| Seed { bytes: std::fs::read(path).unwrap() }).collect()
}
