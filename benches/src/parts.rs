//! Parts of the data path, set up for W1.

use tidemill_connectors::json::{JsonFormat, JsonOptions};
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::{Decoder, Format};
use tidemill_engine::partition::Partition;

use crate::clicks::{Clicks, schema};

/// A chunk of the next `bytes` of the clickstream, as the intake hands one on.
pub fn full_chunk(clicks: &mut Clicks, bytes: usize) -> Chunk {
    let mut chunk = Chunk::new([Partition::new("clicks", 0)].into(), bytes);
    let mut offset = 0;
    while chunk.bytes() < bytes {
        let (_, value) = clicks.next_record();
        chunk.push(0, offset, Some(0), Some(value.as_bytes()), None, []);
        offset += 1;
    }
    chunk.seal();
    chunk
}

/// A decoder of W1's columns.
///
/// # Panics
/// When the schema is not one that the format takes, which a bench cannot go on from.
#[must_use]
pub fn decoder() -> Box<dyn Decoder> {
    JsonFormat::new(JsonOptions::new(schema().fields().clone())).expect("a schema that the format takes").decoder()
}
