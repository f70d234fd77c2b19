//! A daemon that dies again and again, for sinks of every kind.

use std::time::{Duration, Instant};

use rand::Rng;
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE};
use tidemill_integration_tests::job::Job;

/// How a daemon dies.
#[derive(Clone, Copy, Debug)]
pub enum Death {
    /// SIGKILL at any time after a commit.
    Random,
    /// At the `1..=n`th pass of a step.
    At(&'static str, u64),
}

/// Lets daemons of `job` die so. `commits` counts what a user sees of commits; `between` is done before each life.
pub fn die(
    job: &Job,
    env: &[(&str, &str)],
    deaths: &[Death],
    commits: impl Fn() -> usize,
    mut between: impl FnMut(usize),
) {
    let mut rng = rand::rng();
    let mut missed = Vec::new();
    for (i, death) in deaths.iter().enumerate() {
        between(i);
        let step = match death {
            Death::Random => String::new(),
            Death::At(name, passes) => format!("{name}:{}", rng.random_range(1..=*passes)),
        };
        let mut env = env.to_vec();
        if !step.is_empty() {
            env.push((FAILPOINT_VARIABLE, &step));
        }
        let before = commits();
        let mut daemon = Daemon::spawn(&job.home, &job.toml(), &env).unwrap();
        if step.is_empty() {
            let begun = Instant::now();
            while commits() <= before {
                assert!(daemon.exited().unwrap().is_none(), "it ended by itself:\n{}", daemon.log());
                assert!(begun.elapsed() < Duration::from_secs(40), "no commit within 40 s:\n{}", daemon.log());
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..1000)));
            assert!(daemon.exited().unwrap().is_none(), "it ended by itself:\n{}", daemon.log());
            daemon.kill9().unwrap();
        } else if let Ok(status) = daemon.wait_exit(Duration::from_secs(25)) {
            assert!(daemon.log().contains("failpoint"), "ended by itself, {status}:\n{}", daemon.log());
        } else {
            missed.push(step);
            daemon.kill9().unwrap();
        }
    }
    assert!(missed.is_empty(), "steps that were not reached within 25 s: {missed:?}");
}

/// Runs the job to the ends of its topics, again where partitions were still held by the dead.
pub fn drain(job: &Job, env: &[(&str, &str)], mut complete: impl FnMut() -> bool) {
    for _ in 0..4 {
        Daemon::spawn(&job.home, &job.until_end().toml(), env).unwrap().wait_success(crate::support::LIMIT).unwrap();
        if complete() {
            return;
        }
        std::thread::sleep(Duration::from_millis(tidemill_integration_tests::job::SESSION_TIMEOUT_MS));
    }
}
