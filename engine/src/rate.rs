//! A count per minute, for `max_errors_per_minute`.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Counts events in the minute since the first of them.
#[derive(Debug)]
pub struct RateLimit {
    limit: Option<u64>,
    since: Duration,
    count: u64,
}

impl RateLimit {
    /// At most `limit` a minute; `None`: any number.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, since: Duration::ZERO, count: 0 }
    }

    /// Counts `n` at `now`; answers the limit when it is passed.
    pub fn add(&mut self, n: u64, now: Duration) -> Option<u64> {
        if self.count == 0 || now.saturating_sub(self.since) >= MINUTE {
            (self.since, self.count) = (now, 0);
        }
        self.count += n;
        self.limit.filter(|limit| self.count > *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_within_a_minute_only() {
        let s = Duration::from_secs;
        let mut rate = RateLimit::new(Some(2));
        assert_eq!(rate.add(2, s(100)), None);
        assert_eq!(rate.add(1, s(159)), Some(2));
        assert_eq!(rate.add(2, s(160)), None, "a new minute");
        assert_eq!(RateLimit::new(None).add(u64::MAX, s(0)), None);
    }
}
