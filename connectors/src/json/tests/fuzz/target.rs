//! Schemas and options that records are decoded with.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use tidemill_engine::format::{Decoder, Format};

use super::super::compare;
use super::super::generate::Generator;
use super::super::{every_type, list, scalars, table, timestamp};
use super::outcome::{Outcome, outcome};
use crate::json::{JsonFormat, JsonOptions, Tombstones};

/// A format, a decoder that lives through the whole run, and what the oracle is asked with.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) options: JsonOptions,
    pub(super) format: JsonFormat,
    pub(super) decoder: Box<dyn Decoder>,
    /// Names of fields at any depth.
    pub(super) keys: Vec<String>,
    /// Records are generated too: not of lists so deep that they would have 2^63 items.
    pub(super) generated: bool,
}

impl Target {
    pub(super) fn new(name: impl Into<String>, options: JsonOptions) -> Self {
        let format = JsonFormat::new(options.clone()).unwrap();
        let mut keys = Vec::new();
        names(&options.fields, &mut keys);
        Self { name: name.into(), decoder: format.decoder(), options, format, keys, generated: true }
    }

    /// Decodes the records in all ways: what became of each, or what is wrong, a panic included.
    pub(super) fn execute(&mut self, records: &[Option<Vec<u8>>]) -> Result<Vec<Outcome>, String> {
        let values: Vec<Option<&[u8]>> = records.iter().map(Option::as_deref).collect();
        let expected = compare::expected(&self.options, &values);
        let decoder = &mut *self.decoder;
        let format = &self.format;
        let result = catch_unwind(AssertUnwindSafe(|| compare::all_ways(&expected, format, decoder, &values)))
            .unwrap_or_else(|panic| Err(format!("panicked: {}", said(&*panic))));
        if result.is_err() {
            self.decoder = self.format.decoder();
        }
        let mut words = result?.into_iter();
        Ok(expected.iter().map(|e| outcome(e, e.is_err().then(|| words.next()).flatten())).collect())
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}

fn names(fields: &Fields, out: &mut Vec<String>) {
    for field in fields {
        out.push(field.name().clone());
        let mut of = field.data_type();
        while let DataType::List(item) = of {
            of = item.data_type();
        }
        if let DataType::Struct(fields) = of {
            names(fields, out);
        }
    }
}

/// Names that are near each other, as long as vectors are, or need escapes.
fn odd_names() -> Fields {
    let mut names: Vec<String> = [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65].map(|n| "k".repeat(n)).into();
    names.extend(
        ["a", "aa", "ab", "b", "ba", "", "\"", "\\", "\\\"", "\n", "é", "e\u{301}", "😀", "a b", "kkkkkkkK"]
            .map(String::from),
    );
    names.into_iter().map(|name| Field::new(name, DataType::Int32, true)).collect()
}

fn in_structs(n: usize) -> DataType {
    (0..n).fold(DataType::Boolean, |of, _| DataType::Struct(vec![Field::new("a", of, true)].into()))
}

fn in_lists(n: usize) -> DataType {
    (0..n).fold(DataType::Int64, |of, _| list(of))
}

/// Structs in lists in structs, with fields that must be there.
fn nested() -> Fields {
    let leaf = Fields::from(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", timestamp(TimeUnit::Microsecond), false),
        Field::new("d", DataType::Decimal128(20, 4), true),
    ]);
    let items = DataType::List(Arc::new(Field::new("item", DataType::Struct(leaf), false)));
    let middle = Fields::from(vec![Field::new("items", items, false), Field::new("a", DataType::Utf8, true)]);
    Fields::from(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("a", DataType::Struct(middle.clone()), true),
        Field::new("b", list(DataType::Struct(middle)), true),
    ])
}

fn required(name: usize, of: DataType) -> Field {
    Field::new(format!("f{name}"), of, false)
}

/// All of them.
pub(super) fn all() -> Vec<Target> {
    let rows = |options| JsonOptions { tombstones: Tombstones::Row, ..options };
    let reject = |options| JsonOptions { tombstones: Tombstones::Reject, ..options };
    let wide = |i| Field::new(format!("c{i}"), if i % 2 == 0 { DataType::Int64 } else { DataType::Utf8 }, true);
    let mut all = vec![
        Target::new("every type", JsonOptions::new(every_type())),
        Target::new("every type, coerced", rows(JsonOptions { coerce: true, ..JsonOptions::new(every_type()) })),
        Target::new("an order", reject(JsonOptions::new(table::fields()))),
        Target::new("an order of 48 bytes", JsonOptions { max_record_bytes: 48, ..JsonOptions::new(table::fields()) }),
        Target::new("odd names", JsonOptions::new(odd_names())),
        Target::new("nested", reject(JsonOptions::new(nested()))),
        Target::new(
            "deep",
            rows(JsonOptions::new(vec![Field::new("f0", in_lists(63), true), Field::new("a", in_structs(63), true)])),
        ),
        Target::new("no fields", rows(JsonOptions::new(Fields::empty()))),
        Target::new("200 fields", JsonOptions::new((0..200).map(wide).collect::<Fields>())),
        Target::new("one number", JsonOptions::new(vec![required(0, DataType::Decimal128(38, 10))])),
        Target::new(
            "all required",
            JsonOptions::new(
                scalars().into_iter().take(4).enumerate().map(|(i, t)| required(i, t)).collect::<Fields>(),
            ),
        ),
    ];
    for target in all.iter_mut().filter(|t| t.name == "deep") {
        target.generated = false;
    }
    for seed in 0..8 {
        let options = JsonOptions::new(Generator::new(seed).fields(3));
        let options = JsonOptions { coerce: seed % 2 == 0, ..options };
        all.push(Target::new(format!("generated from {seed}"), options));
    }
    all
}
