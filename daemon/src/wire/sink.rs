//! Sinks.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_connectors::blackhole::BlackholeSink;
use tidemill_connectors::files::store::Store;
use tidemill_connectors::files::{Compression, FileFormat, FilesOptions, FilesSink, LocalStore, ParquetOptions};
use tidemill_connectors::kept::KeptPositions;
use tidemill_connectors::stdout::StdoutSink;
use tidemill_connectors::storage;
use tidemill_engine::clock::Clock;
use tidemill_engine::job::MakeSink;
use tidemill_engine::sink::{Sink, SinkError};

use super::kafka_sink::{self, FromJob};
use super::storage::Storages;
use crate::state::State;

/// What a sink is to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where rows go.
    Main,
    /// Where refused records go.
    DeadLetter,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Main => "sink",
            Self::DeadLetter => "dead-letter",
        }
    }
}

/// A sink to be made.
pub struct Order {
    /// Its settings.
    pub settings: config::Sink,
    /// The object stores it may name.
    pub storages: Storages,
    /// Its job.
    pub job: String,
    /// What it is to the job.
    pub role: Role,
    /// Schema of the rows it gets.
    pub schema: SchemaRef,
    /// Bytes its encoders may hold.
    pub memory: usize,
    /// What it takes from the job's source and window.
    pub from: FromJob,
    /// The daemon's folder.
    pub state: Arc<State>,
    /// The clock.
    pub clock: Clock,
}

/// Makes this sink, anew for each run.
#[must_use]
pub fn factory(order: Order) -> MakeSink {
    Box::new(move || {
        let (settings, job) = (&order.settings, &order.job);
        let kept = || KeptPositions::in_file(order.state.positions_file(job, order.role.as_str()));
        if let config::Sink::Kafka(kafka) = settings {
            let instance = order.state.instance();
            let options = kafka_sink::options(kafka, job, instance, &order.schema, order.memory, &order.from);
            return kafka_sink::make(kafka.transactional, options, &order.from, kept, &order.clock);
        }
        let files =
            files(settings, &order.storages, job, order.state.instance(), &order.schema, order.memory, &order.clock)?;
        match files {
            Some(options) => Ok(Box::new(FilesSink::new(options)?) as Box<dyn Sink>),
            None => {
                let positions = kept();
                Ok(match settings {
                    config::Sink::Stdout(_) => Box::new(StdoutSink::new(positions)) as Box<dyn Sink>,
                    _ => Box::new(BlackholeSink::new(Arc::default(), positions)),
                })
            }
        }
    })
}

/// Checks settings against the schema of the rows without touching anything.
///
/// # Errors
/// What is wrong.
pub fn check(settings: &config::Sink, storages: &Storages, job: &str, schema: &SchemaRef) -> Result<(), String> {
    if let config::Sink::Kafka(kafka) = settings {
        let from = FromJob { group: None, slot: Arc::default(), max_age: std::time::Duration::from_secs(1) };
        let options = kafka_sink::options(kafka, job, "check", schema, 1 << 20, &from);
        let made = kafka_sink::make(kafka.transactional, options, &from, KeptPositions::in_memory, &Clock::system());
        return made.map(drop).map_err(|e| e.message);
    }
    let Some(uri) = settings.path() else { return Ok(()) };
    storage::check(uri, storages.get(settings.storage())).map_err(|e| e.to_string())?;
    let nowhere = Arc::new(LocalStore::new("."));
    match files_in(nowhere, settings, job, "check", schema, 1 << 20, &Clock::system()) {
        Some(options) => FilesSink::new(options).map(drop).map_err(|e: SinkError| e.message),
        None => Ok(()),
    }
}

/// Options of a files sink; `None` for other sinks. Called within a runtime.
///
/// # Errors
/// When its place cannot be opened.
pub fn files(
    settings: &config::Sink,
    storages: &Storages,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    clock: &Clock,
) -> Result<Option<FilesOptions>, SinkError> {
    let Some(uri) = settings.path() else { return Ok(None) };
    let store = storage::open_files(uri, storages.get(settings.storage()))?;
    Ok(files_in(store, settings, job, instance, schema, memory, clock))
}

fn files_in(
    store: Arc<dyn Store>,
    settings: &config::Sink,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    clock: &Clock,
) -> Option<FilesOptions> {
    let mut options = FilesOptions::new(job, instance, store, schema.clone(), clock.clone());
    options.memory = memory;
    options.partition_by = settings.partition_by().iter().map(|c| c.as_str().to_owned()).collect();
    match settings {
        config::Sink::Parquet(parquet) => {
            options.file_size = parquet.file_size;
            options.format = FileFormat::Parquet(ParquetOptions {
                compression: match parquet.compression {
                    config::Compression::None => Compression::None,
                    config::Compression::Snappy => Compression::Snappy,
                    config::Compression::Zstd => Compression::Zstd,
                    config::Compression::Lz4 => Compression::Lz4,
                },
                row_group_bytes: memory.min(64 << 20),
                ..ParquetOptions::default()
            });
        }
        config::Sink::Ndjson(ndjson) => {
            options.file_size = ndjson.file_size;
            options.format = FileFormat::Ndjson;
        }
        config::Sink::Kafka(_) | config::Sink::Stdout(_) | config::Sink::Blackhole(_) => return None,
    }
    Some(options)
}
