//! How fresh records were, measured without asking the daemon: when each was produced, by its offset, and when the
//! files' log says that its window became visible.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::Deserialize;
use tidemill_engine::partition::OffsetRanges;

/// Timestamps of records in ms since the epoch, by partition and offset.
pub type Stamps = Vec<Vec<i64>>;

#[allow(clippy::disallowed_methods)] // the producer's clock, which is not the daemon's
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Produces JSON objects of about 200 bytes (`seq`, `pad`) to a new topic for `length`, at `rate(t)` records a second `t`
/// seconds after the beginning. Nobody else writes to the topic, and one producer keeps its order: the nth record of a
/// partition has offset n.
pub fn produce(
    brokers: &str,
    topic: &str,
    partitions: i32,
    length: Duration,
    rate: impl Fn(f64) -> f64,
) -> Result<Stamps> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .create()?;
    let pad = "x".repeat(160);
    let count = usize::try_from(partitions)?;
    let mut stamps: Stamps = vec![Vec::new(); count];
    let begun = Instant::now();
    let (mut owed, mut before, mut seq) = (0.0, 0.0, 0usize);
    while begun.elapsed() < length {
        let now = begun.elapsed().as_secs_f64();
        owed += rate(now) * (now - before);
        before = now;
        while owed >= 1.0 {
            owed -= 1.0;
            let (partition, stamp) = (seq % count, wall_ms());
            let value = format!("{{\"seq\":{seq},\"pad\":\"{pad}\"}}");
            let to = i32::try_from(partition)?;
            while let Err((error, _)) =
                producer.send(BaseRecord::<(), _>::to(topic).partition(to).payload(value.as_str()).timestamp(stamp))
            {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error).context("the producer failed");
                }
                producer.poll(Duration::from_millis(10));
            }
            stamps[partition].push(stamp);
            seq += 1;
        }
        producer.poll(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(stamps)
}

/// A record of the files' log, as far as it matters here.
#[derive(Deserialize)]
struct LogRecord {
    rows: u64,
    ranges: OffsetRanges,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// Ages of all records, seconds, ascending.
    pub ages: Vec<f64>,
    /// Windows with rows.
    pub commits: usize,
    /// Records produced that no window has.
    pub missing: usize,
}

impl Freshness {
    /// Ages of the records of `stamps` in the folder `out` of `job`. Records produced before `from_ms` are left out.
    pub fn read(out: &Path, job: &str, stamps: &Stamps, from_ms: i64) -> Result<Self> {
        let log = out.join("_tidemill").join(job).join("log");
        let mut found = Self::default();
        let mut seen = 0;
        for entry in std::fs::read_dir(&log).with_context(|| format!("cannot read {}", log.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let record: LogRecord = serde_json::from_slice(&std::fs::read(&path)?)
                .with_context(|| format!("{} is no log record", path.display()))?;
            if record.rows == 0 {
                continue;
            }
            found.commits += 1;
            let visible = std::fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH)?;
            let visible = i64::try_from(visible.as_millis())?;
            for (partition, range) in record.ranges.iter() {
                let of = stamps.get(usize::try_from(partition.index)?).context("a partition that is none")?;
                let (start, end) = (usize::try_from(range.start.unwrap_or(0))?, usize::try_from(range.end)?);
                let Some(part) = of.get(start..end) else { bail!("{partition}: {end} was never produced") };
                seen += part.len();
                #[allow(clippy::cast_precision_loss)] // seconds
                found
                    .ages
                    .extend(part.iter().filter(|ms| **ms >= from_ms).map(|ms| (visible - ms).max(0) as f64 / 1000.0));
            }
        }
        found.missing = stamps.iter().map(Vec::len).sum::<usize>().saturating_sub(seen);
        found.ages.sort_by(f64::total_cmp);
        Ok(found)
    }

    /// Share of records no older than `target` seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // millions
    pub fn within(&self, target: f64) -> f64 {
        self.ages.partition_point(|age| *age <= target) as f64 / self.ages.len().max(1) as f64
    }

    /// The age that a share `p` of records stays below, seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index
    pub fn quantile(&self, p: f64) -> f64 {
        let at = (p * self.ages.len() as f64) as usize;
        self.ages.get(at.min(self.ages.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// A daemon's configuration: one job, `fresh`, from `topic` to Parquet in `ROOT/out`; `window` is its table.
#[must_use]
pub fn config(brokers: &str, topic: &str, root: &Path, window: &str) -> String {
    format!(
        "[daemon]\nstate_dir = \"./state\"\ninstance = \"a\"\nhttp = \"127.0.0.1:0\"\nmemory = \"256MiB\"\n\n\
         [job.fresh.source]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{topic}\"]\n\
         consumer_group = \"tidemill-{topic}\"\nstart = \"earliest\"\n\n\
         [job.fresh.format]\ntype = \"json\"\nfields = [\n  {{ name = \"seq\", type = \"int64\", nullable = false }},\n  \
         {{ name = \"pad\", type = \"string\" }},\n]\n\n\
         [job.fresh.window]\n{window}\n\n\
         [job.fresh.sink]\ntype = \"parquet\"\npath = \"{}\"\n",
        root.join("out").display()
    )
}
