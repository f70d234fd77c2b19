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
        let out = tidemill(&["check", &path.to_string_lossy()]);
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
