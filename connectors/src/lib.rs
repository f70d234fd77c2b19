//! Connectors of Tidemill: sources, formats and sinks behind the engine's traits.
//!
//! Sources: [`kafka`], [`generator`]. Formats: [`json`], [`raw`], with the [`metadata`] columns they share. Sinks:
//! [`files`] (Parquet, NDJSON), [`stdout`], [`blackhole`]. [`storage`] opens the object stores that sinks share.
//!
//! This crate knows no configuration file and no job: each part is built from plain options, and knows no other part.

pub mod blackhole;
pub mod files;
pub mod generator;
pub mod json;
pub mod kafka;
pub mod kept;
pub mod metadata;
mod metrics;
pub mod raw;
pub mod stdout;
pub mod storage;

pub use metrics::METRICS;
