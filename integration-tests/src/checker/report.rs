//! What the checker found, as numbers and as a table.

use std::fmt;

/// Faults written out in full; the rest is only counted.
const FAULTS_KEPT: usize = 12;

/// Counts of one kind of record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that must be there.
    pub expected: usize,
    /// Those that are there exactly once.
    pub once: usize,
    /// Those that are not there.
    pub lost: usize,
    /// Those that are there more than once.
    pub doubled: usize,
    /// Rows that do not belong there.
    pub foreign: usize,
    /// Rows with other values than were sent.
    pub wrong: usize,
}

impl Counts {
    /// All there, once, right, and nothing else.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.once == self.expected && self.lost + self.doubled + self.foreign + self.wrong == 0
    }
}

/// What was found. Its `Display` is a table with the first faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Good records against the sink.
    pub good: Counts,
    /// Bad records against the dead letters; all zero when no dead letters were given.
    pub bad: Counts,
    /// Tombstones: no row is expected.
    pub tombstones: usize,
    /// Aborted records: no row is expected.
    pub aborted: usize,
    /// Bad records without dead letters: no row is expected.
    pub skipped: usize,
    /// Parquet files read.
    pub files: usize,
    /// Files that could not be read to their end, or miss a column.
    pub unreadable: usize,
    /// Rows in the sink.
    pub rows: usize,
    /// Rows in the dead letters.
    pub letters: usize,
    /// The first faults, each with its place.
    pub faults: Vec<String>,
}

impl Report {
    /// Everything exactly once, everything right.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.good.is_clean() && self.bad.is_clean() && self.unreadable == 0
    }

    /// # Panics
    /// With the table, unless everything is there exactly once; `expected` guards against checking nothing.
    pub fn assert_clean(&self, expected: usize) {
        assert!(self.good.expected + self.bad.expected >= expected, "only so little was checked:\n{self}");
        assert!(self.is_clean(), "not exactly once:\n{self}");
    }

    pub(super) fn count(&mut self, good: bool, times: u8, place: impl FnOnce() -> String) {
        let counts = if good { &mut self.good } else { &mut self.bad };
        counts.expected += 1;
        match times {
            1 => counts.once += 1,
            0 => {
                counts.lost += 1;
                self.fault(|| format!("{}: lost", place()));
            }
            _ => {
                counts.doubled += 1;
                self.fault(|| format!("{}: there {times} times", place()));
            }
        }
    }

    pub(super) fn foreign_row(&mut self, what: impl FnOnce() -> String) {
        self.good.foreign += 1;
        self.fault(what);
    }

    pub(super) fn foreign_letter(&mut self, what: impl FnOnce() -> String) {
        self.bad.foreign += 1;
        self.fault(what);
    }

    pub(super) fn fault(&mut self, what: impl FnOnce() -> String) {
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(what());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>6} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}",
            "", "expected", "once", "lost", "doubled", "foreign", "wrong"
        )?;
        for (name, c) in [("good", &self.good), ("bad", &self.bad)] {
            writeln!(
                f,
                "{name:>6} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}",
                c.expected, c.once, c.lost, c.doubled, c.foreign, c.wrong
            )?;
        }
        writeln!(
            f,
            "{} rows and {} dead letters in {} files ({} unreadable); {} tombstones, {} aborted, {} skipped",
            self.rows, self.letters, self.files, self.unreadable, self.tombstones, self.aborted, self.skipped
        )?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}
