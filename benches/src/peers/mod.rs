//! Other engines at the same work, each resolved at a pinned version and run as its documentation advises. What they run is
//! in `benches/peers/`.

mod bento;
mod connect;
mod jvm;
pub mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::binaries::{self, LIMIT};
use crate::check::{self, Found};
use crate::clicks::Totals;
use crate::measure::Usage;
use crate::peers::jvm::{Classes, Java};
use crate::workload::{Setting, Workload, out_topic};
use crate::{topic, tree};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Peer {
    /// Tidemill itself.
    Tidemill,
    /// The raw loop (`src/bin/raw.rs`); W1 only.
    Raw,
    /// Apache Flink: SQL in W1 and W2, a `DataStream` in W3.
    Flink,
    /// Apache Spark's Structured Streaming.
    Spark,
    /// Kafka Connect with Apache Iceberg's sink; W1 only.
    Connect,
    /// Bento, the fork of Benthos (now Redpanda Connect) that stayed under the MIT licence.
    Bento,
}

impl Peer {
    /// Its name and version.
    #[must_use]
    pub fn title(self) -> String {
        match self {
            Self::Tidemill => format!("Tidemill {}", env!("CARGO_PKG_VERSION")),
            Self::Raw => "raw loop".into(),
            Self::Flink => format!("Flink {}", jvm::FLINK.version),
            Self::Spark => format!("Spark {}", jvm::SPARK.version),
            Self::Connect => {
                format!("Kafka Connect {} + Iceberg sink {}", connect::KAFKA_VERSION, jvm::CONNECT.version)
            }
            Self::Bento => format!("Bento {}", bento::VERSION),
        }
    }

    /// Its name on the command line and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tidemill => "tidemill",
            Self::Raw => "raw",
            Self::Flink => "flink",
            Self::Spark => "spark",
            Self::Connect => "connect",
            Self::Bento => "bento",
        }
    }

    /// What it promises with the settings it runs with, by its documentation; `None` where it does not do the workload.
    #[must_use]
    pub fn guarantee(self, workload: Workload) -> Option<&'static str> {
        match (self, workload) {
            (Self::Raw | Self::Connect, Workload::W2 | Workload::W3) => None,
            (Self::Raw, Workload::W1) => Some("none"),
            (Self::Spark, Workload::W3) | (Self::Bento, _) => Some("at-least-once"),
            (Self::Spark, Workload::W1 | Workload::W2) => Some("exactly-once for readers of its metadata log"),
            (Self::Tidemill | Self::Flink | Self::Connect, _) => Some("exactly-once"),
        }
    }

    /// Whether it can do the work twice in one process: then it is shown warm, too.
    #[must_use]
    pub fn keeps_session(self) -> bool {
        matches!(self, Self::Flink | Self::Spark)
    }
}

/// The work of one process.
#[derive(Clone, Debug)]
pub struct Task<'a> {
    /// W1, W2 or W3.
    pub workload: Workload,
    /// `bootstrap.servers`.
    pub brokers: &'a str,
    /// The topic that is read.
    pub topic: &'a str,
    /// What is in it.
    pub totals: &'a Totals,
    /// The folder of this run alone, with a name that no other run on this broker has.
    pub home: &'a Path,
    /// `memory` of the daemon.
    pub memory: &'a str,
    /// How often the work is done in this process, each time from the topic's start into another output.
    pub times: usize,
}

/// What a process took.
#[derive(Clone, Debug)]
pub struct Done {
    /// The whole process, from exec to exit.
    pub whole: Usage,
    /// Wall and CPU seconds of each time that the work was done in it, where it tells.
    pub jobs: Vec<jvm::Job>,
    /// What the last of them wrote.
    pub found: Found,
}

/// A peer that is ready to run.
#[derive(Debug)]
pub struct Ready {
    peer: Peer,
    program: Program,
}

/// What its processes are started from.
#[derive(Debug)]
enum Program {
    /// A binary beside the one that measures.
    Ours,
    Java(Java),
    Bento(PathBuf),
}

impl Ready {
    /// Resolves what the peer needs into the cache, at the first call on a machine (100 to 300 MB each), and compiles it
    /// there (Go) or its job into `folder` (Java).
    ///
    /// # Errors
    /// When a tool is missing, something cannot be resolved, or the job does not compile.
    pub fn make(peer: Peer, folder: &Path) -> Result<Self> {
        let java = |classes: &Classes| classes.ready(&folder.join(peer.name())).map(Program::Java);
        let program = match peer {
            Peer::Tidemill | Peer::Raw => Program::Ours,
            Peer::Flink => java(&jvm::FLINK)?,
            Peer::Spark => java(&jvm::SPARK)?,
            Peer::Connect => java(&jvm::CONNECT)?,
            Peer::Bento => Program::Bento(bento::compiled()?),
        };
        Ok(Self { peer, program })
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Does the work in a process of its own and checks all that it wrote.
    ///
    /// # Errors
    /// When it fails, takes too long, or wrote something else than it should.
    pub fn run(&self, task: &Task<'_>) -> Result<Done> {
        fs::create_dir_all(task.home)?;
        let outputs = outputs(self.peer, task);
        for output in &outputs {
            output.make(task)?;
        }
        let log = task.home.join("log");
        let whole = match &self.program {
            Program::Java(java) if self.peer == Peer::Connect => connect::run(java, task, &log)?,
            Program::Java(java) => tree::run(job(java, task, &outputs), &log, LIMIT, None)?,
            Program::Bento(binary) => bento::run(binary, task, &outputs[0], &log)?,
            Program::Ours => tree::run(self.ours(task)?, &log, LIMIT, None)?,
        };
        let mut found = Found::default();
        for output in &outputs {
            found = output.check(task)?;
            output.remove(task)?;
        }
        let jobs = jvm::jobs(&log)?;
        if self.peer.keeps_session() && jobs.len() != task.times {
            bail!("{}: expected {} jobs, found {}", log.display(), task.times, jobs.len());
        }
        Ok(Done { whole, jobs, found })
    }

    fn ours(&self, task: &Task<'_>) -> Result<Command> {
        if self.peer == Peer::Raw {
            let out = task.home.join("out");
            fs::create_dir_all(&out)?;
            return binaries::raw(task.brokers, task.topic, task.totals.records, &out.join("raw.parquet"));
        }
        let setting = Setting { memory: task.memory.to_owned(), window_factor: 1 };
        binaries::tidemill(task.workload, task.brokers, task.topic, task.home, &setting)
    }
}

fn job(java: &Java, task: &Task<'_>, outputs: &[Output]) -> Command {
    let mut command = java.command();
    command.args(["Job", task.workload.name(), task.brokers, task.topic]).arg(task.home);
    command.args(outputs.iter().map(Output::name)).current_dir(task.home);
    command
}

/// Where the work goes to.
#[derive(Debug)]
enum Output {
    Folder(PathBuf),
    Topic(String),
}

fn outputs(peer: Peer, task: &Task<'_>) -> Vec<Output> {
    let folder = |name: &str| Output::Folder(task.home.join(name));
    match (peer, task.workload) {
        (Peer::Connect, _) => vec![folder(connect::DATA)],
        (Peer::Tidemill, Workload::W3) => vec![Output::Topic(out_topic(task.home))],
        (Peer::Tidemill | Peer::Raw, _) => vec![folder("out")],
        (_, Workload::W3) => (1..=task.times).map(|n| Output::Topic(format!("{}-{n}", out_topic(task.home)))).collect(),
        _ => (1..=task.times).map(|n| folder(&format!("out-{n}"))).collect(),
    }
}

impl Output {
    fn name(&self) -> String {
        match self {
            Self::Folder(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Topic(name) => name.clone(),
        }
    }

    fn make(&self, task: &Task<'_>) -> Result<()> {
        match self {
            // They make it themselves.
            Self::Folder(_) => Ok(()),
            Self::Topic(name) => topic::create(task.brokers, name),
        }
    }

    fn check(&self, task: &Task<'_>) -> Result<Found> {
        match self {
            Self::Folder(path) => check::check_files(&visible_files(path)?, path, task.workload, task.totals),
            Self::Topic(name) => check::check_topic(task.brokers, name, task.totals),
        }
    }

    fn remove(&self, task: &Task<'_>) -> Result<()> {
        match self {
            Self::Folder(path) => fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display())),
            Self::Topic(name) => topic::delete(task.brokers, name),
        }
    }
}

/// The files of a folder as readers of Hive-like folders see them: those whose names begin with a dot or an underscore are
/// hidden (Flink's unfinished files, Spark's log, checksums). Flink's finished files have no extension.
fn visible_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with(['.', '_']);
        if entry.file_type()?.is_file() && !hidden {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_no_output() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["part-0", ".part-1.inprogress", "_SUCCESS", "part-2.parquet", ".part-2.parquet.crc"] {
            fs::write(dir.path().join(name), "").expect("writes");
        }
        fs::create_dir(dir.path().join("_spark_metadata")).expect("makes");
        let names: Vec<String> = visible_files(dir.path())
            .expect("lists")
            .iter()
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["part-0", "part-2.parquet"]);
    }

    #[test]
    fn nobody_is_asked_for_what_it_does_not_do() {
        assert_eq!(Peer::Raw.guarantee(Workload::W3), None);
        assert_eq!(Peer::Connect.guarantee(Workload::W3), None);
        assert_eq!(Peer::Connect.guarantee(Workload::W2), None);
        assert!(Peer::Flink.guarantee(Workload::W3).is_some());
        assert_eq!(Peer::Bento.guarantee(Workload::W2), Some("at-least-once"));
    }
}
