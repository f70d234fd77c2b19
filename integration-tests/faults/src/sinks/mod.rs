//! The sinks under test: how each is set up, which faults its surroundings allow, what its readers see.

mod delta;
mod files;
mod iceberg;
mod kafka;
mod log;
mod postgres;
mod s3;
mod web;

use std::path::PathBuf;

use anyhow::{Result, bail};
use tidemill_integration_tests::checker::Report;
use tidemill_integration_tests::ledger::Ledger;
use tidemill_integration_tests::records::Mix;
use tidemill_test_servers::iceberg_rest::IcebergRest;
use tidemill_test_servers::kafka::Kafka;
use tidemill_test_servers::postgres::Postgres;
use tidemill_test_servers::s3::S3;
use tokio::runtime::Handle;

use crate::disk::Disk;
use crate::kind::{Part, Surroundings};
use crate::proxy::Proxy;
use crate::tally::Tally;
use crate::watch::Look;

/// Names of all sinks, as on the command line.
pub const ALL: &[&str] = &["parquet", "ndjson", "parquet-s3", "kafka", "postgres", "delta", "delta-s3", "iceberg"];

/// What a sink is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A folder of the run.
    pub root: PathBuf,
    /// How many daemons there will be.
    pub daemons: usize,
    /// Where proxies run.
    pub runtime: Handle,
    /// `bootstrap.servers` past the proxies: for readers.
    pub brokers: String,
    /// `bootstrap.servers` of each daemon.
    pub ways: Vec<String>,
    /// The source's topic.
    pub topic: String,
    /// The job's consumer group.
    pub group: String,
    /// A topic for rows.
    pub sink_topic: String,
    /// Its partitions.
    pub partitions: usize,
}

/// A server that can go away and come back.
pub trait Server {
    /// A clean stop.
    fn stop(&mut self) -> Result<()>;
    /// SIGKILL.
    fn kill9(&mut self) -> Result<()>;
    /// SIGSTOP.
    fn freeze(&mut self) -> Result<()>;
    /// SIGCONT.
    fn thaw(&mut self) -> Result<()>;
    /// Starts it again and waits until it answers.
    fn restart(&mut self) -> Result<()>;
}

macro_rules! server {
    ($kind:ty) => {
        impl Server for $kind {
            fn stop(&mut self) -> Result<()> {
                self.stop()
            }
            fn kill9(&mut self) -> Result<()> {
                self.kill9()
            }
            fn freeze(&mut self) -> Result<()> {
                self.freeze()
            }
            fn thaw(&mut self) -> Result<()> {
                self.thaw()
            }
            fn restart(&mut self) -> Result<()> {
                self.restart()
            }
        }
    };
}

server!(Kafka);
server!(S3);
server!(IcebergRest);

impl Server for Postgres {
    fn stop(&mut self) -> Result<()> {
        self.stop()
    }
    fn kill9(&mut self) -> Result<()> {
        self.kill9()
    }
    fn freeze(&mut self) -> Result<()> {
        bail!("a Postgres server is a process for each connection: it cannot be frozen as one")
    }
    fn thaw(&mut self) -> Result<()> {
        bail!("a Postgres server is a process for each connection: it cannot be frozen as one")
    }
    fn restart(&mut self) -> Result<()> {
        self.restart()
    }
}

/// A sink under test.
pub trait UnderTest {
    /// As on the command line.
    fn name(&self) -> &'static str;

    /// The lines of `[job.clicks.sink]` for one daemon, and whatever tables follow.
    fn config(&self, daemon: usize) -> String;

    /// `max_age` of the windows: as short as the sink likes.
    fn max_age(&self) -> &'static str {
        "300ms"
    }

    /// What is mixed into the records: nothing that the sink itself refuses.
    fn mix(&self) -> Mix {
        Mix::POISON
    }

    /// The steps of its commit at which a debug build can die.
    fn failpoints(&self) -> &'static [&'static str];

    /// What may go wrong around it (without the number of daemons).
    fn surroundings(&self) -> Surroundings;

    /// One of its servers.
    fn server(&mut self, part: Part) -> Result<&mut dyn Server> {
        bail!("{} has no {}", self.name(), part.name())
    }

    /// The way from a daemon to one of its servers.
    fn link(&self, part: Part, _daemon: usize) -> Result<&Proxy> {
        bail!("{} has no way to {}", self.name(), part.name())
    }

    /// Its small disk, if it lies on one.
    fn disk(&self) -> Option<&Disk> {
        None
    }

    /// Something that sees what is visible.
    fn look(&self) -> Result<Box<dyn Look>>;

    /// Reads everything as a user does.
    fn read(&self, tally: &mut Tally<'_>) -> Result<()>;

    /// Compares every value, where this is possible without the sink's own reader.
    fn values(&self, _ledger: &Ledger) -> Result<Option<Report>> {
        Ok(None)
    }
}

/// Sets a sink up by its name.
pub fn set_up(name: &str, setup: &Setup) -> Result<Box<dyn UnderTest>> {
    Ok(match name {
        "parquet" => Box::new(files::Files::parquet(setup)?),
        "ndjson" => Box::new(files::Files::ndjson(setup)?),
        "parquet-s3" => Box::new(s3::ParquetS3::new(setup)?),
        "kafka" => Box::new(kafka::Kafka::new(setup)),
        "postgres" => Box::new(postgres::Postgres::new(setup)?),
        "delta" => Box::new(delta::Delta::local(setup)?),
        "delta-s3" => Box::new(delta::Delta::s3(setup)?),
        "iceberg" => Box::new(iceberg::Iceberg::new(setup)?),
        _ => bail!("no sink {name:?}: expected one of {ALL:?}, or all"),
    })
}
