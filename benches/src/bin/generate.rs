//! Makes and fills the topic of the workloads; prints what is in it as JSON. `run` starts it as a process of its own,
//! so that what it holds counts in nobody's memory.
#![allow(clippy::print_stdout)] // its answer

use anyhow::Result;
use clap::Parser;
use tidemill_benches::topic;

/// Makes and fills the topic of the workloads.
#[derive(Parser)]
struct Args {
    /// `bootstrap.servers`.
    brokers: String,
    /// A topic that does not exist.
    topic: String,
    /// How many records.
    records: u64,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let args = Args::parse();
    let totals = topic::fill(&args.brokers, &args.topic, args.records)?;
    println!("{}", serde_json::to_string(&totals)?);
    Ok(())
}
