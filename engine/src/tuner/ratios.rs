//! How far windows are off their predicted cost: a fading histogram of `actual / predicted`, tail included.

use serde::{Deserialize, Serialize};

/// Bins per doubling.
const PER_DOUBLING: f64 = 6.0;
/// Lowest ratio told apart.
const LOWEST: f64 = 0.25;
/// From a quarter to 32 times.
const BINS: usize = 42;
/// A window's weight less the next one's: half of it after 700 windows.
const FADE: f64 = 0.999;
/// What is believed before anything is seen, in windows. It does not fade: a tail that did not show for some hundred
/// windows is rarer than was believed, not gone.
const PRIOR_WEIGHT: f64 = 150.0;
/// Spread of the ordinary windows in that belief (of the logarithm).
const PRIOR_SPREAD: f64 = 0.15;
/// And how often one takes how many times as long: storage has such a tail until it has shown otherwise.
const PRIOR_TAIL: (f64, f64) = (0.015, 3.0);

/// The histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    bins: Vec<f64>,
    /// Outliers that may be the beginning of another regime: not noise then.
    pending: Vec<f64>,
}

fn bin(ratio: f64) -> usize {
    let at = (ratio.max(LOWEST) / LOWEST).log2() * PER_DOUBLING;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within 0..BINS
    let at = at as usize;
    at.min(BINS - 1)
}

#[allow(clippy::cast_precision_loss)] // below BINS
fn middle(bin: usize) -> f64 {
    LOWEST * ((bin as f64 + 0.5) / PER_DOUBLING).exp2()
}

impl Default for Ratios {
    fn default() -> Self {
        Self { bins: vec![0.0; BINS], pending: Vec::new() }
    }
}

/// The belief before anything is seen. What was seen replaces the ordinary part of it and leaves the tail.
fn prior(seen: f64) -> Vec<f64> {
    let mut bins = vec![0.0; BINS];
    let ordinary = (PRIOR_WEIGHT * (1.0 - PRIOR_TAIL.0) - seen).max(0.0);
    let steps = 100;
    for i in 0..steps {
        let z = normal_quantile((f64::from(i) + 0.5) / f64::from(steps));
        bins[bin((z * PRIOR_SPREAD).exp())] += ordinary / f64::from(steps);
    }
    bins[bin(PRIOR_TAIL.1)] += PRIOR_WEIGHT * PRIOR_TAIL.0;
    bins
}

/// Of the standard normal distribution (a rational approximation, good to 5e-4).
fn normal_quantile(p: f64) -> f64 {
    let (q, sign) = if p < 0.5 { (p, -1.0) } else { (1.0 - p, 1.0) };
    let t = (-2.0 * q.ln()).sqrt();
    let top = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let bottom = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    sign * (t - top / bottom)
}

impl Ratios {
    /// Takes one in. Outliers wait until the next window says whether they were noise.
    pub fn add(&mut self, ratio: f64, outlier: bool, regime: bool) {
        if regime {
            self.pending.clear();
            return;
        }
        if outlier {
            self.pending.push(ratio);
            return;
        }
        for ratio in std::mem::take(&mut self.pending) {
            self.count(ratio);
        }
        self.count(ratio);
    }

    fn count(&mut self, ratio: f64) {
        for weight in &mut self.bins {
            *weight *= FADE;
        }
        self.bins[bin(ratio)] += 1.0;
    }

    /// What is believed now.
    fn believed(&self) -> Vec<f64> {
        let seen: f64 = self.bins.iter().sum();
        prior(seen).iter().zip(&self.bins).map(|(a, b)| a + b).collect()
    }

    /// The ratio that a share `p` of windows stays below.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        quantile(&self.believed(), p)
    }

    /// `n` windows as they may come: every `1/n` quantile once, in an order that is always the same and mixes well.
    #[must_use]
    pub fn sequence(&self, n: usize) -> Vec<f64> {
        mixed(&self.believed(), n)
    }

    /// The same if windows to come are like those seen: without the tail that is believed in until it did not show.
    #[must_use]
    pub fn sequence_seen(&self, n: usize) -> Vec<f64> {
        if self.bins.iter().all(|weight| *weight == 0.0) {
            return vec![1.0; n];
        }
        mixed(&self.bins, n)
    }
}

fn mixed(bins: &[f64], n: usize) -> Vec<f64> {
    // n is a power of two: an odd multiplier and a bit twist permute it.
    debug_assert!(n.is_power_of_two());
    let sorted = quantiles(bins, n);
    (0..n)
        .map(|i| {
            let k = i.wrapping_mul(0x9e37_79b1) & (n - 1);
            sorted[(k ^ (k >> 4)).wrapping_mul(0x85eb_ca6b) & (n - 1)]
        })
        .collect()
}

/// The middle of each of `n` equal parts, in one walk.
fn quantiles(bins: &[f64], n: usize) -> Vec<f64> {
    #[allow(clippy::cast_precision_loss)] // small
    let step = bins.iter().sum::<f64>() / n as f64;
    let (mut bin, mut passed) = (0, 0.0);
    (0..n)
        .map(|i| {
            #[allow(clippy::cast_precision_loss)] // small
            let at = (i as f64 + 0.5) * step;
            while bin + 1 < bins.len() && passed + bins[bin] < at {
                passed += bins[bin];
                bin += 1;
            }
            let within = if bins[bin] > 0.0 { ((at - passed) / bins[bin]).min(1.0) } else { 0.5 };
            #[allow(clippy::cast_precision_loss)] // below BINS
            let exponent = (bin as f64 + within) / PER_DOUBLING;
            LOWEST * exponent.exp2()
        })
        .collect()
}

fn quantile(bins: &[f64], p: f64) -> f64 {
    let mut left = p * bins.iter().sum::<f64>();
    for (i, weight) in bins.iter().enumerate() {
        if left <= *weight {
            let within = if *weight > 0.0 { left / weight } else { 0.5 };
            #[allow(clippy::cast_precision_loss)] // below BINS
            return LOWEST * ((i as f64 + within) / PER_DOUBLING).exp2();
        }
        left -= weight;
    }
    middle(BINS - 1)
}
