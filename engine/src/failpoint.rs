//! Places where a test makes the process die, as `kill -9` would there. Debug builds only: a release build has none.
//!
//! `TIDEMILL_FAILPOINT=name` aborts at the first pass of `name`, `name:3` at the third.
//! `TIDEMILL_COMPARE=off` makes sinks commit without comparing positions: the fault tests must then find doubled
//! records, or they could not find any.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
static PASSES: AtomicU64 = AtomicU64::new(0);

/// Aborts the process when `name` is armed and has been passed often enough.
pub fn hit(name: &str) {
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("TIDEMILL_FAILPOINT").ok()?;
        match text.split_once(':') {
            Some((name, nth)) => Some((name.to_owned(), nth.parse().unwrap_or(1))),
            None => Some((text, 1)),
        }
    });
    if let Some((armed, nth)) = armed
        && armed == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        tracing::error!(failpoint = name, "aborting at a failpoint");
        std::process::abort();
    }
}

/// Whether sinks are to commit whatever positions they hold. Never true in a release build.
#[must_use]
pub fn compare_is_off() -> bool {
    static OFF: OnceLock<bool> = OnceLock::new();
    cfg!(debug_assertions)
        && *OFF.get_or_init(|| {
            let off = std::env::var("TIDEMILL_COMPARE").is_ok_and(|value| value == "off");
            if off {
                tracing::error!("positions are not compared (TIDEMILL_COMPARE=off): records will be doubled");
            }
            off
        })
}

/// Marks a step of a commit: `failpoint!("files.before_record")`.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        if cfg!(debug_assertions) {
            $crate::failpoint::hit($name);
        }
    };
}
