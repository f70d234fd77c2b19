//! What the pictures have in common.

use std::fmt::Write;

/// Starts a picture of so many units, on white.
#[must_use]
pub fn open(width: f64, height: f64, title: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/><text x=\"20\" y=\"20\" \
         font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    out.reserve(16 << 10);
    out
}

/// Writes at a place; `anchor` as in SVG.
pub fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, what: &str) {
    let what = escaped(what);
    let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{what}</text>");
}

/// A figure in few characters.
#[must_use]
pub fn short(v: f64) -> String {
    match v {
        v if v >= 999_500.0 => format!("{:.2} M", v / 1e6),
        v if v >= 9995.0 => format!("{:.0} k", v / 1e3),
        v if v >= 99.5 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn escaped(what: &str) -> String {
    what.replace('&', "&amp;").replace('<', "&lt;")
}
