//! Jobs between offsets: exactly the range, once; and beside a live job.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use tidemill_integration_tests::checker::{check, count_rows, places};
use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::{Expected, Ledger};
use tidemill_integration_tests::producer::{Plan, produce};

use crate::support::{LIMIT, Place, spawn, wait_new_file};

/// A table of offsets of one topic.
fn table(topic: &str, at: &[(i32, i64)]) -> String {
    let entries: Vec<String> = at.iter().map(|(partition, at)| format!("\"{topic}/{partition}\" = {at}")).collect();
    format!("{{ {} }}", entries.join(", "))
}

/// A job from the one offsets to the other.
fn between(job: &Job, topic: &str, from: &[(i32, i64)], until: &[(i32, i64)]) -> Job {
    Job { start: table(topic, from), source: format!("until = {}", table(topic, until)), ..job.clone() }
}

/// The committed records of these ranges.
fn committed(ledger: &Ledger, ranges: &[(i32, Range<i64>)]) -> Vec<(String, i32, i64)> {
    let is_record = |partition: i32, offset: i64| {
        matches!(ledger.expected(partition as usize, offset as usize), Expected::Record(_))
    };
    let mut all: Vec<_> = ranges
        .iter()
        .flat_map(|(p, range)| range.clone().filter(|at| is_record(*p, *at)).map(|at| (ledger.topic.clone(), *p, at)))
        .collect();
    all.sort();
    all
}

/// Waits until the sink has so many rows and the daemon still runs.
fn wait_rows(daemon: &mut Daemon, job: &Job, rows: usize) {
    let begun = std::time::Instant::now();
    while count_rows(&job.out).unwrap() < rows {
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        assert!(begun.elapsed() < LIMIT, "{} of {rows} rows:\n{}", count_rows(&job.out).unwrap(), daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_range_of_offsets_lands_exactly_and_a_second_run_adds_nothing() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("range", 4, &[]).unwrap();
    // Ends and starts within transactions, aborted ones among them, and on their markers.
    let plan = Plan { transactions: Some((50, 0.3)), ..Plan::new(&topic, 4, 40_000) };
    let ledger = produce(kafka.brokers(), plan).unwrap();
    let place = Place::new("range");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    // One range is empty, and one partition is not named at all.
    let job = between(&job, &topic, &[(0, 1_003), (1, 2_500), (2, 777)], &[(0, 4_107), (1, 2_500), (2, 778)]);
    let expected = committed(&ledger, &[(0, 1_003..4_107), (2, 777..778)]);
    assert!(expected.len() > 1_500, "{} records", expected.len());
    for _ in 0..2 {
        spawn(&job).wait_success(LIMIT).unwrap();
        assert_eq!(places(&job.out).unwrap(), expected);
    }
    // The range goes on where the last one ended, in the same job: `start` is only for the first.
    let on = between(&job, &topic, &[(0, 0), (2, 0)], &[(0, 5_000), (2, 800)]);
    spawn(&on).wait_success(LIMIT).unwrap();
    assert_eq!(places(&job.out).unwrap(), committed(&ledger, &[(0, 1_003..5_000), (2, 777..800)]));
}

#[test]
fn offsets_beyond_the_end_are_waited_for() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("beyond", 2, &[]).unwrap();
    let first = produce(kafka.brokers(), Plan::new(&topic, 2, 2_000)).unwrap();
    let place = Place::new("beyond");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let job = Job { source: "until = { 0 = 1_500, 1 = 1_000 }".into(), ..job };
    let mut daemon = spawn(&job);
    wait_rows(&mut daemon, &job, first.committed());
    std::thread::sleep(Duration::from_secs(2));
    assert!(daemon.exited().unwrap().is_none(), "it did not wait:\n{}", daemon.log());
    assert!(daemon.log().contains("waits for records"), "{}", daemon.log());
    produce(kafka.brokers(), Plan { seed: 2, ..Plan::new(&topic, 2, 2_000) }).unwrap();
    daemon.wait_success(LIMIT).unwrap();
    let expected = (0..1_500).map(|at| (topic.clone(), 0, at)).chain((0..1_000).map(|at| (topic.clone(), 1, at)));
    assert_eq!(places(&job.out).unwrap(), expected.collect::<Vec<_>>());
}

#[test]
fn a_start_below_the_log_is_data_loss() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("below", 1, &[]).unwrap();
    produce(kafka.brokers(), Plan::new(&topic, 1, 2_000)).unwrap();
    kafka.delete_records(&topic, 0, 500).unwrap();
    let place = Place::new("below");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let wrong = between(&job, &topic, &[(0, 100)], &[(0, 1_000)]);
    let mut daemon = spawn(&wrong);
    assert_eq!(daemon.wait_exit(LIMIT).unwrap().code(), Some(1), "{}", daemon.log());
    let said = daemon.log();
    assert!(said.contains("names offset 100") && said.contains("records below 500 are gone"), "{said}");
    // Nothing was anchored by it: a corrected file is enough.
    spawn(&between(&job, &topic, &[(0, 600)], &[(0, 1_000)])).wait_success(LIMIT).unwrap();
    let rows = |range: Range<i64>| range.map(|at| (topic.clone(), 0, at)).collect::<Vec<_>>();
    assert_eq!(places(&job.out).unwrap(), rows(600..1_000));
    // Another job goes on at the low end when it may.
    let other = Job { out: place.path().join("other"), dead_letters: None, ..job.instance("b") };
    let mut other = between(&other, &topic, &[(0, 100)], &[(0, 1_000)]);
    other.source += "\non_data_loss = \"continue\"";
    let mut daemon = spawn(&other);
    daemon.wait_success(LIMIT).unwrap();
    assert!(daemon.log().contains("data loss"), "{}", daemon.log());
    assert_eq!(places(&other.out).unwrap(), rows(500..1_000));
}

#[test]
fn partitions_and_offsets_that_are_not_there_fail_the_job_and_are_named() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("unknown", 2, &[]).unwrap();
    produce(kafka.brokers(), Plan::new(&topic, 2, 200)).unwrap();
    let place = Place::new("unknown");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let until = |bounds: &str| Job { source: format!("until = {bounds}"), ..job.clone() };
    for (job, what) in [
        (Job { start: "{ 7 = 0 }".into(), ..until("\"end\"") }, format!("{topic}/7 (the topic has partitions 0 to 1)")),
        (
            Job { start: "{ 0 = 101 }".into(), ..until("\"end\"") },
            "names offset 101, and the log ends at 100".to_owned(),
        ),
        // The last one: the job is anchored before its end is looked at, and `start` is then of no account any more.
        (until("{ 0 = 50, 2 = 50 }"), format!("{topic}/2 (the topic has partitions 0 to 1)")),
    ] {
        let mut daemon = spawn(&job);
        assert_eq!(daemon.wait_exit(LIMIT).unwrap().code(), Some(1), "{}", daemon.log());
        assert!(daemon.log().contains(&what), "{what}:\n{}", daemon.log());
    }
    assert_eq!(count_rows(&job.out).unwrap(), 0);
}

#[test]
fn a_backfill_beside_a_live_job_meets_it_at_the_seam() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("seam", 3, &[]).unwrap();
    let ledger = produce(kafka.brokers(), Plan::new(&topic, 3, 30_000)).unwrap();
    let seam: BTreeMap<i32, i64> = [(0, 4_000), (1, 0), (2, 10_000)].into();
    let seam: Vec<(i32, i64)> = seam.into_iter().collect();
    let place = Place::new("seam");
    let live = Job { start: table(&topic, &seam), ..Job::new(kafka.brokers(), &topic, place.path()) };
    let mut running = spawn(&live);
    assert!(wait_new_file(&mut running, &live.out, 0, LIMIT), "no commit:\n{}", running.log());
    // Another name and group, the same folder, and a daemon of its own.
    let past = Job { source: format!("until = {}", table(&topic, &seam)), ..live.instance("b") };
    let past = Job { start: "\"earliest\"".into(), ..past };
    let text = past.toml().replace("job.clicks", "job.clicks-past");
    let text = text.replace("consumer_group = \"tidemill-", "consumer_group = \"past-");
    Daemon::spawn(&past.home, &text, &[]).unwrap().wait_success(LIMIT).unwrap();
    wait_rows(&mut running, &live, ledger.committed());
    running.term(LIMIT).unwrap();
    check(&[&ledger], &live.out, live.dead_letters.as_deref()).unwrap().assert_clean(30_000);
}
