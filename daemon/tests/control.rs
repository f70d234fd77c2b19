//! Every verb of the API and of the command line, against a running daemon: what it does, wrong input, no permission.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Daemon, JSON, generator};

const TOKEN: &str = "0123456789abcdef-of-a-test";

/// Two jobs that never end, one of them in a group.
fn two() -> Daemon {
    let jobs = format!(
        "[group.hot]\n{}{}",
        generator("a", "", "rate = 2000"),
        generator("b", "group = \"hot\"", "rate = 500")
    );
    Daemon::start("", &jobs)
}

#[test]
fn pause_keeps_everything_committed_and_resume_goes_on() {
    let mut daemon = two();
    daemon.until("a", |job| job["commits_landed"].as_u64() > Some(1));
    assert_eq!(daemon.post("/api/jobs/a/pause", 202)["job"], "a");
    let paused = daemon.until("a", |job| job["state"] == "paused");
    assert!(paused["why"].as_str().unwrap().contains("a person through the API"), "{paused}");
    assert_eq!((&paused["lag"], &paused["ready"]), (&json!(0), &json!(true)), "{paused}");
    assert_eq!(paused["records"], paused["rows"], "everything taken is committed: {paused}");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(daemon.job("a")["records"], paused["records"], "nothing is taken");
    assert_eq!(daemon.get("/readyz").0, 200);
    let metrics = daemon.get("/metrics").1;
    assert!(metrics.contains("tidemill_job_state{job=\"a\",state=\"paused\"} 1"), "{metrics}");
    assert!(metrics.contains("tidemill_job_state{job=\"a\",state=\"running\"} 0"));
    for never in [
        "tidemill_stalls_total{job=\"a\",kind=\"not_committed\"} 0",
        "tidemill_commits_total{job=\"a\",outcome=\"unknown\"} 0",
        "tidemill_rejects_total{job=\"a\",stage=\"decode\",cause=\"not_json\",outcome=\"fail\"} 0",
        "tidemill_data_loss_records_total{job=\"a\",topic=\"a\",partition=\"0\"} 0",
    ] {
        assert!(metrics.contains(never), "{never} is to be there before its first event: {metrics}");
    }
    let b = daemon.job("b")["rows"].as_u64();
    assert!(daemon.post("/api/jobs/a/pause", 202)["done"].as_str().unwrap().contains("already"));
    assert!(daemon.post("/api/jobs/a/cut", 409)["error"].as_str().unwrap().contains("paused"));
    daemon.post("/api/jobs/a/resume", 202);
    daemon.until("a", |job| job["state"] == "running" && job["rows"].as_u64() > paused["rows"].as_u64());
    daemon.until("b", |job| job["rows"].as_u64() > b);
    daemon.stop();
    daemon.assert_each_row_once("a");
    daemon.assert_each_row_once("b");
}

#[test]
fn a_pause_outlasts_the_daemon_until_it_is_resumed() {
    let mut daemon = two();
    daemon.until("a", |job| job["commits_landed"].as_u64() > Some(1));
    daemon.post("/api/jobs/a/pause", 202);
    // What was answered holds, however the process ends.
    daemon.signal("KILL");
    daemon.exit();
    for _ in 0..2 {
        daemon.start_again();
        let paused = daemon.until("a", |job| job["state"] == "paused");
        let why = paused["why"].as_str().unwrap();
        assert!(why.contains("a person through the API") && why.contains("before the job started"), "{paused}");
        daemon.until("b", |job| job["rows"].as_u64() > Some(0));
        assert_eq!(daemon.job("a")["records"], 0, "nothing is taken");
        daemon.stop();
    }
    daemon.start_again();
    daemon.until("a", |job| job["state"] == "paused");
    assert_eq!(daemon.post("/api/jobs/a/resume", 202)["done"], "it goes on");
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    daemon.stop();
    daemon.start_again();
    daemon.until("a", |job| job["state"] == "running" && job["rows"].as_u64() > Some(0));
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn a_damaged_pause_stops_its_job_alone_until_a_person_decides() {
    let mut daemon = two();
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    daemon.post("/api/jobs/a/pause", 202);
    daemon.stop();
    let file = daemon.dir.path().join("state/jobs/a/pause.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    daemon.start_again();
    let failed = daemon.until("a", |job| job["state"] == "failed");
    let why = failed["why"].as_str().unwrap();
    assert!(why.contains("state/jobs/a/pause.json is damaged") && why.contains("tidemill resume"), "{failed}");
    assert!(daemon.get("/readyz").1.contains("pause.json is damaged"));
    daemon.until("b", |job| job["rows"].as_u64() > Some(0));
    // A changed configuration starts a failed job: this one has to fail again.
    let changed = generator("a", "on_error = \"skip\"", "rate = 2000");
    daemon.write("", &format!("[group.hot]\n{changed}{}", generator("b", "group = \"hot\"", "rate = 500")));
    assert_eq!(daemon.post("/api/reload", 200)["changes"]["restarted"], json!(["a"]));
    daemon.wait_for("the second failure", |daemon| {
        (daemon.log().matches("pause.json is damaged").count() >= 2).then_some(())
    });
    assert_eq!(daemon.job("a")["records"], 0);
    daemon.post("/api/jobs/a/resume", 202);
    daemon.until("a", |job| job["state"] == "running" && job["rows"].as_u64() > Some(0));
    assert!(!file.exists());
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn drain_stops_and_resume_or_restart_starts() {
    let mut daemon = two();
    daemon.until("a", |job| job["rows"].as_u64() > Some(0));
    daemon.post("/api/jobs/a/drain", 202);
    let drained = daemon.until("a", |job| job["state"] == "stopped");
    assert_eq!(drained["records"], drained["rows"], "{drained}");
    assert!(daemon.post("/api/jobs/a/drain", 202)["done"].as_str().unwrap().contains("does not run"));
    for verb in ["pause", "cut"] {
        let refused = daemon.post(&format!("/api/jobs/a/{verb}"), 409);
        assert!(refused["error"].as_str().unwrap().contains("job `a` is stopped"), "{refused}");
    }
    daemon.post("/api/jobs/a/resume", 202);
    let again = daemon.until("a", |job| job["state"] == "running" && job["rows"].as_u64() > drained["rows"].as_u64());
    assert_eq!(again["runs"], 2);
    daemon.post("/api/jobs/a/restart", 202);
    daemon.until("a", |job| {
        job["state"] == "running" && job["runs"] == 3 && job["rows"].as_u64() > again["rows"].as_u64()
    });
    assert_eq!(daemon.job("b")["runs"], 1, "its neighbour is not touched");
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn window_bounds_change_without_a_new_run_and_a_cut_comes_at_once() {
    let mut daemon = Daemon::start("", &generator("a", "window = { max_age = \"1h\" }", "rate = 1000"));
    daemon.until("a", |job| job["records"].as_u64() > Some(100));
    assert_eq!(daemon.job("a")["commits_landed"], 0);
    daemon.post("/api/jobs/a/cut", 202);
    let job = daemon.until("a", |job| job["commits_landed"] == 1);
    assert_eq!(job["commits"][0]["cause"], "request");

    let (status, answer) = daemon.send("PATCH", "/api/jobs/a/window", &[JSON], r#"{"max_rows": 500}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["former"]["max_rows"], 500_000);
    assert_eq!(answer["window"]["max_rows"], 500);
    assert_eq!(answer["window"]["max_age_seconds"], 3600.0, "the others stay");
    let job = daemon.until("a", |job| job["commits_landed"].as_u64() > Some(2));
    assert_eq!(job["commits"].as_array().unwrap().last().unwrap()["cause"], "rows");
    let whole = r#"{"max_age": "200ms", "max_rows": 100000, "max_bytes": "1MiB", "idle": "100ms"}"#;
    let (status, answer) = daemon.send("PUT", "/api/jobs/a/window", &[JSON], whole);
    assert_eq!((status, &answer["window"]["idle_seconds"]), (200, &json!(0.1)), "{answer}");
    daemon.until("a", |job| job["commits"].as_array().unwrap().last().unwrap()["cause"] == "age");
    let (_, answer) = daemon.send("PATCH", "/api/jobs/a/window", &[JSON], r#"{"idle": null}"#);
    assert_eq!(answer["window"]["idle_seconds"], Value::Null);
    assert_eq!(daemon.job("a")["runs"], 1, "no new run for any of it");

    for (method, body, part) in [
        ("PATCH", "", "expected a JSON object"),
        ("PATCH", "[]", "expected a JSON object"),
        ("PATCH", "{}", "one or more of"),
        ("PATCH", r#"{"max_rows": 0}"#, "max_rows: expected more than 0"),
        ("PATCH", r#"{"max_age": "0s"}"#, "max_age: expected more than 0"),
        ("PATCH", r#"{"max_age": "5 parsecs"}"#, "parsecs"),
        ("PATCH", r#"{"max_age": null}"#, "null"),
        ("PATCH", r#"{"max_rows": -1}"#, "-1"),
        ("PATCH", r#"{"max_age": "1s", "freshness": "1s"}"#, "unknown key `freshness`"),
        ("PUT", r#"{"max_rows": 5}"#, "max_age, max_rows, max_bytes"),
    ] {
        let (status, answer) = daemon.send(method, "/api/jobs/a/window", &[JSON], body);
        assert_eq!(status, 400, "{method} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{method} {body}: {answer}");
    }
    let before = daemon.job("a")["window"].clone();
    assert_eq!(
        (&before["max_rows"], &before["max_age_seconds"]),
        (&json!(100_000), &json!(0.2)),
        "wrong input changes nothing"
    );
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn a_person_holds_the_window_of_a_tuner_and_lets_it_go() {
    let tuned = generator("a", "window = { freshness = \"2s\" }", "rate = 1000");
    let mut daemon = Daemon::start("", &format!("{tuned}{}", generator("b", "", "rate = 100")));
    daemon.until("a", |job| job["commits_landed"].as_u64() > Some(1));
    assert_eq!(daemon.job("a")["window"]["tuning"], "on");
    assert_eq!(daemon.job("b")["window"]["tuning"], Value::Null);
    let told = daemon.cli(&["window", "a", "--freeze"], &[]);
    assert!(told.code == 0 && told.out.contains("tuning frozen"), "{told:?}");
    let state = |daemon: &mut Daemon| daemon.get_json("/api/jobs/a/tuning")["tuning"]["choice"]["state"].clone();
    assert_eq!(state(&mut daemon), "frozen");
    assert!(daemon.get("/metrics").1.contains("tidemill_tuning_state{job=\"a\",state=\"frozen\"} 1"));
    let held = daemon.get_json("/api/jobs/a/tuning")["tuning"]["choice"]["line"].clone();
    let landed = daemon.job("a")["commits_landed"].as_u64().unwrap();
    daemon.until("a", |job| job["commits_landed"].as_u64() > Some(landed + 2));
    assert_eq!(daemon.get_json("/api/jobs/a/tuning")["tuning"]["choice"]["line"], held);
    daemon.cli(&["restart", "a", "--wait", "20"], &[]);
    assert_eq!(daemon.job("a")["window"]["tuning"], "frozen", "a new run changes nothing about it");
    let told = daemon.cli(&["window", "a", "--thaw", "--max-age", "1s"], &[]);
    assert!(told.code == 0 && told.out.contains("tuning on"), "{told:?}");
    assert_ne!(state(&mut daemon), "frozen");
    assert_eq!(daemon.job("a")["window"]["caps"]["max_age_seconds"], 1.0);

    for (job, body, status, part) in [
        ("a", r#"{"tuning": "of"}"#, 400, "expected \"frozen\""),
        ("a", r#"{"tuning": null}"#, 400, "expected \"frozen\""),
        ("b", r#"{"tuning": "frozen", "max_rows": 9}"#, 409, "no tuner that chooses"),
    ] {
        let (found, answer) = daemon.send("PATCH", &format!("/api/jobs/{job}/window"), &[JSON], body);
        assert_eq!(found, status, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{answer}");
    }
    assert_eq!(daemon.job("b")["window"]["max_rows"], 500_000, "refused whole");
    assert_eq!(daemon.cli(&["window", "a", "--freeze", "--thaw"], &[]).code, 2);
    daemon.stop();
    daemon.assert_each_row_once("a");
}

#[test]
fn groups_are_told_together() {
    let mut daemon = two();
    let groups = daemon.get_json("/api/groups");
    assert_eq!(groups["groups"].as_array().unwrap().len(), 2, "{groups}");
    assert_eq!(daemon.get_json("/api/groups/hot")["jobs"][0]["name"], "b");
    daemon.until("a", |job| job["state"] == "running");
    daemon.until("b", |job| job["state"] == "running");
    let answer = daemon.post("/api/groups/hot/pause", 202);
    assert!(answer["jobs"]["b"]["done"].is_string() && answer["jobs"]["a"].is_null(), "{answer}");
    daemon.until("b", |job| job["state"] == "paused");
    assert_eq!(daemon.job("a")["state"], "running");
    let refused = daemon.post("/api/groups/hot/cut", 409);
    assert!(refused["jobs"]["b"]["error"].is_string() && refused["error"].is_string(), "{refused}");
    daemon.post("/api/groups/hot/resume", 202);
    daemon.until("b", |job| job["state"] == "running");
    assert!(daemon.post("/api/groups/cold/pause", 404)["error"].as_str().unwrap().contains("there are default, hot"));
    assert!(daemon.post("/api/groups/hot/explode", 404)["error"].as_str().unwrap().contains("pause, resume, drain"));
    daemon.stop();
}

#[test]
fn what_is_not_there_and_what_is_not_allowed() {
    let mut daemon = two();
    assert!(daemon.post("/api/jobs/c/pause", 404)["error"].as_str().unwrap().contains("no job `c`; there are a, b"));
    assert!(daemon.post("/api/jobs/a/explode", 404)["error"].as_str().unwrap().contains("no verb `explode`"));
    for (method, path, status) in [
        ("GET", "/api/jobs/c", 404),
        ("GET", "/api/jobs/c/positions", 404),
        ("GET", "/api/jobs/c/window", 404),
        ("GET", "/api/groups/c", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/jobs/a/pause", 405),
        ("DELETE", "/api/jobs/a", 405),
        ("POST", "/api/reload?chek=true", 400),
        ("POST", "/api/jobs/..%2Fa/pause", 404),
    ] {
        let (found, answer) = daemon.send(method, path, &[JSON], "");
        assert_eq!(found, status, "{method} {path}: {answer}");
        assert!(answer["error"].is_string(), "{method} {path}: {answer}");
    }
    assert_eq!(daemon.send("PATCH", "/api/jobs/c/window", &[JSON], r#"{"max_rows": 1}"#).0, 404);
    assert_eq!(daemon.send("PATCH", "/api/jobs/a/window", &[JSON], &" ".repeat(100_000)).0, 413);
    // What a page in a browser could be made to send.
    assert_eq!(daemon.send("POST", "/api/jobs/a/pause", &[], "").0, 415);
    assert_eq!(daemon.send("POST", "/api/jobs/a/pause", &["Content-Type: text/plain"], "{}").0, 415);
    assert_eq!(daemon.send("POST", "/api/jobs/a/pause", &[JSON, "Origin: http://evil.example"], "").0, 403);
    assert_eq!(daemon.send_as("evil.example", "POST", "/api/jobs/a/pause", &[JSON], "").0, 403);
    assert_eq!(daemon.until("a", |job| job["state"] != "starting")["state"], "running");
    assert_eq!(daemon.get_json("/api/jobs/a/positions")["positions"].as_array().unwrap().len(), 4);
    daemon.stop();
}

#[test]
fn with_a_token_reading_is_open_and_verbs_ask_for_it() {
    let mut daemon = Daemon::start(&format!("api_token = \"{TOKEN}\"\n"), &generator("a", "", "rate = 1000"));
    daemon.until("a", |job| job["state"] == "running");
    let wrong = "Authorization: Bearer 0123456789abcdef-of-a-tes_";
    for (method, path) in [
        ("POST", "/api/jobs/a/pause"),
        ("POST", "/api/jobs/a/resume"),
        ("POST", "/api/jobs/a/drain"),
        ("POST", "/api/jobs/a/restart"),
        ("POST", "/api/jobs/a/cut"),
        ("PATCH", "/api/jobs/a/window"),
        ("PUT", "/api/jobs/a/window"),
        ("POST", "/api/groups/default/pause"),
        ("POST", "/api/reload"),
    ] {
        for headers in [&[JSON][..], &[JSON, wrong]] {
            let (status, answer) = daemon.send(method, path, headers, r#"{"max_rows": 1}"#);
            assert_eq!(status, 401, "{method} {path}: {answer}");
        }
    }
    assert_eq!(daemon.job("a")["state"], "running");
    assert_eq!(daemon.job("a")["window"]["max_rows"], 500_000);
    let right = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(daemon.send("POST", "/api/jobs/a/pause", &[JSON, &right], "").0, 202);
    daemon.until("a", |job| job["state"] == "paused");

    let refused = daemon.cli(&["resume", "a"], &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("TIDEMILL_API_TOKEN"), "{refused:?}");
    assert_eq!(daemon.cli(&["resume", "a", "--wait", "20"], &[("TIDEMILL_API_TOKEN", TOKEN)]).code, 0);
    assert_eq!(daemon.job("a")["state"], "running");
    assert!(!daemon.log().contains(TOKEN), "the log shows no secret");
    daemon.stop();
}

#[test]
fn beyond_loopback_without_a_token_nothing_can_be_changed() {
    let mut daemon = Daemon::start_on("0.0.0.0:0", "", &generator("a", "", "rate = 1000"));
    daemon.until("a", |job| job["state"] == "running");
    for (method, path) in [("POST", "/api/jobs/a/pause"), ("POST", "/api/reload"), ("PATCH", "/api/jobs/a/window")] {
        let (status, answer) = daemon.send(method, path, &[JSON], r#"{"max_rows": 1}"#);
        assert_eq!(status, 403, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("api_token"), "{answer}");
    }
    let refused = daemon.cli(&["drain", "a"], &[]);
    assert!(refused.code == 1 && refused.err.contains("api_token"), "{refused:?}");
    daemon.stop();
}

#[test]
fn the_command_line_has_every_verb() {
    let mut daemon = two();
    let ok = |daemon: &mut Daemon, arguments: &[&str]| {
        let done = daemon.cli(arguments, &[]);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.out
    };
    assert_eq!(daemon.until("a", |job| job["state"] == "running")["group"], "default");
    let shown = ok(&mut daemon, &["jobs"]);
    assert!(shown.starts_with("JOB") && shown.lines().count() == 3, "{shown}");
    assert!(ok(&mut daemon, &["jobs", "a"]).contains("a/0 at "));
    assert!(ok(&mut daemon, &["groups"]).contains("hot"));
    let json: Value = serde_json::from_str(&ok(&mut daemon, &["jobs", "--json"])).unwrap();
    assert_eq!(json["jobs"][0]["name"], "a");
    ok(&mut daemon, &["pause", "a", "b", "--wait", "20"]);
    assert_eq!((&daemon.job("a")["state"], &daemon.job("b")["state"]), (&json!("paused"), &json!("paused")));
    ok(&mut daemon, &["resume", "a", "--wait", "20"]);
    ok(&mut daemon, &["resume", "--group", "hot", "--wait", "20"]);
    assert_eq!(daemon.job("b")["state"], "running");
    ok(&mut daemon, &["cut", "a"]);
    daemon.until("a", |job| job["commits"].as_array().unwrap().iter().any(|c| c["cause"] == "request"));
    ok(&mut daemon, &["restart", "a", "--wait", "20"]);
    ok(&mut daemon, &["drain", "a", "--wait", "20"]);
    assert_eq!(daemon.job("a")["state"], "stopped");
    assert!(ok(&mut daemon, &["window", "b"]).contains("max_rows 500000"));
    let shown = ok(
        &mut daemon,
        &["window", "b", "--max-rows", "7", "--max-age", "2s", "--max-bytes", "3MiB", "--idle", "none"],
    );
    assert!(shown.contains("max_age 2.0 s, max_rows 7, max_bytes 3145728, idle none"), "{shown}");
    assert!(ok(&mut daemon, &["reload", "--check"]).contains("unchanged: 2 jobs"));
    assert!(ok(&mut daemon, &["reload"]).contains("unchanged: 2 jobs"));

    for (arguments, code, part) in [
        (&["pause", "c"][..], 1, "no job `c`; there are a, b"),
        (&["pause", "a"], 1, "is stopped"),
        (&["pause"], 2, "required"),
        (&["pause", "--group", "cold"], 1, "no group `cold`"),
        (&["window", "b", "--max-age", "soon"], 1, "max_age: a number was expected"),
        (&["window", "b", "--max-rows", "x"], 2, "invalid value"),
        (&["window", "c", "--max-rows", "1"], 1, "no job `c`"),
        (&["jobs", "c"], 1, "no job `c`"),
    ] {
        let done = daemon.cli(arguments, &[]);
        assert_eq!(done.code, code, "{arguments:?}: {done:?}");
        assert!(done.err.contains(part), "{arguments:?}: {done:?}");
    }
    let nobody = support::tidemill(&["jobs", "--http", "127.0.0.1:1"], &[]);
    assert!(nobody.code == 1 && nobody.err.contains("no daemon at 127.0.0.1:1"), "{nobody:?}");
    daemon.stop();
}

#[test]
fn the_openapi_document_names_what_there_is() {
    let mut daemon = two();
    daemon.until("a", |job| job["state"] == "running");
    let document = daemon.get_json("/api/openapi.json");
    let kept: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    assert_eq!(document, kept);
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 17, "{:?}", paths.keys());
    for (path, operations) in paths {
        let name = if path.contains("/groups/") { "hot" } else { "b" };
        for (method, operation) in operations.as_object().unwrap() {
            let (status, answer) =
                daemon.send(&method.to_uppercase(), &path.replace("{name}", name), &[JSON], r#"{"max_rows": 1}"#);
            assert!(operation["responses"].get(status.to_string()).is_some(), "{method} {path}: {status} {answer}");
            assert!(![404, 405].contains(&status), "{method} {path}: {answer}");
            let (status, _) =
                daemon.send(&method.to_uppercase(), &path.replace("{name}", "c"), &[JSON], "{\"max_rows\": 1}");
            let known = operation["responses"].get(status.to_string()).is_some();
            assert!(known, "{method} {path}: {status} of a name that is not there is not in the document");
        }
        let (status, _) = daemon.send("DELETE", &path.replace("{name}", name), &[JSON], "");
        assert_eq!(status, 405, "{path}");
    }
    daemon.stop();
}
