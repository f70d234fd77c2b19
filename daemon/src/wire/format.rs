//! Formats.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use tidemill_config as config;
use tidemill_connectors::json::{JsonFormat, JsonOptions, Tombstones};
use tidemill_connectors::metadata::Metadata;
use tidemill_connectors::raw::RawFormat;
use tidemill_engine::format::Format;

/// The format of these settings, of all its columns or only some.
///
/// # Errors
/// What is wrong with the settings.
pub fn format(settings: &config::Format, columns: Option<&[String]>) -> Result<Arc<dyn Format>, String> {
    match settings {
        config::Format::Json(json) => {
            let format = JsonFormat::new(JsonOptions {
                fields: fields(&json.fields),
                metadata: metadata(&json.metadata),
                tombstones: tombstones(json.tombstones),
                max_record_bytes: usize::try_from(json.max_record_bytes).unwrap_or(usize::MAX),
                coerce: json.coerce,
            })
            .map_err(|e| e.to_string())?;
            Ok(match columns {
                Some(columns) => Arc::new(format.with_projection(columns).map_err(|e| e.to_string())?),
                None => Arc::new(format),
            })
        }
        config::Format::Raw(raw) => {
            let most = usize::try_from(raw.max_record_bytes).unwrap_or(usize::MAX);
            let format = RawFormat::new(&metadata(&raw.metadata), tombstones(raw.tombstones), most)
                .map_err(|e| e.to_string())?;
            Ok(match columns {
                Some(columns) => Arc::new(format.with_projection(columns).map_err(|e| e.to_string())?),
                None => Arc::new(format),
            })
        }
    }
}

fn tombstones(settings: config::Tombstones) -> Tombstones {
    match settings {
        config::Tombstones::Skip => Tombstones::Skip,
        config::Tombstones::Row => Tombstones::Row,
        config::Tombstones::Reject => Tombstones::Reject,
    }
}

fn metadata(settings: &[config::Metadata]) -> Vec<Metadata> {
    let one = |m: &config::Metadata| match m {
        config::Metadata::Topic => Metadata::Topic,
        config::Metadata::Partition => Metadata::Partition,
        config::Metadata::Offset => Metadata::Offset,
        config::Metadata::Timestamp => Metadata::Timestamp,
        config::Metadata::Key => Metadata::Key,
        config::Metadata::Value => Metadata::Value,
        config::Metadata::Headers => Metadata::Headers,
    };
    settings.iter().map(one).collect()
}

fn fields(settings: &[config::Field]) -> Fields {
    settings.iter().map(|f| Field::new(f.name.as_str(), data_type(&f.data_type), f.nullable)).collect()
}

fn data_type(settings: &config::DataType) -> DataType {
    use config::DataType as T;
    let unit = |u: &config::TimeUnit| match u {
        config::TimeUnit::Second => TimeUnit::Second,
        config::TimeUnit::Millisecond => TimeUnit::Millisecond,
        config::TimeUnit::Microsecond => TimeUnit::Microsecond,
        config::TimeUnit::Nanosecond => TimeUnit::Nanosecond,
    };
    match settings {
        T::Bool => DataType::Boolean,
        T::Int8 => DataType::Int8,
        T::Int16 => DataType::Int16,
        T::Int32 => DataType::Int32,
        T::Int64 => DataType::Int64,
        T::UInt8 => DataType::UInt8,
        T::UInt16 => DataType::UInt16,
        T::UInt32 => DataType::UInt32,
        T::UInt64 => DataType::UInt64,
        T::Float32 => DataType::Float32,
        T::Float64 => DataType::Float64,
        T::String => DataType::Utf8,
        T::Binary => DataType::Binary,
        T::Date => DataType::Date32,
        T::Time(u) => match unit(u) {
            u @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(u),
            u => DataType::Time64(u),
        },
        T::Timestamp(u) => DataType::Timestamp(unit(u), Some("+00:00".into())),
        T::Decimal(precision, scale) => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX)),
        T::List(item) => DataType::List(Arc::new(Field::new("item", data_type(item), true))),
        T::Struct(inner) => DataType::Struct(fields(inner)),
    }
}
