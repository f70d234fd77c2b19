//! Rules about the folders of sinks and dead letters, on a disk or in a bucket.

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
        sinks.extend(job.sink.place().map(|(key, folder)| (format!("{path}.sink.{key}"), folder)));
        let dead_letter = job.dead_letter.as_ref().and_then(|sink| sink.place());
        dead_letters.extend(dead_letter.map(|(key, folder)| (format!("{path}.dead_letter.{key}"), folder)));
    }
    for (key, folder) in sinks.iter().chain(&dead_letters) {
        rules.not_empty(key, folder);
        if let Some(problem) = scheme_problem(folder) {
            let message = format!(
                "expected a local folder or s3://, gs:// or az://bucket/prefix, found {}{problem}",
                quote(folder.shown())
            );
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

/// What is wrong with a URI; `None` for a sound one and for a local folder.
fn scheme_problem(folder: &str) -> Option<&'static str> {
    let (scheme, rest) = folder.split_once("://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if !["s3", "gs", "az"].contains(&scheme) {
        Some("")
    } else if bucket.is_empty() {
        Some("; the bucket is missing")
    } else if prefix.trim_end_matches('/').split('/').any(|part| part == "." || part == "..") {
        Some("; a bucket knows no . and no ..")
    } else if prefix.contains("//") {
        Some("; a part of the prefix is empty")
    } else {
        None
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
