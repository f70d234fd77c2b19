//! Taking turns with other writers of the table: who has just committed lets others come first.
//!
//! Whoever lands a commit knows the newest table without asking, and is ready for the next race before anybody else.
//! With windows as short as a commit takes, such a writer would win every race and the others none.

use std::time::Duration;

/// A writer waits at most this long.
const LONGEST: Duration = Duration::from_secs(10);

/// When this writer landed its last commit, and how long that attempt took.
#[derive(Default)]
pub(crate) struct Turns {
    last: Option<(Duration, Duration)>,
}

impl Turns {
    /// An attempt that began at `begun` landed at `now`.
    pub(crate) fn landed(&mut self, begun: Duration, now: Duration) {
        self.last = Some((now, now.saturating_sub(begun)));
    }

    /// How long to wait at `now` before the first attempt of the next commit, so that another writer's attempt fits
    /// between: one to three times as long as ours took, by `dice` in `[0, 1)`, counted from its landing.
    pub(crate) fn wait(&self, now: Duration, dice: f64) -> Duration {
        let Some((landed, took)) = self.last else { return Duration::ZERO };
        (landed + took.mul_f64(1.0 + 2.0 * dice)).saturating_sub(now).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn another_attempt_fits_between_two_of_ours() {
        let mut turns = Turns::default();
        assert_eq!(turns.wait(S, 0.9), Duration::ZERO);
        turns.landed(8 * S, 10 * S);
        assert_eq!((turns.wait(10 * S, 0.0), turns.wait(10 * S, 0.5)), (2 * S, 4 * S));
        assert_eq!(turns.wait(13 * S, 0.5), S, "what has passed counts");
        assert_eq!(turns.wait(20 * S, 0.99), Duration::ZERO);
        turns.landed(Duration::ZERO, 100 * S);
        assert_eq!(turns.wait(100 * S, 0.5), LONGEST);
    }
}
