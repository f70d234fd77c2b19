//! Bento: a Go program that never ends, so what it wrote is watched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use parquet::file::metadata::ParquetMetaDataReader;
use tidemill_integration_tests::jars;
use tidemill_integration_tests::process::tail;

use super::{Output, Task, visible_files};
use crate::binaries::LIMIT;
use crate::measure::Usage;
use crate::topic::Ends;
use crate::tree;
use crate::workload::Workload;

/// Its version, as in `go.mod`.
pub const VERSION: &str = "1.20.0";

const SOURCES: [(&str, &str); 3] = [
    ("main.go", include_str!("../../peers/bento/main.go")),
    ("go.sum", include_str!("../../peers/bento/go.sum")),
    // Written last: it says that the binary beside it is whole.
    ("go.mod", include_str!("../../peers/bento/go.mod")),
];
const W1: &str = include_str!("../../peers/bento/w1.yaml");
const W2: &str = include_str!("../../peers/bento/w2.yaml");
const W3: &str = include_str!("../../peers/bento/w3.yaml");

/// What a line of its log has when a message could not be processed, by `error_handling` in the configs.
const FAILED: &str = "failed processing";

/// The binary in the cache, compiled there at the first call on a machine, with all that was downloaded for it. Processes
/// that ask at the same time wait for the first.
pub(super) fn compiled() -> Result<PathBuf> {
    let cache = jars::cache()?;
    let folder = cache.join(format!("peer-bento-{VERSION}"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock_path = cache.join(format!("peer-bento-{VERSION}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("cannot make {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    let binary = folder.join("bento");
    let same = |(name, text): &(&str, &str)| fs::read_to_string(folder.join(name)).is_ok_and(|found| found == *text);
    if binary.is_file() && SOURCES.iter().all(same) {
        return Ok(binary);
    }
    let building = tempfile::tempdir_in(&folder)?;
    for (name, text) in SOURCES {
        fs::write(building.path().join(name), text)?;
    }
    let out = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-modcacherw", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(building.path())
        .env("GOPATH", cache.join("go"))
        .env("GOCACHE", cache.join("go-build"))
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .output()
        .context("cannot run go; Bento needs Go 1.26.5 or later")?;
    if !out.status.success() {
        bail!("go cannot build Bento:\n{}", String::from_utf8_lossy(&out.stderr));
    }
    for (name, text) in SOURCES {
        fs::write(folder.join(name), text)?;
    }
    Ok(binary)
}

/// Measures it until it has written all, then ends it orderly.
pub(super) fn run(binary: &Path, task: &Task<'_>, output: &Output, log: &Path) -> Result<Usage> {
    let settings = task.home.join("bento.yaml");
    fs::write(&settings, config(task, &output.name(), std::thread::available_parallelism()?.get()))?;
    let mut command = Command::new(binary);
    command.arg("-c").arg(settings).current_dir(task.home);
    let expected = if task.workload == Workload::W1 { task.totals.records } else { task.totals.purchases };
    let mut written = Written::of(output, task)?;
    let mut done = || {
        failure(log)?;
        Ok(written.so_far()? >= expected)
    };
    tree::run(command, log, LIMIT, Some(&mut done))
}

fn config(task: &Task<'_>, out: &str, cores: usize) -> String {
    let template = match task.workload {
        Workload::W1 => W1,
        Workload::W2 => W2,
        Workload::W3 => W3,
    };
    let with = [
        ("{brokers}", task.brokers),
        ("{topic}", task.topic),
        ("{name}", &task.home.file_name().unwrap_or_default().to_string_lossy()),
        ("{home}", &task.home.display().to_string()),
        ("{out}", out),
        ("{cores}", &cores.to_string()),
    ];
    with.iter().fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
}

/// A message that failed is tried for ever: nobody is to wait for that.
fn failure(log: &Path) -> Result<()> {
    let said = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    if String::from_utf8_lossy(&said).contains(FAILED) {
        bail!("it could not process a message:\n{}", tail(log, 3));
    }
    Ok(())
}

/// What has been written by now.
enum Written {
    Files { folder: PathBuf, whole: BTreeSet<PathBuf>, rows: u64 },
    Messages(Ends),
}

impl Written {
    fn of(output: &Output, task: &Task<'_>) -> Result<Self> {
        Ok(match output {
            Output::Folder(folder) => Self::Files { folder: folder.clone(), whole: BTreeSet::new(), rows: 0 },
            Output::Topic(name) => Self::Messages(Ends::of(task.brokers, name)?),
        })
    }

    /// Rows or messages. Files are written under the names they keep: one without a footer is not whole yet.
    fn so_far(&mut self) -> Result<u64> {
        match self {
            Self::Messages(ends) => ends.messages(),
            Self::Files { folder, whole, rows } => {
                if folder.is_dir() {
                    for path in
                        visible_files(folder)?.into_iter().filter(|path| !whole.contains(path)).collect::<Vec<_>>()
                    {
                        if let Ok(footer) = ParquetMetaDataReader::new().parse_and_finish(&File::open(&path)?) {
                            *rows += u64::try_from(footer.file_metadata().num_rows())?;
                            whole.insert(path);
                        }
                    }
                }
                Ok(*rows)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::clicks::Totals;

    #[test]
    fn the_version_is_that_of_the_module() {
        let (_, module) = SOURCES.last().expect("go.mod");
        assert!(module.contains(&format!("require github.com/warpstreamlabs/bento v{VERSION}\n")), "{module}");
    }

    #[test]
    fn nothing_is_left_open_in_a_config() {
        for workload in [Workload::W1, Workload::W2, Workload::W3] {
            let task = Task {
                workload,
                brokers: "127.0.0.1:9092",
                topic: "clicks",
                totals: &Totals::default(),
                home: Path::new("/home/clicks-bento-1"),
                memory: "128MiB",
                times: 1,
            };
            let text = config(&task, "out-1", 7);
            for open in ["{brokers}", "{topic}", "{name}", "{home}", "{out}", "{cores}"] {
                assert!(!text.contains(open), "{open} in {text}");
            }
            assert!(text.contains("threads: 7") && text.contains("consumer_group: \"clicks-bento-1\""), "{text}");
        }
    }

    #[test]
    fn a_file_counts_once_and_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        let folder = dir.path().join("out");
        let mut written = Written::Files { folder: folder.clone(), whole: BTreeSet::new(), rows: 0 };
        assert_eq!(written.so_far().expect("no folder yet"), 0);
        fs::create_dir(&folder).expect("makes");
        let mut bytes = Vec::new();
        let values: Int64Array = (0..100).collect::<Vec<i64>>().into();
        let batch = RecordBatch::try_from_iter([("seq", Arc::new(values) as _)]).expect("a batch");
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("writes");
        writer.close().expect("closes");
        fs::write(folder.join("0-0.parquet"), &bytes).expect("writes");
        fs::write(folder.join("1-0.parquet"), &bytes[..bytes.len() - 1]).expect("writes");
        assert_eq!(written.so_far().expect("reads"), 100);
        assert_eq!(written.so_far().expect("reads"), 100);
        fs::write(folder.join("1-0.parquet"), &bytes).expect("writes");
        assert_eq!(written.so_far().expect("reads"), 200);
    }

    #[test]
    fn a_message_that_failed_ends_the_run() {
        let dir = tempfile::tempdir().expect("tempdir");
        let log = dir.path().join("log");
        fs::write(&log, "level=info msg=\"Input type kafka_franz is now active\"\n").expect("writes");
        failure(&log).expect("all is well");
        let line = "level=error msg=\"failed processing\" @service=bento error=\"cannot convert string to float64\"\n";
        fs::write(&log, line).expect("writes");
        let error = failure(&log).expect_err("failed").to_string();
        assert!(error.contains("cannot convert string to float64"), "{error}");
    }
}
