//! The files of a configuration, and how several become one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::fault::{Fault, FaultKind};
use crate::tree::{Entry, Node, Place, Value, join};

/// A larger file was named by mistake.
const LARGEST: u64 = 16 << 20;

/// A file and its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

fn fault(path: &Path, message: String) -> Fault {
    Place { file: Arc::from(path), line: 0, column: 0 }.fault(FaultKind::File, "", message)
}

/// Reads a file, or all `*.toml` of a folder in the order of their names.
pub(crate) fn read(path: &Path, faults: &mut Vec<Fault>) -> Vec<Source> {
    let paths = match std::fs::metadata(path) {
        Err(error) => {
            faults.push(fault(path, format!("cannot be read: {error}")));
            return Vec::new();
        }
        Ok(meta) if !meta.is_dir() => vec![path.to_owned()],
        Ok(_) => match list(path) {
            Ok(paths) if paths.is_empty() => {
                faults.push(fault(path, "the folder has no *.toml file".into()));
                return Vec::new();
            }
            Ok(paths) => paths,
            Err(error) => {
                faults.push(fault(path, format!("the folder cannot be read: {error}")));
                return Vec::new();
            }
        },
    };
    paths
        .into_iter()
        .filter_map(|path| match read_file(&path) {
            Ok(text) => Some(Source { path, text }),
            Err(fault) => {
                faults.push(fault);
                None
            }
        })
        .collect()
}

fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ext| ext == "toml") && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<String, Fault> {
    use std::io::Read as _;
    let cannot = |error: std::io::Error| fault(path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(cannot)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        return Err(fault(path, "larger than 16MiB: not a configuration".into()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let start = good.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&good[start..]).chars().count() + 1;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = Place { file: Arc::from(path), line: small(line), column: small(column) };
        place.fault(FaultKind::Syntax, "", "not UTF-8")
    })
}

/// Puts the files' tables together: tables of named things (`[job.NAME]`) are joined, everything else may be given
/// once.
pub(crate) fn merge(roots: Vec<Node>, schema: &Json, path: &Path, faults: &mut Vec<Fault>) -> Node {
    let mut merged: Vec<Entry> = Vec::new();
    let mut place = None;
    for root in roots {
        place.get_or_insert(root.place);
        let Value::Table(entries) = root.value else { continue };
        for entry in entries {
            let Some(first) = merged.iter_mut().find(|first| first.key == entry.key) else {
                merged.push(entry);
                continue;
            };
            let named = schema.pointer(&format!("/properties/{}/additionalProperties", entry.key));
            match (&mut first.node.value, entry.node.value) {
                (Value::Table(into), Value::Table(more)) if named.is_some_and(Json::is_object) => {
                    for thing in more {
                        let path = join(&entry.key, &thing.key);
                        match into.iter().find(|other| other.key == thing.key) {
                            Some(other) => faults.push(twice(&path, &other.place, &thing.place)),
                            None => into.push(thing),
                        }
                    }
                }
                _ => faults.push(twice(&entry.key, &first.place, &entry.place)),
            }
        }
    }
    let place = place.unwrap_or(Place { file: Arc::from(path), line: 0, column: 0 });
    Node { place, value: Value::Table(merged) }
}

fn twice(path: &str, first: &Place, second: &Place) -> Fault {
    let message =
        format!("given a second time; the first is at {}:{}:{}", first.file.display(), first.line, first.column);
    second.fault(FaultKind::Conflict, path, message)
}
