//! The harness itself: a broker that comes, goes and comes back.
use std::time::{Duration, Instant};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidemill_integration_tests::kafka::Kafka;

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
