//! The Kafka source: batched consumption with the sink's positions, on librdkafka. And the Kafka sink, in [`sink`].
//!
//! Reading order of the source: [`options`](KafkaOptions) → `source` (the protocol of a run) → `reader` (the hot loop). Around them:
//! `membership` (what the group gave us, pure), `context` (callbacks; record, never answer), `start` (positions
//! against the log, pure), `log_facts` (what brokers are asked), `lag` (what nobody is asked), `traffic` (bytes of the
//! network), `ffi` (the only unsafe code), [`properties`] (what a job's file may set).
//!
//! How rebalances work here: librdkafka's callback only records what the group wants. The source reports it as the end
//! of the run ([`SourceEvent::Revoked`](tidemill_engine::source::SourceEvent)), the engine commits and calls `end_run`, and
//! only then is the rebalance answered. Every run assigns all of its partitions anew at the sink's positions, on a new
//! queue: nothing fetched before can come after, whatever the client thought its position was.

mod absent;
mod client_page;
mod connection;
mod context;
mod errors;
mod ffi;
mod group_metadata;
mod lag;
mod log_facts;
mod membership;
mod options;
pub mod properties;
mod reader;
pub mod sink;
mod slots;
mod source;
mod start;
#[cfg(test)]
mod tests;
mod topic_watch;
pub(crate) mod traffic;

pub use client_page::client_page;
pub use group_metadata::GroupMetadataSlot;
pub use options::{KafkaOptions, OnDataLoss, Start, Until};
pub use source::KafkaSource;
