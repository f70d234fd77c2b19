//! Kafka to PostgreSQL, read back with psql: kills at each step, a server that is restarted, rows that it refuses,
//! upserts and tombstones, positions by hand.

use std::process::Command;
use std::time::{Duration, Instant};

use rand::Rng;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE, binary};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::ledger::{Expected, Ledger};
use tidemill_integration_tests::producer::{Plan, Producer, produce};
use tidemill_integration_tests::records::{Fate, Mix};
use tidemill_test_servers::postgres::Postgres;

use crate::support::{LIMIT, Place, alone, setting};

/// The job's file, with both its sinks in the database.
fn toml(job: &Job, url: &str, sink: &str) -> String {
    let text = job.toml();
    let (head, _) = text.split_once("[job.clicks.sink]").unwrap();
    let (before, letters) = head.split_once("[job.clicks.dead_letter]").unwrap();
    let (_, after) = letters.split_once("\n\n").unwrap();
    format!(
        "{before}[job.clicks.dead_letter]\ntype = \"postgres\"\nurl = \"{url}\"\ntable = \"rejected\"\ncreate = true\n\n\
         {after}[job.clicks.sink]\ntype = \"postgres\"\nurl = \"{url}\"\ntable = \"clicks\"\n{sink}\n"
    )
}

/// What a reader of the tables finds: places of rows, and of dead letters with their stage.
fn places(postgres: &Postgres, table: &str, more: &str) -> Vec<(usize, usize, String)> {
    let lines = postgres.sql(&format!("SELECT _partition, _offset, {more} FROM {table}")).unwrap();
    let place = |line: &str| {
        let mut parts = line.splitn(3, '|');
        let mut next = || parts.next().unwrap().to_owned();
        (next().parse().unwrap(), next().parse().unwrap(), next())
    };
    lines.lines().map(place).collect()
}

/// Every record once: a row, or a dead letter. Answers how many of each, and how many were refused by the table.
fn check(postgres: &Postgres, ledger: &Ledger) -> (usize, usize, usize) {
    let mut seen = vec![Vec::new(); ledger.partitions()];
    for (partition, seen) in seen.iter_mut().enumerate() {
        *seen = vec![(0u32, 0u32, 0u32); ledger.end(partition)];
    }
    for (partition, offset, _) in places(postgres, "clicks", "''") {
        seen[partition][offset].0 += 1;
    }
    for (partition, offset, stage) in places(postgres, "rejected", "stage") {
        let seen = &mut seen[partition][offset];
        if stage == "sink" { seen.2 += 1 } else { seen.1 += 1 }
    }
    let (mut rows, mut letters, mut refused, mut faults) = (0, 0, 0, Vec::new());
    for (partition, offsets) in seen.iter().enumerate() {
        for (offset, found) in offsets.iter().enumerate() {
            let expected = match ledger.expected(partition, offset) {
                Expected::Record(record) => match record.fate {
                    Fate::Good(_) if found.2 == 1 => (0, 0, 1),
                    Fate::Good(_) => (1, 0, 0),
                    Fate::Bad(_) => (0, 1, 0),
                    Fate::Tombstone => (0, 0, 0),
                },
                _ => (0, 0, 0),
            };
            if *found != expected {
                faults.push(format!("{partition}/{offset}: found {found:?}, expected {expected:?}"));
            }
            rows += found.0 as usize;
            letters += found.1 as usize;
            refused += found.2 as usize;
        }
    }
    let some = &faults[..faults.len().min(10)];
    assert!(faults.is_empty(), "{} records are lost or doubled: {some:#?}", faults.len());
    (rows, letters, refused)
}

fn commits(postgres: &Postgres) -> u64 {
    // No table yet, or the server is just starting.
    postgres.sql("SELECT count(*) FROM tidemill_commit").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn wait_commit(daemon: &mut Daemon, postgres: &Postgres, before: u64) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if commits(postgres) > before {
            return true;
        }
        if daemon.exited().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Steps of the commit; the dead letters pass them too. Empty: SIGKILL at any time.
const DEATHS: &[(&str, u64)] = &[
    ("", 0),
    ("postgres.before_copy", 6),
    ("postgres.mid_copy", 6),
    ("postgres.after_copy", 6),
    ("", 0),
    ("postgres.after_seal", 5),
    ("run.after_dead_letter", 3),
    ("postgres.before_positions", 5),
    ("postgres.before_commit", 5),
    ("postgres.after_commit", 5),
    ("", 0),
    ("postgres.in_recover", 2),
    ("postgres.before_epoch", 2),
    ("postgres.after_epoch", 2),
    ("run.after_commit", 3),
];

#[test]
fn killed_at_every_step_with_a_server_that_restarts_each_record_is_there_once() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("pg-kills", 4, &[]).unwrap();
    let place = Place::new("pg-kills");
    let mut postgres = Postgres::start().unwrap();
    let job = Job::new(kafka.brokers(), &topic, place.path());
    let text = toml(&job, &postgres.url(), "create = true");
    // Odd records hold texts with a NUL, which Postgres refuses: the next test is about those.
    let mix = Mix { odd: 0.0, ..Mix::POISON };
    let plan = Plan { mix, ..Plan::endless(&topic, 4, setting("TIDEMILL_RATE", 4_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    let kills = usize::try_from(setting("TIDEMILL_KILLS", DEATHS.len() as u64)).unwrap();
    let mut rng = rand::rng();
    let mut missed = Vec::new();
    for kill in 0..kills {
        let (step, passes) = DEATHS[kill % DEATHS.len()];
        let before = commits(&postgres);
        let variable = if passes > 0 { format!("{step}:{}", rng.random_range(1..=passes)) } else { String::new() };
        let env = [(FAILPOINT_VARIABLE, variable.as_str())];
        let mut daemon = Daemon::spawn(&job.home, &text, if passes > 0 { &env } else { &[] }).unwrap();
        if passes == 0 {
            assert!(wait_commit(&mut daemon, &postgres, before), "no commit within 30 s:\n{}", daemon.log());
            // Every other time the server goes down too, in order or by a kill, and comes back under the daemon.
            match kill / 4 % 3 {
                1 => {
                    postgres.stop().unwrap();
                    postgres.restart().unwrap();
                    assert!(wait_commit(&mut daemon, &postgres, commits(&postgres)), "{}", daemon.log());
                }
                2 => {
                    postgres.kill9().unwrap();
                    postgres.restart().unwrap();
                    assert!(wait_commit(&mut daemon, &postgres, commits(&postgres)), "{}", daemon.log());
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(0..800)));
            assert!(daemon.exited().unwrap().is_none(), "it ended by itself:\n{}", daemon.log());
            daemon.kill9().unwrap();
        } else if daemon.wait_exit(Duration::from_secs(20)).is_err() {
            missed.push(variable);
            daemon.kill9().unwrap();
        } else {
            assert!(daemon.log().contains("failpoint"), "ended by itself:\n{}", daemon.log());
        }
    }
    let ledger = producer.finish().unwrap();
    Daemon::spawn(&job.home, &toml(&job.until_end(), &postgres.url(), "create = true"), &[])
        .unwrap()
        .wait_success(LIMIT)
        .unwrap();
    let (rows, letters, refused) = check(&postgres, &ledger);
    eprintln!("{kills} kills, {rows} rows, {letters} dead letters, {} commits", commits(&postgres));
    assert!(rows > 10_000 && letters > 100 && refused == 0, "{rows} {letters} {refused}");
    assert!(missed.is_empty(), "steps that were not reached within 20 s: {missed:?}");
    chain(&postgres);
}

/// The commits of each partition follow each other without a gap, and the last one is the position.
fn chain(postgres: &Postgres) {
    let broken = postgres
        .sql(
            "WITH moves AS (SELECT c.id, target, r->>'partition' AS p, (r->>'start')::int8 AS s, (r->>'end')::int8 AS e \
             FROM tidemill_commit c, jsonb_array_elements(ranges) r), \
             steps AS (SELECT *, lag(e) OVER (PARTITION BY target, p ORDER BY id) AS former FROM moves) \
             SELECT count(*) FROM steps WHERE s IS DISTINCT FROM former",
        )
        .unwrap();
    assert_eq!(broken, "0", "commits that do not follow the one before");
    let ends = postgres
        .sql(
            "SELECT count(*) FROM tidemill_position q WHERE position <> (SELECT (r->>'end')::int8 FROM tidemill_commit c, \
             jsonb_array_elements(ranges) r WHERE c.target = q.target AND (r->>'partition')::int = q.partition \
             ORDER BY c.id DESC LIMIT 1)",
        )
        .unwrap();
    assert_eq!(ends, "0", "positions that are not the last commit's");
}

#[test]
fn rows_that_the_table_refuses_become_dead_letters() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("pg-refused", 3, &[]).unwrap();
    let place = Place::new("pg-refused");
    let postgres = Postgres::start().unwrap();
    let job = Job { max_rows: 2_000, ..Job::new(kafka.brokers(), &topic, place.path()) }.until_end();
    // The tables are made, and one gets a rule of the user's own: some rows do not keep it.
    Daemon::spawn(&job.home, &toml(&job, &postgres.url(), "create = true"), &[]).unwrap().wait_success(LIMIT).unwrap();
    postgres.sql("ALTER TABLE clicks ADD CONSTRAINT odd CHECK (_offset % 1000 <> 7)").unwrap();
    let ledger = produce(kafka.brokers(), Plan { mix: Mix::POISON, ..Plan::new(&topic, 3, 9_000) }).unwrap();
    let mut daemon = Daemon::spawn(&job.home, &toml(&job, &postgres.url(), ""), &[]).unwrap();
    daemon.wait_success(LIMIT).unwrap();
    let (rows, letters, refused) = check(&postgres, &ledger);
    let (good, bad, _) = ledger.fates();
    assert_eq!((rows + refused, letters), (good, bad));
    let why = |pattern: &str| {
        let sql = format!(
            "SELECT count(*) FROM rejected WHERE stage = 'sink' AND cause = 'refused' AND error LIKE '{pattern}'"
        );
        postgres.sql(&sql).unwrap().parse::<usize>().unwrap()
    };
    let (odd, nul) = (why("%constraint odd%"), why("%0x00%"));
    eprintln!("{rows} rows, {letters} bad records, {odd} rows against the rule, {nul} with a NUL");
    assert_eq!(odd + nul, refused);
    assert!((4..=9).contains(&odd) && nul > 0, "{odd} {nul}");
}

#[test]
fn upserts_follow_the_topic_and_positions_are_shown() {
    let _alone = alone();
    let kafka = Kafka::shared();
    let topic = kafka.topic("pg-upsert", 2, &[]).unwrap();
    let place = Place::new("pg-upsert");
    let postgres = Postgres::start().unwrap();
    let producer: BaseProducer = kafka.client().set("message.timeout.ms", "30000").create().unwrap();
    let mut truth = std::collections::BTreeMap::new();
    let mut rng = rand::rng();
    for n in 0..5_000 {
        let id = rng.random_range(0..300);
        let key = format!("{{\"id\": {id}}}");
        // Every fifth record deletes its key.
        let value = (n % 5 != 4).then(|| format!("{{\"id\": {id}, \"n\": {n}}}"));
        match &value {
            Some(_) => truth.insert(id, n),
            None => truth.remove(&id),
        };
        let record = BaseRecord::<_, String>::to(&topic).key(&key).partition(id % 2);
        let record = match &value {
            Some(value) => record.payload(value),
            None => record,
        };
        producer.send(record).unwrap();
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let text = format!(
        "[daemon]\nstate_dir = \"./state\"\nhttp = \"127.0.0.1:0\"\n\n[job.people]\n\
         source = {{ type = \"kafka\", brokers = \"{}\", topics = [\"{topic}\"], until = \"end\" }}\n\n\
         [job.people.window]\nmax_rows = 700\n\n[job.people.format]\ntype = \"json\"\ntombstones = \"row\"\n\
         metadata = [\"key\"]\nfields = [{{ name = \"id\", type = \"int64\" }}, {{ name = \"n\", type = \"int64\" }}]\n\n\
         [job.people.sink]\ntype = \"postgres\"\nurl = \"{}\"\ntable = \"people\"\nmode = \"upsert\"\nkey = [\"id\"]\n\
         create = true\n",
        kafka.brokers(),
        postgres.url()
    );
    let home = place.path().join("a");
    Daemon::spawn(&home, &text, &[]).unwrap().wait_success(LIMIT).unwrap();
    let found = postgres.sql("SELECT id, n FROM people ORDER BY id").unwrap();
    let expected: Vec<String> = truth.iter().map(|(id, n)| format!("{id}|{n}")).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
    let positions = |more: &[&str]| {
        let mut command = Command::new(binary().unwrap());
        command.args(["positions", "people", "--config"]).arg(home.join("tidemill.toml")).args(more).current_dir(&home);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let ends: Vec<i64> = (0..2).map(|p| kafka.ends(&topic, p).unwrap().1).collect();
    assert_eq!(positions(&[]), format!("{topic}/0 {}\n{topic}/1 {}\n", ends[0], ends[1]));
    let changed = positions(&["--set", "0=10", "--yes"]);
    assert!(changed.contains("-> 10"), "{changed}");
    assert_eq!(positions(&[]), format!("{topic}/0 10\n{topic}/1 {}\n", ends[1]));
    // The records of partition 0 come again, and as upserts they change nothing.
    Daemon::spawn(&home, &text, &[]).unwrap().wait_success(LIMIT).unwrap();
    assert_eq!(postgres.sql("SELECT id, n FROM people ORDER BY id").unwrap(), found);
}
