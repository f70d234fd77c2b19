//! All integration tests: one binary (one link, one shared broker).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod backfill;
mod bounded;
mod control;
mod deaths;
mod decode;
mod delta;
mod faults;
mod freshness;
mod harness;
mod iceberg;
mod kafka_to_kafka;
mod kills;
mod postgres;
mod reserve;
mod resources;
mod s3_files;
mod stalled_sink;
mod stalls;
mod support;
mod topic_made_again;
