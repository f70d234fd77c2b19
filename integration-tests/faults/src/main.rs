//! `tidemill-faults`: the fault bench by command. See `integration-tests/README.md`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tidemill_faults::run::{Options, run};
use tidemill_faults::sinks;

/// Faults against Tidemill with a real broker and real sinks, and a count of every record afterwards.
#[derive(Debug, Parser)]
#[command(name = "tidemill-faults", version)]
struct Args {
    /// The sink, several with commas, or `all`.
    #[arg(long, default_value = "parquet")]
    sink: String,
    /// Begin faults for so long, per sink; they overlap. Without it, `--faults` says how many.
    #[arg(long)]
    minutes: Option<f64>,
    /// Each kind of fault that applies so many times, one after the other.
    #[arg(long, default_value_t = 1, conflicts_with = "minutes")]
    faults: usize,
    /// Of the schedule and the records; drawn and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Daemons on the job.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    daemons: u8,
    /// Records a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Go on producing until there are so many, without faults if those are over.
    #[arg(long, default_value_t = 0)]
    records: u64,
    /// A property of the daemons' consumers, `key=value`; may be repeated.
    #[arg(long = "property")]
    properties: Vec<String>,
    /// Only faults with one of these texts in their name, with commas.
    #[arg(long)]
    only: Option<String>,
    /// Write everything into this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::from(2)
        }
    }
}

fn pair(text: &str) -> Option<(String, String)> {
    text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// True if all was clean.
fn bench(args: &Args) -> Result<bool> {
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let options = Options {
        faults: if args.minutes.is_some() { 0 } else { args.faults.max(1) },
        time: Duration::try_from_secs_f64(args.minutes.unwrap_or(0.0) * 60.0).context("--minutes")?,
        mixed: args.minutes.is_some(),
        seed,
        daemons: usize::from(args.daemons),
        rate: args.rate.max(1),
        records: args.records,
        only: args.only.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect(),
        properties: args.properties.iter().filter_map(|text| pair(text)).collect(),
        ..Options::default()
    };
    let names: Vec<&str> = match args.sink.as_str() {
        "all" => sinks::ALL.to_vec(),
        names => names.split(',').collect(),
    };
    if let Some(unknown) = names.iter().find(|name| !sinks::ALL.contains(name)) {
        bail!("no sink {unknown:?}: expected some of {:?}, or all", sinks::ALL);
    }
    let mut out = std::io::stdout();
    writeln!(out, "seed {seed}")?;
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        let place = tempfile::Builder::new().prefix(&format!("tidemill-faults-{name}-")).tempdir()?;
        let begun = Instant::now();
        let mut say = |text: &str| {
            let _ = writeln!(std::io::stdout(), "{name:>10} {text}");
        };
        match run(name, &options, place.path(), &mut say) {
            Ok(outcome) => {
                writeln!(out, "\n{outcome}")?;
                if !outcome.is_clean() {
                    writeln!(out, "{name}: logs are kept in {}", place.keep().display())?;
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                writeln!(
                    out,
                    "\n{name}: failed after {:?}, logs are kept in {}",
                    begun.elapsed(),
                    place.keep().display()
                )?;
                writeln!(out, "{error:#}")?;
                failed.push(name.to_owned());
            }
        }
    }
    if let Some(file) = &args.json {
        let report = serde_json::json!({ "runs": outcomes, "failed": failed });
        std::fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(failed.is_empty() && outcomes.iter().all(tidemill_faults::run::Outcome::is_clean))
}
