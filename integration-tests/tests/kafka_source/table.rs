//! The least of an engine: a table that takes rows and positions in one step, by comparing and appending.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_connectors::kafka::KafkaSource;
use tidemill_engine::intake::{ChunkLimits, Intake, Keep};
use tidemill_engine::partition::{Partition, Position, Positions};
use tidemill_engine::source::{Source, SourceError, SourceEvent};

pub const LIMITS: ChunkLimits = ChunkLimits { bytes: 4 << 20, records: 50_000 };
pub const KEEP: Keep = Keep { key: false, headers: false };

/// Rows and positions that move in one step, if and only if the position is the one expected.
#[derive(Default)]
pub struct Table {
    pub positions: Positions,
    pub rows: BTreeMap<Partition, Vec<i64>>,
}

pub type Shared = Arc<Mutex<Table>>;

pub struct Run {
    pub intake: Intake,
    starts: Vec<(Partition, i64)>,
    rows: Vec<(Partition, i64)>,
    pub committed: usize,
}

impl Run {
    pub fn take(&mut self) -> usize {
        let chunk = self.intake.take_chunk(None);
        self.rows.extend(chunk.iter().map(|r| (r.partition.clone(), r.offset)));
        chunk.len()
    }

    pub fn commit(&mut self, table: &Shared) -> bool {
        self.take();
        let mut table = table.lock().unwrap();
        if self.starts.iter().any(|(p, at)| table.positions.offset(p) != Some(*at)) {
            return false;
        }
        for (slot, (partition, at)) in self.starts.iter_mut().enumerate() {
            *at = self.intake.expected(u32::try_from(slot).unwrap());
            table.positions.set(partition.clone(), Position::at(*at));
        }
        self.committed += self.rows.len();
        for (partition, offset) in self.rows.drain(..) {
            table.rows.entry(partition).or_default().push(offset);
        }
        true
    }
}

pub fn begin(source: &mut KafkaSource, table: &Shared, until: Instant) -> Result<Option<Run>, SourceError> {
    let assigned = loop {
        match source.assignment(Duration::from_millis(100))? {
            Some(assigned) => break assigned,
            None if Instant::now() > until => return Ok(None),
            None => {}
        }
    };
    let missing: Vec<_> =
        assigned.iter().filter(|p| table.lock().unwrap().positions.get(p).is_none()).cloned().collect();
    if !missing.is_empty() {
        let first = table.lock().unwrap().positions.is_empty();
        let found = source.start_positions(&missing, first)?;
        let mut table = table.lock().unwrap();
        for (p, at) in found.iter().filter(|(p, _)| table.positions.get(p).is_none()).collect::<Vec<_>>() {
            table.positions.set(p.clone(), at.clone());
        }
    }
    let starts: Vec<_> = {
        let table = table.lock().unwrap();
        assigned.iter().map(|p| (p.clone(), table.positions.get(p).unwrap().clone())).collect()
    };
    let lost = source.begin(&starts)?;
    let starts: Vec<_> = starts.into_iter().map(|(p, at)| (p, at.offset)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    Ok(Some(Run { intake: Intake::new(&starts, LIMITS, KEEP), starts, rows: Vec::new(), committed: 0 }))
}

/// Works as the engine does until the source ends, `stop` says so, or time is up. Rows committed by run.
pub fn work(source: &mut KafkaSource, table: &Shared, stop: &dyn Fn() -> bool, limit: Duration) -> Vec<usize> {
    try_work(source, table, stop, Instant::now() + limit).unwrap()
}

/// The same, with the source's error.
pub fn try_work(
    source: &mut KafkaSource,
    table: &Shared,
    stop: &dyn Fn() -> bool,
    until: Instant,
) -> Result<Vec<usize>, SourceError> {
    let mut runs = Vec::new();
    while let Some(mut run) = begin(source, table, until)? {
        let over = one_run(source, &mut run, table, stop, until)?;
        runs.push(run.committed);
        if over {
            break;
        }
    }
    Ok(runs)
}

/// True when there is nothing more to do.
fn one_run(
    source: &mut KafkaSource,
    run: &mut Run,
    table: &Shared,
    stop: &dyn Fn() -> bool,
    until: Instant,
) -> Result<bool, SourceError> {
    let mut committed = Instant::now();
    loop {
        let event = source.poll(&mut run.intake, Duration::from_millis(20))?;
        let stopped = stop() || Instant::now() > until;
        match event {
            SourceEvent::Continue => {}
            SourceEvent::End => {
                assert!(run.commit(table), "nobody else writes to a bounded job's table");
                return Ok(true);
            }
            SourceEvent::Revoked { deadline } => {
                assert!(deadline > Duration::ZERO);
                run.commit(table);
                source.end_run();
                return Ok(stopped);
            }
            SourceEvent::Lost => {
                source.end_run();
                return Ok(stopped);
            }
        }
        run.take();
        if committed.elapsed() > Duration::from_millis(200) || stopped {
            committed = Instant::now();
            if !run.commit(table) {
                source.end_run();
                return Ok(stopped);
            }
            let landed = table.lock().unwrap().positions.clone();
            source.landed(&landed);
        }
        if stopped {
            return Ok(true);
        }
    }
}

/// Every offset below `n` of every partition once and in order.
pub fn assert_complete(table: &Shared, topic: &str, partitions: i32, n: usize) {
    let table = table.lock().unwrap();
    for p in 0..partitions {
        let rows = table.rows.get(&Partition::new(topic, p)).map(Vec::as_slice).unwrap_or_default();
        let wrong = rows.iter().enumerate().find(|(i, at)| i64::try_from(*i).unwrap() != **at);
        assert!(wrong.is_none(), "{topic}/{p}: row {wrong:?}");
        assert_eq!(rows.len(), n, "{topic}/{p}");
    }
}
