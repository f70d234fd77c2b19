//! Ends of the logs as librdkafka last saw them in fetch responses: nobody is asked.

use std::collections::BTreeMap;
use std::ffi::CString;

use tidemill_engine::partition::Partition;

use super::ffi::{self, KafkaConsumer};

/// The newest known high end of each of `partitions`; `known` fills in for those that nothing was fetched of yet.
pub(super) fn ends<'a>(
    consumer: &KafkaConsumer,
    partitions: impl Iterator<Item = &'a Partition>,
    known: &BTreeMap<Partition, i64>,
) -> BTreeMap<Partition, i64> {
    let mut topic: Option<(&str, CString)> = None;
    let mut ends = BTreeMap::new();
    for partition in partitions {
        if topic.as_ref().is_none_or(|(name, _)| *name != &*partition.topic) {
            topic = CString::new(&*partition.topic).ok().map(|c| (&*partition.topic, c));
        }
        let Some((_, name)) = &topic else { continue };
        let cached = ffi::cached_high(consumer, name, partition.index);
        if let Some(end) = cached.max(known.get(partition).copied()) {
            ends.insert(partition.clone(), end);
        }
    }
    ends
}
