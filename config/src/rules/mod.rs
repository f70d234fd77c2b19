//! The rules about values that the types alone do not say: ranges, and what goes together. Each rule says its own
//! fault; all are said at once.

mod bounds;
mod columns;
mod groups;
mod iceberg;
mod kafka;
mod kafka_sink;
mod paths;
mod postgres;
mod storage;

use std::time::Duration;

use crate::fault::{Fault, FaultKind};
use crate::forms::size;
use crate::path::{is_under, parent};
use crate::text::{REDACTED, Text, names_a_secret};
use crate::tree::join;
use crate::types::{Config, Delivery, GroupProtocol, Job, OnError, Operator, Sink, Source};
use crate::walk::Walked;

/// The least freshness that can be asked for.
const LEAST_FRESHNESS: Duration = Duration::from_millis(500);

/// Sets the defaults that depend on other keys.
pub(crate) fn defaults(config: &mut Config, walked: &Walked) {
    if let Some(token) = &mut config.daemon.api_token
        && !token.is_secret()
    {
        *token = Text::secret(token.as_str(), REDACTED);
    }
    for (name, job) in &mut config.jobs {
        let path = join("job", name);
        let given = |key: &str| walked.places.contains_key(&format!("{path}.{key}"));
        if job.dead_letter.is_some() && !given("on_error") {
            job.on_error = OnError::DeadLetter;
        }
        if let Some(freshness) = job.window.freshness {
            let window = &mut job.window;
            if !given("window.max_age") && !freshness.is_zero() {
                window.max_age = freshness;
            }
            if !given("window.max_rows") {
                window.max_rows = 100_000_000;
            }
            if !given("window.max_bytes") {
                window.max_bytes = 4 << 30;
            }
        }
        if let Source::Kafka(kafka) = &mut job.source
            && kafka.group_protocol == GroupProtocol::Consumer
            && !given("source.static_membership")
        {
            kafka.static_membership = false;
        }
    }
}

/// The nearest key at or above `key` that stands in a file.
pub(crate) fn place<'w>(walked: &'w Walked, key: &str) -> Option<&'w crate::tree::Place> {
    let mut at = key;
    loop {
        if let Some(place) = walked.places.get(at) {
            return Some(place);
        }
        at = parent(at)?;
    }
}

/// Checks every rule. Returns the faults and the warnings. `whole`: all files could be read.
pub(crate) fn check(config: &Config, walked: &Walked, whole: bool) -> (Vec<Fault>, Vec<Fault>) {
    let mut rules = Rules { walked, faults: Vec::new(), warnings: Vec::new() };
    rules.daemon(config);
    if config.jobs.is_empty() && whole {
        rules.fault(FaultKind::MissingKey, "", "no job: expected at least one [job.NAME] table".into());
    }
    for (name, job) in &config.jobs {
        rules.job(&join("job", name), job);
    }
    storage::check(&mut rules, config);
    paths::check(&mut rules, config);
    iceberg::check(&mut rules, config);
    groups::check(&mut rules, config);
    kafka::shared_groups(&mut rules, config);
    (rules.faults, rules.warnings)
}

pub(crate) struct Rules<'w> {
    walked: &'w Walked,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Rules<'_> {
    /// Whether something at, above or under the key is known to be wrong already.
    fn broken(&self, key: &str) -> bool {
        self.walked.broken.iter().any(|broken| is_under(broken, key) || is_under(key, broken))
    }

    fn make(&self, kind: FaultKind, key: &str, message: String) -> Option<Fault> {
        place(self.walked, key).map(|place| place.fault(kind, key, message))
    }

    /// A value that is not allowed.
    fn bad(&mut self, key: &str, message: impl Into<String>) {
        self.fault(FaultKind::BadValue, key, message.into());
    }

    /// Values that do not go together.
    fn conflict(&mut self, key: &str, message: impl Into<String>) {
        self.fault(FaultKind::Conflict, key, message.into());
    }

    fn fault(&mut self, kind: FaultKind, key: &str, message: String) {
        if !self.broken(key) {
            self.faults.extend(self.make(kind, key, message));
        }
    }

    fn warn(&mut self, kind: FaultKind, key: &str, message: impl Into<String>) {
        if !self.broken(key) {
            self.warnings.extend(self.make(kind, key, message.into()));
        }
    }

    fn daemon(&mut self, config: &Config) {
        let daemon = &config.daemon;
        self.not_empty("daemon.state_dir", &daemon.state_dir);
        if let Some(memory) = daemon.memory.filter(|memory| *memory < 32 << 20) {
            let found = size::show(memory);
            self.bad("daemon.memory", format!("expected at least \"32MiB\", found {found:?}"));
        }
        self.positive("daemon.stall_after", daemon.stall_after);
        if let Some(token) = &daemon.api_token {
            if token.len() < 16 || !token.bytes().all(|b| b.is_ascii_graphic()) {
                self.bad("daemon.api_token", "expected at least 16 characters of ASCII without blanks");
            } else if token.shown() == REDACTED {
                let message = "a secret stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
                self.warn(FaultKind::InlineSecret, "daemon.api_token", message);
            }
        }
    }

    fn job(&mut self, path: &str, job: &Job) {
        let key = |name: &str| format!("{path}.{name}");
        match (job.on_error, &job.dead_letter) {
            (OnError::DeadLetter, None) => self.conflict(
                &key("on_error"),
                format!("\"dead_letter\" needs a [{path}.dead_letter] table that says where refused records go"),
            ),
            (OnError::Fail | OnError::Skip, Some(_)) => self.conflict(
                &key("dead_letter"),
                "without effect: expected on_error = \"dead_letter\" beside it, or no dead_letter table",
            ),
            _ => {}
        }
        if job.delivery == Delivery::ExactlyOnce {
            self.holds_positions(path, "sink", &job.sink);
            if let Some(dead_letter) = &job.dead_letter {
                self.holds_positions(path, "dead_letter", dead_letter);
            }
        }
        self.window(path, job);
        if let Source::Kafka(kafka) = &job.source {
            kafka::check(self, &key("source"), kafka);
        }
        kafka_sink::check(self, path, job);
        columns::check(self, path, job);
        for (i, operator) in job.operators.iter().enumerate() {
            let Operator::Sql(sql) = operator;
            self.query(&format!("{path}.operator[{i}].query"), &sql.query);
        }
    }

    fn holds_positions(&mut self, path: &str, part: &str, sink: &Sink) {
        if !sink.holds_positions() && !self.broken(&format!("{path}.delivery")) {
            let kind = sink.kind();
            self.conflict(
                &format!("{path}.{part}.type"),
                format!(
                    "the {part} {kind:?} holds no positions and cannot be exactly-once; \
                     write delivery = \"at_least_once\" in [{path}], or take another {part}"
                ),
            );
        }
    }

    fn window(&mut self, path: &str, job: &Job) {
        let window = &job.window;
        let key = |name: &str| format!("{path}.window.{name}");
        self.positive(&key("max_age"), window.max_age);
        self.some_bytes(&key("max_bytes"), window.max_bytes);
        match window.freshness {
            Some(freshness) if freshness < LEAST_FRESHNESS => {
                self.bad(&key("freshness"), "expected at least \"500ms\": no window is cut sooner than after 100 ms");
            }
            None if window.tuning.is_some() => {
                self.conflict(&key("tuning"), "without effect: expected a freshness to tune for beside it");
            }
            _ => {}
        }
        if let Some(idle) = window.idle {
            self.positive(&key("idle"), idle);
            if idle >= window.max_age && !self.broken(&key("max_age")) {
                self.warn(FaultKind::NoEffect, &key("idle"), "without effect: it is not shorter than max_age");
            }
        }
    }

    fn query(&mut self, key: &str, query: &Text) {
        if query.trim().is_empty() {
            self.bad(key, "expected a SELECT from the table input, found an empty query");
        } else if !query.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w.eq_ignore_ascii_case("input")) {
            self.bad(key, "expected a SELECT from the table input, which the query never names");
        }
    }

    fn not_empty(&mut self, key: &str, text: &Text) {
        if text.trim().is_empty() {
            self.bad(key, "expected a value, found an empty string");
        }
    }

    fn positive(&mut self, key: &str, duration: Duration) {
        if duration.is_zero() {
            self.bad(key, "expected more than no time, found 0");
        }
    }

    fn some_bytes(&mut self, key: &str, bytes: u64) {
        if bytes == 0 {
            self.bad(key, "expected at least 1 byte, found 0");
        }
    }

    /// Warns of secrets that stand in the file.
    fn inline_secrets(&mut self, path: &str, properties: &crate::text::Properties) {
        for (name, value) in properties.iter() {
            if names_a_secret(name) && value.shown() == REDACTED && !value.is_empty() && !name.ends_with(".url") {
                let message = "a secret stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
                self.warn(FaultKind::InlineSecret, &join(path, name), message);
            }
        }
    }
}
