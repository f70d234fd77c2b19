//! The Delta sink.

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_connectors::storage;
use tidemill_delta::{DeltaOptions, DeltaPlace, SchemaEvolution};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::SinkError;

use super::sink::parquet_options;
use super::storage::Storages;

/// Where the table of these settings is. Called within a runtime.
///
/// # Errors
/// When it cannot be opened.
pub fn place(settings: &config::Delta, storages: &Storages) -> Result<DeltaPlace, SinkError> {
    DeltaPlace::open(&settings.uri, storages.get(settings.storage.as_ref()))
}

/// Options of the sink. Called within a runtime.
///
/// # Errors
/// When its place cannot be opened.
pub fn options(
    settings: &config::Delta,
    storages: &Storages,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    clock: &Clock,
) -> Result<DeltaOptions, SinkError> {
    let place = place(settings, storages)?;
    Ok(DeltaOptions {
        partition_by: partition_by(settings),
        evolution: match settings.schema_evolution {
            config::SchemaEvolution::Strict => SchemaEvolution::Strict,
            config::SchemaEvolution::Add => SchemaEvolution::Add,
        },
        parquet: parquet_options(settings.compression, memory),
        file_size: settings.file_size,
        memory,
        checkpoint_every: settings.checkpoint_every,
        ..DeltaOptions::new(job, instance, place, schema.clone(), clock.clone())
    })
}

/// Checks settings against the schema of the rows without touching anything.
///
/// # Errors
/// What is wrong.
pub fn check(settings: &config::Delta, storages: &Storages, schema: &SchemaRef) -> Result<(), String> {
    storage::check(&settings.uri, storages.get(settings.storage.as_ref())).map_err(|e| e.to_string())?;
    tidemill_delta::check(schema, &partition_by(settings)).map_err(|e| e.message)
}

fn partition_by(settings: &config::Delta) -> Vec<String> {
    settings.partition_by.iter().map(|column| column.as_str().to_owned()).collect()
}
