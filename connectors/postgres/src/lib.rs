//! The Postgres sink: rows by binary `COPY`, and the positions of the job in the same transaction.
//!
//! In the order in which a window meets them: [`options`] (what the sink is told), [`url`] and [`tls`] (how it
//! connects), [`session`] (one connection and its timeouts), [`catalog`] (the table: created, or read and checked),
//! [`types`] (which Arrow type goes into which column), [`encode`] and [`numeric`] (values in Postgres' binary form),
//! [`rows`] (batches as `COPY` data), [`keys`] (upserts: which row deletes, and what its key is), [`staging`],
//! [`ledger`] (the tables `tidemill_position`, `tidemill_commit`, `tidemill_target`), [`sink`] (the commit) and
//! [`history`] (what was committed, for whoever checks it).
//!
//! What it promises is in `docs/sinks/postgres.md`.

mod catalog;
mod encode;
mod error;
mod history;
mod keys;
mod ledger;
mod numeric;
mod options;
mod rows;
mod session;
mod sink;
mod staging;
mod tls;
mod types;
mod url;

pub use history::{history, positions};
pub use options::{Mode, PostgresOptions, TableName};
pub use sink::{PostgresSink, check};
pub use url::{Target, redacted};
