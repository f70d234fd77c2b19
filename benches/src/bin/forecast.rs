//! How well a backfill's end is foreseen: `cargo run --release -p tidemill-benches --bin forecast`.
//!
//! Each run is a daemon that reads a topic to its end; at a quarter of the work its API is asked when that will be, and
//! the answer is compared with when it was.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::Serialize;
use tidemill_benches::binaries::{self, LIMIT};
use tidemill_benches::clicks::MAX_RECORDS;
use tidemill_benches::report::write_json;
use tidemill_benches::topic;
use tidemill_benches::workload::{Setting, Workload, config, out_topic};
use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::kafka::Kafka;

/// The share of the work at which the forecast is taken.
const AT: f64 = 0.25;

/// Measures the forecast of a backfill's end.
#[derive(Parser)]
struct Args {
    /// Backfills; W1, W2, W3 in turn.
    #[arg(long, default_value_t = 12)]
    runs: usize,
    /// Records of the topic.
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    records: u64,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Take the binaries as they are, without building them first.
    #[arg(long)]
    no_build: bool,
}

/// One backfill. Seconds count from the start of the process.
#[derive(Debug, Serialize)]
struct Run {
    workload: &'static str,
    /// When a quarter was done.
    asked_seconds: f64,
    /// The end as it was foreseen then.
    foreseen_seconds: f64,
    /// The end.
    ended_seconds: f64,
}

impl Run {
    /// How far off the end was, as a part of the whole time.
    fn error(&self) -> f64 {
        (self.foreseen_seconds - self.ended_seconds) / self.ended_seconds
    }

    /// The same as a part of the time that was left.
    fn error_of_rest(&self) -> f64 {
        (self.foreseen_seconds - self.ended_seconds) / (self.ended_seconds - self.asked_seconds)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if !args.no_build {
        binaries::build()?;
    }
    let home = tempfile::Builder::new().prefix("tidemill-forecast-").tempdir()?;
    let kafka = Kafka::start()?;
    let name = format!("tidemill-forecast-{:08x}", rand::random::<u32>());
    eprintln!("filling {name} with {} records", args.records);
    binaries::fill(kafka.brokers(), &name, args.records, home.path())?;
    println!("| run | workload | asked at, s | foreseen, s | ended, s | error | of the rest |");
    println!("|--:|---|--:|--:|--:|--:|--:|");
    let mut runs = Vec::new();
    for n in 1..=args.runs {
        let workload = [Workload::W1, Workload::W2, Workload::W3][(n - 1) % 3];
        let folder = home.path().join(format!("{name}-{n}"));
        fs::create_dir(&folder)?;
        let run = backfill(kafka.brokers(), &name, workload, &folder).with_context(|| format!("run {n}"))?;
        fs::remove_dir_all(&folder)?;
        println!(
            "| {n} | {} | {:.2} | {:.2} | {:.2} | {:+.1} % | {:+.1} % |",
            run.workload,
            run.asked_seconds,
            run.foreseen_seconds,
            run.ended_seconds,
            100.0 * run.error(),
            100.0 * run.error_of_rest(),
        );
        runs.push(run);
    }
    let of = |error: fn(&Run) -> f64| {
        let mut errors: Vec<f64> = runs.iter().map(|run| 100.0 * error(run).abs()).collect();
        errors.sort_by(f64::total_cmp);
        errors.last().map(|worst| (errors[errors.len() / 2], *worst))
    };
    if let (Some((median, worst)), Some((rest, worst_rest))) = (of(Run::error), of(Run::error_of_rest)) {
        println!("\nmedian {median:.1} %, worst {worst:.1} %; of the rest {rest:.1} %, {worst_rest:.1} %");
    }
    if let Some(path) = &args.json {
        write_json(path, &runs)?;
    }
    Ok(())
}

/// Reads the topic to its end.
fn backfill(brokers: &str, topic: &str, workload: Workload, folder: &Path) -> Result<Run> {
    let setting = Setting { memory: "128MiB".into(), window_factor: 1 };
    let out = (workload == Workload::W3).then(|| out_topic(folder));
    if let Some(out) = &out {
        topic::create(brokers, out)?;
    }
    let begun = Instant::now();
    let mut daemon = Daemon::spawn(folder, &config(workload, brokers, topic, folder, &setting)?, &[])?;
    let mut asked = None;
    let ended_seconds = loop {
        if begun.elapsed() > LIMIT {
            bail!("it did not end within {LIMIT:?}:\n{}", daemon.log());
        }
        if let Some(status) = daemon.exited()? {
            if !status.success() {
                bail!("it ended with {status}:\n{}", daemon.log());
            }
            break begun.elapsed().as_secs_f64();
        }
        // A daemon that ends while it is asked is seen above.
        if asked.is_none()
            && let Ok((200, body)) = daemon.get("/api/jobs/bench")
        {
            asked = foreseen(&body, begun.elapsed().as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let Some((asked_seconds, foreseen_seconds)) = asked else {
        bail!("nothing was foreseen before the end: the topic is too small");
    };
    if let Some(out) = &out {
        topic::delete(brokers, out)?;
    }
    Ok(Run { workload: workload.name(), asked_seconds, foreseen_seconds, ended_seconds })
}

/// When it is asked, and the end that the API's answer foresees, once a quarter is done.
fn foreseen(body: &str, now: f64) -> Option<(f64, f64)> {
    let job: serde_json::Value = serde_json::from_str(body).ok()?;
    let forecast = job.get("forecast")?;
    let (done, left) = (forecast.get("done")?.as_f64()?, forecast.get("seconds_left")?.as_f64()?);
    (done >= AT).then_some((now, now + left))
}
