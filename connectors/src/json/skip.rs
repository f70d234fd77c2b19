//! Passing over values that no column wants, and checking a whole text: JSON's grammar, depth, duplicate keys.

use super::MAX_DEPTH;
use super::cause::Cause;
use super::fault::{Context, Next};
use super::scan::space;
use super::{number, text};

/// Passes over the value at `p`; containers in it are at `depth + 1`.
pub(super) fn value(cx: &mut Context, buf: &[u8], p: usize, depth: usize) -> Next {
    match buf[p] {
        b'"' => text::skip(cx, buf, p),
        b'{' => object(cx, buf, p, depth + 1),
        b'[' => list(cx, buf, p, depth + 1),
        b'-' | b'0'..=b'9' => number::skip(cx, buf, p),
        b't' => literal(cx, buf, p, b"true"),
        b'f' => literal(cx, buf, p, b"false"),
        b'n' => literal(cx, buf, p, b"null"),
        _ => Err(cx.not_json(p, "a JSON value")),
    }
}

/// Passes over a literal.
#[inline]
pub(super) fn literal(cx: &mut Context, buf: &[u8], p: usize, word: &'static [u8]) -> Next {
    if buf[p..].starts_with(word) { Ok(p + word.len()) } else { Err(cx.not_json(p, "a JSON value")) }
}

/// Fails for a container below the deepest that is allowed.
#[inline]
pub(super) fn check_depth(cx: &mut Context, p: usize, depth: usize) -> Result<(), super::fault::Failed> {
    if depth > MAX_DEPTH {
        return Err(cx.fail(Cause::TooDeep, p, "at most 64 objects and lists inside each other"));
    }
    Ok(())
}

/// Fails when a scan has left the record, so that a record cut off does not run through those that follow.
#[inline]
pub(super) fn check_end(cx: &mut Context, p: usize) -> Result<(), super::fault::Failed> {
    if p >= cx.end { Err(cx.not_json(cx.end, "the rest of the record")) } else { Ok(()) }
}

fn object(cx: &mut Context, buf: &[u8], p: usize, depth: usize) -> Next {
    check_depth(cx, p, depth)?;
    let mark = cx.keys.open();
    let mut p = space(buf, p + 1);
    if buf[p] == b'}' {
        return Ok(p + 1);
    }
    let opened = p;
    loop {
        check_end(cx, p)?;
        if buf[p] != b'"' {
            return Err(cx.not_json(p, "a key in quotes"));
        }
        let (key, after) = text::read(cx, buf, p)?;
        match key {
            text::Text::Plain { start, end } => cx.keys.add(start, end, None),
            text::Text::Unescaped => cx.keys.add(0, 0, Some(&cx.text)),
        }
        p = space(buf, after);
        if buf[p] != b':' {
            return Err(cx.not_json(p, "a colon after the key"));
        }
        p = value(cx, buf, space(buf, p + 1), depth)?;
        p = space(buf, p);
        match buf[p] {
            b',' => p = space(buf, p + 1),
            b'}' => break,
            _ => return Err(cx.not_json(p, "a comma or the end of the object")),
        }
    }
    if cx.keys.close(buf, mark) {
        cx.duplicate.get_or_insert(opened);
    }
    Ok(p + 1)
}

fn list(cx: &mut Context, buf: &[u8], p: usize, depth: usize) -> Next {
    check_depth(cx, p, depth)?;
    let mut p = space(buf, p + 1);
    if buf[p] == b']' {
        return Ok(p + 1);
    }
    loop {
        check_end(cx, p)?;
        p = value(cx, buf, p, depth)?;
        p = space(buf, p);
        match buf[p] {
            b',' => p = space(buf, p + 1),
            b']' => return Ok(p + 1),
            _ => return Err(cx.not_json(p, "a comma or the end of the list")),
        }
    }
}
