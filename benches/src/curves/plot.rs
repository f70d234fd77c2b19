//! The curves as a picture, SVG: a row for each, with speed, CPU and memory beside one another.

use std::fmt::Write;

use super::report::{Curve, Line, Report};
use crate::svg::{self, short, text};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 20.0;
const PANEL: f64 = 290.0;
const GAP: f64 = 25.0;
const HEIGHT: f64 = 100.0;
const ROW: f64 = 165.0;
const TOP: f64 = 45.0;
/// A largest value so many times the smallest cannot be drawn on the same ruler.
const SPAN: f64 = 30.0;

/// What a panel shows.
struct Measure {
    name: &'static str,
    colour: &'static str,
    of: fn(&Line) -> f64,
}

const MEASURES: [Measure; 3] = [
    Measure { name: "records/s", colour: "#1f6feb", of: |line| line.records_per_second },
    Measure { name: "CPU-s/GB", colour: "#d1242f", of: |line| line.cpu_seconds_per_gigabyte },
    Measure { name: "peak MiB", colour: "#1a7f37", of: |line| line.peak_rss_bytes as f64 / (1u64 << 20) as f64 },
];

/// The picture. Points of a curve stand at the same distance from one another, whatever lies between them.
#[must_use]
pub fn picture(report: &Report) -> String {
    let height = TOP + ROW * report.curves.len() as f64;
    let title = format!(
        "{:.0} MB of records at each point, {} cores shared with the broker{}",
        report.bytes as f64 / 1e6,
        report.cores,
        if report.debug_build { ", debug build" } else { "" }
    );
    let mut out = svg::open(WIDTH, height, &title);
    for (row, curve) in report.curves.iter().enumerate() {
        let top = TOP + ROW * row as f64;
        text(&mut out, LEFT, top, "start", "#000", curve.axis.title());
        for (column, measure) in MEASURES.iter().enumerate() {
            panel(&mut out, LEFT + (PANEL + GAP) * column as f64, top + 25.0, curve, measure);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, left: f64, top: f64, curve: &Curve, measure: &Measure) {
    let values: Vec<f64> = curve.lines.iter().map(measure.of).collect();
    let heights = heights(&values);
    let logarithmic = if is_wide(&values) { " (log)" } else { "" };
    let _ = write!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{PANEL}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#d0d7de\"/>"
    );
    text(out, left, top - 5.0, "start", "#57606a", &format!("{}{logarithmic}", measure.name));
    let step = PANEL / values.len().max(1) as f64;
    let places: Vec<(f64, f64)> = heights
        .iter()
        .enumerate()
        .map(|(i, h)| (left + step * (i as f64 + 0.5), top + HEIGHT - (HEIGHT - 18.0) * h))
        .collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let colour = measure.colour;
    let _ = write!(out, "<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", path.join(" "));
    for (((x, y), value), line) in places.iter().zip(&values).zip(&curve.lines) {
        let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        text(out, *x, y - 6.0, "middle", "#000", &short(*value));
        text(out, *x, top + HEIGHT + 14.0, "middle", "#57606a", &line.point.label);
    }
    out.push('\n');
}

/// How high values stand between 0 and 1: over the largest or, where they lie far apart, over its logarithm.
fn heights(values: &[f64]) -> Vec<f64> {
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    if !is_wide(values) {
        return values.iter().map(|v| v / most).collect();
    }
    let least = values.iter().copied().fold(most, f64::min);
    // A little below the smallest, so that it does not stand on the ground.
    let ground = (least / 2.0).ln();
    values.iter().map(|v| (v.ln() - ground) / (most.ln() - ground)).collect()
}

fn is_wide(values: &[f64]) -> bool {
    let least = values.iter().copied().fold(f64::MAX, f64::min);
    least > 0.0 && values.iter().any(|v| *v > SPAN * least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::point::Axis;
    use crate::curves::report::Run;
    use crate::measure::Usage;

    #[test]
    fn heights_are_on_a_ruler_and_on_a_logarithm_where_values_lie_far_apart() {
        assert_eq!(heights(&[1.0, 4.0, 2.0]), [0.25, 1.0, 0.5]);
        let wide = heights(&[1.0, 100.0, 10_000.0]);
        assert!(wide[0] > 0.0 && (wide[2] - 1.0).abs() < 1e-9, "{wide:?}");
        assert!((wide[2] - wide[1] - (wide[1] - wide[0])).abs() < 1e-9, "{wide:?}");
        assert_eq!(heights(&[0.0, 0.0]), [0.0, 0.0], "nothing is no reason to fail");
    }

    #[test]
    fn every_point_of_every_curve_is_in_the_picture() {
        let curve = |axis: Axis| {
            let line = |(i, point)| {
                let usage = Usage { wall_seconds: 1.0, cpu_seconds: 1.0, peak_rss_bytes: 100 << 20 };
                let records = 1000 + i as u64;
                Line::new(point, vec![Run { usage, records, bytes: 300_000, files: 1, output_bytes: 1 }])
            };
            Curve::new(axis, axis.points(1_000_000, 2).into_iter().enumerate().map(line).collect())
        };
        let picture = picture(&Report { curves: Axis::ALL.map(curve).into(), cores: 2, ..Report::default() });
        let points: usize = Axis::ALL.iter().map(|axis| axis.points(1_000_000, 2).len()).sum();
        assert_eq!(picture.matches("<circle").count(), 3 * points);
        assert!(picture.contains(">zstd</text>") && picture.contains(">10min</text>"), "{picture}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}
