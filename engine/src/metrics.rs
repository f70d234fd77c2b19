//! Every metric of the engine: name, kind, unit, help. A name is a contract with dashboards; `docs/metrics.md` lists
//! them all and a test compares.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use crate::format::Stage;
use crate::job::OnError;
use crate::partition::Partition;
use crate::protocol::Answer;
use crate::window::Cause;

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric as documented.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Name with unit suffix.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Unit.
    pub unit: Unit,
    /// What it says, in a sentence.
    pub help: &'static str,
}

macro_rules! table {
    ($($const:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub const $const: &str = $name;)*
        /// All of them.
        pub const ALL: &[Described] = &[$(Described {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], unit: Unit::$unit, help: $help,
        }),*];
    };
}

table! {
    RECORDS = "tidemill_records_total", Counter, Count, ["job"], "Records taken from the source.";
    RECORD_BYTES = "tidemill_record_bytes_total", Counter, Bytes, ["job"], "Bytes of record values, and of keys and headers where the job keeps them.";
    REPEATED = "tidemill_repeated_records_total", Counter, Count, ["job"], "Records delivered again below the expected offset and dropped; each was or will be taken once.";
    TOMBSTONES = "tidemill_tombstones_skipped_total", Counter, Count, ["job"], "Records without a value, passed over because of tombstones = \"skip\".";
    DECODED_ROWS = "tidemill_decoded_rows_total", Counter, Count, ["job"], "Rows that the format made, before operators.";
    ROWS = "tidemill_rows_total", Counter, Count, ["job"], "Rows made visible in the sink.";
    SINK_BYTES = "tidemill_sink_bytes_total", Counter, Bytes, ["job"], "Bytes made visible in the sink, in its own form.";
    SINK_FILES = "tidemill_sink_files_total", Counter, Count, ["job"], "Files made visible in the sink.";
    REJECTS = "tidemill_rejects_total", Counter, Count, ["job", "stage", "cause", "outcome"], "Refused records by stage (decode, sql, sink), cause and outcome (dead_letter, skip, fail). Counted when refused, and once however often a job reads the record; a new process counts anew.";
    DEAD_LETTERS = "tidemill_dead_letters_total", Counter, Count, ["job"], "Rows made visible in the dead-letter sink.";
    DATA_LOSS = "tidemill_data_loss_records_total", Counter, Count, ["job", "topic", "partition"], "Offsets that vanished from the source before they were read, passed over because of on_data_loss = \"continue\".";
    WINDOWS = "tidemill_windows_total", Counter, Count, ["job", "cause"], "Windows cut, by cause (rows, bytes, age, idle, memory, revoke, end, stop, pause, request, schema).";
    COMMITS = "tidemill_commits_total", Counter, Count, ["job", "outcome"], "Commits by outcome: landed, lost (another owner was faster), unknown (no answer), failed.";
    COMMIT_SECONDS = "tidemill_commit_seconds", Histogram, Seconds, ["job"], "Time from a window's cut to its rows being visible, waiting for the commit before it included.";
    FRESHNESS = "tidemill_freshness_seconds", Histogram, Seconds, ["job"], "Visible time less broker timestamp, of the oldest and the newest record of each window.";
    LAG_RECORDS = "tidemill_lag_records", Gauge, Count, ["job", "topic", "partition"], "Records between what is dealt with and the newest known end: the position in the sink, or further where windows without rows wait up to a minute for the next commit. 0 for a partition that is no longer read here.";
    LAG_SECONDS = "tidemill_lag_seconds", Gauge, Seconds, ["job", "topic", "partition"], "Wall time less broker timestamp of the newest visible record while there is lag, else 0; 0 for a partition that is no longer read here.";
    POSITION = "tidemill_position", Gauge, Count, ["job", "topic", "partition"], "Next offset to read, as the sink holds it. Stays for a partition that is no longer read here: of several daemons the highest is right.";
    QUEUE_CHUNKS = "tidemill_queue_chunks", Gauge, Count, ["job"], "Chunks handed on by the intake and not yet written.";
    MEMORY = "tidemill_memory_bytes", Gauge, Bytes, ["job", "kind"], "Accounted memory by kind: prefetch (fetched records in the Kafka client, read every five seconds), chunks (raw records on their way to the sink), rows (the batch that was written last), encoders (files being written), messages (rows on their way into a Kafka transaction), sql (windows of queries).";
    REBALANCES = "tidemill_rebalances_total", Counter, Count, ["job", "kind"], "Changes of the assignment: revoked (in order) or lost (membership expired).";
    RUNS = "tidemill_runs_total", Counter, Count, ["job"], "Runs begun: one at start, one after each rebalance, error or lost race.";
    RUN_ERRORS = "tidemill_run_errors_total", Counter, Count, ["job"], "Runs ended by an error.";
    JOB_STATE = "tidemill_job_state", Gauge, Count, ["job", "state"], "1 for the state the job is in (waiting, starting, running, paused, held, draining, backing_off, failed, finished, stopped), else 0.";
    FRESHNESS_P99_SECONDS = "tidemill_freshness_p99_seconds", Gauge, Seconds, ["job"], "Age (visible time less broker timestamp) that 99 of 100 records stayed below over the last five minutes; records that were there before the run began are left out. Jobs with a freshness only.";
    BACKLOG_RECORDS = "tidemill_backlog_records", Gauge, Count, ["job"], "Records of the last window that were there before the run began. Jobs with a freshness only.";
    TUNING_WINDOW_SECONDS = "tidemill_tuning_window_seconds", Gauge, Seconds, ["job"], "Window that the tuner chose, at the rate expected.";
    TUNING_COST_SECONDS = "tidemill_tuning_cost_seconds", Gauge, Seconds, ["job"], "Time the last window took from its cut (or the commit before it) to being visible.";
    TUNING_COST_PREDICTED_SECONDS = "tidemill_tuning_cost_predicted_seconds", Gauge, Seconds, ["job"], "What the cost model said for that window.";
    TUNING_P99_PREDICTED_SECONDS = "tidemill_tuning_p99_predicted_seconds", Gauge, Seconds, ["job"], "Age that 99 of 100 records are predicted to stay below.";
    TUNING_STATE = "tidemill_tuning_state", Gauge, Count, ["job", "state"], "1 for the state the tuner is in (warming, tracking, saturated, frozen), else 0.";
    TUNING_LIMIT = "tidemill_tuning_limit", Gauge, Count, ["job", "limit"], "1 for what keeps the window from being longer (freshness, commit, slew, max_age, max_rows, max_bytes, backlog), else 0.";
    TUNING_INFEASIBLE = "tidemill_tuning_infeasible", Gauge, Count, ["job"], "1 while no window keeps the freshness asked for, else 0.";
}

/// Registers help and unit of every metric with the installed recorder.
pub fn describe() {
    describe_all(ALL);
}

/// Registers help and unit of `table` with the installed recorder.
pub fn describe_all(table: &[Described]) {
    for d in table {
        match d.kind {
            Kind::Counter => metrics::describe_counter!(d.name, d.unit, d.help),
            Kind::Gauge => metrics::describe_gauge!(d.name, d.unit, d.help),
            Kind::Histogram => metrics::describe_histogram!(d.name, d.unit, d.help),
        }
    }
}

/// The metrics of one job, looked up once.
pub(crate) struct JobMetrics {
    job: String,
    pub records: Counter,
    pub record_bytes: Counter,
    pub repeated: Counter,
    pub tombstones: Counter,
    pub decoded_rows: Counter,
    pub rows: Counter,
    pub sink_bytes: Counter,
    pub sink_files: Counter,
    pub dead_letters: Counter,
    pub commit_seconds: Histogram,
    pub freshness: Histogram,
    pub queue_chunks: Gauge,
    pub chunk_memory: Gauge,
    pub row_memory: Gauge,
    pub runs: Counter,
    pub run_errors: Counter,
}

/// Why records are refused after the format, by stage: see [`Reject::cause`](crate::format::Reject::cause).
pub(crate) const REFUSED_BY_OPERATOR: &str = "operator";
pub(crate) const REFUSED_BY_SINK: &str = "refused";

impl JobMetrics {
    /// Counters whose labels are known before anything happens are there from now on, at 0: a rise from nothing to 1 is
    /// none to a dashboard.
    pub(crate) fn new(job: &str) -> Self {
        let job = job.to_owned();
        let c = |name| counter!(name, "job" => job.clone());
        for cause in Cause::ALL {
            let _ = counter!(WINDOWS, "job" => job.clone(), "cause" => cause.as_str());
        }
        for answer in Answer::ALL {
            let _ = counter!(COMMITS, "job" => job.clone(), "outcome" => answer.as_str());
        }
        for kind in ["revoked", "lost"] {
            let _ = counter!(REBALANCES, "job" => job.clone(), "kind" => kind);
        }
        Self {
            records: c(RECORDS),
            record_bytes: c(RECORD_BYTES),
            repeated: c(REPEATED),
            tombstones: c(TOMBSTONES),
            decoded_rows: c(DECODED_ROWS),
            rows: c(ROWS),
            sink_bytes: c(SINK_BYTES),
            sink_files: c(SINK_FILES),
            dead_letters: c(DEAD_LETTERS),
            commit_seconds: histogram!(COMMIT_SECONDS, "job" => job.clone()),
            freshness: histogram!(FRESHNESS, "job" => job.clone()),
            queue_chunks: gauge!(QUEUE_CHUNKS, "job" => job.clone()),
            chunk_memory: gauge!(MEMORY, "job" => job.clone(), "kind" => "chunks"),
            row_memory: gauge!(MEMORY, "job" => job.clone(), "kind" => "rows"),
            runs: c(RUNS),
            run_errors: c(RUN_ERRORS),
            job,
        }
    }

    pub(crate) fn window(&self, cause: Cause) {
        counter!(WINDOWS, "job" => self.job.clone(), "cause" => cause.as_str()).increment(1);
    }

    pub(crate) fn commit(&self, answer: Answer) {
        counter!(COMMITS, "job" => self.job.clone(), "outcome" => answer.as_str()).increment(1);
    }

    pub(crate) fn reject(&self, stage: Stage, cause: &'static str, outcome: OnError) {
        self.rejects(stage, cause, outcome).increment(1);
    }

    /// What this job may refuse is there from now on, at 0. `decode` are the causes of its format.
    pub(crate) fn may_reject(&self, decode: &[&'static str], outcome: OnError) {
        let later = [(Stage::Sql, REFUSED_BY_OPERATOR), (Stage::Sink, REFUSED_BY_SINK)];
        for (stage, cause) in decode.iter().map(|cause| (Stage::Decode, *cause)).chain(later) {
            let _ = self.rejects(stage, cause, outcome);
        }
    }

    fn rejects(&self, stage: Stage, cause: &'static str, outcome: OnError) -> Counter {
        let (job, outcome) = (self.job.clone(), outcome.as_str());
        counter!(REJECTS, "job" => job, "stage" => stage.as_str(), "cause" => cause, "outcome" => outcome)
    }

    pub(crate) fn rebalance(&self, kind: &'static str) {
        counter!(REBALANCES, "job" => self.job.clone(), "kind" => kind).increment(1);
    }

    pub(crate) fn data_loss(&self, partition: &Partition, records: u64) {
        counter!(DATA_LOSS, &self.of(partition)).increment(records);
    }

    fn of(&self, partition: &Partition) -> [(&'static str, String); 3] {
        [("job", self.job.clone()), ("topic", partition.topic.to_string()), ("partition", partition.index.to_string())]
    }

    /// A partition is read here from now on.
    pub(crate) fn partition_came(&self, partition: &Partition) {
        let _ = counter!(DATA_LOSS, &self.of(partition));
    }

    /// A partition is not read here any more: whatever lag it has is another's. A series cannot be taken back; the
    /// position stays, below that of whoever goes on.
    pub(crate) fn partition_went(&self, partition: &Partition) {
        let labels = self.of(partition);
        gauge!(LAG_RECORDS, &labels).set(0.0);
        gauge!(LAG_SECONDS, &labels).set(0.0);
    }

    pub(crate) fn partition(&self, partition: &Partition, position: i64, lag: Option<i64>, lag_seconds: Option<f64>) {
        let labels = self.of(partition);
        #[allow(clippy::cast_precision_loss)] // a gauge is a float
        {
            gauge!(POSITION, &labels).set(position as f64);
            if let Some(lag) = lag {
                gauge!(LAG_RECORDS, &labels).set(lag as f64);
            }
        }
        if let Some(seconds) = lag_seconds {
            gauge!(LAG_SECONDS, &labels).set(seconds);
        }
    }

    pub(crate) fn state(&self, states: &[&'static str], now: &'static str) {
        for state in states {
            gauge!(JOB_STATE, "job" => self.job.clone(), "state" => *state).set(f64::from(u8::from(*state == now)));
        }
    }
}

/// What a test's metrics come to: `name{label=value,…}` → value.
#[cfg(test)]
pub(crate) mod seen {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    #[derive(Default)]
    pub(crate) struct Seen(Mutex<[BTreeMap<String, Arc<AtomicU64>>; 2]>);

    impl Seen {
        pub(crate) fn counter(&self, series: &str) -> Option<u64> {
            self.0.lock().unwrap()[0].get(series).map(|value| value.load(Ordering::Relaxed))
        }

        pub(crate) fn gauge(&self, series: &str) -> Option<f64> {
            self.0.lock().unwrap()[1].get(series).map(|value| f64::from_bits(value.load(Ordering::Relaxed)))
        }

        fn value(&self, kind: usize, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let series = format!("{}{{{}}}", key.name(), labels.join(","));
            self.0.lock().unwrap()[kind].entry(series).or_default().clone()
        }
    }

    impl Recorder for Seen {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.value(0, key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.value(1, key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seen::Seen;
    use super::*;

    #[test]
    fn a_fresh_job_has_its_counters_at_0() {
        let seen = Seen::default();
        metrics::with_local_recorder(&seen, || {
            let job = JobMetrics::new("j");
            job.may_reject(&["not_json"], OnError::Skip);
            for series in [
                "tidemill_records_total{job=j}",
                "tidemill_run_errors_total{job=j}",
                "tidemill_commits_total{job=j,outcome=landed}",
                "tidemill_commits_total{job=j,outcome=lost}",
                "tidemill_commits_total{job=j,outcome=unknown}",
                "tidemill_commits_total{job=j,outcome=failed}",
                "tidemill_rebalances_total{job=j,kind=revoked}",
                "tidemill_rebalances_total{job=j,kind=lost}",
                "tidemill_windows_total{job=j,cause=age}",
                "tidemill_rejects_total{job=j,stage=decode,cause=not_json,outcome=skip}",
                "tidemill_rejects_total{job=j,stage=sql,cause=operator,outcome=skip}",
                "tidemill_rejects_total{job=j,stage=sink,cause=refused,outcome=skip}",
            ] {
                assert_eq!(seen.counter(series), Some(0), "{series}");
            }
            job.reject(Stage::Decode, "not_json", OnError::Skip);
            job.commit(Answer::Lost);
            job.rebalance("lost");
        });
        for series in [
            "tidemill_rejects_total{job=j,stage=decode,cause=not_json,outcome=skip}",
            "tidemill_commits_total{job=j,outcome=lost}",
            "tidemill_rebalances_total{job=j,kind=lost}",
        ] {
            assert_eq!(seen.counter(series), Some(1), "the very series that was there: {series}");
        }
    }
}
