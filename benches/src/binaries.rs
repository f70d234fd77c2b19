//! The binaries that are measured, built beside the one that measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::clicks::Totals;
use crate::measure;
use crate::wide::Shape;
use crate::workload::{Setting, Workload, config};

/// Longest a measured process may run.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Builds them.
///
/// # Errors
/// When cargo fails.
pub fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "tidemill", "-p", "tidemill-benches", "--bins"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo build failed: {status}");
    }
    Ok(())
}

/// The path of one of them.
///
/// # Errors
/// When it is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} does not exist: run without --no-build", path.display());
    }
    Ok(path)
}

/// The folder to work in: the one `given`, made if it is not there, or `scratch`.
///
/// # Errors
/// When it cannot be made.
pub fn home(given: Option<&Path>, scratch: &Path) -> Result<PathBuf> {
    let home = std::path::absolute(given.unwrap_or(scratch))?;
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    Ok(home)
}

/// The daemon at a workload, with everything it makes below `folder`.
///
/// # Errors
/// When its config cannot be written, or the binary is not there.
pub fn tidemill(workload: Workload, brokers: &str, topic: &str, folder: &Path, setting: &Setting) -> Result<Command> {
    daemon(&config(workload, brokers, topic, folder, setting)?, folder, None)
}

/// The daemon with a config, which is written into `folder`, on the first so many of the machine's cores or on all.
///
/// # Errors
/// When the config cannot be written, or the binary is not there.
pub fn daemon(config: &str, folder: &Path, cores: Option<usize>) -> Result<Command> {
    let file = folder.join("tidemill.toml");
    fs::write(&file, config)?;
    let binary = beside("tidemill")?;
    let mut command = match cores {
        None => Command::new(binary),
        Some(cores) => {
            let mut pinned = Command::new("taskset");
            pinned.arg("-c").arg(format!("0-{}", cores.saturating_sub(1))).arg(binary);
            pinned
        }
    };
    command.args(["run", "--config"]).arg(file).current_dir(folder);
    Ok(command)
}

/// The raw loop, which writes `records` of a topic into the Parquet file `out`.
///
/// # Errors
/// When the binary is not there.
pub fn raw(brokers: &str, topic: &str, records: u64, out: &Path) -> Result<Command> {
    let mut command = Command::new(beside("raw")?);
    command.args([brokers, topic, &records.to_string()]).arg(out);
    Ok(command)
}

/// Makes a topic and fills it in a process of its own (`generate`), whose log goes into `home`: what it holds counts in
/// nobody's memory.
///
/// # Errors
/// When the topic is there already, or the broker does not take a record.
pub fn fill(brokers: &str, topic: &str, records: u64, home: &Path) -> Result<Totals> {
    generate(&[brokers, topic, &records.to_string()], home)
}

/// The same with records of a shape, over so many partitions.
///
/// # Errors
/// When the topic is there already, or the broker does not take a record.
pub fn fill_wide(
    brokers: &str,
    topic: &str,
    records: u64,
    shape: Shape,
    partitions: i32,
    home: &Path,
) -> Result<Totals> {
    let text = |flag: &str, value: &dyn std::fmt::Display| format!("--{flag}={value}");
    let shape = [text("columns", &shape.columns), text("record-bytes", &shape.bytes)];
    generate(&[brokers, topic, &records.to_string(), &shape[0], &shape[1], &text("partitions", &partitions)], home)
}

fn generate(args: &[&str], home: &Path) -> Result<Totals> {
    let log = home.join("generate.log");
    let mut command = Command::new(beside("generate")?);
    // Its log's end is shown when it fails: the error, not where it came from.
    command.args(args).env("RUST_BACKTRACE", "0");
    measure::run(command, &log, LIMIT)?;
    let said = fs::read_to_string(&log)?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("generate answered {last:?}"))
}
