//! The tuner measured: `simulate` writes the tables and pictures of `docs/tuning.md`; `kafka` runs daemons on a real
//! broker, with commits that are slowed down.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tidemill_benches::evaluate;
use tidemill_integration_tests::daemon::{Daemon, binary};
use tidemill_integration_tests::freshness::{self, Freshness};
use tidemill_integration_tests::kafka::Kafka;

/// Longest wait for a daemon's first run.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Measures the tuner.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// All policies in the simulator, into a folder.
    Simulate {
        /// The folder.
        #[arg(default_value = "docs/tuning")]
        folder: PathBuf,
        /// Runs of each with other noise.
        #[arg(long, default_value_t = 20)]
        seeds: u64,
    },
    /// Daemons on a real broker (a debug build of `tidemill`, which can be slowed down, has to be there).
    Kafka {
        /// Seconds of each run.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
        /// Freshness to hold, seconds.
        #[arg(long, default_value_t = 10.0)]
        target: f64,
        /// Seconds that a commit is slowed by. May be repeated.
        #[arg(long = "commit", default_values_t = [0.3, 5.0])]
        commits: Vec<f64>,
        /// Records a second at the step's height; a 7.5th of it before and after.
        #[arg(long, default_value_t = 12_000.0)]
        rate: f64,
        /// Loads.
        #[arg(long = "load", default_values = ["step", "slow_sink"])]
        loads: Vec<String>,
        /// Policies.
        #[arg(long = "policy", default_values = ["fixed", "pi", "tuned"])]
        policies: Vec<String>,
        /// Run the policies of a load side by side on one broker: a third of the time, and the same noise for all.
        #[arg(long)]
        side_by_side: bool,
        /// Folder for the daemons; a temporary one by default.
        #[arg(long)]
        home: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::Simulate { folder, seeds } => {
            print!("{}", evaluate::evaluate(&folder, seeds)?);
            Ok(())
        }
        What::Kafka { seconds, target, commits, rate, loads, policies, side_by_side, home } => {
            let kafka = Kafka::start()?;
            let temporary = tempfile::tempdir()?;
            let root = home.unwrap_or_else(|| temporary.path().to_owned());
            println!(
                "| load | commit, s | policy | in target, % | p99, s | commits | said infeasible after, s | p99 said |"
            );
            println!("|---|---|---|---|---|---|---|---|");
            for load in &loads {
                for commit in &commits {
                    let runs: Vec<_> = policies
                        .iter()
                        .map(|policy| Run { seconds, target, commit: *commit, rate, load, policy })
                        .collect();
                    for some in runs.chunks(if side_by_side { runs.len() } else { 1 }) {
                        for row in at_once(some, &kafka, &root)? {
                            println!("{row}");
                        }
                    }
                }
            }
            Ok(())
        }
    }
}

/// The rows of these runs, made at the same time.
fn at_once(runs: &[Run<'_>], kafka: &Kafka, root: &std::path::Path) -> Result<Vec<String>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = runs.iter().map(|run| scope.spawn(|| run.run(kafka, root))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a run panicked"))).collect()
    })
}

struct Run<'a> {
    seconds: u64,
    target: f64,
    commit: f64,
    rate: f64,
    load: &'a str,
    policy: &'a str,
}

impl Run<'_> {
    fn run(&self, kafka: &Kafka, root: &std::path::Path) -> Result<String> {
        let topic = kafka.topic("tuning", 4, &[])?;
        let root = root.join(&topic);
        let home = root.join("a");
        std::fs::create_dir_all(&home)?;
        let slow = root.join("commit-seconds");
        std::fs::write(&slow, self.commit.to_string())?;
        let window = match self.policy {
            "fixed" => "max_age = \"2s\"\nmax_rows = 100_000_000\nmax_bytes = \"4GiB\"".to_owned(),
            "pi" | "tuned" => format!("freshness = \"{}ms\"", (self.target * 1000.0).round()),
            other => bail!("no policy {other}: expected fixed, pi or tuned"),
        };
        let told = format!("@{}", slow.display());
        let env = [
            ("TIDEMILL_TEST_COMMIT_SECONDS", told.as_str()),
            ("TIDEMILL_TEST_TUNER", if self.policy == "pi" { "pi" } else { "" }),
        ];
        let mut daemon = Daemon::spawn(&home, &freshness::config(kafka.brokers(), &topic, &root, &window), &env)?;
        daemon.http_port(STARTS_WITHIN)?;
        is_slowed(&daemon)?;
        std::thread::sleep(Duration::from_secs(5));
        #[allow(clippy::cast_precision_loss)] // seconds
        let length = self.seconds as f64;
        let (load, high) = (self.load.to_owned(), self.rate);
        let middle = move |t: f64| t >= length / 3.0 && t < 2.0 * length / 3.0;
        let file = slow.clone();
        let (steady, slower) = (self.commit, self.commit * 0.8 / 0.35);
        if load == "slow_sink" {
            std::thread::spawn(move || {
                for seconds in [slower, steady] {
                    std::thread::sleep(Duration::from_secs_f64(length / 3.0));
                    let _ = std::fs::write(&file, seconds.to_string());
                }
            });
        } else if load != "step" {
            bail!("no load {load}: expected step or slow_sink");
        }
        let rate = move |t: f64| match load.as_str() {
            "step" if !middle(t) => high / 7.5,
            "slow_sink" => high / 2.5,
            _ => high,
        };
        let stamps = freshness::produce(kafka.brokers(), &topic, 4, Duration::from_secs(self.seconds), rate)?;
        std::thread::sleep(Duration::from_secs_f64(self.target.max(3.0 * self.commit)));
        daemon.term(Duration::from_secs(120))?;
        let found = Freshness::read(&root.join("out"), "fresh", &stamps, 0)?;
        if found.missing > 0 {
            bail!("{} records are missing in {}", found.missing, root.display());
        }
        let (after, said) = infeasible(&daemon.log());
        Ok(format!(
            "| {} | {} | {} | {:.2} | {:.2} | {} | {after} | {said} |",
            self.load,
            self.commit,
            self.policy,
            100.0 * found.within(self.target),
            found.quantile(0.99),
            found.commits
        ))
    }
}

/// A release build knows nothing of slow commits and would be measured as it is.
fn is_slowed(daemon: &Daemon) -> Result<()> {
    let begun = Instant::now();
    while !daemon.log().contains("commits are slowed down, for a test") {
        if begun.elapsed() > STARTS_WITHIN {
            bail!(
                "{} does not slow its commits down, as debug builds do: `cargo build -p tidemill`, and run this without \
                 --release or with TIDEMILL_TEST_BINARY=target/debug/tidemill",
                binary()?.display()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// When the log first says that no window holds the target, after the daemon's first line, and the p99 it says.
fn infeasible(log: &str) -> (String, String) {
    let time = |line: &str| chrono_seconds(line.split_whitespace().next().unwrap_or_default());
    let Some(begun) = log.lines().next().and_then(time) else { return ("?".into(), "?".into()) };
    let Some(line) = log.lines().find(|line| line.contains("no window keeps the freshness")) else {
        return ("-".into(), "-".into());
    };
    let said = line.split("reachable_p99_seconds=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let after = time(line).map_or("?".into(), |at| format!("{:.0}", (at - begun).rem_euclid(86_400.0)));
    (after, said.unwrap_or("?").into())
}

/// Seconds of the day in an RFC 3339 time.
fn chrono_seconds(text: &str) -> Option<f64> {
    let clean: String = text.chars().filter(|c| c.is_ascii_digit() || "-:T.".contains(*c)).collect();
    let time = clean.split_once('T')?.1.to_owned();
    let mut parts = time.split(':').map(str::parse::<f64>);
    let (h, m, s) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    Some(h * 3600.0 + m * 60.0 + s)
}
