//! When a bounded job will end: from how much is left and how fast it goes.

use std::collections::VecDeque;
use std::time::Duration;

/// Looks back this part of the time the job has run: the beginning (connecting, first windows) says little about the rest.
const LOOK_BACK: f64 = 0.6;
/// Points kept.
const POINTS: usize = 256;
/// Before this share of the work is done, a forecast would be a guess.
const SOONEST: f64 = 0.02;

/// Forecasts the end of one job. Feed it now and then with how much is done.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    points: VecDeque<(f64, f64)>,
    total: f64,
}

impl Forecast {
    /// At `now`, `done` of `total` records are in the sink. Positions that jump back (another owner) begin anew.
    pub fn observe(&mut self, now: Duration, done: u64, total: u64) {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let (done, total) = (done as f64, total as f64);
        let now = now.as_secs_f64();
        if self.points.back().is_some_and(|(_, before)| done < *before) || total < self.total {
            self.points.clear();
        }
        self.total = total;
        match self.points.back() {
            // Between two commits nothing moves; a point is a commit.
            Some((_, before)) if done <= *before => return,
            _ => self.points.push_back((now, done)),
        }
        if self.points.len() > POINTS {
            // Thin out, the first point stays.
            let mut i = 0;
            self.points.retain(|_| {
                i += 1;
                i % 2 == 1
            });
        }
    }

    /// Share of the work that is done.
    #[must_use]
    pub fn share(&self) -> f64 {
        let done = self.points.back().map_or(0.0, |(_, done)| *done);
        if self.total > 0.0 { (done / self.total).min(1.0) } else { 0.0 }
    }

    /// Time from `now` to the end; `None` while too little is done to tell.
    #[must_use]
    pub fn left(&self, now: Duration) -> Option<Duration> {
        let (first, (last_at, done)) = (self.points.front()?, self.points.back()?);
        if self.share() < SOONEST || self.points.len() < 3 {
            return None;
        }
        let since = last_at - LOOK_BACK * (last_at - first.0);
        // Rows between two commits over the time between them; commits at the ends of the span, so no half windows.
        let from = self.points.iter().find(|(at, _)| *at >= since).filter(|(at, _)| at < last_at).unwrap_or(first);
        let rate = (done - from.1) / (last_at - from.0);
        if rate <= 0.0 {
            return None;
        }
        let left = (self.total - done) / rate - (now.as_secs_f64() - last_at);
        Duration::try_from_secs_f64(left.max(0.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Jobs of many sizes and speeds, with a slow start, noise and stalls: at a quarter of the work the end is known
    /// within 15 % (median).
    #[test]
    fn at_a_quarter_of_the_work_the_end_is_known_within_15_percent() {
        let mut errors: Vec<f64> = (0..40)
            .map(|seed| {
                let mut random = SmallRng::seed_from_u64(seed);
                let rate = random.random_range(20_000.0..600_000.0);
                let total = rate * random.random_range(20.0..600.0);
                let (mut now, mut done) = (random.random_range(0.5..3.0), 0.0);
                let mut forecast = Forecast::default();
                let mut guess = None;
                while done < total {
                    // A commit: half speed while caches are cold, then noise of a fifth, now and then a stall.
                    let cold = if now < 5.0 { 0.5 } else { 1.0 };
                    let window = random.random_range(0.5..2.0);
                    let stall = if random.random::<f64>() < 0.02 { random.random_range(1.0..5.0) } else { 0.0 };
                    done += rate * cold * window * random.random_range(0.8..1.2);
                    now += window + stall;
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                    forecast.observe(Duration::from_secs_f64(now), done.min(total) as u64, total as u64);
                    if guess.is_none() && forecast.share() >= 0.25 {
                        let at = Duration::from_secs_f64(now);
                        guess = Some(now + forecast.left(at).expect("a quarter is enough").as_secs_f64());
                    }
                }
                (guess.expect("passed a quarter") - now).abs() / now
            })
            .collect();
        errors.sort_by(f64::total_cmp);
        let median = errors[errors.len() / 2];
        assert!(median <= 0.15, "median error {median:.3}, worst {:.3}", errors[errors.len() - 1]);
    }

    #[test]
    fn says_nothing_too_early_and_counts_down_between_commits() {
        let s = Duration::from_secs;
        let mut forecast = Forecast::default();
        assert_eq!(forecast.left(s(1)), None);
        for i in 1..=5 {
            forecast.observe(s(i), i * 100, 1000);
        }
        assert_eq!(forecast.left(s(5)), Some(s(5)));
        forecast.observe(s(7), 500, 1000);
        assert_eq!(forecast.left(s(7)), Some(s(3)), "time passes although nothing landed");
        forecast.observe(s(8), 100, 1000);
        assert_eq!(forecast.left(s(8)), None, "positions went back: begun anew");
    }
}
