//! Sources, formats and sinks of Tidemill: everything that knows a broker, a wire format or a storage.

pub mod generator;
pub mod kafka;
