//! Names in `_delta_log/`.

use std::collections::{BTreeMap, BTreeSet};

/// The folder of the log.
pub(crate) const LOG: &str = "_delta_log";

/// The commit of a version.
pub(crate) fn commit(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

/// What a name in the log's folder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Commit(u64),
    /// The checkpoint of a version: which of how many parts.
    Checkpoint {
        version: u64,
        part: u32,
        parts: u32,
    },
}

fn parse(name: &str) -> Option<Name> {
    let (digits, rest) = name.split_at_checked(20)?;
    let version = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    if rest == ".json" {
        return Some(Name::Commit(version));
    }
    let middle = rest.strip_prefix(".checkpoint.")?;
    if middle == "parquet" {
        return Some(Name::Checkpoint { version, part: 1, parts: 1 });
    }
    let parts: Vec<&str> = middle.split('.').collect();
    match parts.as_slice() {
        [part, of, "parquet"] => Some(Name::Checkpoint { version, part: part.parse().ok()?, parts: of.parse().ok()? }),
        // Version 2, with a UUID: a whole one each.
        [uuid, "parquet" | "json"] if uuid.len() == 36 => Some(Name::Checkpoint { version, part: 1, parts: 1 }),
        _ => None,
    }
}

/// A log as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The newest whole checkpoint and its parts' names.
    pub checkpoint: Option<(u64, Vec<String>)>,
    /// The commits after it, without a gap.
    pub commits: Vec<u64>,
}

/// Makes sense of the names in a log's folder. `None`: there is no log. `Err`: the version that is missing.
pub(crate) fn read<'n>(names: impl Iterator<Item = &'n str>) -> Result<Option<Listing>, u64> {
    let mut commits = BTreeSet::new();
    let mut checkpoints: BTreeMap<u64, BTreeMap<(u32, u32), String>> = BTreeMap::new();
    for name in names {
        match parse(name) {
            Some(Name::Commit(version)) => drop(commits.insert(version)),
            Some(Name::Checkpoint { version, part, parts }) => {
                checkpoints.entry(version).or_default().insert((parts, part), name.to_owned());
            }
            None => {}
        }
    }
    let checkpoint = checkpoints.into_iter().rev().find_map(|(version, parts)| Some((version, whole(parts)?)));
    let first = checkpoint.as_ref().map_or(0, |(version, _)| version + 1);
    let commits: Vec<u64> = commits.range(first..).copied().collect();
    if checkpoint.is_none() && commits.is_empty() {
        return Ok(None);
    }
    match (first..).zip(&commits).find(|(expected, found)| expected != *found) {
        Some((missing, _)) => Err(missing),
        None => Ok(Some(Listing { checkpoint, commits })),
    }
}

/// The names of one whole checkpoint among the pieces of a version.
fn whole(pieces: BTreeMap<(u32, u32), String>) -> Option<Vec<String>> {
    let mut sets: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for ((parts, _), name) in pieces {
        sets.entry(parts).or_default().push(name);
    }
    sets.into_iter().find(|(parts, names)| names.len() == *parts as usize).map(|(_, names)| names)
}

/// The version of a commit's name.
pub(crate) fn commit_version(name: &str) -> Option<u64> {
    match parse(name)? {
        Name::Commit(version) => Some(version),
        Name::Checkpoint { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(version: u64, rest: &str) -> String {
        format!("{version:020}.{rest}")
    }

    fn listed(names: &[String]) -> Result<Option<Listing>, u64> {
        read(names.iter().map(String::as_str))
    }

    #[test]
    fn a_log_is_the_newest_whole_checkpoint_and_what_follows_it() {
        assert_eq!(listed(&["_last_checkpoint".into(), "x.json".into()]), Ok(None));
        let plain = listed(&[n(0, "json"), n(1, "json"), n(1, "crc"), n(2, "json")]).unwrap().unwrap();
        assert_eq!((plain.checkpoint, plain.commits), (None, vec![0, 1, 2]));
        // The second part of the newer checkpoint is missing.
        let names = [
            n(2, "checkpoint.parquet"),
            n(3, "json"),
            n(4, "checkpoint.0000000001.0000000002.parquet"),
            n(4, "json"),
            n(5, "json"),
        ];
        let half = listed(&names).unwrap().unwrap();
        assert_eq!((half.checkpoint, half.commits), (Some((2, vec![names[0].clone()])), vec![3, 4, 5]));
        let other = n(4, "checkpoint.0000000002.0000000002.parquet");
        let both = listed(&[names.as_slice(), &[other]].concat()).unwrap().unwrap();
        assert_eq!((both.checkpoint.unwrap().1.len(), both.commits), (2, vec![5]));
        let v2 = n(7, "checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json");
        assert_eq!(listed(std::slice::from_ref(&v2)).unwrap().unwrap().checkpoint, Some((7, vec![v2])));
    }

    #[test]
    fn a_gap_is_named() {
        assert_eq!(listed(&[n(0, "json"), n(2, "json")]), Err(1));
        assert_eq!(listed(&[n(1, "json")]), Err(0), "the beginning is gone and nothing stands for it");
        assert_eq!(listed(&[n(3, "checkpoint.parquet"), n(5, "json")]), Err(4));
    }
}
