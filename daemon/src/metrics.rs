//! Metrics of the process, and the recorder that all metrics go to.

use std::time::Duration;

use metrics::{Counter, Unit, counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tidemill_engine::metrics::{COMMIT_SECONDS, Described, FRESHNESS, Kind, describe_all};

use crate::process::Usage;

macro_rules! described {
    ($name:expr, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal) => {
        Described { name: $name, kind: Kind::$kind, labels: &[$($label),*], unit: Unit::$unit, help: $help }
    };
}

/// Runs started anew because they stalled.
const STALLS: &str = "tidemill_stalls_total";
/// Daemons that a job needs.
pub const DESIRED_INSTANCES: &str = "tidemill_desired_instances";
/// Daemons that all jobs need.
pub const DESIRED_DAEMONS: &str = "tidemill_desired_daemons";
/// Records that come for a job here.
pub const ARRIVALS: &str = "tidemill_arrivals_per_second";
/// Records that a job can do here.
pub const CAPACITY: &str = "tidemill_capacity_per_second";

/// Room on the disks that jobs write to.
pub const DISK_FREE: &str = "tidemill_disk_free_bytes";

/// Metrics of the process.
pub const PROCESS: &[Described] = &[
    described!(
        "process_cpu_seconds_total",
        Counter,
        Seconds,
        [],
        "User and system CPU time of the daemon, in whole seconds."
    ),
    described!("process_resident_memory_bytes", Gauge, Bytes, [], "Resident memory of the daemon."),
    described!(
        "process_peak_resident_memory_bytes",
        Gauge,
        Bytes,
        [],
        "Largest resident memory since the daemon started."
    ),
    described!("process_open_fds", Gauge, Count, [], "Open file descriptors of the daemon."),
    described!("process_threads", Gauge, Count, [], "Threads of the daemon."),
    described!(
        STALLS,
        Counter,
        Count,
        ["job", "kind"],
        "Runs started anew because the source had records and none was taken (not_polled), or records were taken and \
         none committed (not_committed)."
    ),
    described!(
        DISK_FREE,
        Gauge,
        Bytes,
        ["path"],
        "Room on the disk below `state_dir` and each local folder of a sink or dead letters; jobs are held below \
         `daemon.disk_reserve`."
    ),
    described!(
        ARRIVALS,
        Gauge,
        Count,
        ["job"],
        "Records a second that come into the partitions assigned here, by the growth of their ends over the last half \
         minute or so."
    ),
    described!(
        CAPACITY,
        Gauge,
        Count,
        ["job"],
        "Records a second that the job could do here: that of its slowest stage, whether it is busy or not."
    ),
    described!(
        DESIRED_INSTANCES,
        Gauge,
        Count,
        ["job"],
        "Daemons that the job needs, by what comes, what waits and what one can do: at least 1, at most its partitions; \
         0 for a job that was removed. Absent until something is known. See \"Scaling\" in operating.md."
    ),
    described!(
        DESIRED_DAEMONS,
        Gauge,
        Count,
        [],
        "Daemons that all jobs together need, for an autoscaler: the most that one of them needs, or more where this \
         machine's processors would not do for all of them. Take the largest of all daemons."
    ),
    described!(
        "tidemill_memory_budget_bytes",
        Gauge,
        Bytes,
        [],
        "Memory that the jobs share: `memory` of the configuration, or what it is by default."
    ),
    described!("tidemill_build_info", Gauge, Count, ["version"], "1, with the version that runs."),
];

/// Every metric there is: the engine's, the connectors', the process's.
#[must_use]
pub fn all() -> Vec<&'static Described> {
    tidemill_engine::metrics::ALL.iter().chain(tidemill_connectors::METRICS).chain(PROCESS).collect()
}

/// The reference of all metrics as Markdown: `docs/metrics.md`.
#[must_use]
pub fn docs() -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "# Metrics\n\nServed at `/metrics` in the Prometheus text format. This page is made from the code \
         (`tidemill docs metrics`); a test compares. Times are seconds, sizes bytes; names and labels are a contract.\n\n\
         The label `job` is the job's name. Prometheus has a label of that name of its own and renames ours to \
         `exported_job`: scrape with `honor_labels: true`, as all expressions in these pages suppose.\n\n\
         ```yaml\nscrape_configs:\n  - job_name: tidemill\n    honor_labels: true\n    static_configs:\n      \
         - targets: [\"127.0.0.1:9464\"]\n```\n\n\
         Counters are there from a job's start on, at 0 for each value that a label can have, those of a partition from \
         the first run that reads it: `increase(…)` finds the first event too. What to alert on is in \
         [alerts.yml](alerts.yml).\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for d in all() {
        let kind = match d.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = d.labels.iter().map(|l| format!("`{l}`")).collect();
        let _ = writeln!(text, "| `{}` | {kind} | {} | {} |", d.name, labels.join(", "), d.help);
    }
    text
}

/// Installs the recorder for the whole process.
///
/// # Errors
/// When one is installed already.
pub fn install(memory: u64) -> anyhow::Result<PrometheusHandle> {
    let seconds =
        [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.into()), &seconds)?
        .set_buckets_for_metric(Matcher::Full(FRESHNESS.into()), &seconds)?
        .upkeep_timeout(Duration::from_secs(5))
        .install_recorder()?;
    tidemill_engine::metrics::describe();
    describe_all(tidemill_connectors::METRICS);
    describe_all(PROCESS);
    #[allow(clippy::cast_precision_loss)] // gauges are floats
    gauge!("tidemill_memory_budget_bytes").set(memory as f64);
    gauge!("tidemill_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Runs of a job started anew because they stalled in this way.
pub fn stalls(job: &str, kind: &'static str) -> Counter {
    counter!(STALLS, "job" => job.to_owned(), "kind" => kind)
}

/// Refreshes the metrics of the process.
#[allow(clippy::cast_precision_loss)] // gauges are floats
pub fn refresh_process() {
    let Some(usage) = Usage::now() else { return };
    counter!("process_cpu_seconds_total").absolute(usage.cpu.as_secs());
    gauge!("process_resident_memory_bytes").set(usage.rss_bytes as f64);
    gauge!("process_peak_resident_memory_bytes").set(usage.peak_rss_bytes as f64);
    gauge!("process_open_fds").set(usage.open_fds as f64);
    gauge!("process_threads").set(usage.threads as f64);
}

#[cfg(test)]
mod tests {
    use tidemill_engine::progress::JobState;

    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, super::docs()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), super::docs(), "run the test again with UPDATE_DOCS=1");
    }

    #[test]
    fn alerts_name_metrics_and_labels_that_there_are() {
        let alerts = include_str!("../../docs/alerts.yml");
        let told = include_str!("../../docs/operating.md");
        let code: String = alerts.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let all = super::all();
        let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
        let mut seen = 0;
        for (at, _) in code.match_indices("tidemill_") {
            let name = word(&code[at..]);
            let metric = all.iter().find(|d| d.name == name.trim_end_matches("_bucket"));
            let metric = metric.unwrap_or_else(|| panic!("there is no metric {name}"));
            seen += 1;
            let Some(selector) = code[at + name.len()..].strip_prefix('{') else { continue };
            for matcher in selector.split_once('}').unwrap().0.split(',') {
                let label = word(matcher);
                assert!(metric.labels.contains(&label.as_str()), "{name} has no label {label}");
                let states = matcher.split('"').nth(1).filter(|_| label == "state").into_iter();
                for state in states.flat_map(|states| states.split('|')) {
                    assert!(JobState::NAMES.contains(&state), "{name} has no state {state}");
                }
            }
        }
        assert!(seen >= 15, "{seen} metrics in alerts.yml");
        for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            assert!(told.contains(&format!("`{alert}`")), "operating.md does not say what to do about {alert}");
        }
    }

    #[test]
    fn names_are_told_once_and_follow_the_conventions() {
        let mut names: Vec<_> = super::all().iter().map(|d| d.name).collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
        for d in super::all() {
            let counter = d.kind == tidemill_engine::metrics::Kind::Counter;
            assert_eq!(counter, d.name.ends_with("_total"), "{}", d.name);
            assert!(d.help.ends_with('.'), "{}", d.name);
        }
    }
}
