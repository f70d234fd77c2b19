//! The kill test: SIGKILL at random and an abort at each named step of a commit, then every record exactly once.
//!
//! `TIDEMILL_KILLS=60 TIDEMILL_RATE=25000 cargo test -p tidemill-integration-tests --test it kills -- --nocapture`
//! runs the long form.

use std::time::{Duration, Instant};

use rand::Rng;
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_integration_tests::records::Mix;

use crate::support::{LIMIT, Place, alone, count_files, drain_and_check, setting, spread, wait_new_file};

/// How a daemon dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    /// SIGKILL at any time.
    Random,
    /// At the `1..=n`th pass of a step.
    At(&'static str, u64),
}

/// Steps of a run and of the files' commit. The main sink and the dead letters pass the same `files.*` steps, so
/// the nth pass is of either.
const DEATHS: &[Death] = &[
    Death::Random,
    Death::At("files.staged_open", 4),
    Death::At("files.after_seal", 4),
    Death::Random,
    Death::Random, // two in a row: the time from the first to the next commit
    Death::At("run.after_dead_letter", 3),
    Death::At("files.before_record", 6),
    Death::At("files.after_record", 6),
    Death::At("files.in_recover", 2),
    Death::Random,
    Death::At("files.mid_rename", 6),
    Death::At("files.after_rename", 6),
    Death::At("files.before_fence", 2),
    Death::At("files.after_fence", 2),
    Death::Random,
    Death::At("run.before_recover", 1),
    Death::At("run.before_commit", 3),
    Death::At("run.after_commit", 3),
    Death::At("files.after_record", 2),
];

#[test]
fn killed_at_every_step_each_record_is_there_once() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("kills", 4, &[]).unwrap();
    let place = Place::new("kills");
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, setting("TIDEMILL_RATE", 8_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let kills = setting("TIDEMILL_KILLS", DEATHS.len() as u64);
    let mut rng = rand::rng();
    let (mut after_random, mut all_times, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    let mut died: Option<(Instant, bool)> = None;
    for kill in 0..usize::try_from(kills).unwrap() {
        let death = DEATHS[kill % DEATHS.len()];
        let files = count_files(&job.out);
        let (random, variable) = match death {
            Death::Random => (true, String::new()),
            Death::At(name, passes) => (false, format!("{name}:{}", rng.random_range(1..=passes))),
        };
        let env = [(FAILPOINT_VARIABLE, variable.as_str())];
        let mut daemon = Daemon::spawn(&job.home, &job.toml(), if random { &[] } else { &env }).unwrap();
        let first = wait_new_file(&mut daemon, &job.out, files, Duration::from_secs(20));
        if first && let Some((when, was_random)) = died {
            all_times.push(when.elapsed());
            if was_random {
                after_random.push(when.elapsed());
            }
        }
        if random {
            assert!(first, "no commit within 20 s of a start:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(rng.random_range(0..1500)));
            assert!(daemon.exited().unwrap().is_none(), "it ended by itself:\n{}", daemon.log());
            daemon.kill9().unwrap();
        } else {
            match daemon.wait_exit(Duration::from_secs(20)) {
                Ok(status) => {
                    assert!(daemon.log().contains("failpoint"), "ended by itself, {status}:\n{}", daemon.log())
                }
                Err(_) => {
                    missed.push(variable.clone());
                    daemon.kill9().unwrap();
                }
            }
        }
        died = Some((Instant::now(), random));
    }
    let ledger = producer.finish().unwrap();
    let report = drain_and_check(&job, &[&ledger]);
    let (median, largest) = spread(&mut after_random);
    eprintln!(
        "{kills} kills, {} records; kill -9 to the next commit: median {median:?}, largest {largest:?}",
        ledger.committed()
    );
    let (median, largest) = spread(&mut all_times);
    eprintln!(
        "death at any step to the next commit: median {median:?}, largest {largest:?} ({} of {kills})",
        all_times.len()
    );
    report.assert_clean(10_000);
    assert!(missed.is_empty(), "steps that were not reached within 20 s: {missed:?}");
    assert!(kills < 4 || !after_random.is_empty());
}

#[test]
fn two_daemons_share_a_topic_while_members_come_and_go() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("members", 6, &[]).unwrap();
    let place = Place::new("members");
    let first = Job::new(kafka.brokers(), &topic, place.path());
    let jobs = [first.clone(), first.instance("b"), first.instance("c")];
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 6, setting("TIDEMILL_RATE", 8_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let start = |job: &Job| Daemon::spawn(&job.home, &job.toml(), &[]).unwrap();
    let mut daemons = [Some(start(&jobs[0])), Some(start(&jobs[1])), None];
    let mut rng = rand::rng();
    let (mut joined, mut left, mut killed) = (2, 0, 0);
    for turn in 0..setting("TIDEMILL_MEMBER_TURNS", 10) {
        std::thread::sleep(Duration::from_millis(rng.random_range(200..2500)));
        let which = rng.random_range(0..3);
        let (job, daemon) = (&jobs[which], &mut daemons[which]);
        if let Some(daemon) = daemon.as_mut() {
            assert!(daemon.exited().unwrap().is_none(), "{which} ended by itself:\n{}", daemon.log());
        }
        match daemon.take() {
            None => {
                *daemon = Some(start(job));
                joined += 1;
            }
            Some(mut running) if turn % 2 == 0 => {
                running.stop(LIMIT).unwrap();
                left += 1;
            }
            Some(mut running) => {
                running.kill9().unwrap();
                killed += 1;
            }
        }
    }
    for daemon in daemons.iter_mut().flatten() {
        daemon.stop(LIMIT).unwrap();
    }
    let ledger = producer.finish().unwrap();
    eprintln!("{joined} joined, {left} left, {killed} killed, {} records", ledger.committed());
    drain_and_check(&first, &[&ledger]).assert_clean(10_000);
}
