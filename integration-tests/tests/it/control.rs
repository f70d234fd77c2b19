//! A running daemon under orders: paused while its group changes, reloaded again and again under load.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidemill_integration_tests::checker::check;
use tidemill_integration_tests::daemon::{Daemon, binary};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::Ledger;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, alone, count_files, drain_and_check, setting, spawn, wait_new_file};

/// `tidemill VERB … --http` of this daemon; it has to succeed.
fn tell(daemon: &mut Daemon, arguments: &[&str]) {
    let port = daemon.http_port(LIMIT).unwrap();
    let address = format!("127.0.0.1:{port}");
    let done = Command::new(binary().unwrap()).args(arguments).args(["--http", &address]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}\n{}", daemon.log());
}

fn count(daemon: &mut Daemon, metric: &str, job: &str) -> f64 {
    daemon.metrics().unwrap().sum(metric, &[("job", job)]).unwrap_or(0.0)
}

/// Nothing is taken while paused, the membership holds longer than a session, another daemon joins in the middle, and
/// in the end every record is there once.
#[test]
fn a_paused_job_keeps_its_place_and_loses_nothing() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("paused", 4, &[]).unwrap();
    let place = Place::new("paused");
    let a = Job::new(kafka.brokers(), &topic, place.path());
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, 4_000) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let mut first = spawn(&a);
    assert!(wait_new_file(&mut first, &a.out, 0, LIMIT), "no commit:\n{}", first.log());
    for round in 0..3 {
        tell(&mut first, &["pause", "clicks", "--wait", "60"]);
        let (taken, files) = (count(&mut first, "tidemill_records_total", "clicks"), count_files(&a.out));
        let mut other = (round == 1).then(|| spawn(&a.instance("b")));
        std::thread::sleep(Duration::from_secs(if round == 1 { 10 } else { 2 }));
        assert_eq!(first.metrics().unwrap().sum("tidemill_rebalances_total", &[("kind", "lost")]), Some(0.0));
        if let Some(other) = &mut other {
            assert!(count_files(&a.out) > files, "the other daemon has a part of the partitions:\n{}", other.log());
            let held = first.get("/api/jobs/clicks").unwrap().1;
            assert!(held.contains("\"state\":\"paused\"") && held.contains("\"partition\":"), "{held}");
            // A rebalance may start a run, and that run pauses before or after its first records.
            tell(&mut first, &["pause", "clicks", "--wait", "60"]);
            other.term(LIMIT).unwrap();
        } else {
            assert_eq!(count(&mut first, "tidemill_records_total", "clicks"), taken, "nothing is taken");
            assert_eq!(count_files(&a.out), files, "everything was committed before");
        }
        let files = count_files(&a.out);
        tell(&mut first, &["resume", "clicks", "--wait", "60"]);
        assert!(wait_new_file(&mut first, &a.out, files, LIMIT), "it does not go on:\n{}", first.log());
    }
    tell(&mut first, &["cut", "clicks"]);
    tell(&mut first, &["restart", "clicks", "--wait", "60"]);
    tell(&mut first, &["drain", "clicks", "--wait", "60"]);
    first.term(LIMIT).unwrap();
    let ledger = producer.finish().unwrap();
    drain_and_check(&a, &[&ledger]).assert_clean(10_000);
}

/// Two jobs in one file: `clicks`, which changes, and `steady`, which does not.
fn both(clicks: &Job, steady: &Job) -> String {
    let (_, rest) = steady.toml().split_once("[job.clicks]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    format!(
        "{}\n[job.steady]{}",
        clicks.toml(),
        rest.replace("[job.clicks.", "[job.steady.").replace("[[job.clicks.", "[[job.steady.")
    )
}

fn write(home: &Path, text: &str) {
    let new = home.join("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, home.join("tidemill.toml")).unwrap();
}

#[test]
fn fifty_reloads_under_load_lose_nothing_and_touch_only_what_changed() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let place = Place::new("reload");
    let job = |name: &str| {
        let topic = kafka.topic(name, 4, &[]).unwrap();
        let job = Job::new(kafka.brokers(), &topic, place.path());
        Job { out: place.path().join(name), dead_letters: Some(place.path().join(format!("{name}-rejected"))), ..job }
    };
    let (mut clicks, steady) = (job("clicks"), job("steady"));
    let start = |job: &Job| {
        let plan = Plan { mix: Mix::POISON, ..Plan::endless(&job.topics[0], 4, 3_000) };
        Producer::start(kafka.brokers(), plan).unwrap()
    };
    let producers = [start(&clicks), start(&steady)];
    let mut daemon = Daemon::spawn(&clicks.home, &both(&clicks, &steady), &[]).unwrap();
    for out in [&clicks.out, &steady.out] {
        assert!(wait_new_file(&mut daemon, out, 0, LIMIT), "no commit:\n{}", daemon.log());
    }
    let reloads = usize::try_from(setting("TIDEMILL_RELOADS", 50)).unwrap();
    let mut restarts = 0;
    for n in 1..=reloads {
        clicks.max_rows = 100_000 + n as u64;
        if n % 3 == 0 {
            restarts += 1;
            clicks.sql = clicks.sql.is_none().then(|| format!("SELECT * FROM input WHERE seq >= -{n}"));
        }
        write(&clicks.home, &both(&clicks, &steady));
        assert!(Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status().unwrap().success());
        let begun = Instant::now();
        while daemon.log().matches("configuration taken over").count() < n {
            assert!(begun.elapsed() < LIMIT, "reload {n} is not taken over:\n{}", daemon.log());
            assert!(daemon.exited().unwrap().is_none(), "it ended:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(count(&mut daemon, "tidemill_runs_total", "steady"), 1.0, "an unchanged job's run goes on");
    assert_eq!(count(&mut daemon, "tidemill_run_errors_total", "clicks"), 0.0);
    let runs = count(&mut daemon, "tidemill_runs_total", "clicks");
    eprintln!("{reloads} reloads, {restarts} of them with a new query: {runs} runs of the changed job, 1 of the other");
    let ledgers: Vec<Ledger> = producers.into_iter().map(|p| p.finish().unwrap()).collect();
    daemon.term(LIMIT).unwrap();
    let (clicks, steady) = (clicks.until_end(), steady.until_end());
    Daemon::spawn(&clicks.home, &both(&clicks, &steady), &[]).unwrap().wait_success(LIMIT).unwrap();
    for (job, ledger) in [&clicks, &steady].into_iter().zip(&ledgers) {
        let report = check(&[ledger], &job.out, job.dead_letters.as_deref()).unwrap();
        eprintln!("{report}");
        report.assert_clean(10_000);
    }
}
