//! Config files for the daemon: one job from a clickstream topic to Parquet, as the tests need it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::records::{FIELDS, MAX_RECORD_BYTES};

/// Session timeout of the jobs in ms: how long a dead member holds its partitions.
pub const SESSION_TIMEOUT_MS: u64 = 6_000;

/// One job, as data. `toml()` is the file.
#[derive(Clone, Debug)]
pub struct Job {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// Topics.
    pub topics: Vec<String>,
    /// Folder of the daemon: its config, log and state.
    pub home: PathBuf,
    /// `[daemon] instance`.
    pub instance: String,
    /// Sink folder; several daemons share it.
    pub out: PathBuf,
    /// Dead letters' folder; `None`: `on_error = "skip"`.
    pub dead_letters: Option<PathBuf>,
    /// `start`, as it is written.
    pub start: String,
    /// Stop at the ends of the topic.
    pub until_end: bool,
    /// `max_age` of a window.
    pub max_age: String,
    /// `max_rows` of a window.
    pub max_rows: u64,
    /// `memory` of the daemon.
    pub memory: String,
    /// More lines for `[daemon]`.
    pub daemon: String,
    /// A query over `input`.
    pub sql: Option<String>,
    /// `session.timeout.ms` of the consumers: how long a dead member holds its partitions.
    pub session_timeout_ms: u64,
    /// More properties of the consumer.
    pub properties: Vec<(String, String)>,
    /// More lines for `[job.clicks.source]`.
    pub source: String,
    /// More lines for `[job.clicks.sink]`.
    pub sink: String,
    /// Lines of `[job.clicks.sink]` instead of Parquet files in `out`.
    pub other_sink: Option<String>,
    /// More tables.
    pub more: String,
}

impl Job {
    /// A job with its folders below `root`, windows of 300 ms, dead letters, instance `a`.
    #[must_use]
    pub fn new(brokers: &str, topic: &str, root: &Path) -> Self {
        Self {
            brokers: brokers.to_owned(),
            topics: vec![topic.to_owned()],
            home: root.join("a"),
            instance: "a".to_owned(),
            out: root.join("out"),
            dead_letters: Some(root.join("rejected")),
            start: "\"earliest\"".to_owned(),
            until_end: false,
            max_age: "300ms".to_owned(),
            max_rows: 500_000,
            memory: "256MiB".to_owned(),
            daemon: String::new(),
            sql: None,
            session_timeout_ms: SESSION_TIMEOUT_MS,
            properties: Vec::new(),
            source: String::new(),
            sink: String::new(),
            other_sink: None,
            more: String::new(),
        }
    }

    /// The same job in another daemon.
    #[must_use]
    pub fn instance(&self, name: &str) -> Self {
        let home = self.home.with_file_name(name);
        Self { instance: name.to_owned(), home, ..self.clone() }
    }

    /// The same job, stopping at the ends of its topics.
    #[must_use]
    pub fn until_end(&self) -> Self {
        Self { until_end: true, ..self.clone() }
    }

    /// The config file.
    #[must_use]
    pub fn toml(&self) -> String {
        let mut text = format!(
            "[daemon]\nstate_dir = \"./state\"\ninstance = \"{}\"\nhttp = \"127.0.0.1:0\"\nmemory = \"{}\"\n{}\n\n\
             [job.clicks]\non_error = \"{}\"\nmax_errors_per_minute = 100_000_000\n\n",
            self.instance,
            self.memory,
            self.daemon,
            if self.dead_letters.is_some() { "dead_letter" } else { "skip" },
        );
        let topics: Vec<String> = self.topics.iter().map(|topic| format!("\"{topic}\"")).collect();
        let _ = write!(
            text,
            "[job.clicks.source]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopics = [{}]\nconsumer_group = \"tidemill-{}\"\n\
             start = {}\n{}properties = {{ \"session.timeout.ms\" = \"{}\", \"heartbeat.interval.ms\" = \"{}\"{} }}\n{}\n\n",
            self.brokers,
            topics.join(", "),
            self.topics[0],
            self.start,
            if self.until_end { "until = \"end\"\n" } else { "" },
            self.session_timeout_ms,
            (self.session_timeout_ms / 5).min(3_000),
            self.properties.iter().map(|(key, value)| format!(", \"{key}\" = \"{value}\"")).collect::<String>(),
            self.source,
        );
        let _ = write!(
            text,
            "[job.clicks.format]\ntype = \"json\"\nfields = {FIELDS}\n\
             metadata = [\"topic\", \"partition\", \"offset\", \"timestamp\"]\ntombstones = \"skip\"\n\
             max_record_bytes = \"{}KiB\"\n\n",
            MAX_RECORD_BYTES / 1024
        );
        if let Some(folder) = &self.dead_letters {
            let _ = write!(text, "[job.clicks.dead_letter]\ntype = \"parquet\"\npath = \"{}\"\n\n", folder.display());
        }
        let _ = write!(
            text,
            "[job.clicks.window]\nmax_age = \"{}\"\nmax_rows = {}\nmax_bytes = \"64MiB\"\n\n",
            self.max_age, self.max_rows
        );
        if let Some(query) = &self.sql {
            let _ = write!(text, "[[job.clicks.operator]]\ntype = \"sql\"\nquery = \"{query}\"\n\n");
        }
        let sink = match &self.other_sink {
            Some(lines) => lines.clone(),
            None => format!("type = \"parquet\"\npath = \"{}\"", self.out.display()),
        };
        let _ = write!(text, "[job.clicks.sink]\n{sink}\n{}\n{}", self.sink, self.more);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_toml_that_the_daemon_reads() {
        let job = Job::new("127.0.0.1:9092", "clicks", Path::new("/tmp/x"));
        let job = Job { sql: Some("SELECT * FROM input WHERE seq >= 0".into()), ..job.until_end() };
        let text = job.toml();
        for line in ["until = \"end\"", "[job.clicks.sink]", "path = \"/tmp/x/out\"", "max_record_bytes = \"64KiB\""] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(job.instance("b").home, Path::new("/tmp/x/b"));
    }
}
