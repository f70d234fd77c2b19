//! Twenty jobs in three groups in one daemon: what one of them does costs the others no more than its share.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::{Daemon, generator};

/// Seconds from the oldest record of a window to its being visible, of the last windows of a job, sorted.
fn freshness(job: &Value) -> Vec<f64> {
    let mut seconds: Vec<f64> =
        job["commits"].as_array().unwrap().iter().filter_map(|c| c["freshness_seconds"].as_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

#[test]
fn a_backlog_and_a_crash_loop_leave_their_neighbours_alone() {
    let mut config =
        String::from("[group.bulk]\nweight = 1\n[group.live]\nweight = 4\n[group.odd]\nmemory = \"32MiB\"\n");
    // As fast as it can be read, without an end.
    config += &generator("backlog", "group = \"bulk\"", "");
    // Its folder cannot be made.
    config +=
        &generator("crash", "group = \"odd\"", "rate = 100").replace("\"ROOT/crash\"", "\"ROOT/tidemill.toml/crash\"");
    let live: Vec<String> = (0..18).map(|i| format!("live{i}")).collect();
    for name in &live {
        config += &generator(name, "group = \"live\"\nwindow = { max_age = \"1s\" }", "rate = 50");
    }
    let mut daemon = Daemon::start_with("127.0.0.1:0", "512MiB", "", &config);
    for name in &live {
        daemon.until(name, |job| job["commits_landed"].as_u64() > Some(5));
    }
    std::thread::sleep(Duration::from_secs(10));
    let crash = daemon.job("crash");
    assert!(crash["errors_in_10_minutes"].as_u64() > Some(4) && crash["crash_loop"] == true, "{crash:#}");
    assert!(["backing_off", "starting"].contains(&crash["state"].as_str().unwrap()), "{crash:#}");
    assert!(crash["state"] != "backing_off" || crash["next_try_ms"].is_i64(), "{crash:#}");
    let backlog = daemon.job("backlog")["records"].as_u64().unwrap();
    let mut all = Vec::new();
    for name in &live {
        let job = daemon.job(name);
        assert_eq!((job["state"].as_str(), job["runs"].as_u64()), (Some("running"), Some(1)), "{job:#}");
        all.extend(freshness(&job));
    }
    all.sort_by(f64::total_cmp);
    let (median, p95) = (all[all.len() / 2], all[all.len() * 95 / 100]);
    let metrics = daemon.get("/metrics").1;
    let peak = metrics.lines().find_map(|l| l.strip_prefix("process_peak_resident_memory_bytes ")).unwrap();
    let peak_mib = peak.parse::<f64>().unwrap() / f64::from(1 << 20);
    eprintln!(
        "{backlog} records of the backlog; the others' freshness: median {median:.2} s, p95 {p95:.2} s; peak {peak_mib:.0} MiB"
    );
    // A window of a second and its commit; the machine may be busy with other tests.
    assert!(median < 3.0 && p95 < 8.0, "median {median} s, p95 {p95} s");
    assert!(backlog > 100_000, "the backlog is worked on too: {backlog}");
    assert!(peak_mib < 512.0 + 72.0, "peak {peak_mib} MiB of 512 + 72");
    daemon.stop();
    for name in &live {
        daemon.assert_each_row_once(name);
    }
    daemon.assert_each_row_once("backlog");
}
