//! What the sink is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidemill_engine::sink::SinkError;

/// How rows get into the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every row is inserted.
    #[default]
    Append,
    /// A row replaces the one with the same key; a tombstone deletes it.
    Upsert,
}

/// A table's name, with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema; the tables that hold positions lie there too.
    pub schema: String,
    /// The table.
    pub table: String,
}

impl TableName {
    /// Reads `table` (then the schema is `public`) or `schema.table`. Names are taken as they are written: `Orders` is
    /// not `orders`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", text));
        let fits = |name: &str| {
            !name.is_empty() && name.len() <= 63 && name.trim() == name && !name.contains(['.', '"', '\0'])
        };
        if fits(schema) && fits(table) {
            return Ok(Self { schema: schema.to_owned(), table: table.to_owned() });
        }
        Err("expected TABLE or SCHEMA.TABLE, each of 1 to 63 bytes, without quotes or further dots".into())
    }

    /// As SQL, quoted.
    #[must_use]
    pub fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.table))
    }

    /// Another table in the same schema, as SQL.
    #[must_use]
    pub(crate) fn beside(&self, table: &str) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// A name as SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Settings of a [`PostgresSink`](crate::PostgresSink). `Debug` shows no password.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`
    pub url: String,
    /// Certificates (PEM) that sign the server's; without it the system's.
    pub ca: Option<PathBuf>,
    /// The table.
    pub table: TableName,
    /// The job.
    pub job: String,
    /// The daemon.
    pub instance: String,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// How rows get into the table.
    pub mode: Mode,
    /// Columns of the key, for [`Mode::Upsert`]; without effect otherwise.
    pub key: Vec<String>,
    /// A boolean column that says that a row deletes its key; it is not written. For [`Mode::Upsert`];
    /// without effect otherwise.
    pub delete_column: Option<String>,
    /// Makes the table when it is missing.
    pub create: bool,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// A transaction in which nothing happens for this long is ended by the server.
    pub idle_in_transaction_timeout: Duration,
    /// Rows of `tidemill_commit` are kept this long.
    pub history: Duration,
}

impl PostgresOptions {
    /// Appends to `table`, which has to exist.
    #[must_use]
    pub fn new(url: &str, table: TableName, job: &str, instance: &str, schema: SchemaRef) -> Self {
        Self {
            url: url.to_owned(),
            ca: None,
            table,
            job: job.to_owned(),
            instance: instance.to_owned(),
            schema,
            mode: Mode::Append,
            key: Vec::new(),
            delete_column: None,
            create: false,
            statement_timeout: Duration::from_secs(60),
            lock_timeout: Duration::from_secs(30),
            idle_in_transaction_timeout: Duration::from_secs(15 * 60),
            history: Duration::from_secs(7 * 86_400),
        }
    }

    /// What needs no server to be known.
    pub(crate) fn check(&self) -> Result<(), SinkError> {
        let person = |what: String| Err(SinkError::person(format!("{}: {what}", self.table)));
        if self.mode == Mode::Append {
            return Ok(());
        }
        if self.key.is_empty() {
            return person("mode = \"upsert\" needs a `key`".into());
        }
        let known = || self.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        for column in self.key.iter().chain(&self.delete_column) {
            if self.schema.field_with_name(column).is_err() {
                return person(format!("no column is named `{column}`; the rows have {}", known()));
            }
        }
        if let Some(column) = &self.delete_column {
            if self.key.contains(column) {
                return person(format!("`{column}` cannot be key and delete_column"));
            }
            let found = self.schema.field_with_name(column).map(|f| f.data_type().clone());
            if !matches!(found, Ok(arrow::datatypes::DataType::Boolean)) {
                return person(format!("delete_column `{column}` has to be a boolean"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("url", &crate::url::redacted(&self.url))
            .field("table", &self.table)
            .field("job", &self.job)
            .field("mode", &self.mode)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_written() {
        let name = |text| TableName::parse(text).map(|n| n.sql());
        assert_eq!(name("orders").as_deref(), Ok(r#""public"."orders""#));
        assert_eq!(name("Shop.Orders").as_deref(), Ok(r#""Shop"."Orders""#));
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a\"", " a", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
