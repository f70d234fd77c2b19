//! Delta tables, read back by the Python package `deltalake`: the daemon dies at every step while another writer and
//! OPTIMIZE work on the same table.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_integration_tests::bucket::Bucket;
use tidemill_integration_tests::checker::{Report, check};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::python;
use tidemill_integration_tests::records::Mix;
use tidemill_integration_tests::s3::{KEY, S3};
use tidemill_test_servers::s3_front::Fault;

use crate::deaths::Death::{self, At, Random};
use crate::deaths::{die, drain};
use crate::support::{Place, alone, setting};

const PACKAGES: &[&str] = &["deltalake==1.6.6", "pyarrow==26.0.1"];

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("readers").join(name)
}

fn reader() -> PathBuf {
    python::with("delta", PACKAGES).unwrap()
}

/// Reads the table into one Parquet file in `folder`; what the table says of itself.
fn read(python: &Path, uri: &str, options: &[String], folder: &Path) -> serde_json::Value {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join("all.parquet").display().to_string();
    let mut arguments = vec![uri, &file];
    arguments.extend(options.iter().map(String::as_str));
    let said = python::script(python, &script("delta.py"), &arguments).unwrap();
    serde_json::from_str(&said).unwrap()
}

fn s3_options(server: &S3) -> Vec<String> {
    vec![
        format!("AWS_ENDPOINT_URL={}", server.endpoint()),
        format!("AWS_ACCESS_KEY_ID={}", KEY.0),
        format!("AWS_SECRET_ACCESS_KEY={}", KEY.1),
        "AWS_REGION=us-east-1".into(),
        "AWS_ALLOW_HTTP=true".into(),
        "aws_conditional_put=etag".into(),
    ]
}

/// The long names of a commit.
const DEATHS: &[Death] = &[
    At("delta.before_create", 1),
    At("delta.after_create", 1),
    Random,
    At("files.staged_open", 3),
    At("delta.before_commit", 4),
    At("delta.after_commit", 4),
    Random,
    At("files.after_seal", 3),
    At("delta.before_checkpoint", 1),
    At("delta.after_checkpoint", 1),
    At("delta.in_recover", 1),
    At("run.before_commit", 3),
    At("run.after_commit", 3),
    Random,
];

#[test]
fn delta_tables_hold_each_record_once_whatever_dies_and_whoever_else_writes() {
    let _alone = alone();
    let python = reader();
    let kafka = Kafka::shared();
    let topic = kafka.topic("delta", 3, &[]).unwrap();
    let place = Place::new("delta");
    let uri = place.path().join("table").display().to_string();
    let job = Job {
        other_sink: Some(format!("type = \"delta\"\nuri = \"{uri}\"\ncheckpoint_every = 5\n")),
        ..Job::new(kafka.brokers(), &topic, place.path())
    };
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 3, setting("TIDEMILL_RATE", 4_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let log = place.path().join("table/_delta_log");
    let commits = || {
        let names = std::fs::read_dir(&log).into_iter().flatten().flatten().map(|e| e.file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".json")).count()
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Another engine: sets a property, rewrites small files (OPTIMIZE), cleans up, as long as the daemons die.
        let other = scope.spawn(|| {
            let mut done = 0;
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1500));
                if commits() < 3 {
                    continue;
                }
                match python::script(&python, &script("delta_other_writer.py"), &[&uri]) {
                    Ok(_) => done += 1,
                    // Its own conflict with our commits, which it may give up on.
                    Err(e) => eprintln!("the other writer: {e:#}"),
                }
            }
            done
        });
        let deaths = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| die(&job, &[], DEATHS, commits, |_| {})));
        over.store(true, Ordering::Relaxed);
        let done = other.join().unwrap();
        if let Err(panic) = deaths {
            std::panic::resume_unwind(panic);
        }
        eprintln!("the other writer came {done} times");
        assert!(done >= 2, "the other writer has to get along too");
    });
    let ledger = producer.finish().unwrap();
    let mut report = Report::default();
    let read_to = place.path().join("read");
    drain(&job, &[], || {
        let said = read(&python, &uri, &[], &read_to);
        eprintln!("{said}");
        assert_eq!(said["fields"]["ts"], "timestamp[us, tz=UTC]");
        assert!(said["operations"].as_array().unwrap().iter().any(|name| name == "OPTIMIZE"), "{said}");
        report = check(&[&ledger], &read_to, job.dead_letters.as_deref()).unwrap();
        report.good.lost + report.bad.lost == 0
    });
    eprintln!("{report}");
    report.assert_clean(5_000);
}

#[test]
fn delta_tables_on_s3_hold_each_record_once_whatever_dies() {
    let _alone = alone();
    let python = reader();
    let kafka = Kafka::shared();
    let mut server = S3::start().unwrap();
    let bucket = Bucket::new(&server, "delta").unwrap();
    let topic = kafka.topic("delta-s3", 3, &[]).unwrap();
    let place = Place::new("delta-s3");
    let uri = bucket.uri("lake/clicks");
    let job = Job {
        other_sink: Some(format!(
            "type = \"delta\"\nuri = \"{uri}\"\nstorage = \"lake\"\npartition_by = [\"mobile\"]\nschema_evolution = \"add\"\n"
        )),
        more: bucket.storage(),
        ..Job::new(kafka.brokers(), &topic, place.path())
    };
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 3, setting("TIDEMILL_RATE", 2_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let front = server.front().clone();
    let commits = || bucket.names("lake/clicks/_delta_log", ".json").unwrap_or_default().len();
    let deaths = [Random, At("delta.before_commit", 3), At("delta.after_commit", 3), Random];
    die(&job, &bucket.env(), &deaths, commits, |i| match i {
        1 => front.fault(".json HTTP", Fault::Refuse(503)),
        2 => {
            server.kill9().unwrap();
            server.restart().unwrap();
        }
        3 => (0..3).for_each(|_| front.fault("PUT", Fault::Swallow)),
        _ => {}
    });
    let ledger = producer.finish().unwrap();
    front.clear();
    let (mut report, read_to) = (Report::default(), place.path().join("read"));
    drain(&job, &bucket.env(), || {
        let said = read(&python, &uri, &s3_options(&server), &read_to);
        eprintln!("{said}");
        assert_eq!(said["partition_columns"], serde_json::json!(["mobile"]));
        report = check(&[&ledger], &read_to, job.dead_letters.as_deref()).unwrap();
        report.good.lost + report.bad.lost == 0
    });
    eprintln!("{report}");
    report.assert_clean(3_000);
}
