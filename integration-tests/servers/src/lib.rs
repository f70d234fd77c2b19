//! Real servers for tests: each is started as a process of its own on loopback, at a free port, with its data in a
//! temporary folder, and dies with the test process, whatever ends it. What a server needs on a machine is named in
//! the error when it is missing; nothing is skipped.
//!
//! This crate knows nothing of Tidemill: the crates with sinks and sources use it in their own tests.

mod certificates;
pub mod iceberg_rest;
pub mod jars;
pub mod kafka;
pub mod postgres;
pub mod process;
pub mod python;
pub mod s3;
pub mod s3_front;
