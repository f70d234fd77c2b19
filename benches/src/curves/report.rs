//! The curves as figures: medians, and how steeply the cost grows.

use std::fmt;

use serde::Serialize;

use super::point::{Axis, Growth, Point};
use crate::measure::Usage;
use crate::report::median;

const MIB: f64 = (1u64 << 20) as f64;
/// What the resident set may have beside `memory`.
const BESIDE_MIB: u64 = 72;
/// A cost that grows as its cause to the power of 1 grows linearly; above this it is called steep. The rest is noise.
const STEEP: f64 = 1.2;

/// One process at a point.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// What it took.
    #[serde(flatten)]
    pub usage: Usage,
    /// Records read, over all jobs.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parquet files it wrote.
    pub files: u64,
    /// Their bytes.
    pub output_bytes: u64,
}

/// A point and what came of it: medians, but for the resident set.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The point.
    pub point: Point,
    /// Records a second, over the whole process.
    pub records_per_second: f64,
    /// Megabytes (of 10⁶ bytes) of records a second.
    pub megabytes_per_second: f64,
    /// CPU seconds for 10⁹ bytes of records.
    pub cpu_seconds_per_gigabyte: f64,
    /// Largest peak of the resident set.
    pub peak_rss_bytes: u64,
    /// Whether that is within `memory` and 72 MiB.
    pub within_memory: bool,
    /// Parquet files.
    pub files: f64,
    /// The power of the axis with which the cost grows from the point before to this one: 1 is linear.
    pub growth: Option<f64>,
    /// All processes.
    pub runs: Vec<Run>,
}

impl Line {
    /// Puts the runs of a point together.
    #[must_use]
    pub fn new(point: Point, runs: Vec<Run>) -> Self {
        let of = |f: fn(&Run) -> f64| median(runs.iter().map(f));
        let peak_rss_bytes = runs.iter().map(|run| run.usage.peak_rss_bytes).max().unwrap_or(0);
        Self {
            records_per_second: of(|run| run.records as f64 / run.usage.wall_seconds),
            megabytes_per_second: of(|run| run.bytes as f64 / 1e6 / run.usage.wall_seconds),
            cpu_seconds_per_gigabyte: of(|run| run.usage.cpu_seconds / (run.bytes as f64 / 1e9)),
            peak_rss_bytes,
            within_memory: peak_rss_bytes <= (point.memory_mib + BESIDE_MIB) << 20,
            files: of(|run| run.files as f64),
            growth: None,
            point,
            runs,
        }
    }

    fn is_steep(&self) -> bool {
        self.growth.is_some_and(|growth| growth > STEEP)
    }
}

/// A daemon with nothing to do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Idle {
    /// For how long it was looked at.
    pub seconds: f64,
    /// Its resident set at the end.
    pub rss_bytes: u64,
    /// CPU, in hundredths of a core.
    pub core_percent: f64,
}

/// A curve.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// What changes along it.
    pub axis: Axis,
    /// Its points.
    pub lines: Vec<Line>,
}

impl Curve {
    /// Puts points in order and compares neighbours.
    #[must_use]
    pub fn new(axis: Axis, mut lines: Vec<Line>) -> Self {
        lines.sort_by(|a, b| a.point.x.total_cmp(&b.point.x));
        let at: Vec<Option<(f64, f64)>> = lines.iter().map(|line| place(axis, line)).collect();
        for (i, line) in lines.iter_mut().enumerate() {
            // More windows are to the left: there the neighbour before is the one after.
            let before = if axis.growth() == Growth::OfByteInverse { i.checked_add(1) } else { i.checked_sub(1) };
            line.growth = before.and_then(|before| growth(*at.get(before)?, at[i]));
        }
        Self { axis, lines }
    }
}

/// Where a line is: how much of the cause, and its cost.
fn place(axis: Axis, line: &Line) -> Option<(f64, f64)> {
    let (x, of_byte) = (line.point.x, line.cpu_seconds_per_gigabyte);
    match axis.growth() {
        Growth::OfRecord => Some((x, of_byte * line.point.topic.shape.bytes as f64)),
        Growth::OfByte => Some((x, of_byte)),
        Growth::OfByteInverse => Some((1.0 / x, of_byte)),
        Growth::None => None,
    }
}

/// The power with which a cost grows between two places.
fn growth(from: Option<(f64, f64)>, to: Option<(f64, f64)>) -> Option<f64> {
    let ((x0, y0), (x1, y1)) = (from?, to?);
    (x0 > 0.0 && x1 > 0.0 && x0 != x1 && y0 > 0.0 && y1 > 0.0).then(|| (y1 / y0).ln() / (x1 / x0).ln())
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// A debug build: its figures mean nothing.
    pub debug_build: bool,
    /// Cores of the machine, shared with the broker.
    pub cores: usize,
    /// Bytes of records at each point.
    pub bytes: u64,
    /// The curves.
    pub curves: Vec<Curve>,
    /// A daemon with one job and nothing to read.
    pub idle: Option<Idle>,
    /// Seconds from exec to the first file that can be seen, of daemons one after the other.
    pub first_commit_seconds: Vec<f64>,
    /// What did not work.
    pub failures: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (megabytes, cores) = (self.bytes as f64 / 1e6, self.cores);
        let debug = if self.debug_build { ", debug build" } else { "" };
        writeln!(f, "{megabytes:.0} MB of records at each point, {cores} cores shared with the broker{debug}")?;
        for curve in &self.curves {
            writeln!(
                f,
                "\n{:<36} {:>12} {:>8} {:>10} {:>9} {:>7} {:>7}",
                curve.axis.title(),
                "records/s",
                "MB/s",
                "CPU-s/GB",
                "peak MiB",
                "files",
                "growth"
            )?;
            for line in &curve.lines {
                let growth = line.growth.map_or_else(String::new, |growth| format!("{growth:.2}"));
                write!(
                    f,
                    "{:<36} {:>12.0} {:>8.1} {:>10.2} {:>9.1} {:>7} {growth:>7}",
                    line.point.label,
                    line.records_per_second,
                    line.megabytes_per_second,
                    line.cpu_seconds_per_gigabyte,
                    line.peak_rss_bytes as f64 / MIB,
                    line.files
                )?;
                if line.is_steep() {
                    f.write_str("  steeper than linear")?;
                }
                if !line.within_memory {
                    write!(f, "  more than memory ({} MiB) + {BESIDE_MIB} MiB", line.point.memory_mib)?;
                }
                writeln!(f)?;
            }
        }
        if let Some(Idle { seconds, rss_bytes, core_percent }) = self.idle {
            let mib = rss_bytes as f64 / MIB;
            writeln!(f, "\nidle, one job: {mib:.1} MiB, {core_percent:.2} % of a core over {seconds:.0} s")?;
        }
        if let Some(longest) = self.first_commit_seconds.iter().copied().reduce(f64::max) {
            let (middle, starts) = (median(self.first_commit_seconds.clone()), self.first_commit_seconds.len());
            writeln!(f, "\nexec to first commit: median {middle:.3} s, longest {longest:.3} s of {starts}")?;
        }
        for failure in &self.failures {
            writeln!(f, "\nfailed: {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: u64, cpu_seconds: f64, rss_mib: u64) -> Run {
        let usage = Usage { wall_seconds: 2.0, cpu_seconds, peak_rss_bytes: rss_mib << 20 };
        Run { usage, records: bytes / 100, bytes, files: 1, output_bytes: bytes / 2 }
    }

    fn curve(axis: Axis, cost: impl Fn(&Point) -> f64) -> Curve {
        let points = axis.points(1_000_000_000, 2).into_iter();
        Curve::new(axis, points.map(|p| Line::new(p.clone(), vec![run(1_000_000_000, cost(&p), 100)])).collect())
    }

    fn steep(curve: &Curve) -> Vec<&str> {
        curve.lines.iter().filter(|line| line.is_steep()).map(|line| line.point.label.as_str()).collect()
    }

    #[test]
    fn a_line_is_the_median_of_its_runs_and_their_largest_peak() {
        let point = Axis::Partitions.points(1_000_000_000, 2).swap_remove(0);
        let runs = [(4.0, 90), (8.0, 110), (5.0, 100)].map(|(cpu, mib)| run(1_000_000_000, cpu, mib));
        let line = Line::new(point.clone(), runs.into());
        assert_eq!((line.cpu_seconds_per_gigabyte, line.peak_rss_bytes >> 20), (5.0, 110));
        assert_eq!((line.megabytes_per_second, line.records_per_second), (500.0, 5_000_000.0));
        assert!(line.within_memory && Line::new(point.clone(), vec![run(1000, 1.0, 200)]).within_memory);
        assert!(!Line::new(point, vec![run(1000, 1.0, 201)]).within_memory);
    }

    #[test]
    fn what_grows_faster_than_linearly_is_called_steep() {
        // The same for every byte: linear in the size of a record.
        let flat = curve(Axis::Size, |_| 5.0);
        assert!(flat.lines[1..].iter().all(|line| (line.growth.expect("a neighbour") - 1.0).abs() < 1e-9));
        assert_eq!((flat.lines[0].growth, steep(&flat).len()), (None, 0));
        // Each column looks at all others.
        let square = curve(Axis::Columns, |p| 1.0 + p.x);
        assert_eq!(steep(&square), ["20", "100", "500"]);
        // A fixed cost and one of each partition.
        assert!(steep(&curve(Axis::Partitions, |p| 3.0 + 0.01 * p.x)).is_empty());
        assert_eq!(steep(&curve(Axis::Partitions, |p| 3.0 + 1e-4 * p.x * p.x)), ["1000"]);
        assert!(curve(Axis::Codec, |p| 1.0 + p.x).lines.iter().all(|line| line.growth.is_none()));
    }

    #[test]
    fn windows_are_compared_from_few_to_many() {
        // A cost of each commit: 10 ms windows cost a hundred times what 1 s windows cost.
        let linear = curve(Axis::Window, |p| 1000.0 / p.x);
        assert!(linear.lines[..4].iter().all(|line| (line.growth.expect("a neighbour") - 1.0).abs() < 1e-9));
        assert_eq!(linear.lines[4].growth, None);
        assert_eq!(steep(&curve(Axis::Window, |p| if p.x < 50.0 { 100.0 } else { 1.0 })), ["10ms"]);
    }

    #[test]
    fn the_table_names_what_is_wrong() {
        let mut curves = vec![curve(Axis::Columns, |p| 1.0 + p.x)];
        curves[0].lines[0].within_memory = false;
        let idle = Some(Idle { seconds: 30.0, rss_bytes: 25 << 20, core_percent: 0.5 });
        let failures = vec!["codec zstd: no file".into()];
        let report = Report { curves, idle, failures, first_commit_seconds: vec![0.1, 0.3, 0.2], ..Report::default() };
        let text = report.to_string();
        for part in ["steeper than linear", "more than memory", "25.0 MiB", "median 0.200 s", "codec zstd: no file"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
