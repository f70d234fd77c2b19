//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A file or folder that cannot be read.
    File,
    /// Not TOML.
    Syntax,
    /// A `${…}` that cannot be resolved.
    Reference,
    /// A key that nobody knows here.
    UnknownKey,
    /// A key that has to be there.
    MissingKey,
    /// A value of another type.
    WrongType,
    /// A value of the right type that is not allowed.
    BadValue,
    /// Values that do not go together.
    Conflict,
    /// A secret that stands in the file: a warning.
    InlineSecret,
    /// A setting without any effect: a warning.
    NoEffect,
}

/// One thing that is wrong, with its place. Holds no secret: what came from a reference is shown as the reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// The column in characters, from 1; 0 for the file as a whole.
    pub column: u32,
    /// The key, as in `job.orders.window.max_age`; empty where there is none.
    pub key: String,
    /// What was expected, what was found, what to do.
    pub message: String,
    /// What kind of fault it is.
    pub kind: FaultKind,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Fault {}

/// Puts them in the files' order and drops repetitions.
pub(crate) fn sort(faults: &mut Vec<Fault>) {
    faults.sort();
    faults.dedup();
}

/// Text of a file in a message: quoted, cut, without the password of a URL.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = hide_userinfo(text);
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{:?} (cut)", cut + "…")
}

fn hide_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        // A password may hold '/' or '#' in spite of the rules: then everything up to the '@' goes.
        None => match rest.rfind('@') {
            Some(at) => format!("{scheme}://***{}", &rest[at..]),
            None => text.to_owned(),
        },
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_like_a_compilers() {
        let mut fault = Fault {
            file: "orders.toml".into(),
            line: 12,
            column: 3,
            key: "job.orders.window.max_age".into(),
            message: "expected a duration, found \"5 sek\"".into(),
            kind: FaultKind::BadValue,
        };
        assert_eq!(
            fault.to_string(),
            "orders.toml:12:3: job.orders.window.max_age: expected a duration, found \"5 sek\""
        );
        (fault.line, fault.key) = (0, String::new());
        assert_eq!(fault.to_string(), "orders.toml: expected a duration, found \"5 sek\"");
    }

    #[test]
    fn quoted_text_is_cut_and_holds_no_password() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        assert!(quote(&"é".repeat(100)).ends_with("é…\" (cut)"));
        for url in ["kafka://u:hunter2@host/db", "x://hunter2@host", "x://u:hunt/er2@host", "x://u:p@hunter2@host"] {
            let shown = quote(url);
            assert!(!shown.contains("hunter2") && !shown.contains("er2@"), "{shown}");
        }
        assert_eq!(quote("x://host/a"), "\"x://host/a\"");
    }
}
