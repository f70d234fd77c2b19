//! Groups, the order of jobs, and the token of the API.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{faults, job, load};

/// A job that ends, of this name, with these lines.
fn bounded(name: &str, more: &str) -> String {
    format!(
        "[job.{name}]\n{more}\nsource = {{ type = \"generator\", records = 10 }}\n\
         format = {{ type = \"json\", fields = [{{ name = \"x\", type = \"int64\" }}] }}\n\
         sink = {{ type = \"parquet\", path = \"./{name}\" }}\n"
    )
}

#[track_caller]
fn says(text: &str, part: &str) {
    let faults = faults(text);
    assert!(faults.len() == 1 && faults[0].contains(part), "expected {part:?} in {faults:#?}\n{text}");
}

#[test]
fn a_group_and_its_defaults() {
    let text = "[group.hot]\nweight = 3\nmemory = \"64MiB\"\nmax_concurrent_commits = 2\n\
                restart = { longest = \"1m\", give_up_after = 5 }\n";
    let loaded = load(&format!("{text}{}", job("group = \"hot\""))).expect("loads");
    let group = &loaded.config.groups["hot"];
    assert_eq!((group.weight, group.memory, group.max_concurrent_commits), (3, Some(64 << 20), Some(2)));
    assert_eq!((group.restart.longest, group.restart.within), (Duration::from_secs(60), Duration::from_secs(600)));
    assert_eq!(load(&job("")).expect("loads").config.jobs["a"].group.as_str(), "default");
}

#[test]
fn groups_that_are_wrong() {
    says(
        &format!("[group.hot]\n{}", job("group = \"hott\"")),
        "a.toml:6:9: job.a.group: no [group.hott] table; did you mean \"hot\"",
    );
    says(&format!("[group.Hot]\n{}", job("")), "a group's name of 1 to 63 characters");
    says(&format!("[group.a]\nmemory = \"1MiB\"\n{}", job("")), "group.a.memory: expected at least \"16MiB\"");
    says(&format!("[group.a]\nweight = 0\n{}", job("")), "group.a.weight");
    says(&format!("[group.a.restart]\nlongest = \"1ms\"\n{}", job("")), "group.a.restart.longest: expected no less");
}

#[test]
fn the_order_of_jobs() {
    let chain =
        format!("{}{}{}", bounded("a", ""), bounded("b", "after = [\"a\"]"), bounded("c", "after = [\"b\", \"a\"]"));
    assert_eq!(load(&chain).expect("loads").config.jobs["c"].after.len(), 2);
    says(&bounded("a", "after = [\"b\"]"), "job.a.after[0]: no job `b`");
    says(&bounded("a", "after = [\"a\"]"), "jobs wait for each other: `a` after `a`");
    let circle = format!("{chain}{}{}", bounded("d", "after = [\"e\", \"a\"]"), bounded("e", "after = [\"d\"]"));
    says(&circle, "jobs wait for each other: `d` after `e` after `d`");
    let endless = job("").replace("[job.a]", "[job.live]");
    let loaded = load(&format!("{endless}{}", bounded("b", "after = [\"live\"]"))).expect("loads");
    assert!(loaded.warnings[0].to_string().contains("that job has no end"), "{:?}", loaded.warnings);
}

#[test]
fn a_token_is_never_shown_and_never_short() {
    let with = |token: &str| format!("[daemon]\napi_token = \"{token}\"\n{}", job(""));
    let loaded = load(&with("0123456789abcdef-hunter2")).expect("loads");
    assert_eq!(loaded.config.daemon.api_token.as_deref(), Some("0123456789abcdef-hunter2"));
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
    assert!(!serde_json::to_string(&loaded.config).expect("json").contains("hunter2"));
    assert_eq!(loaded.warnings.len(), 1, "it stands in the file");
    says(&with("short"), "daemon.api_token: expected at least 16 characters");
}

#[test]
fn a_job_may_end_at_a_time() {
    let with = |until: &str| job("").replace("topics = [\"t\"]", &format!("topics = [\"t\"], until = {until}"));
    for until in ["\"2026-01-31T00:00:00Z\"", "2026-01-31T00:00:00Z"] {
        let config = load(&with(until)).expect("loads").config;
        let tidemill_config::Source::Kafka(kafka) = &config.jobs["a"].source else { panic!("kafka") };
        let Some(tidemill_config::Until::Time(time)) = &kafka.until else { panic!("a time: {:?}", kafka.until) };
        assert_eq!(time.timestamp(), 1_769_817_600);
        assert!(serde_json::to_string(&config).expect("json").contains("\"until\":\"2026-01-31T00:00:00Z\""));
    }
    says(&with("\"2026-01-31\""), "it needs date, time and zone");
}

#[test]
fn a_job_may_begin_and_end_at_offsets() {
    let with =
        |topics: &str, bounds: &str| job("").replace("topics = [\"t\"]", &format!("topics = {topics}, {bounds}"));
    let offsets = |text: &str| {
        let config = load(text).expect("loads").config;
        let json = serde_json::to_string(&config).expect("json");
        let tidemill_config::Source::Kafka(kafka) = &config.jobs["a"].source else { panic!("kafka") };
        let Some(tidemill_config::Until::Offsets(until)) = &kafka.until else { panic!("{:?}", kafka.until) };
        let tidemill_config::Start::Offsets(start) = &kafka.start else { panic!("{:?}", kafka.start) };
        let of = |offsets: &tidemill_config::Offsets| -> Vec<_> {
            offsets.by_partition(&kafka.topics).map(|((topic, p), at)| format!("{topic}/{p} {at}")).collect()
        };
        (of(start), of(until), json)
    };
    let bounds = "start = { 0 = 5, \"t/1\" = 7 }, until = { 0 = 5, 1 = 9_000_000_000 }";
    let (start, until, json) = offsets(&with("[\"t\"]", bounds));
    assert_eq!(
        (start.as_slice(), until.as_slice()),
        (&["t/0 5", "t/1 7"].map(String::from)[..], &["t/0 5", "t/1 9000000000"].map(String::from)[..])
    );
    assert!(json.contains("\"until\":{\"0\":5,\"1\":9000000000}"), "{json}");
    let (_, until, _) =
        offsets(&with("[\"^t[.].*\", \"u\"]", "start = { \"t.a/0\" = 1 }, until = { \"t.a/0\" = 1, \"u/3\" = 2 }"));
    assert_eq!(until, ["t.a/0 1", "u/3 2"]);
}

#[test]
fn a_transaction_does_not_outlast_two_rounds_of_turns() {
    let job = |name: &str, sink: &str| {
        bounded(name, "group = \"g\"").replace(&format!("type = \"parquet\", path = \"./{name}\""), sink)
    };
    let postgres = |table: &str, more: &str| {
        format!("type = \"postgres\", url = \"postgres://u@h:1/d\", table = \"{table}\"{more}")
    };
    let warnings = |per_minute: u32, more: &str| -> Vec<String> {
        let text = format!(
            "[group.g]\ncommits_per_minute = {per_minute}\n{}{}{}",
            job("a", &postgres("a", more)),
            job("b", &postgres("b", "")),
            bounded("c", "group = \"g\"")
        );
        load(&text).expect("loads").warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warnings(1, ""), [""; 0], "six minutes of fifteen");
    assert_eq!(warnings(1, ", idle_in_transaction_timeout = \"361s\""), [""; 0]);
    let found = warnings(1, ", idle_in_transaction_timeout = \"6m\"");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("job.a.sink.idle_in_transaction_timeout: expected more than 360 s")
            && found[0].contains("3 jobs of group \"g\"")
            && found[0].contains("commits_per_minute = 1"),
        "{found:?}"
    );
    assert_eq!(warnings(2, ", idle_in_transaction_timeout = \"6m\""), [""; 0]);
}
