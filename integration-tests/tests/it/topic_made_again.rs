//! A topic that is deleted and made again under its name.

use std::process::Command;
use std::time::{Duration, Instant};

use tidemill_integration_tests::checker::count_rows;
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE, binary};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::Ledger;
use tidemill_integration_tests::producer::{Plan, produce};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, spawn};

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
