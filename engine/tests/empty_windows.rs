//! Windows without rows: their positions wait for the next commit, and for no longer than a minute.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::clock::Clock;
use tidemill_engine::control::Control;
use tidemill_engine::format::{Decoded, Decoder, Format};
use tidemill_engine::intake::{ChunkLimits, Intake, Keep};
use tidemill_engine::job::{self, JobEnd, JobSpec, Limits, OnError, Restart};
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::progress::Progress;
use tidemill_engine::sink::Sink;
use tidemill_engine::source::{Source, SourceError, SourceEvent};
use tidemill_engine::testkit::MemoryStore;
use tidemill_engine::window::WindowBounds;

use support::NoMarks;

const WINDOW: u64 = 10;

fn partition() -> Partition {
    Partition::new("t", 0)
}

/// Offsets `0..end`, one window at a time; at `late` the clock has gone on by more than a minute.
struct Windows {
    at: i64,
    end: i64,
    late: Option<i64>,
    clock: Clock,
    progress: Arc<Progress>,
}

impl Source for Windows {
    fn assignment(&mut self, _: Duration) -> Result<Option<Vec<Partition>>, SourceError> {
        Ok(Some(vec![partition()]))
    }
    fn start_positions(&mut self, of: &[Partition], _: bool) -> Result<Positions, SourceError> {
        Ok(of.iter().map(|p| (p.clone(), Position::at(0))).collect())
    }
    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError> {
        self.at = positions[0].1.offset;
        Ok(OffsetRanges::default())
    }
    fn poll(&mut self, intake: &mut Intake, _: Duration) -> Result<SourceEvent, SourceError> {
        // The window before is dealt with first, so that each history is the same.
        let dealt = self.progress.snapshot();
        if dealt.passed.offset(&partition()) != Some(self.at) {
            std::thread::sleep(Duration::from_millis(1));
            return Ok(SourceEvent::Continue);
        }
        assert_eq!(dealt.pending_since, None, "nothing is pending while it waits");
        if self.at >= self.end {
            return Ok(SourceEvent::End);
        }
        if self.late == Some(self.at) {
            self.clock.advance(Duration::from_secs(61));
        }
        for _ in 0..WINDOW {
            intake.push(0, self.at, Some(self.at), Some(b"x"), None, []);
            self.at += 1;
        }
        Ok(SourceEvent::Continue)
    }
    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(SourceEvent::Continue)
    }
    fn end_run(&mut self) {}
    fn landed(&mut self, _: &Positions) {}
    fn ends(&self) -> BTreeMap<Partition, i64> {
        BTreeMap::new()
    }
    fn close(&mut self) {}
}

/// A row for each of the offsets, none for the rest.
struct Chosen(Vec<i64>);

impl Format for Chosen {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("offset", DataType::Int64, false)]))
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Chosen(self.0.clone()))
    }
}

impl Decoder for Chosen {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let offsets: Int64Array = chunk.iter().map(|r| r.offset).filter(|o| self.0.contains(o)).map(Some).collect();
        let rows = RecordBatch::try_new(Format::schema(self), vec![Arc::new(offsets)]).expect("as the schema says");
        Decoded { rows, records: None, rejects: vec![], tombstones_skipped: 0 }
    }
}

/// The ends of the commits of a job that reads `0..end` in windows of ten and makes a row of each of `rows`.
fn commits(end: i64, rows: &[i64], late: Option<i64>) -> Vec<i64> {
    let store = MemoryStore::new();
    let clock = Clock::held(0);
    let progress = Arc::new(Progress::new("j", clock.clone()));
    let bounds = WindowBounds { max_age: Duration::from_secs(3600), max_rows: WINDOW, max_bytes: 1 << 20, idle: None };
    let sink_of = store.clone();
    let (source_clock, source_progress) = (clock.clone(), progress.clone());
    let spec = JobSpec {
        name: "j".into(),
        source: Box::new(move || {
            let (clock, progress) = (source_clock.clone(), source_progress.clone());
            Ok(Box::new(Windows { at: 0, end, late, clock, progress }))
        }),
        format: Arc::new(Chosen(rows.to_vec())),
        operators: vec![],
        sink: Box::new(move |_| Ok(Box::new(sink_of.sink("a")) as Box<dyn Sink>)),
        dead_letter: None,
        on_error: OnError::Skip,
        max_errors_per_minute: None,
        bounds: BoundsHandle::new(bounds),
        tuning: None,
        keep: Keep { key: false, headers: false },
        limits: Limits { chunk: ChunkLimits { bytes: 1 << 16, records: 50 }, queued_chunks: 1, decode_ahead: 3 },
        restart: Restart::default(),
        marks: Box::new(NoMarks),
        clock,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let job = job::spawn(spec, progress.clone(), runtime.handle().clone(), Control::default()).unwrap();
    assert_eq!(job.join().unwrap(), JobEnd::Finished);
    assert_eq!(store.positions().offset(&partition()), Some(end), "a job that ends commits what waited");
    let taken: u64 = progress.snapshot().commits.iter().map(|c| c.records).sum();
    assert_eq!(taken, end.unsigned_abs(), "no record is told of twice, or not at all");
    let commits = store.commits();
    assert_eq!(commits.iter().skip(1).map(|c| c.0[&partition()].start).collect::<Vec<_>>(), {
        let mut starts: Vec<_> = commits.iter().map(|c| Some(c.0[&partition()].end)).collect();
        starts.pop();
        starts
    });
    commits.iter().skip(1).map(|c| c.0[&partition()].end).collect()
}

#[test]
fn positions_of_windows_without_rows_go_with_the_next_rows_or_with_the_end() {
    assert_eq!(commits(50, &[], None), [50]);
    assert_eq!(commits(60, &[35], None), [40, 60]);
    assert_eq!(commits(40, &[5, 15, 25, 35], None), [10, 20, 30, 40]);
}

#[test]
fn they_do_not_wait_longer_than_a_minute() {
    assert_eq!(commits(60, &[], Some(30)), [40, 60]);
}
