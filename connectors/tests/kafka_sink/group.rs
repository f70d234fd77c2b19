//! A consumer group with real members, and sinks that stand for a member each.
//!
//! The sink's compare is the group's generation: it cannot be tried without members. Each sink made here joins the
//! group as a daemon does, and leaves it when it is dropped. What it does not do by itself is follow the group: the
//! metadata it commits with is what its member had when the sink was made, as in a process that is frozen from then on
//! ([`Peers::Frozen`]), or is renewed when others join without taking anything away ([`Peers::Awake`]).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_connectors::kafka::GroupMetadataSlot;
use tidemill_connectors::kafka::sink::{KafkaSink, KafkaSinkOptions, Lose};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Sink, SinkError, Staged, Staging};
use tidemill_engine::testkit::Key;
use tidemill_engine::testkit::conformance::{Place, Subject};
use tidemill_test_servers::kafka::Kafka;

/// The suite's source topic: positions can only be committed of partitions that exist.
pub const SOURCE: &str = "orders";

/// The broker of this process, with the suite's source topic.
pub fn broker() -> &'static Kafka {
    static READY: Mutex<bool> = Mutex::new(false);
    let kafka = Kafka::shared();
    let mut ready = READY.lock().unwrap();
    if !*ready {
        // Another process may have made it on a shared broker.
        let _ = kafka.create_topic(SOURCE, 300, &[]);
        warm_up(kafka);
        *ready = true;
    }
    kafka
}

/// A transaction: a broker that has just started answers its first ones with errors at times.
fn warm_up(kafka: &Kafka) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let topic = kafka.topic("warm-up", 1, &[]).unwrap();
    let limit = Duration::from_secs(20);
    for turn in 0..10 {
        let producer: BaseProducer =
            kafka.client().set("transactional.id", format!("warm-up-{topic}-{turn}")).create().unwrap();
        let done = producer.init_transactions(limit).and_then(|()| producer.begin_transaction()).and_then(|()| {
            producer.send(BaseRecord::<str, str>::to(&topic).payload("x")).map_err(|(e, _)| e)?;
            producer.commit_transaction(limit)
        });
        if done.is_ok() {
            return;
        }
    }
    panic!("the broker commits no transaction");
}

pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{:08x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// How members take it that others come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// They do not see it: what they hold is gone, and they do not know.
    Frozen,
    /// They go on with what they hold, under the new generation.
    Awake,
}

/// A member of the group, on a thread of its own.
struct Member {
    consumer: Arc<BaseConsumer>,
    slot: Arc<GroupMetadataSlot>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Member {
    fn join(group: &str) -> Arc<Self> {
        let consumer: BaseConsumer = broker()
            .client()
            .set("group.id", group)
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "100")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest")
            .create()
            .unwrap();
        consumer.subscribe(&[SOURCE]).unwrap();
        let (consumer, stop) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let (polled, stopped) = (consumer.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let _ = polled.poll(Duration::from_millis(20));
            }
        });
        Arc::new(Self { consumer, slot: Arc::default(), stop, thread: Some(thread) })
    }

    /// Waits until the member has a share, and takes down its generation.
    fn capture(&self) -> i32 {
        let begun = Instant::now();
        loop {
            self.slot.capture(&self.consumer);
            let share = self.consumer.assignment().unwrap().count();
            match self.slot.captured_generation() {
                Some(generation) if generation >= 0 && share > 0 => return generation,
                _ => assert!(begun.elapsed() < Duration::from_secs(30), "no share of the group in 30 s"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.take().unwrap().join();
        self.consumer.unsubscribe();
    }
}

/// A sink, and its membership for as long as it lives.
struct MemberSink {
    sink: KafkaSink,
    _member: Arc<Member>,
}

#[async_trait]
impl Sink for MemberSink {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.sink.recover(partitions).await
    }
    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        self.sink.open().await
    }
    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        self.sink.commit(staged, ranges).await
    }
    fn identity(&self) -> Option<String> {
        self.sink.identity()
    }
}

/// One topic, one group.
pub struct Group {
    pub topic: String,
    pub options: KafkaSinkOptions,
    pub peers: Peers,
    lose: Lose,
    members: Mutex<Vec<std::sync::Weak<Member>>>,
}

impl Group {
    /// Blocks, also in async tests.
    pub fn new(schema: SchemaRef, peers: Peers) -> Self {
        tokio::task::block_in_place(|| Self::made(schema, peers))
    }

    fn made(schema: SchemaRef, peers: Peers) -> Self {
        let topic = broker().topic("out", 2, &[]).unwrap();
        let job = unique("job");
        let mut options = KafkaSinkOptions::new(&job, "?", broker().brokers(), &topic, schema);
        let lose = options.lose.clone();
        options.memory = 4 << 20;
        Self { topic, options, peers, lose, members: Mutex::default() }
    }

    /// A new member, when the group has settled with it.
    fn join(&self) -> Arc<Member> {
        let member = Member::join(&self.options.group);
        let mut members = self.members.lock().unwrap();
        members.retain(|m| m.strong_count() > 0);
        let mut generation = member.capture();
        if self.peers == Peers::Awake {
            let begun = Instant::now();
            for other in members.iter().filter_map(std::sync::Weak::upgrade) {
                while other.capture() != generation {
                    assert!(begun.elapsed() < Duration::from_secs(30), "the group does not settle");
                    std::thread::sleep(Duration::from_millis(5));
                    generation = member.capture();
                }
            }
        }
        members.push(Arc::downgrade(&member));
        member
    }

    pub fn kafka_sink(&self, instance: &str) -> Box<dyn Sink> {
        let member = self.join();
        let options = KafkaSinkOptions { instance: instance.to_owned(), ..self.options.clone() };
        let sink = KafkaSink::new(options, member.slot.clone(), Clock::system()).unwrap();
        Box::new(MemberSink { sink, _member: member })
    }

    /// What a reader of committed messages sees, once no transaction is open or three seconds have passed: markers come after the answer.
    pub fn messages(&self) -> Vec<serde_json::Value> {
        read_committed(&self.topic)
            .iter()
            .map(|m| serde_json::from_slice(m.value.as_deref().expect("a value")).expect("JSON"))
            .collect()
    }
}

/// A message read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

fn reader(isolation: &str) -> BaseConsumer {
    broker()
        .client()
        .set("group.id", "reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap()
}

/// The messages of a topic, partition by partition.
pub fn read_committed(topic: &str) -> Vec<Read> {
    let begun = Instant::now();
    let consumer = reader("read_committed");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let partitions = i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
    loop {
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut read, mut ends, mut open) = (Vec::new(), 0, false);
        while ends < partitions {
            match consumer.poll(Duration::from_secs(10)).expect("messages or their end within 10 s") {
                Ok(message) => {
                    use rdkafka::message::Headers;
                    read.push(Read {
                        partition: message.partition(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        timestamp: message.timestamp().to_millis(),
                        headers: message
                            .headers()
                            .map(|all| all.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect())
                            .unwrap_or_default(),
                    });
                }
                Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                    ends += 1;
                    // The end of what is decided lies before the end of the log while a transaction is open.
                    let position = consumer.position().unwrap();
                    let at = position.find_partition(topic, partition).map(|e| e.offset());
                    let (_, high) = broker().ends(topic, partition).unwrap();
                    open |= matches!(at, Some(Offset::Offset(at)) if at < high && high - at > 1);
                }
                Err(error) => panic!("{error}"),
            }
        }
        if !open || begun.elapsed() > Duration::from_secs(3) {
            read.sort_by_key(|m| m.partition);
            return read;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn key_of(row: &serde_json::Value) -> Key {
    let partition = row["_partition"].as_i64().unwrap();
    (row["_topic"].as_str().unwrap().to_owned(), i32::try_from(partition).unwrap(), row["_offset"].as_i64().unwrap())
}

#[async_trait]
impl Subject for Group {
    async fn sink(&self, instance: &str) -> Box<dyn Sink> {
        tokio::task::block_in_place(|| self.kafka_sink(instance))
    }

    async fn rows(&self) -> Vec<Key> {
        tokio::task::block_in_place(|| self.messages().iter().map(key_of).collect())
    }

    async fn lose_answer(&self, landed: bool) -> bool {
        self.lose.next(landed);
        true
    }
}

pub struct Groups(pub Peers);

#[async_trait]
impl Place for Groups {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        Box::new(Group::new(schema, self.0))
    }
}

/// Stages rows and seals them.
pub async fn staged(sink: &mut Box<dyn Sink>, rows: impl IntoIterator<Item = RecordBatch>) -> Staged {
    let mut staging = sink.open().await.unwrap();
    for batch in rows {
        staging.write(batch).await.unwrap();
    }
    staging.seal().await.unwrap()
}
