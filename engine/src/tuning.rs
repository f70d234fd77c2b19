//! The tuner at work in a job: it is fed when windows land, its choice goes to the bounds, and it says what it does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Gauge, gauge};
use serde::{Deserialize, Serialize};

use crate::bounds::BoundsHandle;
use crate::chunk::Chunk;
use crate::clock::Clock;
use crate::metrics as names;
use crate::tuner::cost::{Cost, CostModel, Sample};
use crate::tuner::freshness::{Tail, WindowAges};
use crate::tuner::history::History;
use crate::tuner::outlook::DIVERGED;
use crate::tuner::{Caps, Choice, Kept, Landed, Limit, Reachable, State, Tuner};
use crate::window::{Facts, WindowBounds};

/// What becomes of the tuner's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuningMode {
    /// They are shown, and windows stay as configured.
    Observe,
    /// They hold.
    On,
}

/// The shortest window that is worth a commit.
const SHORTEST: f64 = 0.1;
/// How often a filling window is looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// A window that changed by less is no news.
const NEWS: f64 = 1.25;
/// The least time between two lines in the log.
const QUIET: Duration = Duration::from_secs(10);
/// Timestamps kept of a window.
const STAMPS: usize = 4096;
/// And of a chunk.
const STAMPS_OF_CHUNK: usize = 64;

/// Where the time of a window went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Decoding and row-wise operators, summed over the workers.
    pub decode: Duration,
    /// Window operators.
    pub operators: Duration,
    /// Handing rows to the sink.
    pub write: Duration,
    /// From the beginning of its commit to its end: the last rows written, sealed and made visible.
    pub commit: Duration,
}

/// A sample of the broker timestamps of a window's records.
#[derive(Clone, Debug, Default)]
pub struct Stamps {
    kept: Vec<(Option<i64>, f64)>,
}

impl Stamps {
    /// Takes in a chunk.
    #[allow(clippy::cast_precision_loss)] // records of a chunk
    pub fn sample(&mut self, chunk: &Chunk) {
        let step = chunk.len().div_ceil(STAMPS_OF_CHUNK).max(1);
        let taken = chunk.len().div_ceil(step);
        let weight = chunk.len() as f64 / taken.max(1) as f64;
        // From the middle of each step, so that neither end is favoured.
        self.kept.extend((0..taken).map(|i| {
            let at = (i * step + step / 2).min(chunk.len() - 1);
            (chunk.record(at).timestamp_ms, weight)
        }));
        while self.kept.len() > STAMPS {
            let mut i = 0;
            self.kept.retain(|_| {
                i += 1;
                i % 2 == 0
            });
            for (_, weight) in &mut self.kept {
                *weight *= 2.0;
            }
        }
    }

    /// Ages at `wall_ms` of a run that began at `began_ms`.
    #[must_use]
    pub fn ages(&self, wall_ms: i64, began_ms: i64, target: f64) -> WindowAges {
        let mut out = WindowAges::default();
        for (stamp, weight) in &self.kept {
            match stamp {
                None => out.unknown += weight,
                Some(ms) if *ms < began_ms => out.backlog += weight,
                Some(ms) => {
                    #[allow(clippy::cast_precision_loss)] // seconds
                    let age = (wall_ms - ms).max(0) as f64 / 1000.0;
                    out.ages.add(age, *weight);
                    out.late += if age > target { *weight } else { 0.0 };
                    out.oldest = out.oldest.max(age);
                }
            }
        }
        out
    }
}

/// A window that just became visible, as the pipeline knows it.
pub struct Visible<'a> {
    /// What was in it.
    pub facts: &'a Facts,
    /// When it was cut.
    pub cut_at: Duration,
    /// When the window before was cut, in this run.
    pub cut_before: Option<Duration>,
    /// When its commit could begin: at the cut, or when the commit before had landed.
    pub begun_at: Duration,
    /// Where the time went.
    pub spent: &'a Spent,
    /// Timestamps of its records.
    pub stamps: &'a Stamps,
}

/// Cost by stage: for explanations and capacity; the choice goes by the cost from cut to visible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Decoding and row-wise operators.
    pub decode: CostModel,
    /// Window operators.
    pub operators: CostModel,
    /// Handing rows to the sink.
    pub write: CostModel,
    /// Seal and commit.
    pub commit: CostModel,
}

/// What of a tuner outlives the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of this form.
    pub v: u32,
    /// The tuner's knowledge.
    pub tuner: Kept,
    /// Cost by stage.
    pub stages: Stages,
    /// Arrivals and costs of late.
    pub history: History,
}

/// The newest form of [`Saved`] that this binary reads.
pub const SAVED_VERSION: u32 = 1;

/// A look at a tuner.
#[derive(Clone, Debug, Serialize)]
pub struct TuningView {
    /// Whether choices hold.
    pub mode: TuningMode,
    /// Age that 99 of 100 records are to stay below, seconds.
    pub target_seconds: f64,
    /// What it chose, and why.
    pub choice: Choice,
    /// No window keeps the target.
    pub infeasible: bool,
    /// Then: the p99 within reach if commits go on as they were, seconds; `None`: there is none, more comes than can be
    /// committed.
    pub reachable_p99_seconds: Option<f64>,
    /// The same if some commits take much longer, which only some hundred windows without any rule out.
    pub reachable_p99_with_slow_commits_seconds: Option<f64>,
    /// Learned cost from cut to visible.
    pub cost: Option<Cost>,
    /// Standard error of the predicted cost, seconds.
    pub cost_error_seconds: f64,
    /// Actual over predicted cost that 95 and 99 of 100 windows stay below.
    pub cost_ratio_p95: f64,
    /// See above.
    pub cost_ratio_p99: f64,
    /// Learned cost by stage (decode, operators, write, commit).
    pub stages: [(&'static str, Option<Cost>); 4],
    /// Rows a second of late, and of the worst of late.
    pub rows_per_second: f64,
    /// See above.
    pub rows_per_second_peak: f64,
    /// Bytes of a record.
    pub bytes_per_row: f64,
    /// Seconds from broker timestamp to the window.
    pub delay_seconds: f64,
    /// Part of the target that is aimed at.
    pub trim: f64,
    /// Seconds the last window took from cut to visible, and what was predicted for it.
    pub last_cost_seconds: Option<f64>,
    /// See above.
    pub last_cost_predicted_seconds: Option<f64>,
    /// Age that 99 of 100 records stayed below over five minutes, seconds.
    pub p99_seconds: Option<f64>,
    /// Share of these that were older than the target.
    pub late: f64,
    /// Records of the last window that were there before the run began.
    pub backlog_records: f64,
    /// Windows learned from.
    pub windows: u64,
    /// Bounds that a person set.
    pub caps: CapsView,
}

/// Bounds that a person set.
#[derive(Clone, Debug, Serialize)]
pub struct CapsView {
    /// Seconds.
    pub max_age_seconds: f64,
    /// Rows.
    pub max_rows: u64,
    /// Bytes.
    pub max_bytes: u64,
}

struct Inner {
    tuner: Tuner,
    stages: Stages,
    tail: Tail,
    history: History,
    began_ms: i64,
    glanced: (Duration, u64),
    last: Option<(f64, Option<f64>)>,
    said: Option<(Duration, Choice)>,
    caps: WindowBounds,
}

/// The tuner of one job.
pub struct Tuning {
    job: String,
    mode: TuningMode,
    target: f64,
    bounds: BoundsHandle,
    clock: Clock,
    gauges: Gauges,
    inner: Mutex<Inner>,
}

struct Gauges {
    window: Gauge,
    cost: Gauge,
    cost_predicted: Gauge,
    p99: Gauge,
    p99_predicted: Gauge,
    backlog: Gauge,
    infeasible: Gauge,
}

impl Gauges {
    fn new(job: &str) -> Self {
        let g = |name| gauge!(name, "job" => job.to_owned());
        Self {
            window: g(names::TUNING_WINDOW_SECONDS),
            cost: g(names::TUNING_COST_SECONDS),
            cost_predicted: g(names::TUNING_COST_PREDICTED_SECONDS),
            p99: g(names::FRESHNESS_P99_SECONDS),
            p99_predicted: g(names::TUNING_P99_PREDICTED_SECONDS),
            backlog: g(names::BACKLOG_RECORDS),
            infeasible: g(names::TUNING_INFEASIBLE),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // bounds
fn caps(bounds: &WindowBounds) -> Caps {
    let longest = bounds.max_age.as_secs_f64();
    Caps { shortest: SHORTEST.min(longest), longest, rows: bounds.max_rows as f64, bytes: bounds.max_bytes as f64 }
}

impl Tuning {
    /// A tuner for `job` that keeps 99 of 100 records fresher than `target`, within the caps of `bounds`; with what an
    /// earlier process saved.
    #[must_use]
    pub fn new(
        job: &str,
        mode: TuningMode,
        target: Duration,
        bounds: BoundsHandle,
        saved: Option<Saved>,
        clock: Clock,
    ) -> Arc<Self> {
        let set = bounds.caps();
        let target = target.as_secs_f64();
        let (kept, stages, history) = match saved {
            Some(saved) => (Some(saved.tuner), saved.stages, saved.history),
            None => (None, Stages::default(), History::default()),
        };
        let inner = Inner {
            tuner: Tuner::new(target, caps(&set), kept),
            stages,
            tail: Tail::default(),
            history,
            began_ms: clock.wall_ms(),
            glanced: (clock.now(), 0),
            last: None,
            said: None,
            caps: set,
        };
        let gauges = Gauges::new(job);
        let tuning = Self { job: job.to_owned(), mode, target, bounds, clock, gauges, inner: Mutex::new(inner) };
        tuning.apply(&mut tuning.inner());
        Arc::new(tuning)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether choices hold.
    #[must_use]
    pub fn mode(&self) -> TuningMode {
        self.mode
    }

    /// The freshness to keep.
    #[must_use]
    pub fn target(&self) -> Duration {
        Duration::from_secs_f64(self.target)
    }

    /// A person holds the window as it is, or lets the tuner choose again. It goes on learning either way.
    pub fn freeze(&self, frozen: bool) {
        let inner = &mut *self.inner();
        inner.tuner.freeze(frozen);
        self.apply(inner);
    }

    /// Whether a person holds the window.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.inner().tuner.is_frozen()
    }

    /// The PI loop chooses from now on, whatever the model knows: for measurements.
    pub fn by_pi_alone(&self) {
        self.inner().tuner.by_pi_alone();
    }

    /// A run begins: what is older is backlog.
    pub(crate) fn run_begins(&self) {
        self.inner().began_ms = self.clock.wall_ms();
    }

    /// Records came: while a window fills, a burst is answered at once.
    pub(crate) fn took(&self, now: Duration, records: u64) {
        let mut inner = self.inner();
        let (since, before) = inner.glanced;
        let passed = now.saturating_sub(since);
        if passed < GLANCE {
            inner.glanced.1 += records;
            return;
        }
        inner.glanced = (now, 0);
        // A pause before these records says nothing about their rate.
        if passed < 2 * GLANCE {
            #[allow(clippy::cast_precision_loss)] // records of a second
            inner.tuner.glance((before + records) as f64, passed.as_secs_f64());
            self.apply(&mut inner);
        }
    }

    /// A window became visible.
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub(crate) fn landed(&self, window: &Visible<'_>) {
        let (now, wall) = (self.clock.now(), self.clock.wall_ms());
        let mut locked = self.inner();
        let inner = &mut *locked;
        let (rows, bytes) = (window.facts.rows as f64, window.facts.bytes as f64);
        let seconds = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64();
        let opened = window.facts.opened_at.unwrap_or(window.cut_at);
        let ages = window.stamps.ages(wall, inner.began_ms, self.target);
        let known = ages.ages.total() + ages.backlog;
        let landed = Landed {
            now: now.as_secs_f64(),
            rows,
            bytes,
            filled: seconds(opened, window.cut_at),
            since_cut: seconds(window.cut_before.unwrap_or(opened), window.cut_at),
            after: seconds(window.cut_at, now),
            cost: seconds(window.begun_at, now),
            oldest: (ages.ages.total() > 0.0).then_some(ages.oldest),
            counted: ages.ages.total(),
            // What is late is the doing of whoever chose the window.
            late: if self.mode == TuningMode::On { ages.late } else { 0.0 },
            backlog: if known > 0.0 { rows * ages.backlog / known } else { 0.0 },
        };
        inner.tail.add(landed.now, &ages);
        for (model, spent) in [
            (&mut inner.stages.decode, window.spent.decode),
            (&mut inner.stages.operators, window.spent.operators),
            (&mut inner.stages.write, window.spent.write),
            (&mut inner.stages.commit, window.spent.commit),
        ]
        .into_iter()
        .filter(|(_, spent)| !spent.is_zero())
        {
            model.learn(Sample { rows, bytes, seconds: spent.as_secs_f64() });
        }
        let cost = Sample { rows, bytes, seconds: landed.cost };
        inner.history.add(wall, landed.filled.max(landed.since_cut), cost, landed.backlog <= 0.5 * rows);
        let predicted = inner.tuner.cost().map(|c| c.seconds(rows, bytes));
        inner.last = Some((landed.cost, predicted));
        let set = self.bounds.caps();
        if set != inner.caps {
            inner.tuner.set_caps(caps(&set));
            inner.caps = set;
        }
        inner.tuner.learn(&landed);
        self.gauges.cost.set(landed.cost);
        if let Some(predicted) = predicted {
            self.gauges.cost_predicted.set(predicted);
        }
        if let Some(p99) = inner.tail.p99() {
            self.gauges.p99.set(p99);
        }
        self.gauges.backlog.set(landed.backlog);
        self.apply(inner);
    }

    /// Hands the choice on and says so.
    fn apply(&self, inner: &mut Inner) {
        let choice = *inner.tuner.choice();
        self.bounds.follow((self.mode == TuningMode::On).then_some(choice.line));
        let job = || self.job.clone();
        self.gauges.window.set(choice.window);
        let p99 = choice.p99.map_or(f64::NAN, |p99| if p99 >= DIVERGED { f64::INFINITY } else { p99 });
        self.gauges.p99_predicted.set(p99);
        self.gauges.infeasible.set(f64::from(u8::from(choice.infeasible.is_some())));
        for state in State::ALL {
            gauge!(names::TUNING_STATE, "job" => job(), "state" => state.as_str())
                .set(f64::from(u8::from(choice.state == state)));
        }
        for limit in Limit::ALL {
            gauge!(names::TUNING_LIMIT, "job" => job(), "limit" => limit.as_str())
                .set(f64::from(u8::from(choice.limit == limit)));
        }
        let now = self.clock.now();
        let (quiet, news) = match &inner.said {
            None => (false, true),
            Some((at, said)) => {
                let times = (choice.window / said.window).max(said.window / choice.window);
                let infeasible = said.infeasible.is_some() != choice.infeasible.is_some();
                let other = times > NEWS || said.state != choice.state || infeasible;
                (now.saturating_sub(*at) < QUIET && !infeasible, other)
            }
        };
        if !news || quiet {
            return;
        }
        let was = inner.said.map(|(_, said)| said);
        inner.said = Some((now, choice));
        let cost = inner.tuner.cost().unwrap_or_default();
        tracing::info!(
            job = self.job,
            window_seconds = round(choice.window),
            was_seconds = was.map(|c| round(c.window)),
            limit = choice.limit.as_str(),
            state = choice.state.as_str(),
            applied = self.mode == TuningMode::On,
            rows_per_second = inner.tuner.arrivals().peak().round(),
            fixed_seconds = round(cost.fixed),
            per_row_us = round(cost.per_row * 1e6),
            predicted_cost_seconds = choice.cost.map(round),
            predicted_p99_seconds = choice.p99.map(round),
            p99_seconds = inner.tail.p99().map(round),
            "window tuned"
        );
        if let (Some(reachable), false) = (choice.infeasible, was.is_some_and(|c| c.infeasible.is_some())) {
            tracing::warn!(
                job = self.job,
                freshness_seconds = self.target,
                reachable_p99_seconds = round(reachable.p99),
                reachable_p99_with_slow_commits_seconds = round(reachable.p99_with_slow_commits),
                "no window keeps the freshness asked for: see `tidemill explain {}`",
                self.job
            );
        }
    }

    /// What it knows and does now.
    #[must_use]
    pub fn view(&self) -> TuningView {
        let inner = self.inner();
        let (t, s) = (&inner.tuner, &inner.stages);
        let rows = t.arrivals().peak() * t.choice().window;
        let reachable = |of: fn(Reachable) -> f64| t.choice().infeasible.map(of).filter(|p99| p99.is_finite());
        TuningView {
            mode: self.mode,
            target_seconds: self.target,
            choice: *t.choice(),
            infeasible: t.choice().infeasible.is_some(),
            reachable_p99_seconds: reachable(|r| r.p99),
            reachable_p99_with_slow_commits_seconds: reachable(|r| r.p99_with_slow_commits),
            cost: t.cost(),
            cost_error_seconds: t.error(rows),
            cost_ratio_p95: t.ratios().quantile(0.95),
            cost_ratio_p99: t.ratios().quantile(0.99),
            stages: [
                ("decode", s.decode.cost()),
                ("operators", s.operators.cost()),
                ("write", s.write.cost()),
                ("commit", s.commit.cost()),
            ],
            rows_per_second: t.arrivals().level(),
            rows_per_second_peak: t.arrivals().peak(),
            bytes_per_row: t.arrivals().bytes_per_row(),
            delay_seconds: t.delay(),
            trim: t.trim(),
            last_cost_seconds: inner.last.map(|(cost, _)| cost),
            last_cost_predicted_seconds: inner.last.and_then(|(_, predicted)| predicted),
            p99_seconds: inner.tail.p99(),
            late: inner.tail.late(),
            backlog_records: inner.tail.backlog(),
            windows: t.windows(),
            caps: CapsView {
                max_age_seconds: inner.caps.max_age.as_secs_f64(),
                max_rows: inner.caps.max_rows,
                max_bytes: inner.caps.max_bytes,
            },
        }
    }

    /// In words, with what-ifs.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let inner = self.inner();
        crate::tuner::explain::explain(&inner.tuner, inner.tail.p99())
    }

    /// What the next process wants to know; `None` before anything was learned.
    #[must_use]
    pub fn save(&self) -> Option<Saved> {
        let inner = self.inner();
        inner.tuner.cost()?;
        Some(Saved {
            v: SAVED_VERSION,
            tuner: inner.tuner.kept(),
            stages: inner.stages.clone(),
            history: inner.history.clone(),
        })
    }
}

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}
