//! L1: how long a message takes through a job, `cargo run --release -p tidemill-benches --bin latency`.
//!
//! Messages are sent at a steady rate with the time inside; a job parses them, writes them out again as JSON to another
//! topic in transactions; a consumer of committed messages notes when each is seen. Beside it, on the same broker: the
//! way without a job, and what a transaction takes at least.
#![allow(clippy::print_stdout, clippy::print_stderr)] // what it is for

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;
use tidemill_benches::binaries;
use tidemill_benches::measure;
use tidemill_benches::report::write_json;
use tidemill_benches::topic::{self, PARTITIONS};
use tidemill_integration_tests::kafka::Kafka;
use tidemill_integration_tests::process::{Guarded, tail};

/// Measures the latency of a job from topic to topic.
#[derive(Parser)]
struct Args {
    /// Messages a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds before, that do not.
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// `max_age` of the job's window.
    #[arg(long, default_value = "10ms")]
    max_age: String,
    /// More lines for the job's window table.
    #[arg(long, default_value = "")]
    window: String,
    /// More lines for the job's sink table.
    #[arg(long, default_value = "")]
    sink: String,
    /// A broker that is there already; else one is started (Java 17 and Maven).
    #[arg(long)]
    brokers: Option<String>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The daemon; else the one that is built beside this binary.
    #[arg(long)]
    daemon: Option<PathBuf>,
    /// Take the daemon beside this binary as it is, without building it first.
    #[arg(long)]
    no_build: bool,
}

/// Times of many messages, in ms.
#[derive(Clone, Debug, Serialize)]
struct Times {
    messages: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Times {
    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| {
            let last = micros.len().saturating_sub(1);
            micros.get((last as f64 * share) as usize).map_or(0.0, |us| *us as f64 / 1000.0)
        };
        let messages = micros.len();
        Self { messages, p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1.0) }
    }

    fn show(&self, what: &str) {
        println!(
            "{what:<44} {:>9} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
            self.messages, self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.max_ms
        );
    }
}

#[derive(Serialize)]
struct Report {
    rate: u64,
    max_age: String,
    debug_build: bool,
    job: Times,
    without_a_job: Times,
    empty_transaction: Times,
    small_transaction: Times,
    daemon_cpu_seconds: f64,
    daemon_rss_bytes: u64,
    seconds: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is not a release build: its figures are not to be published");
    }
    let daemon = match &args.daemon {
        Some(path) => std::path::absolute(path)?,
        None => {
            if !args.no_build {
                binaries::build()?;
            }
            binaries::beside("tidemill")?
        }
    };
    let kafka = Kafka::for_measuring(args.brokers.as_deref())?;
    let brokers = kafka.brokers();
    let name = format!("tidemill-latency-{:08x}", rand::random::<u32>());
    let (input, output) = (format!("{name}-in"), format!("{name}-out"));
    topic::create(brokers, &input)?;
    topic::create(brokers, &output)?;
    let measured = measure(&args, &daemon, brokers, &name, &input, &output);
    if !kafka.is_own() {
        topic::delete(brokers, &input)?;
        topic::delete(brokers, &output)?;
    }
    let report = measured?;
    println!("{:<44} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}", "ms", "messages", "p50", "p90", "p99", "p99.9", "max");
    report.without_a_job.show("send to seen, no job between");
    report.empty_transaction.show("transaction of one position");
    report.small_transaction.show("transaction of 200 messages and a position");
    report.job.show(&format!("send to seen, through a job ({})", report.max_age));
    let mib = report.daemon_rss_bytes >> 20;
    println!("daemon: {:.2} CPU-s in {} s, {mib} MiB", report.daemon_cpu_seconds, report.seconds);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    Ok(())
}

fn measure(args: &Args, daemon: &Path, brokers: &str, name: &str, input: &str, output: &str) -> Result<Report> {
    let begun = Instant::now();
    let plain = flow(args, brokers, input, input, begun, args.seconds.min(15))?;
    let empty_transaction = transactions(brokers, name, output, input, 0)?;
    let small_transaction = transactions(brokers, name, output, input, 200)?;
    let scratch = tempfile::Builder::new().prefix("tidemill-latency-").tempdir()?;
    let file = scratch.path().join("tidemill.toml");
    fs::write(&file, config(args, brokers, name, input, output, scratch.path()))?;
    let mut command = Command::new(daemon);
    command.args(["run", "--log-format", "text", "--config"]).arg(&file).current_dir(scratch.path());
    let log = scratch.path().join("log");
    let mut process =
        Guarded::spawn(command, &log, None).with_context(|| format!("cannot start {}", daemon.display()))?;
    let through = flow(args, brokers, input, output, begun, args.seconds)
        .with_context(|| format!("the daemon's log ends:\n{}", tail(&log, 15)))?;
    let (daemon_cpu_seconds, daemon_rss_bytes) = measure::of(process.pid())?;
    process.term(Duration::from_secs(30))?;
    Ok(Report {
        rate: args.rate,
        max_age: args.max_age.clone(),
        debug_build: cfg!(debug_assertions),
        job: Times::of(through),
        without_a_job: Times::of(plain),
        empty_transaction,
        small_transaction,
        daemon_cpu_seconds,
        daemon_rss_bytes,
        seconds: args.seconds + args.warm_up,
    })
}

fn config(args: &Args, brokers: &str, name: &str, input: &str, output: &str, home: &Path) -> String {
    let (age, window, sink, home) = (&args.max_age, &args.window, &args.sink, home.display());
    format!(
        r#"[daemon]
state_dir = "{home}/state"
http = "127.0.0.1:0"
memory = "128MiB"

[job.latency.source]
type = "kafka"
brokers = "{brokers}"
topics = ["{input}"]
consumer_group = "{name}"
start = "latest"

[job.latency.format]
type = "json"
fields = [
  {{ name = "n", type = "int64" }}, {{ name = "sent_us", type = "int64" }}, {{ name = "user_id", type = "int64" }},
  {{ name = "type", type = "string" }}, {{ name = "url", type = "string" }}, {{ name = "price", type = "float64" }},
]

[job.latency.window]
max_age = "{age}"
{window}

[job.latency.sink]
type = "kafka"
brokers = "{brokers}"
topic = "{output}"
{sink}
"#
    )
}

/// Sends at the rate into one topic and reads from another, which may be the same. Answers µs of each message.
fn flow(args: &Args, brokers: &str, input: &str, output: &str, begun: Instant, seconds: u64) -> Result<Vec<u64>> {
    let stop = Arc::new(AtomicBool::new(false));
    let consumer = topic::reader(brokers, output, Offset::End, false)?;
    // The ends are looked up at the first poll: nothing may come before.
    for _ in 0..20 {
        let _ = consumer.poll(Duration::from_millis(50));
    }
    // A job that is starting begins at the end too: messages before it has are not seen.
    let sender = send(brokers, input, args.rate, begun, stop.clone())?;
    let mut times = Vec::with_capacity(usize::try_from(args.rate * seconds)? + 1000);
    let mut first = None;
    let patience = Instant::now();
    loop {
        let message = match consumer.poll(Duration::from_millis(100)) {
            None => {
                if first.is_none() && patience.elapsed() > Duration::from_secs(60) {
                    bail!("no message came out within 60 s");
                }
                if let Some(at) = first
                    && Instant::now().duration_since(at) > Duration::from_secs(args.warm_up + seconds + 10)
                {
                    bail!("messages stopped coming");
                }
                continue;
            }
            Some(message) => message?,
        };
        let now = Instant::now();
        let since = now.duration_since(*first.get_or_insert(now));
        if since >= Duration::from_secs(args.warm_up + seconds) {
            break;
        }
        if since >= Duration::from_secs(args.warm_up) {
            let sent = sent_us(message.payload().unwrap_or_default()).context("a message without its time")?;
            let seen = u64::try_from(now.duration_since(begun).as_micros())?;
            times.push(seen.saturating_sub(sent));
        }
    }
    stop.store(true, Ordering::Release);
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    let expected = args.rate * seconds;
    if (times.len() as u64) < expected * 9 / 10 {
        bail!("{} messages came in {seconds} s, expected {expected}", times.len());
    }
    Ok(times)
}

fn sent_us(value: &[u8]) -> Option<u64> {
    const NAME: &[u8] = br#""sent_us":"#;
    let at = value.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
    let digits: Vec<u8> = value[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

fn send(
    brokers: &str,
    topic: &str,
    rate: u64,
    begun: Instant,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<Result<()>>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("socket.nagle.disable", "true")
        .set("delivery.report.only.error", "true")
        .create()?;
    let topic = topic.to_owned();
    Ok(std::thread::Builder::new().name("sender".into()).spawn(move || {
        let (start, mut n) = (Instant::now(), 0u64);
        while !stop.load(Ordering::Acquire) {
            let due = u64::try_from(start.elapsed().as_micros())? * rate / 1_000_000;
            while n < due {
                let sent = begun.elapsed().as_micros();
                let value = format!(
                    "{{\"n\":{n},\"sent_us\":{sent},\"user_id\":{},\"type\":\"click\",\"url\":\
                     \"https://shop.example.com/p/{}/item?ref=18&campaign=autumn-long-name\",\"price\":{}.25}}",
                    n * 7919 % 1_000_000,
                    n % 50_000,
                    n % 500
                );
                let partition = i32::try_from(n % PARTITIONS.unsigned_abs() as u64)?;
                let record: BaseRecord<'_, str, String> = BaseRecord::to(&topic).partition(partition).payload(&value);
                producer.send(record).map_err(|(e, _)| e).context("the sender's queue is full")?;
                n += 1;
            }
            // A poll with a timeout comes back at once while something happens in the client, which is always.
            producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(1));
        }
        producer.flush(Duration::from_secs(10))?;
        Ok(())
    })?)
}

/// Times from begin to committed, of transactions one after the other, with `messages` messages and one position each.
fn transactions(brokers: &str, name: &str, output: &str, input: &str, messages: usize) -> Result<Times> {
    let group = format!("{name}-floor-{messages}");
    let member: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", &group).create()?;
    member.subscribe(&[input])?;
    let begun = Instant::now();
    while member.assignment()?.count() == 0 {
        if begun.elapsed() > Duration::from_secs(30) {
            bail!("no share of the group in 30 s");
        }
        let _ = member.poll(Duration::from_millis(20));
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", &group)
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "1")
        .set("retry.backoff.max.ms", "5")
        .set("delivery.report.only.error", "true")
        .create()?;
    producer.init_transactions(Duration::from_secs(30))?;
    let limit = Duration::from_secs(10);
    let payload = "x".repeat(200);
    let mut times = Vec::new();
    for round in 0..520i64 {
        let begun = Instant::now();
        producer.begin_transaction()?;
        for _ in 0..messages {
            producer.send(BaseRecord::<str, str>::to(output).payload(&payload)).map_err(|(e, _)| e)?;
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(input, 0, Offset::Offset(round))?;
        let metadata = member.group_metadata().context("no member")?;
        producer.send_offsets_to_transaction(&offsets, &metadata, limit)?;
        while producer.in_flight_count() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        producer.commit_transaction(limit)?;
        // The first ones warm up.
        if round >= 20 {
            times.push(u64::try_from(begun.elapsed().as_micros())?);
        }
        if round % 100 == 0 {
            let _ = member.poll(Duration::ZERO);
        }
    }
    Ok(Times::of(times))
}
