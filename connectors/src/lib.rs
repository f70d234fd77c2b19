//! tidemill
pub mod files;
