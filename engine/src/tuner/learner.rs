//! The tuner of one job: what it has learned, and what it chooses.

use serde::{Deserialize, Serialize};

use super::Line;
use super::arrivals::Arrivals;
use super::cost::{Cost, CostModel, Sample};
use super::decide::{self, SATURATED};
use super::outlook::{DIVERGED, Scene};
use super::pi::Pi;
use super::ratios::Ratios;

/// Windows before the model chooses.
const WARMING: u64 = 6;
/// Share of records that may be late.
const GOAL: f64 = 0.01;
/// The next window is at most this many times as long as the last one; shorter without limit.
const UP: f64 = 1.6;
/// Windows that an outlook looks ahead; a power of two.
const AHEAD: usize = 1024;
/// Seconds that a rush is thought to last.
const RUSH: f64 = 30.0;
/// The model explains too little when half of the windows are off by more than this.
const POOR: f64 = 0.5;
/// Windows of that before the PI loop takes over, and of better before the model is back.
const POOR_WINDOWS: u32 = 20;
/// The target is aimed at with this part of it, trimmed between the two.
const TRIM: (f64, f64) = (0.5, 0.98);
/// Share of records planned to be late: begun with the first, trimmed between the others.
const ALLOWED: (f64, f64, f64) = (0.005, 0.002, 0.009);
/// Decisions in a row that must find no window before it is said.
const SURE: u32 = 3;

/// What a person allows, in seconds, rows and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Caps {
    /// The shortest window worth a commit.
    pub shortest: f64,
    /// The longest window.
    pub longest: f64,
    /// Most rows.
    pub rows: f64,
    /// Most bytes.
    pub bytes: f64,
}

impl Caps {
    /// No bound but the target.
    #[must_use]
    pub fn of(target: f64) -> Self {
        Self { shortest: 0.1, longest: target, rows: f64::INFINITY, bytes: f64::INFINITY }
    }
}

/// A window that landed. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Landed {
    /// When it became visible.
    pub now: f64,
    /// Records.
    pub rows: f64,
    /// Bytes of raw records.
    pub bytes: f64,
    /// From its first record to its cut.
    pub filled: f64,
    /// From the cut before to its cut.
    pub since_cut: f64,
    /// From its cut to being visible.
    pub after: f64,
    /// The same without what it waited for the commit before it.
    pub cost: f64,
    /// Age of its oldest record when it became visible, if one of them was not backlog.
    pub oldest: Option<f64>,
    /// Records that count for freshness.
    pub counted: f64,
    /// Of these, records older than the target.
    pub late: f64,
    /// Records that were there before the run began.
    pub backlog: f64,
}

/// State of a tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Too little is known: the PI loop chooses, carefully.
    Warming,
    /// The model chooses.
    Tracking,
    /// Commits take all the time there is.
    Saturated,
    /// A person holds the window.
    Frozen,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Warming, Self::Tracking, Self::Saturated, Self::Frozen];

    /// Its name in metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warming => "warming",
            Self::Tracking => "tracking",
            Self::Saturated => "saturated",
            Self::Frozen => "frozen",
        }
    }
}

/// Who chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The cost model.
    Model,
    /// The PI loop: the model is new, or explains too little.
    Pi,
}

/// What keeps the window from being longer (or shorter, for `commit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The target.
    Freshness,
    /// The commit before it takes as long.
    Commit,
    /// It grows by no more than a step at a time.
    Slew,
    /// `max_age` of the configuration.
    MaxAge,
    /// `max_rows` of the configuration.
    MaxRows,
    /// `max_bytes` of the configuration.
    MaxBytes,
    /// Old records are being caught up with: nothing to keep fresh yet.
    Backlog,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Freshness, Self::Commit, Self::Slew, Self::MaxAge, Self::MaxRows, Self::MaxBytes, Self::Backlog];

    /// Its name in metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Freshness => "freshness",
            Self::Commit => "commit",
            Self::Slew => "slew",
            Self::MaxAge => "max_age",
            Self::MaxRows => "max_rows",
            Self::MaxBytes => "max_bytes",
            Self::Backlog => "backlog",
        }
    }
}

/// What a tuner chose, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// When to cut.
    pub line: Line,
    /// The window that comes of it at the rate expected, seconds.
    pub window: f64,
    /// State.
    pub state: State,
    /// Who chose.
    pub mode: Mode,
    /// What bounds it.
    pub limit: Limit,
    /// Predicted seconds from cut to visible; `None` while nothing is known.
    pub cost: Option<f64>,
    /// Predicted age that 99 of 100 records stay below, seconds.
    pub p99: Option<f64>,
    /// Predicted share of records older than the target.
    pub late: Option<f64>,
    /// Predicted commits an hour.
    pub commits_per_hour: Option<f64>,
    /// No window keeps the target: what is within reach.
    pub infeasible: Option<Reachable>,
}

/// The least p99 that windows can have, seconds; infinite when more comes than can be committed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reachable {
    /// If commits go on as they were up to now.
    pub p99: f64,
    /// If some take much longer, as is believed of every sink until some hundred windows have shown otherwise.
    pub p99_with_slow_commits: f64,
}

/// What outlives a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Cost from cut to visible.
    pub model: CostModel,
    /// Its noise.
    pub ratios: Ratios,
    /// Part of the target that is aimed at.
    pub trim: f64,
    /// Windows learned from.
    pub windows: u64,
}

/// Tunes the window of one job.
#[derive(Clone, Debug)]
pub struct Tuner {
    target: f64,
    caps: Caps,
    model: CostModel,
    ratios: Ratios,
    arrivals: Arrivals,
    pi: Pi,
    delay: f64,
    trim: f64,
    allowed: f64,
    late: f64,
    windows: u64,
    poor: u32,
    by_pi: bool,
    pi_alone: bool,
    hopeless: u32,
    catching_up: bool,
    frozen: bool,
    choice: Choice,
}

impl Tuner {
    /// A tuner that keeps the age of 99 of 100 records below `target` seconds, within `caps`; with what an earlier one
    /// has learned.
    #[must_use]
    pub fn new(target: f64, caps: Caps, kept: Option<Kept>) -> Self {
        let first = (target / 8.0).clamp(caps.shortest, caps.longest.max(caps.shortest));
        let warm = kept.is_some();
        let kept = kept.unwrap_or_default();
        Self {
            target,
            caps,
            model: kept.model,
            ratios: kept.ratios,
            arrivals: Arrivals::default(),
            pi: Pi::new(0.5 * target, first),
            delay: 0.0,
            trim: if warm { kept.trim.clamp(TRIM.0, TRIM.1) } else { 0.9 },
            allowed: ALLOWED.0,
            late: 0.0,
            windows: kept.windows,
            poor: 0,
            by_pi: false,
            pi_alone: false,
            hopeless: 0,
            catching_up: false,
            frozen: false,
            choice: Choice {
                line: Line::time(first),
                window: first,
                state: State::Warming,
                mode: Mode::Pi,
                limit: Limit::Slew,
                cost: None,
                p99: None,
                late: None,
                commits_per_hour: None,
                infeasible: None,
            },
        }
    }

    /// What it chose.
    #[must_use]
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// What it knows that is worth keeping.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { model: self.model.clone(), ratios: self.ratios.clone(), trim: self.trim, windows: self.windows }
    }

    /// The cost it has learned.
    #[must_use]
    pub fn cost(&self) -> Option<Cost> {
        self.model.cost()
    }

    /// The noise it has learned.
    #[must_use]
    pub fn ratios(&self) -> &Ratios {
        &self.ratios
    }

    /// The arrivals it has seen.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Standard error of the cost predicted for a window of these rows, seconds.
    #[must_use]
    pub fn error(&self, rows: f64) -> f64 {
        self.model.error(rows, rows * self.arrivals.bytes_per_row())
    }

    /// Windows learned from.
    #[must_use]
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// Its target, seconds.
    #[must_use]
    pub fn target(&self) -> f64 {
        self.target
    }

    /// Part of the target that is aimed at.
    #[must_use]
    pub fn trim(&self) -> f64 {
        self.trim
    }

    /// Seconds between broker and window.
    #[must_use]
    pub fn delay(&self) -> f64 {
        self.delay
    }

    /// What a person allows.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Other caps hold from now on.
    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// The PI loop chooses from now on.
    pub fn by_pi_alone(&mut self) {
        (self.pi_alone, self.by_pi) = (true, true);
        self.pi = Pi::new(0.85 * self.target, self.choice.window);
    }

    /// Holds the window as it is, or lets it go. A held tuner goes on learning.
    pub fn freeze(&mut self, frozen: bool) {
        let was = std::mem::replace(&mut self.frozen, frozen);
        if frozen {
            self.choice.state = State::Frozen;
        } else if was {
            self.choice.state = State::Warming;
            self.choose(self.choice.window);
        }
    }

    /// Whether a person holds the window.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Learns from a window and chooses the next.
    pub fn learn(&mut self, landed: &Landed) {
        let sample = Sample { rows: landed.rows, bytes: landed.bytes, seconds: landed.cost.max(1e-4) };
        let learned = self.model.learn(sample);
        self.windows += 1;
        if self.windows > 3 {
            self.ratios.add(learned.ratio, learned.outlier, learned.regime);
        }
        self.catching_up = landed.backlog > 0.5 * landed.rows;
        if !self.catching_up {
            self.arrivals.learn(landed.rows, landed.bytes, landed.since_cut.max(landed.filled));
            if let Some(oldest) = landed.oldest {
                let delay = (oldest - landed.filled - landed.after).max(0.0);
                self.delay = delay.max(0.9 * self.delay + 0.1 * delay);
                self.pi.learn(oldest, self.caps.shortest, self.caps.longest);
            }
            self.watch(landed);
        }
        if !self.frozen {
            self.choose(self.choice.window.max(landed.filled));
        }
    }

    /// Trims the part of the target that is aimed at, slowly, by what is late; watches whether the model holds.
    fn watch(&mut self, landed: &Landed) {
        let share = if landed.counted > 0.0 { landed.late / landed.counted } else { 0.0 };
        // The last two hundred windows or so.
        self.late += 0.005 * (share - self.late);
        if self.choice.infeasible.is_none() {
            // What is late although its commit took no longer than usual was not foreseen: aim lower.
            let usual = landed.cost < 1.5 * self.choice.cost.unwrap_or(landed.cost);
            self.trim =
                (self.trim + if share > 0.0 && usual { -0.03 * share.min(0.5) } else { 0.0005 }).clamp(TRIM.0, TRIM.1);
            let step = if self.late > GOAL {
                -1e-4
            } else if self.late < 0.7 * GOAL {
                2e-5
            } else {
                0.0
            };
            self.allowed = (self.allowed + step).clamp(ALLOWED.1, ALLOWED.2);
        }
        let poor = self.model.median_error() > POOR;
        self.poor = if poor == self.by_pi { 0 } else { self.poor + 1 };
        if self.poor >= POOR_WINDOWS && !self.pi_alone {
            self.poor = 0;
            self.by_pi = poor;
            if poor {
                self.pi.restart(self.choice.window);
            }
        }
    }

    /// Looks at what came within the last `seconds`, in the middle of a window: a burst is answered at once.
    pub fn glance(&mut self, rows: f64, seconds: f64) {
        let burst = !self.catching_up && self.arrivals.glance(rows / seconds);
        if burst && !self.frozen {
            self.choose(self.choice.window);
        }
    }

    fn choose(&mut self, before: f64) {
        let catching_up = self.catching_up;
        let Some(cost) = self.model.cost() else { return };
        let caps = self.caps;
        let rate = self.arrivals.peak();
        let per_row = cost.marginal(self.arrivals.bytes_per_row());
        let rows = rate * before;
        let ratios = self.ratios.sequence(AHEAD);
        let scene = Scene {
            fixed: cost.fixed + self.model.error(rows, rows * self.arrivals.bytes_per_row()),
            utilisation: per_row * rate,
            delay: self.delay,
            ratios: &ratios,
            target: self.target * self.trim,
            horizon: RUSH,
        };
        let longest = caps.longest.min(self.target);
        let decision = decide::decide(&scene, caps.shortest, longest, self.allowed);
        let real = Scene { target: self.target, horizon: f64::INFINITY, ..scene };
        let now = Scene { utilisation: per_row * self.arrivals.level(), ..real };
        let best = now.brief(caps.shortest).0.min(now.brief(decision.window).0);
        // Said at half as much again as may be late, taken back at what may be late: no flapping.
        let bar = if self.choice.infeasible.is_some() { GOAL } else { 1.5 * GOAL };
        self.hopeless = if best > bar { self.hopeless + 1 } else { 0 };
        let warming = self.windows < WARMING;
        let mode = if warming || self.by_pi { Mode::Pi } else { Mode::Model };
        let wanted = match mode {
            _ if catching_up => 0.5 * longest,
            Mode::Model => decision.window,
            Mode::Pi => self.pi.window(),
        };
        let slewed = wanted.min(UP * before.max(caps.shortest));
        let window = slewed.clamp(caps.shortest, longest.max(caps.shortest));
        // Ordinary windows with more in them than expected are cut so that they are no older than expected.
        let spread = self.ratios.quantile(0.9).clamp(1.05, 1.6);
        let line = match mode {
            Mode::Model if !catching_up => Line {
                budget: window + spread * scene.utilisation * window,
                per_row: spread * cost.per_row,
                per_byte: spread * cost.per_byte,
                shortest: caps.shortest,
            },
            _ => Line::time(window),
        };
        let (filled, filled_bytes) = (rate * window, rate * window * self.arrivals.bytes_per_row());
        let limit = if catching_up {
            Limit::Backlog
        } else if filled >= caps.rows {
            Limit::MaxRows
        } else if filled_bytes >= caps.bytes {
            Limit::MaxBytes
        } else if decision.commit_bound && mode == Mode::Model {
            Limit::Commit
        } else if slewed < wanted {
            Limit::Slew
        } else if window >= caps.longest && caps.longest < self.target {
            Limit::MaxAge
        } else {
            Limit::Freshness
        };
        let saturated = scene.utilisation > SATURATED || decision.commit_bound;
        let state = match mode {
            _ if warming => State::Warming,
            _ if saturated => State::Saturated,
            _ => State::Tracking,
        };
        let outlook = real.outlook(window);
        self.choice = Choice {
            line,
            window,
            state,
            mode,
            limit,
            cost: Some(cost.seconds(filled, filled_bytes)),
            p99: Some(outlook.p99),
            late: Some(outlook.late),
            commits_per_hour: Some(3600.0 / outlook.between.max(window)),
            infeasible: (self.hopeless >= SURE).then(|| {
                let p99 = |scene: Scene<'_>| {
                    let p99 = scene.outlook(caps.shortest).p99;
                    if p99 >= DIVERGED { f64::INFINITY } else { p99 }
                };
                let seen = self.ratios.sequence_seen(AHEAD);
                Reachable {
                    p99: p99(Scene { fixed: cost.fixed, ratios: &seen, ..now }),
                    p99_with_slow_commits: p99(now),
                }
            }),
        };
    }
}
