//! The commits a sink remembers, in one form for all sinks, and the proof that they read every offset once.

use std::collections::BTreeMap;
use std::fmt;

use crate::partition::{OffsetRanges, Partition, Positions};

/// One commit, as the sink remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRecord {
    /// Its name in the sink: a log record's number, a version, a snapshot id.
    pub id: String,
    /// What it moved: `start` is the position that was held before (`None`: an anchor), `end` the one held after.
    /// A range whose `end` is below its `start` is a person's reset.
    pub ranges: OffsetRanges,
    /// When it became visible, in milliseconds since the epoch, by the sink's clock, where that is known.
    pub at_ms: Option<i64>,
    /// Rows it made visible, where that is known.
    pub rows: Option<u64>,
}

/// What a sink remembers of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// As far back as they are retained, oldest first.
    pub commits: Vec<CommitRecord>,
    /// The positions held now.
    pub positions: Positions,
}

/// What is wrong with a history, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Offsets that no commit covers.
    Gap {
        /// The partition.
        partition: Partition,
        /// First offset that is missing.
        from: i64,
        /// The offset that follows the missing ones.
        to: i64,
        /// The commit before the gap.
        after: String,
        /// The commit that begins behind it.
        commit: String,
    },
    /// Offsets that two commits cover.
    Overlap {
        /// The partition.
        partition: Partition,
        /// First offset that is there twice.
        from: i64,
        /// The offset that follows them.
        to: i64,
        /// The commit that had covered them.
        after: String,
        /// The commit that covers them again.
        commit: String,
    },
    /// A commit that asked for no position where there was one.
    AnchoredAgain {
        /// The partition.
        partition: Partition,
        /// The position there was.
        held: i64,
        /// The commit.
        commit: String,
    },
    /// The position that is held is not where the newest commit left it.
    OtherPosition {
        /// The partition.
        partition: Partition,
        /// The position that is held; `None`: none.
        held: Option<i64>,
        /// Where the newest commit left it.
        left_at: i64,
        /// That commit.
        commit: String,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { partition, from, to, after, commit } => write!(
                f,
                "{partition}: gap: offsets [{from}, {to}) are in no commit (commit {after} ends at {from}, commit \
                 {commit} starts at {to})"
            ),
            Self::Overlap { partition, from, to, after, commit } => write!(
                f,
                "{partition}: overlap: offsets [{from}, {to}) are in two commits (commit {after} ends at {to}, commit \
                 {commit} starts at {from})"
            ),
            Self::AnchoredAgain { partition, held, commit } => {
                write!(f, "{partition}: commit {commit} anchors the partition although it was at {held}")
            }
            Self::OtherPosition { partition, held, left_at, commit } => {
                let held = held.map_or_else(|| "no position".to_owned(), |at| at.to_string());
                write!(f, "{partition}: the sink holds {held}, but its newest commit {commit} ends at {left_at}")
            }
        }
    }
}

/// A person's decision, or a topic that was made again: offsets below `from` are read again from `to` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The commit that did it.
    pub commit: String,
    /// The position before.
    pub from: i64,
    /// The position after.
    pub to: i64,
    /// When, in milliseconds since the epoch, where that is known.
    pub at_ms: Option<i64>,
}

/// What the retained commits prove about one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionReport {
    /// The first offset that the retained commits cover; `None` where none of them moved the partition.
    pub from: Option<i64>,
    /// The position held: every offset in `[from, position)` is covered once, but for flaws and resets.
    pub position: Option<i64>,
    /// The commit that anchored it, where that is retained.
    pub anchor: Option<String>,
    /// Commits that moved it.
    pub commits: u64,
    /// Positions that were set back, oldest first.
    pub resets: Vec<Reset>,
    /// The newest commit that moved it.
    pub newest: Option<String>,
    /// When that commit became visible, in milliseconds since the epoch, where that is known.
    pub newest_ms: Option<i64>,
}

/// What a history proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By partition: of the commits and of the positions held.
    pub partitions: BTreeMap<Partition, PartitionReport>,
    /// What is wrong; empty: proven.
    pub flaws: Vec<Flaw>,
    /// Commits that moved something.
    pub commits: u64,
    /// Rows of the retained commits; `None` where one of them does not say.
    pub rows: Option<u64>,
    /// The newest commit with rows (or that does not say), and when it became visible.
    pub newest: Option<(String, Option<i64>)>,
}

impl Report {
    /// True when every offset between the oldest retained commit and the positions held is in exactly one commit, but
    /// for what a person set back.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.flaws.is_empty()
    }
}

/// Checks that for each partition the commits form a chain: each starts where the one before ended, and the newest ends
/// at the position held. The oldest retained commit may start anywhere: what came before it is not judged.
#[must_use]
pub fn verify(history: &History) -> Report {
    let mut report = Report { rows: Some(0), ..Report::default() };
    let mut last: BTreeMap<&Partition, (i64, &str)> = BTreeMap::new();
    for commit in &history.commits {
        report.rows = report.rows.zip(commit.rows).map(|(sum, rows)| sum + rows);
        if commit.rows != Some(0) && !commit.ranges.is_empty() {
            report.newest = Some((commit.id.clone(), commit.at_ms));
        }
        report.commits += u64::from(!commit.ranges.is_empty());
        for (partition, range) in commit.ranges.iter() {
            let of = report.partitions.entry(partition.clone()).or_default();
            let before = last.insert(partition, (range.end, &commit.id));
            report.flaws.extend(flaw(partition, before, range.start, &commit.id));
            of.commits += 1;
            of.from.get_or_insert(range.start.unwrap_or(range.end));
            of.newest = Some(commit.id.clone());
            of.newest_ms = commit.at_ms;
            match range.start {
                None => of.anchor = Some(commit.id.clone()),
                Some(start) if range.end < start => {
                    of.resets.push(Reset {
                        commit: commit.id.clone(),
                        from: start,
                        to: range.end,
                        at_ms: commit.at_ms,
                    });
                }
                Some(_) => {}
            }
        }
    }
    for (partition, at) in history.positions.iter() {
        report.partitions.entry(partition.clone()).or_default().position = Some(at.offset);
    }
    for (partition, (left_at, commit)) in last {
        let held = history.positions.offset(partition);
        if held != Some(left_at) {
            let (partition, commit) = (partition.clone(), commit.to_owned());
            report.flaws.push(Flaw::OtherPosition { partition, held, left_at, commit });
        }
    }
    report
}

/// Whether a commit that starts at `start` follows the one before it.
fn flaw(partition: &Partition, before: Option<(i64, &str)>, start: Option<i64>, commit: &str) -> Option<Flaw> {
    let (held, after) = before?;
    let (partition, after, commit) = (partition.clone(), after.to_owned(), commit.to_owned());
    match start {
        None => Some(Flaw::AnchoredAgain { partition, held, commit }),
        Some(start) if start > held => Some(Flaw::Gap { partition, from: held, to: start, after, commit }),
        Some(start) if start < held => Some(Flaw::Overlap { partition, from: start, to: held, after, commit }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{OffsetRange, Position};

    fn p(i: i32) -> Partition {
        Partition::new("t", i)
    }

    fn commit(id: u32, ranges: &[(i32, Option<i64>, i64)]) -> CommitRecord {
        let range = |&(i, start, end)| (p(i), OffsetRange { start, end, topic_id: None });
        let ranges = ranges.iter().map(range).collect();
        CommitRecord { id: id.to_string(), ranges, at_ms: Some(i64::from(id)), rows: Some(1) }
    }

    fn history(commits: Vec<CommitRecord>, positions: &[(i32, i64)]) -> History {
        History { commits, positions: positions.iter().map(|(i, at)| (p(*i), Position::at(*at))).collect() }
    }

    #[test]
    fn a_chain_is_proven_and_resets_and_anchors_are_named() {
        let commits = vec![
            commit(1, &[(0, None, 5), (1, None, 0)]),
            commit(2, &[(0, Some(5), 9)]),
            commit(3, &[(0, Some(9), 6)]),
            commit(4, &[(0, Some(6), 12), (1, Some(0), 3)]),
        ];
        let report = verify(&history(commits, &[(0, 12), (1, 3), (2, 8)]));
        assert!(report.is_proven(), "{:?}", report.flaws);
        let first = &report.partitions[&p(0)];
        assert_eq!(
            (first.from, first.position, first.anchor.as_deref(), first.commits),
            (Some(5), Some(12), Some("1"), 4)
        );
        assert_eq!(first.resets, [Reset { commit: "3".into(), from: 9, to: 6, at_ms: Some(3) }]);
        assert_eq!((report.rows, report.newest), (Some(4), Some(("4".into(), Some(4)))));
        assert_eq!(report.partitions[&p(2)].from, None, "nothing retained of it");
    }

    #[test]
    fn gaps_overlaps_second_anchors_and_other_positions_are_flaws() {
        let broken = |commits, positions: &[(i32, i64)]| -> Vec<String> {
            verify(&history(commits, positions)).flaws.iter().map(ToString::to_string).collect()
        };
        let two = |start| vec![commit(7, &[(0, Some(0), 5)]), commit(8, &[(0, start, 9)])];
        assert_eq!(broken(two(Some(5)), &[(0, 9)]), [""; 0]);
        let gap = broken(two(Some(6)), &[(0, 9)]);
        assert_eq!(gap, ["t/0: gap: offsets [5, 6) are in no commit (commit 7 ends at 5, commit 8 starts at 6)"]);
        let overlap = broken(two(Some(3)), &[(0, 9)]);
        assert_eq!(
            overlap,
            ["t/0: overlap: offsets [3, 5) are in two commits (commit 7 ends at 5, commit 8 starts at 3)"]
        );
        assert_eq!(broken(two(None), &[(0, 9)]), ["t/0: commit 8 anchors the partition although it was at 5"]);
        assert_eq!(broken(two(Some(5)), &[(0, 8)]), ["t/0: the sink holds 8, but its newest commit 8 ends at 9"]);
        assert_eq!(broken(two(Some(5)), &[]), ["t/0: the sink holds no position, but its newest commit 8 ends at 9"]);
    }
}
