//! Counts refused records, each once: what is read again is refused again.

use std::collections::HashMap;
use std::time::Duration;

use crate::format::{Reject, Stage};
use crate::partition::Partition;
use crate::rate::RateLimit;

/// What was refused so far in the life of a job, over its runs.
#[derive(Debug)]
pub(crate) struct RejectCount {
    limit: RateLimit,
    /// The offset behind the last one counted. By stage: the sink refuses late, what lies behind others long counted.
    counted: HashMap<(Partition, Stage), i64>,
}

impl RejectCount {
    /// At most `limit` a minute; `None`: any number.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { limit: RateLimit::new(limit), counted: HashMap::new() }
    }

    /// Counts `rejects` at `now`, which come in the order of their offsets. Answers those that were not counted before,
    /// and the limit when it is passed.
    pub(crate) fn count<'r>(&mut self, rejects: &'r [Reject], now: Duration) -> (Vec<&'r Reject>, Option<u64>) {
        let mut new = Vec::new();
        for reject in rejects {
            let place = (reject.record.partition.clone(), reject.stage);
            let counted = self.counted.entry(place).or_insert(i64::MIN);
            if reject.record.offset >= *counted {
                *counted = reject.record.offset + 1;
                new.push(reject);
            }
        }
        let over = self.limit.add(new.len() as u64, now);
        (new, over)
    }

    /// The partition's offsets begin anew.
    pub(crate) fn forget(&mut self, partition: &Partition) {
        self.counted.retain(|(of, _), _| of != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::OwnedRecord;

    fn reject(index: i32, offset: i64, stage: Stage) -> Reject {
        let record = OwnedRecord {
            partition: Partition::new("t", index),
            offset,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: vec![],
        };
        Reject { record, stage, cause: "c", error: "e".into() }
    }

    #[test]
    fn a_record_counts_once_however_often_it_is_read() {
        let mut rejects = RejectCount::new(Some(4));
        let mut count = |of: &[(i32, i64, Stage)]| {
            let of: Vec<_> = of.iter().map(|(index, offset, stage)| reject(*index, *offset, *stage)).collect();
            let (new, over) = rejects.count(&of, Duration::ZERO);
            (new.len(), over)
        };
        let window = [(0, 5, Stage::Decode), (0, 9, Stage::Decode), (1, 2, Stage::Decode)];
        assert_eq!(count(&window), (3, None));
        assert_eq!(count(&window), (0, None));
        assert_eq!(count(&[(0, 7, Stage::Sink)]), (1, None), "the sink refuses it after later ones were counted");
        assert_eq!(count(&[(0, 9, Stage::Decode), (0, 10, Stage::Decode)]), (1, Some(4)));
    }

    #[test]
    fn a_topic_that_was_made_again_counts_anew() {
        let mut rejects = RejectCount::new(None);
        let old = [reject(0, 9, Stage::Decode), reject(1, 9, Stage::Decode)];
        assert_eq!(rejects.count(&old, Duration::ZERO).0.len(), 2);
        rejects.forget(&Partition::new("t", 0));
        let new = [reject(0, 0, Stage::Decode), reject(1, 0, Stage::Decode)];
        assert_eq!(rejects.count(&new, Duration::ZERO).0.len(), 1);
    }
}
