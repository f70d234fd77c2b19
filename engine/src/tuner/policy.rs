//! Who chooses windows: the tuner, and what it is measured against.

use super::pi::Pi;
use super::{Caps, Landed, Line, Tuner};

/// Chooses windows from what landed.
pub trait Policy {
    /// When to cut the window that is open.
    fn line(&self) -> Line;
    /// Takes in a window.
    fn landed(&mut self, window: &Landed);
    /// Looks at the rows that came within the last moment, while a window fills: see [`Tuner::glance`].
    fn glance(&mut self, _rows: f64, _seconds: f64) {}
    /// That no window keeps the target, and the p99 within reach (seconds).
    fn infeasible(&self) -> Option<f64> {
        None
    }
}

/// Always the same.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(
    /// Seconds.
    pub f64,
);

impl Policy for Fixed {
    fn line(&self) -> Line {
        Line::time(self.0)
    }
    fn landed(&mut self, _: &Landed) {}
}

/// The PI loop alone.
#[derive(Clone, Debug)]
pub struct PiPolicy {
    pi: Pi,
    caps: Caps,
}

impl PiPolicy {
    /// Holds the oldest age at `setpoint · target`.
    #[must_use]
    pub fn new(target: f64, setpoint: f64, caps: Caps) -> Self {
        Self { pi: Pi::new(setpoint * target, 1.0), caps }
    }
}

impl Policy for PiPolicy {
    fn line(&self) -> Line {
        Line::time(self.pi.window())
    }
    fn landed(&mut self, window: &Landed) {
        self.pi.learn(window.oldest.unwrap_or(window.filled + window.after), self.caps.shortest, self.caps.longest);
    }
}

/// Additive increase, multiplicative decrease, as congestion control does it.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    window: f64,
    target: f64,
    caps: Caps,
}

impl Aimd {
    /// Holds the oldest age under `target`.
    #[must_use]
    pub fn new(target: f64, caps: Caps) -> Self {
        Self { window: 1.0, target, caps }
    }
}

impl Policy for Aimd {
    fn line(&self) -> Line {
        Line::time(self.window)
    }
    fn landed(&mut self, window: &Landed) {
        let oldest = window.oldest.unwrap_or(window.filled + window.after);
        let next = if oldest > self.target { self.window * 0.6 } else { self.window + 0.05 };
        self.window = next.clamp(self.caps.shortest, self.caps.longest);
    }
}

impl Policy for Tuner {
    fn line(&self) -> Line {
        self.choice().line
    }
    fn landed(&mut self, window: &Landed) {
        self.learn(window);
    }
    fn glance(&mut self, rows: f64, seconds: f64) {
        Tuner::glance(self, rows, seconds);
    }
    fn infeasible(&self) -> Option<f64> {
        self.choice().infeasible.map(|reachable| reachable.p99)
    }
}
