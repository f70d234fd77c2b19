//! What a job publishes about itself for whoever wants to look: metrics, the API, the progress line, the cutter.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::demand::Demand;
use crate::forecast::Forecast;
use crate::metrics::JobMetrics;
use crate::partition::{Partition, Positions};
use crate::protocol::Answer;
use crate::sink::Receipt;
use crate::window::Cause;

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Not begun: other jobs come first.
    Waiting,
    /// Connecting, asking the sink for positions.
    Starting,
    /// Reading.
    Running,
    /// Everything read is committed, nothing more is taken, its partitions stay here.
    Paused,
    /// As paused, but by the supervisor and until what it waits for is there: room on a disk.
    Held,
    /// Told to stop: committing what it has.
    Draining,
    /// Waiting to start again after an error.
    BackingOff,
    /// Needs a person; does not try again by itself.
    Failed,
    /// A bounded job that has done everything.
    Finished,
    /// Drained: stopped in order.
    Stopped,
}

impl JobState {
    /// All names, in the order of the states.
    pub const NAMES: [&str; 10] = [
        "waiting",
        "starting",
        "running",
        "paused",
        "held",
        "draining",
        "backing_off",
        "failed",
        "finished",
        "stopped",
    ];

    /// Its name in metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// True when the job does nothing any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Failed | Self::Finished | Self::Stopped)
    }
}

/// A commit that landed.
#[derive(Clone, Debug, Serialize)]
pub struct CommitInfo {
    /// Wall time it landed, ms since the epoch.
    pub at_ms: i64,
    /// Its name in the sink.
    pub id: String,
    /// Why its window was cut.
    pub cause: &'static str,
    /// Records in its ranges.
    pub records: u64,
    /// Rows made visible.
    pub rows: u64,
    /// Bytes made visible.
    pub bytes: u64,
    /// Files made visible.
    pub files: u64,
    /// Seconds from cut to visible.
    pub seconds: f64,
    /// Seconds between the oldest record's broker timestamp and visible.
    pub freshness_seconds: Option<f64>,
}

/// A look at a job.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// State.
    pub state: JobState,
    /// Wall time of the last change of state, ms since the epoch.
    pub since_ms: i64,
    /// Why it is in this state, for a person.
    pub why: String,
    /// Positions as the sink holds them, of the partitions assigned here.
    pub positions: Positions,
    /// As `positions`, or further where windows without rows wait for the next commit: everything before is dealt with.
    pub passed: Positions,
    /// Newest known ends of the partitions assigned here.
    pub ends: BTreeMap<Partition, i64>,
    /// The last commits, newest last; at most [`KEPT_COMMITS`].
    pub commits: VecDeque<CommitInfo>,
    /// Wall time and text of the last error.
    pub last_error: Option<(i64, String)>,
    /// Wall times of the last errors that ended a run, newest last; at most [`KEPT_ERRORS`].
    pub errors: VecDeque<i64>,
    /// A sealed window waits for its turn to be committed.
    pub waits_to_commit: bool,
    /// Wall time of the next attempt, while backing off.
    pub next_try_ms: Option<i64>,
    /// Records taken since the job started in this process.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Rows made visible.
    pub rows: u64,
    /// Records refused.
    pub rejects: u64,
    /// Files made visible.
    pub files: u64,
    /// Commits landed.
    pub landed: u64,
    /// Runs begun.
    pub runs: u64,
    /// Why the job was found to do nothing; `None` from the first commit after that on, or once there is nothing to do.
    pub stalled: Option<String>,
    /// Clock reading when a reading job last turned to its source.
    pub asked_at: Duration,
    /// Clock reading when records were last taken.
    pub polled_at: Duration,
    /// Clock reading when a commit last landed (or the job began).
    pub landed_at: Duration,
    /// Clock reading since when there have been records taken and not committed; `None`: nothing pending.
    pub pending_since: Option<Duration>,
}

impl Snapshot {
    /// How many runs ended by an error within `last` before `wall_ms`; a count of [`KEPT_ERRORS`] means so many or more.
    #[must_use]
    pub fn errors_within(&self, last: Duration, wall_ms: i64) -> usize {
        let since = wall_ms.saturating_sub(i64::try_from(last.as_millis()).unwrap_or(i64::MAX));
        self.errors.iter().filter(|at| **at > since).count()
    }
}

/// How many errors a snapshot remembers the times of.
pub const KEPT_ERRORS: usize = 100;
/// How many commits a snapshot remembers.
pub const KEPT_COMMITS: usize = 20;

/// The published progress of one job.
pub struct Progress {
    clock: Clock,
    pub(crate) metrics: JobMetrics,
    /// What is asked of the job, and what it can do.
    pub demand: Demand,
    inner: Mutex<Snapshot>,
    /// Positions that the job began at in this process, and the forecast made from there.
    forecast: Mutex<(BTreeMap<Partition, i64>, Forecast)>,
    newest_ms: Mutex<BTreeMap<Partition, i64>>,
}

/// What landed of a window, as the pipeline knows it.
pub(crate) struct LandedWindow<'a> {
    pub cause: Cause,
    pub records: u64,
    pub receipt: &'a Receipt,
    pub cut_at: Duration,
    pub span_ms: Option<(i64, i64)>,
    pub newest_ms: &'a [(Partition, i64)],
    pub positions: &'a Positions,
}

/// Seconds since a broker timestamp.
#[allow(clippy::cast_precision_loss)] // seconds of freshness
fn age(wall: i64, ms: i64) -> f64 {
    (wall - ms).max(0) as f64 / 1000.0
}

/// Moves positions to those that a sink holds now, which may hold others' too.
fn take(positions: &mut Positions, held: &Positions) {
    for (partition, at) in &mut positions.0 {
        if let Some(held) = held.get(partition) {
            at.clone_from(held);
        }
    }
}

impl Progress {
    /// Progress of `job`, starting now.
    #[must_use]
    pub fn new(job: &str, clock: Clock) -> Self {
        let now = clock.now();
        let snapshot = Snapshot {
            state: JobState::Starting,
            since_ms: clock.wall_ms(),
            why: "the daemon started".into(),
            positions: Positions::default(),
            passed: Positions::default(),
            ends: BTreeMap::new(),
            commits: VecDeque::new(),
            last_error: None,
            errors: VecDeque::new(),
            waits_to_commit: false,
            next_try_ms: None,
            records: 0,
            bytes: 0,
            rows: 0,
            rejects: 0,
            files: 0,
            landed: 0,
            runs: 0,
            stalled: None,
            asked_at: now,
            polled_at: now,
            landed_at: now,
            pending_since: None,
        };
        Self {
            metrics: JobMetrics::new(job),
            demand: Demand::default(),
            clock,
            inner: Mutex::new(snapshot),
            forecast: Mutex::default(),
            newest_ms: Mutex::default(),
        }
    }

    fn update<R>(&self, f: impl FnOnce(&mut Snapshot) -> R) -> R {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A copy of what is known now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.update(|s| s.clone())
    }

    /// State without the rest.
    #[must_use]
    pub fn state(&self) -> JobState {
        self.update(|s| s.state)
    }

    /// Publishes the state and why; a supervisor's word for a job that has no thread, else the job's own.
    pub fn set_state(&self, state: JobState, why: impl Into<String>) {
        let wall = self.clock.wall_ms();
        self.metrics.state(&JobState::NAMES, state.as_str());
        self.update(|s| {
            if s.state != state {
                s.since_ms = wall;
            }
            (s.state, s.why) = (state, why.into());
            s.next_try_ms = None;
        });
    }

    pub(crate) fn error(&self, text: &str) {
        let wall = self.clock.wall_ms();
        self.metrics.run_errors.increment(1);
        self.update(|s| {
            s.last_error = Some((wall, text.to_owned()));
            if s.errors.len() == KEPT_ERRORS {
                s.errors.pop_front();
            }
            s.errors.push_back(wall);
        });
    }

    pub(crate) fn waits_to_commit(&self, waits: bool) {
        self.update(|s| s.waits_to_commit = waits);
    }

    /// Backing off until the next attempt in `pause`.
    pub(crate) fn backs_off(&self, pause: Duration, why: String) {
        self.set_state(JobState::BackingOff, why);
        let at = self.clock.wall_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        self.update(|s| s.next_try_ms = Some(at));
    }

    /// A run begins on these partitions. `held` is what the sink holds, of others too.
    pub(crate) fn run_begins<'p>(&self, here: impl Iterator<Item = &'p Partition>, held: &Positions) {
        self.metrics.runs.increment(1);
        let now = self.clock.now();
        let positions: Positions =
            here.filter_map(|partition| Some((partition.clone(), held.get(partition)?.clone()))).collect();
        for (partition, _) in positions.iter() {
            self.metrics.partition_came(partition);
        }
        self.gone(|partition| positions.get(partition).is_none());
        self.update(|s| {
            s.passed = positions.clone();
            s.positions = positions;
            s.ends.clear();
            s.runs += 1;
            s.pending_since = None;
            s.landed_at = now;
            s.polled_at = now;
            s.asked_at = now;
        });
    }

    /// The job is over, and its partitions are left to others or to nobody.
    pub(crate) fn left(&self) {
        self.gone(|_| true);
    }

    /// Partitions that were read here and are not any more: what is newest of them is another's to say.
    fn gone(&self, is_gone: impl Fn(&Partition) -> bool) {
        let mut newest = self.newest_ms.lock().unwrap_or_else(PoisonError::into_inner);
        newest.retain(|partition, _| !is_gone(partition));
        self.update(|s| {
            for (partition, _) in s.positions.iter().filter(|(partition, _)| is_gone(partition)) {
                self.metrics.partition_went(partition);
            }
        });
    }

    /// The job was found to do nothing: this is known until it has worked again.
    pub fn stalled(&self, why: impl Into<String>) {
        let why = why.into();
        self.update(|s| s.stalled = Some(why));
    }

    /// It is not to work any more: that it did not is forgotten.
    pub fn forget_stall(&self) {
        self.update(|s| s.stalled = None);
    }

    pub(crate) fn asks(&self) {
        let now = self.clock.now();
        self.update(|s| s.asked_at = now);
    }

    /// How far a bounded job is: the share of its work that is done, and the time it will still take (`None`: too early
    /// to tell). Work is what lay before it when it began in this process.
    #[must_use]
    pub fn forecast(&self) -> (f64, Option<Duration>) {
        let kept = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.1.share(), kept.1.left(self.clock.now()))
    }

    /// A commit landed, or ends became known: both move the forecast.
    fn foresee(&self) {
        let (positions, ends) = self.update(|s| (s.passed.clone(), s.ends.clone()));
        let mut kept = self.forecast.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, forecast) = &mut *kept;
        let (mut done, mut left) = (0, 0);
        for (partition, at) in positions.iter() {
            let from = *begun.entry(partition.clone()).or_insert(at.offset);
            done += u64::try_from(at.offset - from).unwrap_or(0);
            left += ends.get(partition).map_or(0, |end| u64::try_from(end - at.offset).unwrap_or(0));
        }
        if !ends.is_empty() {
            forecast.observe(self.clock.now(), done, done + left);
        }
    }

    pub(crate) fn took(&self, records: u64, bytes: u64) {
        self.metrics.records.increment(records);
        self.metrics.record_bytes.increment(bytes);
        let now = self.clock.now();
        self.update(|s| {
            s.records += records;
            s.bytes += bytes;
            s.polled_at = now;
            s.pending_since.get_or_insert(now);
        });
    }

    pub(crate) fn rejected(&self, n: u64) {
        self.update(|s| s.rejects += n);
    }

    pub(crate) fn saw_ends(&self, ends: BTreeMap<Partition, i64>) {
        let wall = self.clock.wall_ms();
        let newest = self.newest_ms.lock().unwrap_or_else(PoisonError::into_inner);
        self.update(|s| {
            s.ends = ends;
            // Another may have got its partitions and done the work.
            if s.passed.iter().all(|(p, at)| s.ends.get(p).is_some_and(|end| at.offset >= *end)) {
                s.stalled = None;
            }
            for (partition, position) in s.positions.iter() {
                let passed = s.passed.offset(partition).unwrap_or(position.offset);
                let lag = s.ends.get(partition).map(|end| (end - passed).max(0));
                #[allow(clippy::cast_precision_loss)] // seconds of lag
                let behind = newest.get(partition).map(|ms| (wall - ms).max(0) as f64 / 1000.0);
                let seconds = if lag == Some(0) { Some(0.0) } else { behind };
                self.metrics.partition(partition, position.offset, lag, seconds);
            }
        });
        self.foresee();
    }

    /// A window without rows waits for the next commit: there is nothing to make visible, and nothing pending.
    pub(crate) fn window_held_back(
        &self,
        passed: &Positions,
        span_ms: Option<(i64, i64)>,
        newest: &[(Partition, i64)],
    ) {
        self.dealt_with(span_ms, newest, self.clock.wall_ms());
        self.update(|s| {
            take(&mut s.passed, passed);
            s.pending_since = None;
        });
    }

    /// Records with these broker timestamps are visible, or nothing of them will ever be.
    fn dealt_with(&self, span_ms: Option<(i64, i64)>, newest_ms: &[(Partition, i64)], wall: i64) {
        if let Some((oldest, newest)) = span_ms {
            self.metrics.freshness.record(age(wall, oldest));
            self.metrics.freshness.record(age(wall, newest));
        }
        let mut newest = self.newest_ms.lock().unwrap_or_else(PoisonError::into_inner);
        newest.extend(newest_ms.iter().cloned());
    }

    pub(crate) fn window_landed(&self, window: &LandedWindow<'_>) {
        let (now, wall) = (self.clock.now(), self.clock.wall_ms());
        let seconds = now.saturating_sub(window.cut_at).as_secs_f64();
        let m = &self.metrics;
        m.commit(Answer::Landed);
        m.commit_seconds.record(seconds);
        m.rows.increment(window.receipt.rows);
        m.sink_bytes.increment(window.receipt.bytes);
        m.sink_files.increment(window.receipt.files);
        self.dealt_with(window.span_ms, window.newest_ms, wall);
        self.update(|s| {
            take(&mut s.positions, window.positions);
            take(&mut s.passed, window.positions);
            s.rows += window.receipt.rows;
            s.files += window.receipt.files;
            s.landed += 1;
            s.landed_at = now;
            s.pending_since = None;
            s.stalled = None;
            if s.commits.len() == KEPT_COMMITS {
                s.commits.pop_front();
            }
            s.commits.push_back(CommitInfo {
                at_ms: wall,
                id: window.receipt.id.clone(),
                cause: window.cause.as_str(),
                records: window.records,
                rows: window.receipt.rows,
                bytes: window.receipt.bytes,
                files: window.receipt.files,
                seconds,
                freshness_seconds: window.span_ms.map(|(oldest, _)| age(wall, oldest)),
            });
        });
        self.foresee();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::seen::Seen;
    use crate::partition::Position;

    #[test]
    fn a_partition_that_went_has_no_lag_here_and_keeps_its_position() {
        let (seen, clock) = (Seen::default(), Clock::held(100_000));
        let (kept, went) = (Partition::new("t", 0), Partition::new("t", 1));
        let ends = |of: &[&Partition]| of.iter().map(|p| ((*p).clone(), 9)).collect::<BTreeMap<_, _>>();
        // The sink holds positions of the whole job, whatever is assigned here.
        let held = |at| -> Positions { [&kept, &went].map(|p| (p.clone(), Position::at(at))).into_iter().collect() };
        let gauge = |name: &str, p| seen.gauge(&format!("tidemill_{name}{{job=j,topic=t,partition={p}}}"));
        metrics::with_local_recorder(&seen, || {
            let progress = Progress::new("j", clock);
            progress.run_begins([&kept, &went].into_iter(), &held(4));
            let lost = "tidemill_data_loss_records_total{job=j,topic=t,partition=1}";
            assert_eq!(seen.counter(lost), Some(0), "there before the first loss");
            progress.window_landed(&LandedWindow {
                cause: Cause::Age,
                records: 1,
                receipt: &Receipt::default(),
                cut_at: Duration::ZERO,
                span_ms: Some((40_000, 40_000)),
                newest_ms: &[(kept.clone(), 40_000), (went.clone(), 40_000)],
                positions: &held(5),
            });
            progress.saw_ends(ends(&[&kept, &went]));
            for p in [0, 1] {
                assert_eq!((gauge("lag_records", p), gauge("lag_seconds", p)), (Some(4.0), Some(60.0)));
            }

            progress.run_begins([&kept].into_iter(), &held(5));
            progress.saw_ends(ends(&[&kept]));
            assert_eq!((gauge("lag_records", 0), gauge("lag_seconds", 0)), (Some(4.0), Some(60.0)));
            assert_eq!((gauge("lag_records", 1), gauge("lag_seconds", 1)), (Some(0.0), Some(0.0)));
            assert_eq!(gauge("position", 1), Some(5.0), "below that of whoever goes on");
            assert_eq!(progress.snapshot().positions.len(), 1);

            progress.run_begins([&kept, &went].into_iter(), &held(6));
            progress.saw_ends(ends(&[&kept, &went]));
            assert_eq!(
                (gauge("lag_records", 1), gauge("lag_seconds", 1)),
                (Some(3.0), Some(0.0)),
                "nothing newer known"
            );

            progress.left();
            assert_eq!((gauge("lag_records", 0), gauge("lag_seconds", 0)), (Some(0.0), Some(0.0)));
        });
    }

    #[test]
    fn a_stall_is_over_with_a_commit_or_when_nothing_is_left_to_do() {
        let progress = Progress::new("j", Clock::held(0));
        let stalled = || progress.snapshot().stalled.is_some();
        let p = Partition::new("t", 0);
        let mut positions = Positions::default();
        positions.set(p.clone(), Position::at(5));
        let ends = |end| [(p.clone(), end)].into_iter().collect::<BTreeMap<_, _>>();

        progress.stalled("why");
        progress.run_begins([&p].into_iter(), &positions);
        progress.saw_ends(BTreeMap::new());
        assert!(stalled(), "a new run that knows no end yet proves nothing");
        progress.saw_ends(ends(9));
        assert!(stalled());
        progress.saw_ends(ends(5));
        assert!(!stalled(), "somebody else has done the work");

        progress.stalled("why");
        progress.saw_ends(ends(9));
        positions.set(p.clone(), Position::at(7));
        progress.window_landed(&LandedWindow {
            cause: Cause::Age,
            records: 2,
            receipt: &Receipt::default(),
            cut_at: Duration::ZERO,
            span_ms: None,
            newest_ms: &[],
            positions: &positions,
        });
        assert!(!stalled(), "something was committed");

        progress.stalled("why");
        progress.run_begins([].into_iter(), &positions);
        progress.saw_ends(BTreeMap::new());
        assert!(!stalled(), "its partitions are elsewhere now");

        progress.stalled("why");
        progress.forget_stall();
        assert!(!stalled());
    }
}
