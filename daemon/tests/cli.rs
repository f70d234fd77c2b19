//! The command line as a user has it.

use std::process::{Command, Output};

fn tidemill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill")).args(arguments).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn seven_faults_get_seven_messages_and_exit_code_2() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/tests/data/seven.toml");
    let out = tidemill(&["check", file]);
    assert_eq!(out.status.code(), Some(2));
    let faults = text(&out.stderr);
    assert_eq!(faults.lines().filter(|l| l.contains("seven.toml:")).count(), 7, "{faults}");
    assert!(faults.contains("7 faults"), "{faults}");
}

#[test]
fn a_fault_in_a_query_points_into_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("q.toml");
    let config = include_str!("../../config/examples/orders.toml").replace("price > 0", "prise > 0");
    std::fs::write(&file, config).expect("written");
    let out = tidemill(&["check", &file.to_string_lossy()]);
    let faults = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{faults}");
    assert!(faults.contains("q.toml:") && faults.contains("job.orders.operator[0].query"), "{faults}");
    assert!(faults.contains("prise") && faults.contains("price"), "{faults}");
}

#[test]
fn the_examples_are_right() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/examples")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let out =
            Command::new(env!("CARGO_BIN_EXE_tidemill")).arg("check").arg(&path).envs(keys).output().expect("runs");
        assert_eq!(out.status.code(), Some(0), "{}: {}", path.display(), text(&out.stderr));
    }
}

#[test]
fn schema_and_wrong_words() {
    let out = tidemill(&["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(schema["properties"]["job"].is_object());
    assert_eq!(tidemill(&["rum"]).status.code(), Some(2));
    assert_eq!(tidemill(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_bounded_job_runs_to_its_end_and_a_second_run_has_nothing_to_do() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().display();
    let config = format!(
        "[daemon]\nstate_dir = \"{root}/state\"\nhttp = \"127.0.0.1:0\"\n\
         [job.clicks.source]\ntype = \"generator\"\nrecords = 20000\n\
         [job.clicks.format]\ntype = \"json\"\nfields = [{{ name = \"seq\", type = \"int64\", nullable = false }}]\nmetadata = [\"partition\", \"offset\"]\n\
         [job.clicks.sink]\ntype = \"parquet\"\npath = \"{root}/out\"\n"
    );
    let file = dir.path().join("c.toml");
    std::fs::write(&file, config).expect("written");
    let file = file.to_string_lossy().into_owned();
    for _ in 0..2 {
        let out = tidemill(&["run", "--config", &file]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    }
    let out = tidemill(&["positions", "clicks", "--config", &file]);
    assert_eq!(text(&out.stdout), "clicks/0 5000\nclicks/1 5000\nclicks/2 5000\nclicks/3 5000\n");

    let out = tidemill(&["positions", "clicks", "--config", &file, "--set", "1=4990", "--yes"]);
    assert!(text(&out.stdout).contains("clicks/1 5000 -> 4990  (10 offsets come again"), "{out:?}");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let out = tidemill(&["run", "--config", &file]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&tidemill(&["positions", "clicks", "--config", &file]).stdout).contains("clicks/1 5000\n"));

    let rows: i64 = parquet_rows(&dir.path().join("out"));
    assert_eq!(rows, 20_010, "the ten that a person asked for again, and nothing else");
}

/// A bounded job with dead letters in `dir`, whose config file is answered.
fn bounded_job(dir: &std::path::Path, sink: &str) -> String {
    let root = dir.display();
    let config = format!(
        "[daemon]\nstate_dir = \"{root}/state\"\nhttp = \"127.0.0.1:0\"\n\
         [job.clicks]\non_error = \"dead_letter\"\n\
         [job.clicks.source]\ntype = \"generator\"\nrecords = 4000\npartitions = 2\n\
         [job.clicks.format]\ntype = \"json\"\nfields = [{{ name = \"seq\", type = \"int64\" }}]\n\
         [job.clicks.window]\nmax_rows = 500\n\
         [job.clicks.dead_letter]\ntype = \"ndjson\"\npath = \"{root}/rejected\"\n\
         [job.clicks.sink]\n{sink}\n"
    );
    let file = dir.join("c.toml");
    std::fs::write(&file, config).expect("written");
    file.to_string_lossy().into_owned()
}

/// The log records of the job's main sink that moved rows, in order.
fn records(root: &std::path::Path) -> Vec<(std::path::PathBuf, serde_json::Value)> {
    let mut all: Vec<_> = std::fs::read_dir(root.join("out/_tidemill/clicks/log"))
        .expect("a log")
        .map(|e| e.expect("an entry").path())
        .map(|p| (p.clone(), serde_json::from_slice(&std::fs::read(p).expect("read")).expect("JSON")))
        .filter(|(_, record): &(_, serde_json::Value)| record["cause"] == "commit")
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn verify_proves_a_log_and_names_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let file = bounded_job(root, &format!("type = \"parquet\"\npath = \"{}/out\"", root.display()));
    let verify = |more: &[&str]| {
        let out = tidemill(&[&["verify", "clicks", "--config", &file], more].concat());
        (out.status.code(), text(&out.stdout))
    };
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "nothing is there yet: {said}");
    assert!(said.contains("broken: no commit of this job is there"), "{said}");

    let out = tidemill(&["run", "--config", &file]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("proven: 4000 rows in "), "{said}");
    assert!(said.contains("dead_letter of job clicks") && said.contains("newest data: commit "), "{said}");

    let out = tidemill(&["positions", "clicks", "--config", &file, "--set", "1=1990", "--yes"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(0), "a person's reset is no flaw: {said}");
    assert!(said.contains("set the position back from 2000 to 1990"), "{said}");
    assert_eq!(tidemill(&["run", "--config", &file]).status.code(), Some(0));

    let (code, said) = verify(&["--json"]);
    assert_eq!(code, Some(0), "{said}");
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&json["verdict"], &json["sinks"][0]["rows"]), (&"proven".into(), &4010.into()));
    assert_eq!(json["sinks"][0]["partitions"][1]["resets"][0]["to"], 1990);

    // A record that moved something is gone: a gap.
    let all = records(root);
    assert!(all.len() >= 4, "{} commits", all.len());
    let (path, record) = &all[1];
    let bytes = std::fs::read(path).expect("read");
    std::fs::remove_file(path).expect("removed");
    let (code, said) = verify(&[]);
    let n = record["n"].as_u64().expect("a number");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("broken: clicks/") && said.contains("gap: offsets ["), "{said}");
    assert!(said.contains(&format!("(commit {} ends at", n - 1)), "the commits are named: {said}");

    // It is back, and starts before the one before it ended: an overlap.
    let mut other = record.clone();
    let start = other["ranges"][0]["start"].as_i64().expect("a start");
    other["ranges"][0]["start"] = (start - 7).into();
    std::fs::write(path, serde_json::to_vec(&other).expect("JSON")).expect("written");
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "{said}");
    let overlap = format!("overlap: offsets [{}, {start}) are in two commits", start - 7);
    assert!(said.contains(&overlap) && said.contains(&format!("commit {n} starts at")), "{said}");
    std::fs::write(path, bytes).expect("written");
    assert_eq!(verify(&[]).0, Some(0));

    // The first record of a run moves nothing; that it is missing does not show in the offsets.
    std::fs::remove_file(root.join("out/_tidemill/clicks/log/00000000000000000001.json")).expect("removed");
    let (code, said) = verify(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("log record 1 is missing"), "{said}");

    std::fs::remove_dir_all(root.join("out/_tidemill")).expect("removed");
    assert_eq!(verify(&[]).0, Some(1), "no log at all");
}

#[test]
fn a_query_over_windows_that_fails_is_named_with_its_window() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path();
    let file = bounded_job(root, &format!("type = \"ndjson\"\npath = \"{}/out\"", root.display()));
    let operator = "[[job.clicks.operator]]\ntype = \"sql\"\nquery = \"SELECT sum(10 / (seq - 7)) AS s FROM input\"\n";
    let settings = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{settings}{operator}")).expect("written");
    let out = tidemill(&["run", "--config", &file]);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.to_lowercase().contains("divide by zero"), "{said}");
    assert!(said.contains("in the query `SELECT sum(10 / (seq - 7)) AS s FROM input`"), "{said}");
    assert!(said.contains("over the window of clicks/") && said.contains("tidemill positions JOB --set P=N"), "{said}");
}

#[test]
fn offsets_prove_nothing_about_a_sink_that_keeps_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = bounded_job(dir.path(), "type = \"blackhole\"");
    let settings = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, settings.replace("[job.clicks]\n", "[job.clicks]\ndelivery = \"at_least_once\"\n"))
        .expect("written");
    assert_eq!(tidemill(&["run", "--config", &file]).status.code(), Some(0));
    let out = tidemill(&["verify", "clicks", "--config", &file]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(text(&out.stdout).contains("not provable from offsets: a black hole keeps nothing"), "{out:?}");
}

fn parquet_rows(folder: &std::path::Path) -> i64 {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        .map(|p| {
            let file = std::fs::File::open(p).expect("opens");
            SerializedFileReader::new(file).expect("whole").metadata().file_metadata().num_rows()
        })
        .sum()
}
