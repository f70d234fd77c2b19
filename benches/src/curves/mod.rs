//! What the daemon's cost grows with: curves, not points.
//!
//! `point` says what is measured, `config` is the daemon's configuration for it, `bench` measures, `report` and `plot`
//! show.

pub mod bench;
pub mod config;
pub mod plot;
pub mod point;
pub mod report;
