//! What a daemon uses and says of it: memory by its control group, bytes of the network, memory by kind, and how many
//! daemons it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer, produce};

use crate::support::{LIMIT, Place, alone, wait_new_file};

/// A metric's value, waited for until it is as wanted.
fn wait_metric(
    daemon: &mut Daemon,
    name: &str,
    labels: &[(&str, &str)],
    limit: Duration,
    wanted: impl Fn(f64) -> bool,
) -> f64 {
    let begun = Instant::now();
    loop {
        let found = daemon.metrics().unwrap().sum(name, labels);
        if let Some(found) = found.filter(|found| wanted(*found)) {
            return found;
        }
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        assert!(begun.elapsed() < limit, "{name} {labels:?} is {found:?} after {limit:?}:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// A machine whose control group allows 1 GiB and one processor, as a container of 1 GiB and `--cpus 1` on it.
fn small_machine(root: &Path) {
    for (path, text) in [
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"),
        ("proc/meminfo", "MemTotal:       67108864 kB\n"),
        ("sys/fs/cgroup/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/cpu.max", "100000 100000\n"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// A daemon that needs no broker.
fn generator(memory: &str, place: &Path) -> String {
    format!(
        "[daemon]\nhttp = \"127.0.0.1:0\"\n{memory}\n[job.idle]\n[job.idle.source]\ntype = \"generator\"\nrate = 1\n\
         [job.idle.format]\ntype = \"json\"\nfields = [{{ name = \"seq\", type = \"int64\" }}]\n\
         [job.idle.sink]\ntype = \"parquet\"\npath = \"{}\"\n",
        place.join("out").display()
    )
}

#[test]
fn memory_and_processors_are_those_of_the_control_group() {
    let place = Place::new("machine");
    let root = place.path().join("root");
    small_machine(&root);
    let env = [("TIDEMILL_TEST_MACHINE_ROOT", root.to_str().unwrap())];
    let mut daemon = Daemon::spawn(&place.path().join("a"), &generator("", place.path()), &env).unwrap();
    let budget = daemon.metrics().unwrap().sum("tidemill_memory_budget_bytes", &[]).unwrap();
    assert_eq!(budget, f64::from((1 << 30) / 100 * 60), "60 % of 1 GiB");
    let log = daemon.log();
    for said in ["memory_mib=614", "the limit of 1024 MiB in /sys/fs/cgroup/memory.max", "processors=1"] {
        assert!(log.contains(said), "{said} in\n{log}");
    }
    assert!(log.contains("processors_from=\"/sys/fs/cgroup/cpu.max\""), "{log}");
    daemon.term(LIMIT).unwrap();

    let set = generator("memory = \"96MiB\"", place.path());
    let mut daemon = Daemon::spawn(&place.path().join("b"), &set, &env).unwrap();
    let budget = daemon.metrics().unwrap().sum("tidemill_memory_budget_bytes", &[]).unwrap();
    assert_eq!(budget, f64::from(96 << 20), "what is set holds");
    assert!(daemon.log().contains("memory_mib=96 memory_from=\"daemon.memory"), "{}", daemon.log());
    daemon.term(LIMIT).unwrap();
}

/// More bytes come over the network than the topic has, and for a Kafka sink go out; a little more, not many times.
#[test]
fn bytes_of_the_network_are_counted() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let (topic, copy) = (kafka.topic("network", 4, &[]).unwrap(), kafka.topic("network-copy", 4, &[]).unwrap());
    let place = Place::new("network");
    let sink =
        format!("type = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{copy}\"\ncompression = \"none\"", kafka.brokers());
    let job = Job { dead_letters: None, other_sink: Some(sink), ..Job::new(kafka.brokers(), &topic, place.path()) };
    produce(kafka.brokers(), Plan::new(&topic, 4, 40_000)).unwrap();
    let mut daemon = Daemon::spawn(&job.home, &job.toml(), &[]).unwrap();
    let of_job = [("job", "clicks")];
    wait_metric(&mut daemon, "tidemill_rows_total", &of_job, LIMIT, |rows| rows >= 40_000.0);
    let metrics = daemon.metrics().unwrap();
    let values = metrics.sum("tidemill_record_bytes_total", &of_job).unwrap();
    let (source, sink) = ([("job", "clicks"), ("client", "source")], [("job", "clicks"), ("client", "sink")]);
    // The topic is compressed (lz4), what is written is not. JSON of these records shrinks to a fifth at the most.
    let received = "tidemill_kafka_received_bytes_total";
    let received = wait_metric(&mut daemon, received, &source, LIMIT, |bytes| bytes >= values / 5.0);
    let sent = "tidemill_kafka_sent_bytes_total";
    let sent = wait_metric(&mut daemon, sent, &sink, LIMIT, |bytes| bytes >= values);
    eprintln!("{values} bytes of values: {received} received, {sent} sent");
    assert!(received < 2.0 * values + 1e6 && sent < 3.0 * values + 1e6);
    let metrics = daemon.metrics().unwrap();
    let acknowledged = metrics.sum("tidemill_kafka_received_bytes_total", &sink).unwrap();
    let asked = metrics.sum("tidemill_kafka_sent_bytes_total", &source).unwrap();
    assert!(acknowledged > 0.0 && asked > 0.0);
    daemon.term(LIMIT).unwrap();
}

/// An uncompressed topic: the bytes that come are at least those of the records.
#[test]
fn what_is_received_is_no_less_than_the_records() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("network-plain", 2, &[("compression.type", "uncompressed")]).unwrap();
    let place = Place::new("network-plain");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    produce(kafka.brokers(), Plan::new(&topic, 2, 40_000)).unwrap();
    let mut daemon = Daemon::spawn(&job.home, &job.toml(), &[]).unwrap();
    let of_job = [("job", "clicks")];
    wait_metric(&mut daemon, "tidemill_rows_total", &of_job, LIMIT, |rows| rows >= 40_000.0);
    let values = daemon.metrics().unwrap().sum("tidemill_record_bytes_total", &of_job).unwrap();
    let name = "tidemill_kafka_received_bytes_total";
    let received = wait_metric(&mut daemon, name, &of_job, LIMIT, |bytes| bytes >= values);
    assert!(received < 1.5 * values + 1e6, "{values} bytes of records, {received} received");
    daemon.term(LIMIT).unwrap();
}

/// A second for each commit of at most 1000 records: one daemon can do a thousand a second, and three thousand come. What
/// one can do is known from its windows, what is needed from what comes; and when nothing comes any more, one is enough.
#[test]
fn the_number_of_daemons_follows_the_load() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("scaling", 8, &[]).unwrap();
    let place = Place::new("scaling");
    let job = Job { max_rows: 1000, ..Job::new(kafka.brokers(), &topic, place.path()) };
    let slow = [("TIDEMILL_TEST_COMMIT_SECONDS", "1")];
    let mut daemon = Daemon::spawn(&job.home, &job.toml(), &slow).unwrap();
    let of_job = [("job", "clicks")];
    let (instances, daemons) = ("tidemill_desired_instances", "tidemill_desired_daemons");

    let quiet = Producer::start(kafka.brokers(), Plan::endless(&topic, 8, 200)).unwrap();
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());
    let asked = wait_metric(&mut daemon, instances, &of_job, LIMIT, |_| true);
    assert_eq!(asked, 1.0, "200 a second, a commit after the other: busy with waiting, far from what it can do");
    quiet.finish().unwrap();

    let busy = Producer::start(kafka.brokers(), Plan { seed: 2, ..Plan::endless(&topic, 8, 3_000) }).unwrap();
    let asked = wait_metric(&mut daemon, instances, &of_job, LIMIT, |asked| asked >= 3.0);
    let metrics = daemon.metrics().unwrap();
    let capacity = metrics.sum("tidemill_capacity_per_second", &of_job).unwrap();
    let arrivals = metrics.sum("tidemill_arrivals_per_second", &of_job).unwrap();
    eprintln!("{arrivals:.0} records/s come, it can do {capacity:.0}: {asked} daemons");
    assert!((500.0..2_000.0).contains(&capacity), "a window of 1000 takes a little over a second: {capacity}");
    assert!((3.0..=8.0).contains(&asked), "there are eight partitions: {asked}");
    assert_eq!(metrics.sum(daemons, &[]), Some(asked), "its only job");
    // Blocked by its commits, it holds what was fetched: within its part of the budget, and a fetch more.
    let prefetch = [("job", "clicks"), ("kind", "prefetch")];
    let held = wait_metric(&mut daemon, "tidemill_memory_bytes", &prefetch, LIMIT, |bytes| bytes > 0.0);
    assert!(held < f64::from(64 << 20), "{held} bytes are fetched ahead");
    // Another daemon takes half of the partitions: what it sees is a part, and its word is of the whole.
    let other = job.instance("b");
    let mut second = Daemon::spawn(&other.home, &other.toml(), &slow).unwrap();
    let asked = wait_metric(&mut second, instances, &of_job, LIMIT, |asked| asked >= 3.0);
    let half = second.metrics().unwrap().sum("tidemill_arrivals_per_second", &of_job).unwrap();
    let still = daemon.metrics().unwrap().sum(instances, &of_job).unwrap();
    eprintln!("two of them: {half:.0} records/s come to the second, which asks for {asked}, and the first for {still}");
    assert!(half < 2_400.0 && (3.0..=8.0).contains(&asked) && (3.0..=8.0).contains(&still));
    busy.finish().unwrap();

    let begun = Instant::now();
    wait_metric(&mut daemon, instances, &of_job, Duration::from_secs(400), |asked| asked == 1.0);
    eprintln!("one again {:.0} s after the load ended", begun.elapsed().as_secs_f64());
    assert_eq!(daemon.metrics().unwrap().sum(daemons, &[]), Some(1.0));
    daemon.term(LIMIT).unwrap();
    second.term(LIMIT).unwrap();
}
