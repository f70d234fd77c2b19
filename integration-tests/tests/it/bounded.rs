//! Jobs that run to the end of a topic: everything there, bad records apart, aborted ones nowhere.

use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, produce};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, drain_and_check, spawn};

#[test]
fn every_kind_of_bad_record_is_a_dead_letter_and_its_neighbours_are_rows() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("mixture", 4, &[]).unwrap();
    let mix = Mix { bad: 0.1, tombstones: 0.02, odd: 0.3 };
    let ledger = produce(kafka.brokers(), Plan { mix, ..Plan::new(&topic, 4, 40_000) }).unwrap();
    let place = Place::new("mixture");
    let report = drain_and_check(&Job::new(kafka.brokers(), &topic, place.path()), &[&ledger]);
    report.assert_clean(39_000);
    assert!(report.bad.once > 3_500 && report.tombstones > 700);
}

#[test]
fn two_percent_of_poison_through_sql() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("poison", 4, &[]).unwrap();
    let ledger = produce(kafka.brokers(), Plan { mix: Mix::POISON, ..Plan::new(&topic, 4, 200_000) }).unwrap();
    let place = Place::new("poison");
    let mut job = Job::new(kafka.brokers(), &topic, place.path());
    job.sql = Some("SELECT * FROM input WHERE seq >= 0".to_owned());
    let report = drain_and_check(&job, &[&ledger]);
    report.assert_clean(195_000);
    assert!(report.bad.once > 3_500 && report.tombstones > 1_500);
}

#[test]
fn skipped_bad_records_are_nowhere() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("skipped", 2, &[]).unwrap();
    let mix = Mix { bad: 0.3, ..Mix::POISON };
    let ledger = produce(kafka.brokers(), Plan { mix, ..Plan::new(&topic, 2, 10_000) }).unwrap();
    let place = Place::new("skipped");
    let job = Job { dead_letters: None, ..Job::new(kafka.brokers(), &topic, place.path()) };
    let report = drain_and_check(&job, &[&ledger]);
    report.assert_clean(6_000);
    assert!(report.skipped > 2_500);
}

#[test]
fn aborted_transactions_are_never_seen_and_a_log_that_ends_with_control_records_ends() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("aborted", 3, &[]).unwrap();
    let plan = Plan { transactions: Some((100, 0.3)), mix: Mix::POISON, ..Plan::new(&topic, 3, 10_000) };
    let ledger = produce(kafka.brokers(), plan).unwrap();
    let place = Place::new("aborted");
    let report = drain_and_check(&Job::new(kafka.brokers(), &topic, place.path()), &[&ledger]);
    report.assert_clean(5_000);
    assert!(report.aborted > 1_000);
}

#[test]
fn a_topic_without_records_ends_at_once_and_a_second_run_adds_nothing() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("again", 2, &[]).unwrap();
    let place = Place::new("again");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    spawn(&job.until_end()).wait_success(LIMIT).unwrap();
    let ledger = produce(kafka.brokers(), Plan::new(&topic, 2, 5_000)).unwrap();
    for _ in 0..2 {
        drain_and_check(&job, &[&ledger]).assert_clean(5_000);
    }
}

#[test]
fn a_compacted_topic_with_holes_is_read_to_its_end() {
    let kafka = Kafka::shared();
    let settings = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
        ("segment.bytes", "1048576"),
        ("segment.ms", "500"),
    ];
    let topic = kafka.topic("compacted", 1, &settings).unwrap();
    // A compacted topic takes no records without a key: what the producer would send is not for it.
    let place = Place::new("compacted");
    let sent = crate::harness::send_keyed(kafka, &topic, 3_000, 50);
    // Whatever the cleaner has or has not done by now, reading must end, with the newest of each key.
    spawn(&Job::new(kafka.brokers(), &topic, place.path()).until_end()).wait_success(LIMIT).unwrap();
    let rows = tidemill_integration_tests::checker::count_rows(&place.path().join("out")).unwrap();
    assert!((50..=sent).contains(&rows), "{rows} rows of {sent} records");
}
