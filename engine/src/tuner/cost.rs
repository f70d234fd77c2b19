//! What a window costs: `seconds = fixed + per_row · rows + per_byte · bytes`, fitted to the last windows.
//!
//! The fit is robust: relative errors, Huber weights, old windows fading, and a ridge to the last estimate. The ridge is
//! what keeps the split between fixed and variable cost when all windows are alike (the data then say nothing about
//! it), and it bounds the covariance. Errors that all go one way are not noise but another regime: the fit starts afresh.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Windows that the fit looks at.
const KEPT: usize = 128;
/// Weight of a window less that of the one after it.
const FADE: f64 = 0.98;
/// Relative errors above this count less.
const HUBER: f64 = 0.25;
/// Errors above this (of the logarithm) are outliers.
const OUTLIER: f64 = 0.3;
/// Strength of the ridge, in windows' weights.
const RIDGE: [f64; 3] = [0.05, 0.05, 0.05];
/// The least fixed cost, seconds.
const FIXED_MIN: f64 = 1e-4;

/// A linear cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds, whatever is in the window.
    pub fixed: f64,
    /// Seconds a row.
    pub per_row: f64,
    /// Seconds a byte of raw records.
    pub per_byte: f64,
}

impl Cost {
    /// Seconds for a window of these rows and bytes.
    #[must_use]
    pub fn seconds(&self, rows: f64, bytes: f64) -> f64 {
        self.fixed + self.per_row * rows + self.per_byte * bytes
    }

    /// Seconds a row of this many bytes adds.
    #[must_use]
    pub fn marginal(&self, bytes_per_row: f64) -> f64 {
        self.per_row + self.per_byte * bytes_per_row
    }
}

/// A window and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Records.
    pub rows: f64,
    /// Bytes of raw records.
    pub bytes: f64,
    /// Seconds.
    pub seconds: f64,
}

/// What a window taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learned {
    /// Seconds it took over seconds predicted before it was known.
    pub ratio: f64,
    /// That is too far off for noise.
    pub outlier: bool,
    /// It was the third outlier in a row: what was known before holds no more.
    pub regime: bool,
}

/// The fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostModel {
    samples: VecDeque<Sample>,
    cost: Option<Cost>,
    /// Inverse of the normal matrix, in the units of [`Self::scale`].
    inverse: [[f64; 3]; 3],
    scale: [f64; 3],
    /// Mean squared relative error of the fit.
    variance: f64,
    drift: Drift,
}

/// Finds that windows are dearer or cheaper than they were: a cumulative sum of errors, one each way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Drift {
    /// Mean absolute error of ordinary windows (of the logarithm).
    usual: f64,
    /// Excess and the windows it was gathered in, upwards and downwards.
    sums: [(f64, usize); 2],
}

impl Default for Drift {
    fn default() -> Self {
        Self { usual: 0.15, sums: [(0.0, 0); 2] }
    }
}

impl Drift {
    /// An error in units of the usual one that does not add to the excess.
    const SLACK: f64 = 1.0;
    /// The most that one window adds: a tail event alone says nothing.
    const MOST: f64 = 2.5;
    /// Excess that is another regime.
    const ALARM: f64 = 6.0;

    /// Takes in the logarithm of an error. `Some(n)`: since `n` windows another regime holds.
    fn add(&mut self, error: f64) -> Option<usize> {
        let units = error / self.usual;
        self.usual += 0.05 * (error.abs().min(2.5 * self.usual) - self.usual);
        self.usual = self.usual.max(0.02);
        for (sign, i) in [(1.0, 0), (-1.0, 1)] {
            let (sum, windows) = &mut self.sums[i];
            *sum += (sign * units - Self::SLACK).min(Self::MOST);
            *windows += 1;
            if *sum <= 0.0 {
                (*sum, *windows) = (0.0, 0);
            }
            if *sum > Self::ALARM {
                let since = *windows;
                self.sums = [(0.0, 0); 2];
                return Some(since);
            }
        }
        None
    }
}

impl CostModel {
    /// A model that knows `cost` already, and will forget it for better knowledge.
    #[must_use]
    pub fn knowing(cost: Cost) -> Self {
        Self { cost: Some(cost), ..Self::default() }
    }

    /// The estimate; `None` before the first window.
    #[must_use]
    pub fn cost(&self) -> Option<Cost> {
        self.cost
    }

    /// Windows it looks at.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// True before the first window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The most rows of a window seen.
    #[must_use]
    pub fn most_rows(&self) -> f64 {
        self.samples.iter().map(|s| s.rows).fold(0.0, f64::max)
    }

    /// Standard error of the prediction for a window, seconds: how uncertain the estimate is, noise left out.
    #[must_use]
    pub fn error(&self, rows: f64, bytes: f64) -> f64 {
        if self.samples.len() < 3 {
            return self.cost.map_or(0.0, |c| 0.3 * c.seconds(rows, bytes));
        }
        let x = [1.0, rows / self.scale[1], bytes / self.scale[2]];
        let mut sum = 0.0;
        for (i, row) in self.inverse.iter().enumerate() {
            for (j, cell) in row.iter().enumerate() {
                sum += x[i] * cell * x[j];
            }
        }
        (sum.max(0.0) * self.variance).sqrt()
    }

    /// Learns from a window.
    pub fn learn(&mut self, sample: Sample) -> Learned {
        let Sample { rows, bytes, seconds } = sample;
        let Some(before) = self.cost else {
            // Nothing is known of the split: most of it is taken for fixed, which larger windows will put right.
            self.cost = Some(Cost { fixed: 0.8 * seconds, per_row: 0.2 * seconds / rows.max(1.0), per_byte: 0.0 });
            self.samples.push_back(sample);
            return Learned { ratio: 1.0, outlier: false, regime: false };
        };
        let ratio = seconds / before.seconds(rows, bytes).max(FIXED_MIN);
        self.samples.push_back(sample);
        let regime = self.drift.add(ratio.ln());
        if let Some(since) = regime {
            // Most often a slower target, which shows in the fixed part; the rest is learned again.
            self.samples.drain(..self.samples.len() - since.clamp(1, self.samples.len()));
            self.cost = Some(self.shifted(before));
        } else if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
        self.fit();
        Learned { ratio, outlier: (ratio.ln()).abs() > OUTLIER, regime: regime.is_some() }
    }

    /// `before`, moved to the samples: by its fixed part where that can explain them, else as a whole.
    fn shifted(&self, before: Cost) -> Cost {
        let mut off: Vec<f64> = self.samples.iter().map(|s| s.seconds - before.seconds(s.rows, s.bytes)).collect();
        off.sort_by(f64::total_cmp);
        let by = off[off.len() / 2];
        if before.fixed + by >= FIXED_MIN {
            return Cost { fixed: before.fixed + by, ..before };
        }
        let mut ratios: Vec<f64> =
            self.samples.iter().map(|s| s.seconds / before.seconds(s.rows, s.bytes).max(FIXED_MIN)).collect();
        ratios.sort_by(f64::total_cmp);
        let by = ratios[ratios.len() / 2];
        Cost { fixed: before.fixed * by, per_row: before.per_row * by, per_byte: before.per_byte * by }
    }

    fn fit(&mut self) {
        let Some(mut prior) = self.cost else { return };
        let rows_max = self.samples.iter().map(|s| s.rows).fold(1.0, f64::max);
        let bytes_max = self.samples.iter().map(|s| s.bytes).fold(1.0, f64::max);
        let scale = [1.0, rows_max, bytes_max];
        let with_bytes = !self.bytes_follow_rows();
        if !with_bytes && prior.per_byte > 0.0 {
            prior = Cost { per_row: prior.marginal(bytes_max / rows_max), per_byte: 0.0, ..prior };
        }
        let known = [prior.fixed, prior.per_row * scale[1], prior.per_byte * scale[2]];
        let mut now = prior;
        for _ in 0..2 {
            let mut normal = [[0.0; 3]; 3];
            let mut right = [0.0; 3];
            let mut total = 0.0;
            let last = self.samples.len() - 1;
            for (i, s) in self.samples.iter().enumerate() {
                let predicted = now.seconds(s.rows, s.bytes).max(FIXED_MIN);
                let off = (s.seconds - predicted).abs() / predicted;
                let huber = if off <= HUBER { 1.0 } else { HUBER / off };
                #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // at most KEPT
                let weight = FADE.powi((last - i) as i32) * huber / (predicted * predicted);
                let x = [1.0, s.rows / scale[1], s.bytes / scale[2]];
                total += weight;
                for a in 0..3 {
                    right[a] += weight * x[a] * s.seconds;
                    for b in 0..3 {
                        normal[a][b] += weight * x[a] * x[b];
                    }
                }
            }
            for a in 0..3 {
                normal[a][a] += RIDGE[a] * total;
                right[a] += RIDGE[a] * total * known[a];
            }
            let solved = solve_positive(&normal, &right, with_bytes);
            now =
                Cost { fixed: solved[0].max(FIXED_MIN), per_row: solved[1] / scale[1], per_byte: solved[2] / scale[2] };
            self.inverse = inverse(&normal);
        }
        self.scale = scale;
        self.cost = Some(now);
        let (mut sum, mut weights) = (0.0, 0.0);
        for s in &self.samples {
            let predicted = now.seconds(s.rows, s.bytes).max(FIXED_MIN);
            let off = ((s.seconds - predicted) / predicted).clamp(-HUBER * 2.0, HUBER * 2.0);
            sum += off * off;
            weights += 1.0;
        }
        self.variance = sum / weights;
    }

    /// True when rows tell all that bytes could: their correlation is above 0.98, or neither moves.
    fn bytes_follow_rows(&self) -> bool {
        #[allow(clippy::cast_precision_loss)] // at most KEPT
        let n = self.samples.len() as f64;
        let (mut x, mut y, mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for s in &self.samples {
            x += s.rows;
            y += s.bytes;
            xx += s.rows * s.rows;
            yy += s.bytes * s.bytes;
            xy += s.rows * s.bytes;
        }
        let (vx, vy, cov) = (n * xx - x * x, n * yy - y * y, n * xy - x * y);
        vy <= 1e-3 * n * yy || cov * cov > 0.98 * 0.98 * vx * vy
    }

    /// Half of the windows are off by less than this, relatively.
    #[must_use]
    pub fn median_error(&self) -> f64 {
        let Some(cost) = self.cost else { return 0.0 };
        let mut off: Vec<f64> = self
            .samples
            .iter()
            .map(|s| (s.seconds / cost.seconds(s.rows, s.bytes).max(FIXED_MIN) - 1.0).abs())
            .collect();
        off.sort_by(f64::total_cmp);
        off.get(off.len() / 2).copied().unwrap_or(0.0)
    }
}

/// The least-squares answer with no negative part: what would be negative is held at 0 and the rest solved again.
fn solve_positive(normal: &[[f64; 3]; 3], right: &[f64; 3], with_bytes: bool) -> [f64; 3] {
    let mut free = [true, true, with_bytes];
    for _ in 0..3 {
        let mut a = *normal;
        let mut b = *right;
        for i in 0..3 {
            if !free[i] {
                for j in 0..3 {
                    a[i][j] = 0.0;
                    a[j][i] = 0.0;
                }
                a[i][i] = 1.0;
                b[i] = 0.0;
            }
        }
        let inverse = inverse(&a);
        let x = inverse.map(|row| row.iter().zip(&b).map(|(c, v)| c * v).sum::<f64>());
        match (0..3).filter(|i| x[*i] < 0.0).min_by(|i, j| x[*i].total_cmp(&x[*j])) {
            Some(worst) => free[worst] = false,
            None => return x,
        }
    }
    [0.0; 3]
}

/// Of a symmetric positive definite matrix (the ridge makes it one), by Gauss and Jordan.
fn inverse(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    let mut a = *m;
    let mut out = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for i in 0..3 {
        let pivot = a[i][i];
        for j in 0..3 {
            a[i][j] /= pivot;
            out[i][j] /= pivot;
        }
        for k in 0..3 {
            if k != i {
                let factor = a[k][i];
                for j in 0..3 {
                    a[k][j] -= factor * a[i][j];
                    out[k][j] -= factor * out[i][j];
                }
            }
        }
    }
    out
}
