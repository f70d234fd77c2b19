//! tidemill
pub mod blackhole;
pub mod files;
pub mod kept;
pub mod stdout;
