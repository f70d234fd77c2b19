//! A run that hangs: named, cured by a new run, and red until something was committed.

use serde_json::Value;
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, alone, drain_and_check, until};

fn shown(daemon: &mut Daemon) -> Value {
    serde_json::from_str(&daemon.get("/api/jobs/clicks").unwrap().1).unwrap()
}

/// The first run hangs at `failpoint` after some commits.
fn hangs(name: &str, failpoint: &str, kind: &str, why: &str) {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic(name, 4, &[]).unwrap();
    let place = Place::new(name);
    let mut job = Job::new(kafka.brokers(), &topic, place.path());
    // A window takes its time, so that a new run is seen before its first commit.
    job.max_age = "1500ms".to_owned();
    job.daemon = "stall_after = \"2s\"".to_owned();
    job.more = "[group.default]\nmax_concurrent_commits = 1\n".to_owned();
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, 2_000) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let armed = [(FAILPOINT_VARIABLE, failpoint)];
    let mut daemon = Daemon::spawn(&job.home, &job.toml(), &armed).unwrap();
    until(&mut daemon, "hanging", |daemon| daemon.log().contains("hanging at a failpoint"));
    let before = shown(&mut daemon);
    assert!(before["commits_landed"].as_u64() > Some(0), "it worked before: {before:#}");
    assert_eq!(before["runs"], 1, "{before:#}");

    let mut said = String::new();
    until(&mut daemon, "red", |daemon| {
        let (status, text) = daemon.get("/readyz").unwrap();
        said = text;
        status == 503
    });
    assert!(said.contains("job clicks: ") && said.contains(why), "{said}");
    // What the hung run had taken before is committed by now, or never will be by it.
    let landed = shown(&mut daemon)["commits_landed"].as_u64();
    // Red all the time until something was committed, with the new run too.
    let (mut red_in_new_run, mut green) = (0, None);
    until(&mut daemon, "green again", |daemon| {
        let (status, text) = daemon.get("/readyz").unwrap();
        let job = shown(daemon);
        let has_committed = job["commits_landed"].as_u64() > landed;
        assert!(status == 503 || has_committed, "green without a commit: {text} {job:#}\n{}", daemon.log());
        if status == 503 && !has_committed && job["runs"].as_u64() > Some(1) && job["state"] == "running" {
            assert!(text.contains(why), "{text}");
            red_in_new_run += 1;
        }
        green = (status == 200).then_some(job);
        green.is_some()
    });
    assert!(red_in_new_run > 0, "the new run was not seen before its first commit");
    assert_eq!(green.unwrap()["runs"], 2, "one new run cured it:\n{}", daemon.log());
    let metrics = daemon.metrics().unwrap();
    let stalls = |labels: &[(&str, &str)]| metrics.sum("tidemill_stalls_total", labels);
    assert_eq!(stalls(&[("job", "clicks"), ("kind", kind)]), Some(1.0));
    assert_eq!(stalls(&[]), Some(1.0), "and no stall of another kind");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("stalled, its run starts anew")).unwrap_or_default();
    assert!(line.contains(kind) && line.contains(why), "{line}\n{log}");
    let ledger = producer.finish().unwrap();
    daemon.term(LIMIT).unwrap();
    drain_and_check(&job, &[&ledger]).assert_clean(10_000);
}

#[test]
fn a_run_that_takes_nothing_is_named_and_cured() {
    hangs("unpolled", "hang:run.poll:500", "not_polled", "more records and none was taken for");
}

/// The commit hangs in its turn, of which the group has one: a new run that waited for it would wait for ever.
#[test]
fn a_run_that_commits_nothing_is_named_and_cured() {
    hangs("uncommitted", "hang:gate.in_turn:3", "not_committed", "nothing has been committed since");
}
