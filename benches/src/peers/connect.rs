//! Kafka Connect: a worker that never ends, so its table is watched.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tidemill_integration_tests::kafka::free_port;
use tidemill_integration_tests::process::tail;

use super::Task;
use super::jvm::Java;
use crate::binaries::LIMIT;
use crate::measure::Usage;
use crate::{topic, tree};

/// Version of the worker, as in the pom.
pub const KAFKA_VERSION: &str = "4.1.0";
/// Where the table's files are, below the run's folder.
pub const DATA: &str = "warehouse/peers/clicks/data";
const METADATA: &str = "warehouse/peers/clicks/metadata";

const WORKER: &str = include_str!("../../peers/connect/worker.properties");
const SINK: &str = include_str!("../../peers/connect/sink.properties");

/// What the worker says of a task or a connector that it gives up.
const FAILED: [&str; 3] =
    ["will not recover until manually restarted", "Error while starting connector", "Failed to start connector"];

/// Makes the table, then measures the worker until all records are committed to it.
pub(super) fn run(java: &Java, task: &Task<'_>, log: &Path) -> Result<Usage> {
    let name = task.home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut create = java.command();
    create.arg("CreateTable").arg(task.home.join("warehouse"));
    let out = create.stdin(Stdio::null()).output().context("cannot run java")?;
    if !out.status.success() {
        bail!("cannot make the table:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    let control = format!("{name}-control");
    topic::create(task.brokers, &control)?;
    let cores = std::thread::available_parallelism()?.to_string();
    let fill = |template: &str| {
        let with = [
            ("{brokers}", task.brokers),
            ("{topic}", task.topic),
            ("{name}", &name),
            ("{cores}", &cores),
            ("{home}", &task.home.display().to_string()),
        ];
        with.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
    };
    let (worker, sink) = (task.home.join("worker.properties"), task.home.join("sink.properties"));
    fs::write(&worker, fill(WORKER).replace("{port}", &free_port()?.to_string()))?;
    fs::write(&sink, fill(SINK))?;
    let mut command = java.command();
    command.arg("org.apache.kafka.connect.cli.ConnectStandalone").arg(worker).arg(sink).current_dir(task.home);
    let metadata = task.home.join(METADATA);
    let mut done = || {
        failure(log)?;
        Ok(committed(&metadata)? >= task.totals.records)
    };
    let usage = tree::run(command, log, LIMIT, Some(&mut done));
    topic::delete(task.brokers, &control)?;
    usage
}

/// A worker whose task or connector failed goes on without it: nobody is to wait for that.
fn failure(log: &Path) -> Result<()> {
    let said = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    if let Some(line) = said.lines().find(|line| FAILED.iter().any(|mark| line.contains(mark))) {
        bail!("the worker's sink failed: {line}\n{}", tail(log, 15));
    }
    Ok(())
}

/// Rows of the table's current snapshot.
fn committed(metadata: &Path) -> Result<u64> {
    let mut newest: Option<(u64, std::path::PathBuf)> = None;
    for entry in fs::read_dir(metadata).with_context(|| format!("cannot list {}", metadata.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.strip_prefix('v').and_then(|rest| rest.strip_suffix(".metadata.json"));
        if let Some(version) = version.and_then(|version| version.parse().ok())
            && newest.as_ref().is_none_or(|(known, _)| version > *known)
        {
            newest = Some((version, path));
        }
    }
    let Some((_, path)) = newest else { return Ok(0) };
    // The Hadoop catalog renames finished files to these names, so that they are whole.
    let table: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)
        .with_context(|| format!("not a table's metadata: {}", path.display()))?;
    let current = &table["current-snapshot-id"];
    let snapshots = table["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
    let total = snapshots.iter().find(|snapshot| &snapshot["snapshot-id"] == current);
    Ok(total.and_then(|s| s["summary"]["total-records"].as_str()).and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_failed_ends_the_run() {
        let dir = tempfile::tempdir().expect("tempdir");
        let log = dir.path().join("log");
        fs::write(&log, "10:00:00.000 ERROR Worker: something that passes\n").expect("writes");
        failure(&log).expect("goes on");
        let line = "ERROR WorkerTask: WorkerSinkTask{id=x-0} Task threw an uncaught and unrecoverable exception. \
                    Task is being killed and will not recover until manually restarted";
        fs::write(&log, format!("{line}\norg.apache.kafka.connect.errors.ConnectException: the reason\n"))
            .expect("writes");
        let error = failure(&log).expect_err("failed").to_string();
        assert!(error.contains("WorkerSinkTask") && error.contains("the reason"), "{error}");
    }

    #[test]
    fn the_newest_metadata_tells_the_rows() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(committed(dir.path()).expect("reads"), 0);
        let file = |version: u32, rows: u32| {
            let text = format!(
                r#"{{"current-snapshot-id": 7, "snapshots": [
                    {{"snapshot-id": 6, "summary": {{"total-records": "1"}}}},
                    {{"snapshot-id": 7, "summary": {{"total-records": "{rows}"}}}}]}}"#
            );
            fs::write(dir.path().join(format!("v{version}.metadata.json")), text).expect("writes");
        };
        file(9, 90);
        file(10, 100);
        fs::write(dir.path().join("v11.metadata.json.tmp"), "half").expect("writes");
        assert_eq!(committed(dir.path()).expect("reads"), 100);
    }
}
