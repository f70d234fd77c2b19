//! The examples load, with the values that they show; docs and schema are what the types say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tidemill_config::*;

fn crate_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn example(name: &str) -> Loaded {
    load(&crate_file(&format!("examples/{name}")), &System).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

#[test]
fn orders_loads_with_the_values_shown() {
    let loaded = example("orders.toml");
    assert_eq!(loaded.warnings, []);
    let Config { daemon, jobs, groups, storages: _ } = &loaded.config;
    assert!(groups.is_empty());
    assert_eq!(*daemon, Daemon::default(), "the file shows the defaults");
    assert_eq!((daemon.memory, daemon.http.0.to_string()), (None, "127.0.0.1:9464".into()));
    let job = &jobs["orders"];
    assert_eq!(
        (job.on_error, job.max_errors_per_minute, job.delivery),
        (OnError::DeadLetter, 1000, Delivery::ExactlyOnce)
    );
    let Source::Kafka(kafka) = &job.source else { panic!("kafka") };
    assert_eq!(kafka.brokers.as_str(), "127.0.0.1:9092");
    assert_eq!(kafka.topics, [Text::from("orders")]);
    assert_eq!(kafka.group("orders"), "tidemill-orders");
    assert_eq!(
        (&kafka.start, &kafka.until, kafka.on_data_loss),
        (&Start::Earliest, &Some(Until::End), OnDataLoss::Fail)
    );
    assert_eq!(
        kafka.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(),
        [("client.id", "tidemill")]
    );
    assert!(!kafka.unsafe_properties && kafka.static_membership && kafka.group_protocol == GroupProtocol::Classic);
    let Format::Json(json) = &job.format else { panic!("json") };
    let field = |name: &str, data_type, nullable| Field { name: name.into(), data_type, nullable };
    assert_eq!(
        json.fields,
        [
            field("event_id", DataType::String, true),
            field("seq", DataType::Int64, false),
            field("ts", DataType::Timestamp(TimeUnit::Millisecond), true),
            field("price", DataType::Float64, true),
            field("tags", DataType::List(Box::new(DataType::String)), true),
            field("address", DataType::Struct(vec![field("city", DataType::String, true)]), true),
        ]
    );
    let columns: Vec<_> = json.metadata.iter().map(|m| m.column()).collect();
    assert_eq!(columns, ["_topic", "_partition", "_offset", "_timestamp", "_key", "_value"]);
    assert_eq!((json.tombstones, json.max_record_bytes, json.coerce), (Tombstones::Skip, 1 << 20, false));
    let parquet = |path: &str| Parquet {
        path: path.into(),
        storage: None,
        compression: Compression::Zstd,
        file_size: 256 << 20,
        partition_by: vec![],
    };
    assert_eq!(job.dead_letter, Some(Sink::Parquet(parquet("./out-rejected/orders"))));
    assert_eq!(job.sink, Sink::Parquet(parquet("./out/orders")));
    assert_eq!(job.window, Window { idle: Some(Duration::from_millis(500)), ..Window::default() });
    assert_eq!(
        (job.window.max_age, job.window.max_rows, job.window.max_bytes),
        (Duration::from_secs(5), 500_000, 256 << 20)
    );
    let [Operator::Sql(sql)] = job.operators.as_slice() else { panic!("one query") };
    assert_eq!(sql.query.as_str(), "SELECT event_id, seq, ts, price, _partition, _offset FROM input WHERE price > 0");
}

#[test]
fn minimal_is_ten_lines_and_all_defaults() {
    let text = std::fs::read_to_string(crate_file("examples/minimal.toml")).expect("read");
    assert_eq!(text.lines().count(), 10);
    let loaded = example("minimal.toml");
    let job = &loaded.config.jobs["orders"];
    assert_eq!(loaded.config.daemon, Daemon::default());
    assert_eq!((job.on_error, job.delivery, &job.window), (OnError::Fail, Delivery::ExactlyOnce, &Window::default()));
    assert!(job.operators.is_empty() && job.dead_letter.is_none());
    let Source::Kafka(kafka) = &job.source else { panic!("kafka") };
    assert_eq!(
        (&kafka.start, &kafka.until, kafka.group("orders")),
        (&Start::Earliest, &None, "tidemill-orders".into())
    );
}

#[test]
fn backfill_begins_and_ends_at_one_seam() {
    let loaded = example("backfill.toml");
    assert_eq!(loaded.warnings, []);
    let kafka = |job: &str| match &loaded.config.jobs[job].source {
        Source::Kafka(kafka) => kafka.clone(),
        Source::Generator(_) => panic!("kafka"),
    };
    let (live, past) = (kafka("orders"), kafka("orders-past"));
    let (Start::Offsets(seam), Some(Until::Offsets(end))) = (&live.start, &past.until) else { panic!("offsets") };
    assert_eq!(seam, end);
    assert_eq!((&past.start, &live.until), (&Start::Earliest, &None));
    let offsets: Vec<_> = seam.by_partition(&live.topics).collect();
    assert_eq!(offsets, [(("orders", 0), 1_204_551), (("orders", 1), 1_198_007), (("orders", 2), 1_201_440)]);
    assert_eq!(loaded.config.jobs["orders"].sink, loaded.config.jobs["orders-past"].sink);
    assert_ne!(live.group("orders"), past.group("orders-past"));
}

#[test]
fn generator_loads() {
    let loaded = example("generator.toml");
    let job = &loaded.config.jobs["clicks"];
    let Source::Generator(generator) = &job.source else { panic!("generator") };
    assert_eq!(*generator, Generator { rate: Some(1000), records: Some(10_000), partitions: 4, seed: 7 });
    assert_eq!((&job.sink, job.delivery), (&Sink::Stdout(Stdout {}), Delivery::AtLeastOnce));
}

#[test]
fn delta_loads_with_the_values_shown() {
    let loaded = example("delta.toml");
    assert_eq!(loaded.warnings, []);
    let Sink::Delta(delta) = &loaded.config.jobs["orders"].sink else { panic!("delta") };
    let expected = Delta {
        uri: "s3://lake/orders".into(),
        storage: Some("lake".into()),
        partition_by: vec!["country".into()],
        schema_evolution: SchemaEvolution::Add,
        compression: Compression::Zstd,
        file_size: 256 << 20,
        checkpoint_every: None,
    };
    assert_eq!(*delta, expected);
    let Storage::S3(s3) = &loaded.config.storages["lake"] else { panic!("S3") };
    assert_eq!((s3.endpoint.as_deref(), s3.allow_http), (Some("http://127.0.0.1:9090"), true));
}

#[test]
fn a_folder_is_one_configuration() {
    let dir = tempfile::tempdir().expect("dir");
    for name in ["minimal.toml", "generator.toml"] {
        std::fs::copy(crate_file(&format!("examples/{name}")), dir.path().join(name)).expect("copy");
    }
    std::fs::write(dir.path().join("notes.txt"), "not read").expect("write");
    std::fs::write(dir.path().join(".hidden.toml"), "not read").expect("write");
    let loaded = load(dir.path(), &System).expect("loads");
    assert_eq!(loaded.config.jobs.keys().collect::<Vec<_>>(), ["clicks", "orders"]);
    assert_eq!(loaded.sources, [dir.path().join("generator.toml"), dir.path().join("minimal.toml")]);

    std::fs::copy(crate_file("examples/orders.toml"), dir.path().join("z.toml")).expect("copy");
    let faults = load(dir.path(), &System).expect_err("orders twice");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!((&faults[0].file, &*faults[0].key, faults[0].line), (&dir.path().join("z.toml"), "job.orders", 7));
    assert!(faults[0].message.contains("minimal.toml:1:6"), "{}", faults[0]);
}

/// What is shown of a configuration is itself one, with the same values.
#[test]
fn what_is_shown_loads_again() {
    for name in ["orders.toml", "minimal.toml", "generator.toml", "delta.toml"] {
        let loaded = example(name);
        let mut shown = serde_json::to_value(&loaded.config).expect("json");
        without_null(&mut shown);
        let text = toml::to_string(&shown).expect("toml");
        let again = common::load(&text).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
        assert_eq!(again.config, loaded.config);
    }
}

fn without_null(json: &mut serde_json::Value) {
    if let Some(object) = json.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        object.values_mut().for_each(without_null);
    }
}

#[test]
fn the_docs_are_what_the_types_say() {
    let path = crate_file("../docs/configuration.md");
    let docs = docs();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(&path, &docs).expect("write");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == docs, "docs/configuration.md is old: run UPDATE_DOCS=1 cargo test -p tidemill-config");
}

/// Every key of the schema has a meaning, and every key is in the docs.
#[test]
fn every_key_is_documented() {
    fn walk(path: &str, schema: &serde_json::Value, root: &serde_json::Value, docs: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let target = property["$ref"].as_str().map(|r| &root.pointer(&r[1..]).expect("defined")["description"]);
            let constant = property.get("const").is_some();
            let meaning = property["description"].as_str().or(target.and_then(|t| t.as_str()));
            assert!(constant || meaning.is_some_and(|m| !m.is_empty()), "{path}.{name} has no description");
            assert!(
                constant || docs.contains(&format!("`{name}`")) || docs.contains(&format!("[{name}")),
                "{path}.{name}"
            );
        }
        for (i, variant) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
            walk(&format!("{path}<{i}>"), variant, root, docs);
        }
    }
    let (schema, docs) = (schema(), docs());
    walk("", &schema, &schema, &docs);
    let definitions = schema["$defs"].as_object().expect("definitions");
    assert!(definitions.len() > 10);
    for (name, definition) in definitions {
        walk(name, definition, &schema, &docs);
    }
}

#[test]
fn later_checks_find_their_line() {
    let loaded = example("orders.toml");
    let text = std::fs::read_to_string(crate_file("examples/orders.toml")).expect("read");
    let line_of = |start: &str| 1 + text.lines().position(|line| line.starts_with(start)).expect("line") as u32;
    let fault = loaded.fault_at("job.orders.operator[0].query", "no column named \"prize\"");
    assert_eq!((fault.line, fault.column), (line_of("query"), 9));
    assert!(fault.to_string().ends_with(": job.orders.operator[0].query: no column named \"prize\""));
    let fault = loaded.fault_at("job.orders.source.properties.\"client.id\"", "x");
    assert_eq!(fault.line, line_of("properties"));
    let above = loaded.fault_at("job.orders.source.group_protocol", "x");
    assert_eq!(above.line, line_of("[job.orders.source]"), "a key not in the file is found at its table");
    assert_eq!(loaded.fault_at("nowhere", "x").line, 1);
}

#[test]
fn postgres_loads() {
    let loaded = example("postgres.toml");
    assert_eq!(loaded.warnings, []);
    let job = &loaded.config.jobs["orders"];
    let Sink::Postgres(sink) = &job.sink else { panic!("postgres") };
    assert_eq!((sink.table.as_str(), sink.mode, sink.create), ("public.orders", PostgresMode::Upsert, true));
    assert_eq!((sink.key.as_slice(), sink.history), (&[Text::from("event_id")][..], Duration::from_secs(7 * 86_400)));
}
