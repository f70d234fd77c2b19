//! The Kafka source against a real broker, with the least of an engine around it: a table that compares and appends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidemill_connectors::kafka::{KafkaOptions, KafkaSource, OnDataLoss, Start, Until};
use tidemill_engine::clock::Clock;
use tidemill_engine::intake::Intake;
use tidemill_engine::partition::{Partition, Position};
use tidemill_engine::source::{Source, SourceEvent};
use tidemill_integration_tests::kafka::Kafka;

use table::{KEEP, LIMITS, Shared, assert_complete, begin, try_work, work};

fn brokers() -> String {
    Kafka::shared().brokers().to_owned()
}

fn unique(name: &str) -> String {
    use std::sync::atomic::AtomicU64;
    static N: AtomicU64 = AtomicU64::new(0);
    format!("{name}-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed))
}

fn options(name: &str, topics: &[&str]) -> KafkaOptions {
    let mut options = KafkaOptions::new(name, "a", &brokers(), topics);
    options.properties.insert("topic.metadata.refresh.interval.ms".into(), "1000".into());
    options
}

fn admin<T>(work: impl AsyncFnOnce(AdminClient<DefaultClientContext>, AdminOptions) -> T) -> T {
    let client = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work(client, AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))))
}

fn create(topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    admin(async |client, options| {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (k, v) in settings {
            new = new.set(k, v);
        }
        client.create_topics(&[new], &options).await.unwrap()[0].clone().unwrap();
    });
}

fn delete(topic: &str) {
    admin(async |client, options| client.delete_topics(&[topic], &options).await.unwrap());
}

fn delete_records(topic: &str, partition: i32, below: i64) {
    admin(async |client, options| {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(below)).unwrap();
        client.delete_records(&list, &options).await.unwrap();
    });
}

fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("linger.ms", "5").set("compression.type", "lz4");
    for (k, v) in settings {
        config.set(*k, *v);
    }
    config.create().unwrap()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &str, value: &str) {
    let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(value);
    while let Err((_, back)) = producer.send(record) {
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}

/// `n` records in each of `partitions` partitions.
fn produce(topic: &str, partitions: i32, n: usize) {
    let producer = producer(&[]);
    for i in 0..n {
        for p in 0..partitions {
            send(&producer, topic, p, "k", &format!("{p}/{i} {:>200}", ""));
        }
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_bounded_read_gives_every_record_once_and_ends() {
    let topic = unique("plain");
    create(&topic, 4, &[]);
    produce(&topic, 4, 125_000);
    let table = Shared::default();
    let mut options = options(&topic, &[&topic]);
    options.until = Some(Until::End);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut source = KafkaSource::new(options, Clock::system()).unwrap();
    work(&mut source, &table, &|| false, Duration::from_secs(60));
    eprintln!(
        "500,000 records in {:?} from the start of the client, {:.2} CPU-s",
        started.elapsed(),
        cpu_seconds() - cpu
    );
    assert_complete(&table, &topic, 4, 125_000);
    assert_eq!(source.ends().values().copied().collect::<Vec<_>>(), [125_000; 4]);
    source.close();
}

fn members_come_and_go(protocol: &str, static_membership: bool) {
    // Members of the newer protocol hear of each other by heartbeats only: every 5 s by the broker's default.
    let (n, stay) = if protocol == "consumer" { (80_000, 12) } else { (40_000, 5) };
    let topic = unique(&format!("members-{protocol}"));
    create(&topic, 6, &[]);
    let table = Shared::default();
    let done = Arc::new(AtomicBool::new(false));
    let member = |instance: &str, limit: Duration| {
        let mut options = options(&topic, &[&topic]);
        options.instance = instance.to_owned();
        options.static_membership = static_membership;
        options.properties.insert("group.protocol".into(), protocol.into());
        let (table, done) = (table.clone(), done.clone());
        std::thread::spawn(move || {
            let mut source = KafkaSource::new(options, Clock::system()).unwrap();
            let runs = work(&mut source, &table, &|| done.load(Ordering::Relaxed), limit);
            source.close();
            runs
        })
    };
    let producing = {
        let topic = topic.clone();
        std::thread::spawn(move || {
            let producer = producer(&[]);
            for i in 0..n {
                for p in 0..6 {
                    send(&producer, &topic, p, "k", &format!("{i}"));
                }
                if i % 20 == 0 {
                    producer.poll(Duration::ZERO);
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            producer.flush(Duration::from_secs(60)).unwrap();
        })
    };
    let first = member("a", Duration::from_secs(120));
    std::thread::sleep(Duration::from_secs(3));
    let second = member("b", Duration::from_secs(stay));
    std::thread::sleep(Duration::from_secs(2));
    let third = member("c", Duration::from_secs(stay + 3));
    let second = second.join().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let fourth = member("b", Duration::from_secs(120));
    let third = third.join().unwrap();
    producing.join().unwrap();
    let full = || {
        let table = table.lock().unwrap();
        table.rows.values().map(Vec::len).sum::<usize>() >= 6 * n
    };
    let give_up = Instant::now() + Duration::from_secs(60);
    while !full() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(50));
    }
    done.store(true, Ordering::Relaxed);
    let members = [first.join().unwrap(), second, third, fourth.join().unwrap()];
    eprintln!("{protocol}: rows by member and run {members:?}");
    assert_complete(&table, &topic, 6, n);
    // On a machine that is busy enough, a short stay can end before the group has made room.
    let shared = members.iter().filter(|runs| runs.iter().sum::<usize>() > 0).count();
    assert!(shared >= 2, "partitions moved between members");
}

#[test]
fn members_come_and_go_classic() {
    members_come_and_go("classic", false);
}

#[test]
fn members_come_and_go_classic_static() {
    members_come_and_go("classic", true);
}

#[test]
fn members_come_and_go_consumer() {
    members_come_and_go("consumer", false);
}

#[test]
fn aborted_transactions_and_control_records_neither_show_nor_stall() {
    let topic = unique("transactions");
    create(&topic, 3, &[]);
    let producer = producer(&[("transactional.id", topic.as_str())]);
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    for round in 0..10 {
        producer.begin_transaction().unwrap();
        for i in 0..10 {
            // Partition 2 sees nothing but aborted transactions; partition 1 ends with one.
            let partition = if round % 2 == 0 { 0 } else { 1 + i % 2 };
            send(&producer, &topic, partition, "k", &format!("{round}"));
        }
        if round % 2 == 0 {
            producer.commit_transaction(Duration::from_secs(20)).unwrap();
        } else {
            producer.flush(Duration::from_secs(20)).unwrap();
            producer.abort_transaction(Duration::from_secs(20)).unwrap();
        }
    }
    let table = Shared::default();
    let mut options = options(&topic, &[&topic]);
    options.until = Some(Until::End);
    let mut source = KafkaSource::new(options, Clock::system()).unwrap();
    let started = Instant::now();
    work(&mut source, &table, &|| false, Duration::from_secs(30));
    assert!(started.elapsed() < Duration::from_secs(20), "it ended by itself");
    let table = table.lock().unwrap();
    let committed: Vec<i64> = (0..5).flat_map(|round| (0..10).map(move |i| round * 11 + i)).collect();
    assert_eq!(table.rows.get(&Partition::new(topic.as_str(), 0)), Some(&committed));
    assert_eq!(table.rows.len(), 1, "{:?}", table.rows.keys());
    // The end counts the control record behind the last transaction of each partition.
    assert_eq!(table.positions.iter().map(|(_, at)| at.offset).collect::<Vec<_>>(), [55, 30, 30]);
    source.close();
}

#[test]
fn holes_of_compaction_do_not_stall_a_bounded_read() {
    let topic = unique("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "500"),
        ("delete.retention.ms", "0"),
    ];
    create(&topic, 1, &settings);
    let producer = producer(&[]);
    for i in 0..600 {
        send(&producer, &topic, 0, &format!("{}", i % 7), "v");
        producer.flush(Duration::from_secs(10)).unwrap();
        if i % 100 == 99 {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    let give_up = Instant::now() + Duration::from_secs(40);
    loop {
        let table = Shared::default();
        let mut options = options(&unique("compacted"), &[&topic]);
        options.until = Some(Until::End);
        let mut source = KafkaSource::new(options, Clock::system()).unwrap();
        work(&mut source, &table, &|| false, Duration::from_secs(20));
        source.close();
        let table = table.lock().unwrap();
        assert_eq!(table.positions.offset(&Partition::new(topic.as_str(), 0)), Some(600), "the end was reached");
        let rows = &table.rows[&Partition::new(topic.as_str(), 0)];
        assert!(rows.windows(2).all(|w| w[0] < w[1]) && rows.last() == Some(&599));
        if rows.len() < 500 {
            return;
        }
        assert!(Instant::now() < give_up, "the broker did not compact: {} rows", rows.len());
    }
}

#[test]
fn topics_of_a_pattern_and_new_partitions_are_picked_up() {
    let prefix = unique("pattern");
    let topic = |i: i32| format!("{prefix}.{i}");
    create(&topic(0), 1, &[]);
    produce(&topic(0), 1, 1000);
    let table = Shared::default();
    let mut options = options(&prefix, &[&format!("^{prefix}\\..*")]);
    options.start = Start::Earliest;
    let done = Arc::new(AtomicBool::new(false));
    let reading = {
        let (table, done) = (table.clone(), done.clone());
        std::thread::spawn(move || {
            let mut source = KafkaSource::new(options, Clock::system()).unwrap();
            work(&mut source, &table, &|| done.load(Ordering::Relaxed), Duration::from_secs(60));
            source.close();
        })
    };
    let wait_for = |n: usize| {
        let give_up = Instant::now() + Duration::from_secs(30);
        while table.lock().unwrap().rows.values().map(Vec::len).sum::<usize>() < n {
            assert!(Instant::now() < give_up, "waiting for {n} records");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(1000);
    create(&topic(1), 2, &[]);
    produce(&topic(1), 2, 500);
    wait_for(2000);
    admin(async |client, options| {
        let name = topic(0);
        client.create_partitions(&[NewPartitions::new(&name, 3)], &options).await.unwrap();
    });
    std::thread::sleep(Duration::from_millis(500));
    let producer = producer(&[]);
    for i in 0..300 {
        send(&producer, &topic(0), 1 + i % 2, "k", "v");
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    wait_for(2300);
    done.store(true, Ordering::Relaxed);
    reading.join().unwrap();
    assert_complete(&table, &topic(1), 2, 500);
}

#[test]
fn a_bounded_read_of_a_topic_that_does_not_exist_fails_and_names_it() {
    let (exists, missing) = (unique("exists"), unique("misspelt"));
    create(&exists, 1, &[]);
    // Alone there would never be an assignment; beside another topic the job would end without it.
    for topics in [vec![missing.as_str()], vec![exists.as_str(), missing.as_str()], vec!["^no-such-topic-[0-9]+$"]] {
        let mut options = options(&unique("absent"), &topics);
        options.until = Some(Until::End);
        let began = Instant::now();
        let mut source = KafkaSource::new(options, Clock::system()).unwrap();
        let error = loop {
            assert!(began.elapsed() < Duration::from_secs(40), "{topics:?}: it waits for ever");
            match source.assignment(Duration::from_millis(100)) {
                Ok(None) => {}
                Ok(Some(assigned)) => panic!("{topics:?}: assigned {assigned:?}"),
                Err(error) => break error,
            }
        };
        let wanted = *topics.last().unwrap();
        assert!(!error.retry && error.message.contains(&format!("`{wanted}`")), "{error}");
        assert!(!error.message.contains(&exists), "{error}");
        eprintln!("after {:?}: {error}", began.elapsed());
        source.close();
    }
}

#[test]
fn an_unbounded_read_waits_for_its_topic_and_says_so() {
    let topic = unique("later");
    let mut source = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    let give_up = Instant::now() + Duration::from_secs(40);
    while source.waits_for().is_none() {
        assert!(Instant::now() < give_up, "it does not say what it waits for");
        assert_eq!(source.assignment(Duration::from_millis(100)).unwrap(), None);
    }
    assert_eq!(source.waits_for().unwrap(), format!("topic `{topic}` does not exist"));
    create(&topic, 1, &[]);
    assert_eq!(assigned(&mut source), [Partition::new(topic.as_str(), 0)]);
    assert_eq!(source.waits_for(), None);
    source.close();
}

fn assigned(source: &mut KafkaSource) -> Vec<Partition> {
    let give_up = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < give_up, "no assignment");
        match source.assignment(Duration::from_millis(100)).unwrap() {
            Some(assigned) if !assigned.is_empty() => return assigned,
            Some(_) => {
                source.begin(&[]).unwrap();
                source.end_run();
            }
            None => {}
        }
    }
}

#[test]
fn a_position_outside_the_log_is_never_passed_over_silently() {
    let topic = unique("range");
    create(&topic, 1, &[]);
    produce(&topic, 1, 100);
    delete_records(&topic, 0, 50);
    let partition = Partition::new(topic.as_str(), 0);
    let at = |offset| [(partition.clone(), Position::at(offset))];
    let mut strict = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    assigned(&mut strict);
    for wrong in [10, 101] {
        let error = strict.begin(&at(wrong)).unwrap_err();
        assert!(!error.retry && error.message.contains(&partition.to_string()), "{error}");
        eprintln!("{error}");
    }
    assert!(strict.begin(&at(50)).unwrap().is_empty());
    strict.end_run();
    assert!(strict.begin(&at(100)).unwrap().is_empty());
    strict.close();

    let mut options = options(&unique("range"), &[&topic]);
    options.on_data_loss = OnDataLoss::Continue;
    let mut lenient = KafkaSource::new(options, Clock::system()).unwrap();
    assigned(&mut lenient);
    let lost = lenient.begin(&at(10)).unwrap();
    let range = &lost.0[&partition];
    assert_eq!((range.start, range.end), (Some(10), 50));
    let mut intake = Intake::new(&[(partition.clone(), 50)], LIMITS, KEEP);
    let give_up = Instant::now() + Duration::from_secs(20);
    while intake.expected(0) < 100 && Instant::now() < give_up {
        lenient.poll(&mut intake, Duration::from_millis(50)).unwrap();
    }
    assert_eq!(intake.take_chunk(None).iter().map(|r| r.offset).collect::<Vec<_>>(), (50..100).collect::<Vec<_>>());
    lenient.close();
}

#[test]
fn a_topic_made_again_is_another_topic() {
    let topic = unique("again");
    create(&topic, 1, &[]);
    produce(&topic, 1, 100);
    let partition = Partition::new(topic.as_str(), 0);
    let mut source = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    let partitions = assigned(&mut source);
    let found = source.start_positions(&partitions, true).unwrap();
    let was = found.get(&partition).unwrap().clone();
    assert!(was.topic_id.is_some(), "the broker tells topic ids");
    source.close();
    delete(&topic);
    std::thread::sleep(Duration::from_secs(1));
    create(&topic, 1, &[]);
    produce(&topic, 1, 100);
    let mut source = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    assigned(&mut source);
    let error = source.begin(&[(partition, was)]).unwrap_err();
    assert!(!error.retry && error.message.contains("made again"), "{error}");
    source.close();
}

#[test]
fn where_to_start_is_resolved_to_numbers() {
    let topic = unique("start");
    create(&topic, 2, &[("retention.ms", "-1")]);
    let producer = producer(&[]);
    for i in 0..100i64 {
        let record = BaseRecord::<str, str>::to(&topic).partition(0).payload("v").timestamp(1_700_000_000_000 + i);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    delete_records(&topic, 0, 20);
    let resolve = |start: Start, first: bool, group: &str| -> Vec<i64> {
        let mut options = options(&topic, &[&topic]);
        (options.start, options.group) = (start, group.to_owned());
        let mut source = KafkaSource::new(options, Clock::system()).unwrap();
        let partitions = assigned(&mut source);
        let found = source.start_positions(&partitions, first).unwrap();
        source.begin(&found.iter().map(|(p, at)| (p.clone(), at.clone())).collect::<Vec<_>>()).unwrap();
        source.landed(&[(Partition::new(topic.as_str(), 0), Position::at(42))].into_iter().collect());
        source.end_run();
        source.close();
        found.iter().map(|(_, at)| at.offset).collect()
    };
    let group = unique("start");
    assert_eq!(resolve(Start::Committed, true, &group), [20, 0], "nothing committed yet");
    assert_eq!(resolve(Start::Committed, true, &group), [42, 0], "landed positions are in the group");
    assert_eq!(
        resolve(Start::Committed, false, &group),
        [20, 0],
        "partitions that appear later start at their low end"
    );
    assert_eq!(resolve(Start::Earliest, true, &group), [20, 0]);
    assert_eq!(resolve(Start::Latest, true, &group), [100, 0]);
    assert_eq!(resolve(Start::Time(1_700_000_000_060), true, &group), [60, 0]);
    assert_eq!(resolve(Start::Time(1_800_000_000_000), true, &group), [100, 0], "nothing that late: the end");
}

#[test]
fn two_daemons_with_one_name_are_told() {
    let topic = unique("fenced");
    create(&topic, 2, &[]);
    let table = Shared::default();
    let mut first = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    let mut run = begin(&mut first, &table, Instant::now() + Duration::from_secs(20)).unwrap().unwrap();
    let mut second = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    let give_up = Instant::now() + Duration::from_secs(30);
    let error = loop {
        assert!(Instant::now() < give_up, "the first one is fenced");
        if let Err(error) = second.assignment(Duration::from_millis(10)) {
            panic!("the second one takes over: {error}");
        }
        match first.poll(&mut run.intake, Duration::from_millis(50)) {
            Ok(SourceEvent::Continue) => {}
            Ok(_) => first.end_run(),
            Err(error) => break error,
        }
    };
    assert!(!error.retry && error.message.contains(&format!("tidemill-{topic}-a")), "{error}");
    first.close();
    second.close();
}

#[test]
fn members_come_and_go_over_a_backlog() {
    const N: usize = 250_000;
    let topic = unique("backlog");
    create(&topic, 6, &[]);
    produce(&topic, 6, N);
    for (protocol, is_static) in [("classic", false), ("classic", true), ("consumer", false)] {
        let table = Shared::default();
        let group = unique("backlog");
        let full = {
            let table = table.clone();
            move || table.lock().unwrap().rows.values().map(Vec::len).sum::<usize>() >= 6 * N
        };
        let give_up = Instant::now() + Duration::from_secs(90);
        let mut members = Vec::new();
        for i in 0..3u64 {
            let (table, full, mut options) = (table.clone(), full.clone(), options(&topic, &[&topic]));
            options.group.clone_from(&group);
            options.instance = format!("m{i}");
            options.static_membership = is_static;
            options.properties.insert("group.protocol".into(), protocol.into());
            members.push(std::thread::spawn(move || {
                let mut rows = Vec::new();
                while !full() && Instant::now() < give_up {
                    let mut source = KafkaSource::new(options.clone(), Clock::system()).unwrap();
                    // Slowed down, so that many rebalances meet a full prefetch.
                    let slowly = || {
                        std::thread::sleep(Duration::from_millis(200));
                        full()
                    };
                    rows.extend(work(&mut source, &table, &slowly, Duration::from_millis(1500 + 700 * i)));
                    source.close();
                }
                rows
            }));
        }
        let rows: Vec<_> = members.into_iter().map(|m| m.join().unwrap()).collect();
        eprintln!("{protocol}, static {is_static}: rows by member and run {rows:?}");
        assert_complete(&table, &topic, 6, N);
    }
}

#[test]
fn a_broker_that_dies_and_comes_back_is_waited_for() {
    let mut kafka = Kafka::start().unwrap();
    let topic = kafka.topic("dies", 3, &[]).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let table = Shared::default();
    let reading = {
        let (table, done) = (table.clone(), done.clone());
        let options = KafkaOptions::new("dies", "a", kafka.brokers(), &[&topic]);
        std::thread::spawn(move || {
            let mut source = KafkaSource::new(options.clone(), Clock::system()).unwrap();
            let until = Instant::now() + Duration::from_secs(120);
            let mut runs = Vec::new();
            loop {
                match try_work(&mut source, &table, &|| done.load(Ordering::Relaxed), until) {
                    Ok(rows) => break runs.extend(rows),
                    // One that needs a person fails the test.
                    Err(error) => {
                        assert!(error.retry, "{error}");
                        eprintln!("{error}");
                        source.close();
                        source = KafkaSource::new(options.clone(), Clock::system()).unwrap();
                    }
                }
            }
            source.close();
            runs
        })
    };
    let producer: BaseProducer =
        kafka.client().set("linger.ms", "5").set("enable.idempotence", "true").create().unwrap();
    let mut sent = 0;
    let mut burst = || {
        for _ in 0..5000 {
            for p in 0..3 {
                send(&producer, &topic, p, "k", "v");
            }
            sent += 1;
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        sent
    };
    let wait_for = |n: usize| {
        let give_up = Instant::now() + Duration::from_secs(60);
        while table.lock().unwrap().rows.values().map(Vec::len).sum::<usize>() < 3 * n {
            assert!(Instant::now() < give_up, "waiting for {n} records in each partition");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(burst());
    for outage in [Duration::from_secs(2), Duration::from_secs(15)] {
        kafka.kill9().unwrap();
        std::thread::sleep(outage);
        kafka.restart().unwrap();
        let n = burst();
        let back = Instant::now();
        wait_for(n);
        eprintln!("after {outage:?} without a broker: records again {:?} after they were written", back.elapsed());
    }
    done.store(true, Ordering::Relaxed);
    eprintln!("rows by run {:?}", reading.join().unwrap());
    assert_complete(&table, &topic, 3, sent);
}

#[test]
fn an_idle_source_costs_next_to_nothing_and_a_record_comes_at_once() {
    let topic = unique("idle");
    create(&topic, 4, &[]);
    let table = Shared::default();
    let mut source = KafkaSource::new(options(&topic, &[&topic]), Clock::system()).unwrap();
    let mut run = begin(&mut source, &table, Instant::now() + Duration::from_secs(20)).unwrap().unwrap();
    let producer = producer(&[("linger.ms", "0")]);
    let mut idle_for = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until {
            source.poll(&mut run.intake, Duration::from_millis(100)).unwrap();
        }
    };
    idle_for(Duration::from_secs(2));
    let busy = thread_cpu();
    idle_for(Duration::from_secs(4));
    let busy = thread_cpu() - busy;
    eprintln!("polling for 4 s without records: {busy:?} of CPU");
    assert!(busy < Duration::from_millis(20), "half a percent of a core: {busy:?}");
    let mut waits = Vec::new();
    for i in 0..50 {
        send(&producer, &topic, i % 4, "k", "v");
        producer.flush(Duration::from_secs(5)).unwrap();
        let sent = Instant::now();
        while run.take() == 0 {
            source.poll(&mut run.intake, Duration::from_millis(100)).unwrap();
            assert!(sent.elapsed() < Duration::from_secs(10));
        }
        waits.push(sent.elapsed());
    }
    waits.sort();
    eprintln!("from the broker's acknowledgement to the intake: p50 {:?}, max {:?}", waits[25], waits[49]);
    assert!(waits[25] < Duration::from_millis(20), "{waits:?}");
    source.close();
}
