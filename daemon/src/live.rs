//! The line at the bottom of a terminal that shows how jobs come on, and the log that goes above it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_engine::progress::Snapshot;

/// What stands on the terminal's last line; empty: nothing does.
static LINE: Mutex<String> = Mutex::new(String::new());

const CLEAR: &[u8] = b"\r\x1b[2K";

/// Standard error for the log: a log line replaces the live line, which is then drawn again below it.
#[derive(Debug)]
pub struct LogWriter(MutexGuard<'static, String>);

/// A writer for one log line.
#[must_use]
pub fn log_writer() -> LogWriter {
    LogWriter(LINE.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut err = io::stderr().lock();
        if !self.0.is_empty() {
            err.write_all(CLEAR)?;
        }
        err.write_all(bytes)?;
        if !self.0.is_empty() {
            err.write_all(self.0.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows `line` as the live line; an empty one ends it.
pub fn show(line: &str) {
    let mut shown = LINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut err = io::stderr().lock();
    if !shown.is_empty() || !line.is_empty() {
        let _ = err.write_all(CLEAR);
        let _ = err.write_all(line.as_bytes());
        let _ = err.flush();
    }
    line.clone_into(&mut shown);
}

/// A job's numbers on the line: rows, rate over `elapsed` since `before`, lag, freshness, files.
#[must_use]
pub fn describe(
    name: &str,
    before: &Snapshot,
    now: &Snapshot,
    elapsed: Duration,
    forecast: Option<(f64, Option<Duration>)>,
) -> String {
    let lag: i64 = now.passed.iter().filter_map(|(p, at)| now.ends.get(p).map(|end| (end - at.offset).max(0))).sum();
    #[allow(clippy::cast_precision_loss)] // for people
    let rate = now.records.saturating_sub(before.records) as f64 / elapsed.as_secs_f64().max(0.001);
    let fresh = now.commits.back().and_then(|c| c.freshness_seconds);
    let mut line = format!(
        "{name}: {} {} records  {}/s  lag {}  {} rows in {} files",
        now.state.as_str(),
        short(now.records),
        short(rate as u64),
        short(u64::try_from(lag).unwrap_or(0)),
        short(now.rows),
        now.files,
    );
    if now.rejects > 0 {
        line.push_str(&format!("  {} refused", short(now.rejects)));
    }
    if let Some((done, left)) = forecast {
        line.push_str(&format!("  {:.0} %", 100.0 * done));
        if let Some(left) = left {
            line.push_str(&format!(", {} left", long(left)));
        }
    }
    if let Some(seconds) = fresh {
        line.push_str(&format!("  fresh {seconds:.1} s"));
    }
    line
}

/// A time as people say it.
fn long(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", (s + 30) / 60),
        s => format!("{:.1} h", Duration::from_secs(s).as_secs_f64() / 3600.0),
    }
}

/// A number in four or five characters.
#[must_use]
pub fn short(n: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for people
    let f = n as f64;
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1}k", f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2}M", f / 1e6),
        _ => format!("{:.2}G", f / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_unit() {
        let said = [5, 119, 150, 7_200, 90_000].map(|s| long(Duration::from_secs(s)));
        assert_eq!(said, ["5 s", "119 s", "3 min", "2.0 h", "25.0 h"]);
    }

    #[test]
    fn numbers_stay_short() {
        let shown: Vec<_> = [0, 9_999, 12_345, 3_456_789, 2_000_000_000].into_iter().map(short).collect();
        assert_eq!(shown, ["0", "9999", "12.3k", "3.46M", "2.00G"]);
    }
}
