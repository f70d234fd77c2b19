//! Rules about PostgreSQL sinks.

use super::Rules;
use crate::fault::{FaultKind, quote};
use crate::near::did_you_mean;
use crate::text::Text;
use crate::types::{Job, Postgres, PostgresMode, Sink};
use std::collections::BTreeSet;

/// Both sinks of a job.
pub(super) fn check(rules: &mut Rules<'_>, path: &str, job: &Job, columns: Option<&BTreeSet<&str>>) {
    if let Sink::Postgres(sink) = &job.sink {
        table(rules, &format!("{path}.sink"), sink);
        upsert(rules, &format!("{path}.sink"), sink, columns);
        let key = format!("{path}.sink.idle_in_transaction_timeout");
        if sink.idle_in_transaction_timeout <= job.window.max_age && !rules.broken(&format!("{path}.window.max_age")) {
            rules
                .conflict(&key, "expected more than the window's max_age: its transaction waits that long for records");
        }
    }
    if let Some(Sink::Postgres(dead_letter)) = &job.dead_letter {
        table(rules, &format!("{path}.dead_letter"), dead_letter);
        if dead_letter.mode == PostgresMode::Upsert {
            let key = format!("{path}.dead_letter.mode");
            rules.bad(&key, "expected \"append\": every refused record is kept");
        }
        if let Sink::Postgres(sink) = &job.sink
            && (sink.table.as_str(), place(&sink.url)) == (dead_letter.table.as_str(), place(&dead_letter.url))
        {
            rules.conflict(&format!("{path}.dead_letter.table"), "expected another table than the sink's");
        }
    }
}

/// What a URL connects to.
fn place(url: &Text) -> &str {
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or_default();
    rest.rsplit('@').next().unwrap_or_default()
}

fn table(rules: &mut Rules<'_>, path: &str, sink: &Postgres) {
    let key = format!("{path}.url");
    if !["postgres://", "postgresql://"].iter().any(|scheme| sink.url.starts_with(scheme)) {
        // A URL from a reference may hold anything: nothing of it is quoted.
        rules.bad(&key, "expected postgres://USER@HOST:PORT/DATABASE");
    } else if sink.url.shown().contains("***") {
        let message = "a password stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
        rules.warn(FaultKind::InlineSecret, &key, message);
    }
    let key = format!("{path}.table");
    let parts: Vec<&str> = sink.table.split('.').collect();
    let fits =
        |name: &&str| !name.is_empty() && name.len() <= 63 && name.trim() == *name && !name.contains(['"', '\0']);
    if parts.len() > 2 || !parts.iter().all(fits) {
        let found = quote(sink.table.shown());
        rules.bad(&key, format!("expected TABLE or SCHEMA.TABLE, without quotes, found {found}"));
    } else if parts.last().is_some_and(|name| name.starts_with("tidemill_")) {
        rules.bad(&key, "expected a name that does not begin with tidemill_: those hold positions");
    }
    rules.positive(&format!("{path}.statement_timeout"), sink.statement_timeout);
    rules.positive(&format!("{path}.lock_timeout"), sink.lock_timeout);
    rules.positive(&format!("{path}.history"), sink.history);
}

fn upsert(rules: &mut Rules<'_>, path: &str, sink: &Postgres, columns: Option<&BTreeSet<&str>>) {
    match sink.mode {
        PostgresMode::Append => {
            let given = [("key", !sink.key.is_empty()), ("delete_column", sink.delete_column.is_some())];
            for (name, _) in given.iter().filter(|(_, given)| *given) {
                let message = "without effect: it goes with mode = \"upsert\"";
                rules.warn(FaultKind::NoEffect, &format!("{path}.{name}"), message);
            }
            return;
        }
        PostgresMode::Upsert => {
            if sink.key.is_empty() {
                rules.conflict(&format!("{path}.mode"), "\"upsert\" needs a key = [\"COLUMN\", …] beside it");
            }
        }
    }
    let named = sink.key.iter().enumerate().map(|(i, column)| (format!("{path}.key[{i}]"), column));
    let delete = sink.delete_column.iter().map(|column| (format!("{path}.delete_column"), column));
    for (key, column) in named.chain(delete) {
        if let Some(columns) = columns.filter(|columns| !columns.contains(&**column)) {
            let hint = if column.is_secret() { None } else { did_you_mean(column, columns.iter().copied()) };
            let known = || format!("known: {}", columns.iter().copied().collect::<Vec<_>>().join(", "));
            let shown = quote(column.shown());
            rules.bad(&key, format!("no column is named {shown}; {}", hint.unwrap_or_else(known)));
        }
    }
}
