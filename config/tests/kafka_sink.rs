//! The Kafka sink's keys and rules.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use tidemill_config::*;

fn text(source: &str, delivery: &str, sink: &str) -> String {
    format!(
        "[job.a]\n{delivery}\n[job.a.source]\n{source}\n[job.a.format]\ntype = \"json\"\nfields = [{{ name = \"id\", \
         type = \"int64\" }}]\nmetadata = [\"key\", \"value\"]\n[job.a.sink]\ntype = \"kafka\"\n{sink}\n"
    )
}

const KAFKA: &str = "type = \"kafka\"\nbrokers = \"127.0.0.1:9092\"\ntopics = [\"in\"]";
const GENERATOR: &str = "type = \"generator\"";
const SINK: &str = "brokers = \"127.0.0.1:9092\"\ntopic = \"out\"";

fn check_text(text: &str) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, text).unwrap();
    let checked = check(&file, &System);
    let show = |faults: &[Fault]| faults.iter().map(|f| format!("{}: {}", f.key, f.message)).collect();
    (show(&checked.faults), show(&checked.loaded.warnings))
}

#[test]
fn the_example_loads_as_it_stands() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kafka-to-kafka.toml");
    let loaded = load(&file, &System).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(loaded.warnings, []);
    let Sink::Kafka(sink) = &loaded.config.jobs["clean"].sink else { panic!("kafka") };
    assert_eq!((sink.topic.as_str(), sink.transactional), ("orders-clean", true));
    let MessageFormat::Raw(raw) = &sink.format else { panic!("raw") };
    assert_eq!(raw.column.as_str(), "_value");
    assert_eq!((sink.partitioner, sink.compression), (Partitioner::Murmur2, MessageCompression::Lz4));
}

#[test]
fn the_least_is_brokers_and_topic() {
    assert_eq!(check_text(&text(KAFKA, "", SINK)), (vec![], vec![]));
    assert_eq!(
        check_text(&text(KAFKA, "", &format!("{SINK}\nkey = \"_key\"\nformat = {{ type = \"json\" }}"))).0,
        [""; 0]
    );
}

#[test]
fn what_cannot_be_exactly_once_is_refused_with_what_to_do() {
    let plain = format!("{SINK}\ntransactional = false");
    let at_least = "delivery = \"at_least_once\"";
    let (faults, _) = check_text(&text(KAFKA, "", &plain));
    assert!(faults.len() == 1 && faults[0].contains("at_least_once"), "{faults:?}");
    assert_eq!(check_text(&text(KAFKA, at_least, &plain)), (vec![], vec![]));
    assert_eq!(check_text(&text(GENERATOR, at_least, &plain)), (vec![], vec![]));
    let (faults, _) = check_text(&text(GENERATOR, "", SINK));
    assert!(faults.len() == 1 && faults[0].contains("transactional = false"), "{faults:?}");
    let dead = format!("{SINK}\n[job.a.dead_letter]\ntype = \"kafka\"\nbrokers = \"127.0.0.1:9092\"\ntopic = \"dead\"");
    let (faults, _) = check_text(&text(KAFKA, "", &dead));
    assert!(faults.len() == 1 && faults[0].contains("dead letters"), "{faults:?}");
}

#[test]
fn another_cluster_can_only_be_suspected_before_the_start() {
    let (faults, warnings) = check_text(&text(KAFKA, "", "brokers = \"127.0.0.1:9093\"\ntopic = \"out\""));
    assert!(faults.is_empty() && warnings.len() == 1 && warnings[0].contains("cluster"), "{faults:?} {warnings:?}");
}

#[test]
fn each_value_is_looked_at() {
    let one = |sink: &str, expected: &str| {
        let (faults, _) = check_text(&text(KAFKA, "", sink));
        assert!(faults.len() == 1 && faults[0].contains(expected), "{sink}: {faults:?}");
    };
    one("brokers = \"127.0.0.1:9092\"\ntopic = \"in\"", "reads");
    one("brokers = \"127.0.0.1:9092\"\ntopic = \"^out\"", "one topic");
    one("brokers = \"127.0.0.1\"\ntopic = \"out\"", "port");
    one(&format!("{SINK}\nkey = \"_kee\""), "no column is named");
    one(&format!("{SINK}\nformat = {{ type = \"raw\", column = \"nope\" }}"), "no column is named");
    one(&format!("{SINK}\n[job.a.window]\nmax_age = \"6m\""), "5m");
    one(&format!("{SINK}\nkeys = \"x\""), "keys");
}
