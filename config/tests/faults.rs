//! Every kind of fault, with its place and words; all at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{faults, job, load};
use tidemill_config::{FaultKind, System};

#[test]
fn seven_faults_give_seven_messages() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let faults = tidemill_config::load(format!("{dir}/seven.toml").as_ref(), &System).expect_err("faults");
    let text: String = faults.iter().map(|fault| fault.to_string().replace(&format!("{dir}/"), "") + "\n").collect();
    let golden = format!("{dir}/seven.txt");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&golden, &text).expect("write");
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap_or_default());
    assert_eq!(faults.len(), 7);
}

/// `text` has exactly one fault, and it reads so.
#[track_caller]
fn one(text: &str, expected: &str) {
    let faults = faults(text);
    assert_eq!(faults, [expected], "in:\n{text}");
}

/// `text` has exactly one fault, and it has these words.
#[track_caller]
fn says(text: &str, part: &str) {
    let faults = faults(text);
    assert!(faults.len() == 1 && faults[0].contains(part), "expected {part:?} in {faults:#?}\n{text}");
}

#[test]
fn the_base_of_these_tests_has_no_fault() {
    assert!(load(&job("")).expect("loads").warnings.is_empty());
}

#[test]
fn syntax() {
    let faults = load("[job.a\nx = 1\ny = = 2\n").map(drop).expect_err("faults");
    assert!(faults.len() >= 2 && faults.iter().all(|f| f.kind == FaultKind::Syntax), "{faults:#?}");
    assert_eq!(faults[0].line, 1);
    one(&job("x = \""), "a.toml:5:6: not TOML: invalid basic string, expected `\"`");
    one("[job.a]\nsource = 1\nsource = 2\n", "a.toml:3:1: not TOML: duplicate key");
}

#[test]
fn unknown_keys() {
    one(&job("on_eror = \"skip\""), "a.toml:5:1: job.a.on_eror: unknown key; did you mean \"on_error\"");
    one(&job("max_age = \"5s\""), "a.toml:5:1: job.a.max_age: unknown key; it belongs to [job.a.window]");
    one(
        &job("[job.a.window]\ndelivery = \"exactly_once\""),
        "a.toml:6:1: job.a.window.delivery: unknown key; it belongs to [job.a]: write it above the tables inside [job.a]",
    );
    one(
        &job("[job.a.window]\n\"a.b\" = 1"),
        "a.toml:6:1: job.a.window.\"a.b\": unknown key; known here: freshness, idle, max_age, max_bytes, max_rows, tuning",
    );
    says(&format!("{}\n[deamon]\n", job("")), "did you mean \"daemon\"");
    says(
        &job("[[job.a.operator]]\ntype = \"sql\"\nquery = \"select * from input\"\nsql = 1"),
        "operator[0].sql: unknown key",
    );
}

#[test]
fn missing_keys() {
    one("", "a.toml:1:1: no job: expected at least one [job.NAME] table");
    assert_eq!(
        faults("[job.a]\n"),
        [
            "a.toml:1:6: job.a.format: missing; expected a table with a type of one of \"json\", \"raw\"",
            "a.toml:1:6: job.a.sink: missing; expected a table with a type of one of \"parquet\", \"ndjson\", \"delta\", \"iceberg\", \"postgres\", \"kafka\", \"stdout\", \"blackhole\"",
            "a.toml:1:6: job.a.source: missing; expected a table with a type of one of \"kafka\", \"generator\"",
        ]
    );
    says(&job("").replace("brokers = \"127.0.0.1:9092\", ", ""), "job.a.source.brokers: missing; expected a string");
    says(&job("").replace("type = \"parquet\", ", ""), "job.a.sink.type: missing; expected one of \"parquet\"");
    says(&job("").replace("name = \"x\", ", ""), "job.a.format.fields[0].name: missing");
}

#[test]
fn wrong_types() {
    for (more, message) in [
        ("on_error = 1", "job.a.on_error: expected one of \"fail\", \"skip\", \"dead_letter\", found 1"),
        ("max_errors_per_minute = \"9\"", "expected an integer, found \"9\"; leave out the quotes"),
        ("max_errors_per_minute = 1.5", "expected an integer, found the number 1.5"),
        ("window = 1", "job.a.window: expected a table, found 1"),
        ("operator = { type = \"sql\" }", "job.a.operator: expected an array, found a table"),
        ("operator = [1]", "job.a.operator[0]: expected a table with a type of \"sql\", found 1"),
        ("window.max_age = 5", "found 5; a duration needs a unit, in quotes"),
        (
            "window.max_bytes = 1.5",
            "expected a size such as \"256MiB\", \"1MB\" or a number of bytes, found the number 1.5",
        ),
        ("window.max_age = 2026-01-01", "found the time 2026-01-01"),
        ("window.max_rows = [1]", "expected an integer, found an array"),
    ] {
        says(&job(more), message);
    }
    says(&job("").replace("topics = [\"t\"]", "topics = \"t\""), "job.a.source.topics: expected an array, found \"t\"");
    says(
        &job("").replace("topics = [\"t\"]", "topics = [\"t\", true]"),
        "job.a.source.topics[1]: expected a string, found true",
    );
    says("job = 1", "job: expected a table, found 1");
    says("[job]\na = 1", "job.a: expected a table, found 1");
    let source = "topics = [\"t\"], unsafe_properties = \"true\"";
    says(&job("").replace("topics = [\"t\"]", source), "expected true or false, found \"true\"; leave out the quotes");
    let source = "topics = [\"t\"], properties = { client.id = \"x\" }";
    says(&job("").replace("topics = [\"t\"]", source), "a name with dots needs quotes, as in \"client.id\" = …");
}

#[test]
fn bad_values() {
    for (more, message) in [
        ("on_error = \"ignore\"", "expected one of \"fail\", \"skip\", \"dead_letter\", found \"ignore\""),
        ("on_error = \"dead-letter\"", "; did you mean \"dead_letter\""),
        ("max_errors_per_minute = 0", "expected an integer of 1 or more, found 0"),
        (
            "max_errors_per_minute = 99999999999999999999",
            "expected an integer of 1 or more, found 99999999999999999999",
        ),
        ("window.max_rows = 0", "job.a.window.max_rows: expected an integer of 1 or more, found 0"),
        ("window.max_rows = -5", "found -5"),
        ("window.max_age = \"5 sek\"", "found \"5 sek\"; unknown unit \"sek\"; did you mean \"s\""),
        ("window.max_age = \"0s\"", "job.a.window.max_age: expected more than no time, found 0"),
        ("window.idle = \"0ms\"", "job.a.window.idle: expected more than no time, found 0"),
        ("window.max_bytes = \"5 MiX\"", "unknown unit \"MiX\""),
        ("window.max_bytes = 0", "job.a.window.max_bytes: expected at least 1 byte, found 0"),
        ("window.max_bytes = -1", "expected an integer of 0 or more, found -1"),
        ("[daemon]\nmemory = \"31MiB\"", "daemon.memory: expected at least \"32MiB\", found \"31MiB\""),
        ("[daemon]\nhttp = \"9464\"", "daemon.http: expected an address"),
        (
            "[daemon]\ninstance = \"a/b\"",
            "daemon.instance: expected a name of 1 to 63 characters of a-z, A-Z, 0-9, '.', _ and -, found \"a/b\"; it has '/'",
        ),
        ("[daemon]\nstate_dir = \"\"", "daemon.state_dir: expected a value, found an empty string"),
        ("[daemon]\nstall_after = \"0s\"", "daemon.stall_after"),
        ("[daemon]\ndisk_reserve = \"1 gig\"", "daemon.disk_reserve"),
        ("[daemon]\ndisk_reserve = -1", "daemon.disk_reserve"),
        (
            "[[job.a.operator]]\ntype = \"sq\"",
            "job.a.operator[0].type: expected \"sql\", found \"sq\"; did you mean \"sql\"",
        ),
        ("[[job.a.operator]]\ntype = \"sql\"\nquery = \" \"", "found an empty query"),
        (
            "[[job.a.operator]]\ntype = \"sql\"\nquery = \"SELECT 1 FROM inputs\"",
            "job.a.operator[0].query: expected a SELECT from the table input, which the query never names",
        ),
    ] {
        says(&job(more), message);
    }
    says(
        &job("").replace("job.a", "job.Orders"),
        "job.Orders: expected a job's name of 1 to 63 characters of a-z, 0-9, _ and -, found \"Orders\"; it has 'O'",
    );
}

#[test]
fn kafka() {
    let with = |topics: &str| job("").replace("topics = [\"t\"]", topics);
    for (source, message) in [
        ("topics = []", "job.a.source.topics: expected at least one element, found an empty array"),
        ("topics = [\"a b\"]", "job.a.source.topics[0]: expected a name of up to 249"),
        ("topics = [\"^(a\"]", "expected a regular expression (unclosed group), found \"^(a\""),
        ("topics = ['^a\\d']", "has no \"\\\\d\": write [0-9]"),
        ("topics = [\"t\", \"t\"]", "job.a.source.topics[1]: the topic \"t\" is given a second time"),
        ("topics = [\"t\"], start = \"erliest\"", "found \"erliest\"; did you mean \"earliest\""),
        (
            "topics = [\"t\"], start = \"2026-01-01\"",
            "job.a.source.start: expected \"earliest\", \"latest\", \"committed\", an RFC 3339 time",
        ),
        ("topics = [\"t\"], start = 2026-01-01T00:00:00", "found the time 2026-01-01T00:00:00; as a time"),
        (
            "topics = [\"t\"], until = \"latest\"",
            "job.a.source.until: expected \"end\", an RFC 3339 time such as \"2026-01-31T00:00:00Z\", or a table of \
             offsets such as { \"topic/0\" = 1000 }, found \"latest\"",
        ),
        (
            "topics = [\"t\"], until = { \"t/x\" = 1 }",
            "job.a.source.until.\"t/x\": expected a partition as \"TOPIC/NUMBER\", or with one topic its number, found \
             \"t/x\"; the partition's number is missing",
        ),
        ("topics = [\"t\"], until = { \"t/0\" = -1 }", "job.a.source.until.\"t/0\": expected an integer of 0 or more"),
        ("topics = [\"t\"], until = { 0 = \"5\" }", "expected an integer, found \"5\"; leave out the quotes"),
        ("topics = [\"t\"], until = {}", "job.a.source.until: expected at least one partition"),
        ("topics = [\"t\"], start = {}", "job.a.source.start: expected at least one partition"),
        ("topics = [\"t\"], until = { \"u/0\" = 1 }", "job.a.source.until.\"u/0\": `topics` has no such topic"),
        ("topics = [\"^t.*\"], until = { \"u/0\" = 1 }", "job.a.source.until.\"u/0\": `topics` has no such topic"),
        ("topics = [\"t\", \"u\"], until = { 0 = 1 }", "job.a.source.until.0: which topic?"),
        ("topics = [\"^t\"], start = { 0 = 1 }", "job.a.source.start.0: which topic?"),
        ("topics = [\"t\"], until = { 0 = 1, \"t/0\" = 1 }", "job.a.source.until.\"t/0\": the same partition as \"0\""),
        (
            "topics = [\"t\"], start = { 0 = 10 }, until = { 0 = 9 }",
            "job.a.source.until.0: expected an offset of 10 or more, which is this partition's `start`, found 9",
        ),
        (
            "topics = [\"t\"], start = { 0 = 10, 1 = 10 }, until = { 0 = 10 }",
            "job.a.source.start.1: `until` does not name this partition",
        ),
        (
            "topics = [\"t\"], start = 2026-01-02T00:00:00Z, until = 2026-01-02T00:00:00Z",
            "job.a.source.until: expected a time after `start` (2026-01-02T00:00:00Z)",
        ),
        ("topics = [\"t\"], on_data_loss = \"skip\"", "expected one of \"fail\", \"continue\""),
        ("topics = [\"t\"], consumer_group = \"\"", "job.a.source.consumer_group: expected a value"),
        (
            "topics = [\"t\"], group_protocol = \"consumer\", static_membership = true",
            "job.a.source.static_membership: not with",
        ),
        (
            "topics = [\"t\"], properties = { \"client.id\" = [] }",
            "expected a string, an integer or a boolean, found an array",
        ),
    ] {
        says(&with(source), message);
    }
    says(
        &job("").replace("127.0.0.1:9092", "127.0.0.1:9092, kafka"),
        "job.a.source.brokers: expected \"HOST:PORT\", several with commas between; the port is missing in \"kafka\"",
    );
    let start = with(
        "topics = [\"t\"], start = 2026-01-01T00:00:00Z, properties = { \"session.timeout.ms\" = 9000, \"x\" = true }",
    );
    let loaded = load(&start).expect("TOML's own times, integers and booleans are taken");
    let tidemill_config::Source::Kafka(kafka) = &loaded.config.jobs["a"].source else { panic!("kafka") };
    assert_eq!(kafka.start.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!((&*kafka.properties["session.timeout.ms"], &*kafka.properties["x"]), ("9000", "true"));
    let loaded = load(&with("topics = [\"t\"], group_protocol = \"consumer\"")).expect("loads");
    let tidemill_config::Source::Kafka(kafka) = &loaded.config.jobs["a"].source else { panic!("kafka") };
    assert!(!kafka.static_membership);
}

#[test]
fn columns() {
    let fields = |fields: &str| job("").replace("[{ name = \"x\", type = \"int64\" }]", fields);
    for (text, message) in [
        ("[]", "job.a.format.fields: expected at least one element"),
        ("[{ name = \"\", type = \"int8\" }]", "fields[0].name: expected a name"),
        (
            "[{ name = \"x\", type = \"int8\" }, { name = \"x\", type = \"int8\" }]",
            "fields[1].name: a second field named \"x\"",
        ),
        (
            "[{ name = \"x\", type = \"int46\" }]",
            "fields[0].type: expected a type such as \"int64\", \"timestamp(us)\", \"decimal(10,2)\", \"list<string>\" or \"struct\", found \"int46\"; did you mean \"int64\"",
        ),
        ("[{ name = \"x\", type = \"decimal(3,4)\" }]", "the scale 4 is larger than the precision 3"),
        ("[{ name = \"x\", type = \"struct\" }]", "fields[0].type: a struct needs fields"),
        ("[{ name = \"x\", type = \"list<struct>\", fields = [] }]", "fields[0].type: a struct needs fields"),
        (
            "[{ name = \"x\", type = \"int8\", fields = [{ name = \"y\", type = \"int8\" }] }]",
            "fields[0].fields: only a struct has fields, and the type is \"int8\"",
        ),
        (
            "[{ name = \"x\", type = \"struct\", fields = [{ name = \"y\", type = \"int8\" }, { name = \"y\", type = \"int8\" }] }]",
            "fields[0].fields[1].name: a second field named \"y\"",
        ),
        (
            "[{ name = \"_key\", type = \"int8\" }], metadata = [\"key\"]",
            "fields[0].name: the metadata column \"_key\" has this name",
        ),
        (
            "[{ name = \"x\", type = \"int8\" }], metadata = [\"key\", \"key\"]",
            "format.metadata[1]: given a second time",
        ),
        ("[{ name = \"x\", type = \"int8\" }], metadata = [\"_key\"]", "format.metadata[0]: expected one of \"topic\""),
        (
            "[{ name = \"x\", type = \"int8\" }], max_record_bytes = 0",
            "format.max_record_bytes: expected at least 1 byte",
        ),
        (
            "[{ name = \"x\", type = \"int8\" }], max_record_bytes = \"2GiB\"",
            "format.max_record_bytes: expected at most \"1GiB\"",
        ),
    ] {
        says(&fields(text), message);
    }
    let sink = |more: &str| job("").replace("path = \"./out\"", &format!("path = \"./out\", {more}"));
    says(&sink("partition_by = [\"y\"]"), "job.a.sink.partition_by[0]: no column is named \"y\"; did you mean \"x\"");
    says(&sink("partition_by = [\"country\"]"), "no column is named \"country\"; known: x");
    says(&sink("partition_by = [\"x\"]"), "takes every column");
    says(&sink("file_size = 0"), "job.a.sink.file_size: expected at least 1 byte");
    says(&sink("file_size = \"5GiB\""), "job.a.sink.file_size: expected at most \"4GiB\"");
    let query = "[[job.a.operator]]\ntype = \"sql\"\nquery = \"SELECT x, 1 AS country FROM input\"";
    assert!(
        load(&(sink("partition_by = [\"country\"]") + query)).is_ok(),
        "the query makes the columns: not known here"
    );
}

#[test]
fn parts_that_do_not_go_together() {
    let dead = "[job.a.dead_letter]\ntype = \"parquet\"\npath = \"./dead\"\n";
    says(&job("on_error = \"dead_letter\""), "job.a.on_error: \"dead_letter\" needs a [job.a.dead_letter] table");
    says(&job(&format!("on_error = \"skip\"\n{dead}")), "job.a.dead_letter: without effect");
    let loaded = load(&job(dead)).expect("loads");
    assert_eq!(loaded.config.jobs["a"].on_error, tidemill_config::OnError::DeadLetter, "its default with the table");

    for (path, ok) in [("./out/dead", false), ("out", false), (".", false), ("./x/../out/b", false), ("./output", true)]
    {
        let result = load(&job(&dead.replace("./dead", path)));
        assert_eq!(result.is_ok(), ok, "{path}");
        if let Err(faults) = result {
            assert!(faults[0].to_string().contains("job.a.dead_letter.path: the dead letters' folder"), "{faults:#?}");
        }
    }

    let stdout = |more: &str| job(more).replace("{ type = \"parquet\", path = \"./out\" }", "{ type = \"stdout\" }");
    one(
        &stdout(""),
        "a.toml:4:17: job.a.sink.type: the sink \"stdout\" holds no positions and cannot be exactly-once; \
         write delivery = \"at_least_once\" in [job.a], or take another sink",
    );
    assert!(load(&stdout("delivery = \"at_least_once\"")).is_ok());
    says(
        &job("dead_letter = { type = \"blackhole\" }"),
        "job.a.dead_letter.type: the dead_letter \"blackhole\" holds no positions",
    );

    says(
        &job("").replace("./out", "hdfs://lake/out"),
        "job.a.sink.path: expected a local folder or s3://, gs:// or az://bucket/prefix, found \"hdfs://lake/out\"",
    );
    says(&job("").replace("./out", "s3:///out"), "found \"s3:///out\"; the bucket is missing");
    assert!(load(&job("").replace("./out", "s3://lake/out")).is_ok());
    says(&job("").replace("./out", ""), "job.a.sink.path: expected a value");
}

#[test]
fn jobs_beside_each_other() {
    let two = job("") + &job("").replace("job.a", "job.b");
    assert_eq!(load(&two).expect("the same sink path is allowed").config.jobs.len(), 2);
    let grouped = two.replace("topics = [\"t\"]", "topics = [\"t\"], consumer_group = \"g\"");
    says(&grouped, "job.b.source.consumer_group: the consumer group \"g\" is also that of job \"a\"");
    let dead = job("dead_letter = { type = \"parquet\", path = \"./b/dead\" }")
        + &job("").replace("job.a", "job.b").replace("./out", "./b");
    says(
        &dead,
        "job.a.dead_letter.path: the dead letters' folder \"./b/dead\" and the folder \"./b\" of job.b.sink.path",
    );
}

#[test]
fn faults_of_shape_and_of_rules_come_together_and_once() {
    let text = job("on_error = \"dead_letter\"\nwindow.max_age = \"5\"\nwindow.idle = \"1s\"")
        .replace("type = \"json\"", "type = \"jsn\"")
        .replace("path = \"./out\"", "path = \"./out\", partition_by = [\"z\"]");
    let faults = faults(&text);
    assert_eq!(faults.len(), 3, "nothing follows from a fault already said: {faults:#?}");
}

#[test]
fn files_and_folders() {
    let dir = tempfile::tempdir().expect("dir");
    let load = |name: &str| tidemill_config::load(&dir.path().join(name), &System).map(drop).expect_err("faults");
    let faults = load("nope.toml");
    assert_eq!((faults.len(), faults[0].kind), (1, FaultKind::File));
    assert!(load("")[0].message.contains("no *.toml file"));
    std::fs::write(dir.path().join("a.toml"), b"[job.a]\nx = \"\xff\"\n").expect("write");
    assert_eq!((load("a.toml")[0].line, load("a.toml")[0].column), (2, 6), "not UTF-8");
    std::fs::write(dir.path().join("b.toml"), job("[daemon]\n") + "max_age = 1\n").expect("write");
    std::fs::write(dir.path().join("c.toml"), "[daemon]\n").expect("write");
    let faults = load("");
    assert_eq!(faults.len(), 3, "each file says its own: {faults:#?}");
    assert!(
        faults[2].message.contains("given a second time; the first is at") && faults[2].message.contains("b.toml:5:2")
    );
}

#[test]
fn warnings_do_not_stop() {
    let loaded = load(&job("window = { max_age = \"1s\", idle = \"1s\" }")).expect("loads");
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].kind, FaultKind::NoEffect);
    assert!(loaded.warnings[0].to_string().contains("job.a.window.idle: without effect"));
}

#[test]
fn depth_has_a_fault_of_its_own() {
    let field = |inner: &str| format!("{{ name = \"x\", type = \"struct\", fields = [{inner}] }}");
    let nested = (0..30).fold("{ name = \"x\", type = \"int8\" }".to_owned(), |inner, _| field(&inner));
    says(
        &job("").replace("{ name = \"x\", type = \"int64\" }", &nested),
        "expected at most 48 tables and arrays inside each other",
    );
    // As deep as keys with dots and brackets together can make it.
    let keys = ["a"; 17].join(".");
    let worst = format!("[{keys}]\n{}1{}", format!("{keys} = {{ ").repeat(78), " }".repeat(78));
    says(&(job("") + &worst.replace("{ 1", "1").replacen(" }", "", 1)), "a: unknown key");
}

/// What later checks need to know: which parts are as the file says.
#[test]
fn sound_parts_are_told_from_others() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("a.toml");
    std::fs::write(
        &path,
        job("window.max_age = 1\non_error = \"dead_letter\"").replace("path = \"./out\"", "pth = \"./out\""),
    )
    .expect("write");
    let checked = tidemill_config::check(&path, &System);
    assert_eq!(checked.faults.len(), 4, "{:#?}", checked.faults);
    for (key, sound) in [
        ("job.a.format", true),
        ("job.a.operator", true),
        ("job.a.source.properties", true),
        ("job.a.sink", false),
        ("job.a.sink.path", false),
        ("job.a.window.max_age", false),
        ("job.a.window.max_rows", true),
        ("job.a.on_error", false),
        ("job.a", false),
        ("daemon", true),
    ] {
        assert_eq!(checked.is_sound(key), sound, "{key}");
    }
    assert!(
        matches!(&checked.loaded.config.jobs["a"].format, tidemill_config::Format::Json(json) if json.fields.len() == 1)
    );
    assert!(checked.into_result().is_err());
}

/// A configuration with an S3 sink and the object store that it names.
fn stored(path: &str, name: &str, storage: &str) -> String {
    let sink = format!("path = \"{path}\", storage = \"{name}\"");
    format!("{}\n[storage.lake]\ntype = \"s3\"\n{storage}\n", job("").replace("path = \"./out\"", &sink))
}

#[test]
fn delta() {
    let sink = |more: &str| job("").replace("type = \"parquet\", path", &format!("type = \"delta\",{more} uri"));
    assert!(load(&sink("")).is_ok());
    says(&sink("").replace("./out", "hdfs://lake"), "job.a.sink.uri: expected a local folder or s3://, gs:// or");
    says(&sink("schema_evolution = \"ad\","), "job.a.sink.schema_evolution: expected one of \"strict\", \"add\"");
    says(&sink("checkpoint_every = 0,"), "job.a.sink.checkpoint_every: expected an integer of 1 or more");
    says(&sink("partition_by = [\"z\"],"), "job.a.sink.partition_by[0]: no column is named \"z\"");
    says(&sink("storage = \"lake\","), "job.a.sink.storage: no [storage.NAME] table is named \"lake\"; there is none");
    let dead = sink("").replace("sink = {", "dead_letter = { type = \"ndjson\", path = \"./out/x\" }\nsink = {");
    says(
        &dead,
        "job.a.dead_letter.path: the dead letters' folder \"./out/x\" and the folder \"./out\" of job.a.sink.uri",
    );
}

#[test]
fn object_stores() {
    let fine = "endpoint = \"http://127.0.0.1:9090\"\nallow_http = true\nregion = \"us-east-1\"";
    let loaded = load(&stored("s3://lake/out", "lake", fine)).expect("loads");
    assert_eq!(loaded.warnings, []);
    says(
        &stored("s3://lake/out", "lade", fine),
        "job.a.sink.storage: no [storage.NAME] table is named \"lade\"; did you mean \"lake\"",
    );
    says(&stored("s3://lake/out", "archive", fine), "named \"archive\"; there are lake");
    let other = |path: &str, storage: &str| stored(path, "lake", "").replace("type = \"s3\"", storage);
    let gcs = "type = \"gcs\"\ncredentials_path = \"./key.json\"";
    assert!(load(&other("gs://lake/out", gcs)).is_ok());
    assert!(load(&other("az://lake/out", "type = \"azure\"\naccount = \"a\"\naccess_key = \"k\"")).is_ok());
    says(&other("s3://lake/out", gcs), "job.a.sink.storage: is reached with gs://…, and the place begins with s3://");
    let alone = "type = \"azure\"\naccess_key = \"k\"";
    says(&other("az://lake/out", alone), "storage.lake.access_key: needs account");
    let plain = "type = \"gcs\"\nendpoint = \"http://x\"";
    says(&other("gs://lake/out", plain), "storage.lake.endpoint: is without TLS");
    says(&stored("./out", "lake", fine), "job.a.sink.storage: without effect on a local folder");
    says(
        &stored("s3://lake/out", "lake", "endpoint = \"http://127.0.0.1:9090\""),
        "storage.lake.endpoint: is without TLS: expected https://…, or allow_http = true beside it",
    );
    says(&stored("s3://lake/out", "lake", "endpoint = \"127.0.0.1:9090\""), "expected https://host:port");
    says(
        &stored("s3://lake/out", "lake", "access_key_id = \"a\""),
        "storage.lake.access_key_id: needs secret_access_key",
    );
    says(
        &stored("s3://lake/out", "lake", "secret_access_key = \"a\""),
        "storage.lake.secret_access_key: needs access_key_id",
    );
    says(&stored("s3://lake/out", "lake", "regoin = \"a\""), "did you mean \"region\"");
    let other = stored("s3://lake/out", "lake", fine).replace("\"s3\"", "\"hdfs\"");
    says(&other, "storage.lake.type: expected one of \"s3\", \"gcs\", \"azure\"");
    let unused = job("") + "\n[storage.lake]\ntype = \"s3\"\n";
    let warnings = load(&unused).expect("loads").warnings;
    assert!(warnings[0].to_string().contains("storage.lake: no sink and no dead letter names it"), "{warnings:?}");
    let dead = "dead_letter = { type = \"ndjson\", path = \"s3://lake/out/dead\" }";
    says(
        &job(dead).replace("./out", "s3://lake/out"),
        "the dead letters' folder \"s3://lake/out/dead\" and the folder",
    );
}
