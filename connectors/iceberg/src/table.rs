//! The table as it was last seen: loaded, made where it is missing, grown where the rows have more columns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::FieldRef;
use iceberg::spec::{FormatVersion, PartitionSpecRef, Schema, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use tidemill_engine::failpoint;
use tidemill_engine::sink::SinkError;

use crate::options::{IcebergOptions, PartitionBy, SchemaEvolution, TableName};
use crate::places::Places;
use crate::rest::{CatalogError, Change, LoadedTable, NewTable, RestCatalog};
use crate::staging::Writer;
use crate::types::{self, Fit};

/// So often a change that met another writer's is tried again.
const TRIES: usize = 5;
/// After a pause, for making a table.
const PAUSE: Duration = Duration::from_millis(200);

/// Properties of tables that are made here: old metadata files go, for each commit writes one.
const NEW_TABLE: [(&str, &str); 3] = [
    ("format-version", "2"),
    ("write.metadata.delete-after-commit.enabled", "true"),
    ("write.metadata.previous-versions-max", "100"),
];

/// Where its data files go.
fn data_folder(table: &TableMetadata) -> String {
    let own = table.properties().get("write.data.path").map(|path| path.trim_end_matches('/').to_owned());
    own.unwrap_or_else(|| format!("{}/data", table.location().trim_end_matches('/')))
}

/// Loads the table, or makes it.
pub(crate) async fn load_or_create(
    catalog: &RestCatalog,
    name: &TableName,
    options: &IcebergOptions,
) -> Result<LoadedTable, SinkError> {
    let mut last = None;
    for attempt in 0..TRIES {
        if let Some(found) = catalog.load(name).await? {
            return Ok(found);
        }
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let schema = types::new_schema(&options.schema, false)?;
        let spec = new_spec(&options.partition_fields()?, &schema)?;
        match catalog.create_namespace(name).await {
            // Without the right to make it, it may be there.
            Ok(()) | Err(CatalogError::Refused(_)) => {}
            // Another daemon may be making it at this moment, which not every catalog has a good answer for.
            Err(e @ CatalogError::Unknown(_)) => last = Some(e),
            Err(e) => return Err(e.of_a_read()),
        }
        failpoint!("iceberg.before_create");
        let properties = BTreeMap::from(NEW_TABLE);
        let new = NewTable { name: &name.name, schema: &schema, partition_spec: &spec, properties };
        match catalog.create_table(name, &new).await {
            Ok(_) => {
                failpoint!("iceberg.after_create");
                tracing::info!(table = options.table, "made the table");
            }
            // Another daemon was faster, or the answer was lost: it is there now, or it is not.
            Err(e @ (CatalogError::Conflict(_) | CatalogError::Missing(_) | CatalogError::Unknown(_))) => {
                last = Some(e)
            }
            Err(e) => return Err(e.of_a_read()),
        }
    }
    let said = last.map(|e| format!(": {e}")).unwrap_or_default();
    Err(SinkError::retry(format!("table `{}` was made {TRIES} times and is not there{said}", options.table)))
}

/// Spec of a new table.
pub(crate) fn new_spec(fields: &[PartitionBy], schema: &Schema) -> Result<UnboundPartitionSpec, SinkError> {
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(0);
    for field in fields {
        let refused = |e: String| SinkError::person(format!("partition_by `{}`: {e}", field.column));
        let column = schema.field_by_name(&field.column).ok_or_else(|| {
            let known: Vec<_> = schema.as_struct().fields().iter().map(|f| f.name.as_str()).collect();
            refused(format!("there is no such column; columns are: {}", known.join(", ")))
        })?;
        field.transform.result_type(&column.field_type).map_err(|e| refused(e.message().to_owned()))?;
        let added = builder.add_partition_field(column.id, field.name(), field.transform);
        builder = added.map_err(|e| refused(e.message().to_owned()))?;
    }
    Ok(builder.build())
}

/// Fails unless the table is partitioned as asked for.
fn check_spec(asked: &[PartitionBy], spec: &PartitionSpecRef, schema: &Schema) -> Result<(), SinkError> {
    if asked.is_empty() {
        return Ok(());
    }
    let text = |column: &str, transform: &iceberg::spec::Transform| format!("{transform}({column})");
    let asked: Vec<_> = asked.iter().map(|f| text(&f.column, &f.transform)).collect();
    let column = |id| schema.name_by_field_id(id).unwrap_or("?");
    let found: Vec<_> = spec.fields().iter().map(|f| text(column(f.source_id), &f.transform)).collect();
    if asked == found {
        return Ok(());
    }
    Err(SinkError::person(format!(
        "partition_by asks for [{}], the table is partitioned by [{}]: leave partition_by out, or change the table's spec",
        asked.join(", "),
        found.join(", ")
    )))
}

/// Makes the table take the rows, and a writer for it.
pub(crate) async fn writer(
    catalog: &RestCatalog,
    name: &TableName,
    table: &mut TableMetadata,
    places: &Places,
    options: &IcebergOptions,
) -> Result<Arc<Writer>, SinkError> {
    for _ in 0..TRIES {
        let (schema, spec) = (table.current_schema().clone(), table.default_partition_spec().clone());
        check_spec(&options.partition_fields()?, &spec, &schema)?;
        let nanoseconds = table.format_version() >= FormatVersion::V3;
        match types::fit(&schema, &options.schema, nanoseconds)? {
            Fit::Fits(target) => {
                let writer = Writer::new(options, places, &data_folder(table), schema, spec, target)?;
                return Ok(Arc::new(writer));
            }
            Fit::Lacks(columns) => *table = grow(catalog, name, table, &columns, options, nanoseconds).await?,
        }
    }
    Err(SinkError::retry(format!("table `{}` was given columns {TRIES} times and does not have them", options.table)))
}

/// Adds columns to the table; answers it as it is then.
async fn grow(
    catalog: &RestCatalog,
    name: &TableName,
    table: &TableMetadata,
    columns: &[FieldRef],
    options: &IcebergOptions,
    nanoseconds: bool,
) -> Result<TableMetadata, SinkError> {
    let names = columns.iter().map(|c| c.name().as_str()).collect::<Vec<_>>().join(", ");
    if options.evolution == SchemaEvolution::Strict {
        return Err(SinkError::person(format!(
            "table `{}` has no column for: {names}; add them to the table, leave them out in a query, or set \
             schema_evolution = \"add\"",
            options.table
        )));
    }
    let schema = types::with_columns(table.current_schema(), columns, table.last_column_id(), nanoseconds)?;
    let change = Change {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: table.uuid() },
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: table.last_column_id() },
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: table.current_schema_id() },
        ],
        updates: vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }],
    };
    failpoint!("iceberg.before_grow");
    match catalog.commit(name, &change).await {
        Ok(grown) => {
            failpoint!("iceberg.after_grow");
            tracing::info!(table = options.table, columns = names, "added columns to the table");
            Ok(grown)
        }
        Err(CatalogError::Conflict(_)) => match catalog.load(name).await? {
            Some(found) => Ok(found.metadata),
            None => Err(SinkError::retry(format!("table `{}` is gone", options.table))),
        },
        Err(e) => Err(e.of_a_read()),
    }
}
