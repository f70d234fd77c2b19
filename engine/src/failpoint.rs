//! Places where a test makes the process die, as `kill -9` would there. Debug builds only: a release build has none.
//!
//! `TIDEMILL_FAILPOINT=name` aborts at the first pass of `name`, `name:3` at the third. `stop:name:3` stops the process
//! there (SIGSTOP) until somebody sends SIGCONT: a zombie with a window in its hands.
//! `TIDEMILL_COMPARE=off` makes sinks commit without comparing positions: the fault tests must then find doubled
//! records, or they could not find any.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
static PASSES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug, PartialEq, Eq)]
struct Armed {
    name: String,
    nth: u64,
    stop: bool,
}

impl Armed {
    fn parse(text: &str) -> Self {
        let (stop, text) = match text.strip_prefix("stop:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (name, nth) = text.split_once(':').map_or((text, 1), |(name, nth)| (name, nth.parse().unwrap_or(1)));
        Self { name: name.to_owned(), nth, stop }
    }
}

/// Aborts or stops the process when `name` is armed and has been passed often enough.
pub fn hit(name: &str) {
    let armed = ARMED.get_or_init(|| std::env::var("TIDEMILL_FAILPOINT").ok().map(|text| Armed::parse(&text)));
    if let Some(armed) = armed
        && armed.name == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == armed.nth
    {
        if armed.stop {
            tracing::error!(failpoint = name, "stopping at a failpoint");
            let pid = std::process::id().to_string();
            let _ = Command::new("kill").args(["-s", "STOP", &pid]).stdin(Stdio::null()).status();
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_with_its_pass_and_what_to_do() {
        let armed = |name: &str, nth, stop| Armed { name: name.to_owned(), nth, stop };
        assert_eq!(Armed::parse("a.b"), armed("a.b", 1, false));
        assert_eq!(Armed::parse("a.b:3"), armed("a.b", 3, false));
        assert_eq!(Armed::parse("stop:a.b:2"), armed("a.b", 2, true));
    }
}
