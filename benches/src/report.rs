//! Figures of a measurement, as a table and as JSON.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::bars::{self, Row};
use crate::clicks::Totals;
use crate::measure::Usage;

const MIB: f64 = (1u64 << 20) as f64;

/// Writes a measurement as JSON.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a picture.
///
/// # Errors
/// When the file cannot be written.
pub fn write_svg(path: &Path, picture: &str) -> Result<()> {
    std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))
}

/// One process' figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Side {
    /// What it took.
    #[serde(flatten)]
    pub usage: Usage,
    /// Records a second, over the whole process.
    pub records_per_second: f64,
    /// Bytes of the Parquet files it wrote.
    pub output_bytes: u64,
    /// How many they are.
    pub files: u64,
}

/// The raw loop and Tidemill, one after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// The raw loop.
    pub raw: Side,
    /// Tidemill.
    pub tidemill: Side,
    /// Tidemill's records a second over the raw loop's.
    pub ratio: f64,
}

/// A measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `w1` or `w2`.
    pub workload: &'static str,
    /// What was in the topic.
    pub topic: Totals,
    /// `memory` of the daemon.
    pub memory: String,
    /// The window's bounds, times those of the workload.
    pub window_factor: u64,
    /// Cores that the processes and the broker share.
    pub cores: usize,
    /// In the order they ran.
    pub pairs: Vec<Pair>,
    /// Median of the pairs' ratios.
    pub median_ratio: f64,
    /// Median of the pairs' CPU seconds, Tidemill's over the raw loop's.
    pub median_cpu_ratio: f64,
    /// Median of the pairs' output bytes, Tidemill's over the raw loop's.
    pub median_output_ratio: f64,
    /// Largest of Tidemill's peak resident sets.
    pub largest_rss_bytes: u64,
}

impl Report {
    /// Puts pairs together.
    #[must_use]
    pub fn new(
        workload: &'static str,
        topic: Totals,
        memory: String,
        window_factor: u64,
        cores: usize,
        pairs: Vec<Pair>,
    ) -> Self {
        let of = |f: fn(&Pair) -> f64| median(pairs.iter().map(f));
        Self {
            workload,
            topic,
            memory,
            window_factor,
            cores,
            median_ratio: of(|p| p.ratio),
            median_cpu_ratio: of(|p| p.tidemill.usage.cpu_seconds / p.raw.usage.cpu_seconds),
            median_output_ratio: of(|p| p.tidemill.output_bytes as f64 / p.raw.output_bytes as f64),
            largest_rss_bytes: pairs.iter().map(|p| p.tidemill.usage.peak_rss_bytes).max().unwrap_or(0),
            pairs,
        }
    }

    /// The medians as a picture, SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let row = |name: &str, ours: bool, side: fn(&Pair) -> Side| {
            let Side { usage, records_per_second, .. } = middle(&self.pairs, side);
            let values = [records_per_second, usage.cpu_seconds, usage.peak_rss_bytes as f64 / MIB];
            Row { name: name.into(), ours, values: values.map(Some).into() }
        };
        let title = format!(
            "{}: {} records, {} cores shared with the broker, medians of {}; {:.2} x the raw loop",
            self.workload.to_uppercase(),
            self.topic.records,
            self.cores,
            self.pairs.len(),
            self.median_ratio
        );
        let rows = [row("tidemill", true, |p| p.tidemill), row("raw loop", false, |p| p.raw)];
        bars::svg(&title, &["records/s", "CPU seconds", "peak MiB"], &rows)
    }
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, side: &Side, ratio: &str) -> fmt::Result {
    writeln!(
        f,
        "{name:<14} {:>8.2} {:>12.0} {:>9.2} {:>11.1} {:>11.1} {:>6} {ratio:>7}",
        side.usage.wall_seconds,
        side.records_per_second,
        side.usage.cpu_seconds,
        side.usage.peak_rss_bytes as f64 / MIB,
        side.output_bytes as f64 / MIB,
        side.files,
    )
}

fn middle(pairs: &[Pair], side: fn(&Pair) -> Side) -> Side {
    let of = |f: fn(Side) -> f64| median(pairs.iter().map(|p| f(side(p))));
    Side {
        usage: Usage {
            wall_seconds: of(|s| s.usage.wall_seconds),
            cpu_seconds: of(|s| s.usage.cpu_seconds),
            peak_rss_bytes: of(|s| s.usage.peak_rss_bytes as f64) as u64,
        },
        records_per_second: of(|s| s.records_per_second),
        output_bytes: of(|s| s.output_bytes as f64) as u64,
        files: of(|s| s.files as f64) as u64,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, cores) = (self.topic.records, self.cores);
        writeln!(
            f,
            "{}: {records} records, {:.0} MB, memory {}, window x {}, {cores} cores shared with the broker",
            self.workload,
            self.topic.bytes as f64 / 1e6,
            self.memory,
            self.window_factor
        )?;
        writeln!(
            f,
            "{:<14} {:>8} {:>12} {:>9} {:>11} {:>11} {:>6} {:>7}",
            "", "wall s", "records/s", "CPU s", "peak MiB", "output MiB", "files", "ratio"
        )?;
        for (i, pair) in self.pairs.iter().enumerate() {
            line(f, &format!("{} raw loop", i + 1), &pair.raw, "")?;
            line(f, &format!("{} tidemill", i + 1), &pair.tidemill, &format!("{:.2}", pair.ratio))?;
        }
        line(f, "median raw", &middle(&self.pairs, |p| p.raw), "")?;
        line(f, "median tidemill", &middle(&self.pairs, |p| p.tidemill), &format!("{:.2}", self.median_ratio))?;
        write!(
            f,
            "tidemill / raw loop, median of pairs: speed {:.2}, CPU {:.2}, output bytes {:.2}; largest peak {:.1} MiB",
            self.median_ratio,
            self.median_cpu_ratio,
            self.median_output_ratio,
            self.largest_rss_bytes as f64 / MIB
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
    }

    #[test]
    fn the_picture_shows_both_sides() {
        let side = |wall_seconds: f64, records_per_second| Side {
            usage: Usage { wall_seconds, cpu_seconds: 7.25, peak_rss_bytes: 300 << 20 },
            records_per_second,
            output_bytes: 1,
            files: 1,
        };
        let pair = Pair { raw: side(2.0, 500e3), tidemill: side(1.0, 1e6), ratio: 2.0 };
        let picture = Report::new("w1", Totals::default(), "128MiB".into(), 1, 2, vec![pair]).svg();
        for shown in ["W1: ", "2.00 x", ">1.00 M<", ">500 k<", ">7.2<", ">300<", ">raw loop<"] {
            assert!(picture.contains(shown), "{shown}: {picture}");
        }
    }
}
