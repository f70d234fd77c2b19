//! What became of a record, coarsely: two records of one outcome need not both be kept.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::super::oracle::Cell;
use super::super::compare::Expected;

/// The kinds of things a record did, as numbers; and whether it is a row.
pub(super) struct Outcome {
    pub(super) taken: bool,
    pub(super) kinds: Vec<u64>,
}

/// The outcome of a record; of a refused one with what was said of it, down to what was expected there.
pub(super) fn outcome(expected: &Expected, error: Option<String>) -> Outcome {
    let mut kinds = Vec::new();
    match expected {
        Ok(Some(cells)) => cells.iter().enumerate().for_each(|(i, cell)| kinds_of(i as u64 + 1, cell, &mut kinds)),
        Ok(None) => kinds.push(hash((0, "skipped"))),
        Err(cause) => {
            let error = error.unwrap_or_default();
            let expected = error.split(", found ").next().unwrap_or_default();
            let words: String = expected.chars().filter(|c| !c.is_ascii_digit()).collect();
            kinds.push(hash((0, cause.as_str(), words)));
        }
    }
    Outcome { taken: matches!(expected, Ok(Some(_))), kinds }
}

pub(super) fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Of each value in it: where it is, its type, about how large it is.
fn kinds_of(place: u64, cell: &Cell, out: &mut Vec<u64>) {
    let kind = match cell {
        Cell::Null => (0, 0),
        Cell::Bool(b) => (1, u64::from(*b)),
        Cell::Int(n) => (2, u64::from(n.unsigned_abs().leading_zeros() / 4) << 1 | u64::from(*n < 0)),
        Cell::Float(bits) => (3, bits >> 56),
        Cell::Text(t) => (4, (t.len().min(70) as u64) << 1 | u64::from(!t.is_ascii())),
        Cell::Bytes(b) => (5, b.len().min(20) as u64),
        Cell::List(items) => {
            items.iter().take(4).for_each(|item| kinds_of(hash((place, "item")), item, out));
            (6, items.len().min(5) as u64)
        }
        Cell::Struct(cells) => {
            cells.iter().enumerate().for_each(|(i, cell)| kinds_of(hash((place, i)), cell, out));
            (7, 0)
        }
    };
    out.push(hash((place, kind)));
}
