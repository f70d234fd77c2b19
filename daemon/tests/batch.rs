//! Bounded jobs in order, and what the exit code says of them.

mod support;

use support::{Daemon, generator, tidemill};

/// Runs a config to its end: exit code, log, and the daemon for its folder.
fn run(jobs: &str) -> (i32, String, Daemon) {
    let mut daemon = Daemon::start("", jobs);
    let code = daemon.exit();
    (code, daemon.log(), daemon)
}

/// A job that fails for good at its first record.
fn failing(name: &str, more: &str) -> String {
    let query = "SELECT seq, _partition, _offset FROM input WHERE 1 / (seq - seq) > 0";
    format!("{}[[job.{name}.operator]]\ntype = \"sql\"\nquery = \"{query}\"\n", generator(name, more, "records = 100"))
}

/// The place of a job's line in the log.
#[track_caller]
fn at(log: &str, words: &str, job: &str) -> usize {
    let line = log.lines().position(|line| line.contains(words) && line.contains(&format!("job=\"{job}\"")));
    line.unwrap_or_else(|| panic!("{words} of {job} in\n{log}"))
}

#[test]
fn jobs_run_in_their_order_and_the_daemon_ends_with_them() {
    let jobs = [
        generator("third", "after = [\"second\", \"first\"]", "records = 1000"),
        generator("second", "after = [\"first\"]", "records = 2000"),
        generator("first", "", "records = 20000\nrate = 20000"),
    ]
    .concat();
    let (code, log, daemon) = run(&jobs);
    assert_eq!(code, 0, "{log}");
    assert!(at(&log, "job is over", "first") < at(&log, "run begins", "second"), "{log}");
    assert!(at(&log, "job is over", "second") < at(&log, "run begins", "third"), "{log}");
    for (job, rows) in [("first", 20_000), ("second", 2000), ("third", 1000)] {
        assert_eq!(daemon.assert_each_row_once(job), rows);
    }
}

#[test]
fn the_exit_code_says_that_something_failed_and_what_succeeded_is_not_done_again() {
    let jobs = |bad: String| {
        let after = generator("after", "after = [\"bad\"]", "records = 10");
        [generator("good", "", "records = 1000"), bad, after].concat()
    };
    let (code, log, daemon) = run(&jobs(failing("bad", "")));
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("not everything was done") && log.contains("after, bad"), "{log}");
    at(&log, "this job was not started", "after");
    assert_eq!(daemon.assert_each_row_once("good"), 1000);
    assert!(!daemon.dir.path().join("after").exists(), "what comes after a failure does not begin");
    daemon.write("", &jobs(generator("bad", "", "records = 100")));
    let file = daemon.dir.path().join("tidemill.toml");
    let again = tidemill(&["run", "--config", &file.to_string_lossy()], &[]);
    assert_eq!(again.code, 0, "{again:?}");
    for (job, rows) in [("good", 1000), ("bad", 100), ("after", 10)] {
        assert_eq!(daemon.assert_each_row_once(job), rows, "once, not again");
    }
}

#[test]
fn until_end_wants_jobs_that_can_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, generator("a", "", "rate = 10").replace("ROOT", &dir.path().display().to_string())).unwrap();
    let done = tidemill(&["run", "--until-end", "--config", &file.to_string_lossy()], &[]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("job.a.source: has no end"), "{done:?}");
}

#[test]
fn a_group_s_policy_puts_a_crash_loop_into_quarantine() {
    // A sink whose folder cannot be made: each run ends with an error that may pass.
    let policy = "[group.g.restart]\nfirst = \"20ms\"\nlongest = \"50ms\"\ngive_up_after = 6\nwithin = \"1m\"\n";
    let jobs =
        [policy.into(), generator("a", "group = \"g\"", "rate = 10"), generator("b", "", "rate = 1000")].concat();
    let jobs = jobs.replace("\"ROOT/a\"", "\"ROOT/tidemill.toml/a\"");
    let mut daemon = Daemon::start("", &jobs);
    let failed = daemon.until("a", |job| job["state"] == "failed");
    let why = failed["why"].as_str().unwrap();
    assert!(why.contains("in quarantine: 6 errors within 60 s"), "{why}");
    assert_eq!((failed["errors_in_10_minutes"].as_u64(), failed["crash_loop"].as_bool()), (Some(6), Some(true)));
    assert!(daemon.cli(&["jobs"], &[]).out.contains("CRASH LOOP"));
    daemon.until("b", |job| job["rows"].as_u64() > Some(0));
    daemon.signal("TERM");
    assert_eq!(daemon.exit(), 1, "a job had failed");
}

#[test]
fn commits_of_a_group_are_spread_and_others_are_not_held_up() {
    let group = "[group.slow]\nmax_concurrent_commits = 1\ncommits_per_minute = 60\n";
    let slow = |name: &str| generator(name, "group = \"slow\"", "rate = 500");
    let mut daemon = Daemon::start(
        "",
        &[group.into(), slow("a"), slow("b"), slow("c"), generator("free", "", "rate = 500")].concat(),
    );
    daemon.until("free", |job| job["commits_landed"].as_u64() > Some(25));
    let landed: Vec<u64> =
        ["a", "b", "c"].iter().map(|job| daemon.job(job)["commits_landed"].as_u64().unwrap()).collect();
    let free = daemon.job("free")["commits_landed"].as_u64().unwrap();
    let all: u64 = landed.iter().sum();
    assert!(all * 3 < free * 2 && all > 2, "about one a second together, {landed:?} and {free}");
    assert!(landed.iter().max().unwrap() - landed.iter().min().unwrap() <= 2, "in turns: {landed:?}");
    daemon.write(
        "",
        &["[group.slow]\n".into(), slow("a"), slow("b"), slow("c"), generator("free", "", "rate = 500")].concat(),
    );
    assert_eq!(daemon.cli(&["reload"], &[]).code, 0);
    let before = daemon.job("a")["commits_landed"].as_u64().unwrap();
    daemon.until("a", |job| job["commits_landed"].as_u64() > Some(before + 15));
    assert_eq!(daemon.job("a")["runs"], 1, "limits change without a new run");
    daemon.stop();
    for job in ["a", "b", "c", "free"] {
        daemon.assert_each_row_once(job);
    }
}
