//! The workloads as Tidemill runs them.

use std::path::Path;

use anyhow::{Result, bail};

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Topic → typed columns → snappy Parquet, exactly once.
    W1,
    /// The same with a filter and an expression in SQL.
    W2,
    /// The same filter → another topic, in transactions, payload and key as they came.
    W3,
}

impl Workload {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
        }
    }
}

/// What a figure depends on beside the records.
#[derive(Clone, Debug)]
pub struct Setting {
    /// `memory` of the daemon.
    pub memory: String,
    /// The window's three bounds (5 s, 500,000 rows, 256 MiB) times this.
    pub window_factor: u64,
}

/// The topic that W3 writes into, of the run in `home`. It has to exist.
#[must_use]
pub fn out_topic(home: &Path) -> String {
    let name = home.file_name().map_or_else(|| "home".into(), |name| name.to_string_lossy().into_owned());
    format!("{name}-out")
}

/// A path as it can stand in a config file.
///
/// # Errors
/// When it cannot.
pub fn plain(path: &Path) -> Result<String> {
    let path = path.display().to_string();
    if path.contains(['"', '\\', '$']) {
        bail!("cannot work in {path:?}: expected a path without quotes, backslashes and dollar signs");
    }
    Ok(path)
}

/// The config file of a workload over `topic`, with everything it makes below `home`.
///
/// # Errors
/// When a path cannot stand in a config file.
pub fn config(workload: Workload, brokers: &str, topic: &str, home: &Path, setting: &Setting) -> Result<String> {
    let out = out_topic(home);
    let home = plain(home)?;
    let operator = match workload {
        Workload::W1 => "",
        Workload::W2 => {
            "[[job.bench.operator]]\ntype = \"sql\"\nquery = \"SELECT user_id, ts, price * quantity AS amount \
             FROM input WHERE type = 'purchase'\"\n\n"
        }
        Workload::W3 => {
            "[[job.bench.operator]]\ntype = \"sql\"\nquery = \"SELECT _key, _value FROM input WHERE type = 'purchase'\"\n\n"
        }
    };
    let metadata = if workload == Workload::W3 { "metadata = [\"key\", \"value\"]\n" } else { "" };
    let sink = match workload {
        Workload::W3 => format!(
            "type = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{out}\"\nkey = \"_key\"\n\
             format = {{ type = \"raw\", column = \"_value\" }}\n"
        ),
        _ => format!("type = \"parquet\"\npath = \"{home}/out\"\ncompression = \"snappy\"\n"),
    };
    Ok(format!(
        r#"[daemon]
state_dir = "{home}/state"
http = "127.0.0.1:0"
memory = "{memory}"

[job.bench]
on_error = "fail"

[job.bench.source]
type = "kafka"
brokers = "{brokers}"
topics = ["{topic}"]
consumer_group = "tidemill-{group}"
start = "earliest"
until = "end"

[job.bench.format]
type = "json"
fields = [
  {{ name = "event_id", type = "string" }}, {{ name = "seq", type = "int64" }}, {{ name = "user_id", type = "int64" }},
  {{ name = "ts", type = "timestamp" }}, {{ name = "type", type = "string" }}, {{ name = "url", type = "string" }},
  {{ name = "price", type = "float64" }}, {{ name = "quantity", type = "int32" }},
  {{ name = "country", type = "string" }}, {{ name = "mobile", type = "bool" }},
]
{metadata}
[job.bench.window]
max_age = "{age}s"
max_rows = {rows}
max_bytes = "{bytes}MiB"

{operator}[job.bench.sink]
{sink}"#,
        memory = setting.memory,
        group = home.rsplit('/').next().unwrap_or(topic),
        age = 5 * setting.window_factor,
        rows = 500_000 * setting.window_factor,
        bytes = 256 * setting.window_factor,
    ))
}
