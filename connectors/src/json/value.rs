//! One value into one column, after the rules of its type.

use super::cause::Cause;
use super::column::{Bytes, Column, List, Values};
use super::fault::{Context, Failed, Next};
use super::number::{self, begins};
use super::scan::space;
use super::skip::{self, check_depth, check_end, literal};
use super::text;
use super::time::{self, Wrong};
use super::unknown::UnknownFields;

const TOO_LARGE: &str = "a chunk whose strings fit into one column";

impl Column {
    /// Appends the value at `p`, which is inside `depth` containers.
    #[inline]
    pub(super) fn value(
        &mut self,
        cx: &mut Context,
        unknown: &UnknownFields,
        buf: &[u8],
        p: usize,
        depth: usize,
    ) -> Next {
        if buf[p] == b'n' {
            return self.null(cx, buf, p);
        }
        match &mut self.values {
            Values::Utf8(bytes) => string(cx, buf, p, bytes),
            Values::Int64(v) => integer(cx, buf, p, v),
            Values::Float64(v) => float(cx, buf, p, v),
            Values::Boolean(v) => boolean(cx, buf, p, v),
            Values::Timestamp(per_second, v) => timestamp(cx, buf, p, *per_second, v),
            Values::Int32(v) => integer(cx, buf, p, v),
            Values::Struct(object) if buf[p] == b'{' => object.decode(cx, unknown, buf, p, depth + 1),
            Values::Struct(_) => Err(cx.fail(Cause::Type, p, "an object")),
            Values::List(items) => list(cx, unknown, buf, p, depth + 1, items),
            Values::Unread(len) => {
                *len += 1;
                skip::value(cx, buf, p, depth)
            }
            other => rarer(cx, buf, p, other),
        }
    }

    #[inline(never)]
    fn null(&mut self, cx: &mut Context, buf: &[u8], p: usize) -> Next {
        let end = literal(cx, buf, p, b"null")?;
        if !self.nullable {
            return Err(cx.fail(Cause::MissingField, p, "a value, as the field is not nullable"));
        }
        self.push_null();
        Ok(end)
    }
}

#[inline(never)]
fn rarer(cx: &mut Context, buf: &[u8], p: usize, values: &mut Values) -> Next {
    match values {
        Values::Int8(v) => integer(cx, buf, p, v),
        Values::Int16(v) => integer(cx, buf, p, v),
        Values::UInt8(v) => integer(cx, buf, p, v),
        Values::UInt16(v) => integer(cx, buf, p, v),
        Values::UInt32(v) => integer(cx, buf, p, v),
        Values::UInt64(v) => integer(cx, buf, p, v),
        Values::Float32(v) => float(cx, buf, p, v),
        Values::Binary(bytes) => binary(cx, buf, p, bytes),
        Values::Date(v) => date(cx, buf, p, v),
        Values::Time32(per_second, v) => {
            let (value, end) = time_of_day(cx, buf, p, *per_second)?;
            v.push(value as i32);
            Ok(end)
        }
        Values::Time64(per_second, v) => {
            let (value, end) = time_of_day(cx, buf, p, *per_second)?;
            v.push(value);
            Ok(end)
        }
        Values::Decimal { precision, scale, values } => decimal(cx, buf, p, (*precision, *scale), values),
        _ => Err(cx.fail(Cause::Type, p, "a value of another type")),
    }
}

#[inline]
fn integer<T: number::Integer>(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<T>) -> Next {
    let (value, end) = number::integer(cx, buf, p)?;
    out.push(value);
    Ok(end)
}

#[inline]
fn float<T: number::Float>(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<T>) -> Next {
    let (value, end) = number::float(cx, buf, p)?;
    out.push(value);
    Ok(end)
}

#[inline]
fn boolean(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<bool>) -> Next {
    let (value, end) = match buf[p] {
        b't' => (true, literal(cx, buf, p, b"true")?),
        b'f' => (false, literal(cx, buf, p, b"false")?),
        _ => return Err(cx.fail(Cause::Type, p, "true or false")),
    };
    out.push(value);
    Ok(end)
}

#[inline]
fn string(cx: &mut Context, buf: &[u8], p: usize, out: &mut Bytes) -> Next {
    let end = if buf[p] == b'"' { text::append(cx, buf, p, &mut out.data)? } else { coerced(cx, buf, p, out)? };
    if out.end() { Ok(end) } else { Err(cx.fail(Cause::TooLarge, p, TOO_LARGE)) }
}

/// A number or boolean for a string.
#[inline(never)]
fn coerced(cx: &mut Context, buf: &[u8], p: usize, out: &mut Bytes) -> Next {
    if !cx.coerce {
        return Err(cx.fail(Cause::Type, p, "a string"));
    }
    let end = match buf[p] {
        b't' => literal(cx, buf, p, b"true")?,
        b'f' => literal(cx, buf, p, b"false")?,
        b if begins(b) => number::skip(cx, buf, p)?,
        _ => return Err(cx.fail(Cause::Type, p, "a string, a number or a boolean")),
    };
    out.data.extend_from_slice(&buf[p..end]);
    Ok(end)
}

fn binary(cx: &mut Context, buf: &[u8], p: usize, out: &mut Bytes) -> Next {
    const EXPECTED: &str = "a string of standard base64 with padding";
    if buf[p] != b'"' {
        return Err(cx.fail(Cause::Type, p, EXPECTED));
    }
    let (text, end) = text::read(cx, buf, p)?;
    if !text::append_base64(text.bytes(buf, cx), &mut out.data) {
        return Err(cx.fail(Cause::Text, p, EXPECTED));
    }
    if out.end() { Ok(end) } else { Err(cx.fail(Cause::TooLarge, p, TOO_LARGE)) }
}

/// Reads the string at `p` as `parse` says.
fn parsed<T>(
    cx: &mut Context,
    buf: &[u8],
    p: usize,
    expected: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, Wrong>,
) -> Result<(T, usize), Failed> {
    let (text, end) = text::read(cx, buf, p)?;
    match parse(text.bytes(buf, cx)) {
        Ok(value) => Ok((value, end)),
        Err(Wrong::Text) => Err(cx.fail(Cause::Text, p, expected)),
        Err(Wrong::Range) => Err(cx.fail(Cause::Range, p, expected)),
    }
}

const A_TIMESTAMP: &str = "an RFC 3339 timestamp or an epoch number in the field's unit, of the years 0000 to 9999";

#[inline]
fn timestamp(cx: &mut Context, buf: &[u8], p: usize, per_second: i64, out: &mut Vec<i64>) -> Next {
    let (value, end) = if let Some(common) = buf[p..].first_chunk()
        && buf[p] == b'"'
        && let Some((value, length)) = time::common_timestamp(common, per_second)
    {
        (value, p + length)
    } else {
        other_timestamp(cx, buf, p, per_second)?
    };
    out.push(value);
    Ok(end)
}

#[inline(never)]
fn other_timestamp(cx: &mut Context, buf: &[u8], p: usize, per_second: i64) -> Result<(i64, usize), Failed> {
    if buf[p] == b'"' {
        return parsed(cx, buf, p, A_TIMESTAMP, |t| time::timestamp(t, per_second));
    }
    epoch(cx, buf, p, A_TIMESTAMP, |v| time::is_in_range(v, per_second))
}

/// Reads an integer that stands for a time.
fn epoch(
    cx: &mut Context,
    buf: &[u8],
    p: usize,
    expected: &'static str,
    in_range: impl FnOnce(i64) -> bool,
) -> Result<(i64, usize), Failed> {
    if !begins(buf[p]) {
        return Err(cx.fail(Cause::Type, p, expected));
    }
    let (value, end) = number::integer::<i64>(cx, buf, p)?;
    if in_range(value) { Ok((value, end)) } else { Err(cx.fail(Cause::Range, p, expected)) }
}

fn date(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<i32>) -> Next {
    const EXPECTED: &str = "an ISO date or days since the epoch, of the years 0000 to 9999";
    let (value, end) = if buf[p] == b'"' {
        parsed(cx, buf, p, EXPECTED, time::date)?
    } else {
        let days = time::FIRST_DAY..=time::LAST_DAY;
        let (value, end) = epoch(cx, buf, p, EXPECTED, |v| days.contains(&v))?;
        (value as i32, end)
    };
    out.push(value);
    Ok(end)
}

fn time_of_day(cx: &mut Context, buf: &[u8], p: usize, per_second: i64) -> Result<(i64, usize), Failed> {
    const EXPECTED: &str = "an ISO time of day or a number in the field's unit, below 24 hours";
    if buf[p] == b'"' {
        return parsed(cx, buf, p, EXPECTED, |t| time::time_of_day(t, per_second));
    }
    epoch(cx, buf, p, EXPECTED, |v| (0..time::DAY * per_second).contains(&v))
}

fn decimal(cx: &mut Context, buf: &[u8], p: usize, (precision, scale): (u8, i8), out: &mut Vec<i128>) -> Next {
    const EXPECTED: &str = "a number or a string with a number";
    if begins(buf[p]) {
        let (value, end) = number::decimal(cx, buf, p, precision, scale)?;
        out.push(value);
        return Ok(end);
    }
    if buf[p] != b'"' {
        return Err(cx.fail(Cause::Type, p, EXPECTED));
    }
    let (text, end) = text::read(cx, buf, p)?;
    // Apart from the record, so that the number ends where the string does.
    let mut alone = text.bytes(buf, cx).to_vec();
    let len = alone.len();
    alone.resize(len + tidemill_engine::chunk::PADDING, 0);
    if !number::skip(cx, &alone, 0).is_ok_and(|end| end == len) {
        return Err(cx.fail(Cause::Text, p, EXPECTED));
    }
    match number::decimal(cx, &alone, 0, precision, scale) {
        Ok((value, _)) => out.push(value),
        Err(Failed) => return Err(cx.fail(Cause::Range, p, number::A_DECIMAL)),
    }
    Ok(end)
}

fn list(cx: &mut Context, unknown: &UnknownFields, buf: &[u8], p: usize, depth: usize, out: &mut List) -> Next {
    if buf[p] != b'[' {
        return Err(cx.fail(Cause::Type, p, "a list"));
    }
    check_depth(cx, p, depth)?;
    let first = out.offsets.last().map_or(0, |&end| end as usize);
    let opened = p;
    let mut p = space(buf, p + 1);
    if buf[p] != b']' {
        loop {
            check_end(cx, p)?;
            p = match out.items.value(cx, unknown, buf, p, depth) {
                Ok(p) => space(buf, p),
                Err(Failed) => return Err(cx.in_item(out.items.len().saturating_sub(first))),
            };
            match buf[p] {
                b',' => p = space(buf, p + 1),
                b']' => break,
                _ => return Err(cx.not_json(p, "a comma or the end of the list")),
            }
        }
    }
    match i32::try_from(out.items.len()) {
        Ok(end) => out.offsets.push(end),
        Err(_) => return Err(cx.fail(Cause::TooLarge, opened, TOO_LARGE)),
    }
    Ok(p + 1)
}
