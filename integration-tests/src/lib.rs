//! The harness of the integration tests: a real Kafka broker, a producer that knows what it sent, a checker that
//! reads the sink as its users do, and the daemon as a process that can be killed.
//!
//! The tests themselves are in `tests/it/`; `README.md` says how to run the long ones.

pub mod bucket;
pub mod checker;
pub mod daemon;
pub mod freshness;
pub mod job;
pub mod ledger;
pub mod producer;
pub mod records;
mod reminder;

pub use tidemill_test_servers::{iceberg_rest, jars, kafka, process, python, s3};
