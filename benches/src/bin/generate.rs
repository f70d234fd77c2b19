//! Makes and fills a topic; prints what is in it as JSON. The benches start it as a process of its own, so that what it
//! holds counts in nobody's memory.
#![allow(clippy::print_stdout)] // its answer

use anyhow::Result;
use clap::Parser;
use tidemill_benches::clicks::{Clicks, SEED};
use tidemill_benches::topic::{self, Layout};
use tidemill_benches::wide::{Shape, Wide};

/// Bytes of a batch of shaped records, whatever the number of partitions: curves are about the daemon, not about how
/// well a producer gathers.
const BATCH: u64 = 64 << 10;

/// Makes and fills a topic: with the clickstream of the workloads, or with records of a shape.
#[derive(Parser)]
struct Args {
    /// `bootstrap.servers`.
    brokers: String,
    /// A topic that does not exist.
    topic: String,
    /// How many records.
    records: u64,
    /// Columns of shaped records.
    #[arg(long, requires = "record_bytes")]
    columns: Option<usize>,
    /// Bytes of a shaped record.
    #[arg(long, requires = "columns")]
    record_bytes: Option<usize>,
    /// Partitions for shaped records.
    #[arg(long, default_value_t = topic::PARTITIONS, value_parser = clap::value_parser!(i32).range(1..), requires = "columns")]
    partitions: i32,
}

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<()> {
    let args = Args::parse();
    let totals = match (args.columns, args.record_bytes) {
        (Some(columns), Some(bytes)) => {
            let stripe = (BATCH / bytes.max(1) as u64).max(1);
            let layout = Layout { partitions: args.partitions, stripe, batch_bytes: BATCH };
            let mut wide = Wide::new(Shape { columns, bytes })?;
            topic::fill(&args.brokers, &args.topic, layout, args.records, &mut wide)?
        }
        _ => topic::fill(&args.brokers, &args.topic, Layout::WORKLOADS, args.records, &mut Clicks::new(SEED))?,
    };
    println!("{}", serde_json::to_string(&totals)?);
    Ok(())
}
