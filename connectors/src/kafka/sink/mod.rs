//! The Kafka sink: rows into a topic and positions into the consumer group, in one Kafka transaction.
//!
//! Reading order: [`options`](KafkaSinkOptions) → `message` (rows as messages) → `staging` (a window on its way, within
//! its memory) → `worker` (the one thread that calls librdkafka) → `ledger` (positions held: read, compared, anchored)
//! → `client` (one producer and its open transaction). Beside them: `note` (what stands next to an offset in the
//! group, pure), `errors` (what an error asks for, pure), [`properties`] (what a job's file may set), `context`
//! (callbacks), and `at_least_once` (the sink without transactions).
//!
//! **The compare.** Kafka has no compare-and-set on a group's offsets. What stands in for it:
//! 1. `recover` reads the group's offsets after it has fenced former runs of this instance (`transactional.id`), and
//!    waits for transactions that are not decided.
//! 2. Every commit starts where this very sink knows to stand: from what it read and what it committed itself.
//! 3. Every commit carries member and generation of the group, and the broker refuses those that are not the newest.
//!    Partitions go to somebody else only in a later generation.
//! 4. Anchors, which instances may write for each other's partitions, go through a transactional id of the job: the
//!    later of two fences the earlier before it reads.
//!
//! So two owners of one partition cannot both land as long as each is a member of the group, which the engine's run
//! and [`GroupMetadataSlot`](super::GroupMetadataSlot) see to. The sink alone could not tell.

mod at_least_once;
mod client;
mod context;
mod errors;
mod ledger;
mod message;
mod note;
mod options;
pub mod properties;
mod staging;
mod transactional;
mod worker;

pub use at_least_once::AtLeastOnceKafkaSink;
pub use ledger::read_positions;
pub use options::{Compression, KafkaSinkOptions, Lose, Mapping, Partitioner, Value};
pub use transactional::KafkaSink;
