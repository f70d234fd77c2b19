//! The Iceberg sink: windows become snapshots of a table behind a REST catalog.
//!
//! In the order of the data: [`options`] says what is wanted; [`rest`] speaks with the catalog; [`table`] loads or makes
//! the table and fits rows to it ([`types`]); [`staging`] casts rows, splits them by [`partition`] and writes data files
//! into [`places`], described by [`metrics`]; [`snapshot`] (with [`merge`]) makes the change of the table that adds them;
//! [`sink`] compares and commits, taking [`turns`] with other writers; [`held`] is what the table remembers of a job.
//!
//! Iceberg's own crate reads and writes metadata, manifests and transforms; its batches (of another arrow) are not used.

mod held;
mod merge;
mod metrics;
mod options;
mod partition;
mod places;
mod rest;
mod sink;
mod snapshot;
mod staging;
mod table;
mod turns;
mod types;

pub use options::{CatalogOptions, IcebergOptions, SchemaEvolution, check_partition_by};
pub use sink::{IcebergSink, history};
