//! A window that tunes itself, on a real broker: fresh enough through a step of the load, with fewer commits than a fixed
//! window of a second, explained, and remembered by the next daemon.

use std::process::Command;
use std::time::Duration;

use tidemill_integration_tests::daemon::{Daemon, binary};
use tidemill_integration_tests::freshness::{Freshness, config, produce};
use tidemill_integration_tests::kafka::Kafka;

use crate::support::{LIMIT, Place, alone};

/// Generous, for machines that are busy with other things.
const FRESHNESS: f64 = 6.0;

#[test]
fn windows_tune_themselves_to_a_freshness() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("fresh", 4, &[]).unwrap();
    let place = Place::new("fresh");
    let home = place.path().join("a");
    let text = config(kafka.brokers(), &topic, place.path(), "freshness = \"6s\"");
    let slow = [("TIDEMILL_TEST_COMMIT_SECONDS", "0.3")];
    let mut daemon = Daemon::spawn(&home, &text, &slow).unwrap();
    daemon.http_port(LIMIT).unwrap();
    // Time to join the group: what waits until then would be a backlog.
    std::thread::sleep(Duration::from_secs(3));
    let step = |t: f64| if t < 15.0 { 800.0 } else { 6_000.0 };
    let stamps = produce(kafka.brokers(), &topic, 4, Duration::from_secs(35), step).unwrap();
    std::thread::sleep(Duration::from_secs_f64(FRESHNESS));

    let (status, body) = daemon.get("/api/jobs/fresh/tuning").unwrap();
    assert_eq!(status, 200, "{body}");
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    let tuning = &shown["tuning"];
    assert_eq!((&tuning["mode"], &tuning["choice"]["mode"]), (&"on".into(), &"model".into()), "{shown:#}");
    let fixed = tuning["cost"]["fixed"].as_f64().unwrap();
    assert!((0.2..2.0).contains(&fixed), "a commit takes 0.3 s and a little, learned {fixed} s: {shown:#}");
    let metrics = daemon.metrics().unwrap();
    let job = [("job", "fresh")];
    assert!(metrics.sum("tidemill_tuning_window_seconds", &job).unwrap() >= 0.1);
    assert!(metrics.sum("tidemill_freshness_p99_seconds", &job).unwrap() > 0.0);
    assert_eq!(metrics.sum("tidemill_tuning_state", &job), Some(1.0), "in one state");
    let address = format!("127.0.0.1:{}", daemon.http_port(LIMIT).unwrap());
    let explained = run(&["explain", "fresh", "--http", &address]);
    assert!(explained.contains("freshness 6.0 s is asked for"), "{explained}");
    assert!(run(&["window", "fresh", "--freeze", "--http", &address]).contains("tuning frozen"));
    assert!(run(&["explain", "fresh", "--http", &address]).contains("held by a person"));
    assert!(run(&["window", "fresh", "--thaw", "--http", &address]).contains("tuning on"));
    daemon.term(LIMIT).unwrap();

    let found = Freshness::read(&place.path().join("out"), "fresh", &stamps, 0).unwrap();
    let log = daemon.log();
    let summary = format!(
        "{:.2} % in target, p99 {:.2} s, {} commits",
        100.0 * found.within(FRESHNESS),
        found.quantile(0.99),
        found.commits
    );
    eprintln!("freshness {FRESHNESS} s: {summary}");
    assert_eq!(found.missing, 0, "{log}");
    assert!(found.within(FRESHNESS) >= 0.95, "{summary}\n{log}");
    assert!(found.commits <= 32, "{summary}: a fixed window of a second makes 38\n{log}");
    assert!(log.contains("window tuned"), "{log}");

    // What was learned is there for the next daemon, and for "what if".
    let file = home.join("tidemill.toml");
    let simulated = Command::new(binary().unwrap())
        .args(["simulate", "--job", "fresh", "--policy", "tuned", "--policy", "fixed:1s", "--config"])
        .arg(&file)
        .current_dir(&home)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&simulated.stdout).into_owned();
    assert!(
        simulated.status.success() && said.contains("fixed:1s"),
        "{said}{}",
        String::from_utf8_lossy(&simulated.stderr)
    );
    let mut again = Daemon::spawn(&home, &text, &slow).unwrap();
    again.http_port(LIMIT).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&again.get("/api/jobs/fresh/tuning").unwrap().1).unwrap();
    let known = shown["tuning"]["cost"]["fixed"].as_f64().unwrap();
    assert!((known / fixed - 1.0).abs() < 0.5, "learned {fixed} s, the next daemon knows {known} s");
    again.term(LIMIT).unwrap();
}

fn run(arguments: &[&str]) -> String {
    let done = Command::new(binary().unwrap()).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
