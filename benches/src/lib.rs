//! Tidemill measured: the workloads, the processes that run them, and what they came to.
//!
//! `src/bin/run.rs` measures end to end beside the raw loop of `src/bin/raw.rs`; `benches/` the parts.

pub mod check;
pub mod clicks;
pub mod evaluate;
pub mod measure;
pub mod parts;
pub mod report;
pub mod topic;
pub mod workload;
