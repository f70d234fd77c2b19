//! Objects whose fields the schema knows: a struct column, or the record itself.

use arrow::array::StructArray;
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Fields};

use super::cause::Cause;
use super::column::Column;
use super::fault::{Context, Failed, Next};
use super::keys::KeyTable;
use super::scan::space;
use super::skip::{self, check_depth, check_end};
use super::text::{self, Text};
use super::unknown::UnknownFields;

/// The columns of an object's fields.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) columns: Vec<Column>,
    keys: KeyTable,
    /// For each key the last object that had it.
    seen: Vec<u32>,
    /// The current object; counts up.
    object: u32,
    len: usize,
    path: Box<str>,
}

/// A key that is neither the schema's nor remembered.
const NAMELESS: usize = usize::MAX;

impl Object {
    /// Empty columns of `fields`; those that `read` says no to are checked only.
    pub(super) fn new(fields: &Fields, read: impl Fn(usize) -> bool, path: &str) -> Self {
        let column = |(i, f): (usize, &std::sync::Arc<Field>)| {
            let path = if path.is_empty() { f.name().clone() } else { format!("{path}.{}", f.name()) };
            Column::new(f, read(i), &path)
        };
        Self {
            columns: fields.iter().enumerate().map(column).collect(),
            keys: KeyTable::new(fields.iter().map(|f| f.name().as_str())),
            seen: vec![0; fields.len()],
            object: 0,
            len: 0,
            path: path.into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Makes room in all columns; see [`Column::prepare`].
    pub(super) fn prepare(&mut self, rows: usize, most: usize) {
        for column in &mut self.columns {
            column.prepare(rows, most);
        }
    }

    /// Appends what stands in a null's place to all columns.
    pub(super) fn push_nothing(&mut self) {
        self.len += 1;
        for column in &mut self.columns {
            column.push_nothing();
        }
    }

    /// Appends a null to all columns.
    pub(super) fn push_nulls(&mut self) {
        self.len += 1;
        for column in &mut self.columns {
            column.push_null();
        }
    }

    /// Cuts all columns back.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        for column in &mut self.columns {
            column.truncate(len);
        }
    }

    /// The columns as one array; they are empty then.
    pub(super) fn finish(&mut self, fields: &Fields, nulls: Option<NullBuffer>) -> StructArray {
        let len = std::mem::take(&mut self.len);
        let arrays = self.columns.iter_mut().zip(fields).filter_map(|(column, field)| column.finish(field)).collect();
        StructArray::try_new_with_length(fields.clone(), arrays, nulls, len)
            .expect("an object appends one value to each of its columns, and nulls only where they may be")
    }

    /// Decodes the object whose opening brace is at `p`: one value more in each column. After a failure the columns
    /// may be of different lengths, until they are cut back.
    pub(super) fn decode(
        &mut self,
        cx: &mut Context,
        unknown: &UnknownFields,
        buf: &[u8],
        p: usize,
        depth: usize,
    ) -> Next {
        check_depth(cx, p, depth)?;
        let opened = p;
        self.object = self.object.wrapping_add(1);
        if self.object == 0 {
            self.seen.fill(0);
            self.object = 1;
        }
        let mark = cx.keys.open();
        let mut found = 0;
        let mut previous = 0;
        let mut p = space(buf, p + 1);
        if buf[p] != b'}' {
            loop {
                let (id, after) = self.key(cx, unknown, buf, p, previous)?;
                let key_at = p;
                p = space(buf, after);
                if id < self.keys.fields() {
                    if self.seen[id] == self.object {
                        return Err(cx.fail(Cause::DuplicateKey, key_at, "each key once"));
                    }
                    self.seen[id] = self.object;
                    found += 1;
                    p = match self.columns[id].value(cx, unknown, buf, p, depth) {
                        Ok(p) => p,
                        Err(Failed) => return Err(cx.in_field(self.keys.name(id))),
                    };
                    previous = KeyTable::passed(id);
                } else {
                    if id != NAMELESS {
                        if self.seen[id] == self.object {
                            return Err(cx.fail(Cause::DuplicateKey, key_at, "each key once"));
                        }
                        self.seen[id] = self.object;
                        previous = KeyTable::passed(id);
                    }
                    p = skip::value(cx, buf, p, depth)?;
                }
                p = space(buf, p);
                match buf[p] {
                    b',' => p = space(buf, p + 1),
                    b'}' => break,
                    _ => return Err(cx.not_json(p, "a comma or the end of the object")),
                }
            }
        }
        if cx.keys.close(buf, mark) {
            cx.duplicate.get_or_insert(opened);
        }
        if found < self.columns.len() {
            self.fill_missing(cx, p)?;
        }
        self.len += 1;
        Ok(p + 1)
    }

    /// Reads a key and its colon: its id, and where they end.
    #[inline(always)]
    fn key(
        &mut self,
        cx: &mut Context,
        unknown: &UnknownFields,
        buf: &[u8],
        p: usize,
        previous: usize,
    ) -> Result<(usize, usize), Failed> {
        let guess = self.keys.guess(previous);
        match self.keys.matches(guess, buf, p) {
            Some(len) => Ok((guess, p + len)),
            None => self.other_key(cx, unknown, buf, p, previous),
        }
    }

    /// A key that was not expected.
    #[inline(never)]
    fn other_key(
        &mut self,
        cx: &mut Context,
        unknown: &UnknownFields,
        buf: &[u8],
        p: usize,
        previous: usize,
    ) -> Result<(usize, usize), Failed> {
        check_end(cx, p)?;
        // An optional field that is not there: the one after it is tried, and nothing learned.
        let after_guess = self.keys.guess(KeyTable::passed(self.keys.guess(previous)).min(self.keys.len()));
        if let Some(len) = self.keys.matches(after_guess, buf, p) {
            return Ok((after_guess, p + len));
        }
        if buf[p] != b'"' {
            return Err(cx.not_json(p, "a key in quotes"));
        }
        let (key, after) = text::read(cx, buf, p)?;
        let colon = space(buf, after);
        if buf[colon] != b':' {
            return Err(cx.not_json(colon, "a colon after the key"));
        }
        if colon >= cx.end {
            return Err(cx.not_json(cx.end, "the rest of the record"));
        }
        let name = key.bytes(buf, cx);
        let mut id = self.keys.find(name);
        if id.is_none()
            && let Ok(name) = std::str::from_utf8(name)
            && let Some(new) = self.keys.remember(name)
        {
            unknown.tell(&self.path, name);
            self.seen.push(0);
            id = Some(new);
        }
        let id = match (id, key) {
            (Some(id), _) => {
                self.keys.learn(previous, id);
                id
            }
            (None, Text::Plain { start, end }) => {
                cx.keys.add(start, end, None);
                NAMELESS
            }
            (None, Text::Unescaped) => {
                cx.keys.add(0, 0, Some(&cx.text));
                NAMELESS
            }
        };
        Ok((id, colon + 1))
    }

    #[inline(never)]
    fn fill_missing(&mut self, cx: &mut Context, end: usize) -> Result<(), Failed> {
        for (id, column) in self.columns.iter_mut().enumerate() {
            if self.seen[id] != self.object {
                if !column.nullable {
                    cx.fail(Cause::MissingField, end, "a field that is not nullable");
                    return Err(cx.in_field(self.keys.name(id)));
                }
                column.push_null();
            }
        }
        Ok(())
    }
}
