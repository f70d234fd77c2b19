//! What happens around a daemon: frozen past its session, a broker that goes away, a disk that is full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::{Job, SESSION_TIMEOUT_MS};
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer, produce};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, alone, count_files, drain_and_check, setting, spawn, wait_new_file};

/// A daemon is stopped past its session timeout, another takes its partitions over, and then the zombie wakes up
/// with a window in its hands.
#[test]
fn a_frozen_daemon_that_wakes_up_commits_nothing_twice() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("frozen", 4, &[]).unwrap();
    let place = Place::new("frozen");
    let a = Job::new(kafka.brokers(), &topic, place.path());
    let b = a.instance("b");
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, setting("TIDEMILL_RATE", 8_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let (mut zombie, mut other) = (spawn(&a), spawn(&b));
    for _ in 0..setting("TIDEMILL_FREEZES", 1) {
        let files = count_files(&a.out);
        assert!(wait_new_file(&mut zombie, &a.out, files, LIMIT), "no commit:\n{}", zombie.log());
        std::thread::sleep(Duration::from_secs(3));
        zombie.freeze().unwrap();
        std::thread::sleep(Duration::from_millis(SESSION_TIMEOUT_MS + 3_000));
        let files = count_files(&a.out);
        assert!(wait_new_file(&mut other, &a.out, files, LIMIT), "nobody took over:\n{}", other.log());
        zombie.thaw().unwrap();
        std::thread::sleep(Duration::from_secs(5));
        for daemon in [&mut zombie, &mut other] {
            assert!(daemon.exited().unwrap().is_none(), "ended by itself:\n{}", daemon.log());
        }
    }
    zombie.term(LIMIT).unwrap();
    other.term(LIMIT).unwrap();
    let ledger = producer.finish().unwrap();
    drain_and_check(&a, &[&ledger]).assert_clean(10_000);
}

fn outage(name: &str, mut down: impl FnMut(&mut Kafka), mut up: impl FnMut(&mut Kafka)) {
    let _alone = alone();
    let mut kafka = Kafka::start().unwrap();
    let topic = kafka.topic(name, 4, &[]).unwrap();
    let place = Place::new(name);
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, 2_000) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let mut daemon = spawn(&job);
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());
    std::thread::sleep(Duration::from_secs(2));
    let lines = daemon.log().lines().count();
    down(&mut kafka);
    let seconds = setting("TIDEMILL_OUTAGE_SECONDS", 12);
    std::thread::sleep(Duration::from_secs(seconds));
    let said = daemon.log().lines().count() - lines;
    eprintln!("{said} lines in the log over {seconds} s without a broker");
    assert!(daemon.exited().unwrap().is_none(), "it ended instead of waiting:\n{}", daemon.log());
    assert!(said <= 20, "it has to say so once, not {said} times:\n{}", daemon.log());
    let files = count_files(&job.out);
    up(&mut kafka);
    let begun = Instant::now();
    assert!(wait_new_file(&mut daemon, &job.out, files, LIMIT), "it does not go on:\n{}", daemon.log());
    eprintln!("first commit {:?} after the broker was back", begun.elapsed());
    daemon.term(LIMIT).unwrap();
    let ledger = producer.finish().unwrap();
    drain_and_check(&job, &[&ledger]).assert_clean(10_000);
}

#[test]
fn a_broker_that_stops_and_comes_back() {
    outage("stopped", |kafka| kafka.stop().unwrap(), |kafka| kafka.restart().unwrap());
}

#[test]
fn a_broker_that_is_killed_and_comes_back() {
    outage("killed", |kafka| kafka.kill9().unwrap(), |kafka| kafka.restart().unwrap());
}

#[test]
fn a_broker_that_hangs_and_goes_on() {
    outage("hung", |kafka| kafka.freeze().unwrap(), |kafka| kafka.thaw().unwrap());
}

/// A small file system of its own.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub fn mount(at: &'a Path, size: &str) -> SmallDisk<'a> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output().unwrap();
        assert!(
            done.status.success(),
            "the disk-full test mounts a small tmpfs and needs the right to (root, or `unshare -rm cargo test …`): {}",
            String::from_utf8_lossy(&done.stderr)
        );
        SmallDisk(at)
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_fails_the_run_and_room_lets_it_go_on() {
    let kafka = Kafka::shared();
    let topic = kafka.topic("full", 2, &[]).unwrap();
    let ledger = produce(kafka.brokers(), Plan { mix: Mix::POISON, ..Plan::new(&topic, 2, 200_000) }).unwrap();
    let place = Place::new("full");
    let disk_path = place.path().join("disk");
    let disk = SmallDisk::mount(&disk_path, "4m");
    let mut job = Job::new(kafka.brokers(), &topic, place.path());
    job.out = disk_path.join("out");
    job.max_rows = 20_000;
    job.daemon = "disk_reserve = 0".to_owned();
    let mut daemon = Daemon::spawn(&job.home, &job.toml(), &[]).unwrap();
    let begun = Instant::now();
    while !daemon.log().to_lowercase().contains("no space left") {
        assert!(begun.elapsed() < LIMIT, "nothing said of the full disk:\n{}", daemon.log());
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(daemon.exited().unwrap().is_none(), "it ended instead of trying again:\n{}", daemon.log());
    let files = count_files(&job.out);
    disk.grow("512m");
    let begun = Instant::now();
    assert!(wait_new_file(&mut daemon, &job.out, files, LIMIT), "it does not go on:\n{}", daemon.log());
    eprintln!("first commit {:?} after there was room", begun.elapsed());
    daemon.term(LIMIT).unwrap();
    drain_and_check(&job, &[&ledger]).assert_clean(190_000);
    drop(disk);
}
