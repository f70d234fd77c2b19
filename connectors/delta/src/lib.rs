//! The delta sink.
