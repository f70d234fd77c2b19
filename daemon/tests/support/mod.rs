//! The daemon as a process, and HTTP to it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything that ought to take seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// The header that verbs want.
pub const JSON: &str = "Content-Type: application/json";

/// What a command printed.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs the binary to its end.
pub fn tidemill(arguments: &[&str], env: &[(&str, &str)]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let out = command.args(arguments).env_remove("TIDEMILL_API_TOKEN").envs(env.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Done { code: out.status.code().unwrap_or(-1), out: text(&out.stdout), err: text(&out.stderr) }
}

/// A job from the generator to Parquet in `ROOT/NAME`: keys of the job, and of its source. ROOT is replaced later.
pub fn generator(name: &str, job: &str, source: &str) -> String {
    let window = if job.contains("window") { "" } else { "window = { max_age = \"200ms\" }\n" };
    format!(
        "[job.{name}]\n{job}\n{window}\
         [job.{name}.source]\ntype = \"generator\"\n{source}\n\
         [job.{name}.format]\ntype = \"json\"\nmetadata = [\"partition\", \"offset\"]\n\
         fields = [{{ name = \"seq\", type = \"int64\", nullable = false }}]\n\
         [job.{name}.sink]\ntype = \"parquet\"\npath = \"ROOT/{name}\"\n"
    )
}

/// A running daemon. Dropped = killed.
pub struct Daemon {
    child: Child,
    pub dir: tempfile::TempDir,
    listen: String,
    daemon_keys: String,
    port: u16,
}

impl Daemon {
    pub fn start(daemon: &str, jobs: &str) -> Self {
        Self::start_on("127.0.0.1:0", daemon, jobs)
    }

    pub fn start_on(listen: &str, daemon: &str, jobs: &str) -> Self {
        Self::start_with(listen, "128MiB", daemon, jobs)
    }

    pub fn start_with(listen: &str, memory: &str, daemon: &str, jobs: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_config(dir.path(), listen, memory, daemon, jobs);
        let child = run(dir.path());
        let mut daemon = Self { child, dir, listen: listen.to_owned(), daemon_keys: daemon.to_owned(), port: 0 };
        daemon.find_port();
        daemon
    }

    /// Another process with the configuration, the state and the files of the one that has ended; its log is a new one.
    pub fn start_again(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "it runs");
        self.child = run(self.dir.path());
        self.find_port();
    }

    fn find_port(&mut self) {
        self.port = self.wait_for("its port", |daemon| {
            let log = daemon.log();
            let (_, rest) = log.split_once("http=http://")?;
            rest.split_whitespace().next()?.rsplit_once(':')?.1.parse().ok()
        });
    }

    /// Writes other jobs (and keys of `[daemon]`) into its configuration.
    pub fn write(&self, daemon: &str, jobs: &str) {
        self.write_with("128MiB", daemon, jobs);
    }

    pub fn write_with(&self, memory: &str, daemon: &str, jobs: &str) {
        write_config(self.dir.path(), &self.listen, memory, &format!("{}{daemon}", self.daemon_keys), jobs);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap().success());
    }

    /// Waits until `look` answers something.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} while waiting for {what}:\n{}", self.log());
            assert!(begun.elapsed() < LIMIT, "no {what} after {LIMIT:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a job is as wanted, and shows it.
    #[track_caller]
    pub fn until(&mut self, job: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            last = self.job(job);
            if is(&last) {
                return last;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("job {job} is not as wanted after {LIMIT:?}: {last:#}\n{}", self.log());
    }

    pub fn job(&self, name: &str) -> Value {
        self.get_json(&format!("/api/jobs/{name}"))
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        request(self.port, "localhost", "GET", path, &[], "")
    }

    pub fn get_json(&self, path: &str) -> Value {
        let (_, body) = self.get(path);
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    #[track_caller]
    pub fn post(&self, path: &str, expected: u16) -> Value {
        let (status, answer) = self.send("POST", path, &[JSON], "");
        assert_eq!(status, expected, "{path}: {answer}");
        answer
    }

    /// Status and body; a body that is not JSON is null.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
        self.send_as(&format!("127.0.0.1:{}", self.port), method, path, headers, body)
    }

    pub fn send_as(&self, host: &str, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
        let (status, body) = request(self.port, host, method, path, headers, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// `tidemill …` told where this daemon is.
    pub fn cli(&self, arguments: &[&str], env: &[(&str, &str)]) -> Done {
        let address = format!("127.0.0.1:{}", self.port);
        tidemill(&[arguments, &["--http", &address]].concat(), env)
    }

    /// SIGTERM; it has to end in order.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.exit();
        assert_eq!(status, 0, "{}", self.log());
    }

    /// Its exit code.
    pub fn exit(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < LIMIT, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The generator's records of a job, from offset 0 without a hole, once each. Answers how many.
    pub fn assert_each_row_once(&self, job: &str) -> usize {
        let rows = rows(&self.dir.path().join(job));
        let mut next = BTreeMap::new();
        for (partition, offset) in &rows {
            let expected = next.entry(*partition).or_insert(0i64);
            assert_eq!(offset, expected, "partition {partition} of {job}: lost or doubled");
            *expected += 1;
        }
        assert!(!rows.is_empty(), "no row of {job}");
        rows.len()
    }
}

fn run(dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["run", "--config"]).arg(dir.join("tidemill.toml")).stderr(log).stdin(Stdio::null()).spawn().unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(dir: &Path, listen: &str, memory: &str, daemon: &str, jobs: &str) {
    let root = dir.display().to_string();
    let mut text = String::new();
    let _ = write!(
        text,
        "[daemon]\nstate_dir = \"ROOT/state\"\nhttp = \"{listen}\"\nmemory = \"{memory}\"\n{daemon}\n{jobs}"
    );
    // As an editor does it: never half a file.
    std::fs::write(dir.join("new"), text.replace("ROOT", &root)).unwrap();
    std::fs::rename(dir.join("new"), dir.join("tidemill.toml")).unwrap();
}

/// Sorted (partition, offset) of all Parquet files of a folder.
fn rows(folder: &Path) -> Vec<(i32, i64)> {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int32Type, Int64Type};
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "parquet") {
            continue;
        }
        let file = std::fs::File::open(path).unwrap();
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader {
            let batch = batch.unwrap();
            let partitions = batch["_partition"].as_primitive::<Int32Type>().values().to_vec();
            let offsets = batch["_offset"].as_primitive::<Int64Type>().values().to_vec();
            rows.extend(partitions.into_iter().zip(offsets));
        }
    }
    rows.sort_unstable();
    rows
}

fn request(port: u16, host: &str, method: &str, path: &str, headers: &[&str], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(70))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        let _ = write!(head, "{header}\r\n");
    }
    // A daemon that refuses a large body closes before it is read.
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: no HTTP answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    (status, body.to_owned())
}
