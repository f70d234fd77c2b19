//! `tidemill demo`: a real job on an embedded mock broker, and a count of what came out of it.
//!
//! The broker is librdkafka's mock cluster: good for showing, no evidence of anything. It keeps about 5 MB of each
//! partition, so the producer waits for the job.

mod count;
mod producer;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::mocking::MockCluster;

use crate::cli::{FAILED, OK, print_faults, say};
use crate::jobs::Shared;
use crate::live;
use crate::service::{Service, StartError};
use producer::{PARTITIONS, Produced, TOPIC};

/// What the job does to the clicks, in a binary that knows SQL.
const OPERATOR: &str = if cfg!(feature = "sql") {
    r#"[[job.clicks.operator]]
type  = "sql"
query = "SELECT event_id, user_id, ts, price * quantity AS amount, _partition, _offset FROM input WHERE type = 'purchase'"

"#
} else {
    ""
};

/// How long the job may take to catch up once nothing more is produced.
const CATCH_UP: Duration = Duration::from_secs(60);

/// Produces for `duration` or until Ctrl-C, then proves the result.
///
/// # Errors
/// What the machine refuses.
pub fn run(duration: Duration, out: Option<PathBuf>) -> anyhow::Result<u8> {
    let out = match out {
        Some(out) => out,
        None => tempfile::Builder::new().prefix("tidemill-demo-").tempdir()?.keep(),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    if out.join("clicks").exists() {
        bail!("{} holds the files of an earlier demo: choose another folder", out.display());
    }
    let broker = MockCluster::new(1)?;
    broker.create_topic(TOPIC, PARTITIONS, 1)?;
    let brokers = broker.bootstrap_servers();
    let config = config(&brokers, &out);
    say(&format!(
        "A mock broker runs in this process; clicks are produced to it, and this job lands them in files:\n\n{config}\n"
    ))?;
    std::fs::write(out.join("demo.toml"), &config)?;
    let loaded = match tidemill_config::load_text("demo.toml", &config, &tidemill_config::System) {
        Ok(loaded) => loaded,
        Err(faults) => {
            print_faults(&faults);
            return Ok(FAILED);
        }
    };
    let mut service = match Service::start(loaded, None) {
        Ok(service) => service,
        Err(StartError::Faults(faults)) => {
            print_faults(&faults);
            return Ok(FAILED);
        }
        Err(StartError::Other(error)) => return Err(error),
    };
    say(&format!(
        "Files:   {}\nWatch:   http://{} (a page), /metrics, /api/jobs\n\n",
        out.join("clicks").display(),
        service.http.address
    ))?;
    let produced = produce(&service, &brokers, duration)?;
    let caught_up = catch_up(&service.shared, &produced);
    live::show("");
    service.stop.gracefully.cancel();
    let code = service.join();
    drop(broker);
    if code != OK || !caught_up {
        bail!("the job did not land everything: see its log above");
    }
    prove(&out, &produced)
}

fn config(brokers: &str, out: &Path) -> String {
    let out = out.display();
    format!(
        r#"[daemon]
state_dir = "{out}/state"
http      = "127.0.0.1:0"
memory    = "256MiB"

[job.clicks]
on_error = "dead_letter"

[job.clicks.source]
type    = "kafka"
brokers = "{brokers}"
topics  = ["{TOPIC}"]

[job.clicks.format]
type   = "json"
fields = [
  {{ name = "event_id", type = "string" }},
  {{ name = "user_id", type = "int64", nullable = false }},
  {{ name = "ts", type = "timestamp" }},
  {{ name = "type", type = "string" }},
  {{ name = "price", type = "float64" }},
  {{ name = "quantity", type = "int32" }},
]
metadata = ["partition", "offset"]

{OPERATOR}[job.clicks.window]
max_age = "2s"

[job.clicks.sink]
type = "parquet"
path = "{out}/clicks"

[job.clicks.dead_letter]
type = "parquet"
path = "{out}/rejected"
"#
    )
}

/// Runs the producer until time, Ctrl-C or a failed job.
fn produce(service: &Service, brokers: &str, duration: Duration) -> anyhow::Result<Produced> {
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = stop.clone();
    let thread = {
        let (stop, shared, brokers) = (stop.clone(), service.shared.clone(), brokers.to_owned());
        std::thread::Builder::new().name("producer".into()).spawn(move || producer::run(&brokers, &shared, &stop))?
    };
    service.handle().spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.store(true, Ordering::Release);
        }
    });
    let begun = Instant::now();
    while begun.elapsed() < duration && !stop.load(Ordering::Acquire) && !service.is_over() && !thread.is_finished() {
        draw(&service.shared, begun);
        std::thread::sleep(Duration::from_millis(200));
    }
    stop.store(true, Ordering::Release);
    thread.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?
}

fn draw(shared: &Shared, begun: Instant) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let jobs = shared.jobs();
    let Some(job) = jobs.first() else { return };
    let start = tidemill_engine::progress::Progress::new("", shared.clock.clone()).snapshot();
    live::show(&live::describe(&job.name, &start, &job.progress.snapshot(), begun.elapsed(), None));
}

/// Waits until the sink's positions are the ends of what was produced.
fn catch_up(shared: &Shared, produced: &Produced) -> bool {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let Some(job) = shared.jobs().first().map(|job| job.progress.snapshot()) else { return false };
        let behind = produced.ends.iter().enumerate().any(|(i, end)| producer::position(&job, i) < *end);
        if !behind || job.state.is_over() || Instant::now() > deadline {
            return !behind;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Counts rows and dead letters and compares.
fn prove(out: &Path, produced: &Produced) -> anyhow::Result<u8> {
    let rows = count::count(&out.join("clicks"), &produced.ends)?;
    let rejected = count::count(&out.join("rejected"), &produced.ends)?;
    let sample = count::sample(&out.join("clicks"), 5)?;
    let kept = if cfg!(feature = "sql") { produced.purchases } else { produced.purchases + produced.others };
    let good = rows.exactly(kept) && rejected.exactly(produced.bad);
    say(&format!(
        "\nProduced {} records: {} purchases, {} others, {} that are not JSON.\n\
         In {} files: {} rows, {} of them doubled. In the dead letters: {} rows, {} of them doubled.\n{}\n\n{sample}\n\n\
         Next: copy {} and put your own brokers, topics and fields into it, then\n\
         \x20 tidemill check FILE\n\
         \x20 tidemill run --config FILE\n\
         See docs/configuration.md for every key.\n",
        produced.total(),
        produced.purchases,
        produced.others,
        produced.bad,
        rows.files,
        rows.rows,
        rows.doubled,
        rejected.rows,
        rejected.doubled,
        if good { "Every record is where it belongs, exactly once." } else { "THE COUNTS DIFFER." },
        out.join("demo.toml").display(),
    ))?;
    Ok(if good { OK } else { FAILED })
}
