//! What arrives: recorded or made up.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// Arrivals over time: rows in each of many equal steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    step: f64,
    /// Rows before the end of each step, from 0.
    sums: Vec<f64>,
    bytes_per_row: f64,
}

impl Trace {
    /// A trace of `rows` in steps of `step` seconds.
    #[must_use]
    pub fn new(step: f64, rows: impl IntoIterator<Item = f64>, bytes_per_row: f64) -> Self {
        let mut sum = 0.0;
        let mut sums = vec![0.0];
        sums.extend(rows.into_iter().map(|rows| {
            sum += rows.max(0.0);
            sum
        }));
        Self { step, sums, bytes_per_row }
    }

    /// A trace of `seconds` at `rate(t)` rows a second.
    #[must_use]
    pub fn of(seconds: f64, bytes_per_row: f64, rate: impl Fn(f64) -> f64) -> Self {
        const STEP: f64 = 0.02;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // hours at most
        let steps = (seconds / STEP) as u32;
        Self::new(STEP, (0..steps).map(|i| rate((f64::from(i) + 0.5) * STEP) * STEP), bytes_per_row)
    }

    /// Seconds it lasts.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub fn seconds(&self) -> f64 {
        self.step * (self.sums.len() - 1) as f64
    }

    /// Bytes of a row.
    #[must_use]
    pub fn bytes_per_row(&self) -> f64 {
        self.bytes_per_row
    }

    /// Rows that came before `t` seconds.
    #[must_use]
    pub fn before(&self, t: f64) -> f64 {
        let at = (t / self.step).max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative
        let i = at as usize;
        match (self.sums.get(i), self.sums.get(i + 1)) {
            (Some(low), Some(high)) => low + (high - low) * at.fract(),
            _ => self.total(),
        }
    }

    /// The same, `times` as much.
    #[must_use]
    pub fn scaled(mut self, times: f64) -> Self {
        for sum in &mut self.sums {
            *sum *= times.max(0.0);
        }
        self
    }

    /// When the arrivals rise most within ten seconds, if they double at least.
    #[must_use]
    pub fn steepest_rise(&self) -> Option<f64> {
        const SPAN: f64 = 10.0;
        let rate = |from: f64| self.before(from + SPAN) - self.before(from);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a day at most
        let spans = (self.seconds() / SPAN) as u32;
        (1..spans.saturating_sub(1))
            .map(|i| f64::from(i) * SPAN)
            .filter(|at| rate(*at) > 2.0 * rate(at - SPAN) && rate(*at) > 0.0)
            .max_by(|a, b| (rate(*a) - rate(a - SPAN)).total_cmp(&(rate(*b) - rate(b - SPAN))))
    }

    /// Rows in all.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// When the row behind the first `rows` comes, seconds; `None`: never.
    #[must_use]
    pub fn next_after(&self, rows: f64) -> Option<f64> {
        let i = self.sums.partition_point(|sum| *sum <= rows);
        let high = *self.sums.get(i)?;
        let low = self.sums[i - 1];
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        Some(self.step * ((i - 1) as f64 + (rows - low).max(0.0) / (high - low)))
    }
}

/// A made-up load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// 20,000 rows a second, 150,000 in the middle half hour.
    Step,
    /// 30,000 rows a second, and 230,000 for 30 s every quarter of an hour.
    Spike,
    /// 10,000 to 130,000 rows a second, up and down in 20 minutes.
    Diurnal,
    /// 5,000 and 90,000 rows a second, changing every 7 seconds.
    Bursts,
    /// 60,000 rows a second, and a sink whose fixed cost is 2.3 times as high in the middle third.
    SlowSink,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Step, Self::Spike, Self::Diurnal, Self::SlowSink, Self::Bursts];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Spike => "spike",
            Self::Diurnal => "diurnal",
            Self::Bursts => "bursts",
            Self::SlowSink => "slow_sink",
        }
    }

    /// Rows a second at `t` of `seconds`, for a load of an hour stretched to that length; fast parts keep their length.
    fn rate(self, t: f64, seconds: f64) -> f64 {
        let hour = 3600.0 * t / seconds;
        match self {
            Self::Step if (600.0..2400.0).contains(&hour) => 150e3,
            Self::Step => 20e3,
            Self::Spike => 30e3 + if (600.0..630.0).contains(&(t % 900.0)) { 200e3 } else { 0.0 },
            Self::Diurnal => 70e3 + 60e3 * (TAU * hour / 1200.0).sin(),
            Self::Bursts if (t / 7.0) % 2.0 >= 1.0 => 5e3,
            Self::Bursts => 90e3,
            Self::SlowSink => 60e3,
        }
    }

    /// Its arrivals over `seconds`, `scale` times as much as by default.
    #[must_use]
    pub fn trace(self, seconds: f64, scale: f64) -> Trace {
        Trace::of(seconds, 200.0, |t| scale * self.rate(t, seconds))
    }

    /// When the load or the sink changes for the worse, seconds of an hour.
    #[must_use]
    pub fn edges(self) -> &'static [f64] {
        match self {
            Self::Step => &[600.0],
            Self::Spike => &[600.0, 1500.0, 2400.0, 3300.0],
            Self::SlowSink => &[1200.0],
            Self::Diurnal | Self::Bursts => &[],
        }
    }
}
