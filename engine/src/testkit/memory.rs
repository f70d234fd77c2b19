//! A sink in memory: the plainest one that keeps every promise, with faults to order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;

use super::rows::{Key, keys};
use crate::partition::{OffsetRanges, Partition, Positions};
use crate::sink::{Commit, Reaction, Receipt, Sink, SinkError, Staged, Staging};

/// What several [`MemorySink`]s write into. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    positions: Positions,
    rows: Vec<RecordBatch>,
    commits: Vec<OffsetRanges>,
    /// The run of each instance that may commit.
    runs: HashMap<String, u64>,
    next_run: u64,
    faults: VecDeque<Injected>,
    steps_until_error: Option<u64>,
    late: Vec<Late>,
    refused: Vec<(Key, Refusal)>,
}

/// When a row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// When it is written.
    AtWrite,
    /// When its window is sealed.
    AtSeal,
}

/// What happens to the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// It lands and the answer is lost.
    LandedUnknown,
    /// It does not land and the answer is lost.
    NotLandedUnknown,
    /// The answer is lost, and it is carried out when [`MemoryStore::release_late`] is called.
    Late,
}

#[derive(Debug)]
struct Late {
    instance: String,
    run: u64,
    rows: Vec<RecordBatch>,
    ranges: OffsetRanges,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A sink of `instance` on this store.
    #[must_use]
    pub fn sink(&self, instance: &str) -> MemorySink {
        MemorySink { store: self.clone(), instance: instance.to_owned(), run: None }
    }

    /// All visible rows, in the order of their commits.
    #[must_use]
    pub fn rows(&self) -> Vec<RecordBatch> {
        self.inner().rows.clone()
    }

    /// Where all visible rows come from.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.inner().rows.iter().flat_map(keys).collect()
    }

    /// The positions held.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.inner().positions.clone()
    }

    /// The ranges of all commits that landed, in order.
    #[must_use]
    pub fn commits(&self) -> Vec<OffsetRanges> {
        self.inner().commits.clone()
    }

    /// Orders a fault for the next commit that has none yet.
    pub fn inject(&self, fault: Injected) {
        self.inner().faults.push_back(fault);
    }

    /// Refuses this row whenever it comes.
    pub fn refuse(&self, row: Key, when: Refusal) {
        self.inner().refused.push((row, when));
    }

    fn check(&self, rows: &[RecordBatch], now: Refusal) -> Result<(), SinkError> {
        let refused: Vec<Key> =
            self.inner().refused.iter().filter(|(_, when)| *when == now).map(|(row, _)| row.clone()).collect();
        if refused.is_empty() {
            return Ok(());
        }
        match rows.iter().flat_map(keys).find(|row| refused.contains(row)) {
            Some(row) => Err(SinkError::new(Reaction::BadRow, format!("injected: the row {row:?} is refused"))),
            None => Ok(()),
        }
    }

    /// The `k`-th next step (recover, open, write, seal, commit, of any sink; 1 is the very next) fails without effect.
    pub fn fail_step(&self, k: u64) {
        self.inner().steps_until_error = Some(k);
    }

    /// Carries out the late commits now, each under the compare of this moment. Answers how many landed.
    pub fn release_late(&self) -> usize {
        let mut inner = self.inner();
        let late = std::mem::take(&mut inner.late);
        late.into_iter()
            .filter(|l| inner.runs.get(&l.instance) == Some(&l.run))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|l| inner.land(l.rows, &l.ranges).ok())
            .count()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, what: &str) -> Result<(), SinkError> {
        let mut inner = self.inner();
        if let Some(left) = &mut inner.steps_until_error {
            *left = left.saturating_sub(1);
            if *left == 0 {
                inner.steps_until_error = None;
                return Err(SinkError::retry(format!("injected: {what} failed")));
            }
        }
        Ok(())
    }
}

impl Inner {
    fn land(&mut self, rows: Vec<RecordBatch>, ranges: &OffsetRanges) -> Result<u64, Positions> {
        if !ranges.continue_from(&self.positions) {
            return Err(ranges.found_in(&self.positions));
        }
        ranges.apply_to(&mut self.positions);
        self.commits.push(ranges.clone());
        let count = rows.iter().map(|r| r.num_rows() as u64).sum();
        self.rows.extend(rows);
        Ok(count)
    }
}

/// A sink on a [`MemoryStore`].
#[derive(Debug)]
pub struct MemorySink {
    store: MemoryStore,
    instance: String,
    run: Option<u64>,
}

#[async_trait]
impl Sink for MemorySink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.store.step("recover")?;
        let mut inner = self.store.inner();
        inner.next_run += 1;
        let run = inner.next_run;
        inner.runs.insert(self.instance.clone(), run);
        self.run = Some(run);
        Ok(inner.positions.clone())
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        self.store.step("open")?;
        Ok(Box::new(MemoryStaging { store: self.store.clone(), rows: Vec::new() }))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let run = self.run.ok_or_else(|| SinkError::bug("commit before recover"))?;
        let rows = match staged {
            None => Vec::new(),
            Some(staged) => *staged
                .payload
                .downcast::<Vec<RecordBatch>>()
                .map_err(|_| SinkError::bug("a window of another sink"))?,
        };
        self.store.step("commit")?;
        // Somebody else may come in between: a test that relies on not waiting here would prove nothing.
        tokio::task::yield_now().await;
        let mut inner = self.store.inner();
        if inner.runs.get(&self.instance) != Some(&run) {
            return Err(SinkError::new(Reaction::Fenced, format!("a later run of instance `{}` began", self.instance)));
        }
        let unknown = || SinkError::unknown("injected: the answer was lost");
        match inner.faults.pop_front() {
            Some(Injected::NotLandedUnknown) => return Err(unknown()),
            Some(Injected::Late) => {
                let (instance, ranges) = (self.instance.clone(), ranges.clone());
                inner.late.push(Late { instance, run, rows, ranges });
                return Err(unknown());
            }
            Some(Injected::LandedUnknown) => {
                let _ = inner.land(rows, ranges);
                return Err(unknown());
            }
            None => {}
        }
        Ok(match inner.land(rows, ranges) {
            Ok(rows) => Commit::Landed(Receipt { rows, bytes: 0, files: 0, id: inner.commits.len().to_string() }),
            Err(found) => Commit::Lost(found),
        })
    }
}

#[derive(Debug)]
struct MemoryStaging {
    store: MemoryStore,
    rows: Vec<RecordBatch>,
}

#[async_trait]
impl Staging for MemoryStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        self.store.step("write")?;
        self.store.check(std::slice::from_ref(&rows), Refusal::AtWrite)?;
        self.rows.push(rows);
        Ok(())
    }

    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        self.store.step("seal")?;
        self.store.check(&self.rows, Refusal::AtSeal)?;
        let rows = self.rows.iter().map(|r| r.num_rows() as u64).sum();
        let bytes = self.rows.iter().map(|r| r.get_array_memory_size() as u64).sum();
        Ok(Staged { rows, bytes, files: 0, payload: Box::new(self.rows) })
    }
}
