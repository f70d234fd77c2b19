//! Damage to records: to their bytes, and to their tokens, which brings it past the first syntax error.

use std::ops::Range;

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::super::generate::VALUES;

/// Records grow no further than this.
const BYTES_MAX: usize = 4096;

/// Bytes that mean something to the decoder or to UTF-8.
const BYTES: &[u8] = b"{}[]\",:\\/0123456789+-.eEtfnu \t\n\r\0\x01\x1f\x7f\x80\xBF\xC0\xC3\xE2\xED\xA0\xEF\xF0\xF4\xFF";

/// Escapes and characters, good and bad ones, to put into strings.
const IN_STRINGS: &[&[u8]] = &[
    b"\\u0000",
    b"\\u0041",
    b"\\u00e9",
    b"\\uD83D\\uDE00",
    b"\\uD83D",
    b"\\uDE00",
    b"\\uD83D\\u0041",
    b"\\uDBFF\\uDFFF",
    b"\\u12",
    b"\\uzzzz",
    b"\\U0041",
    b"\\x41",
    b"\\n",
    b"\\\"",
    b"\\\\",
    b"\\/",
    b"\\",
    b"\\'",
    b"\xC3\xA9",
    b"\xF0\x9F\x98\x80",
    b"\xEF\xBB\xBF",
    b"\xED\xA0\x80",
    b"\xC0\x80",
    b"\xF4\x90\x80\x80",
    b"\xFF",
    b"\xC3",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\t",
    b"\n",
    b"\xE2\x80\xA8",
];

/// Damages a record in one to a few ways; `other` is a record to take parts of, `keys` are the schema's.
pub(super) fn mutate(rng: &mut SmallRng, record: &mut Vec<u8>, other: &[u8], keys: &[String]) {
    loop {
        match rng.random_range(0..3) {
            0 => bytes(rng, record, other),
            _ => tokens(rng, record, other, keys),
        }
        record.truncate(BYTES_MAX);
        if rng.random_ratio(1, 2) {
            return;
        }
    }
}

/// Blanks behind a record make it as long as a record may be, or a byte longer.
pub(super) fn fill(rng: &mut SmallRng, record: &mut Vec<u8>, limit: usize) {
    if record.len() <= limit && limit < BYTES_MAX {
        record.resize(limit + usize::from(rng.random_ratio(1, 2)), b' ');
    }
}

fn range(rng: &mut SmallRng, len: usize) -> Range<usize> {
    let (a, b) = (rng.random_range(0..=len), rng.random_range(0..=len));
    // Short ones more often.
    let (a, b) = (a.min(b), a.max(b));
    a..if rng.random_ratio(1, 2) { b.min(a + 8) } else { b }
}

fn bytes(rng: &mut SmallRng, record: &mut Vec<u8>, other: &[u8]) {
    let at = rng.random_range(0..=record.len());
    let part = range(rng, record.len());
    match rng.random_range(0..11) {
        0 if at < record.len() => record[at] ^= 1 << rng.random_range(0..8),
        1 if at < record.len() => record[at] = *BYTES.choose(rng).unwrap(),
        2 if at < record.len() => record[at] = record[at].wrapping_add(*[1, 255].choose(rng).unwrap()),
        3 => record.insert(at, *BYTES.choose(rng).unwrap()),
        4 => drop(record.drain(part)),
        5 => record.truncate(at),
        6 => drop(record.drain(..at)),
        7 => {
            let copy = record[part].to_vec();
            record.splice(at..at, copy);
        }
        8 => {
            let taken = other[range(rng, other.len())].to_vec();
            record.splice(part, taken);
        }
        // The beginning of one and the end of the other.
        9 => {
            record.truncate(at);
            record.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        // Up to the lengths of vectors and beyond.
        _ => {
            let n = rng.random_range(1..80);
            let fill = *b" \nx0[\"\\".choose(rng).unwrap();
            record.splice(at..at, std::iter::repeat_n(fill, n));
        }
    }
}

/// Where tokens are, as well as that can be said of damaged text.
fn lex(text: &[u8]) -> Vec<Range<usize>> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    let mut tokens = Vec::new();
    let mut p = 0;
    while p < text.len() {
        let start = p;
        p += 1;
        if text[start] == b'"' {
            while p < text.len() && text[p] != b'"' {
                p += if text[p] == b'\\' { 2 } else { 1 };
            }
            p = (p + 1).min(text.len());
        } else if word(text[start]) {
            while p < text.len() && word(text[p]) {
                p += 1;
            }
        }
        tokens.push(start..p);
    }
    tokens
}

fn tokens(rng: &mut SmallRng, record: &mut Vec<u8>, other: &[u8], keys: &[String]) {
    let found = lex(record);
    let Some(token) = found.choose(rng).cloned() else {
        record.extend_from_slice(b"{}");
        return;
    };
    match rng.random_range(0..13) {
        0 | 1 => {
            let value = value(rng, record, other);
            record.splice(token, value);
        }
        2 => drop(record.drain(token)),
        3 => {
            let copy = record[token.clone()].to_vec();
            record.splice(token.start..token.start, copy);
        }
        4 => {
            let second = found.choose(rng).unwrap().clone();
            let (a, b) = if token.start < second.start { (token, second) } else { (second, token) };
            if a.end <= b.start {
                let (first, last) = (record[a.clone()].to_vec(), record[b.clone()].to_vec());
                record.splice(b, first);
                record.splice(a, last);
            }
        }
        5 => number(rng, record, token),
        6 | 7 => string(rng, record, token),
        8 => nest(rng, record, token),
        // Another key, of the schema mostly.
        9 | 10 => {
            if let Some(key) = keys.choose(rng) {
                let strings: Vec<_> = found.iter().filter(|t| record[t.start] == b'"').cloned().collect();
                if let Some(at) = strings.choose(rng) {
                    record.splice(at.clone(), quoted(rng, key));
                }
            }
        }
        // One field more.
        11 => {
            if let Some(open) = found.iter().filter(|t| record[t.start] == b'{').collect::<Vec<_>>().choose(rng) {
                let key = keys.choose(rng).cloned().unwrap_or_else(|| "u".into());
                let mut entry = quoted(rng, &key);
                entry.push(b':');
                entry.extend(value(rng, record, other));
                entry.push(b',');
                record.splice(open.end..open.end, entry);
            }
        }
        _ => {
            let space = rng.random_range(1..20);
            let space: Vec<u8> = (0..space).map(|_| *b" \t\r\n".choose(rng).unwrap()).collect();
            record.splice(token.start..token.start, space);
        }
    }
}

/// A value from anywhere.
fn value(rng: &mut SmallRng, record: &[u8], other: &[u8]) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => lex(other).choose(rng).map_or_else(Vec::new, |t| other[t.clone()].to_vec()),
        1 => lex(record).choose(rng).map_or_else(Vec::new, |t| record[t.clone()].to_vec()),
        _ => VALUES.choose(rng).unwrap().as_bytes().to_vec(),
    }
}

fn number(rng: &mut SmallRng, record: &mut Vec<u8>, token: Range<usize>) {
    let digits = |rng: &mut SmallRng| -> Vec<u8> {
        let n = *[1, 1, 2, 3, 8, 16, 17, 19, 20, 38, 39, 60].choose(rng).unwrap();
        (0..n).map(|_| *b"0123456789".choose(rng).unwrap()).collect()
    };
    let more: Vec<u8> = match rng.random_range(0..9) {
        0 => b"-".to_vec(),
        1 => [b".", &digits(rng)[..]].concat(),
        2 => {
            let e: &[u8] = [&b"e"[..], b"E", b"e+", b"e-", b"E-"].choose(rng).unwrap();
            [e, &digits(rng)].concat()
        }
        3 => b"0".repeat(rng.random_range(1..40)),
        4 => b"9".repeat(rng.random_range(1..40)),
        5 => b".0".to_vec(),
        6 => b"e0".to_vec(),
        7 => format!("e{}", rng.random_range(-400..400)).into_bytes(),
        _ => digits(rng),
    };
    let at = if rng.random_ratio(1, 3) { rng.random_range(token.start..=token.end) } else { token.end };
    record.splice(at..at, more);
}

fn string(rng: &mut SmallRng, record: &mut Vec<u8>, token: Range<usize>) {
    let at = rng.random_range(token.start..=token.end);
    let piece = IN_STRINGS.choose(rng).unwrap();
    let plain = *[0, 0, 1, 7, 8, 15, 16, 31, 32, 63, 64].choose(rng).unwrap();
    let inside = [&b"x".repeat(plain)[..], piece].concat();
    if record[token.start] == b'"' {
        record.splice(at.clamp(token.start + 1, token.end.max(token.start + 1))..at.max(token.start + 1), inside);
    } else {
        record.splice(token, [b"\"", &inside[..], b"\""].concat());
    }
}

/// Puts a token into lists or objects, up to the depth allowed and past it.
fn nest(rng: &mut SmallRng, record: &mut Vec<u8>, token: Range<usize>) {
    let n = *[1, 2, 3, 60, 61, 62, 63, 64, 65, 66, 300].choose(rng).unwrap();
    let (open, close): (&[u8], &[u8]) = *[(&b"["[..], &b"]"[..]), (b"{\"a\":", b"}"), (b"[", b"")].choose(rng).unwrap();
    let whole = [&open.repeat(n), &record[token.clone()], &close.repeat(n)].concat();
    record.splice(token, whole);
}

/// A key in quotes, at times with escapes that need not be.
fn quoted(rng: &mut SmallRng, key: &str) -> Vec<u8> {
    let mut out = b"\"".to_vec();
    let escape = rng.random_ratio(1, 6);
    for c in key.chars() {
        if c == '"' || c == '\\' || c < ' ' || escape && rng.random_ratio(1, 2) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend(format!("\\u{unit:04x}").bytes());
            }
        } else {
            out.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
    }
    out.push(b'"');
    out
}
