//! The one clock: everything that asks for the time asks here, so that tests can hold it.
//!
//! In a debug build `TIDEMILL_CLOCK_OFFSET_FILE` names a file with a number of milliseconds that is added to the machine's
//! wall clock at each look, so that a test can make a daemon's clock jump. A release build has no such thing.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic and a wall clock. [`Clock::system`] is real; [`Clock::held`] moves only by [`Clock::advance`].
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    System { origin: Instant },
    Held { elapsed_ns: AtomicU64, wall_ms: AtomicI64 },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Inner::System { origin: Instant::now() }))
    }

    /// A clock that stands still at `wall_ms` (milliseconds since the Unix epoch) until it is advanced.
    #[must_use]
    pub fn held(wall_ms: i64) -> Self {
        Self(Arc::new(Inner::Held { elapsed_ns: AtomicU64::new(0), wall_ms: AtomicI64::new(wall_ms) }))
    }

    /// Monotonic time since the clock was made. Never goes backwards.
    #[must_use]
    pub fn now(&self) -> Duration {
        match &*self.0 {
            Inner::System { origin } => origin.elapsed(),
            Inner::Held { elapsed_ns, .. } => Duration::from_nanos(elapsed_ns.load(Ordering::Acquire)),
        }
    }

    /// Wall time in milliseconds since the Unix epoch. May jump; used for freshness and file metadata only.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // the one place that asks the machine
    pub fn wall_ms(&self) -> i64 {
        match &*self.0 {
            Inner::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
                .saturating_add(jump_ms()),
            Inner::Held { wall_ms, .. } => wall_ms.load(Ordering::Acquire),
        }
    }

    /// Moves a held clock forward by `by`.
    ///
    /// # Panics
    /// On a system clock, which nobody moves.
    pub fn advance(&self, by: Duration) {
        match &*self.0 {
            Inner::System { .. } => panic!("a system clock cannot be advanced"),
            Inner::Held { elapsed_ns, wall_ms } => {
                elapsed_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
                wall_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::AcqRel);
            }
        }
    }
}

/// How far a test has moved this process's wall clock; 0 outside of tests.
fn jump_ms() -> i64 {
    static FILE: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return 0;
    }
    let Some(file) = FILE.get_or_init(|| std::env::var_os("TIDEMILL_CLOCK_OFFSET_FILE")) else { return 0 };
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
