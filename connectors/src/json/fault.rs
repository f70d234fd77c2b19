//! What a decoder carries along beside the columns: the fault of a record, and scratch memory.

use std::fmt::Write;

use super::cause::Cause;
use super::duplicates::Keys;

/// The record failed; [`Context::fault`] says why. Nothing in it, so that results stay in registers.
#[derive(Debug)]
pub(super) struct Failed;

/// Where the next byte is, or a failure.
pub(super) type Next = Result<usize, Failed>;

/// One step of a field's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(Box<str>),
    Item(usize),
}

/// Why and where a record failed.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    /// Place in the buffer.
    pub(super) at: usize,
    /// What was expected there.
    pub(super) expected: &'static str,
}

/// A decoder's state beside its columns. Clean at the start of each record.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Numbers and booleans are taken for strings, as their text.
    pub(super) coerce: bool,
    /// Where the record ends in the buffer.
    pub(super) end: usize,
    /// The fault.
    pub(super) fault: Option<Fault>,
    /// Path of the fault, innermost step first.
    pub(super) trail: Vec<Step>,
    /// A key that its object has already; found late, because the text may have other faults.
    pub(super) duplicate: Option<usize>,
    /// Keys of the open objects that no schema knows.
    pub(super) keys: Keys,
    /// A string without its escapes.
    pub(super) text: Vec<u8>,
}

impl Context {
    /// Ready for a record that ends at `end`.
    #[inline]
    pub(super) fn start(&mut self, end: usize) {
        self.end = end;
        self.duplicate = None;
    }

    /// Notes a fault.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, cause: Cause, at: usize, expected: &'static str) -> Failed {
        self.fault = Some(Fault { cause, at, expected });
        self.trail.clear();
        Failed
    }

    /// Notes a fault of the text.
    #[cold]
    #[inline(never)]
    pub(super) fn not_json(&mut self, at: usize, expected: &'static str) -> Failed {
        self.fail(Cause::NotJson, at, expected)
    }

    /// Notes that the fault is inside a field.
    #[cold]
    #[inline(never)]
    pub(super) fn in_field(&mut self, name: &str) -> Failed {
        self.trail.push(Step::Field(name.into()));
        Failed
    }

    /// Notes that the fault is inside a list's item.
    #[cold]
    #[inline(never)]
    pub(super) fn in_item(&mut self, index: usize) -> Failed {
        self.trail.push(Step::Item(index));
        Failed
    }
}

/// Says in words what is wrong with the record `value`, which stands at the beginning of its buffer.
pub(super) fn describe(fault: &Fault, trail: &[Step], value: &[u8]) -> String {
    let at = fault.at.min(value.len());
    let mut out = String::new();
    if !trail.is_empty() {
        out.push_str("field `");
        for (i, step) in trail.iter().rev().enumerate() {
            let _ = match step {
                Step::Field(name) if i == 0 => write!(out, "{name}"),
                Step::Field(name) => write!(out, ".{name}"),
                Step::Item(index) => write!(out, "[{index}]"),
            };
        }
        out.push_str("`: ");
    }
    let _ = write!(out, "expected {}, found {} at byte {at}", fault.expected, found(&value[at..], value.len()));
    out
}

/// Names what a text begins with, in few characters.
fn found(rest: &[u8], len: usize) -> String {
    const SHOWN: usize = 40;
    let Some(&first) = rest.first() else {
        return if len == 0 { "an empty value".into() } else { "the end of the record".into() };
    };
    let token = match first {
        b'{' => return "an object".into(),
        b'[' => return "a list".into(),
        b'"' => {
            let end = rest[1..].iter().position(|&b| b == b'"').map_or(rest.len(), |n| n + 2);
            &rest[..end]
        }
        _ => {
            let end = rest.iter().position(|&b| !(b.is_ascii_alphanumeric() || b"+-.".contains(&b)));
            &rest[..end.unwrap_or(rest.len()).max(1)]
        }
    };
    let shown =
        String::from_utf8_lossy(&token[..token.len().min(SHOWN)]).escape_debug().to_string().replace("\\\"", "\"");
    let dots = if token.len() > SHOWN { "…" } else { "" };
    if rest.starts_with(b"\xEF\xBB\xBF") { "a byte order mark".into() } else { format!("`{shown}{dots}`") }
}
