//! `tidemill simulate`: arrivals, made up or recorded, against policies for the window, by the very code of the daemon.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tidemill_engine::tuner::loads::{Load, Trace};
use tidemill_engine::tuner::plot::{self, Curve};
use tidemill_engine::tuner::policy::{Aimd, Fixed, PiPolicy, Policy};
use tidemill_engine::tuner::simulator::{Outcome, SimulatedSink, run as simulate};
use tidemill_engine::tuner::{Caps, Cost, Kept, Tuner};
use tidemill_engine::tuning::Saved;

use crate::cli::{OK, say};
use crate::state;

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Replay what this job's daemon recorded over the last day, against the cost it learned.
    #[arg(long, requires = "config", conflicts_with = "load")]
    job: Option<String>,
    /// The daemon's configuration, a file or folder: says where its state is, and the job's freshness.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// A made-up load.
    #[arg(long, value_enum, default_value = "step")]
    load: LoadName,
    /// Multiplies the arrivals.
    #[arg(long, default_value_t = 1.0, value_name = "TIMES")]
    scale: f64,
    /// Length of a made-up load, such as 1h.
    #[arg(long, default_value = "1h", value_parser = duration)]
    length: Duration,
    /// Freshness to hold. Default: the job's, else 10s.
    #[arg(long, value_parser = duration)]
    freshness: Option<Duration>,
    /// Who chooses windows: `tuned`, `pi`, `pi:SETPOINT` (part of the freshness), `aimd`, `fixed:DURATION`. May be
    /// repeated.
    #[arg(long = "policy", value_name = "POLICY")]
    policies: Vec<String>,
    /// What a commit costs whatever is in it. Default: what the job's tuner learned, else 350ms.
    #[arg(long, value_parser = duration)]
    fixed_cost: Option<Duration>,
    /// What a million rows add to it. Default: what the job's tuner learned, else 4s.
    #[arg(long, value_parser = duration)]
    million_rows: Option<Duration>,
    /// Runs of each policy with other noise.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Write a picture of the first runs here, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// A made-up load.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LoadName {
    /// 20,000 rows a second, 150,000 in the middle half.
    Step,
    /// 30,000 rows a second, 230,000 for 30 s every quarter of an hour.
    Spike,
    /// 10,000 to 130,000 rows a second, up and down.
    Diurnal,
    /// 5,000 and 90,000 rows a second, changing every 7 s.
    Bursts,
    /// 60,000 rows a second, and a sink that is 2.3 times as slow in the middle third.
    SlowSink,
}

impl LoadName {
    fn load(self) -> Load {
        match self {
            Self::Step => Load::Step,
            Self::Spike => Load::Spike,
            Self::Diurnal => Load::Diurnal,
            Self::Bursts => Load::Bursts,
            Self::SlowSink => Load::SlowSink,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = tidemill_config::parse_duration(text)?;
    if found.is_zero() { Err("expected more than no time".into()) } else { Ok(found) }
}

/// What is simulated, once everything is known.
struct Scenario {
    name: String,
    trace: Trace,
    sink: SimulatedSink,
    target: f64,
    kept: Option<Kept>,
}

/// Runs it and prints a table.
///
/// # Errors
/// When there is nothing to replay, or a policy is none.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let scenario = scenario(arguments)?;
    let caps = Caps::of(scenario.target);
    let default = ["fixed:500ms", "fixed:1s", "fixed:2s", "fixed:5s", "pi", "aimd", "tuned"];
    let names: Vec<String> = match arguments.policies.is_empty() {
        true => default.map(String::from).to_vec(),
        false => arguments.policies.clone(),
    };
    let mut table = vec![["policy", "in target", "p99", "commits", "settled after"].map(String::from)];
    let mut first: Vec<(String, Outcome)> = Vec::new();
    for name in &names {
        let outcomes = (0..arguments.seeds)
            .map(|seed| {
                let mut policy = policy(name, scenario.target, caps, scenario.kept.as_ref())?;
                Ok(simulate(&scenario.trace, &scenario.sink, policy.as_mut(), scenario.target, &caps, seed))
            })
            .collect::<anyhow::Result<Vec<Outcome>>>()?;
        table.push(row(name, &outcomes, scenario.trace.steepest_rise()));
        first.extend(outcomes.into_iter().next().map(|outcome| (name.clone(), outcome)));
    }
    let mut text = format!("{}, freshness {} s, {} runs each\n", scenario.name, scenario.target, arguments.seeds);
    columns(&mut text, &table);
    if let Some((_, outcome)) = first.iter().find(|(name, _)| name == "tuned")
        && let Some((at, p99)) = outcome.announced.first()
    {
        let _ = writeln!(
            text,
            "tuned says after {at:.0} s that no window keeps the freshness; p99 within reach: {p99:.1} s"
        );
    }
    if let Some(path) = &arguments.svg {
        let curves: Vec<Curve<'_>> = first.iter().map(|(name, outcome)| Curve { name, outcome }).collect();
        std::fs::write(path, plot::svg(&scenario.name, &scenario.trace, scenario.target, &curves))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let _: u8 = say(&text)?;
    Ok(OK)
}

fn scenario(arguments: &Arguments) -> anyhow::Result<Scenario> {
    let (mut saved, mut freshness): (Option<Saved>, _) = (None, arguments.freshness);
    if let Some(config) = &arguments.config {
        let loaded = match tidemill_config::load(config, &tidemill_config::System) {
            Ok(loaded) => loaded,
            Err(faults) => bail!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        };
        let Some(name) = &arguments.job else { bail!("--config says where a job's record is: name the job as --job") };
        let Some(job) = loaded.config.jobs.get(name) else { bail!("{} has no job `{name}`", config.display()) };
        freshness = freshness.or(job.window.freshness);
        let path = state::tuning_file(std::path::Path::new(loaded.config.daemon.state_dir.as_str()), name);
        saved = state::read_tuning(&path)?;
        if saved.is_none() {
            bail!("{} does not exist: the job has not run with a freshness yet", path.display());
        }
    }
    let target = freshness.unwrap_or(Duration::from_secs(10)).as_secs_f64();
    let learned = saved.as_ref().and_then(|saved| saved.tuner.model.cost());
    let mut cost = learned.unwrap_or(Cost { fixed: 0.35, per_row: 4e-6, per_byte: 0.0 });
    if let Some(fixed) = arguments.fixed_cost {
        cost.fixed = fixed.as_secs_f64();
    }
    if let Some(million) = arguments.million_rows {
        (cost.per_row, cost.per_byte) = (million.as_secs_f64() / 1e6, 0.0);
    }
    let sink = SimulatedSink::new(cost);
    match (&arguments.job, &saved) {
        (Some(job), Some(saved)) => {
            let Some((trace, _)) = saved.history.trace() else { bail!("nothing arrived at job `{job}` yet") };
            let hours = trace.seconds() / 3600.0;
            Ok(Scenario {
                name: format!("job {job}, the last {hours:.1} h"),
                trace: trace.scaled(arguments.scale),
                sink: SimulatedSink { noise: saved.tuner.ratios.quantile(0.84).ln().max(0.01), ..sink },
                target,
                kept: Some(saved.tuner.clone()),
            })
        }
        _ => {
            let (load, seconds) = (arguments.load.load(), arguments.length.as_secs_f64());
            Ok(Scenario {
                name: format!("load {}", load.as_str()),
                trace: load.trace(seconds, arguments.scale),
                sink: sink.for_load(load, seconds),
                target,
                kept: None,
            })
        }
    }
}

fn policy(name: &str, target: f64, caps: Caps, kept: Option<&Kept>) -> anyhow::Result<Box<dyn Policy>> {
    let (kind, value) = name.split_once(':').map_or((name, None), |(kind, value)| (kind, Some(value)));
    Ok(match (kind, value) {
        ("tuned", None) => Box::new(Tuner::new(target, caps, kept.cloned())),
        ("pi", None) => Box::new(PiPolicy::new(target, 0.85, caps)),
        ("pi", Some(setpoint)) => {
            let setpoint: f64 = setpoint.parse().with_context(|| format!("policy {name}: expected a number"))?;
            Box::new(PiPolicy::new(target, setpoint, caps))
        }
        ("aimd", None) => Box::new(Aimd::new(target, caps)),
        ("fixed", Some(window)) => {
            let window = duration(window).map_err(|why| anyhow::anyhow!("policy {name}: {why}"))?;
            Box::new(Fixed(window.as_secs_f64()))
        }
        _ => bail!("no policy `{name}`: expected tuned, pi, pi:SETPOINT, aimd or fixed:DURATION"),
    })
}

fn row(name: &str, outcomes: &[Outcome], edge: Option<f64>) -> [String; 5] {
    #[allow(clippy::cast_precision_loss)] // few
    let mean = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64;
    #[allow(clippy::cast_precision_loss)] // commits
    let commits = mean(&|o| o.windows.len() as f64);
    let mut settled: Vec<Option<usize>> =
        edge.map(|edge| outcomes.iter().map(|o| o.settled_after(edge)).collect()).unwrap_or_default();
    settled.sort_by_key(|windows| windows.unwrap_or(usize::MAX));
    [
        name.to_owned(),
        format!("{:.2} %", 100.0 * mean(&Outcome::in_target)),
        format!("{:.1} s", mean(&Outcome::p99)),
        format!("{commits:.0}"),
        match settled.get(settled.len() / 2) {
            None => "-".to_owned(),
            Some(None) => "never".to_owned(),
            Some(Some(windows)) => format!("{windows} windows"),
        },
    ]
}

fn columns(out: &mut String, table: &[[String; 5]]) {
    let width = |i: usize| table.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    for row in table {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(
                |(i, cell)| {
                    if i == 0 { format!("{cell:<w$}", w = width(i)) } else { format!("{cell:>w$}", w = width(i)) }
                },
            )
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
}
