//! Jobs under seeded trouble, on the memory sink: rebalances, lost assignments, commits whose answer is lost (landed or
//! not), failing steps, and two owners of the same partitions at once. Every record is there once, whatever happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::clock::Clock;
use tidemill_engine::control::Control;
use tidemill_engine::format::{Decoded, Decoder, Format, Reject, Stage};
use tidemill_engine::gate::{CommitGate, GatedSink};
use tidemill_engine::intake::{ChunkLimits, Intake, Keep};
use tidemill_engine::job::{self, JobEnd, JobSpec, Limits, MakeSink, OnError, Restart};
use tidemill_engine::mark::{Mark, MarkStore};
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::progress::Progress;
use tidemill_engine::scheduler::CommitLimits;
use tidemill_engine::sink::Sink;
use tidemill_engine::source::{Source, SourceError, SourceEvent};
use tidemill_engine::testkit::{Injected, MemoryStore, Refusal};
use tidemill_engine::window::WindowBounds;

use support::AllPlaces;

const PARTITIONS: i32 = 3;
const RECORDS: i64 = 600;
/// One record in so many is refused.
const BAD: i64 = 7;

fn partitions() -> Vec<Partition> {
    (0..PARTITIONS).map(|i| Partition::new("t", i)).collect()
}

/// Offsets `0..RECORDS` of each partition, every fifth a hole; loses its assignment now and then.
struct Troubled {
    random: SmallRng,
    at: Vec<i64>,
    troubles: u32,
}

impl Source for Troubled {
    fn assignment(&mut self, _: Duration) -> Result<Option<Vec<Partition>>, SourceError> {
        Ok(Some(partitions()))
    }
    fn start_positions(&mut self, of: &[Partition], _: bool) -> Result<Positions, SourceError> {
        Ok(of.iter().map(|p| (p.clone(), Position::at(0))).collect())
    }
    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError> {
        self.at = positions.iter().map(|(_, at)| at.offset).collect();
        Ok(OffsetRanges::default())
    }
    fn poll(&mut self, intake: &mut Intake, _: Duration) -> Result<SourceEvent, SourceError> {
        if self.troubles > 0 && self.random.random_bool(0.03) {
            self.troubles -= 1;
            return match self.random.random_range(0..3) {
                0 => Ok(SourceEvent::Lost),
                1 => Ok(SourceEvent::Revoked { deadline: Duration::from_millis(self.random.random_range(0..20)) }),
                _ => Err(SourceError::retry("the broker is away")),
            };
        }
        for _ in 0..self.random.random_range(1..40) {
            let slot = self.random.random_range(0..self.at.len());
            let offset = self.at[slot];
            if offset < RECORDS && intake.has_room() {
                self.at[slot] += 1;
                if offset % 5 != 4 {
                    intake.push(slot as u32, offset, Some(offset), Some(b"x"), None, []);
                }
            }
        }
        let end = self.at.iter().all(|at| *at >= RECORDS);
        Ok(if end { SourceEvent::End } else { SourceEvent::Continue })
    }
    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(SourceEvent::Continue)
    }
    fn end_run(&mut self) {}
    fn landed(&mut self, _: &Positions) {}
    fn ends(&self) -> BTreeMap<Partition, i64> {
        partitions().into_iter().map(|p| (p, RECORDS)).collect()
    }
    fn close(&mut self) {}
}

/// Rows of places; refuses one record in [`BAD`].
struct Places;

impl Format for Places {
    fn schema(&self) -> SchemaRef {
        AllPlaces.schema()
    }
    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Places)
    }
}

impl Decoder for Places {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let (bad, good): (Vec<_>, Vec<_>) = chunk.iter().partition(|r| r.offset % BAD == 0);
        let reject = |record| Reject { record, stage: Stage::Decode, cause: "bad", error: "bad".into() };
        let rows = AllPlaces::rows(&good);
        let rejects = bad.iter().map(|r| reject(r.to_owned_record())).collect();
        Decoded { rows, records: None, rejects, tombstones_skipped: 0 }
    }
}

#[derive(Default)]
struct Marks(Mutex<Option<Mark>>);

impl MarkStore for Marks {
    fn load(&self) -> Result<Option<Mark>, String> {
        Ok(self.0.lock().expect("not poisoned").clone())
    }
    fn store(&self, mark: &Mark) -> Result<(), String> {
        *self.0.lock().expect("not poisoned") = Some(mark.clone());
        Ok(())
    }
}

fn spec(seed: u64, instance: &'static str, store: &MemoryStore, dead: &MemoryStore) -> JobSpec {
    let (store, dead) = (store.clone(), dead.clone());
    let mut random = SmallRng::seed_from_u64(seed);
    let bounds = WindowBounds {
        max_age: Duration::from_millis(5),
        max_rows: random.random_range(20..300),
        max_bytes: 1 << 20,
        idle: None,
    };
    let random = Mutex::new(random);
    JobSpec {
        name: format!("{instance}{seed}"),
        source: Box::new(move || {
            let random = SmallRng::seed_from_u64(random.lock().expect("not poisoned").random());
            Ok(Box::new(Troubled { random, at: vec![], troubles: 2 }))
        }),
        format: Arc::new(Places),
        operators: vec![],
        sink: Box::new(move |_| Ok(Box::new(store.sink(instance)) as Box<dyn Sink>)),
        dead_letter: Some(Box::new(move |_| Ok(Box::new(dead.sink(instance)) as Box<dyn Sink>))),
        on_error: OnError::DeadLetter,
        max_errors_per_minute: None,
        bounds: BoundsHandle::new(bounds),
        tuning: None,
        keep: Keep { key: false, headers: false },
        limits: Limits { chunk: ChunkLimits { bytes: 1 << 16, records: 50 }, queued_chunks: 1, decode_ahead: 3 },
        restart: Restart::default(),
        marks: Box::new(Marks::default()),
        clock: Clock::system(),
    }
}

/// A sink that waits for its turn to commit.
fn gated(make: MakeSink, gate: &CommitGate, progress: &Arc<Progress>) -> MakeSink {
    let (gate, progress) = (gate.clone(), progress.clone());
    Box::new(move |over| {
        let (inner, gate, progress, over) = (make(over)?, gate.clone(), progress.clone(), over.clone());
        Ok(Box::new(GatedSink { inner, gate, progress, over }))
    })
}

/// Runs `owners` on one sink; none of them knows of the others. The sink refuses the rows of so many records.
fn history(seed: u64, owners: &[&'static str], refused: usize, orders: bool, runtime: &tokio::runtime::Runtime) {
    let (store, dead) = (MemoryStore::new(), MemoryStore::new());
    let mut random = SmallRng::seed_from_u64(seed);
    let refused: Vec<(i32, i64)> =
        (0..refused).map(|_| (random.random_range(0..PARTITIONS), random.random_range(0..RECORDS))).collect();
    for (partition, offset) in &refused {
        let when = if random.random_bool(0.5) { Refusal::AtWrite } else { Refusal::AtSeal };
        store.refuse(("t".into(), *partition, *offset), when);
    }
    for target in [&store, &dead] {
        if random.random_bool(0.6) {
            let landed = random.random_bool(0.5);
            target.inject(if landed { Injected::LandedUnknown } else { Injected::NotLandedUnknown });
        }
        target.fail_step(random.random_range(1..40));
    }
    // Two jobs may commit at once of three that want to.
    let gate = CommitGate::new(CommitLimits { concurrent: Some(2), per_minute: None }, Clock::system());
    let start = |owner: &&'static str| {
        let mut spec = spec(seed, owner, &store, &dead);
        let progress = Arc::new(Progress::new(&spec.name, spec.clock.clone()));
        if orders {
            spec.sink = gated(spec.sink, &gate, &progress);
        }
        let control = Control::default();
        let job = job::spawn(spec, progress, runtime.handle().clone(), control.clone()).expect("a thread");
        (control, job)
    };
    let jobs: Vec<_> = owners.iter().map(start).collect();
    for (control, job) in jobs {
        for _ in 0..if orders { 6 } else { 0 } {
            let wait = Duration::from_micros(random.random_range(0..8000));
            match random.random_range(0..3) {
                0 => control.cut(),
                1 => control.pause("a test"),
                _ => {
                    control.resume();
                }
            }
            std::thread::sleep(wait);
        }
        control.resume();
        assert_eq!(job.join().expect("no panic"), JobEnd::Finished, "seed {seed}");
    }
    for (what, target, bad) in [("rows", &store, false), ("dead letters", &dead, true)] {
        let expected: Vec<(i32, i64)> = (0..PARTITIONS)
            .flat_map(|p| (0..RECORDS).map(move |o| (p, o)))
            .filter(|(_, o)| o % 5 != 4)
            .filter(|place| (place.1 % BAD == 0 || refused.contains(place)) == bad)
            .collect();
        let mut found: Vec<(i32, i64)> = target.keys().into_iter().map(|(_, p, o)| (p, o)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{what} of seed {seed}");
    }
}

fn run(seeds: std::ops::Range<u64>, owners: &'static [&'static str], refused: usize, orders: bool) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let (runtime, seeds) = (&runtime, seeds.clone());
            scope.spawn(move || {
                seeds.filter(|s| s % 8 == lane).for_each(|seed| history(seed, owners, refused, orders, runtime))
            });
        }
    });
}

#[test]
fn one_owner_in_trouble() {
    run(0..80, &["a"], 0, false);
}

#[test]
fn two_owners_that_both_think_the_partitions_are_theirs() {
    run(1000..1032, &["a", "b"], 0, false);
}

#[test]
fn rows_that_the_sink_refuses_become_dead_letters_and_their_neighbours_land() {
    run(2000..2040, &["a"], 5, false);
    run(2100..2116, &["a", "b"], 3, false);
}

#[test]
fn a_refused_row_stops_the_job_with_the_place_of_its_record() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for when in [Refusal::AtWrite, Refusal::AtSeal] {
        let (store, dead) = (MemoryStore::new(), MemoryStore::new());
        store.refuse(("t".into(), 1, 123), when);
        // Without the records that the format refuses, which would stop the job before.
        let spec = JobSpec { on_error: OnError::Fail, format: Arc::new(AllPlaces), ..spec(7, "a", &store, &dead) };
        let progress = Arc::new(Progress::new(&spec.name, spec.clock.clone()));
        let job = job::spawn(spec, progress, runtime.handle().clone(), Control::default()).expect("a thread");
        let JobEnd::Failed(why) = job.join().expect("no panic") else { panic!("it goes on") };
        assert!(why.contains("t/1 offset 123: sink refused the record: injected"), "{why}");
        assert_eq!(store.positions().offset(&Partition::new("t", 1)), Some(123), "everything before it landed");
    }
}

/// What is read again is refused again: after a rebalance, and in the halves of a window that the sink refuses.
#[test]
fn a_refused_record_counts_once_for_the_limit() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let refused = [(0, 101), (1, 13), (1, 303), (2, 302)];
    let bad = (0..RECORDS).filter(|o| o % 5 != 4 && o % BAD == 0).count() as u64 * PARTITIONS as u64;
    for seed in 4000..4008 {
        for (limit, holds) in [(bad + refused.len() as u64, true), (bad + refused.len() as u64 - 1, false)] {
            let (store, dead) = (MemoryStore::new(), MemoryStore::new());
            for (partition, offset) in refused {
                store.refuse(("t".into(), partition, offset), Refusal::AtSeal);
            }
            let spec = JobSpec { max_errors_per_minute: Some(limit), ..spec(seed, "a", &store, &dead) };
            let progress = Arc::new(Progress::new(&spec.name, spec.clock.clone()));
            let job = job::spawn(spec, progress.clone(), runtime.handle().clone(), Control::default());
            match job.expect("a thread").join().expect("no panic") {
                JobEnd::Finished => assert!(holds, "seed {seed}: it counts too few"),
                JobEnd::Failed(why) => assert!(!holds, "seed {seed}: it counts too many: {why}"),
                JobEnd::Stopped => panic!("nobody stopped it"),
            }
            assert_eq!(progress.snapshot().rejects, bad + refused.len() as u64, "seed {seed}");
        }
    }
}

#[test]
fn jobs_that_are_paused_cut_and_let_go_on_behind_one_gate() {
    run(3000..3040, &["a", "b", "c"], 0, true);
}

/// Loses its assignment for good as soon as the job waits for its turn to commit.
struct LostInLine {
    inner: Troubled,
    progress: Arc<Progress>,
    lost: Arc<AtomicBool>,
}

impl Source for LostInLine {
    fn assignment(&mut self, timeout: Duration) -> Result<Option<Vec<Partition>>, SourceError> {
        if self.lost.load(Ordering::Acquire) {
            std::thread::sleep(timeout);
            return Ok(None);
        }
        self.inner.assignment(timeout)
    }
    fn start_positions(&mut self, of: &[Partition], first: bool) -> Result<Positions, SourceError> {
        self.inner.start_positions(of, first)
    }
    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError> {
        self.inner.begin(positions)
    }
    fn poll(&mut self, intake: &mut Intake, timeout: Duration) -> Result<SourceEvent, SourceError> {
        let event = self.idle()?;
        if event == SourceEvent::Continue {
            // Something is still to come, however much was read.
            self.inner.poll(intake, timeout)?;
        }
        Ok(event)
    }
    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        let waits = self.progress.snapshot().waits_to_commit;
        Ok(if waits { SourceEvent::Lost } else { SourceEvent::Continue })
    }
    fn end_run(&mut self) {
        self.lost.store(true, Ordering::Release);
    }
    fn landed(&mut self, _: &Positions) {}
    fn ends(&self) -> BTreeMap<Partition, i64> {
        BTreeMap::new()
    }
    fn close(&mut self) {}
}

fn within_seconds(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within ten seconds: {what}");
}

#[test]
fn a_run_that_is_over_does_not_stand_in_line_any_more() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (store, dead) = (MemoryStore::new(), MemoryStore::new());
    let gate = CommitGate::new(CommitLimits { concurrent: Some(1), per_minute: None }, Clock::system());
    let taken = runtime.block_on(gate.turn());
    let mut spec = spec(5, "a", &store, &dead);
    let progress = Arc::new(Progress::new(&spec.name, spec.clock.clone()));
    spec.sink = gated(spec.sink, &gate, &progress);
    let lost = Arc::new(AtomicBool::new(false));
    let (of_job, is_lost) = (progress.clone(), lost.clone());
    spec.source = Box::new(move || {
        let inner = Troubled { random: SmallRng::seed_from_u64(5), at: vec![], troubles: 0 };
        Ok(Box::new(LostInLine { inner, progress: of_job.clone(), lost: is_lost.clone() }))
    });
    let control = Control::default();
    let job = job::spawn(spec, progress.clone(), runtime.handle().clone(), control.clone()).expect("a thread");
    within_seconds("lost", || lost.load(Ordering::Acquire));
    within_seconds("out of the line", || !progress.snapshot().waits_to_commit);
    let commits = store.commits().len();
    drop(taken);
    // Whoever is in line now has its turn before this one is over.
    drop(runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), gate.turn()).await }).expect("a turn"));
    control.drain("a test");
    assert_eq!(job.join().expect("no panic"), JobEnd::Stopped);
    assert_eq!(store.commits().len(), commits, "it never got to its sink");
}
