//! Windows over a trace, without a sink: each fills while the one before commits, commits are in order, and nothing is
//! cut for its age while a commit runs, as in the engine.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::cost::Cost;
use super::freshness::{Ages, WindowAges};
use super::loads::{Load, Trace};
use super::policy::Policy;
use super::{Caps, Landed};

/// A sink, as the simulator knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulatedSink {
    /// From which second on a window costs what.
    pub phases: Vec<(f64, Cost)>,
    /// Spread of the noise on it (of the logarithm).
    pub noise: f64,
    /// How often a commit takes how many times as long.
    pub tail: (f64, f64),
}

impl SimulatedSink {
    /// A sink of this cost, with noise of 12 % and one commit of 100 that takes three times as long.
    #[must_use]
    pub fn new(cost: Cost) -> Self {
        Self { phases: vec![(0.0, cost)], noise: 0.12, tail: (0.01, 3.0) }
    }

    /// The sink that goes with a load: as given, 2.3 times as slow in the middle third with [`Load::SlowSink`].
    #[must_use]
    pub fn for_load(mut self, load: Load, seconds: f64) -> Self {
        if load == Load::SlowSink {
            let usual = self.phases[0].1;
            let slow = Cost { fixed: usual.fixed * 0.8 / 0.35, ..usual };
            self.phases = vec![(0.0, usual), (seconds / 3.0, slow), (2.0 * seconds / 3.0, usual)];
        }
        self
    }

    fn seconds(&self, at: f64, rows: f64, bytes: f64, random: &mut SmallRng) -> f64 {
        let cost = self.phases.iter().rev().find(|(from, _)| *from <= at).map_or_else(Cost::default, |(_, c)| *c);
        let (u, v): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let tail = if random.random::<f64>() < self.tail.0 { self.tail.1 } else { 1.0 };
        cost.seconds(rows, bytes) * (self.noise * normal).exp() * tail
    }
}

/// A window that was simulated. Times in seconds since the trace began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SimulatedWindow {
    /// When it opened.
    pub opened: f64,
    /// When it was cut.
    pub cut: f64,
    /// When it became visible.
    pub visible: f64,
    /// Rows in it.
    pub rows: f64,
    /// Rows older than the target when they became visible.
    pub late: f64,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// All windows.
    pub windows: Vec<SimulatedWindow>,
    /// Rows that became visible.
    pub rows: f64,
    /// Of these, rows older than the target.
    pub late: f64,
    /// Ages.
    pub ages: Ages,
    /// When the policy said that no window keeps the target (seconds), and the p99 it said was within reach. Each spell
    /// once.
    pub announced: Vec<(f64, f64)>,
}

impl Outcome {
    /// Share of rows in target.
    #[must_use]
    pub fn in_target(&self) -> f64 {
        if self.rows > 0.0 { 1.0 - self.late / self.rows } else { 1.0 }
    }

    /// Age that 99 of 100 rows stayed below, seconds.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.ages.quantile(0.99).unwrap_or(0.0)
    }

    /// Rows visible a second, up to the last commit.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        self.windows.last().map_or(0.0, |w| self.rows / w.visible)
    }

    /// Windows cut after `edge` until three in a row had less than a twentieth late; `None`: never.
    #[must_use]
    pub fn settled_after(&self, edge: f64) -> Option<usize> {
        let after: Vec<bool> = self.windows.iter().filter(|w| w.cut >= edge).map(|w| w.late <= 0.05 * w.rows).collect();
        after.windows(3).position(|three| three.iter().all(|fine| *fine))
    }
}

/// Runs `policy` over a trace, to its end.
pub fn run(
    trace: &Trace,
    sink: &SimulatedSink,
    policy: &mut dyn Policy,
    target: f64,
    caps: &Caps,
    seed: u64,
) -> Outcome {
    let mut random = SmallRng::seed_from_u64(seed);
    let end = trace.seconds();
    let mut out = Outcome { windows: Vec::new(), rows: 0.0, late: 0.0, ages: Ages::default(), announced: Vec::new() };
    let (mut taken, mut free, mut cut_before) = (0.0, 0.0f64, 0.0);
    let mut said = false;
    while let Some(opened) = trace.next_after(taken).filter(|at| *at < end) {
        let cut = cut_at(trace, policy, caps, taken, opened, free);
        let rows = trace.before(cut) - taken;
        let bytes = rows * trace.bytes_per_row();
        let begun = cut.max(free);
        let visible = begun + sink.seconds(begun, rows, bytes, &mut random);
        if visible > end {
            break;
        }
        let late = (trace.before(visible - target) - taken).clamp(0.0, rows);
        let mut ages = WindowAges { late, ..WindowAges::default() };
        ages.ages.add_between(visible - cut, visible - opened, rows);
        policy.landed(&Landed {
            now: visible,
            rows,
            bytes,
            filled: cut - opened,
            since_cut: cut - cut_before,
            after: visible - cut,
            cost: visible - begun,
            oldest: Some(visible - opened),
            counted: rows,
            late,
            backlog: 0.0,
        });
        let infeasible = policy.infeasible();
        if let (Some(p99), false) = (infeasible, said) {
            out.announced.push((visible, p99));
        }
        said = infeasible.is_some();
        out.rows += rows;
        out.late += late;
        out.ages.merge(&ages.ages);
        out.windows.push(SimulatedWindow { opened, cut, visible, rows, late });
        (taken, free, cut_before) = (taken + rows, visible, cut);
    }
    out
}

/// How often a policy looks at what comes while a window fills, seconds.
const GLANCE: f64 = 0.5;

/// When a window that opened at `opened`, behind `taken` rows, is cut.
fn cut_at(trace: &Trace, policy: &mut dyn Policy, caps: &Caps, taken: f64, opened: f64, free: f64) -> f64 {
    let per_row = trace.bytes_per_row();
    // Rows and bytes cut even while a commit runs.
    let most = caps.rows.min(caps.bytes / per_row.max(1e-9));
    let full = trace.next_after(taken + most).unwrap_or(f64::INFINITY).max(opened);
    let mut from = opened;
    loop {
        let to = from + GLANCE;
        let line = policy.line();
        let due = |t: f64| {
            let rows = trace.before(t) - taken;
            t >= free && t - opened >= line.age(rows, rows * per_row).min(caps.longest)
        };
        if due(to) {
            let (mut low, mut high) = (from, to);
            while high - low > 1e-3 {
                let middle = 0.5 * (low + high);
                if due(middle) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            return high.min(full);
        }
        if full <= to {
            return full;
        }
        policy.glance(trace.before(to) - trace.before(from), GLANCE);
        from = to;
    }
}
