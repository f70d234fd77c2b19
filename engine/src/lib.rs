//! The dataflow of Tidemill and the traits of its parts.
//!
//! Reading order is data order: a [`source`] pushes records into the [`intake`], which fills [`chunk`]s; the
//! [`window`] module decides when to cut; a [`format`](mod@format) decodes chunks into Arrow batches, [`operator`]s work on
//! them, a [`sink`] stages them and commits them together with the [`partition`] positions. The pipeline orders all that, a
//! run is the life of a job under one assignment, and a [`job`] starts runs again and again.
//!
//! This crate knows no broker, no format of records, no storage and no configuration file. It holds no recovery code
//! besides starting: an error ends the run, and a run starts by asking the sink how far it has come.

mod arc_str;
pub mod bounds;
pub mod capacity;
pub mod chunk;
pub mod clock;
pub mod control;
pub mod dead_letter;
pub mod decode;
pub mod demand;
pub mod failpoint;
pub mod forecast;
pub mod format;
pub mod gate;
mod held_back;
pub mod history;
pub mod intake;
mod isolate;
pub mod job;
pub mod load;
pub mod mark;
pub mod metrics;
pub mod operator;
pub mod partition;
mod pipeline;
pub mod progress;
pub mod protocol;
pub mod rate;
mod rejects;
mod rows_in_window;
mod run;
pub mod scaling;
pub mod scheduler;
pub mod sink;
pub mod source;
pub mod testkit;
pub mod tuner;
pub mod tuning;
pub mod window;
mod window_error;
