//! A topic that is deleted and made again under its name: between two lives of a daemon, and under a running one.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use tidemill_integration_tests::checker::{count_rows, places};
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE, binary};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::Ledger;
use tidemill_integration_tests::producer::{Plan, produce};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, count_files, spawn, wait_new_file};

/// The same name, another topic.
fn make_again(kafka: &Kafka, topic: &str, partitions: i32) {
    kafka.delete_topic(topic).unwrap();
    let begun = Instant::now();
    // The broker forgets a name a moment after it has said so.
    while let Err(error) = kafka.create_topic(topic, partitions, &[]) {
        assert!(begun.elapsed() < LIMIT, "{error:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Who moves the positions to the new topic.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Remedy {
    /// A person, as the error says.
    Person,
    /// The daemon, which dies after the first of the two sinks has moved.
    DaemonThatDies,
}

/// Rejects of the new topic lie below the position that the dead letters have of the old one, and are none of its.
fn rejects_of_the_new_topic_are_kept(remedy: Remedy) {
    let kafka = Kafka::shared();
    let topic = kafka.topic("again", 2, &[]).unwrap();
    let place = Place::new("again");
    let plan = |limit, seed| Plan { mix: Mix { bad: 0.3, ..Mix::POISON }, seed, ..Plan::new(&topic, 2, limit) };
    let job = Job::new(kafka.brokers(), &topic, place.path()).until_end();
    let old = produce(kafka.brokers(), plan(2_000, 1)).unwrap();
    spawn(&job).wait_success(LIMIT).unwrap();
    make_again(kafka, &topic, 2);
    let new = produce(kafka.brokers(), plan(1_000, 2)).unwrap();
    let job = match remedy {
        Remedy::Person => {
            let mut daemon = spawn(&job);
            assert!(!daemon.wait_exit(LIMIT).unwrap().success());
            let log = daemon.log();
            assert!(log.contains("made again") && log.contains("--reset earliest"), "{log}");
            let mut reset = Command::new(binary().unwrap());
            reset.args(["positions", "clicks", "--config", "tidemill.toml", "--reset", "earliest", "--yes"]);
            let done = reset.current_dir(&job.home).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            job
        }
        Remedy::DaemonThatDies => {
            let job = Job { source: "on_data_loss = \"continue\"".to_owned(), ..job };
            let dies = [(FAILPOINT_VARIABLE, "files.after_record")];
            let mut daemon = Daemon::spawn(&job.home, &job.toml(), &dies).unwrap();
            daemon.wait_exit(LIMIT).unwrap();
            assert!(daemon.log().contains("failpoint"), "{}", daemon.log());
            job
        }
    };
    spawn(&job).wait_success(LIMIT).unwrap();
    let sum = |of: &dyn Fn(&Ledger) -> usize| of(&old) + of(&new);
    assert_eq!(count_rows(&job.out).unwrap(), sum(&|ledger| ledger.fates().0));
    assert_eq!(count_rows(job.dead_letters.as_ref().unwrap()).unwrap(), sum(&|ledger| ledger.fates().1));
}

#[test]
fn rejects_are_kept_after_a_person_reset_the_positions() {
    rejects_of_the_new_topic_are_kept(Remedy::Person);
}

#[test]
fn rejects_are_kept_when_a_daemon_dies_while_it_passes_over_what_is_lost() {
    rejects_of_the_new_topic_are_kept(Remedy::DaemonThatDies);
}

/// The new topic has grown past the old position before the daemon asks for more: the client reads on in it, from there.
/// What it read is given up, and all of the new topic is there once.
#[test]
fn a_topic_made_again_under_a_running_daemon_is_noticed() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("replaced", 1, &[]).unwrap();
    let place = Place::new("replaced");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    // 500 rows are a window; fewer wait for longer than it takes to notice. A frozen daemon keeps its partition.
    let job = Job {
        max_rows: 500,
        max_age: "60s".to_owned(),
        session_timeout_ms: 45_000,
        source: "on_data_loss = \"continue\"".to_owned(),
        ..job
    };
    produce(kafka.brokers(), Plan { seed: 1, ..Plan::new(&topic, 1, 500) }).unwrap();
    let mut daemon = spawn(&job);
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());
    daemon.freeze().unwrap();
    make_again(kafka, &topic, 1);
    produce(kafka.brokers(), Plan { seed: 2, ..Plan::new(&topic, 1, 900) }).unwrap();
    daemon.thaw().unwrap();
    let begun = Instant::now();
    while !daemon.log().contains("made again while it was read") {
        assert!(begun.elapsed() < Duration::from_secs(40), "not noticed:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("made again while it was read")).unwrap();
    assert!(line.contains(&topic) && line.contains("id ") && line.contains("was "), "{line}");
    assert_eq!(count_rows(&job.out).unwrap(), 500, "what was read of the new topic is given up:\n{log}");
    let before = count_files(&job.out);
    assert!(wait_new_file(&mut daemon, &job.out, before, LIMIT), "it does not go on:\n{}", daemon.log());
    daemon.term(LIMIT).unwrap();
    let mut times = BTreeMap::new();
    for (_, _, offset) in places(&job.out).unwrap() {
        *times.entry(offset).or_insert(0) += 1;
    }
    let wanted: BTreeMap<i64, i32> = (0..900).map(|offset| (offset, if offset < 500 { 2 } else { 1 })).collect();
    assert_eq!(times, wanted, "{}", daemon.log());
}

/// Nobody has to ask for that: the client tells it.
#[test]
fn a_topic_deleted_under_a_running_daemon_is_told() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("deleted", 1, &[]).unwrap();
    let place = Place::new("deleted");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    produce(kafka.brokers(), Plan::new(&topic, 1, 500)).unwrap();
    let mut daemon = spawn(&job);
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());
    kafka.delete_topic(&topic).unwrap();
    let begun = Instant::now();
    while !["is gone", "assignment changes"].iter().any(|said| daemon.log().contains(said)) {
        assert!(begun.elapsed() < LIMIT, "not told:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("told after {:?}:\n{}", begun.elapsed(), daemon.log());
    daemon.term(LIMIT).unwrap();
    assert_eq!(count_rows(&job.out).unwrap(), 500);
}
