//! The Iceberg sink.

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_engine::clock::Clock;
use tidemill_iceberg::{CatalogOptions, IcebergOptions, IcebergSink, SchemaEvolution};

use super::sink::parquet_options;
use super::storage::Storages;

/// Options of the sink.
#[must_use]
pub fn options(
    settings: &config::Iceberg,
    storages: &Storages,
    job: &str,
    instance: &str,
    schema: &SchemaRef,
    memory: usize,
    clock: &Clock,
) -> IcebergOptions {
    let config::IcebergCatalog::Rest(rest) = &settings.catalog;
    let text = |text: &Option<config::Text>| text.as_ref().map(|t| t.as_str().to_owned());
    let catalog = CatalogOptions {
        uri: rest.uri.as_str().to_owned(),
        warehouse: text(&rest.warehouse),
        token: text(&rest.token),
        credential: text(&rest.credential),
        properties: rest.properties.iter().map(|(k, v)| (k.clone(), v.as_str().to_owned())).collect(),
    };
    IcebergOptions {
        partition_by: settings.partition_by.iter().map(|field| field.as_str().to_owned()).collect(),
        evolution: match settings.schema_evolution {
            config::SchemaEvolution::Strict => SchemaEvolution::Strict,
            config::SchemaEvolution::Add => SchemaEvolution::Add,
        },
        storage: storages.get(settings.storage.as_ref()).cloned(),
        parquet: parquet_options(settings.compression, memory),
        file_size: settings.file_size,
        memory,
        ..IcebergOptions::new(job, instance, catalog, settings.table.as_str(), schema.clone(), clock.clone())
    }
}

/// Checks settings against the schema of the rows; sends nothing.
///
/// # Errors
/// What is wrong with them.
pub fn check(settings: &config::Iceberg, storages: &Storages, job: &str, schema: &SchemaRef) -> Result<(), String> {
    let options = options(settings, storages, job, "check", schema, 1 << 20, &Clock::system());
    IcebergSink::new(options).map(drop).map_err(|e| e.message)
}
