//! What windows of so many seconds lead to, if cost, noise and load stay as they are: a short run of windows one after
//! another, each at least as long as the commit before it (group commit).

/// What is assumed.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Seconds that a window costs whatever is in it, uncertainty included.
    pub fixed: f64,
    /// Share of the time that rows take to commit: rows a second times seconds a row.
    pub utilisation: f64,
    /// Seconds between a record's broker timestamp and its place in a window.
    pub delay: f64,
    /// Actual over predicted cost of windows to come.
    pub ratios: &'a [f64],
    /// Seconds that a record may be old when it becomes visible.
    pub target: f64,
    /// Seconds that this load is thought to last, from an idle sink on. A rush seldom lasts: what it would lead to in the
    /// long run says little about how to enter it.
    pub horizon: f64,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// Share of records older than the target.
    pub late: f64,
    /// Age that 99 of 100 records stay below, seconds; see [`DIVERGED`].
    pub p99: f64,
    /// Mean seconds between cuts.
    pub between: f64,
}

/// An age that means: without bound.
pub const DIVERGED: f64 = 1e5;

impl Scene<'_> {
    fn each(&self, window: f64, mut see: impl FnMut(f64, f64) -> bool) {
        let (mut before, mut elapsed) = (self.fixed, 0.0);
        for ratio in self.ratios {
            if elapsed > self.horizon {
                (before, elapsed) = (self.fixed, 0.0);
            }
            let long = window.max(before);
            if long > DIVERGED {
                see(DIVERGED, 2.0 * DIVERGED);
                return;
            }
            elapsed += long;
            before = (self.fixed + self.utilisation * long) * ratio;
            if !see(long, before + self.delay) {
                return;
            }
        }
    }

    /// Share of records late with windows of `window` seconds; an early answer once it is above `enough`.
    #[must_use]
    pub fn late(&self, window: f64, enough: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // few
        let bar = enough * self.ratios.len() as f64 * window;
        let (mut late, mut all) = (0.0, 0.0);
        self.each(window, |long, after| {
            late += (after + long - self.target).clamp(0.0, long);
            all += long;
            late <= bar.max(enough * all * 4.0)
        });
        late / all
    }

    /// Share of records late, and mean seconds between cuts, with windows of `window` seconds.
    #[must_use]
    pub fn brief(&self, window: f64) -> (f64, f64) {
        let (mut late, mut all, mut n) = (0.0, 0.0, 0.0);
        self.each(window, |long, after| {
            late += (after + long - self.target).clamp(0.0, long);
            all += long;
            n += 1.0;
            true
        });
        (late / all, all / n)
    }

    /// Everything about windows of `window` seconds.
    #[must_use]
    pub fn outlook(&self, window: f64) -> Outlook {
        let mut seen = Vec::with_capacity(self.ratios.len());
        self.each(window, |long, after| {
            seen.push((after, long));
            true
        });
        let all: f64 = seen.iter().map(|(_, long)| long).sum();
        let above = |age: f64| seen.iter().map(|(after, long)| (after + long - age).clamp(0.0, *long)).sum::<f64>();
        let (mut low, mut high) = (0.0, seen.iter().map(|(after, long)| after + long).fold(0.0, f64::max));
        for _ in 0..24 {
            let age = 0.5 * (low + high);
            if above(age) > 0.01 * all {
                low = age;
            } else {
                high = age;
            }
        }
        #[allow(clippy::cast_precision_loss)] // few
        let between = all / seen.len() as f64;
        Outlook { late: above(self.target) / all, p99: high, between }
    }
}
