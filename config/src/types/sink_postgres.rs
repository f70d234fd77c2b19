//! A table in PostgreSQL.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::forms::duration;
use crate::text::Text;

/// A table in PostgreSQL 13 or later. Exactly-once: rows and positions are one transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`, the password better as `${env:NAME}`. `sslmode` is
    /// `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`. Not through a pooler that shares out
    /// transactions.
    #[serde(deserialize_with = "url")]
    pub url: Text,
    /// File of the certificates (PEM) that the server's has to be signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the system's"))]
    pub ca: Option<Text>,
    /// The table: `TABLE` (in `public`) or `SCHEMA.TABLE`, as written. Tables that hold positions lie in its schema.
    pub table: Text,
    /// How rows get in.
    #[serde(default)]
    pub mode: PostgresMode,
    /// Columns of the key, for `upsert`. The table needs a unique index on exactly these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<Text>,
    /// A boolean column that says that a row deletes its key; it is not written. For `upsert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "tombstones delete"))]
    pub delete_column: Option<Text>,
    /// Makes the table, and its schema, when they are missing.
    #[serde(default)]
    pub create: bool,
    /// Longest time for one statement.
    #[serde(default = "statement_timeout", with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    #[serde(default = "lock_timeout", with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub lock_timeout: Duration,
    /// The server ends a window's transaction in which nothing happened for this long. Longer than the window's
    /// `max_age`, and than two rounds of the group's `commits_per_minute`.
    #[serde(default = "idle_in_transaction_timeout", with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub idle_in_transaction_timeout: Duration,
    /// How long rows of `tidemill_commit` are kept, which `tidemill verify` reads.
    #[serde(default = "history", with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub history: Duration,
}

/// How rows get into the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostgresMode {
    /// Each row is inserted.
    #[default]
    Append,
    /// A row replaces the one with the same key; a tombstone deletes it.
    Upsert,
}

fn statement_timeout() -> Duration {
    Duration::from_secs(60)
}

fn lock_timeout() -> Duration {
    Duration::from_secs(30)
}

fn idle_in_transaction_timeout() -> Duration {
    Duration::from_secs(15 * 60)
}

fn history() -> Duration {
    Duration::from_secs(7 * 86_400)
}

/// A URL that is shown without its password.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    let text = Text::deserialize(deserializer)?;
    if text.is_secret() {
        return Ok(text);
    }
    Ok(match redacted(&text) {
        Some(shown) => Text::secret(text.as_str(), shown),
        None => text,
    })
}

/// The URL without its password; `None` when it has none.
fn redacted(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let mut hidden = false;
    let mut shown = match place.rsplit_once('@') {
        Some((login, host)) if login.contains(':') => {
            hidden = true;
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{host}")
        }
        _ => format!("{scheme}://{place}"),
    };
    for (i, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if i == 0 { '?' } else { '&' });
        if pair.to_lowercase().starts_with("password=") {
            hidden = true;
            shown.push_str("password=***");
        } else {
            shown.push_str(pair);
        }
    }
    hidden.then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        for (url, shown) in [
            ("postgres://u:se@cret@h:1/d?sslmode=require", Some("postgres://u:***@h:1/d?sslmode=require")),
            ("postgres://u@h/d?password=secret", Some("postgres://u@h/d?password=***")),
            ("postgres://u@h:5432/d", None),
        ] {
            assert_eq!(redacted(url).as_deref(), shown);
        }
        let sink: Postgres =
            serde_json::from_str(r#"{"url": "postgres://u:secret@h/d", "table": "t"}"#).expect("reads");
        let shown = format!("{sink:?}{}", serde_json::to_string(&sink).expect("json"));
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(sink.url.as_str(), "postgres://u:secret@h/d");
    }
}
