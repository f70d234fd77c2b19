//! The raw loop: what one thread does with the best library calls and no promises. It takes batches from librdkafka's
//! queue, decodes them with arrow-json, and writes one snappy Parquet file. No commits, no recovery, no guards.
#![allow(unsafe_code)] // rdkafka has no safe form of rd_kafka_consume_batch_queue, and message by message is half as fast
#![allow(clippy::print_stdout)] // its answer

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use arrow_json::ReaderBuilder;
use arrow_json::reader::Decoder;
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use tidemill_benches::clicks::schema;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Messages taken from the queue at once.
const BATCH: usize = 10_000;
/// Rows of a record batch.
const ROWS: usize = 65_536;

/// Reads a topic from its start into one Parquet file.
#[derive(Parser)]
struct Args {
    /// `bootstrap.servers`.
    brokers: String,
    /// The topic.
    topic: String,
    /// How many records to read.
    records: u64,
    /// The file to write.
    out: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let consumer = assigned(&args.brokers, &args.topic)?;
    let begun = Instant::now();
    let mut rows = Rows::create(&args.out)?;
    read(&consumer, args.records, |value| rows.take(value))?;
    let written = rows.close()?;
    if written != args.records {
        bail!("expected {} rows, wrote {written}", args.records);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{written} records in {seconds:.2} s, {:.0} records/s", written as f64 / seconds);
    Ok(())
}

/// A consumer of all partitions from their start, tuned for speed.
fn assigned(brokers: &str, topic: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "raw");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("queued.max.messages.kbytes", "65536").set("queued.min.messages", "500000");
    config.set("fetch.message.max.bytes", "4194304").set("fetch.queue.backoff.ms", "5").set("check.crcs", "false");
    let consumer: BaseConsumer = config.create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let partitions = metadata.topics().first().context("no such topic")?.partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Gives the values of `records` records to `take`.
fn read(consumer: &BaseConsumer, records: u64, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    // SAFETY: the client outlives this call; the queue is a counted reference that is given back below.
    let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    if queue.is_null() {
        bail!("the consumer has no queue");
    }
    let mut messages: Vec<*mut sys::rd_kafka_message_t> = vec![std::ptr::null_mut(); BATCH];
    let mut got = 0;
    let mut heard = Instant::now();
    while got < records {
        // SAFETY: the queue is alive, and there is room for BATCH pointers.
        let n = unsafe { sys::rd_kafka_consume_batch_queue(queue, 100, messages.as_mut_ptr(), BATCH) };
        for &message in &messages[..usize::try_from(n).unwrap_or(0)] {
            // SAFETY: the message is ours until it is destroyed below; its payload, where there is one, has `len` bytes
            // and lives as long as it.
            let value = unsafe {
                let m = &*message;
                let record = m.err == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && !m.payload.is_null();
                record.then(|| std::slice::from_raw_parts(m.payload.cast::<u8>(), m.len))
            };
            if let Some(value) = value {
                got += 1;
                take(value)?;
            }
            // SAFETY: destroyed once, and `value` is not used after.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
        if n > 0 {
            heard = Instant::now();
        } else if heard.elapsed() > Duration::from_secs(30) {
            bail!("nothing came for 30 s after {got} of {records} records");
        }
    }
    // SAFETY: the reference taken above, given back once.
    unsafe { sys::rd_kafka_queue_destroy(queue) };
    Ok(())
}

/// Decodes values and writes the batches.
struct Rows {
    decoder: Decoder,
    writer: ArrowWriter<File>,
    written: u64,
}

impl Rows {
    fn create(path: &PathBuf) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        Ok(Self {
            decoder: ReaderBuilder::new(schema()).with_batch_size(ROWS).build_decoder()?,
            writer: ArrowWriter::try_new(file, schema(), Some(properties))?,
            written: 0,
        })
    }

    fn take(&mut self, value: &[u8]) -> Result<()> {
        let mut at = 0;
        while at < value.len() {
            at += self.decoder.decode(&value[at..])?;
            // The decoder stops in the middle of a value only when its batch is full.
            if at < value.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(batch) = self.decoder.flush()? {
            self.written += batch.num_rows() as u64;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u64> {
        self.flush()?;
        self.writer.close()?;
        Ok(self.written)
    }
}
