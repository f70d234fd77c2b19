//! Chunks of records into record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use tidemill_engine::chunk::{Chunk, PADDING};
use tidemill_engine::format::{Decoded, Decoder, Reject, Stage};

use crate::metadata::{Picks, Room};

use super::cause::Cause;
use super::fault::{Context, Failed, Fault, Step, describe};
use super::object::Object;
use super::options::{JsonOptions, Tombstones};
use super::scan::is_space;
use super::skip;
use super::unknown::UnknownFields;

/// Decodes chunks of JSON records. One pass over the bytes of a good record; a bad one is looked at again, alone.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    options: Arc<JsonOptions>,
    /// Of the rows.
    schema: SchemaRef,
    unknown: Arc<UnknownFields>,
    /// The record: all its fields, those not read included.
    root: Object,
    cx: Context,
    /// A record apart from its neighbours.
    alone: Vec<u8>,
    /// The chunk ends with [`PADDING`] zeros.
    sealed: bool,
    room: Room,
}

const ONE_OBJECT: &str = "one JSON object";

impl JsonDecoder {
    pub(super) fn new(
        options: Arc<JsonOptions>,
        read: &[bool],
        schema: SchemaRef,
        unknown: Arc<UnknownFields>,
    ) -> Self {
        let root = Object::new(&options.fields, |i| read[i], "");
        let cx = Context { coerce: options.coerce, ..Context::default() };
        Self { options, schema, unknown, root, cx, alone: Vec::new(), sealed: false, room: Room::default() }
    }

    /// Appends the record `buf[range]` to the columns, or leaves them as they were.
    #[inline]
    fn record(&mut self, buf: &[u8], range: Range<usize>) -> Result<(), Box<(Cause, String)>> {
        let value = &buf[range.clone()];
        if value.len() > self.options.max_record_bytes {
            let error = format!(
                "expected at most {} bytes (`max_record_bytes`), found {}",
                self.options.max_record_bytes,
                value.len()
            );
            return Err(Box::new((Cause::TooLarge, error)));
        }
        // It says yes or no and is fast; where it went wrong is asked below.
        if simdutf8::basic::from_utf8(value).is_err() {
            return Err(Box::new((Cause::NotJson, not_utf8(value))));
        }
        let rows = self.root.len();
        // A record without an end is read on into its neighbours, up to a byte that cannot be: the zeros behind the last
        // record at the latest. Without them it has to be apart.
        let result = if self.sealed && range.end + PADDING <= buf.len() {
            parse(&mut self.root, &mut self.cx, &self.unknown, buf, range)
        } else {
            isolate(&mut self.alone, value);
            parse(&mut self.root, &mut self.cx, &self.unknown, &self.alone, 0..value.len())
        };
        result.or_else(|Failed| self.look_again(value, rows))
    }

    /// Cuts a failed record's values off the columns and finds out what is wrong with it.
    #[cold]
    fn look_again(&mut self, value: &[u8], rows: usize) -> Result<(), Box<(Cause, String)>> {
        self.root.truncate(rows);
        isolate(&mut self.alone, value);
        let all = 0..value.len();
        // Alone, so that what is said does not depend on the bytes behind it; as text first, as what is then said of
        // its fields is said of a JSON object.
        self.cx.keys.clear();
        let checked = check(&mut self.cx, &self.alone, all.clone());
        self.cx.keys.clear();
        let (fault, trail) = match checked {
            Err(fault) => (fault, Vec::<Step>::new()),
            Ok(()) => match parse(&mut self.root, &mut self.cx, &self.unknown, &self.alone, all) {
                // It does not come to this: a record is good or bad whatever stands behind it.
                Ok(()) => return Ok(()),
                Err(Failed) => {
                    let nothing = Fault { cause: Cause::NotJson, at: 0, expected: ONE_OBJECT };
                    (self.cx.fault.take().unwrap_or(nothing), std::mem::take(&mut self.cx.trail))
                }
            },
        };
        self.root.truncate(rows);
        self.cx.keys.clear();
        Err(Box::new((fault.cause, describe(&fault, &trail, value))))
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let columns = self.root.columns.iter_mut().zip(&self.options.fields);
        let arrays = columns.filter_map(|(column, field)| column.finish(field)).collect();
        self.root.truncate(0);
        arrays
    }
}

#[cold]
fn not_utf8(value: &[u8]) -> String {
    let at = std::str::from_utf8(value).map_or_else(|e| e.valid_up_to(), str::len);
    format!("expected UTF-8, found other at byte {at}")
}

fn isolate(alone: &mut Vec<u8>, value: &[u8]) {
    alone.clear();
    alone.extend_from_slice(value);
    alone.resize(value.len() + PADDING, 0);
}

/// Passes over whitespace, up to the record's end: many blank records must not be passed over together by each.
#[inline(always)]
fn leading_space(buf: &[u8], range: &Range<usize>) -> usize {
    let mut p = range.start;
    while p < range.end && is_space(buf[p]) {
        p += 1;
    }
    p
}

/// Decodes the record `buf[range]`, which is UTF-8.
#[inline]
fn parse(
    root: &mut Object,
    cx: &mut Context,
    unknown: &UnknownFields,
    buf: &[u8],
    range: Range<usize>,
) -> Result<(), Failed> {
    cx.start(range.end);
    let p = leading_space(buf, &range);
    if p == range.end || buf[p] != b'{' {
        return Err(cx.fail(Cause::Type, p, ONE_OBJECT));
    }
    let end = root.decode(cx, unknown, buf, p, 1)?;
    finish_text(cx, buf, end, range.end)
}

/// Checks a record as JSON only.
fn check(cx: &mut Context, buf: &[u8], range: Range<usize>) -> Result<(), Fault> {
    cx.start(range.end);
    let p = leading_space(buf, &range);
    let result = if p == range.end {
        Err(cx.not_json(p, ONE_OBJECT))
    } else {
        skip::value(cx, buf, p, 0).and_then(|end| finish_text(cx, buf, end, range.end))
    };
    match (result, cx.fault.take()) {
        (Err(Failed), Some(fault)) => Err(fault),
        _ => Ok(()),
    }
}

/// After the outermost object: nothing but whitespace may be left, and no key may have been there twice.
#[inline(always)]
fn finish_text(cx: &mut Context, buf: &[u8], mut p: usize, end: usize) -> Result<(), Failed> {
    while p < end && is_space(buf[p]) {
        p += 1;
    }
    if p != end {
        return Err(cx.not_json(p.min(end), "the end of the record after one JSON object"));
    }
    match cx.duplicate {
        None => Ok(()),
        Some(at) => Err(cx.fail(Cause::DuplicateKey, at, "an object with each key once")),
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let buf = chunk.arena();
        self.sealed = buf.ends_with(&[0; PADDING]);
        // No value is larger than its text.
        self.root.prepare(chunk.len(), buf.len());
        let mut picks = Picks::default();
        let mut rejects = Vec::new();
        let mut tombstones_skipped = 0;
        for i in 0..chunk.len() {
            let fault = match (chunk.value_range(i), self.options.tombstones) {
                (Some(range), _) => self.record(buf, range).err(),
                (None, Tombstones::Row) => {
                    self.root.push_nulls();
                    None
                }
                (None, Tombstones::Skip) => {
                    tombstones_skipped += 1;
                    picks.pass();
                    continue;
                }
                (None, Tombstones::Reject) => Some(Box::new((Cause::Tombstone, Tombstones::REJECTED.to_owned()))),
            };
            match fault {
                None => picks.pick(i),
                Some(fault) => {
                    picks.pass();
                    let (cause, error) = *fault;
                    let record = chunk.record(i).to_owned_record();
                    rejects.push(Reject { record, stage: Stage::Decode, cause: cause.as_str(), error });
                }
            }
        }
        let mut columns = self.finish();
        let picked = picks.of(chunk);
        let metadata = self.options.metadata.iter().filter(|m| self.schema.index_of(m.column()).is_ok());
        columns.extend(metadata.map(|m| m.build(&picked, &mut self.room)));
        let options = RecordBatchOptions::new().with_row_count(Some(picks.rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("each column is built as its field says, with a value for each row");
        Decoded { rows, records: picks.into_records(), rejects, tombstones_skipped }
    }
}
