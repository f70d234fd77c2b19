//! A source that needs no broker: a seeded synthetic clickstream.
//!
//! Every record is a function of (seed, partition, offset) alone, so any position can be taken up again, on any
//! machine, and two runs with one seed give the same records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::clock::Clock;
use tidemill_engine::intake::Intake;
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::source::{Source, SourceError, SourceEvent};

/// What a [`GeneratorSource`] makes.
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// Topic name of its partitions.
    pub topic: String,
    /// Number of partitions; 0 counts as 1.
    pub partitions: u32,
    /// Records per second over all partitions; 0: as fast as they are taken.
    pub rate: u64,
    /// Records over all partitions; `None`: no end.
    pub records: Option<u64>,
    /// Another seed gives other records.
    pub seed: u64,
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        Self { topic: "clicks".to_owned(), partitions: 4, rate: 1000, records: None, seed: 42 }
    }
}

/// A synthetic clickstream, as JSON of about 235 bytes with the user's id as key:
///
/// `event_id` string (32 hex digits), `seq` int64 (0, 1, 2, … over all partitions: `offset × partitions + partition`),
/// `user_id` int64, `ts` string (RFC 3339, UTC, ms), `type` string, `url` string, `price` float64 (two decimals),
/// `quantity` int32, `country` string, `mobile` bool. The record's own timestamp is the time it was made.
pub struct GeneratorSource {
    options: GeneratorOptions,
    clock: Clock,
    partitions: Vec<Partition>,
    /// By slot: partition number and next offset.
    run: Vec<(u64, u64)>,
    /// Slot whose turn it is.
    turn: usize,
    /// Pacing: records given since `since`.
    since: Duration,
    given: u64,
    value: Vec<u8>,
    key: Vec<u8>,
}

impl GeneratorSource {
    /// A generator; it starts with the first run.
    #[must_use]
    pub fn new(mut options: GeneratorOptions, clock: Clock) -> Self {
        let count = i32::try_from(options.partitions.max(1)).unwrap_or(i32::MAX);
        options.partitions = count.unsigned_abs();
        let topic: Arc<str> = options.topic.as_str().into();
        Self {
            partitions: (0..count).map(|i| Partition::new(topic.clone(), i)).collect(),
            options,
            clock,
            run: Vec::new(),
            turn: 0,
            since: Duration::ZERO,
            given: 0,
            value: Vec::with_capacity(512),
            key: Vec::with_capacity(16),
        }
    }

    /// One past the last offset of a partition; `None`: no end.
    fn end(&self, partition: u64) -> Option<u64> {
        let n = u64::from(self.options.partitions);
        self.options.records.map(|records| records.saturating_sub(partition).div_ceil(n))
    }

    /// How many records the rate allows now. After a standstill at most a second's worth is made up for.
    fn allowance(&mut self, now: Duration) -> u64 {
        if self.options.rate == 0 {
            return u64::MAX;
        }
        let due = now.saturating_sub(self.since).as_nanos() * u128::from(self.options.rate) / 1_000_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        if due.saturating_sub(self.given) > self.options.rate {
            (self.since, self.given) = (now, 0);
            return self.options.rate;
        }
        due - self.given.min(due)
    }

    /// The slot whose turn it is, skipping those at their end. `None`: all are.
    fn next_slot(&mut self) -> Option<usize> {
        for _ in 0..self.run.len() {
            let slot = self.turn;
            self.turn = (self.turn + 1) % self.run.len();
            let (partition, next) = self.run[slot];
            if self.end(partition).is_none_or(|end| next < end) {
                return Some(slot);
            }
        }
        None
    }
}

impl Source for GeneratorSource {
    fn assignment(&mut self, _timeout: Duration) -> Result<Option<Vec<Partition>>, SourceError> {
        Ok(Some(self.partitions.clone()))
    }

    fn start_positions(&mut self, partitions: &[Partition], _first: bool) -> Result<Positions, SourceError> {
        Ok(partitions.iter().map(|p| (p.clone(), Position::at(0))).collect())
    }

    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError> {
        self.run.clear();
        for (partition, position) in positions {
            let number = u64::try_from(partition.index).ok().filter(|&i| i < u64::from(self.options.partitions));
            let known = number.filter(|_| *partition.topic == self.options.topic);
            let offset = u64::try_from(position.offset).ok();
            let (Some(number), Some(offset)) = (known, offset) else {
                return Err(SourceError::person(format!(
                    "{partition} at {}: the generator has partitions {}/0 to {}, from offset 0 on; \
                     set topic and partitions as they were, or reset the job's positions",
                    position.offset,
                    self.options.topic,
                    self.options.partitions - 1
                )));
            };
            self.run.push((number, offset));
        }
        (self.turn, self.since, self.given) = (0, self.clock.now(), 0);
        Ok(OffsetRanges::default())
    }

    fn poll(&mut self, intake: &mut Intake, timeout: Duration) -> Result<SourceEvent, SourceError> {
        let now = self.clock.now();
        let mut allowed = self.allowance(now);
        if allowed == 0 {
            let next_ns = u128::from(self.given + 1) * 1_000_000_000 / u128::from(self.options.rate);
            let next_at = self.since + Duration::from_nanos(u64::try_from(next_ns).unwrap_or(u64::MAX));
            // Rounded up: waking just before the record is due would be a second wait for nothing.
            let wait = next_at.saturating_sub(now) + Duration::from_micros(1);
            std::thread::sleep(wait.min(timeout));
            // Not pushed now: the intake's time is from before the wait.
            return Ok(SourceEvent::Continue);
        }
        let wall_ms = self.clock.wall_ms();
        let keep_key = intake.keep().key;
        while allowed > 0 && intake.has_room() {
            let Some(slot) = self.next_slot() else { return Ok(SourceEvent::End) };
            let (partition, offset) = self.run[slot];
            record(&self.options, partition, offset, &mut self.value, &mut self.key);
            let key = keep_key.then_some(self.key.as_slice());
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // partitions fit i32, offsets i64
            intake.push(slot as u32, offset as i64, Some(wall_ms), Some(&self.value), key, []);
            self.run[slot].1 += 1;
            self.given = self.given.saturating_add(1);
            allowed -= 1;
        }
        let done = self.run.iter().all(|&(p, next)| self.end(p).is_some_and(|end| next >= end));
        Ok(if done { SourceEvent::End } else { SourceEvent::Continue })
    }

    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(SourceEvent::Continue)
    }

    fn end_run(&mut self) {}

    fn landed(&mut self, _positions: &Positions) {}

    fn ends(&self) -> BTreeMap<Partition, i64> {
        self.run
            .iter()
            .filter_map(|&(p, next)| {
                let partition = self.partitions.get(usize::try_from(p).ok()?)?.clone();
                Some((partition, i64::try_from(self.end(p).unwrap_or(next)).ok()?))
            })
            .collect()
    }

    fn close(&mut self) {}
}

const TYPES: [&str; 5] = ["view", "click", "add_to_cart", "purchase", "search"];
const COUNTRIES: [&str; 8] = ["DE", "US", "FR", "GB", "IN", "BR", "JP", "CN"];
/// 2026-01-01T00:00:00Z.
const EPOCH_DAY_MS: u64 = 86_400_000;

/// Steele, Lea and Flood's SplitMix64: independent draws from a counter.
struct Draws(u64);

impl Draws {
    fn of(seed: u64, partition: u64, offset: u64) -> Self {
        let mut draws = Self(seed ^ partition.wrapping_mul(0xA076_1D64_78BD_642F));
        let mixed = draws.next() ^ offset.wrapping_mul(0xE703_7ED1_A0B4_28DB);
        Self(mixed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_of(&mut self, list: &'static [&'static str]) -> &'static str {
        let i = self.below(list.len() as u64);
        usize::try_from(i).ok().and_then(|i| list.get(i)).copied().unwrap_or("")
    }
}

/// Writes `n` in decimal with at least `width` digits.
fn digits(out: &mut Vec<u8>, mut n: u64, width: usize) {
    let mut buffer = [b'0'; 20];
    let mut at = buffer.len();
    while n > 0 {
        at -= 1;
        buffer[at] = b"0123456789"[usize::try_from(n % 10).unwrap_or(0)];
        n /= 10;
    }
    let at = at.min(buffer.len() - width.max(1));
    out.extend_from_slice(&buffer[at..]);
}

fn hex(out: &mut Vec<u8>, n: u64) {
    for shift in (0..16).rev() {
        out.push(b"0123456789abcdef"[usize::try_from(n >> (shift * 4) & 15).unwrap_or(0)]);
    }
}

/// Writes the record at `offset` of `partition` into `value` and its key into `key`.
fn record(options: &GeneratorOptions, partition: u64, offset: u64, value: &mut Vec<u8>, key: &mut Vec<u8>) {
    let mut draws = Draws::of(options.seed, partition, offset);
    let seq = offset.wrapping_mul(u64::from(options.partitions)).wrapping_add(partition);
    let user_id = draws.below(1_000_000);
    key.clear();
    digits(key, user_id, 1);

    let out = value;
    out.clear();
    out.extend_from_slice(b"{\"event_id\":\"");
    hex(out, draws.next());
    hex(out, draws.next());
    out.extend_from_slice(b"\",\"seq\":");
    digits(out, seq, 1);
    out.extend_from_slice(b",\"user_id\":");
    out.extend_from_slice(key);
    // Ten events each millisecond, over the first 28 days of January 2026 and again.
    let ms = seq / 10 % (28 * EPOCH_DAY_MS);
    let seconds = ms / 1000;
    out.extend_from_slice(b",\"ts\":\"2026-01-");
    digits(out, ms / EPOCH_DAY_MS + 1, 2);
    out.push(b'T');
    digits(out, seconds / 3600 % 24, 2);
    out.push(b':');
    digits(out, seconds / 60 % 60, 2);
    out.push(b':');
    digits(out, seconds % 60, 2);
    out.push(b'.');
    digits(out, ms % 1000, 3);
    out.extend_from_slice(b"Z\",\"type\":\"");
    out.extend_from_slice(draws.one_of(&TYPES).as_bytes());
    out.extend_from_slice(b"\",\"url\":\"https://shop.example.com/p/");
    digits(out, draws.below(50_000), 1);
    out.extend_from_slice(b"/item?ref=");
    digits(out, draws.below(100), 1);
    out.extend_from_slice(b"\",\"price\":");
    digits(out, 1 + draws.below(499), 1);
    out.push(b'.');
    digits(out, draws.below(100), 2);
    out.extend_from_slice(b",\"quantity\":");
    digits(out, 1 + draws.below(8), 1);
    out.extend_from_slice(b",\"country\":\"");
    out.extend_from_slice(draws.one_of(&COUNTRIES).as_bytes());
    out.extend_from_slice(b"\",\"mobile\":");
    out.extend_from_slice(if draws.below(10) < 6 { b"true" } else { b"false" });
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::intake::{ChunkLimits, Keep};

    const LIMITS: ChunkLimits = ChunkLimits { bytes: 64 << 20, records: 100_000 };
    const KEEP: Keep = Keep { key: true, headers: false };

    fn options(records: Option<u64>, rate: u64) -> GeneratorOptions {
        GeneratorOptions { partitions: 3, records, rate, ..GeneratorOptions::default() }
    }

    fn begun(source: &mut GeneratorSource, at: [i64; 3]) -> Intake {
        let partitions = source.assignment(Duration::ZERO).unwrap().unwrap();
        let starts: Vec<_> = partitions.into_iter().zip(at).collect();
        source.begin(&starts.iter().map(|(p, at)| (p.clone(), Position::at(*at))).collect::<Vec<_>>()).unwrap();
        Intake::new(&starts, LIMITS, KEEP)
    }

    fn at(options: &GeneratorOptions, partition: u64, offset: u64) -> (String, String) {
        let (mut value, mut key) = Default::default();
        record(options, partition, offset, &mut value, &mut key);
        (String::from_utf8(value).unwrap(), String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_record_is_a_function_of_seed_partition_and_offset() {
        let a = GeneratorOptions::default();
        let b = GeneratorOptions { seed: 43, ..a.clone() };
        assert_eq!(at(&a, 1, 1000), at(&a, 1, 1000));
        assert_ne!(at(&a, 1, 1000), at(&a, 2, 1000));
        assert_ne!(at(&a, 1, 1000), at(&a, 1, 1001));
        assert_ne!(at(&a, 1, 1000), at(&b, 1, 1000));
    }

    #[test]
    fn the_value_is_the_documented_json() {
        let options = GeneratorOptions::default();
        let (value, key) = at(&options, 3, 21_600_009);
        let json: serde_json::Value = serde_json::from_str(&value).unwrap();
        assert_eq!(json["seq"], 21_600_009u64 * 4 + 3);
        assert_eq!(json["user_id"].to_string(), key);
        assert_eq!(json["ts"], "2026-01-01T02:24:00.003Z");
        assert_eq!(json["event_id"].as_str().unwrap().len(), 32);
        assert!(json["price"].is_f64() && json["quantity"].is_u64() && json["mobile"].is_boolean());
        assert!(TYPES.contains(&json["type"].as_str().unwrap()));
        assert!(COUNTRIES.contains(&json["country"].as_str().unwrap()));
        assert!((180..280).contains(&value.len()), "{}", value.len());
    }

    #[test]
    fn the_total_is_exact_over_all_partitions_and_then_it_ends() {
        let mut source = GeneratorSource::new(options(Some(1000), 0), Clock::held(0));
        let mut intake = begun(&mut source, [0, 0, 0]);
        assert_eq!(source.poll(&mut intake, Duration::ZERO).unwrap(), SourceEvent::End);
        assert_eq!([0, 1, 2].map(|s| intake.expected(s)), [334, 333, 333]);
        assert_eq!(source.ends().values().copied().collect::<Vec<_>>(), [334, 333, 333]);
        let mut intake = begun(&mut source, [334, 333, 330]);
        assert_eq!(source.poll(&mut intake, Duration::ZERO).unwrap(), SourceEvent::End);
        assert_eq!([0, 1, 2].map(|s| intake.expected(s)), [334, 333, 333]);
    }

    #[test]
    fn the_rate_holds_and_a_standstill_is_made_up_for_a_second_at_most() {
        let clock = Clock::held(5);
        let mut source = GeneratorSource::new(options(None, 300), clock.clone());
        let mut intake = begun(&mut source, [0, 0, 0]);
        let taken = |intake: &Intake| (0..3).map(|s| intake.expected(s)).sum::<i64>();
        source.poll(&mut intake, Duration::ZERO).unwrap();
        assert_eq!(taken(&intake), 0);
        clock.advance(Duration::from_millis(500));
        source.poll(&mut intake, Duration::ZERO).unwrap();
        assert_eq!(taken(&intake), 150);
        source.poll(&mut intake, Duration::ZERO).unwrap();
        assert_eq!(taken(&intake), 150);
        clock.advance(Duration::from_secs(60));
        source.poll(&mut intake, Duration::ZERO).unwrap();
        assert_eq!(taken(&intake), 450);
    }

    #[test]
    fn a_position_of_another_topic_needs_a_person() {
        let mut source = GeneratorSource::new(options(None, 0), Clock::held(0));
        let error = source.begin(&[(Partition::new("clicks", 3), Position::at(0))]).unwrap_err();
        assert!(!error.retry && error.message.contains("clicks/3"), "{error}");
        assert!(source.begin(&[(Partition::new("other", 0), Position::at(0))]).is_err());
        assert!(source.begin(&[(Partition::new("clicks", 0), Position::at(-1))]).is_err());
    }
}
