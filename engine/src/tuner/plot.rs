//! A simulated run as a picture: arrivals, windows and ages over time, as SVG.

use std::fmt::Write;

use super::loads::Trace;
use super::simulator::Outcome;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 150.0;
const LEFT: f64 = 70.0;
const GAP: f64 = 40.0;
const COLOURS: [&str; 8] = ["#1f6feb", "#d1242f", "#8250df", "#1a7f37", "#bf8700", "#57606a", "#0a7ea4", "#a40e26"];
/// Points of a curve; more would not be seen.
const POINTS: usize = 450;

/// One policy's run.
#[derive(Clone, Copy, Debug)]
pub struct Curve<'a> {
    /// Its name.
    pub name: &'a str,
    /// What came of it.
    pub outcome: &'a Outcome,
}

/// A picture of `curves` over a trace, with the target as a line.
#[must_use]
pub fn svg(title: &str, trace: &Trace, target: f64, curves: &[Curve<'_>]) -> String {
    let height = 3.0 * (PANEL + GAP) + 60.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/><text x=\"{LEFT}\" y=\"20\" \
         font-size=\"15\">{}</text>",
        escaped(title)
    );
    let seconds = trace.seconds();
    #[allow(clippy::cast_precision_loss)] // few
    let rates: Vec<(f64, f64)> = (0..POINTS)
        .map(|i| {
            let (from, to) = (seconds * i as f64 / POINTS as f64, seconds * (i + 1) as f64 / POINTS as f64);
            (0.5 * (from + to), (trace.before(to) - trace.before(from)) / (to - from))
        })
        .collect();
    panel(&mut out, 0, "rows/s", seconds, None, &[("#57606a", rates)]);
    let series = |value: &dyn Fn(&super::simulator::SimulatedWindow) -> f64| -> Vec<(&'static str, Vec<(f64, f64)>)> {
        curves
            .iter()
            .enumerate()
            .map(|(i, curve)| {
                let all: Vec<(f64, f64)> = curve.outcome.windows.iter().map(|w| (w.visible, value(w))).collect();
                (COLOURS[i % COLOURS.len()], worst(&all, seconds))
            })
            .collect()
    };
    panel(&mut out, 1, "window, s", seconds, None, &series(&|w| w.cut - w.opened));
    panel(&mut out, 2, "oldest age, s", seconds, Some(target), &series(&|w| w.visible - w.opened));
    let mut x = LEFT;
    for (i, curve) in curves.iter().enumerate() {
        let text = format!(
            "{}: {:.2} % in target, {} commits",
            curve.name,
            100.0 * curve.outcome.in_target(),
            curve.outcome.windows.len()
        );
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"{}\" font-size=\"11\">{}</text>",
            height - 20.0,
            COLOURS[i % COLOURS.len()],
            x + 14.0,
            height - 11.0,
            escaped(&text)
        );
        #[allow(clippy::cast_precision_loss)] // a line
        {
            x += 24.0 + 5.8 * text.len() as f64;
        }
    }
    out.push_str("</svg>\n");
    out
}

/// The largest value in each of [`POINTS`] parts: what a reader looks for are the peaks.
fn worst(all: &[(f64, f64)], seconds: f64) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    #[allow(clippy::cast_precision_loss)] // few
    let width = seconds / POINTS as f64;
    for (t, value) in all {
        let slot = (t / width).floor();
        match out.last_mut() {
            Some((before, most)) if *before == slot => *most = most.max(*value),
            _ => out.push((slot, *value)),
        }
    }
    out.iter().map(|(slot, value)| ((slot + 0.5) * width, *value)).collect()
}

fn panel(
    out: &mut String,
    index: u8,
    label: &str,
    seconds: f64,
    line: Option<f64>,
    series: &[(&str, Vec<(f64, f64)>)],
) {
    let top = 35.0 + f64::from(index) * (PANEL + GAP);
    let values = series.iter().flat_map(|(_, points)| points.iter().map(|(_, v)| *v));
    let most = line.map_or(0.0, |l| 1.6 * l);
    // A single wild window must not flatten all the others.
    let most = if line.is_some() { most } else { values.fold(1e-9, f64::max) } * 1.05;
    let x = |t: f64| LEFT + (WIDTH - LEFT - 20.0) * t / seconds;
    let y = |v: f64| top + PANEL * (1.0 - (v / most).min(1.0));
    let _ = write!(
        out,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{PANEL}\" fill=\"none\" stroke=\"#d0d7de\"/>\
         <text x=\"{LEFT}\" y=\"{}\" fill=\"#57606a\">{label}</text>",
        WIDTH - LEFT - 20.0,
        top - 5.0
    );
    for part in [0.0, 0.5, 1.0] {
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#57606a\">{}</text>",
            LEFT - 5.0,
            y(part * most) + 4.0,
            short(part * most)
        );
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{}</text>",
            x(part * seconds),
            top + PANEL + 14.0,
            short(part * seconds) + " s"
        );
    }
    for (colour, points) in series {
        let path: Vec<String> = points.iter().map(|(t, v)| format!("{:.1},{:.1}", x(*t), y(*v))).collect();
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    if let Some(at) = line {
        let (y, right) = (y(at), WIDTH - 20.0);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d1242f\" stroke-dasharray=\"5 4\"/>"
        );
    }
}

fn short(v: f64) -> String {
    match v {
        v if v >= 1e6 => format!("{:.1} M", v / 1e6),
        v if v >= 1e4 => format!("{:.0} k", v / 1e3),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
