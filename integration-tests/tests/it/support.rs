//! What the tests of the daemon share: one place to work, one at a time, drain and check.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_integration_tests::checker::{Report, check, parquet_files};
use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::{Job, SESSION_TIMEOUT_MS};
use tidemill_integration_tests::ledger::Ledger;

/// Longest wait for anything that ought to take seconds.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Tests that measure times or load the machine run one after the other: two cores are few.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    }
}

/// A folder for one test: removed when the test succeeded, kept (and named) when it failed.
pub struct Place(Option<tempfile::TempDir>);

impl Place {
    pub fn new(name: &str) -> Place {
        let dir = tempfile::Builder::new().prefix(&format!("tidemill-{name}-")).tempdir().unwrap();
        Place(Some(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let path = self.0.take().unwrap().keep();
            eprintln!("files and logs of the failed test are kept in {}", path.display());
        }
    }
}

pub fn spawn(job: &Job) -> Daemon {
    Daemon::spawn(&job.home, &job.toml(), &[]).unwrap()
}

/// Waits until the sink has more Parquet files than `before`: what a user sees of a commit.
/// False if the daemon ended or `limit` passed first.
pub fn wait_new_file(daemon: &mut Daemon, out: &Path, before: usize, limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if count_files(out) > before {
            return true;
        }
        if daemon.exited().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

pub fn count_files(out: &Path) -> usize {
    // A file may be renamed away from under the listing: then it is counted at the next look.
    parquet_files(out).map_or(0, |files| files.len())
}

/// Runs the job to the ends of its topics, and checks. Where other daemons died, their partitions are given to us
/// only after a session timeout: what is lost after one turn may come with the next, what is doubled stays.
pub fn drain_and_check(job: &Job, ledgers: &[&Ledger]) -> Report {
    let mut report = Report::default();
    for _ in 0..4 {
        spawn(&job.until_end()).wait_success(LIMIT).unwrap();
        report = check(ledgers, &job.out, job.dead_letters.as_deref()).unwrap();
        if report.good.lost + report.bad.lost == 0 {
            break;
        }
        eprintln!("not everything is there yet, once more after a session timeout:\n{report}");
        std::thread::sleep(Duration::from_millis(SESSION_TIMEOUT_MS));
    }
    eprintln!("{report}");
    report
}

/// Waits until `is` of the daemon; `what` is said when that takes too long.
pub fn until(daemon: &mut Daemon, what: &str, mut is: impl FnMut(&mut Daemon) -> bool) {
    let begun = Instant::now();
    while !is(daemon) {
        assert!(begun.elapsed() < LIMIT, "not {what}:\n{}", daemon.log());
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Median and largest of some times.
pub fn spread(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    match times {
        [] => (Duration::ZERO, Duration::ZERO),
        _ => (times[times.len() / 2], times[times.len() - 1]),
    }
}
