//! Places where a test makes the process die, as `kill -9` would there, or hang. Debug builds only: a release build has
//! none.
//!
//! `TIDEMILL_FAILPOINT=name` aborts at the first pass of `name`, `name:3` at the third. `stop:name:3` stops the process
//! there (SIGSTOP) until somebody sends SIGCONT: a zombie with a window in its hands. `hang:name:3` lets the third pass
//! of `name` hang for as long as its run lives; it means something only at the places that ask for it.
//! `TIDEMILL_COMPARE=off` makes sinks commit without comparing positions: the fault tests must then find doubled
//! records, or they could not find any.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
static PASSES: AtomicU64 = AtomicU64::new(0);
/// The thread that [`hangs`]: each run that the supervisor starts anew has another.
static HUNG: OnceLock<ThreadId> = OnceLock::new();

#[derive(Debug, PartialEq, Eq)]
struct Armed {
    name: String,
    nth: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Abort,
    Stop,
    Hang,
}

impl Armed {
    fn parse(text: &str) -> Self {
        let (what, text) = match text.split_once(':') {
            Some(("stop", rest)) => (What::Stop, rest),
            Some(("hang", rest)) => (What::Hang, rest),
            _ => (What::Abort, text),
        };
        let (name, nth) = text.split_once(':').map_or((text, 1), |(name, nth)| (name, nth.parse().unwrap_or(1)));
        Self { name: name.to_owned(), nth, what }
    }
}

/// Whether this is the pass of `name` at which `hang`, or one of the others, is armed; then which.
fn passes(name: &str, hang: bool) -> Option<What> {
    let armed = ARMED.get_or_init(|| std::env::var("TIDEMILL_FAILPOINT").ok().map(|text| Armed::parse(&text)));
    let armed = armed.as_ref().filter(|armed| armed.name == name && (armed.what == What::Hang) == hang)?;
    (PASSES.fetch_add(1, Ordering::SeqCst) + 1 == armed.nth).then_some(armed.what)
}

/// Aborts or stops the process when `name` is armed and has been passed often enough.
pub fn hit(name: &str) {
    match passes(name, false) {
        Some(What::Stop) => {
            tracing::error!(failpoint = name, "stopping at a failpoint");
            let pid = std::process::id().to_string();
            let _ = Command::new("kill").args(["-s", "STOP", &pid]).stdin(Stdio::null()).status();
        }
        Some(_) => {
            tracing::error!(failpoint = name, "aborting at a failpoint");
            std::process::abort();
        }
        None => {}
    }
}

/// Whether what comes now is not to be done: from the armed pass of `name` on, by the thread that made it.
#[must_use]
pub fn hangs(name: &str) -> bool {
    if !cfg!(debug_assertions) {
        return false;
    }
    let me = std::thread::current().id();
    if passes(name, true).is_some() && HUNG.set(me).is_ok() {
        tracing::error!(failpoint = name, "hanging at a failpoint");
    }
    HUNG.get() == Some(&me)
}

/// Never ends at the armed pass of `name`: whoever waits has to give it up.
pub async fn hang(name: &str) {
    if cfg!(debug_assertions) && passes(name, true).is_some() {
        tracing::error!(failpoint = name, "hanging at a failpoint");
        std::future::pending::<()>().await;
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
        let armed = |name: &str, nth, what| Armed { name: name.to_owned(), nth, what };
        assert_eq!(Armed::parse("a.b"), armed("a.b", 1, What::Abort));
        assert_eq!(Armed::parse("a.b:3"), armed("a.b", 3, What::Abort));
        assert_eq!(Armed::parse("stop:a.b:2"), armed("a.b", 2, What::Stop));
        assert_eq!(Armed::parse("hang:a.b"), armed("a.b", 1, What::Hang));
    }
}
