//! Tables of Iceberg's reference catalog, read back by pyiceberg: the daemon dies at every step, while somebody else
//! changes the table.

use std::path::{Path, PathBuf};

use tidemill_integration_tests::checker::{Report, check};
use tidemill_integration_tests::daemon::{Daemon, binary};
use tidemill_integration_tests::iceberg_rest::IcebergRest;
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::producer::{Plan, Producer, produce};
use tidemill_integration_tests::python;
use tidemill_integration_tests::records::Mix;
use tidemill_integration_tests::s3::{KEY, S3};

use crate::deaths::Death::{self, At, Random};
use crate::deaths::{die, drain};
use crate::support::{LIMIT, Place, alone, setting};

const PACKAGES: &[&str] = &["pyiceberg==0.12.0", "pyarrow==26.0.1"];

const DEATHS: &[Death] = &[
    At("iceberg.before_create", 1),
    At("iceberg.after_create", 1),
    Random,
    At("files.staged_open", 3),
    At("files.after_seal", 3),
    At("iceberg.after_manifest", 3),
    At("iceberg.after_manifest_list", 3),
    At("iceberg.before_commit", 4),
    At("iceberg.after_commit", 4),
    Random,
    At("iceberg.in_recover", 1),
    At("iceberg.before_open", 3),
    At("run.after_dead_letter", 2),
    At("run.before_commit", 3),
    At("run.after_commit", 3),
    Random,
];

struct Table<'a> {
    catalog: &'a IcebergRest,
    name: String,
    /// An S3 server's address.
    s3: Option<String>,
    python: PathBuf,
}

/// What pyiceberg says of a table.
struct Said(String);

impl Said {
    fn number(&self, name: &str) -> u64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

impl<'a> Table<'a> {
    fn new(catalog: &'a IcebergRest, s3: Option<&S3>) -> Self {
        let name = format!("clicks_{:08x}", rand::random::<u32>());
        Self { catalog, name, s3: s3.map(S3::endpoint), python: python::with("iceberg", PACKAGES).unwrap() }
    }

    fn sink(&self, more: &str) -> String {
        format!(
            "type = \"iceberg\"\ncatalog = {{ type = \"rest\", uri = \"{}\" }}\ntable = \"shop.{}\"\n{more}",
            self.catalog.uri(),
            self.name
        )
    }

    fn path(&self) -> String {
        format!("/v1/namespaces/shop/tables/{}", self.name)
    }

    /// Commits visible in the table.
    fn commits(&self) -> usize {
        let (status, body) = self.catalog.request("GET", &self.path(), "").unwrap();
        let answer: serde_json::Value = if status == 200 { serde_json::from_str(&body).unwrap() } else { return 0 };
        answer["metadata"]["snapshots"].as_array().map_or(0, Vec::len)
    }

    /// What somebody else does to the table: merging begins early, and a column comes that the job knows nothing of.
    fn change(&self, life: usize) {
        let updates = match life {
            2 => r#"[{"action":"set-properties","updates":{"commit.manifest.min-count-to-merge":"4"}}]"#.to_owned(),
            6 => {
                let (_, body) = self.catalog.request("GET", &self.path(), "").unwrap();
                let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
                let mut schema = answer["metadata"]["schemas"][0].clone();
                let id = answer["metadata"]["last-column-id"].as_i64().unwrap() + 1;
                let column = serde_json::json!({ "id": id, "name": "note", "required": false, "type": "string" });
                schema["fields"].as_array_mut().unwrap().push(column);
                serde_json::json!([
                    { "action": "add-schema", "schema": schema },
                    { "action": "set-current-schema", "schema-id": -1 },
                ])
                .to_string()
            }
            _ => return,
        };
        let body = format!(r#"{{"requirements":[],"updates":{updates}}}"#);
        let (status, answer) = self.catalog.request("POST", &self.path(), &body).unwrap();
        assert_eq!(status, 200, "{answer}");
    }

    /// What pyiceberg sees, as one Parquet file in `folder`.
    fn read(&self, folder: &Path) -> Said {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("readers/iceberg_export.py");
        let (uri, table, file) = (self.catalog.uri(), format!("shop.{}", self.name), folder.join("all.parquet"));
        let mut arguments = vec![uri.as_str(), &table, file.to_str().unwrap()];
        if let Some(s3) = &self.s3 {
            arguments.extend([s3.as_str(), KEY.0, KEY.1]);
        }
        Said(python::script(&self.python, &script, &arguments).unwrap())
    }
}

#[test]
fn iceberg_tables_hold_each_record_once_whatever_dies() {
    let _alone = alone();
    let (kafka, catalog) = (Kafka::shared(), IcebergRest::shared());
    let table = Table::new(catalog, None);
    let topic = kafka.topic("iceberg", 4, &[]).unwrap();
    let place = Place::new("iceberg");
    let job = Job {
        other_sink: Some(table.sink("partition_by = [\"month(ts)\", \"bucket[2](user_id)\"]")),
        ..Job::new(kafka.brokers(), &topic, place.path())
    };
    let plan = Plan { mix: Mix::POISON, ..Plan::endless(&topic, 4, setting("TIDEMILL_RATE", 2_000)) };
    let producer = Producer::start(kafka.brokers(), plan).unwrap();
    for _ in 0..setting("TIDEMILL_ICEBERG_ROUNDS", 1) {
        // The table is made, and changed, in the first round only.
        let made = table.commits() > 0;
        let deaths = if made { &DEATHS[2..] } else { DEATHS };
        die(
            &job,
            &[],
            deaths,
            || table.commits(),
            |life| {
                if !made {
                    table.change(life)
                }
            },
        );
    }
    let ledger = producer.finish().unwrap();
    let out = place.path().join("read");
    let (mut report, mut said) = (Report::default(), Said(String::new()));
    drain(&job, &[], || {
        said = table.read(&out);
        report = check(&[&ledger], &out, job.dead_letters.as_deref()).unwrap();
        report.good.lost + report.bad.lost == 0
    });
    eprintln!("{}{report}{} records", said.0, ledger.committed());
    report.assert_clean(1_000);
    assert!(said.0.contains("spec month(ts),bucket[2](user_id)"), "{}", said.0);
    assert_eq!(said.number("rows"), said.number("recorded"), "manifests count what files hold");
    assert!(said.number("manifests") < said.number("snapshots") / 2, "manifests are merged: {}", said.0);

    // The command shows what the table holds.
    let out = std::process::Command::new(binary().unwrap())
        .args(["positions", "clicks", "--config"])
        .arg(job.home.join("tidemill.toml"))
        .current_dir(&job.home)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for partition in 0..4 {
        let line = format!("{topic}/{partition} {}", ledger.end(partition));
        assert!(shown.contains(&line), "{line} in {shown}");
    }
}

/// The files on S3: reached by a `storage`, and by the environment.
#[test]
fn iceberg_tables_on_s3() {
    let _alone = alone();
    let (kafka, s3, catalog) = (Kafka::shared(), S3::shared(), IcebergRest::shared_on_s3());
    let topic = kafka.topic("iceberg-s3", 2, &[]).unwrap();
    let place = Place::new("iceberg-s3");
    let storage = format!(
        "\n[storage.lake]\ntype = \"s3\"\nendpoint = \"{}\"\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n\
         allow_http = true\n",
        s3.endpoint(),
        KEY.0,
        KEY.1
    );
    let endpoint = s3.endpoint();
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", KEY.0),
        ("AWS_SECRET_ACCESS_KEY", KEY.1),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let ledger = produce(kafka.brokers(), Plan { mix: Mix::POISON, ..Plan::new(&topic, 2, 5_000) }).unwrap();
    for (name, more, tables, env) in
        [("named", "storage = \"lake\"", storage.as_str(), &[][..]), ("environment", "", "", &environment)]
    {
        let table = Table::new(catalog, Some(s3));
        let job = Job {
            other_sink: Some(table.sink(more)),
            more: tables.to_owned(),
            until_end: true,
            ..Job::new(kafka.brokers(), &topic, &place.path().join(name))
        };
        Daemon::spawn(&job.home, &job.toml(), env).unwrap().wait_success(LIMIT).unwrap();
        let out = place.path().join(format!("{name}-read"));
        eprintln!("{name}: {}", table.read(&out).0);
        check(&[&ledger], &out, job.dead_letters.as_deref()).unwrap().assert_clean(100);
    }
}
