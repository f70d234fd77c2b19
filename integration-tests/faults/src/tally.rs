//! Counts every (topic, partition, offset) that a reader found, against what was produced.

use std::io::BufRead;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tidemill_integration_tests::ledger::{Expected, Ledger};
use tidemill_integration_tests::records::Fate;

/// Offsets kept of each fault, for messages and for finding the fault that they belong to.
const KEPT: usize = 100_000;

/// How often each offset was found.
#[derive(Debug)]
pub struct Tally<'a> {
    ledger: &'a Ledger,
    counts: Vec<Vec<u8>>,
    rows: u64,
    foreign: u64,
    wrong: u64,
    faults: Vec<String>,
}

/// A partition and an offset.
pub type Place = (usize, usize);

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Rows that must be there.
    pub expected: u64,
    /// Rows found.
    pub rows: u64,
    /// Not found.
    pub lost: u64,
    /// Found more than once.
    pub doubled: u64,
    /// Rows that belong to nothing that was produced, or to a record that must not be a row.
    pub foreign: u64,
    /// Rows whose content is another record's.
    pub wrong: u64,
    /// Where, of those that are lost.
    #[serde(skip)]
    pub lost_at: Vec<Place>,
    /// Where, of those that are doubled.
    #[serde(skip)]
    pub doubled_at: Vec<Place>,
    /// Some words about the first ones.
    pub faults: Vec<String>,
}

impl Verdict {
    /// Everything there once, and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.foreign + self.wrong == 0
    }
}

impl<'a> Tally<'a> {
    /// Nothing found yet.
    #[must_use]
    pub fn new(ledger: &'a Ledger) -> Self {
        let counts = (0..ledger.partitions()).map(|p| vec![0; ledger.end(p)]).collect();
        Self { ledger, counts, rows: 0, foreign: 0, wrong: 0, faults: Vec::new() }
    }

    /// A row with these values in `_topic`, `_partition`, `_offset` and `seq`.
    pub fn row(&mut self, topic: &str, partition: i64, offset: i64, seq: i64) {
        self.rows += 1;
        let place = (usize::try_from(partition), usize::try_from(offset));
        let (Ok(p), Ok(o), true) = (place.0, place.1, topic == self.ledger.topic) else {
            return self.is_foreign(|| format!("a row of {topic}/{partition} offset {offset}: no such record"));
        };
        match self.ledger.expected(p, o) {
            Expected::Record(record) => match record.fate {
                Fate::Good(row) => {
                    self.counts[p][o] = self.counts[p][o].saturating_add(1);
                    if row.seq != seq {
                        self.wrong += 1;
                        self.note(|| format!("{topic}/{p} offset {o}: seq {seq} instead of {}", row.seq));
                    }
                }
                fate => self.is_foreign(|| format!("{topic}/{p} offset {o}: a row of a record that is {fate:?}")),
            },
            other => self.is_foreign(|| format!("{topic}/{p} offset {o}: a row where there is {other:?}")),
        }
    }

    /// Rows as lines `topic,partition,offset,seq`.
    pub fn lines(&mut self, lines: impl BufRead) -> Result<()> {
        for line in lines.lines() {
            let line = line.context("cannot read what the reader found")?;
            let fields: Vec<&str> = line.trim_end().split(',').collect();
            let [topic, partition, offset, seq] = fields[..] else {
                bail!("the reader said {line:?}, expected topic,partition,offset,seq");
            };
            let number = |text: &str| text.parse::<i64>().with_context(|| format!("{text:?} in {line:?}"));
            self.row(topic.trim_matches('"'), number(partition)?, number(offset)?, number(seq)?);
        }
        Ok(())
    }

    fn is_foreign(&mut self, what: impl FnOnce() -> String) {
        self.foreign += 1;
        self.note(what);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.faults.len() < 12 {
            self.faults.push(what());
        }
    }

    /// Compares.
    #[must_use]
    pub fn verdict(mut self) -> Verdict {
        let mut verdict = Verdict::default();
        for p in 0..self.ledger.partitions() {
            for o in 0..self.ledger.end(p) {
                let Expected::Record(record) = self.ledger.expected(p, o) else { continue };
                if !matches!(record.fate, Fate::Good(_)) {
                    continue;
                }
                verdict.expected += 1;
                let count = self.counts[p][o];
                let (number, places) = match count {
                    1 => continue,
                    0 => (&mut verdict.lost, &mut verdict.lost_at),
                    _ => (&mut verdict.doubled, &mut verdict.doubled_at),
                };
                *number += 1;
                if places.len() < KEPT {
                    places.push((p, o));
                }
                self.note(|| format!("partition {p} offset {o}: there {count} times"));
            }
        }
        Verdict { rows: self.rows, foreign: self.foreign, wrong: self.wrong, faults: self.faults, ..verdict }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_integration_tests::records::{Maker, Mix};

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new("t", 2, Maker { seed: 1, mix: Mix::PLAIN });
        for n in 0..6_u64 {
            assert!(ledger.note((n % 2) as i32, (n / 2) as i64, n, false));
        }
        ledger
    }

    const ALL: &str = "t,0,0,0\nt,1,0,1\n\"t\",0,1,2\nt,1,1,3\nt,0,2,4\nt,1,2,5\n";

    fn judge(lines: &str) -> Verdict {
        let ledger = ledger();
        let mut tally = Tally::new(&ledger);
        tally.lines(lines.as_bytes()).expect("lines");
        tally.verdict()
    }

    #[test]
    fn everything_once_is_clean() {
        let verdict = judge(ALL);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.expected, verdict.rows), (6, 6));
    }

    #[test]
    fn lost_doubled_foreign_and_wrong_are_told_apart() {
        let verdict = judge(&format!("{ALL}t,0,1,2\n"));
        assert_eq!((verdict.doubled, verdict.doubled_at, verdict.lost), (1, vec![(0, 1)], 0));
        let verdict = judge(&ALL.replace("t,1,2,5\n", ""));
        assert_eq!((verdict.lost, verdict.lost_at), (1, vec![(1, 2)]));
        let verdict = judge(&format!("{ALL}t,0,3,6\nu,0,0,0\n"));
        assert_eq!((verdict.foreign, verdict.is_clean()), (2, false));
        let verdict = judge(&ALL.replace("t,1,2,5", "t,1,2,4"));
        assert_eq!((verdict.wrong, verdict.lost, verdict.is_clean()), (1, 0, false));
    }

    #[test]
    fn nothing_at_all_is_all_lost() {
        assert_eq!(judge("").lost, 6);
    }

    #[test]
    fn a_reader_that_says_something_else_is_an_error() {
        let ledger = ledger();
        assert!(Tally::new(&ledger).lines("Traceback (most recent call last):".as_bytes()).is_err());
    }
}
