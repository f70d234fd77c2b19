//! All integration tests: one binary (one link, one shared broker).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod bounded;
mod decode;
mod faults;
mod harness;
mod kafka_to_kafka;
mod kills;
mod support;
