//! Who was measured beside one another, as a picture, SVG: a panel for each measure, a bar for each of them.

use std::fmt::Write;

use crate::svg::{self, short, text};

const LEFT: f64 = 20.0;
const TOP: f64 = 45.0;
/// Room for the names, once.
const NAMES: f64 = 250.0;
const PANEL: f64 = 235.0;
/// Of a panel, so that the figure behind the longest bar has room.
const LONGEST: f64 = 165.0;
const ROW: f64 = 24.0;
const BAR: f64 = 15.0;

/// One who was measured, and what came of it, in the order of the panels.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who.
    pub name: String,
    /// Stands out from the others.
    pub ours: bool,
    /// A figure for each panel; none where it was not measured.
    pub values: Vec<Option<f64>>,
}

/// The picture; in each panel the longest bar is the largest value.
#[must_use]
pub fn svg(title: &str, panels: &[&str], rows: &[Row]) -> String {
    let width = LEFT + NAMES + PANEL * panels.len() as f64;
    let height = TOP + 20.0 + ROW * rows.len() as f64 + 10.0;
    let mut out = svg::open(width, height, title);
    for (i, row) in rows.iter().enumerate() {
        text(&mut out, LEFT, middle(i), "start", "#000", &row.name);
    }
    for (column, name) in panels.iter().enumerate() {
        let left = LEFT + NAMES + PANEL * column as f64;
        text(&mut out, left, TOP + 10.0, "start", "#57606a", name);
        let of = |row: &Row| row.values.get(column).copied().flatten();
        let most = rows.iter().filter_map(of).fold(f64::MIN_POSITIVE, f64::max);
        for (i, row) in rows.iter().enumerate() {
            let Some(value) = of(row) else { continue };
            let (length, colour) = (LONGEST * value / most, if row.ours { "#1f6feb" } else { "#8c959f" });
            let top = middle(i) - BAR + 3.5;
            let _ = write!(
                out,
                "<rect x=\"{left}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            );
            text(&mut out, left + length + 5.0, middle(i), "start", "#000", &short(value));
        }
        out.push('\n');
    }
    out.push_str("</svg>\n");
    out
}

/// Where the text of a row stands.
fn middle(row: usize) -> f64 {
    TOP + 20.0 + ROW * row as f64 + BAR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_bar_of_its_length() {
        let row = |name: &str, ours, values: &[Option<f64>]| Row { name: name.into(), ours, values: values.into() };
        let rows = [row("us", true, &[Some(400.0), Some(2.0)]), row("a < b", false, &[Some(100.0), None])];
        let picture = svg("speed", &["records/s", "MiB"], &rows);
        assert_eq!(picture.matches("height=\"15\"").count(), 3, "{picture}");
        assert!(picture.contains("width=\"165.0\" height=\"15\" fill=\"#1f6feb\""), "{picture}");
        assert!(picture.contains("width=\"41.2\" height=\"15\" fill=\"#8c959f\""), "{picture}");
        assert!(picture.contains(">a &lt; b</text>") && picture.contains(">400</text>"), "{picture}");
    }

    #[test]
    fn nothing_measured_is_no_reason_to_fail() {
        let picture = svg("speed", &["records/s"], &[Row { name: "x".into(), ours: false, values: vec![Some(0.0)] }]);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}
