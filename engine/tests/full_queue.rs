//! What the group says while records wait for room in the queue: no position passes over a record that was given up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::clock::Clock;
use tidemill_engine::control::Control;
use tidemill_engine::intake::{ChunkLimits, Intake, Keep};
use tidemill_engine::job::{self, JobEnd, JobSpec, Limits, OnError, Restart};
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::progress::Progress;
use tidemill_engine::sink::{Commit, Sink, SinkError, Staged, Staging};
use tidemill_engine::source::{Source, SourceError, SourceEvent};
use tidemill_engine::testkit::{MemorySink, MemoryStore};
use tidemill_engine::window::WindowBounds;
use tokio::sync::Semaphore;

use support::{AllPlaces, NoMarks};

const CHUNK: i64 = 10;
/// One is written and one queued; the third waits for room.
const FULL: i64 = 2 * CHUNK;
const RECORDS: i64 = 100;

fn partition() -> Partition {
    Partition::new("t", 0)
}

/// What happens besides, while the third chunk waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// Nothing: the window's bounds cut it.
    Bounds,
    Stop,
    Pause,
    Cut,
    /// The group has asked for the partitions back.
    Revoke(Duration),
    /// The source has come to its end.
    End,
}

/// Offsets `0..RECORDS`. The first run meets a sink that takes nothing until the assignment is lost or the run over.
struct Troubled {
    at: i64,
    beside: Beside,
    /// What `idle` says while the third chunk waits, one after the other, the last again and again.
    says: Vec<SourceEvent>,
    over: bool,
    takes: Arc<Semaphore>,
    control: Control,
}

impl Troubled {
    fn sink_takes(&self) {
        if self.takes.available_permits() == 0 {
            self.takes.add_permits(1000);
        }
    }
}

impl Source for Troubled {
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
        while self.at < RECORDS && intake.has_room() {
            intake.push(0, self.at, Some(self.at), Some(b"x"), None, []);
            self.at += 1;
            // The third chunk is not full.
            if self.at == FULL + 5 && !self.over {
                match self.beside {
                    Beside::Revoke(deadline) => return Ok(SourceEvent::Revoked { deadline }),
                    Beside::End => return Ok(SourceEvent::End),
                    _ => {}
                }
            }
        }
        Ok(if self.at == RECORDS { SourceEvent::End } else { SourceEvent::Continue })
    }
    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        if self.over {
            self.control.resume();
        }
        if self.over || self.at <= FULL {
            return Ok(SourceEvent::Continue);
        }
        match self.beside {
            Beside::Stop => self.control.drain("a test"),
            Beside::Pause => self.control.pause("a test"),
            Beside::Cut => self.control.cut(),
            Beside::Bounds | Beside::Revoke(_) | Beside::End => {}
        }
        let event = if self.says.len() > 1 { self.says.remove(0) } else { self.says[0] };
        if event == SourceEvent::Lost {
            // From now on there is room for whatever comes next.
            self.sink_takes();
        }
        Ok(event)
    }
    fn end_run(&mut self) {
        self.over = true;
        self.sink_takes();
    }
    fn landed(&mut self, _: &Positions) {}
    fn ends(&self) -> BTreeMap<Partition, i64> {
        BTreeMap::new()
    }
    fn close(&mut self) {}
}

/// A sink that takes rows only when there is a permit.
struct Slow {
    inner: MemorySink,
    takes: Arc<Semaphore>,
}

struct SlowStaging {
    inner: Box<dyn Staging>,
    takes: Arc<Semaphore>,
}

#[async_trait]
impl Sink for Slow {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.inner.recover(partitions).await
    }
    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        Ok(Box::new(SlowStaging { inner: self.inner.open().await?, takes: self.takes.clone() }))
    }
    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        self.inner.commit(staged, ranges).await
    }
}

#[async_trait]
impl Staging for SlowStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        drop(self.takes.acquire().await);
        self.inner.write(rows).await
    }
    async fn seal(self: Box<Self>) -> Result<Staged, SinkError> {
        self.inner.seal().await
    }
}

/// Runs a job with windows of so many records, and checks that every record below the position held is there once.
/// Answers how it ended, and how far it came.
fn run(beside: Beside, says: &[SourceEvent], max_rows: i64) -> (JobEnd, i64) {
    let (takes, control, store) = (Arc::new(Semaphore::new(0)), Control::default(), MemoryStore::new());
    let max_rows = max_rows.unsigned_abs();
    let source =
        Troubled { at: 0, beside, says: says.to_vec(), over: false, takes: takes.clone(), control: control.clone() };
    let source = Mutex::new(Some(Box::new(source) as Box<dyn Source>));
    let (to, hour) = (store.clone(), Duration::from_secs(3600));
    let spec = JobSpec {
        name: "j".into(),
        source: Box::new(move || source.lock().unwrap().take().ok_or_else(|| SourceError::person("a second source"))),
        format: Arc::new(AllPlaces),
        operators: vec![],
        sink: Box::new(move |_| Ok(Box::new(Slow { inner: to.sink("a"), takes: takes.clone() }) as Box<dyn Sink>)),
        dead_letter: None,
        on_error: OnError::Fail,
        max_errors_per_minute: None,
        bounds: BoundsHandle::new(WindowBounds { max_age: hour, max_rows, max_bytes: 1 << 20, idle: None }),
        tuning: None,
        keep: Keep { key: false, headers: false },
        limits: Limits {
            chunk: ChunkLimits { bytes: 1 << 16, records: CHUNK as usize },
            queued_chunks: 1,
            decode_ahead: 1,
        },
        restart: Restart::default(),
        marks: Box::new(NoMarks),
        clock: Clock::system(),
    };
    let progress = Arc::new(Progress::new("j", Clock::system()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let job = job::spawn(spec, progress, runtime.handle().clone(), control.clone()).unwrap();
    let (over, is_over) = sync_channel(1);
    std::thread::spawn(move || over.send(job.join().unwrap()));
    let end = is_over.recv_timeout(Duration::from_secs(30));
    control.drain("the test is over");
    control.stop.now.cancel();
    let end = end.expect("the run ends");
    let position = store.positions().offset(&partition()).unwrap_or(0);
    let found: Vec<i64> = store.keys().into_iter().map(|(_, _, offset)| offset).collect();
    assert_eq!(found, (0..position).collect::<Vec<_>>(), "every record below the position is there once");
    (end, position)
}

/// The assignment is lost while the third chunk waits, and then there is room.
fn loses(beside: Beside, max_rows: i64) {
    let (end, position) = run(beside, &[SourceEvent::Lost], max_rows);
    match beside {
        Beside::Stop => assert_eq!((end, position), (JobEnd::Stopped, 0), "what was lost is not committed"),
        _ => assert_eq!((end, position), (JobEnd::Finished, RECORDS), "the next run reads it again"),
    }
}

#[test]
fn a_loss_before_a_stop() {
    loses(Beside::Stop, RECORDS);
}

#[test]
fn a_loss_before_a_pause() {
    loses(Beside::Pause, RECORDS);
}

/// Whether the pipeline saw the cut before it was given up was a matter of luck.
#[test]
fn a_loss_before_a_cut_that_somebody_asks_for() {
    for _ in 0..20 {
        loses(Beside::Cut, RECORDS);
    }
}

#[test]
fn a_loss_in_the_middle_of_a_cut() {
    for _ in 0..20 {
        loses(Beside::Bounds, FULL + CHUNK);
    }
}

#[test]
fn a_loss_in_the_middle_of_a_revocation() {
    loses(Beside::Revoke(Duration::from_secs(20)), RECORDS);
}

#[test]
fn a_loss_at_the_end_of_the_source() {
    loses(Beside::End, RECORDS);
}

const SOON: SourceEvent = SourceEvent::Revoked { deadline: Duration::from_millis(300) };
const LATER: SourceEvent = SourceEvent::Revoked { deadline: Duration::from_secs(3600) };

/// The sink takes nothing as long as the run lasts.
fn revoked(beside: Beside, says: &[SourceEvent]) {
    assert_eq!(run(beside, says, RECORDS), (JobEnd::Finished, RECORDS), "the next run reads it again");
}

#[test]
fn the_deadline_of_a_revocation_holds_while_a_chunk_waits_for_room() {
    revoked(Beside::Bounds, &[SOON]);
}

#[test]
fn the_deadline_of_a_revocation_holds_while_its_last_chunk_waits_for_room() {
    revoked(Beside::Revoke(Duration::from_millis(300)), &[SOON]);
}

#[test]
fn the_deadline_of_a_revocation_holds_at_the_end_and_beside_a_pause() {
    revoked(Beside::End, &[SOON]);
    revoked(Beside::Pause, &[SOON]);
}

#[test]
fn a_revocation_that_turns_into_a_loss_ends_the_run_at_once() {
    revoked(Beside::Bounds, &[LATER, SourceEvent::Lost]);
}
