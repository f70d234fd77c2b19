//! Places where a test makes the process die, as `kill -9` would there. Debug builds only: a release build has none.
//!
//! `TIDEMILL_FAILPOINT=name` aborts at the first pass of `name`, `name:3` at the third.

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

/// Marks a step of a commit: `failpoint!("files.before_record")`.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        if cfg!(debug_assertions) {
            $crate::failpoint::hit($name);
        }
    };
}
