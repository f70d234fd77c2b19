//! The `tidemill` daemon: command line, wiring, jobs, HTTP, signals, logs.
//!
//! Reading order: [`cli`] (what can be asked) → [`plan`] (a config with everything planned and checked, nothing
//! started) → [`wire`] (from settings to the engine's parts; the only place that knows both) → [`service`] (start,
//! signals) → [`supervisor`] (jobs started, reaped, told what to do, reloaded), with [`http`] and [`live`] looking at
//! [`jobs`]. [`client`] is the other side of the API. [`state`] is the folder a daemon owns, with the [`pause`]s kept
//! there; [`machine`] is what it may use of memory and processors, [`disk`] the room on the disks that jobs write to.
//!
//! This crate knows no protocol: what makes a job exactly-once is in the engine and the sinks.

pub mod cli;
pub mod client;
pub mod demo;
pub mod disk;
pub mod http;
pub mod jobs;
pub mod live;
pub mod logs;
pub mod machine;
pub mod metrics;
pub mod pause;
pub mod plan;
pub mod positions;
pub mod process;
pub mod ready;
pub mod service;
pub mod simulate;
pub mod state;
pub mod supervisor;
pub mod verify;
pub mod wire;
