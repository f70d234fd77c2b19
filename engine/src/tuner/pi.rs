//! The loop without a model: proportional and integral on `setpoint − oldest age`.

use serde::{Deserialize, Serialize};

const INTEGRAL: f64 = 0.3;
const PROPORTIONAL: f64 = 0.1;

/// A PI loop for the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pi {
    setpoint: f64,
    window: f64,
    before: f64,
}

impl Pi {
    /// A loop that holds the oldest age at `setpoint` seconds, beginning with `window` seconds.
    #[must_use]
    pub fn new(setpoint: f64, window: f64) -> Self {
        Self { setpoint, window, before: 0.0 }
    }

    /// Takes in the age of the oldest record of a window when it became visible. The window stays within these seconds.
    pub fn learn(&mut self, oldest: f64, shortest: f64, longest: f64) {
        let off = self.setpoint - oldest;
        self.window = (self.window + INTEGRAL * off + PROPORTIONAL * (off - self.before)).clamp(shortest, longest);
        self.before = off;
    }

    /// The window, seconds.
    #[must_use]
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Goes on from another window.
    pub fn restart(&mut self, window: f64) {
        self.window = window;
        self.before = 0.0;
    }
}
