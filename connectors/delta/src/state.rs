//! What a Delta log says at one version, as far as this sink cares: a pure fold over its commits.

use std::collections::BTreeMap;

use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};

use super::actions::{Line, Metadata, Protocol, Txn};
use super::app_id::{self, RETIRED};

/// The table at one version, seen by one job.
#[derive(Clone, Debug)]
pub(crate) struct TableState {
    /// Of the newest commit in it.
    pub version: u64,
    /// `None` only where the log is damaged.
    pub protocol: Option<Protocol>,
    pub metadata: Option<Metadata>,
    job: String,
    prefix: String,
    /// The job's application ids with their versions.
    txns: BTreeMap<String, i64>,
}

impl TableState {
    /// Nothing known yet of a log whose first piece has `version`.
    pub(crate) fn new(job: &str, version: u64) -> Self {
        let prefix = app_id::prefix(job);
        Self { version, protocol: None, metadata: None, job: job.to_owned(), prefix, txns: BTreeMap::new() }
    }

    /// Takes in the lines of the next piece of the log.
    pub(crate) fn apply(&mut self, lines: &[Line]) {
        for line in lines {
            if let Some(protocol) = &line.protocol {
                self.protocol = Some(protocol.clone());
            }
            if let Some(metadata) = &line.meta_data {
                self.metadata = Some(metadata.clone());
            }
            if let Some(txn) = line.txn.as_ref().filter(|txn| txn.app_id.starts_with(&self.prefix)) {
                self.txns.insert(txn.app_id.clone(), txn.version);
            }
        }
    }

    /// The positions that the job holds.
    pub(crate) fn positions(&self) -> Positions {
        self.txns.iter().filter_map(|(id, version)| self.position(id, *version)).collect()
    }

    fn position(&self, id: &str, version: i64) -> Option<(Partition, Position)> {
        let (partition, topic_id) = app_id::parse(&self.prefix, id)?;
        Some((partition, app_id::position(version, topic_id)?))
    }

    /// The transactions that move the job to the ends of `ranges`.
    pub(crate) fn moves(&self, ranges: &OffsetRanges, now_ms: i64) -> Vec<Txn> {
        let held = self.positions();
        let txn = |app_id, version| Txn { app_id, version, last_updated: Some(now_ms) };
        let mut txns = Vec::new();
        for (partition, range) in ranges.iter() {
            let id = app_id::make(&self.job, partition, range.topic_id.as_deref());
            if let Some(before) = held.get(partition) {
                let old = app_id::make(&self.job, partition, before.topic_id.as_deref());
                if old != id {
                    txns.push(txn(old, RETIRED));
                }
            }
            txns.push(txn(id, range.end));
        }
        txns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::partition::OffsetRange;

    fn lines(txns: Vec<Txn>) -> Vec<Line> {
        txns.into_iter().map(|txn| Line { txn: Some(txn), ..Line::default() }).collect()
    }

    #[test]
    fn positions_follow_the_moves_also_to_a_topic_made_again() {
        let p = Partition::new("t", 0);
        let range = |start, end, id: Option<&str>| -> OffsetRanges {
            [(p.clone(), OffsetRange { start, end, topic_id: id.map(Into::into) })].into_iter().collect()
        };
        let mut state = TableState::new("j", 0);
        let foreign = Txn { app_id: "tidemill/jj/t/0".into(), version: 9, last_updated: None };
        state.apply(&lines(vec![foreign]));
        for (ranges, txns) in [
            (range(None, 4, None), 1),
            (range(Some(4), 6, Some("a")), 2),
            (range(Some(6), 9, Some("a")), 1),
            (range(Some(9), 0, Some("b")), 2),
            (range(Some(0), 3, Some("a")), 2),
        ] {
            assert!(ranges.continue_from(&state.positions()), "{ranges:?} {:?}", state.positions());
            let moves = state.moves(&ranges, 1);
            assert_eq!(moves.len(), txns, "{moves:?}");
            state.apply(&lines(moves));
            let (_, range) = ranges.iter().next().unwrap();
            assert_eq!(state.positions(), [(p.clone(), range.landed())].into_iter().collect());
        }
    }
}
