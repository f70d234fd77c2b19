//! What to do about an error of the server or of the way to it.

use std::error::Error as _;

use tidemill_engine::sink::{Reaction, SinkError};
use tokio_postgres::Error;

/// What was being done when an error came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum During {
    /// Connecting, or looking at tables.
    Setup,
    /// Putting rows into the table: an error may be a row's fault.
    Rows,
    /// Positions, in Tidemill's own tables.
    Positions,
    /// `COMMIT`: whatever is not a plain refusal leaves open whether it landed.
    Commit,
}

/// An error of the client library as one of the sink's. `what` says what was done and where.
pub(crate) fn from(during: During, what: &str, error: &Error) -> SinkError {
    let Some(db) = error.as_db_error() else {
        let reaction = match during {
            During::Commit => Reaction::Unknown,
            _ if is_certificate(error) || error.to_string().starts_with("invalid configuration") => Reaction::Person,
            _ => Reaction::Retry,
        };
        return SinkError::new(reaction, format!("{what}: {}", chain(error)));
    };
    let fatal = db.parsed_severity().is_some_and(|s| {
        use tokio_postgres::error::Severity::{Fatal, Panic};
        matches!(s, Panic | Fatal)
    });
    let mut message = format!("{what}: {} (SQLSTATE {}", db.message(), db.code().code());
    for (name, value) in
        [("table", db.table()), ("column", db.column()), ("constraint", db.constraint()), ("type", db.datatype())]
    {
        if let Some(value) = value {
            message.push_str(&format!(", {name} {value}"));
        }
    }
    message.push(')');
    for more in [db.detail(), db.where_(), db.hint()].into_iter().flatten() {
        message.push_str("; ");
        message.push_str(&more.replace('\n', " "));
    }
    SinkError::new(reaction(during, db.code().code(), fatal), message)
}

/// An answer did not come in time.
pub(crate) fn late(during: During, what: &str, limit: std::time::Duration) -> SinkError {
    let reaction = if during == During::Commit { Reaction::Unknown } else { Reaction::Retry };
    SinkError::new(reaction, format!("{what}: no answer within {limit:?}"))
}

/// The reaction to a SQLSTATE.
fn reaction(during: During, code: &str, fatal: bool) -> Reaction {
    let class = &code[..code.len().min(2)];
    if during == During::Commit {
        // A conflict found at COMMIT is definite. Everything else (a shutdown, a cancelled wait for a standby) may have
        // come after the commit was written.
        return if !fatal && class == "40" { Reaction::Retry } else { Reaction::Unknown };
    }
    match (class, code) {
        // The binary form no longer fits the column: the table was altered under us, which a new start sees.
        (_, "22P03" | "0A000") => Reaction::Retry,
        ("22" | "23" | "44" | "P0", _) | (_, "54000") if during == During::Rows => Reaction::BadRow,
        (_, "21000") => Reaction::Bug,
        ("28" | "3D" | "3F" | "42" | "22" | "23" | "44", _) => Reaction::Person,
        _ => Reaction::Retry,
    }
}

/// A certificate does not become right by waiting.
fn is_certificate(error: &Error) -> bool {
    let mut at = error.source();
    while let Some(inner) = at {
        let rustls = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if rustls.is_some_and(|e| matches!(e.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))) {
            return true;
        }
        at = inner.source();
    }
    false
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(inner) = at {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_get_their_reaction() {
        use During::{Commit, Positions, Rows, Setup};
        for (during, code, fatal, expected) in [
            (Rows, "23505", false, Reaction::BadRow),
            (Rows, "22021", false, Reaction::BadRow),
            (Rows, "22003", false, Reaction::BadRow),
            (Rows, "P0001", false, Reaction::BadRow),
            (Rows, "54000", false, Reaction::BadRow),
            (Rows, "22P03", false, Reaction::Retry),
            (Rows, "40001", false, Reaction::Retry),
            (Rows, "40P01", false, Reaction::Retry),
            (Rows, "53100", false, Reaction::Retry),
            (Rows, "57P01", true, Reaction::Retry),
            (Rows, "25006", false, Reaction::Retry),
            (Rows, "55P03", false, Reaction::Retry),
            (Rows, "42501", false, Reaction::Person),
            (Rows, "42P01", false, Reaction::Person),
            (Positions, "23505", false, Reaction::Person),
            (Setup, "28P01", true, Reaction::Person),
            (Setup, "3D000", true, Reaction::Person),
            (Setup, "53300", true, Reaction::Retry),
            (Setup, "57P03", true, Reaction::Retry),
            (Commit, "23505", false, Reaction::Unknown),
            (Commit, "40001", false, Reaction::Retry),
            (Commit, "57P01", true, Reaction::Unknown),
            (Commit, "57014", false, Reaction::Unknown),
            (Commit, "XX000", false, Reaction::Unknown),
        ] {
            assert_eq!(reaction(during, code, fatal), expected, "{during:?} {code}");
        }
    }
}
