//! What a JSON format is made from, and what can be wrong with it.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

use crate::metadata::Metadata;

use super::MAX_DEPTH;

/// What becomes of a record without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tombstones {
    /// Passed over and counted.
    #[default]
    Skip,
    /// A row whose fields are all null.
    Row,
    /// Refused.
    Reject,
}

impl Tombstones {
    /// What is said of a refused one.
    pub(crate) const REJECTED: &str =
        "expected a value, found a tombstone (no value); to accept tombstones set `tombstones` to \"skip\" or \"row\"";
}

/// How JSON records become rows.
#[derive(Clone, Debug)]
pub struct JsonOptions {
    /// The fields of a record, in the order of the columns. Types: boolean, int8…int64, uint8…uint64, float32, float64,
    /// utf8, binary (standard base64 with padding), date32, time32, time64, timestamp with the zone "+00:00",
    /// decimal128, list, struct; lists and structs of any of these.
    pub fields: Fields,
    /// Columns that follow the fields.
    pub metadata: Vec<Metadata>,
    /// What becomes of a record without a value.
    pub tombstones: Tombstones,
    /// Larger records are refused.
    pub max_record_bytes: usize,
    /// Numbers and booleans are taken for utf8 fields, as the text they are written in.
    pub coerce: bool,
}

impl JsonOptions {
    /// The default options with these fields: no metadata, tombstones skipped, records of at most 1 MiB.
    #[must_use]
    pub fn new(fields: impl Into<Fields>) -> Self {
        Self {
            fields: fields.into(),
            metadata: Vec::new(),
            tombstones: Tombstones::Skip,
            max_record_bytes: 1 << 20,
            coerce: false,
        }
    }
}

/// Why no format can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The type is none that JSON is decoded into.
    #[error("field `{path}`: no JSON value becomes {found}; use {hint}")]
    Type {
        /// The field.
        path: String,
        /// Its type.
        found: String,
        /// What to use.
        hint: &'static str,
    },
    /// Two columns of one name.
    #[error("field `{path}` is there twice; name each field once")]
    DuplicateField {
        /// The field.
        path: String,
    },
    /// Lists and structs too deep inside each other.
    #[error("field `{path}`: lists and structs are more than {MAX_DEPTH} deep, the record itself included")]
    TooDeep {
        /// The field.
        path: String,
    },
    /// A column asked for that is not there.
    #[error("no column `{name}`; there are {known}")]
    NoSuchColumn {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Tombstones would be rows of nulls.
    #[error(
        "tombstones = \"row\" makes rows of nulls, but field `{path}` is not nullable; make it nullable, or set tombstones to \"skip\" or \"reject\""
    )]
    TombstoneRows {
        /// The field.
        path: String,
    },
    /// No record would be small enough.
    #[error("max_record_bytes is 0; set it to at least 1")]
    NoBytes,
}

impl FormatError {
    pub(crate) fn no_such_column(name: &str, schema: &Schema) -> Self {
        let known: Vec<_> = schema.fields().iter().map(|f| format!("`{}`", f.name())).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::NoSuchColumn { name: name.to_owned(), known }
    }
}

/// Checks all options.
pub(super) fn check(options: &JsonOptions) -> Result<(), FormatError> {
    check_fields(&options.fields, "", 1)?;
    let mut names: BTreeSet<&str> = options.fields.iter().map(|f| f.name().as_str()).collect();
    for column in &options.metadata {
        if !names.insert(column.column()) {
            return Err(FormatError::DuplicateField { path: column.column().to_owned() });
        }
    }
    if options.max_record_bytes == 0 {
        return Err(FormatError::NoBytes);
    }
    if options.tombstones == Tombstones::Row
        && let Some(field) = options.fields.iter().find(|f| !f.is_nullable())
    {
        return Err(FormatError::TombstoneRows { path: field.name().clone() });
    }
    Ok(())
}

/// Checks the fields of an object at `depth`, the record being at 1.
fn check_fields(fields: &Fields, path: &str, depth: usize) -> Result<(), FormatError> {
    let mut names = BTreeSet::new();
    for field in fields {
        let path = if path.is_empty() { field.name().clone() } else { format!("{path}.{}", field.name()) };
        if !names.insert(field.name()) {
            return Err(FormatError::DuplicateField { path });
        }
        check_field(field, path, depth)?;
    }
    Ok(())
}

fn check_field(field: &Field, path: String, depth: usize) -> Result<(), FormatError> {
    let wrong = |path, hint| Err(FormatError::Type { path, found: field.data_type().to_string(), hint });
    match field.data_type() {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32
        | DataType::Time32(TimeUnit::Second | TimeUnit::Millisecond)
        | DataType::Time64(TimeUnit::Microsecond | TimeUnit::Nanosecond) => Ok(()),
        DataType::Timestamp(_, Some(zone)) if &**zone == "+00:00" => Ok(()),
        DataType::Timestamp(..) => wrong(path, "a timestamp with the zone \"+00:00\""),
        DataType::Decimal128(precision, scale)
            if (1..=super::number::PRECISION_MAX).contains(precision)
                && (-38..=38).contains(scale)
                && *scale <= *precision as i8 =>
        {
            Ok(())
        }
        DataType::Decimal128(..) => wrong(path, "a precision of 1 to 38 and a scale of at most the precision"),
        DataType::List(_) | DataType::Struct(_) if depth >= MAX_DEPTH => Err(FormatError::TooDeep { path }),
        DataType::List(item) => check_field(item, format!("{path}[]"), depth + 1),
        DataType::Struct(fields) => check_fields(fields, &path, depth + 1),
        _ => wrong(
            path,
            "boolean, int8 to int64, uint8 to uint64, float32, float64, utf8, binary, date32, time32, time64, \
             timestamp, decimal128, list or struct",
        ),
    }
}
