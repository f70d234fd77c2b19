//! JSON records into rows: driven by a schema, strict, one pass over the bytes.
//!
//! A record is one JSON object in UTF-8. What becomes of everything else is fixed: see [`Cause`] for what is
//! refused. Rules that go beyond JSON's own:
//!
//! * Integers are JSON integers in range: no fraction, no exponent, no quotes (`-0` is 0). Floats are any number that
//!   is finite in the type. Decimals are numbers, or strings with a JSON number, whose value the type has exactly.
//! * Strings are strings; with [`JsonOptions::coerce`] also numbers and booleans, as the text they are written in.
//! * Timestamps are RFC 3339 strings, or epoch integers in the field's unit; dates ISO dates or days since the epoch;
//!   times of day `03:04:05.678` or integers in the field's unit. All of the years 0000 to 9999; digits finer than
//!   the unit are cut off; second 60 is refused.
//! * Binary is standard base64 with padding.
//! * A missing field is a null. Fields that the schema has not are ignored, but must be JSON, without duplicate keys.
//!
//! Reading order: [`JsonFormat`] here, `decoder` for a chunk, `object` and `value` for a record, `column` for what
//! they are written to, `skip` for what nobody reads, then the parts: `keys`, `number`, `text`, `time`, `scan`.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_engine::format::{Decoder, Format};

mod cause;
mod column;
mod decoder;
mod duplicates;
mod fault;
mod keys;
mod number;
mod object;
mod options;
mod scan;
mod skip;
mod text;
mod time;
mod unknown;
mod value;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub use cause::Cause;
pub use options::{FormatError, JsonOptions, Tombstones};
pub use unknown::UNKNOWN_FIELDS_TOTAL;

/// Most objects and lists inside each other, in records and schemas, the record itself included.
pub const MAX_DEPTH: usize = 64;

/// The JSON format with a schema.
#[derive(Clone, Debug)]
pub struct JsonFormat {
    options: Arc<JsonOptions>,
    /// For each field whether it is a column.
    read: Arc<[bool]>,
    schema: SchemaRef,
    unknown: Arc<unknown::UnknownFields>,
}

impl JsonFormat {
    /// A format whose rows have the fields of `options`, then its metadata columns.
    ///
    /// # Errors
    /// When a type is not supported, a name is there twice, the schema is too deep, or options contradict each other.
    pub fn new(options: JsonOptions) -> Result<Self, FormatError> {
        options::check(&options)?;
        let fields = options.fields.iter().map(|f| f.as_ref().clone());
        let schema = Schema::new(fields.chain(options.metadata.iter().map(|m| m.field())).collect::<Vec<Field>>());
        Ok(Self {
            read: vec![true; options.fields.len()].into(),
            options: Arc::new(options),
            schema: Arc::new(schema),
            unknown: Arc::default(),
        })
    }

    /// The same with only the columns named, fields or metadata, in the order they have here. Fields left out must
    /// still be well-formed JSON, and be there if they are not nullable, but their types are not looked at.
    ///
    /// # Errors
    /// When there is no such column.
    pub fn with_projection<S: AsRef<str>>(&self, columns: &[S]) -> Result<Self, FormatError> {
        for column in columns {
            if self.schema.index_of(column.as_ref()).is_err() {
                return Err(FormatError::no_such_column(column.as_ref(), &self.schema));
            }
        }
        let kept = |name: &str| columns.iter().any(|c| c.as_ref() == name);
        let read: Vec<bool> =
            self.options.fields.iter().zip(&*self.read).map(|(f, &was)| was && kept(f.name())).collect();
        let fields = self.schema.fields().iter().filter(|f| kept(f.name())).cloned().collect::<Vec<_>>();
        Ok(Self {
            options: Arc::clone(&self.options),
            read: read.into(),
            schema: Arc::new(Schema::new(fields)),
            unknown: Arc::clone(&self.unknown),
        })
    }

    /// Names of fields that records had and the schema has not, by path, as far as they were told: each name is
    /// logged once and counted once in [`UNKNOWN_FIELDS_TOTAL`].
    #[must_use]
    pub fn unknown_fields(&self) -> Vec<String> {
        self.unknown.names()
    }
}

impl Format for JsonFormat {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(decoder::JsonDecoder::new(
            Arc::clone(&self.options),
            &self.read,
            Arc::clone(&self.schema),
            Arc::clone(&self.unknown),
        ))
    }

    fn causes(&self) -> &'static [&'static str] {
        &Cause::NAMES
    }
}
