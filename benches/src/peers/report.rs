//! Figures of all peers, as one table and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::jvm::Job;
use super::{Done, Peer};
use crate::bars::{self, Row};
use crate::clicks::Totals;
use crate::measure::Usage;
use crate::report::median;
use crate::workload::Workload;

const MIB: f64 = (1u64 << 20) as f64;

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Short name.
    pub peer: &'static str,
    /// Round, from 1: in each, everyone runs once.
    pub round: usize,
    /// Whether the work was done twice in one process, and the second time counts.
    pub warm: bool,
    /// The whole process, from exec to exit (or until its work was done, where it does not exit by itself).
    pub whole: Usage,
    /// Each time the work was done in the process, where it tells.
    pub jobs: Vec<Job>,
    /// Wall seconds that count: of the whole process when cold, of the last job when warm.
    pub wall_seconds: f64,
    /// CPU seconds that count.
    pub cpu_seconds: f64,
    /// Records a second in the wall seconds that count.
    pub records_per_second: f64,
    /// Bytes of what it wrote: Parquet files, or the payloads of messages.
    pub output_bytes: u64,
    /// Parquet files it wrote; 0 in W3.
    pub files: u64,
}

impl Run {
    /// Puts one together.
    #[must_use]
    pub fn new(peer: Peer, round: usize, warm: bool, totals: &Totals, done: Done) -> Self {
        let last = done.jobs.last().filter(|_| warm);
        let wall_seconds = last.map_or(done.whole.wall_seconds, |job| job.wall_seconds);
        Self {
            peer: peer.name(),
            round,
            warm,
            wall_seconds,
            cpu_seconds: last.map_or(done.whole.cpu_seconds, |job| job.cpu_seconds),
            records_per_second: totals.records as f64 / wall_seconds,
            whole: done.whole,
            jobs: done.jobs,
            output_bytes: done.found.bytes,
            files: done.found.files,
        }
    }
}

/// Medians over the runs of a peer.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Short name.
    pub peer: &'static str,
    /// Name and versions.
    pub title: String,
    /// What it promises.
    pub guarantee: &'static str,
    /// Records a second of whole processes.
    pub cold_records_per_second: f64,
    /// Records a second of the second time in one process.
    pub warm_records_per_second: Option<f64>,
    /// CPU seconds of whole processes.
    pub cold_cpu_seconds: f64,
    /// CPU seconds of the second time in one process.
    pub warm_cpu_seconds: Option<f64>,
    /// Peak memory of processes that do the work once.
    pub cold_peak_rss_bytes: f64,
    /// Peak memory of processes that do it twice.
    pub warm_peak_rss_bytes: Option<f64>,
    /// Bytes written.
    pub output_bytes: f64,
    /// Files written.
    pub files: f64,
    /// Median over the rounds of Tidemill's records a second over this one's best (warm where it has that).
    pub tidemill_is_times: Option<f64>,
}

/// A measurement of all peers.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `w1`, `w2` or `w3`.
    pub workload: &'static str,
    /// What was in the topic.
    pub topic: Totals,
    /// `memory` of Tidemill.
    pub memory: String,
    /// Cores that everyone shares with the broker.
    pub cores: usize,
    /// Medians, in the order the peers were named.
    pub lines: Vec<Line>,
    /// All processes, in the order they ran.
    pub runs: Vec<Run>,
    /// What did not work.
    pub failures: Vec<String>,
}

impl Report {
    /// Puts runs together.
    #[must_use]
    pub fn new(
        workload: Workload,
        topic: Totals,
        memory: String,
        cores: usize,
        peers: &[Peer],
        runs: Vec<Run>,
    ) -> Self {
        let lines = peers.iter().filter_map(|peer| line(*peer, workload, &runs)).collect();
        Self { workload: workload.name(), topic, memory, cores, lines, runs, failures: Vec::new() }
    }

    /// The medians as a picture, SVG: of each its best, warm where it has that.
    #[must_use]
    pub fn svg(&self) -> String {
        let row = |line: &Line| {
            let speed = line
                .warm_records_per_second
                .map_or(line.cold_records_per_second, |warm| warm.max(line.cold_records_per_second));
            let cpu = line.warm_cpu_seconds.unwrap_or(line.cold_cpu_seconds);
            let warm = if line.warm_records_per_second.is_some() { ", warm" } else { "" };
            Row {
                name: format!("{}{warm}", line.title),
                ours: line.peer == Peer::Tidemill.name(),
                values: vec![Some(speed), Some(cpu), Some(line.cold_peak_rss_bytes / MIB)],
            }
        };
        let rounds = self.runs.iter().map(|run| run.round).max().unwrap_or(0);
        let title = format!(
            "{}: {} records, {} cores shared with the broker, medians of {rounds}",
            self.workload.to_uppercase(),
            self.topic.records,
            self.cores
        );
        let rows: Vec<Row> = self.lines.iter().map(row).collect();
        bars::svg(&title, &["records/s", "CPU seconds", "peak MiB, cold"], &rows)
    }
}

fn line(peer: Peer, workload: Workload, runs: &[Run]) -> Option<Line> {
    let of = |warm: bool, figure: fn(&Run) -> f64| {
        let values: Vec<f64> =
            runs.iter().filter(|run| run.peer == peer.name() && run.warm == warm).map(figure).collect();
        (!values.is_empty()).then(|| median(values))
    };
    Some(Line {
        peer: peer.name(),
        title: peer.title(),
        guarantee: peer.guarantee(workload)?,
        cold_records_per_second: of(false, |r| r.records_per_second)?,
        warm_records_per_second: of(true, |r| r.records_per_second),
        cold_cpu_seconds: of(false, |r| r.cpu_seconds)?,
        warm_cpu_seconds: of(true, |r| r.cpu_seconds),
        cold_peak_rss_bytes: of(false, |r| r.whole.peak_rss_bytes as f64)?,
        warm_peak_rss_bytes: of(true, |r| r.whole.peak_rss_bytes as f64),
        output_bytes: of(false, |r| r.output_bytes as f64)?,
        files: of(false, |r| r.files as f64)?,
        tidemill_is_times: ratio(peer, runs),
    })
}

/// Only figures of the same round are compared: they were measured minutes apart.
fn ratio(peer: Peer, runs: &[Run]) -> Option<f64> {
    let best = |name: &str| -> BTreeMap<usize, f64> {
        let mut best = BTreeMap::new();
        for run in runs.iter().filter(|run| run.peer == name) {
            let known: &mut f64 = best.entry(run.round).or_default();
            *known = known.max(run.records_per_second);
        }
        best
    };
    let (ours, theirs) = (best(Peer::Tidemill.name()), best(peer.name()));
    let ratios: Vec<f64> = theirs.iter().filter_map(|(round, speed)| Some(ours.get(round)? / speed)).collect();
    (!ratios.is_empty()).then(|| median(ratios))
}

const HEAD: [&str; 7] = [
    "",
    "records/s cold · warm",
    "CPU-s cold · warm",
    "peak RSS MiB cold · warm",
    "output MiB (files)",
    "Tidemill is",
    "guarantee",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.runs.iter().map(|run| run.round).max().unwrap_or(0);
        writeln!(
            f,
            "{}: {} records, {:.0} MB, {} cores shared with the broker, medians of {rounds}; Tidemill's memory {}\n",
            self.workload,
            self.topic.records,
            self.topic.bytes as f64 / 1e6,
            self.cores,
            self.memory,
        )?;
        let mut table = vec![HEAD.map(str::to_owned)];
        table.extend(self.lines.iter().map(cells));
        let widths = HEAD.map(str::to_owned).map(|_| 0);
        let widths = table.iter().fold(widths, |mut widths: [usize; 7], row| {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
            widths
        });
        for (i, row) in table.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if i == 0 {
                writeln!(f, "|{}", widths.map(|width| "-".repeat(width + 2) + "|").concat())?;
            }
        }
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        Ok(())
    }
}

fn cells(line: &Line) -> [String; 7] {
    let two = |cold: f64, warm: Option<f64>, show: fn(f64) -> String| match warm {
        Some(warm) => format!("{} · {}", show(cold), show(warm)),
        None => show(cold),
    };
    let thousands = |speed: f64| format!("{:.0} k", speed / 1e3);
    let files = if line.files > 0.0 { format!(" ({:.0})", line.files) } else { String::new() };
    [
        line.title.clone(),
        two(line.cold_records_per_second, line.warm_records_per_second, thousands),
        two(line.cold_cpu_seconds, line.warm_cpu_seconds, |s| format!("{s:.1}")),
        two(line.cold_peak_rss_bytes, line.warm_peak_rss_bytes, |bytes| format!("{:.0}", bytes / MIB)),
        format!("{:.0}{files}", line.output_bytes / MIB),
        line.tidemill_is_times.map_or_else(String::new, |times| format!("{times:.2} ×")),
        line.guarantee.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Found;

    fn run(peer: Peer, round: usize, jobs: &[f64], whole: f64) -> Run {
        let usage = Usage { wall_seconds: whole, cpu_seconds: 2.0 * whole, peak_rss_bytes: 100 << 20 };
        let job = |wall: &f64| Job { wall_seconds: *wall, cpu_seconds: *wall };
        let done = Done {
            whole: usage,
            jobs: jobs.iter().map(job).collect(),
            found: Found { files: 2, bytes: 3 << 20, ..Found::default() },
        };
        Run::new(peer, round, jobs.len() > 1, &Totals { records: 1_000_000, ..Totals::default() }, done)
    }

    #[test]
    fn cold_is_the_process_and_warm_the_second_job() {
        let runs = vec![
            run(Peer::Tidemill, 1, &[], 1.0),
            run(Peer::Flink, 1, &[8.0], 10.0),
            run(Peer::Flink, 1, &[8.0, 4.0], 15.0),
            run(Peer::Tidemill, 2, &[], 2.0),
            run(Peer::Flink, 2, &[8.0], 10.0),
            run(Peer::Flink, 2, &[8.0, 4.0], 15.0),
        ];
        let totals = Totals { records: 1_000_000, ..Totals::default() };
        let peers = [Peer::Tidemill, Peer::Flink, Peer::Spark];
        let report = Report::new(Workload::W1, totals, "128MiB".into(), 2, &peers, runs);
        assert_eq!(report.lines.len(), 2, "Spark did not run");
        let flink = &report.lines[1];
        assert!((flink.cold_records_per_second - 100e3).abs() < 1.0, "{flink:?}");
        assert!((flink.warm_records_per_second.expect("warm") - 250e3).abs() < 1.0, "{flink:?}");
        assert!((flink.cold_cpu_seconds - 20.0).abs() < 1e-9);
        assert!((flink.warm_cpu_seconds.expect("warm") - 4.0).abs() < 1e-9);
        // 4 times in the first round, 2 times in the second, of the warm figure.
        assert!((flink.tidemill_is_times.expect("a ratio") - 3.0).abs() < 1e-9, "{flink:?}");
        let picture = report.svg();
        assert!(picture.contains(">250 k<") && picture.contains(", warm</text>"), "the best of it: {picture}");
        let shown = report.to_string();
        assert!(shown.contains("100 k · 250 k") && shown.contains("3.00 ×") && shown.contains("3 (2)"), "{shown}");
    }
}
