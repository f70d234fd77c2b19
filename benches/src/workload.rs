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
}

impl Workload {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
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

/// The config file of a workload over `topic`, with everything it makes below `home`.
///
/// # Errors
/// When a path cannot stand in a config file.
pub fn config(workload: Workload, brokers: &str, topic: &str, home: &Path, setting: &Setting) -> Result<String> {
    let home = home.display().to_string();
    if home.contains(['"', '\\', '$']) {
        bail!("cannot work in {home:?}: expected a path without quotes, backslashes and dollar signs");
    }
    let operator = match workload {
        Workload::W1 => "",
        Workload::W2 => {
            "[[job.bench.operator]]\ntype = \"sql\"\nquery = \"SELECT user_id, ts, price * quantity AS amount \
             FROM input WHERE type = 'purchase'\"\n\n"
        }
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

[job.bench.window]
max_age = "{age}s"
max_rows = {rows}
max_bytes = "{bytes}MiB"

{operator}[job.bench.sink]
type = "parquet"
path = "{home}/out"
compression = "snappy"
"#,
        memory = setting.memory,
        group = home.rsplit('/').next().unwrap_or(topic),
        age = 5 * setting.window_factor,
        rows = 500_000 * setting.window_factor,
        bytes = 256 * setting.window_factor,
    ))
}
