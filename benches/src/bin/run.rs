//! Tidemill against the raw loop, end to end: `cargo run --release -p tidemill-benches --bin run`.
//!
//! Both read the same topic from the same broker in turn, each as a whole process from exec to exit, and what they
//! wrote is checked. Only the ratio of one pair means something: absolute figures move with the machine.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use tidemill_benches::binaries::{self, LIMIT};
use tidemill_benches::check::{self, Found};
use tidemill_benches::clicks::{MAX_RECORDS, Totals};
use tidemill_benches::measure::{self, Usage};
use tidemill_benches::report::{Pair, Report, Side, write_json, write_svg};
use tidemill_benches::topic;
use tidemill_benches::workload::{Setting, Workload, out_topic};
use tidemill_integration_tests::kafka::Kafka;

/// Measures Tidemill beside the raw loop.
#[derive(Parser)]
struct Args {
    /// What is run.
    #[arg(long, value_enum, default_value = "w1")]
    workload: Workload,
    /// Records of the topic.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    records: u64,
    /// Pairs of runs.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A broker that is there already; else one is started (Java 17 and Maven).
    #[arg(long)]
    brokers: Option<String>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write the medians as a picture.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// `memory` of the daemon.
    #[arg(long, default_value = "128MiB")]
    memory: String,
    /// Makes the window's bounds so many times larger.
    #[arg(long, default_value_t = 1)]
    window_factor: u64,
    /// A folder to work in, kept; else a temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
    /// Take the binaries as they are, without building them first.
    #[arg(long)]
    no_build: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: its figures mean nothing");
    }
    if !args.no_build {
        binaries::build()?;
    }
    let scratch = tempfile::Builder::new().prefix("tidemill-bench-").tempdir()?;
    let home = binaries::home(args.home.as_deref(), scratch.path())?;
    let kafka = Kafka::at(args.brokers.as_deref())?;
    let brokers = kafka.brokers();
    let name = format!("tidemill-bench-{:08x}", rand::random::<u32>());
    eprintln!("filling {name} on {brokers} with {} records", args.records);
    let measured = binaries::fill(brokers, &name, args.records, &home).and_then(|totals| {
        let bench = Bench { args: &args, brokers, topic: &name, home: &home, totals };
        bench.measure()
    });
    if !kafka.is_own() {
        topic::delete(brokers, &name)?;
    }
    let report = measured?;
    println!("{report}");
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if let Some(path) = &args.svg {
        write_svg(path, &report.svg())?;
    }
    Ok(())
}

struct Bench<'a> {
    args: &'a Args,
    brokers: &'a str,
    topic: &'a str,
    home: &'a Path,
    totals: Totals,
}

impl Bench<'_> {
    fn measure(&self) -> Result<Report> {
        let mut pairs = Vec::new();
        // Not counted: the broker's JVM has compiled nothing yet, and has topics of its own to make.
        self.tidemill(0)?;
        for n in 1..=self.args.runs {
            let raw = self.raw(n)?;
            let tidemill = self.tidemill(n)?;
            let ratio = tidemill.records_per_second / raw.records_per_second;
            let mib = |side: &Side| side.usage.peak_rss_bytes >> 20;
            eprintln!(
                "pair {n}: raw loop {:.2} s {:.2} CPU-s {} MiB, tidemill {:.2} s {:.2} CPU-s {} MiB, ratio {ratio:.2}",
                raw.usage.wall_seconds,
                raw.usage.cpu_seconds,
                mib(&raw),
                tidemill.usage.wall_seconds,
                tidemill.usage.cpu_seconds,
                mib(&tidemill),
            );
            pairs.push(Pair { raw, tidemill, ratio });
        }
        let (name, memory) = (self.args.workload.name(), self.args.memory.clone());
        let cores = std::thread::available_parallelism()?.get();
        Ok(Report::new(name, self.totals, memory, self.args.window_factor, cores, pairs))
    }

    fn side(&self, usage: Usage, found: Found) -> Side {
        Side {
            usage,
            records_per_second: self.totals.records as f64 / usage.wall_seconds,
            output_bytes: found.bytes,
            files: found.files,
        }
    }

    /// The raw loop knows no SQL and no transactions: it does the work of W1 in every workload.
    fn raw(&self, n: usize) -> Result<Side> {
        let folder = self.folder(&format!("raw-{n}"))?;
        let command = binaries::raw(self.brokers, self.topic, self.totals.records, &folder.join("out.parquet"))?;
        let usage = measure::run(command, &folder.join("log"), LIMIT)?;
        let found = check::check(&folder, Workload::W1, &self.totals).context("the raw loop")?;
        fs::remove_dir_all(&folder)?;
        Ok(self.side(usage, found))
    }

    fn tidemill(&self, n: usize) -> Result<Side> {
        let folder = self.folder(&format!("{}-{n}", self.topic))?;
        let setting = Setting { memory: self.args.memory.clone(), window_factor: self.args.window_factor };
        let command = binaries::tidemill(self.args.workload, self.brokers, self.topic, &folder, &setting)?;
        let out = (self.args.workload == Workload::W3).then(|| out_topic(&folder));
        if let Some(out) = &out {
            topic::create(self.brokers, out)?;
        }
        let usage = measure::run(command, &folder.join("log"), LIMIT)?;
        let found = match &out {
            Some(out) => check::check_topic(self.brokers, out, &self.totals),
            None => check::check(&folder.join("out"), self.args.workload, &self.totals),
        }
        .context("tidemill")?;
        if let Some(out) = &out {
            topic::delete(self.brokers, out)?;
        }
        if self.args.home.is_none() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(self.side(usage, found))
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.home.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
