//! From a message to its slot without hashing its topic's name.

use std::collections::HashMap;
use std::sync::Arc;

use tidemill_engine::chunk::Slot;
use tidemill_engine::partition::Partition;

const NONE: u32 = u32::MAX;

/// Slots of one run, by topic token and partition number.
///
/// A token is remembered only for topics of the run: these stay assigned, so their token cannot become another topic's.
#[derive(Debug, Default)]
pub(super) struct Slots {
    partitions: Arc<[Partition]>,
    /// By topic name: slots by partition number.
    tables: Vec<(Arc<str>, Vec<u32>)>,
    by_token: HashMap<usize, usize>,
    last: Option<(usize, usize)>,
}

impl Slots {
    /// Slots in the order of `partitions`.
    pub(super) fn new(partitions: Arc<[Partition]>) -> Self {
        let mut by_name: HashMap<Arc<str>, usize> = HashMap::new();
        let mut tables: Vec<(Arc<str>, Vec<u32>)> = Vec::new();
        for (slot, partition) in (0u32..).zip(partitions.iter()) {
            let table = *by_name.entry(partition.topic.clone()).or_insert_with(|| {
                tables.push((partition.topic.clone(), Vec::new()));
                tables.len() - 1
            });
            let Ok(index) = usize::try_from(partition.index) else { continue };
            let table = &mut tables[table].1;
            if table.len() <= index {
                table.resize(index + 1, NONE);
            }
            table[index] = slot;
        }
        Self { partitions, tables, by_token: HashMap::new(), last: None }
    }

    /// The partitions by slot.
    pub(super) fn partitions(&self) -> &Arc<[Partition]> {
        &self.partitions
    }

    /// The slot of partition `index` of the topic with `token`; `name` is asked once per topic. `None`: not of this run.
    #[inline]
    pub(super) fn find(&mut self, token: usize, index: i32, name: impl FnOnce() -> String) -> Option<Slot> {
        let table = match self.last {
            Some((last, table)) if last == token => table,
            _ => self.find_topic(token, name)?,
        };
        let slot = *self.tables[table].1.get(usize::try_from(index).ok()?)?;
        (slot != NONE).then_some(slot)
    }

    #[cold]
    fn find_topic(&mut self, token: usize, name: impl FnOnce() -> String) -> Option<usize> {
        let table = if let Some(table) = self.by_token.get(&token) {
            *table
        } else {
            let name = name();
            let table = self.tables.iter().position(|(topic, _)| **topic == *name)?;
            self.by_token.insert(token, table);
            table
        };
        self.last = Some((token, table));
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_once_and_strangers_have_no_slot() {
        let partitions: Arc<[Partition]> =
            [Partition::new("a", 3), Partition::new("b", 0), Partition::new("a", 1)].into();
        let mut slots = Slots::new(partitions);
        assert_eq!(slots.find(10, 3, || "a".into()), Some(0));
        assert_eq!(slots.find(10, 1, || unreachable!("remembered")), Some(2));
        assert_eq!(slots.find(10, 2, || unreachable!("remembered")), None);
        assert_eq!(slots.find(11, 0, || "b".into()), Some(1));
        assert_eq!(slots.find(10, 3, || unreachable!("remembered")), Some(0));
        assert_eq!(slots.find(12, 0, || "c".into()), None);
        assert_eq!(slots.find(11, -1, || unreachable!("remembered")), None);
    }
}
