//! Parquet files and dead letters in an object store: the daemon dies at every step, and the server goes away.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tidemill_integration_tests::bucket::Bucket;
use tidemill_integration_tests::checker::{Report, check};
use tidemill_integration_tests::daemon::binary;
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::records::Mix;
use tidemill_integration_tests::s3::S3;
use tidemill_test_servers::s3_front::Fault;

use crate::deaths::Death::{At, Random};
use crate::deaths::{die, drain};
use crate::support::{Place, alone, setting};

#[test]
fn files_on_s3_are_there_once_whatever_dies() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let mut server = S3::start().unwrap();
    let bucket = Bucket::new(&server, "files").unwrap();
    let topic = kafka.topic("s3", 3, &[]).unwrap();
    let place = Place::new("s3");
    let job = Job {
        out: PathBuf::from(bucket.uri("out")),
        // Without `storage`: by the environment.
        dead_letters: Some(PathBuf::from(bucket.uri("rejected"))),
        sink: "storage = \"lake\"".into(),
        more: bucket.storage(),
        ..Job::new(kafka.brokers(), &topic, place.path())
    };
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 3, setting("TIDEMILL_RATE", 4_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let deaths = [
        Random,
        At("files.before_record", 4),
        At("files.after_record", 4),
        At("files.mid_rename", 3),
        Random,
        At("files.after_rename", 3),
        At("files.after_seal", 3),
        Random,
    ];
    let front = server.front().clone();
    let commits = || bucket.names("out", ".parquet").unwrap_or_default().len();
    die(&job, &bucket.env(), &deaths, commits, |i| match i {
        // Server errors are retried by the client: the second attempt meets the first one's object.
        1 | 4 => front.fault(".json HTTP", Fault::Refuse(503)),
        2 | 5 => front.fault(".json HTTP", Fault::Swallow),
        3 => {
            server.kill9().unwrap();
            server.restart().unwrap();
        }
        _ => {}
    });
    // A daemon that lives while its server is away for a while, and the answers of others get lost.
    let mut daemon = tidemill_integration_tests::daemon::Daemon::spawn(&job.home, &job.toml(), &bucket.env()).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(700));
        front.fault(".json HTTP", Fault::Swallow);
        front.fault(".part HTTP", Fault::Drop);
    }
    server.kill9().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    server.restart().unwrap();
    let before = commits();
    let begun = std::time::Instant::now();
    while commits() < before + 3 {
        assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
        assert!(begun.elapsed() < Duration::from_secs(90), "no commit after the outage:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.term(crate::support::LIMIT).unwrap();
    let ledger = producer.finish().unwrap();
    front.clear();
    let mut report = Report::default();
    let (out, rejected) = (place.path().join("out"), place.path().join("rejected"));
    drain(&job, &bucket.env(), || {
        bucket.copy("out", ".parquet", &out).unwrap();
        bucket.copy("rejected", ".parquet", &rejected).unwrap();
        report = check(&[&ledger], &out, Some(&rejected)).unwrap();
        report.good.lost + report.bad.lost == 0
    });
    eprintln!("{report}");
    report.assert_clean(5_000);
    // What a person sees.
    let file = job.home.join("tidemill.toml");
    let mut show = Command::new(binary().unwrap());
    let out =
        show.args(["positions", "clicks", "--config"]).arg(&file).current_dir(&job.home).envs(bucket.env()).output();
    let out = out.unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    for partition in 0..3 {
        let end = kafka.ends(&topic, partition).unwrap().1;
        assert!(
            text.contains(&format!("{topic}/{partition} {end}\n")),
            "{text}\n{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
