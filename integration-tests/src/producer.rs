//! A producer at a given rate that writes down what the broker acknowledged.

use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::ledger::Ledger;
use crate::records::{Maker, Mix, Record};
use crate::reminder::remind;

/// Longest wait for the broker: longer than any outage of the tests.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to produce.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The topic.
    pub topic: String,
    /// Its partitions; records go to them in turn.
    pub partitions: i32,
    /// Records a second; 0: as fast as it goes.
    pub rate: u64,
    /// Stop after so many; 0: go on until [`Producer::finish`].
    pub limit: u64,
    /// Seed of the records.
    pub seed: u64,
    /// What to mix in.
    pub mix: Mix,
    /// Records of a transaction and the share of transactions to abort; `None`: no transactions.
    pub transactions: Option<(u64, f64)>,
}

impl Plan {
    /// `limit` everyday records to `topic`, as fast as it goes.
    #[must_use]
    pub fn new(topic: &str, partitions: i32, limit: u64) -> Self {
        let topic = topic.to_owned();
        Self { topic, partitions, rate: 0, limit, seed: 1, mix: Mix::PLAIN, transactions: None }
    }

    /// The same without an end, at `rate` records a second.
    #[must_use]
    pub fn endless(topic: &str, partitions: i32, rate: u64) -> Self {
        Self { rate, ..Self::new(topic, partitions, 0) }
    }
}

/// A producer on its own thread.
#[derive(Debug)]
pub struct Producer {
    thread: Option<JoinHandle<Result<Ledger>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acked: AtomicU64,
}

impl Producer {
    /// Starts producing.
    pub fn start(brokers: &str, plan: Plan) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (brokers, theirs) = (brokers.to_owned(), shared.clone());
        let thread =
            std::thread::Builder::new().name("producer".into()).spawn(move || run(&brokers, &plan, &theirs))?;
        Ok(Self { thread: Some(thread), shared })
    }

    /// Records acknowledged up to now (with transactions: in ended ones).
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.shared.acked.load(Ordering::Relaxed)
    }

    /// Stops, waits until everything is acknowledged, and hands out the truth. An error if the fate of any
    /// record is not known: then nothing can be checked.
    pub fn finish(mut self) -> Result<Ledger> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// As [`finish`](Self::finish), without stopping before the plan's limit.
    pub fn wait(mut self) -> Result<Ledger> {
        self.join()
    }

    fn join(&mut self) -> Result<Ledger> {
        let thread = self.thread.take().context("already joined")?;
        thread.join().map_err(|_| anyhow!("the producer's thread panicked"))?
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Produces a plan with a limit, and waits for its end.
pub fn produce(brokers: &str, plan: Plan) -> Result<Ledger> {
    if plan.limit == 0 {
        bail!("a plan without a limit has no end");
    }
    Producer::start(brokers, plan)?.wait()
}

/// Collects acknowledgements; called inside `poll`, on the producing thread.
#[derive(Default)]
struct Reports {
    acked: Mutex<Vec<(i32, i64, u64)>>,
    failed: Mutex<Option<String>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, n: usize) {
        match result {
            Ok(message) => lock(&self.acked).push((message.partition(), message.offset(), n as u64)),
            // What an abort throws away never got an offset.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue), _)) => (),
            Err((error, _)) => *lock(&self.failed) = Some(format!("record {n}: {error}")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(brokers: &str, plan: &Plan, shared: &Shared) -> Result<Ledger> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("message.timeout.ms", PATIENCE.as_millis().to_string())
        .set("queue.buffering.max.messages", "100000")
        // A broker that was frozen is out of the metadata for a moment, and a client that refreshes then forgets it.
        .set("topic.metadata.refresh.interval.ms", "2000");
    if plan.transactions.is_some() {
        // Without these two the next transaction waits 100 ms for the markers of the last.
        config.set("retry.backoff.ms", "2").set("retry.backoff.max.ms", "10");
        // A transaction in librdkafka may not outlive its transactional id's timeout.
        config.set("message.timeout.ms", "60000");
        config.set("transactional.id", format!("producer-{}-{:08x}", plan.topic, rand::random::<u32>()));
    }
    let producer: BaseProducer<Reports> = config.create_with_context(Reports::default())?;
    let named = CString::new(brokers)?;
    std::thread::scope(|scope| {
        // Hung up when this ends, however it ends.
        let (_end, ended) = mpsc::sync_channel(0);
        let (producer, named) = (&producer, named.as_c_str());
        scope.spawn(move || remind(producer, named, || shared.acked.load(Ordering::Relaxed), &ended));
        follow(plan, shared, producer)
    })
}

/// Produces what the plan says.
fn follow(plan: &Plan, shared: &Shared, producer: &BaseProducer<Reports>) -> Result<Ledger> {
    if plan.transactions.is_some() {
        producer.init_transactions(PATIENCE)?;
    }
    let maker = Maker { seed: plan.seed, mix: plan.mix };
    let ledger = Ledger::new(&plan.topic, usize::try_from(plan.partitions)?, maker);
    let mut run = Run { plan, shared, producer, maker, ledger, next: 0, begun: Instant::now() };
    match plan.transactions {
        None => {
            run.send_until(u64::MAX)?;
            run.settle(false)?;
        }
        Some((records, aborts)) => {
            let mut rng = SmallRng::seed_from_u64(plan.seed);
            while !run.ended() {
                run.transaction(records, rng.random_bool(aborts))?;
            }
        }
    }
    Ok(run.ledger)
}

struct Run<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    producer: &'a BaseProducer<Reports>,
    maker: Maker,
    ledger: Ledger,
    next: u64,
    begun: Instant,
}

impl Run<'_> {
    fn ended(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed) || (self.plan.limit > 0 && self.next >= self.plan.limit)
    }

    /// Sends up to record `end`, at the plan's rate.
    fn send_until(&mut self, end: u64) -> Result<()> {
        while self.next < end && !self.ended() {
            let due = if self.plan.rate == 0 {
                self.next + 1000
            } else {
                let due = self.begun.elapsed().as_micros() * u128::from(self.plan.rate) / 1_000_000;
                u64::try_from(due)?
            };
            while self.next < due.min(end) && !self.ended() {
                self.send()?;
            }
            // With a rate, this is the pause between two ticks.
            let pause = if self.plan.rate == 0 { Duration::ZERO } else { Duration::from_millis(2) };
            self.producer.poll(pause);
            if self.plan.transactions.is_none() {
                self.collect(false)?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        let n = self.next;
        let record = self.maker.record(n);
        let partition = i32::try_from(n % u64::try_from(self.plan.partitions)?)?;
        let mut message = message(&self.plan.topic, partition, &record, usize::try_from(n)?);
        let begun = Instant::now();
        loop {
            match self.producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if begun.elapsed() < PATIENCE =>
                {
                    message = back;
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error).with_context(|| format!("cannot send record {n}")),
            }
        }
        self.next += 1;
        Ok(())
    }

    fn transaction(&mut self, records: u64, abort: bool) -> Result<()> {
        self.producer.begin_transaction()?;
        self.send_until(self.next + records)?;
        // Reports first: the commit's own flush would wait for them in steps of 100 ms. Aborted records are
        // written too, so that there is something in the log that must not be seen.
        self.drain()?;
        if abort {
            self.producer.abort_transaction(PATIENCE)?;
        } else {
            self.producer.commit_transaction(PATIENCE)?;
        }
        self.settle(abort)
    }

    /// Waits until nothing is in flight.
    fn drain(&self) -> Result<()> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(5));
            if begun.elapsed() > PATIENCE {
                bail!("{} records are not acknowledged after {PATIENCE:?}", self.producer.in_flight_count());
            }
        }
        Ok(())
    }

    fn settle(&mut self, aborted: bool) -> Result<()> {
        self.drain()?;
        self.collect(aborted)
    }

    /// Moves reports into the ledger.
    fn collect(&mut self, aborted: bool) -> Result<()> {
        let reports = self.producer.context();
        if let Some(error) = lock(&reports.failed).take() {
            bail!("the producer lost track: {error}");
        }
        let acked = std::mem::take(&mut *lock(&reports.acked));
        for &(partition, offset, n) in &acked {
            if !self.ledger.note(partition, offset, n, aborted) {
                bail!("the broker acknowledged {}/{partition} offset {offset} twice", self.plan.topic);
            }
        }
        self.shared.acked.fetch_add(acked.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn message<'a>(topic: &'a str, partition: i32, record: &'a Record, n: usize) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut message = BaseRecord::with_opaque_to(topic, n).partition(partition);
    if let Some(key) = &record.key {
        message = message.key(key.as_slice());
    }
    if let Some(value) = &record.value {
        message = message.payload(value.as_slice());
    }
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        message = message.headers(headers);
    }
    message
}
