//! Tidemill beside other engines: `cargo run --release -p tidemill-benches --bin peers`.
//!
//! All read the same topic from the same broker in turn, each as a whole process (with all that it starts) from exec to
//! exit, and what they wrote is checked. Peers on the JVM run a second time with the work done twice in one process: the
//! second time is shown as warm.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Parser;
use tidemill_benches::clicks::{MAX_RECORDS, Totals};
use tidemill_benches::peers::report::{Report, Run};
use tidemill_benches::peers::{Peer, Ready, Task};
use tidemill_benches::report::{write_json, write_svg};
use tidemill_benches::workload::Workload;
use tidemill_benches::{binaries, topic};
use tidemill_integration_tests::jars;
use tidemill_integration_tests::kafka::Kafka;

/// Measures Tidemill beside other engines.
#[derive(Parser)]
struct Args {
    /// What is run.
    #[arg(long, value_enum, default_value = "w1")]
    workload: Workload,
    /// Who runs it; those that do not do the workload are left out.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tidemill,raw,flink,spark,connect,bento")]
    peers: Vec<Peer>,
    /// Records of the topic.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORDS))]
    records: u64,
    /// How often each runs, in turn.
    #[arg(long, default_value_t = 3)]
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
    /// `memory` of Tidemill.
    #[arg(long, default_value = "128MiB")]
    memory: String,
    /// A folder to work in, kept (logs, settings), not what was written; else a temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
    /// Take the binaries as they are, without building them first.
    #[arg(long)]
    no_build: bool,
    /// Only fetch and compile what the peers need, and build the binaries.
    #[arg(long)]
    prepare: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: its figures mean nothing");
    }
    if !args.no_build {
        binaries::build()?;
    }
    let scratch = tempfile::Builder::new().prefix("tidemill-peers-").tempdir()?;
    let home = binaries::home(args.home.as_deref(), scratch.path())?;
    let (doing, not): (Vec<Peer>, Vec<Peer>) = args.peers.iter().partition(|p| p.guarantee(args.workload).is_some());
    for peer in not {
        eprintln!("{} does not do {}: left out", peer.title(), args.workload.name());
    }
    let peers = if args.prepare { &args.peers } else { &doing };
    let ready: Vec<Ready> = peers.iter().map(|peer| Ready::make(*peer, &home)).collect::<Result<_>>()?;
    if args.prepare {
        jars::kafka()?;
        eprintln!("everything is there");
        return Ok(());
    }
    let report = measure(&args, &ready, &home)?;
    println!("{report}");
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if let Some(path) = &args.svg {
        write_svg(path, &report.svg())?;
    }
    if !report.failures.is_empty() {
        bail!("{} runs failed", report.failures.len());
    }
    Ok(())
}

/// One broker and one topic for all.
fn measure(args: &Args, ready: &[Ready], home: &Path) -> Result<Report> {
    let kafka = Kafka::at(args.brokers.as_deref())?;
    let brokers = kafka.brokers();
    let name = format!("tidemill-peers-{:08x}", rand::random::<u32>());
    eprintln!("filling {name} on {brokers} with {} records", args.records);
    let measured = binaries::fill(brokers, &name, args.records, home)
        .and_then(|totals| Bench { args, brokers, topic: &name, home, totals }.rounds(ready));
    if !kafka.is_own() {
        topic::delete(brokers, &name)?;
    }
    measured
}

struct Bench<'a> {
    args: &'a Args,
    brokers: &'a str,
    topic: &'a str,
    home: &'a Path,
    totals: Totals,
}

impl Bench<'_> {
    /// In each round everyone runs once, so that a machine that changes its speed changes it for all.
    fn rounds(&self, ready: &[Ready]) -> Result<Report> {
        let (mut runs, mut failures) = (Vec::new(), Vec::new());
        // Not counted: the broker's JVM has compiled nothing yet, which whoever is first would pay for.
        if let Some(first) = ready.first()
            && let Err(error) = self.one(first, 0, false, "warm-up")
        {
            failures.push(format!("warm-up: {error:#}"));
        }
        for round in 1..=self.args.runs {
            for peer in ready {
                for warm in [false, true] {
                    if warm && !peer.peer().keeps_session() {
                        continue;
                    }
                    let what = format!("{}-{round}{}", peer.peer().name(), if warm { "-warm" } else { "" });
                    match self.one(peer, round, warm, &what) {
                        Ok(run) => runs.push(run),
                        Err(error) => {
                            eprintln!("{what}: {error:#}");
                            failures.push(format!("{what}: {error:#}"));
                        }
                    }
                }
            }
        }
        let cores = std::thread::available_parallelism()?.get();
        let peers: Vec<Peer> = ready.iter().map(Ready::peer).collect();
        let report = Report::new(self.args.workload, self.totals, self.args.memory.clone(), cores, &peers, runs);
        Ok(Report { failures, ..report })
    }

    fn one(&self, peer: &Ready, round: usize, warm: bool, what: &str) -> Result<Run> {
        let task = Task {
            workload: self.args.workload,
            brokers: self.brokers,
            topic: self.topic,
            totals: &self.totals,
            home: &self.home.join(format!("{}-{what}", self.topic)),
            memory: &self.args.memory,
            times: if warm { 2 } else { 1 },
        };
        let run = Run::new(peer.peer(), round, warm, &self.totals, peer.run(&task)?);
        eprintln!(
            "{what}: {:.2} s, {:.0} records/s, {:.2} CPU-s, peak {} MiB",
            run.wall_seconds,
            run.records_per_second,
            run.cpu_seconds,
            run.whole.peak_rss_bytes >> 20
        );
        Ok(run)
    }
}
