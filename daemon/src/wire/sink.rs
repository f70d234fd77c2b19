//! Sinks.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_connectors::blackhole::BlackholeSink;
use tidemill_connectors::files::store::Store;
use tidemill_connectors::files::{
    Compression, DICTIONARY_BYTES, FileFormat, FilesOptions, FilesSink, LocalStore, ParquetOptions,
};
use tidemill_connectors::kept::KeptPositions;
use tidemill_connectors::stdout::StdoutSink;
use tidemill_connectors::storage;
use tidemill_engine::clock::Clock;
use tidemill_engine::job::MakeSink;
use tidemill_engine::sink::{Sink, SinkError};

use super::kafka_sink::{self, FromJob};
use super::slow;
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
    /// Its name in the names of files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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
    Box::new(move |_| {
        let Order { settings, storages, job, schema, memory, state, clock, role, from } = &order;
        let kept = || KeptPositions::in_file(state.positions_file(job, role.as_str()));
        if let config::Sink::Kafka(kafka) = settings {
            let options = kafka_sink::options(kafka, job, state.instance(), schema, *memory, from);
            return kafka_sink::make(kafka.transactional, options, from, kept, clock);
        }
        if let Some(sink) = holding(settings, storages, job, state.instance(), schema, *memory, clock)? {
            return Ok(slow::wrap(*role, sink));
        }
        let positions = kept();
        Ok(match settings {
            config::Sink::Stdout(_) => Box::new(StdoutSink::new(positions)) as Box<dyn Sink>,
            _ => Box::new(BlackholeSink::new(Arc::default(), positions)),
        })
    })
}

/// A sink that holds its positions itself; `None` for the others. Called within a runtime.
///
/// # Errors
/// When its settings are wrong, or its place cannot be opened.
pub fn holding(
    settings: &config::Sink,
    storages: &Storages,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    clock: &Clock,
) -> Result<Option<Box<dyn Sink>>, SinkError> {
    match settings {
        #[cfg(feature = "delta")]
        config::Sink::Delta(delta) => {
            let options = super::delta::options(delta, storages, job, instance, schema, memory, clock)?;
            Ok(Some(Box::new(tidemill_delta::DeltaSink::new(options)?)))
        }
        #[cfg(not(feature = "delta"))]
        config::Sink::Delta(_) => Err(SinkError::person(left_out("delta"))),
        #[cfg(feature = "iceberg")]
        config::Sink::Iceberg(iceberg) => {
            let options = super::iceberg::options(iceberg, storages, job, instance, schema, memory, clock);
            Ok(Some(Box::new(tidemill_iceberg::IcebergSink::new(options)?)))
        }
        #[cfg(not(feature = "iceberg"))]
        config::Sink::Iceberg(_) => Err(SinkError::person(left_out("iceberg"))),
        config::Sink::Postgres(postgres) => super::postgres::open(postgres, job, instance, schema).map(Some),
        _ => Ok(match files(settings, storages, job, instance, schema, memory, clock)? {
            Some(options) => Some(Box::new(FilesSink::new(options)?)),
            None => None,
        }),
    }
}

/// Said of a sink that this binary was built without.
#[cfg(not(all(feature = "delta", feature = "iceberg")))]
pub(crate) fn left_out(feature: &str) -> String {
    format!("this binary was built without the feature `{feature}`: take the stock one")
}

/// Checks settings against the schema of the rows without touching anything.
///
/// # Errors
/// What is wrong.
pub fn check(settings: &config::Sink, storages: &Storages, job: &str, schema: &SchemaRef) -> Result<(), String> {
    match settings {
        #[cfg(feature = "delta")]
        config::Sink::Delta(delta) => return super::delta::check(delta, storages, schema),
        #[cfg(not(feature = "delta"))]
        config::Sink::Delta(_) => return Err(left_out("delta")),
        #[cfg(feature = "iceberg")]
        config::Sink::Iceberg(iceberg) => return super::iceberg::check(iceberg, storages, job, schema),
        #[cfg(not(feature = "iceberg"))]
        config::Sink::Iceberg(_) => return Err(left_out("iceberg")),
        config::Sink::Postgres(postgres) => return super::postgres::check(postgres, job, schema),
        config::Sink::Kafka(kafka) => {
            let from = FromJob { group: None, slot: Arc::default(), max_age: std::time::Duration::from_secs(1) };
            let options = kafka_sink::options(kafka, job, "check", schema, 1 << 20, &from);
            let made =
                kafka_sink::make(kafka.transactional, options, &from, KeptPositions::in_memory, &Clock::system());
            return made.map(drop).map_err(|e| e.message);
        }
        _ => {}
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
            options.format = FileFormat::Parquet(parquet_options(parquet.compression, memory));
        }
        config::Sink::Ndjson(ndjson) => {
            options.file_size = ndjson.file_size;
            options.format = FileFormat::Ndjson;
        }
        _ => return None,
    }
    Some(options)
}

/// Form of Parquet files of a sink whose encoders may hold `memory` bytes.
pub(super) fn parquet_options(compression: config::Compression, memory: usize) -> ParquetOptions {
    ParquetOptions {
        compression: match compression {
            config::Compression::None => Compression::None,
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::Zstd => Compression::Zstd,
            config::Compression::Lz4 => Compression::Lz4,
        },
        row_group_bytes: memory.min(64 << 20),
        dictionaries: memory / 2 / DICTIONARY_BYTES,
        ..ParquetOptions::default()
    }
}
