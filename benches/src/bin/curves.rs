//! What the daemon's cost grows with: `cargo run --release -p tidemill-benches --bin curves`.
//!
//! Along each axis one thing changes and the amount of input stays the same. The daemon runs alone, as a whole process
//! from exec to exit, and every row it wrote is counted.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};
use tidemill_benches::binaries;
use tidemill_benches::curves::bench::{Bench, Filled};
use tidemill_benches::curves::plot;
use tidemill_benches::curves::point::{Axis, Point, Topic, by_topic};
use tidemill_benches::curves::report::{Curve, Line, Report};
use tidemill_benches::report::{write_json, write_svg};
use tidemill_integration_tests::kafka::Kafka;

/// A point that takes longer than this is not measured again.
const SLOW_SECONDS: f64 = 20.0;

/// Measures what the daemon's cost grows with.
#[derive(Parser)]
struct Args {
    /// Which parts; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Megabytes (of 10⁶ bytes) of records at each point.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    megabytes: u64,
    /// How often each point is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Seconds that an idle daemon is looked at.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    idle_seconds: u64,
    /// Small and once, to see that everything works: 8 MB a point, one run, 5 s idle.
    #[arg(long, conflicts_with_all = ["megabytes", "runs", "idle_seconds"])]
    quick: bool,
    /// A broker that is there already; else one is started (Java 17 and Maven).
    #[arg(long)]
    brokers: Option<String>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write the picture.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// A folder to work in, kept; else a temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
    /// Take the binaries as they are, without building them first.
    #[arg(long)]
    no_build: bool,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A curve.
    Curve(Axis),
    /// A daemon with nothing to do.
    Idle,
    /// From exec to the first commit.
    Start,
}

impl Part {
    const ALL: [Self; 10] = {
        let [a, b, c, d, e, f, g, h] = Axis::ALL;
        [
            Self::Curve(a),
            Self::Curve(b),
            Self::Curve(c),
            Self::Curve(d),
            Self::Curve(e),
            Self::Curve(f),
            Self::Curve(g),
            Self::Curve(h),
            Self::Idle,
            Self::Start,
        ]
    };
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Curve(axis) => axis.to_possible_value(),
            Self::Idle => Some(PossibleValue::new("idle").help("A daemon with nothing to do")),
            Self::Start => Some(PossibleValue::new("start").help("From exec to the first commit")),
        }
    }
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.megabytes, args.runs, args.idle_seconds) = (8, 1, 5);
    }
    if args.only.is_empty() {
        args.only = Part::value_variants().to_vec();
    }
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: its figures mean nothing");
    }
    if !args.no_build {
        binaries::build()?;
    }
    let scratch = tempfile::Builder::new().prefix("tidemill-curves-").tempdir()?;
    let home = binaries::home(args.home.as_deref(), scratch.path())?;
    let kafka = Kafka::at(args.brokers.as_deref())?;
    let name = format!("tidemill-curves-{:08x}", rand::random::<u32>());
    let bench = Bench { brokers: kafka.brokers(), name: &name, home: &home, keep: args.home.is_some() };
    let report = Measuring { args: &args, bench, report: Report::default() }.all()?;
    print!("{report}");
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if let Some(path) = &args.svg {
        write_svg(path, &plot::picture(&report))?;
    }
    if !report.failures.is_empty() {
        bail!("{} points failed", report.failures.len());
    }
    Ok(())
}

struct Measuring<'a> {
    args: &'a Args,
    bench: Bench<'a>,
    report: Report,
}

impl Measuring<'_> {
    fn all(mut self) -> Result<Report> {
        let cores = std::thread::available_parallelism()?.get();
        let bytes = self.args.megabytes * 1_000_000;
        self.report.debug_build = cfg!(debug_assertions);
        (self.report.cores, self.report.bytes) = (cores, bytes);
        if self.wants(Part::Idle) || self.wants(Part::Start) {
            let point = Point::little();
            self.with(&point.topic, |this, filled| this.alone(&point, filled));
        }
        let axes: Vec<Axis> = Axis::ALL.into_iter().filter(|axis| self.wants(Part::Curve(*axis))).collect();
        let mut lines: Vec<Line> = Vec::new();
        for (topic, points) in by_topic(axes.iter().flat_map(|axis| axis.points(bytes, cores)).collect()) {
            self.with(&topic, |this, filled| lines.extend(points.into_iter().filter_map(|p| this.point(p, filled))));
        }
        self.report.curves = axes
            .into_iter()
            .map(|axis| Curve::new(axis, lines.iter().filter(|line| line.point.axis == axis).cloned().collect()))
            .collect();
        Ok(self.report)
    }

    fn wants(&self, part: Part) -> bool {
        self.args.only.contains(&part)
    }

    /// What is measured on a topic, which is gone afterwards. A broker that does not take it fails these points only.
    fn with(&mut self, topic: &Topic, measure: impl FnOnce(&mut Self, &Filled)) {
        let done = self.bench.fill(topic).and_then(|filled| {
            measure(self, &filled);
            self.bench.delete(&filled)
        });
        if let Err(error) = done {
            self.failed(&format!("{topic:?}"), &error);
        }
    }

    /// A point that fails is named at the end; the others go on.
    fn point(&mut self, point: Point, filled: &Filled) -> Option<Line> {
        let what = format!("{}: {}", point.axis.title(), point.label);
        let mut runs = Vec::new();
        for _ in 0..self.args.runs {
            match self.bench.run(&point, filled) {
                Ok(run) => runs.push(run),
                Err(error) => {
                    self.failed(&what, &error);
                    break;
                }
            }
            if runs.last().is_some_and(|run| run.usage.wall_seconds > SLOW_SECONDS) {
                break;
            }
        }
        let line = (!runs.is_empty()).then(|| Line::new(point, runs))?;
        eprintln!(
            "{what}: {:.0} records/s, {:.1} MB/s, {:.2} CPU-s/GB, {} MiB",
            line.records_per_second,
            line.megabytes_per_second,
            line.cpu_seconds_per_gigabyte,
            line.peak_rss_bytes >> 20
        );
        Some(line)
    }

    /// What is no curve: a daemon that starts, and one that has nothing to do.
    fn alone(&mut self, point: &Point, filled: &Filled) {
        if self.wants(Part::Start) {
            for _ in 0..self.args.runs.max(3) {
                match self.bench.first_commit(point, filled) {
                    Ok(seconds) => self.report.first_commit_seconds.push(seconds),
                    Err(error) => self.failed("start", &error),
                }
            }
        }
        if self.wants(Part::Idle) {
            match self.bench.idle(point, filled, Duration::from_secs(self.args.idle_seconds)) {
                Ok(idle) => self.report.idle = Some(idle),
                Err(error) => self.failed("idle", &error),
            }
        }
    }

    fn failed(&mut self, what: &str, error: &anyhow::Error) {
        eprintln!("{what}: {error:#}");
        self.report.failures.push(format!("{what}: {error:#}"));
    }
}
