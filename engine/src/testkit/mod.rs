//! For tests of this and other crates: a sink in memory, rows to write, and the suite every sink has to pass.

pub mod conformance;
mod memory;
mod rows;

pub use self::memory::{Injected, MemorySink, MemoryStore, Refusal};
pub use self::rows::{Key, keys, nested_schema, plain_schema, rows, wide_schema};
