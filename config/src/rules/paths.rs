//! Rules about the folders of sinks and dead letters.

use std::path::{Component, Path, PathBuf};

use super::Rules;
use crate::fault::quote;
use crate::text::Text;
use crate::tree::join;
use crate::types::Config;

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    let mut sinks: Vec<(String, &Text)> = Vec::new();
    let mut dead_letters: Vec<(String, &Text)> = Vec::new();
    for (name, job) in &config.jobs {
        let path = join("job", name);
        sinks.extend(job.sink.path().map(|folder| (format!("{path}.sink.path"), folder)));
        let dead_letter = job.dead_letter.as_ref().and_then(|sink| sink.path());
        dead_letters.extend(dead_letter.map(|folder| (format!("{path}.dead_letter.path"), folder)));
    }
    for (key, folder) in sinks.iter().chain(&dead_letters) {
        rules.not_empty(key, folder);
        if folder.contains("://") {
            let message = format!("expected a local folder, found {}", quote(folder.shown()));
            rules.bad(key, message);
        } else if folder.contains('\0') {
            rules.bad(key, "expected a folder, found a NUL in it");
        }
    }
    for (dead_key, dead) in &dead_letters {
        for (sink_key, sink) in &sinks {
            if rules.broken(sink_key) || dead.trim().is_empty() || sink.trim().is_empty() {
                continue;
            }
            let (inner, outer) = (plain(dead), plain(sink));
            if inner.starts_with(&outer) || outer.starts_with(&inner) {
                let message = format!(
                    "the dead letters' folder {} and the folder {} of {sink_key} lie in each other: readers of the \
                     one would find the other's files",
                    quote(dead.shown()),
                    quote(sink.shown())
                );
                rules.conflict(dead_key, message);
            }
        }
    }
}

/// Without `.` and `..`, as far as the text alone says.
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        for (path, expected) in [("./a/./b/", "a/b"), ("a/../b", "b"), ("../a", "../a"), ("/a//b", "/a/b"), (".", "")] {
            assert_eq!(plain(path), PathBuf::from(expected), "{path}");
        }
        assert_eq!(plain("../../a"), PathBuf::from("../../a"));
    }
}
