//! What the sink is told.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use iceberg::spec::Transform;
use tidemill_connectors::files::ParquetOptions;
use tidemill_connectors::storage::StorageOptions;
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::SinkError;

/// How to reach a REST catalog.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CatalogOptions {
    /// Base address, without `/v1`.
    pub uri: String,
    /// The warehouse, as the catalog names it.
    pub warehouse: Option<String>,
    /// A bearer token, sent as it is.
    pub token: Option<String>,
    /// `id:secret`, or a secret alone: exchanged for a token at the catalog's OAuth2 address.
    pub credential: Option<String>,
    /// Properties of the catalog's client, as Iceberg's own clients name them: `prefix`, `scope`,
    /// `oauth2-server-uri`, `header.NAME`.
    pub properties: BTreeMap<String, String>,
}

/// Shows no secret.
impl fmt::Debug for CatalogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("CatalogOptions")
            .field("uri", &self.uri)
            .field("warehouse", &self.warehouse)
            .field("token", &hidden(&self.token))
            .field("credential", &hidden(&self.credential))
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// What becomes of a column of the rows that the table does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaEvolution {
    /// The job stops.
    #[default]
    Strict,
    /// It is added to the table, as an optional column.
    Add,
}

/// Everything an [`IcebergSink`](crate::IcebergSink) is made of.
#[derive(Clone, Debug)]
pub struct IcebergOptions {
    /// The job: names its positions within the table.
    pub job: String,
    /// Who writes: stands in the snapshots' summaries.
    pub instance: String,
    /// The catalog.
    pub catalog: CatalogOptions,
    /// `namespace.table`; a namespace may have several parts.
    pub table: String,
    /// Schema of the rows.
    pub schema: SchemaRef,
    /// Partition fields: `day(ts)`, `bucket[16](id)`, `country`. Empty: as the table has it; a new table has none.
    pub partition_by: Vec<String>,
    /// What becomes of columns that the table does not have.
    pub evolution: SchemaEvolution,
    /// How to reach an object store; `None`: what the catalog says about the table, else the environment.
    pub storage: Option<StorageOptions>,
    /// Form of the data files.
    pub parquet: ParquetOptions,
    /// A file that reaches this many bytes is closed and the next one begun.
    pub file_size: u64,
    /// Files open at once.
    pub open_files: usize,
    /// Bytes that encoders may hold.
    pub memory: usize,
    /// The clock.
    pub clock: Clock,
}

impl IcebergOptions {
    /// Options with the usual sizes.
    pub fn new(
        job: impl Into<String>,
        instance: impl Into<String>,
        catalog: CatalogOptions,
        table: impl Into<String>,
        schema: SchemaRef,
        clock: Clock,
    ) -> Self {
        Self {
            job: job.into(),
            instance: instance.into(),
            catalog,
            table: table.into(),
            schema,
            partition_by: Vec::new(),
            evolution: SchemaEvolution::Strict,
            storage: None,
            parquet: ParquetOptions::default(),
            file_size: 256 << 20,
            open_files: 64,
            memory: 128 << 20,
            clock,
        }
    }

    /// Namespace and name of the table.
    pub(crate) fn table_ident(&self) -> Result<TableName, SinkError> {
        let mut parts: Vec<String> = self.table.split('.').map(str::to_owned).collect();
        let name = parts.pop().unwrap_or_default();
        if parts.is_empty() || name.is_empty() || parts.iter().any(String::is_empty) {
            return Err(SinkError::person(format!("table `{}`: expected namespace.table", self.table)));
        }
        Ok(TableName { namespace: parts, name })
    }

    /// The partition fields asked for.
    pub(crate) fn partition_fields(&self) -> Result<Vec<PartitionBy>, SinkError> {
        self.partition_by.iter().map(|text| PartitionBy::parse(text)).collect()
    }
}

/// Where a table is in a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableName {
    pub(crate) namespace: Vec<String>,
    pub(crate) name: String,
}

/// One partition field, as written in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionBy {
    pub(crate) column: String,
    pub(crate) transform: Transform,
}

impl PartitionBy {
    /// Reads `column` or `transform(column)`.
    pub(crate) fn parse(text: &str) -> Result<Self, SinkError> {
        let refused = || {
            SinkError::person(format!(
                "partition_by: `{text}` is no partition field: expected a column, or one of identity(c), bucket[n](c), \
                 truncate[w](c), year(c), month(c), day(c), hour(c), void(c)"
            ))
        };
        let Some((transform, rest)) = text.split_once('(') else {
            let column = text.trim();
            return match column.is_empty() || column.contains([')', '[', ']']) {
                true => Err(refused()),
                false => Ok(Self { column: column.to_owned(), transform: Transform::Identity }),
            };
        };
        let column = rest.strip_suffix(')').map(str::trim).filter(|c| !c.is_empty()).ok_or_else(refused)?;
        let transform = transform.trim();
        let width = |name: &str| {
            let width = transform.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            width.trim().parse::<u32>().ok().filter(|n| *n > 0 && i32::try_from(*n).is_ok())
        };
        let transform = match transform {
            "identity" => Transform::Identity,
            "year" => Transform::Year,
            "month" => Transform::Month,
            "day" => Transform::Day,
            "hour" => Transform::Hour,
            "void" => Transform::Void,
            _ => match (width("bucket"), width("truncate")) {
                (Some(n), _) => Transform::Bucket(n),
                (_, Some(w)) => Transform::Truncate(w),
                _ => return Err(refused()),
            },
        };
        Ok(Self { column: column.to_owned(), transform })
    }

    /// The field's name, as Iceberg's own writers choose it.
    pub(crate) fn name(&self) -> String {
        let column = &self.column;
        match self.transform {
            Transform::Identity | Transform::Unknown => column.clone(),
            Transform::Bucket(_) => format!("{column}_bucket"),
            Transform::Truncate(_) => format!("{column}_trunc"),
            Transform::Void => format!("{column}_null"),
            Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
                format!("{column}_{}", self.transform)
            }
        }
    }
}

/// Checks one partition field of a configuration.
///
/// # Errors
/// What is wrong with it.
pub fn check_partition_by(text: &str) -> Result<(), String> {
    PartitionBy::parse(text).map(drop).map_err(|e| e.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_fields_are_read() {
        let read = |text: &str| PartitionBy::parse(text).map(|p| (p.column.clone(), p.transform, p.name()));
        for (text, transform, name) in [
            ("c", Transform::Identity, "c"),
            ("identity(c)", Transform::Identity, "c"),
            ("bucket[16](c)", Transform::Bucket(16), "c_bucket"),
            ("truncate[4](c)", Transform::Truncate(4), "c_trunc"),
            ("day(c)", Transform::Day, "c_day"),
            ("hour( c )", Transform::Hour, "c_hour"),
            ("void(c)", Transform::Void, "c_null"),
        ] {
            assert_eq!(read(text).unwrap(), ("c".to_owned(), transform, name.to_owned()), "{text}");
        }
        for text in ["", "day(", "day()", "days(c)", "bucket(c)", "bucket[0](c)", "bucket[x](c)", "c)", "unknown(c)"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = CatalogOptions {
            token: Some("hunter1".into()),
            credential: Some("id:hunter2".into()),
            properties: BTreeMap::from([("header.X-Key".to_owned(), "hunter3".to_owned())]),
            ..CatalogOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter"));
    }
}
