//! The tuner against other policies in the simulator: tables and pictures of `docs/tuning.md`.

use std::fmt::Write;
use std::path::Path;

use tidemill_engine::tuner::loads::{Load, Trace};
use tidemill_engine::tuner::plot::{self, Curve};
use tidemill_engine::tuner::policy::{Aimd, Fixed, PiPolicy, Policy};
use tidemill_engine::tuner::simulator::{Outcome, SimulatedSink, run};
use tidemill_engine::tuner::{Caps, Cost, Tuner};

const HOUR: f64 = 3600.0;
/// What a commit costs in the evaluation: 0.35 s and 4 s for each million rows.
const COST: Cost = Cost { fixed: 0.35, per_row: 4e-6, per_byte: 0.0 };
const TARGETS: [f64; 3] = [10.0, 5.0, 2.0];

#[derive(Clone, Copy)]
enum Who {
    Fixed(f64),
    Pi(f64),
    Aimd,
    Tuned,
}

const COMPARED: [Who; 9] = [
    Who::Fixed(0.5),
    Who::Fixed(1.0),
    Who::Fixed(2.0),
    Who::Fixed(5.0),
    Who::Pi(0.5),
    Who::Pi(0.65),
    Who::Pi(0.85),
    Who::Aimd,
    Who::Tuned,
];

impl Who {
    fn policy(self, target: f64, caps: Caps) -> Box<dyn Policy> {
        match self {
            Self::Fixed(window) => Box::new(Fixed(window)),
            Self::Pi(setpoint) => Box::new(PiPolicy::new(target, setpoint, caps)),
            Self::Aimd => Box::new(Aimd::new(target, caps)),
            Self::Tuned => Box::new(Tuner::new(target, caps, None)),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Fixed(window) => format!("fixed {window} s"),
            Self::Pi(setpoint) => format!("PI {setpoint}"),
            Self::Aimd => "AIMD".into(),
            Self::Tuned => "tuned".into(),
        }
    }
}

/// Means over seeds.
#[derive(Clone, Default)]
struct Mean {
    in_target: f64,
    worst: f64,
    commits: f64,
    settled: Vec<usize>,
}

struct Arena<'a> {
    trace: &'a Trace,
    sink: &'a SimulatedSink,
    target: f64,
    edges: &'a [f64],
    seeds: u64,
}

impl Arena<'_> {
    fn outcome(&self, who: Who, seed: u64) -> Outcome {
        let caps = Caps::of(self.target);
        run(self.trace, self.sink, who.policy(self.target, caps).as_mut(), self.target, &caps, seed)
    }

    #[allow(clippy::cast_precision_loss)] // few
    fn mean(&self, who: Who) -> Mean {
        let mut mean = Mean { worst: 1.0, ..Mean::default() };
        for seed in 0..self.seeds {
            let outcome = self.outcome(who, seed);
            mean.in_target += outcome.in_target() / self.seeds as f64;
            mean.worst = mean.worst.min(outcome.in_target());
            mean.commits += outcome.windows.len() as f64 / self.seeds as f64;
            mean.settled.extend(self.edges.iter().map(|edge| outcome.settled_after(*edge).unwrap_or(usize::MAX)));
        }
        mean.settled.sort_unstable();
        mean
    }

    /// The longest fixed window, in steps of a tenth, that keeps 99 % in hindsight; or the best that there is.
    fn hindsight(&self) -> (f64, Mean, bool) {
        let (mut keeps, mut best): (Option<(f64, Mean)>, (f64, Mean)) = (None, (0.0, Mean::default()));
        let mut window = 0.2;
        while window <= self.target {
            let mean = self.mean(Who::Fixed(window));
            if mean.in_target > best.1.in_target {
                best = (window, mean.clone());
            }
            if mean.in_target >= 0.99 {
                keeps = Some((window, mean));
            }
            window *= 1.1;
        }
        match keeps {
            Some((window, mean)) => (window, mean, true),
            None => (best.0, best.1, false),
        }
    }
}

/// Writes `tables.md` and pictures into `folder`. Takes minutes.
///
/// # Errors
/// When a file cannot be written.
pub fn evaluate(folder: &Path, seeds: u64) -> std::io::Result<String> {
    std::fs::create_dir_all(folder)?;
    let mut out = format!(
        "<!-- made by `cargo run --release -p tidemill-benches --bin tuning -- simulate`; {seeds} seeds, one hour each -->\n"
    );
    let mut verdicts = Verdicts::default();
    for target in TARGETS {
        let _ = writeln!(out, "\n### Freshness {target} s\nIn target % (worst seed) / commits an hour.\n");
        let mut table: Vec<Vec<String>> =
            vec![std::iter::once(String::new()).chain(Load::ALL.map(|l| l.as_str().into())).collect()];
        let mut columns = Vec::new();
        for load in Load::ALL {
            let trace = load.trace(HOUR, 1.0);
            let sink = SimulatedSink::new(COST).for_load(load, HOUR);
            let arena = Arena { trace: &trace, sink: &sink, target, edges: load.edges(), seeds };
            let means: Vec<Mean> = COMPARED.iter().map(|who| arena.mean(*who)).collect();
            let hindsight = arena.hindsight();
            verdicts.judge(load, target, &means, &hindsight);
            picture(folder, load, target, &arena)?;
            columns.push((means, hindsight));
        }
        for (i, who) in COMPARED.iter().enumerate() {
            let cell = |(means, _): &(Vec<Mean>, _)| show(&means[i]);
            table.push(std::iter::once(who.name()).chain(columns.iter().map(cell)).collect());
        }
        let best = |(_, (window, mean, keeps)): &(Vec<Mean>, (f64, Mean, bool))| {
            format!("{}{window:.1} s: {}", if *keeps { "" } else { "none; best " }, show(mean))
        };
        table.push(
            std::iter::once("hindsight: longest fixed with 99 %".into()).chain(columns.iter().map(best)).collect(),
        );
        markdown(&mut out, &table);
        std::fs::write(folder.join("tables.md"), &out)?;
    }
    out.push_str("\n### Against the bars\n\n");
    markdown(&mut out, &verdicts.table);
    std::fs::write(folder.join("tables.md"), &out)?;
    out.push_str("\n### What cannot be held\n\n");
    markdown(&mut out, &infeasible(seeds));
    std::fs::write(folder.join("tables.md"), &out)?;
    out.push_str("\n### One setting, two sinks\nFreshness 10 s, 20,000 rows/s for an hour.\n\n");
    markdown(&mut out, &two_sinks(seeds));
    std::fs::write(folder.join("tables.md"), &out)?;
    Ok(out)
}

fn show(mean: &Mean) -> String {
    format!("{:.2} ({:.1}) / {:.0}", 100.0 * mean.in_target, 100.0 * mean.worst, mean.commits)
}

struct Verdicts {
    table: Vec<Vec<String>>,
}

impl Default for Verdicts {
    fn default() -> Self {
        let head = [
            "load",
            "target",
            "99 % kept",
            "commits / cheapest fixed",
            "PI better on both counts",
            "settled after (median, worst)",
        ];
        Self { table: vec![head.map(String::from).to_vec()] }
    }
}

impl Verdicts {
    fn judge(&mut self, load: Load, target: f64, means: &[Mean], (_, best, keeps): &(f64, Mean, bool)) {
        let tuned = &means[COMPARED.len() - 1];
        let kept = match (keeps, tuned.in_target >= 0.99) {
            (true, true) => "yes".to_owned(),
            (true, false) => format!("**no**: {:.2} %", 100.0 * tuned.in_target),
            (false, _) => format!(
                "no fixed window does ({:.2} %); tuned {:.2} %",
                100.0 * best.in_target,
                100.0 * tuned.in_target
            ),
        };
        let ratio = tuned.commits / best.commits;
        let ratio = match keeps {
            true if ratio <= 1.3 => format!("{ratio:.2}"),
            true => format!("**{ratio:.2}**"),
            false => "-".into(),
        };
        let beaten: Vec<String> = COMPARED
            .iter()
            .zip(means)
            .filter(|(who, mean)| {
                matches!(who, Who::Pi(_)) && mean.in_target > tuned.in_target && mean.commits < tuned.commits
            })
            .map(|(who, _)| format!("**{}**", who.name()))
            .collect();
        let windows =
            |n: Option<&usize>| n.map_or("-".into(), |n| if *n == usize::MAX { "never".into() } else { n.to_string() });
        let settled =
            format!("{}, {}", windows(tuned.settled.get(tuned.settled.len() / 2)), windows(tuned.settled.last()));
        self.table.push(vec![
            load.as_str().into(),
            format!("{target} s"),
            kept,
            ratio,
            if beaten.is_empty() { "none".into() } else { beaten.join(", ") },
            settled,
        ]);
    }
}

/// Loads and sinks that no window copes with: how soon it is said, how far off the p99 that is said to be in reach is, and
/// what of the throughput is left.
#[allow(clippy::cast_precision_loss)] // few
fn infeasible(seeds: u64) -> Vec<Vec<String>> {
    let scenes = [
        ("5.2 s a commit, 20 k rows/s", 5.0, 20e3, Cost { fixed: 5.2, ..COST }),
        ("5 s a commit, 20 k rows/s", 10.0, 20e3, Cost { fixed: 5.0, ..COST }),
        ("1.2 s a commit, 60 k rows/s", 2.0, 60e3, Cost { fixed: 1.2, ..COST }),
        ("0.35 s a commit, 190 k rows/s", 2.0, 190e3, COST),
        ("0.35 s a commit, 300 k rows/s (120 %)", 10.0, 300e3, COST),
    ];
    let head = ["scene", "freshness", "said after (worst), s", "p99 said / found (median)", "rows/s / best fixed"];
    let mut table = vec![head.map(String::from).to_vec()];
    for (name, target, rate, cost) in scenes {
        let (trace, sink) = (Trace::of(HOUR, 200.0, |_| rate), SimulatedSink::new(cost));
        let arena = Arena { trace: &trace, sink: &sink, target, edges: &[], seeds };
        let caps = Caps::of(target);
        let (mut said_at, mut ratios, mut throughput) = (0.0f64, Vec::new(), 0.0);
        for seed in 0..seeds {
            let mut tuner = Tuner::new(target, caps, None);
            let outcome = run(&trace, &sink, &mut tuner, target, &caps, seed);
            said_at = said_at.max(outcome.announced.first().map_or(f64::INFINITY, |(at, _)| *at));
            if let Some(p99) = tuner.choice().infeasible.map(|r| r.p99).filter(|p99| p99.is_finite()) {
                ratios.push(p99 / outcome.p99());
            }
            throughput += outcome.throughput() / seeds as f64;
        }
        ratios.sort_by(f64::total_cmp);
        let best = [0.5, 1.0, 2.0, 5.0, 10.0]
            .map(|window| {
                (0..seeds).map(|seed| arena.outcome(Who::Fixed(window), seed).throughput()).sum::<f64>() / seeds as f64
            })
            .into_iter()
            .fold(0.0, f64::max);
        table.push(vec![
            name.into(),
            format!("{target} s"),
            format!("{said_at:.0}"),
            ratios.get(ratios.len() / 2).map_or("without bound".into(), |r| format!("{r:.2}")),
            format!("{:.3}", throughput / best),
        ]);
    }
    table
}

fn two_sinks(seeds: u64) -> Vec<Vec<String>> {
    let trace = Trace::of(HOUR, 200.0, |_| 20e3);
    let mut table = vec![["", "0.3 s a commit", "3 s a commit", "5 s a commit"].map(String::from).to_vec()];
    let sinks = [0.3, 3.0, 5.0].map(|fixed| SimulatedSink::new(Cost { fixed, ..COST }));
    let cell =
        |sink: &SimulatedSink, who| show(&Arena { trace: &trace, sink, target: 10.0, edges: &[], seeds }.mean(who));
    for who in COMPARED {
        table.push(std::iter::once(who.name()).chain(sinks.iter().map(|sink| cell(sink, who))).collect());
    }
    let best = sinks.iter().map(|sink| {
        let (window, mean, keeps) = Arena { trace: &trace, sink, target: 10.0, edges: &[], seeds }.hindsight();
        format!("{}{window:.1} s: {}", if keeps { "" } else { "none; best " }, show(&mean))
    });
    table.push(std::iter::once("hindsight: longest fixed with 99 %".into()).chain(best).collect());
    table
}

fn picture(folder: &Path, load: Load, target: f64, arena: &Arena<'_>) -> std::io::Result<()> {
    if target != 10.0 {
        return Ok(());
    }
    let shown = [Who::Fixed(2.0), Who::Pi(0.85), Who::Tuned];
    let runs: Vec<(String, Outcome)> = shown.iter().map(|who| (who.name(), arena.outcome(*who, 0))).collect();
    let curves: Vec<Curve<'_>> = runs.iter().map(|(name, outcome)| Curve { name, outcome }).collect();
    let title = format!("{}, freshness {target} s", load.as_str());
    std::fs::write(folder.join(format!("{}.svg", load.as_str())), plot::svg(&title, arena.trace, target, &curves))
}

fn markdown(out: &mut String, table: &[Vec<String>]) {
    for (i, row) in table.iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.join(" | "));
        if i == 0 {
            let _ = writeln!(out, "|{}", "---|".repeat(row.len()));
        }
    }
}
