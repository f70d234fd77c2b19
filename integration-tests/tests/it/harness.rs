//! The harness itself: a broker that comes, goes and comes back.
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::{Expected, Ledger};
use tidemill_integration_tests::producer::{Plan, Producer, produce};
use tidemill_integration_tests::records::{Maker, Mix};

fn send_some(kafka: &Kafka, topic: &str, count: usize) {
    let producer: BaseProducer = kafka.client().set("message.timeout.ms", "30000").create().unwrap();
    for i in 0..count {
        producer.send(BaseRecord::<(), _>::to(topic).payload(&format!("{i}"))).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[test]
fn a_broker_keeps_its_records_over_a_kill_and_a_stop() {
    let begun = Instant::now();
    let mut kafka = Kafka::start().unwrap();
    eprintln!("broker up in {:?}", begun.elapsed());
    let topic = kafka.topic("kept", 1, &[]).unwrap();
    send_some(&kafka, &topic, 100);
    kafka.kill9().unwrap();
    assert!(kafka.pid().is_none());
    let begun = Instant::now();
    kafka.restart().unwrap();
    eprintln!("restart after kill -9 in {:?}", begun.elapsed());
    send_some(&kafka, &topic, 50);
    assert_eq!(kafka.ends(&topic, 0).unwrap(), (0, 150));
    let begun = Instant::now();
    kafka.stop().unwrap();
    eprintln!("clean stop in {:?}", begun.elapsed());
    kafka.restart().unwrap();
    assert_eq!(kafka.ends(&topic, 0).unwrap(), (0, 150));
    kafka.add_partitions(&topic, 3).unwrap();
    assert_eq!(kafka.ends(&topic, 2).unwrap(), (0, 0));
    kafka.delete_topic(&topic).unwrap();
}

/// Reads a topic to its ends as a `read_committed` consumer, and compares with the ledger.
fn read_back(kafka: &Kafka, ledger: &Ledger) -> usize {
    let consumer: BaseConsumer = kafka
        .client()
        .set("group.id", "read-back")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..ledger.partitions() {
        assignment.add_partition_offset(&ledger.topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut read, mut ends) = (0, 0);
    while ends < ledger.partitions() {
        match consumer.poll(Duration::from_secs(20)).expect("records within 20 s") {
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
            Ok(message) => {
                read += 1;
                let (partition, offset) = (message.partition() as usize, message.offset() as usize);
                let Expected::Record(record) = ledger.expected(partition, offset) else {
                    panic!("{partition} {offset}: not expected");
                };
                assert_eq!(message.payload(), record.value.as_deref(), "{partition} {offset} {:?}", record.fate);
                assert_eq!(message.key(), record.key.as_deref());
                let count = message.headers().map_or(0, |headers| headers.count());
                assert_eq!(count, record.headers.len());
            }
        }
    }
    read
}

#[test]
fn the_ledger_is_what_lies_in_the_topic() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("poison", 3, &[]).unwrap();
    let mix = Mix { bad: 0.2, tombstones: 0.1, odd: 0.2 };
    let begun = Instant::now();
    let ledger = produce(kafka.brokers(), Plan { mix, ..Plan::new(&topic, 3, 20_000) }).unwrap();
    eprintln!("20000 records produced in {:?}", begun.elapsed());
    assert_eq!(ledger.committed(), 20_000);
    let (good, bad, tombstones) = ledger.fates();
    assert!(good > 13_000 && bad > 3_500 && tombstones > 1_800, "{good} {bad} {tombstones}");
    assert_eq!(read_back(kafka, &ledger), 20_000);
}

#[test]
fn aborted_transactions_are_in_the_log_and_in_the_ledger_but_not_read() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("transactions", 2, &[]).unwrap();
    let plan = Plan { transactions: Some((100, 0.3)), ..Plan::new(&topic, 2, 3_000) };
    let ledger = produce(kafka.brokers(), plan).unwrap();
    assert!(ledger.aborted() >= 300, "{}", ledger.aborted());
    assert_eq!(ledger.aborted() + ledger.committed(), 3_000);
    assert_eq!(read_back(kafka, &ledger), ledger.committed());
    let (_, high) = kafka.ends(&topic, 0).unwrap();
    assert!(high as usize > ledger.end(0), "the log ends with a control record");
}

#[test]
fn a_producer_keeps_its_rate_and_outlives_a_broker_that_is_killed() {
    let mut kafka = Kafka::start().unwrap();
    let topic = kafka.topic("outage", 2, &[]).unwrap();
    let producer = Producer::start(kafka.brokers(), Plan::endless(&topic, 2, 2_000)).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let acked = producer.acked();
    assert!((2_000..=4_500).contains(&acked), "{acked} records in 2 s at 2000/s");
    kafka.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    kafka.restart().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let ledger = producer.finish().unwrap();
    assert!(ledger.committed() > 8_000, "{}", ledger.committed());
    assert_eq!(read_back(&kafka, &ledger), ledger.committed());
}

/// Sends everyday records with `keys` different keys in turn; how many.
pub fn send_keyed(kafka: &Kafka, topic: &str, count: usize, keys: usize) -> usize {
    let producer: BaseProducer = kafka.client().set("message.timeout.ms", "30000").create().unwrap();
    let maker = Maker { seed: 5, mix: Mix::PLAIN };
    for n in 0..count {
        let value = maker.record(n as u64).value.unwrap();
        producer.send(BaseRecord::to(topic).key(&format!("{}", n % keys)).payload(&value)).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    count
}
