//! The command line and its exit codes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use tidemill_config::Fault;

use crate::client::{self, Daemon, Request};
use crate::supervisor::Origin;
use crate::{demo, logs, plan, positions, service, simulate, verify};

/// Everything went well: bounded jobs are done, or the daemon was told to stop and committed what it had.
pub const OK: u8 = 0;
/// A job failed, or the daemon could not do what it was asked.
pub const FAILED: u8 = 1;
/// The configuration or the command line is wrong; nothing was started.
pub const FAULTY: u8 = 2;
/// A second signal ended the daemon before its last windows were committed; they are read again at the next start.
pub const ABORTED: u8 = 3;

const EXIT_CODES: &str = "Exit codes: 0 done or stopped in order; 1 a job failed; 2 the configuration or the command \
                          line is wrong, nothing was started; 3 ended by a second signal.";

/// Kafka topics into tables, in windows, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the jobs of a config file, or of all `*.toml` of a folder.
    Run {
        /// File or folder.
        #[arg(long, short)]
        config: PathBuf,
        /// Run every job to the end of what is there when it starts, in the order of `after`, then exit; what an earlier
        /// run has done is not done again.
        #[arg(long)]
        until_end: bool,
        #[command(flatten)]
        log: LogArguments,
    },
    /// Check a config file or folder, queries included, without starting anything. Exit 0, or 2 with all faults.
    Check {
        /// File or folder.
        config: PathBuf,
    },
    /// Print the JSON Schema of config files, for editors.
    Schema,
    /// Print the reference of all configuration keys, of all metrics, or of the Kafka client's properties, as Markdown, or
    /// the API as OpenAPI.
    Docs {
        /// Which.
        #[arg(value_enum, default_value = "configuration")]
        page: Page,
    },
    /// Run a whole job on an embedded mock broker for a while, then count what came out of it.
    Demo {
        /// How long to produce.
        #[arg(long, default_value = "30", value_name = "SECONDS")]
        seconds: u64,
        /// Folder for the files; a temporary one by default. Kept.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        log: LogArguments,
    },
    /// Prove from a job's sinks that their commits cover every offset once. Exit 0 proven, 1 broken (the commits are
    /// named), 2 not provable from offsets.
    Verify {
        /// Name of the job.
        job: String,
        /// File or folder.
        #[arg(long, short)]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the positions that a job's sink holds, or change them by hand.
    Positions {
        /// Name of the job.
        job: String,
        /// File or folder.
        #[arg(long, short)]
        config: PathBuf,
        /// Set one partition, as PARTITION=OFFSET or TOPIC/PARTITION=OFFSET. May be repeated.
        #[arg(long = "set", value_name = "P=N", conflicts_with = "reset")]
        set: Vec<String>,
        /// Set all partitions to `earliest`, `latest` or the first record at an RFC 3339 time.
        #[arg(long)]
        reset: Option<String>,
        /// Change without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Show the jobs of a running daemon, or one of them.
    Jobs {
        /// Name of a job.
        job: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show the groups of a running daemon.
    Groups {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Commit what jobs have read and take no more; their partitions stay where they are.
    Pause(Told),
    /// Let paused jobs go on, and start jobs that are stopped, failed or finished.
    Resume(Told),
    /// Commit what jobs have read and stop them.
    Drain(Told),
    /// Commit what jobs have read, stop them and start them anew.
    Restart(Told),
    /// End the open windows of jobs now.
    Cut(Told),
    /// Show the window bounds of a job of a running daemon, or change those that are given, at once.
    Window {
        /// Name of the job.
        job: String,
        /// Longest time from a window's first record to its cut, such as 5s.
        #[arg(long)]
        max_age: Option<String>,
        /// Most records.
        #[arg(long)]
        max_rows: Option<u64>,
        /// Most bytes of raw records, such as 64MiB.
        #[arg(long)]
        max_bytes: Option<String>,
        /// Cut early when no record came for this long, or `none`.
        #[arg(long)]
        idle: Option<String>,
        /// Hold the window that the job's tuner chose last; it goes on learning.
        #[arg(long, conflicts_with = "thaw")]
        freeze: bool,
        /// Let the tuner choose again.
        #[arg(long)]
        thaw: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Say in words how a job of a running daemon chooses its windows, what that leads to, and what would change it.
    Explain {
        /// Name of the job.
        job: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Replay arrivals against policies for the window: what would be in target, and at how many commits.
    Simulate(Box<simulate::Arguments>),
    /// Make a running daemon take over its changed configuration, by the smallest change, or not at all.
    Reload {
        /// Only say what would change, or what is wrong.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// Jobs of a running daemon that are told something.
#[derive(Debug, clap::Args)]
struct Told {
    /// Names of jobs.
    #[arg(required = true)]
    names: Vec<String>,
    /// The names are those of groups: all their jobs.
    #[arg(long)]
    group: bool,
    /// Wait until the jobs are there, at most so many seconds.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Told {
    fn run(self, verb: &'static str) -> anyhow::Result<u8> {
        let wait = self.wait.map(Duration::from_secs);
        client::run(&self.daemon, &Request::Verb { verb, names: self.names, groups: self.group, wait })
    }
}

fn window(
    max_age: Option<String>,
    max_rows: Option<u64>,
    max_bytes: Option<String>,
    idle: Option<String>,
    tuning: Option<&str>,
) -> serde_json::Map<String, serde_json::Value> {
    let idle = idle.map(|idle| if idle == "none" { serde_json::Value::Null } else { idle.into() });
    [
        ("max_age", max_age.map(Into::into)),
        ("max_rows", max_rows.map(Into::into)),
        ("max_bytes", max_bytes.map(Into::into)),
        ("idle", idle),
        ("tuning", tuning.map(Into::into)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
    .collect()
}

/// A page of the reference.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Page {
    /// `docs/configuration.md`
    Configuration,
    /// `docs/metrics.md`
    Metrics,
    /// `docs/openapi.json`
    Api,
    /// `docs/kafka-client.md`
    KafkaClient,
}

/// How to log.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArguments {
    /// Form of the log, which goes to standard error.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// What to log, as `level` or `target=level,…`.
    #[arg(long, env = "TIDEMILL_LOG", default_value = "info")]
    pub log: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Runs the command line. The process's exit code is documented in `--help`.
#[must_use]
pub fn main() -> ExitCode {
    let command = match Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAULTY } else { OK });
        }
    };
    let result = match command {
        Command::Run { config, until_end, log } => {
            let origin = Origin { path: config, until_end };
            logs::install(&log).and_then(|()| service::run(origin, std::io::stderr().is_terminal()))
        }
        Command::Check { config } => Ok(check(&config)),
        Command::Schema => say(&format!("{:#}\n", tidemill_config::schema())),
        Command::Docs { page: Page::Configuration } => say(&tidemill_config::docs()),
        Command::Docs { page: Page::Metrics } => say(&crate::metrics::docs()),
        Command::Docs { page: Page::KafkaClient } => say(&tidemill_connectors::kafka::client_page()),
        Command::Docs { page: Page::Api } => say(&format!("{:#}\n", crate::http::openapi_document())),
        Command::Demo { seconds, out, log } => {
            logs::install(&log).and_then(|()| demo::run(Duration::from_secs(seconds), out))
        }
        Command::Verify { job, config, json } => verify::run(&verify::Request { job, config, json }),
        Command::Positions { job, config, set, reset, yes } => {
            positions::run(&positions::Request { job, config, set, reset, yes })
        }
        Command::Jobs { job, daemon } => client::run(&daemon, &Request::Jobs(job)),
        Command::Groups { daemon } => client::run(&daemon, &Request::Groups),
        Command::Pause(told) => told.run("pause"),
        Command::Resume(told) => told.run("resume"),
        Command::Drain(told) => told.run("drain"),
        Command::Restart(told) => told.run("restart"),
        Command::Cut(told) => told.run("cut"),
        Command::Window { job, max_age, max_rows, max_bytes, idle, freeze, thaw, daemon } => {
            let tuning = [(freeze, "frozen"), (thaw, "on")].into_iter().find(|(asked, _)| *asked).map(|(_, told)| told);
            let bounds = window(max_age, max_rows, max_bytes, idle, tuning);
            client::run(&daemon, &Request::Window { job, bounds })
        }
        Command::Explain { job, daemon } => client::run(&daemon, &Request::Explain(job)),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Reload { check, daemon } => client::run(&daemon, &Request::Reload { check }),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}\n"));
        FAILED
    }))
}

fn check(config: &std::path::Path) -> u8 {
    match plan::load(config) {
        Ok(plan) => {
            for warning in &plan.loaded.warnings {
                complain(&format!("warning: {warning}\n"));
            }
            let jobs = plan.jobs.len();
            let _ = say(&format!("{}: {jobs} job{} ok\n", config.display(), if jobs == 1 { "" } else { "s" }));
            OK
        }
        Err(faults) => {
            print_faults(&faults);
            FAULTY
        }
    }
}

/// Prints every fault, and how many there are, to standard error.
pub fn print_faults(faults: &[Fault]) {
    for fault in faults {
        complain(&format!("{fault}\n"));
    }
    complain(&format!("{} fault{} found\n", faults.len(), if faults.len() == 1 { "" } else { "s" }));
}

/// Writes to standard output; a reader that has gone is no error of ours.
pub(crate) fn say(text: &str) -> anyhow::Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(OK),
    }
}

/// Writes to standard error.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
