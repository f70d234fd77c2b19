//! The source over librdkafka's own mock cluster: queues, assignment and the parts of a record.
//! What a real broker is needed for is tried in `integration-tests/tests/it/kafka_source`.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tidemill_engine::clock::Clock;
use tidemill_engine::intake::{ChunkLimits, Intake, Keep};
use tidemill_engine::partition::{Partition, Position};
use tidemill_engine::source::{Source, SourceEvent};

use super::{KafkaOptions, KafkaSource, Until};

const LIMITS: ChunkLimits = ChunkLimits { bytes: 1 << 20, records: 10_000 };

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Mock {
    fn new(topic: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(topic, partitions, 1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer }
    }

    fn source(&self, topic: &str, until: Option<Until>) -> KafkaSource {
        let mut options = KafkaOptions::new("mock", "a", &self.cluster.bootstrap_servers(), &[topic]);
        options.until = until;
        KafkaSource::new(options, Clock::system()).unwrap()
    }
}

fn assigned(source: &mut KafkaSource) -> Vec<Partition> {
    let give_up = Instant::now() + Duration::from_secs(20);
    while Instant::now() < give_up {
        if let Some(assigned) = source.assignment(Duration::from_millis(100)).unwrap() {
            return assigned;
        }
    }
    panic!("no assignment in 20 s");
}

fn begin(source: &mut KafkaSource, starts: &[(Partition, i64)], keep: Keep) -> Intake {
    let positions: Vec<_> = starts.iter().map(|(p, at)| (p.clone(), Position::at(*at))).collect();
    assert!(source.begin(&positions).unwrap().is_empty());
    Intake::new(starts, LIMITS, keep)
}

/// Polls until `n` records came, or the source ended.
fn read(source: &mut KafkaSource, intake: &mut Intake, n: usize) -> (Vec<(i32, i64)>, SourceEvent) {
    let give_up = Instant::now() + Duration::from_secs(20);
    let mut rows = Vec::new();
    loop {
        let event = source.poll(intake, Duration::from_millis(50)).unwrap();
        rows.extend(intake.take_chunk(None).iter().map(|r| (r.partition.index, r.offset)));
        if rows.len() >= n || event != SourceEvent::Continue {
            return (rows, event);
        }
        assert!(Instant::now() < give_up, "{} of {n} records in 20 s", rows.len());
    }
}

#[test]
fn every_run_reads_from_its_positions_whatever_was_fetched_before() {
    let mock = Mock::new("t", 4);
    for i in 0..1000 {
        mock.producer.send(BaseRecord::<str, _>::to("t").partition(i % 4).payload("v")).map_err(|(e, _)| e).unwrap();
    }
    mock.producer.flush(Duration::from_secs(10)).unwrap();
    let mut source = mock.source("t", Some(Until::End));
    let keep = Keep { key: false, headers: false };
    let partitions = assigned(&mut source);
    assert_eq!(partitions.len(), 4);
    // Back and forth: each time the client has fetched everything already.
    for start in [0, 200, 50, 249, 0] {
        let starts: Vec<_> = partitions.iter().map(|p| (p.clone(), start)).collect();
        let mut intake = begin(&mut source, &starts, keep);
        let (mut rows, event) = read(&mut source, &mut intake, usize::MAX);
        rows.sort_unstable();
        let wanted: Vec<_> = (0..4).flat_map(|p| (start..250).map(move |at| (p, at))).collect();
        assert_eq!(rows, wanted, "from {start}");
        assert_eq!(event, SourceEvent::End);
        source.end_run();
        assert_eq!(assigned(&mut source), partitions, "the assignment outlives the run");
    }
    source.close();
}

#[test]
fn a_full_intake_loses_nothing_of_what_was_taken_from_the_client() {
    let mock = Mock::new("t", 1);
    for _ in 0..500 {
        mock.producer.send(BaseRecord::<str, _>::to("t").payload("v")).map_err(|(e, _)| e).unwrap();
    }
    mock.producer.flush(Duration::from_secs(10)).unwrap();
    let mut source = mock.source("t", Some(Until::End));
    let partitions = assigned(&mut source);
    source.begin(&[(partitions[0].clone(), Position::at(0))]).unwrap();
    let limits = ChunkLimits { bytes: 1 << 20, records: 7 };
    let mut intake = Intake::new(&[(partitions[0].clone(), 0)], limits, Keep { key: false, headers: false });
    let mut offsets = Vec::new();
    loop {
        let event = source.poll(&mut intake, Duration::from_millis(50)).unwrap();
        assert_eq!(source.idle().unwrap(), SourceEvent::Continue);
        let chunk = intake.take_chunk(None);
        assert!(chunk.len() <= 7);
        offsets.extend(chunk.iter().map(|r| r.offset));
        if event == SourceEvent::End {
            break;
        }
    }
    assert_eq!(offsets, (0..500).collect::<Vec<_>>());
    source.close();
}

#[test]
fn the_parts_of_a_record_come_as_they_were_sent() {
    let mock = Mock::new("t", 1);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header::<&str> { key: "a", value: None })
        .insert(Header { key: "", value: Some("") });
    let full = BaseRecord::to("t").key("k").payload("v").timestamp(1_700_000_000_123).headers(headers);
    mock.producer.send(full).map_err(|(e, _)| e).unwrap();
    mock.producer.send(BaseRecord::<str, str>::to("t").key("tombstone")).map_err(|(e, _)| e).unwrap();
    mock.producer.send(BaseRecord::<str, str>::to("t").key("").payload("")).map_err(|(e, _)| e).unwrap();
    mock.producer.flush(Duration::from_secs(10)).unwrap();
    for keep in [true, false] {
        let mut source = mock.source("t", Some(Until::End));
        let partitions = assigned(&mut source);
        let mut intake = begin(&mut source, &[(partitions[0].clone(), 0)], Keep { key: keep, headers: keep });
        let mut records = Vec::new();
        while source.poll(&mut intake, Duration::from_millis(50)).unwrap() != SourceEvent::End {}
        records.extend(intake.take_chunk(None).iter().map(|r| r.to_owned_record()));
        source.close();
        assert_eq!(records.len(), 3);
        assert_eq!(records[0].timestamp_ms, Some(1_700_000_000_123));
        assert_eq!(records[0].value.as_deref(), Some(&b"v"[..]));
        assert_eq!(records[1].value, None, "a tombstone is not an empty value");
        assert_eq!(records[2].value.as_deref(), Some(&b""[..]));
        if keep {
            assert_eq!(records[0].key.as_deref(), Some(&b"k"[..]));
            let wanted = [("a".into(), Some(b"1".to_vec())), ("a".into(), None), (String::new(), Some(vec![]))];
            assert_eq!(records[0].headers, wanted);
            assert_eq!(records[2].key.as_deref(), Some(&b""[..]));
        } else {
            assert!(records.iter().all(|r| r.key.is_none() && r.headers.is_empty()));
        }
    }
}

#[test]
fn closing_in_the_middle_of_a_run_or_before_an_assignment_is_answered_does_not_hang() {
    let mock = Mock::new("t", 2);
    let closes = |mut source: KafkaSource| {
        let started = Instant::now();
        source.close();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    };
    closes(mock.source("t", None));
    let mut source = mock.source("t", None);
    assigned(&mut source);
    closes(source);
    let mut source = mock.source("t", None);
    let starts: Vec<_> = assigned(&mut source).into_iter().map(|p| (p, 0)).collect();
    begin(&mut source, &starts, Keep { key: false, headers: false });
    closes(source);
}

#[test]
fn metadata_of_the_group_is_there_for_the_present_run_only() {
    let mock = Mock::new("t", 2);
    let mut source = mock.source("t", None);
    let slot = source.group_metadata();
    assert!(slot.now(slot.run()).is_none(), "no run yet");
    let starts: Vec<_> = assigned(&mut source).into_iter().map(|p| (p, 0)).collect();
    let keep = Keep { key: false, headers: false };
    let first = slot.run();
    let generation = |run| slot.now(run).map(|m| m.generation());
    assert!(generation(first).is_some_and(|g| g >= 0), "anchors come before a run's records");
    begin(&mut source, &starts, keep);
    assert!(generation(first).is_some());
    source.end_run();
    assert!(generation(first).is_none());
    assigned(&mut source);
    assert!(slot.run() > first && generation(first).is_none() && generation(slot.run()).is_some());
    begin(&mut source, &starts, keep);
    assert!(generation(slot.run()).is_some());
    source.close();
    assert!(generation(slot.run()).is_none());
}

/// A client that was told of a partition without a leader believes it as long as its metadata are young.
#[test]
fn a_run_begins_soon_after_a_partition_has_its_leader_again() {
    let mock = Mock::new("t", 2);
    let mut source = mock.source("t", None);
    let partitions = assigned(&mut source);
    mock.cluster.partition_leader("t", 1, None).unwrap();
    let starts: Vec<_> = partitions.iter().map(|p| (p.clone(), Position::at(0))).collect();
    let begun = Instant::now();
    let begin = std::thread::spawn(move || source.begin(&starts).map(|lost| lost.is_empty()));
    std::thread::sleep(Duration::from_secs(3));
    assert!(!begin.is_finished(), "there is no leader to ask");
    mock.cluster.partition_leader("t", 1, Some(1)).unwrap();
    assert!(begin.join().unwrap().unwrap(), "nothing is lost");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
