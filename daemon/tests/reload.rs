//! Reload: the smallest change, or none; by signal, by the command line, by a file that was written.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Daemon, JSON, generator};

fn job(name: &str, more: &str) -> String {
    generator(name, more, "rate = 2000")
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn jobs_come_go_and_change_without_touching_the_others() {
    let mut daemon = Daemon::start("", &[job("a", ""), job("b", ""), job("c", "")].concat());
    for name in ["a", "b", "c"] {
        daemon.until(name, |job| job["rows"].as_u64() > Some(0));
    }
    let query =
        "[[job.b.operator]]\ntype = \"sql\"\nquery = \"SELECT seq, _partition, _offset FROM input WHERE seq >= 0\"\n";
    daemon.write(
        "stall_after = \"50s\"\n",
        &[job("a", "window = { max_rows = 77, max_age = \"1s\" }"), job("b", ""), query.into(), job("d", "")].concat(),
    );
    let check = daemon.send("POST", "/api/reload?check=true", &[JSON], "").1;
    assert_eq!(check["applied"], false);
    assert_eq!(daemon.job("a")["window"]["max_rows"], 500_000, "a check changes nothing");
    let (status, answer) = daemon.send("POST", "/api/reload", &[JSON], "");
    assert_eq!((status, &answer["changes"]), (200, &check["changes"]), "{answer}");
    let changes = &answer["changes"];
    let found = ["added", "removed", "restarted", "window", "unchanged", "keys"].map(|key| names(&changes[key]));
    assert_eq!(found, [vec!["d"], vec!["c"], vec!["b"], vec!["a"], vec![], vec!["daemon.stall_after"]]);
    daemon.until("d", |job| job["rows"].as_u64() > Some(0));
    let b = daemon.until("b", |job| job["state"] == "running" && job["runs"] == 2);
    daemon.until("b", |job| job["rows"].as_u64() > b["rows"].as_u64());
    assert_eq!(daemon.job("a")["window"]["max_rows"], 77);
    assert_eq!(daemon.job("a")["runs"], 1, "the window changed without a new run");
    daemon.wait_for("the end of c", |daemon| (daemon.get("/api/jobs/c").0 == 404).then_some(()));
    // It comes back, and goes on where it was.
    daemon.write("", &[job("a", ""), job("b", ""), query.into(), job("c", ""), job("d", "")].concat());
    daemon.send("POST", "/api/reload", &[JSON], "");
    daemon.until("c", |job| job["rows"].as_u64() > Some(0));
    assert_eq!((&daemon.job("a")["runs"], &daemon.job("d")["runs"]), (&json!(1), &json!(1)));
    daemon.stop();
    for name in ["a", "b", "c", "d"] {
        daemon.assert_each_row_once(name);
    }
}

#[test]
fn a_wrong_configuration_is_refused_whole_with_all_its_faults() {
    let mut daemon = Daemon::start("", &[job("a", ""), job("b", "")].concat());
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    let query = "[[job.c.operator]]\ntype = \"sql\"\nquery = \"SELECT nothing FROM input\"\n";
    let wrong =
        [job("a", "window = { max_rows = 5 }"), job("b", "on_eror = \"skip\""), job("c", ""), query.into()].concat();
    daemon.write("", &wrong);
    let (status, answer) = daemon.send("POST", "/api/reload", &[JSON], "");
    assert_eq!(status, 422, "{answer}");
    let faults: Vec<&str> = answer["faults"].as_array().unwrap().iter().map(|f| f["key"].as_str().unwrap()).collect();
    assert_eq!(faults, ["job.b.on_eror", "job.c.operator[0].query"], "{answer}");
    let done = daemon.cli(&["reload"], &[]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("job.b.on_eror") && done.err.contains("nothing was changed"), "{done:?}");
    daemon.write_with("256MiB", "instance = \"x\"\n", &[job("a", "window = { max_rows = 5 }"), job("b", "")].concat());
    let (status, answer) = daemon.send("POST", "/api/reload", &[JSON], "");
    assert_eq!(status, 422, "{answer}");
    let faults: Vec<&str> = answer["faults"].as_array().unwrap().iter().map(|f| f["key"].as_str().unwrap()).collect();
    assert_eq!(faults, ["daemon.instance", "daemon.memory"], "{answer}");
    assert!(answer["faults"][0]["message"].as_str().unwrap().contains("restart the daemon"), "{answer}");

    std::fs::remove_file(daemon.dir.path().join("tidemill.toml")).unwrap();
    assert_eq!(daemon.send("POST", "/api/reload", &[JSON], "").0, 422);
    assert_eq!(daemon.job("a")["window"]["max_rows"], 500_000, "nothing of it was taken over");
    assert_eq!((&daemon.job("a")["runs"], &daemon.job("b")["runs"]), (&json!(1), &json!(1)));
    assert_eq!(daemon.get("/api/jobs/c").0, 404);
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn a_signal_reloads_and_a_watched_file_does_by_itself() {
    let mut daemon = Daemon::start("", &job("a", ""));
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    daemon.write("watch = true\n", &job("a", "window = { max_rows = 11, max_age = \"1s\" }"));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(daemon.job("a")["window"]["max_rows"], 500_000, "not watched yet");
    daemon.signal("HUP");
    daemon.until("a", |job| job["window"]["max_rows"] == 11);
    daemon.write("watch = true\n", &job("a", "window = { max_rows = 12, max_age = \"1s\" }"));
    daemon.until("a", |job| job["window"]["max_rows"] == 12);
    daemon.write("watch = true\n", "[job.a]\nnot = \"a job\"\n");
    daemon.wait_for("a refusal", |daemon| daemon.log().contains("the changed configuration is refused").then_some(()));
    daemon.write("watch = true\n", &[job("a", "window = { max_rows = 13, max_age = \"1s\" }"), job("b", "")].concat());
    daemon.until("a", |job| job["window"]["max_rows"] == 13);
    daemon.until("b", |job| job["rows"].as_u64() > Some(0));
    assert_eq!(daemon.job("a")["runs"], 1);
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn a_paused_job_stays_paused_and_a_failed_one_starts_with_its_new_settings() {
    let bad = "[[job.b.operator]]\ntype = \"sql\"\nquery = \"SELECT seq, _partition, _offset FROM input WHERE 1 / (seq - seq) > 0\"\n";
    let mut daemon = Daemon::start("", &[job("a", ""), job("b", ""), bad.into()].concat());
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    daemon.until("b", |job| job["state"] == "failed");
    daemon.post("/api/jobs/a/pause", 202);
    daemon.until("a", |job| job["state"] == "paused");
    daemon.write("", &[job("a", "on_error = \"skip\""), job("b", "")].concat());
    assert_eq!(names(&daemon.send("POST", "/api/reload", &[JSON], "").1["changes"]["restarted"]), ["a", "b"]);
    daemon.until("b", |job| job["state"] == "running" && job["rows"].as_u64() > Some(0));
    daemon.until("a", |job| job["state"] == "paused" && job["runs"] == 2);
    daemon.post("/api/jobs/a/resume", 202);
    daemon.until("a", |job| job["state"] == "running");
    daemon.stop();
    daemon.assert_each_row_once("a");
    daemon.assert_each_row_once("b");
}
