//! Tidemill measured: the workloads, the processes that run them, and what they came to.
//!
//! `src/bin/run.rs` measures end to end beside the raw loop of `src/bin/raw.rs`; `src/bin/peers.rs` beside other
//! engines; `src/bin/curves.rs` what the cost grows with; `benches/` the parts.

pub mod bars;
pub mod binaries;
pub mod check;
pub mod clicks;
pub mod curves;
pub mod evaluate;
pub mod measure;
pub mod parts;
pub mod peers;
pub mod report;
pub mod svg;
pub mod topic;
pub mod tree;
pub mod wide;
pub mod workload;
