//! When a window is full: a pure decision over bounds, facts and the time.

use std::time::Duration;

/// A window's bounds. Whichever is met first cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowBounds {
    /// Longest time from the window's first record to its cut.
    pub max_age: Duration,
    /// Most records.
    pub max_rows: u64,
    /// Most bytes of raw records; passed by at most one record.
    pub max_bytes: u64,
    /// Cut early when no record came for this long.
    pub idle: Option<Duration>,
}

impl WindowBounds {
    /// These bounds, none of them beyond its counterpart in `caps`.
    #[must_use]
    pub fn within(&self, caps: &Self) -> Self {
        Self {
            max_age: self.max_age.min(caps.max_age),
            max_rows: self.max_rows.min(caps.max_rows),
            max_bytes: self.max_bytes.min(caps.max_bytes),
            idle: self.idle.into_iter().chain(caps.idle).min(),
        }
    }
}

/// Why a window was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `max_rows` records.
    Rows,
    /// `max_bytes` bytes.
    Bytes,
    /// `max_age` since the first record.
    Age,
    /// Nothing came for `idle`.
    Idle,
    /// The memory budget is used up.
    Memory,
    /// The assignment changed.
    Revoke,
    /// A bounded source came to its end.
    End,
    /// The job was told to stop.
    Stop,
    /// The job was paused.
    Pause,
    /// A person asked for it.
    Request,
    /// The schema of the rows changes.
    Schema,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Rows,
        Self::Bytes,
        Self::Age,
        Self::Idle,
        Self::Memory,
        Self::Revoke,
        Self::End,
        Self::Stop,
        Self::Pause,
        Self::Request,
        Self::Schema,
    ];

    /// Its name in metrics and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Idle => "idle",
            Self::Memory => "memory",
            Self::Revoke => "revoke",
            Self::End => "end",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Request => "request",
            Self::Schema => "schema",
        }
    }
}

/// What is known of the open window. Times are [`Clock::now`](crate::clock::Clock::now) readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Records taken.
    pub rows: u64,
    /// Bytes taken.
    pub bytes: u64,
    /// When its first record came; `None` for an empty window.
    pub opened_at: Option<Duration>,
    /// When its newest record came.
    pub last_at: Duration,
    /// An earlier window of this job has not landed yet.
    pub commit_in_flight: bool,
}

/// Whether to cut now, and why.
///
/// An empty window is never cut. While an earlier window is still committing, time alone does not cut: the window
/// would only wait behind that commit, so it goes on filling (group commit) and load makes windows larger by itself.
#[must_use]
pub fn decide(bounds: &WindowBounds, facts: &Facts, now: Duration) -> Option<Cause> {
    let opened_at = facts.opened_at?;
    if facts.rows >= bounds.max_rows {
        return Some(Cause::Rows);
    }
    if facts.bytes >= bounds.max_bytes {
        return Some(Cause::Bytes);
    }
    if facts.commit_in_flight {
        return None;
    }
    if now.saturating_sub(opened_at) >= bounds.max_age {
        return Some(Cause::Age);
    }
    match bounds.idle {
        Some(idle) if now.saturating_sub(facts.last_at) >= idle => Some(Cause::Idle),
        _ => None,
    }
}

/// How long nothing but a new record can change [`decide`]'s answer: the longest the intake may wait.
#[must_use]
pub fn wait(bounds: &WindowBounds, facts: &Facts, now: Duration) -> Option<Duration> {
    let age = (facts.opened_at? + bounds.max_age).saturating_sub(now);
    Some(match bounds.idle {
        Some(idle) => age.min((facts.last_at + idle).saturating_sub(now)),
        None => age,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds() -> WindowBounds {
        WindowBounds {
            max_age: Duration::from_secs(5),
            max_rows: 100,
            max_bytes: 1000,
            idle: Some(Duration::from_secs(1)),
        }
    }

    #[test]
    fn each_bound_cuts_with_its_cause() {
        let s = Duration::from_secs;
        let open = Facts { rows: 1, bytes: 10, opened_at: Some(s(10)), last_at: s(10), commit_in_flight: false };
        assert_eq!(decide(&bounds(), &open, s(10)), None);
        assert_eq!(decide(&bounds(), &Facts { rows: 100, ..open }, s(10)), Some(Cause::Rows));
        assert_eq!(decide(&bounds(), &Facts { bytes: 1000, ..open }, s(10)), Some(Cause::Bytes));
        assert_eq!(decide(&bounds(), &Facts { last_at: s(15), ..open }, s(15)), Some(Cause::Age));
        assert_eq!(decide(&bounds(), &open, s(11)), Some(Cause::Idle));
        assert_eq!(decide(&bounds(), &Facts::default(), s(99)), None, "an empty window is never cut");
    }

    #[test]
    fn time_does_not_cut_while_a_commit_runs_but_size_does() {
        let s = Duration::from_secs;
        let open = Facts { rows: 1, bytes: 10, opened_at: Some(s(10)), last_at: s(10), commit_in_flight: true };
        assert_eq!(decide(&bounds(), &open, s(99)), None);
        assert_eq!(decide(&bounds(), &Facts { rows: 100, ..open }, s(99)), Some(Cause::Rows));
    }

    proptest! {
        /// After exactly `wait` the answer is a cut, and just before it is not: the intake neither spins nor oversleeps.
        #[test]
        fn wait_is_exact(opened in 0u64..10_000, gap in 0u64..10_000, later in 0u64..10_000, idle in proptest::option::of(1u64..3_000), age in 1u64..9_000) {
            let ms = Duration::from_millis;
            let bounds = WindowBounds { max_age: ms(age), max_rows: 10, max_bytes: 10, idle: idle.map(ms) };
            let facts = Facts { rows: 1, bytes: 1, opened_at: Some(ms(opened)), last_at: ms(opened + gap), commit_in_flight: false };
            let now = ms(opened + gap + later);
            let wait = wait(&bounds, &facts, now).expect("open");
            prop_assert!(decide(&bounds, &facts, now + wait).is_some());
            if wait > Duration::ZERO {
                prop_assert!(decide(&bounds, &facts, now + wait - Duration::from_nanos(1)).is_none());
            }
        }
    }
}
