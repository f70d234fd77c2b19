//! tidemill
pub mod json;
pub mod metadata;
pub mod raw;
