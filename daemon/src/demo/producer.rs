//! Clicks for the demo, at the pace of the job that reads them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use tidemill_engine::partition::Partition;
use tidemill_engine::progress::Snapshot;

use crate::jobs::Shared;

/// The demo's topic.
pub(super) const TOPIC: &str = "clicks";
/// Its partitions.
pub(super) const PARTITIONS: i32 = 4;

/// Records a second, at most.
const RATE: u64 = 40_000;
/// How far a partition may run ahead of the job: well below what the mock broker keeps (5 MB).
const AHEAD: i64 = 8_000;
/// One record in so many is no JSON.
const BAD_EVERY: u64 = 1_000;

/// What was produced.
#[derive(Debug, Default)]
pub(super) struct Produced {
    /// Next offset of each partition.
    pub ends: Vec<i64>,
    /// Records that the query keeps.
    pub purchases: u64,
    /// Records that it drops.
    pub others: u64,
    /// Records that no format takes.
    pub bad: u64,
}

impl Produced {
    pub(super) fn total(&self) -> u64 {
        self.purchases + self.others + self.bad
    }
}

/// The job's position on partition `index`.
pub(super) fn position(job: &Snapshot, index: usize) -> i64 {
    let partition = Partition::new(TOPIC, i32::try_from(index).unwrap_or(i32::MAX));
    job.positions.offset(&partition).unwrap_or(0)
}

/// Produces until `stop`.
pub(super) fn run(brokers: &str, shared: &Shared, stop: &AtomicBool) -> anyhow::Result<Produced> {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "20").create()?;
    let mut random = SmallRng::seed_from_u64(42);
    let mut produced = Produced { ends: vec![0; PARTITIONS as usize], ..Produced::default() };
    let begun = Instant::now();
    while !stop.load(Ordering::Acquire) {
        let due = begun.elapsed().as_millis() as u64 * RATE / 1000;
        let Some(job) = shared.jobs().first().map(|job| job.progress.snapshot()) else { break };
        let mut room: Vec<i64> =
            (0..produced.ends.len()).map(|i| (position(&job, i) + AHEAD - produced.ends[i]).max(0)).collect();
        let mut waiting = false;
        while produced.total() < due && !waiting {
            let index = (produced.total() % PARTITIONS as u64) as usize;
            if room[index] == 0 {
                waiting = true;
            } else {
                room[index] -= 1;
                send(&producer, index, &mut random, &mut produced)?;
            }
        }
        producer.poll(Duration::from_millis(5));
    }
    producer.flush(Duration::from_secs(10))?;
    Ok(produced)
}

fn send(
    producer: &BaseProducer,
    index: usize,
    random: &mut SmallRng,
    produced: &mut Produced,
) -> Result<(), KafkaError> {
    const TYPES: [&str; 5] = ["view", "click", "add_to_cart", "purchase", "search"];
    let kind = TYPES[random.random_range(0..TYPES.len())];
    let user: u32 = random.random_range(0..1_000_000);
    let bad = random.random_range(0..BAD_EVERY) == 0;
    let value = if bad {
        format!("{{\"event_id\":\"{:032x}\",\"user_id\":", random.random::<u128>())
    } else {
        format!(
            "{{\"event_id\":\"{:032x}\",\"user_id\":{user},\"ts\":{},\"type\":\"{kind}\",\"price\":{}.{:02},\"quantity\":{}}}",
            random.random::<u128>(),
            tidemill_engine::clock::Clock::system().wall_ms(),
            random.random_range(1..500),
            random.random_range(0..100),
            random.random_range(1..9)
        )
    };
    let key = user.to_string();
    let mut record = BaseRecord::to(TOPIC).partition(index as i32).key(&key).payload(&value);
    loop {
        match producer.send(record) {
            Ok(()) => break,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(10));
                record = back;
            }
            Err((error, _)) => return Err(error),
        }
    }
    produced.ends[index] += 1;
    match (bad, kind) {
        (true, _) => produced.bad += 1,
        (false, "purchase") => produced.purchases += 1,
        (false, _) => produced.others += 1,
    }
    Ok(())
}
