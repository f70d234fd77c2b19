//! Records of any number of columns and any size: what costs are measured against.

use std::fmt::Write;

use anyhow::{Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::clicks::{SEED, Totals};
use crate::topic::Records;

/// Text that strings are cut from: letters and digits at random, which no codec makes much of.
const POOL: usize = 1 << 20;
/// Longest `seq`, in digits.
const DIGITS: usize = 9;

/// What the records look like: `seq` (`int64`, counting from 0), then `c1`, `c2`, … in turn a `string`, an `int64`, a
/// `float64` and a `timestamp`. Whatever a record lacks in size is in its strings, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Shape {
    /// Columns.
    pub columns: usize,
    /// Bytes of a record.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String,
    Int64,
    Float64,
    Timestamp,
}

impl Kind {
    fn of(column: usize) -> Self {
        [Self::Timestamp, Self::String, Self::Int64, Self::Float64][column % 4]
    }

    /// Bytes of a value, with its quotes; of a string, only those.
    fn bytes(self) -> usize {
        match self {
            Self::String => 2,
            Self::Int64 | Self::Float64 => 6,
            Self::Timestamp => 26,
        }
    }
}

impl Shape {
    /// Name and type of each column, as a config names them.
    pub fn fields(self) -> impl Iterator<Item = (String, &'static str)> {
        let types = |column| match Kind::of(column) {
            Kind::String => "string",
            Kind::Int64 => "int64",
            Kind::Float64 => "float64",
            Kind::Timestamp => "timestamp",
        };
        let rest = (1..self.columns).map(move |column| (format!("c{column}"), types(column)));
        std::iter::once(("seq".to_owned(), "int64")).chain(rest)
    }

    /// Bytes of everything but the digits of `seq` and what is in the strings.
    fn fixed(self) -> usize {
        let member = |column: usize| format!(",\"c{column}\":").len() + Kind::of(column).bytes();
        "{\"seq\":}".len() + (1..self.columns).map(member).sum::<usize>()
    }
}

/// Makes one record after the other; the same ones for the same shape.
#[derive(Debug)]
pub struct Wide {
    shape: Shape,
    /// Bytes in all strings of a record and the digits of `seq`.
    free: usize,
    strings: usize,
    random: SmallRng,
    pool: String,
    totals: Totals,
    key: String,
    value: String,
}

impl Wide {
    /// A stream from its first record.
    ///
    /// # Errors
    /// When so many columns do not fit into records of this size, or a string would be longer than 512 KiB.
    pub fn new(shape: Shape) -> Result<Self> {
        let (fixed, strings) = (shape.fixed(), (1..shape.columns).filter(|c| Kind::of(*c) == Kind::String).count());
        if strings == 0 || shape.bytes < fixed + DIGITS {
            let least = fixed + DIGITS;
            bail!("{shape:?}: expected at least 2 columns and, for these, {least} bytes a record");
        }
        let free = shape.bytes - fixed;
        if free / strings > POOL / 2 {
            bail!("{shape:?}: its strings would be longer than {} bytes each: expected more columns", POOL / 2);
        }
        let mut random = SmallRng::seed_from_u64(SEED);
        let pool = (0..POOL).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect();
        let value = String::with_capacity(shape.bytes);
        Ok(Self { shape, free, strings, random, pool, totals: Totals::default(), key: String::new(), value })
    }
}

impl Records for Wide {
    fn next_record(&mut self) -> (&str, &str) {
        let seq = self.totals.records;
        self.key.clear();
        self.value.clear();
        // Writing to a string does not fail.
        let _ = write!(self.key, "{seq}");
        let _ = write!(self.value, "{{\"seq\":{seq}");
        let in_strings = self.free - self.key.len();
        let (each, mut more) = (in_strings / self.strings, in_strings % self.strings);
        for column in 1..self.shape.columns {
            let _ = write!(self.value, ",\"c{column}\":");
            match Kind::of(column) {
                Kind::String => {
                    let length = each + usize::from(more > 0);
                    more = more.saturating_sub(1);
                    let at = self.random.random_range(0..POOL - length);
                    let _ = write!(self.value, "\"{}\"", &self.pool[at..at + length]);
                }
                Kind::Int64 => {
                    let _ = write!(self.value, "{}", self.random.random_range(100_000..1_000_000));
                }
                Kind::Float64 => {
                    let (whole, part) = (self.random.random_range(100..1000), self.random.random_range(0..100));
                    let _ = write!(self.value, "{whole}.{part:02}");
                }
                Kind::Timestamp => {
                    let ms = seq % 86_400_000;
                    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
                    let _ = write!(self.value, "\"2026-01-01T{hour:02}:{minute:02}:{second:02}.{:03}Z\"", ms % 1000);
                }
            }
        }
        self.value.push('}');
        self.totals.records += 1;
        self.totals.bytes += self.value.len() as u64;
        self.totals.seq_sum += seq;
        (&self.key, &self.value)
    }

    fn totals(&self) -> Totals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_size_and_the_columns_they_were_asked_for() {
        for (columns, bytes) in [(5, 100), (5, 102_400), (10, 300), (20, 400), (100, 2000), (500, 10_000)] {
            let shape = Shape { columns, bytes };
            let mut wide = Wide::new(shape).expect("fits");
            for seq in 0..12u64 {
                let (key, value) = wide.next_record();
                assert_eq!((key.to_owned(), value.len()), (seq.to_string(), bytes), "{shape:?}");
                let json: serde_json::Value = serde_json::from_str(value).expect("JSON");
                assert_eq!(json["seq"], seq);
                assert_eq!(json.as_object().map(serde_json::Map::len), Some(columns));
                for (name, kind) in shape.fields() {
                    let right = match kind {
                        "int64" => json[&name].is_u64(),
                        "float64" => json[&name].is_f64(),
                        _ => json[&name].is_string(),
                    };
                    assert!(right, "{name} is no {kind}: {}", json[&name]);
                }
            }
            let totals = wide.totals();
            assert_eq!((totals.records, totals.bytes, totals.seq_sum), (12, 12 * bytes as u64, 66));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let error = Wide::new(Shape { columns: 20, bytes: 100 }).expect_err("too small").to_string();
        assert!(error.contains("at least 2 columns"), "{error}");
        Wide::new(Shape { columns: 1, bytes: 100 }).expect_err("no string to grow");
        Wide::new(Shape { columns: 2, bytes: 1 << 20 }).expect_err("too large");
    }
}
