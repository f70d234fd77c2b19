//! A sink that does not answer for a long time: what is read is held back in a flat memory, the group keeps its member,
//! and everything lands once the sink is back. `TIDEMILL_STALL_SECONDS=600` for the long run.

use std::time::{Duration, Instant};

use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer, produce};

use crate::support::{LIMIT, Place, alone, count_files, drain_and_check, setting, until, wait_new_file};

const MIB: f64 = 1_048_576.0;
/// `memory` of the daemon, MiB, and what it may take beside it.
const MEMORY: f64 = 64.0;
const BESIDE: f64 = 72.0;

/// What the daemon says of itself.
#[derive(Clone, Copy, Debug)]
struct Said {
    rss_mib: f64,
    records: f64,
    commits: f64,
}

fn ask(daemon: &mut Daemon) -> Said {
    let metrics = daemon.metrics().unwrap();
    let value = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels).unwrap_or(0.0);
    Said {
        rss_mib: value("process_resident_memory_bytes", &[]) / MIB,
        records: value("tidemill_records_total", &[("job", "clicks")]),
        commits: value("tidemill_commits_total", &[("job", "clicks"), ("outcome", "landed")]),
    }
}

#[test]
fn a_sink_that_stalls_holds_consumption_back_in_a_flat_memory() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("stalled", 4, &[]).unwrap();
    // More than the memory holds, and more of it all the time.
    let before = produce(kafka.brokers(), Plan::new(&topic, 4, 200_000)).unwrap();
    let more = kafka.topic("stalled-more", 4, &[]).unwrap();
    let producer = Producer::start(kafka.brokers(), Plan::endless(&more, 4, 3_000)).unwrap();
    let place = Place::new("stalled");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let job = Job {
        topics: vec![topic, more],
        memory: format!("{MEMORY}MiB"),
        max_age: "200ms".into(),
        max_rows: 20_000,
        ..job
    };
    // It is the stall that is looked at, not what heals it.
    let text = job.toml().replacen("[daemon]\n", "[daemon]\nstall_after = \"2h\"\n", 1);
    let told = place.path().join("commit-seconds");
    std::fs::write(&told, "0").unwrap();
    let slow = format!("@{}", told.display());
    let mut daemon = Daemon::spawn(&job.home, &text, &[("TIDEMILL_TEST_COMMIT_SECONDS", &slow)]).unwrap();
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());

    let stall = Duration::from_secs(setting("TIDEMILL_STALL_SECONDS", 20));
    std::fs::write(&told, stall.as_secs().to_string()).unwrap();
    until(&mut daemon, "held", |daemon| daemon.log().contains("a commit is held"));
    let begun = Instant::now();
    // The commit under way takes its time, those after it do not.
    std::fs::write(&told, "0").unwrap();
    let last = ask(&mut daemon);
    let mut seen = Vec::new();
    while begun.elapsed() + Duration::from_secs(2) < stall {
        seen.push((begun.elapsed(), ask(&mut daemon)));
        std::thread::sleep(Duration::from_millis(250));
    }
    let (early, late): (Vec<&(Duration, Said)>, Vec<_>) = seen.iter().partition(|(at, _)| *at < stall / 2);
    let peak = |of: &[&(Duration, Said)]| of.iter().map(|(_, said)| said.rss_mib).fold(0.0, f64::max);
    let (first, end) = (late[0].1, late[late.len() - 1].1);
    eprintln!(
        "stalled for {stall:?}: {:.0} MiB at most in its first half, {:.0} in its second, {} records taken and held",
        peak(&early),
        peak(&late),
        end.records
    );
    assert_eq!(end.commits, last.commits, "it was the same commit all the time: {end:?}");
    assert_eq!(first.records, end.records, "nothing more is read: {first:?}, {end:?}");
    assert!(end.records < 200_000.0, "the memory holds less than there is: {end:?}");
    assert!(peak(&late) <= peak(&early) + 4.0, "flat: {seen:?}");
    assert!(peak(&late) <= MEMORY + BESIDE, "within the budget: {seen:?}");

    let files = count_files(&job.out);
    assert!(wait_new_file(&mut daemon, &job.out, files, LIMIT), "it does not go on:\n{}", daemon.log());
    let metrics = daemon.metrics().unwrap();
    let count = |name: &str| metrics.sum(name, &[("job", "clicks")]).unwrap_or(0.0);
    let rebalances = count("tidemill_rebalances_total");
    assert_eq!((count("tidemill_runs_total"), rebalances), (1.0, 0.0), "the group kept it:\n{}", daemon.log());
    daemon.term(LIMIT).unwrap();
    let after = producer.finish().unwrap();
    drain_and_check(&job, &[&before, &after]).assert_clean(200_000);
}
