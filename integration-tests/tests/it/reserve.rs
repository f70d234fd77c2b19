//! A disk that runs out of room: the job is held before it is full.

use std::time::{Duration, Instant};

use tidemill_integration_tests::daemon::Daemon;
use tidemill_integration_tests::job::{Job, SESSION_TIMEOUT_MS};
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::records::Mix;

use crate::faults::SmallDisk;
use crate::support::{LIMIT, Place, alone, count_files, drain_and_check, spawn, wait_new_file};

const MIB: usize = 1 << 20;

/// What the API says of the job.
fn shown(daemon: &mut Daemon) -> serde_json::Value {
    serde_json::from_str(&daemon.get("/api/jobs/clicks").unwrap().1).unwrap()
}

fn wait_state(daemon: &mut Daemon, state: &str) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        let job = shown(daemon);
        if job["state"] == state {
            return job;
        }
        assert!(begun.elapsed() < LIMIT, "it is never {state}: {job:#}\n{}", daemon.log());
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A disk of 48 MiB, of which 24 are to stay free. Others fill it, and the job takes nothing more, keeps its place in the
/// group for longer than a session, holds again after a restart, and goes on by itself when there is room.
#[test]
fn a_job_is_held_before_its_disk_is_full_and_goes_on_when_there_is_room() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("reserve", 4, &[]).unwrap();
    let place = Place::new("reserve");
    let disk_path = place.path().join("disk");
    let disk = SmallDisk::mount(&disk_path, "48m");
    let mut job = Job::new(kafka.brokers(), &topic, place.path());
    job.out = disk_path.join("out");
    job.memory = "64MiB".to_owned();
    job.daemon = "disk_reserve = \"24MiB\"".to_owned();
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, 3_000) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let mut daemon = spawn(&job);
    assert!(wait_new_file(&mut daemon, &job.out, 0, LIMIT), "no commit:\n{}", daemon.log());
    assert_eq!(daemon.get("/readyz").unwrap().0, 200, "{}", daemon.log());
    let free = |daemon: &mut Daemon| {
        let path = job.out.display().to_string();
        daemon.metrics().unwrap().sum("tidemill_disk_free_bytes", &[("path", &path)]).unwrap()
    };
    assert!(free(&mut daemon) > 24.0 * MIB as f64);

    // A neighbour of the job writes a large file.
    let ballast = disk_path.join("ballast");
    std::fs::write(&ballast, vec![1; 30 * MIB]).unwrap();
    let held = wait_state(&mut daemon, "held");
    let why = held["why"].as_str().unwrap();
    assert!(why.contains("free of reserve 24.0 MiB at ") && why.contains("disk/out"), "{held:#}");
    let left = free(&mut daemon);
    assert!((1.0..24.0 * MIB as f64).contains(&left), "{left} bytes are left");
    let (status, said) = daemon.get("/readyz").unwrap();
    assert!(status == 503 && said.contains("job clicks: held") && said.contains("free of reserve"), "{status} {said}");
    let (records, files) = (shown(&mut daemon)["records"].clone(), count_files(&job.out));
    std::thread::sleep(Duration::from_millis(SESSION_TIMEOUT_MS + 2_000));
    let metrics = daemon.metrics().unwrap();
    assert_eq!(metrics.sum("tidemill_rebalances_total", &[("kind", "lost")]), Some(0.0), "its place is kept");
    assert_eq!(shown(&mut daemon)["records"], records, "nothing is taken");
    assert_eq!(count_files(&job.out), files, "everything was committed before");
    assert_eq!(daemon.log().matches("held, it takes nothing more").count(), 1, "{}", daemon.log());
    assert!(!daemon.log().to_lowercase().contains("no space left"), "{}", daemon.log());
    daemon.term(LIMIT).unwrap();

    let mut daemon = spawn(&job);
    let held = wait_state(&mut daemon, "held");
    assert_eq!(held["records"], 0, "it is held from the start: {held:#}");
    std::fs::remove_file(&ballast).unwrap();
    wait_state(&mut daemon, "running");
    assert!(wait_new_file(&mut daemon, &job.out, files, LIMIT), "it does not go on:\n{}", daemon.log());
    assert_eq!(daemon.get("/readyz").unwrap().0, 200, "{}", daemon.log());
    assert!(daemon.log().contains("there is room again"), "{}", daemon.log());
    let ledger = producer.finish().unwrap();
    daemon.term(LIMIT).unwrap();
    drain_and_check(&job, &[&ledger]).assert_clean(10_000);
    drop(disk);
}
