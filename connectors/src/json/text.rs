//! Strings: escapes, and base64 for binary columns.

use super::fault::{Context, Failed, Next};
use super::scan::{load16, plain_end, plain_run};

/// A string in a record: its bytes without quotes and escapes are in the buffer, or in [`Context::text`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    Plain { start: usize, end: usize },
    Unescaped,
}

impl Text {
    /// Its bytes.
    pub(super) fn bytes<'a>(self, buf: &'a [u8], cx: &'a Context) -> &'a [u8] {
        match self {
            Self::Plain { start, end } => &buf[start..end],
            Self::Unescaped => &cx.text,
        }
    }
}

/// Appends the string whose opening quote is at `p`, without its escapes, to `out`.
#[inline(always)]
pub(super) fn append(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<u8>) -> Next {
    let mut p = p + 1;
    loop {
        // Copied sixteen at a time and cut to length: no call to memcpy for a short string.
        let block = load16(buf, p);
        out.extend_from_slice(&block);
        let n = plain_run(&block);
        p += n;
        if n < 16 {
            out.truncate(out.len() - 16 + n);
            if buf[p] == b'"' {
                return Ok(p + 1);
            }
            p = append_escape(cx, buf, p, out)?;
        }
    }
}

#[inline(never)]
fn append_escape(cx: &mut Context, buf: &[u8], p: usize, out: &mut Vec<u8>) -> Next {
    let (c, p) = escape(cx, buf, p)?;
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(p)
}

/// Reads the string whose opening quote is at `p`.
#[inline]
pub(super) fn read(cx: &mut Context, buf: &[u8], p: usize) -> Result<(Text, usize), Failed> {
    let start = p + 1;
    let end = plain_end(buf, start);
    if buf[end] == b'"' {
        return Ok((Text::Plain { start, end }, end + 1));
    }
    let mut text = std::mem::take(&mut cx.text);
    text.clear();
    let next = append(cx, buf, p, &mut text);
    cx.text = text;
    next.map(|p| (Text::Unescaped, p))
}

/// Passes over the string whose opening quote is at `p`.
#[inline]
pub(super) fn skip(cx: &mut Context, buf: &[u8], p: usize) -> Next {
    let mut p = p + 1;
    loop {
        p = plain_end(buf, p);
        if buf[p] == b'"' {
            return Ok(p + 1);
        }
        (_, p) = escape(cx, buf, p)?;
    }
}

/// Reads the escape at `p`, where a plain run of a string ended without a quote.
fn escape(cx: &mut Context, buf: &[u8], p: usize) -> Result<(char, usize), Failed> {
    if buf[p] != b'\\' {
        return Err(cx.not_json(p, "a string's characters (control characters must be escaped) and its closing quote"));
    }
    let c = match buf[p + 1] {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(cx, buf, p),
        _ => return Err(cx.not_json(p, "an escape that JSON has")),
    };
    Ok((c, p + 2))
}

fn unicode(cx: &mut Context, buf: &[u8], p: usize) -> Result<(char, usize), Failed> {
    let Some(first) = hex4(buf, p + 2) else {
        return Err(cx.not_json(p, "four hexadecimal digits after `\\u`"));
    };
    if let Some(c) = char::from_u32(first) {
        return Ok((c, p + 6));
    }
    let second = if first < 0xDC00 && buf[p + 6] == b'\\' && buf[p + 7] == b'u' { hex4(buf, p + 8) } else { None };
    match second {
        Some(second @ 0xDC00..=0xDFFF) => {
            let c = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            Ok((c.unwrap_or(char::REPLACEMENT_CHARACTER), p + 12))
        }
        _ => Err(cx.not_json(p, "both halves of a surrogate pair")),
    }
}

fn hex4(buf: &[u8], p: usize) -> Option<u32> {
    buf[p..].first_chunk::<4>()?.iter().try_fold(0, |v, &b| Some(v * 16 + char::from(b).to_digit(16)?))
}

/// Appends what standard base64 with padding stands for. False, and nothing appended, when it is not that.
pub(super) fn append_base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let decoded = decode_base64(text, out).is_some();
    if !decoded {
        out.truncate(before);
    }
    decoded
}

fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (quads, []) = text.as_chunks::<4>() else { return None };
    let Some((last, body)) = quads.split_last() else { return Some(()) };
    let sextets = |q: &[u8]| q.iter().try_fold(0u32, |v, &b| Some(v << 6 | u32::from(sextet(b)?)));
    for quad in body {
        out.extend_from_slice(&sextets(quad)?.to_be_bytes()[1..]);
    }
    let pads = last.iter().rev().take_while(|&&b| b == b'=').count();
    let bits = sextets(&last[..4 - pads])?;
    match pads {
        0 => out.extend_from_slice(&bits.to_be_bytes()[1..]),
        1 if bits & 0b11 == 0 => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        2 if bits & 0b1111 == 0 => out.push((bits >> 4) as u8),
        _ => return None,
    }
    Some(())
}

fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one_with_padding() {
        let decode = |t: &str| {
            let mut out = b"x".to_vec();
            append_base64(t.as_bytes(), &mut out).then(|| out[1..].to_vec())
        };
        assert_eq!(decode(""), Some(vec![]));
        assert_eq!(decode("Zg=="), Some(b"f".to_vec()));
        assert_eq!(decode("Zm8="), Some(b"fo".to_vec()));
        assert_eq!(decode("Zm9v"), Some(b"foo".to_vec()));
        assert_eq!(decode("Zm9vYmE="), Some(b"fooba".to_vec()));
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for bad in ["Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zm9v=", "Zm9vZg", "-_-_", "Zm 9", "Zg==Zg=="] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
