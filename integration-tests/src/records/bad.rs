//! Records that must be rejected: one maker for each kind of fault a JSON record can have.

use rand::Rng;
use rand::rngs::SmallRng;

use super::{Fields, MAX_RECORD_BYTES};

/// Every kind of bad record.
pub const BAD_KINDS: &[&str] = &[
    "not json",
    "truncated",
    "truncated in a string",
    "trailing junk",
    "two documents",
    "empty",
    "blank",
    "byte order mark",
    "invalid utf-8",
    "top level not an object",
    "too deep",
    "far too deep",
    "too large",
    "missing field",
    "null field",
    "duplicate key",
    "duplicate key in a struct",
    "fraction for an integer",
    "exponent for an integer",
    "text for an integer",
    "integer out of range",
    "text for a float",
    "number for a string",
    "text for a bool",
    "decimal with too many digits",
    "not a time",
    "time out of range",
    "wrong element in a list",
    "object for a list",
    "wrong field in a struct",
    "list for a struct",
    "not a number",
    "leading zero",
    "control character in a string",
    "trailing comma",
];

/// A kind and a value of it.
pub(super) fn value(rng: &mut SmallRng, n: u64) -> (&'static str, Vec<u8>) {
    let kind = BAD_KINDS[rng.random_range(0..BAD_KINDS.len())];
    (kind, of_kind(kind, Fields::plain(rng, n), rng))
}

fn of_kind(kind: &str, mut fields: Fields, rng: &mut SmallRng) -> Vec<u8> {
    let good = fields.object();
    let mut one_of = |texts: &[&str]| texts[rng.random_range(0..texts.len())].to_owned();
    match kind {
        "not json" => return one_of(&["hello", "<xml/>", "{'seq':1}", "{seq:1}", "}{", "\u{1}\u{2}\u{3}"]).into(),
        "truncated" => return good[..good.len() - 1].into(),
        "truncated in a string" => return good[..20].into(),
        "trailing junk" => return (good + &one_of(&["x", "}", ",", "\u{0}"])).into(),
        "two documents" => return (good.clone() + &one_of(&["", "\n", " "]) + &good).into(),
        "empty" => return Vec::new(),
        "blank" => return one_of(&[" ", "\n", " \t\r\n "]).into(),
        "byte order mark" => return [b"\xef\xbb\xbf", good.as_bytes()].concat(),
        "invalid utf-8" => return good.replace("https", "\u{1}").into_bytes().into_iter().map(not_utf8).collect(),
        "top level not an object" => {
            return one_of(&["[1]", "null", "5", "\"text\"", "true", "[{\"seq\":1}]"]).into();
        }
        "too deep" => fields.text("unknown", nested(70)),
        // 60 kB of brackets in a typed field: a recursive decoder overflows its stack.
        "far too deep" => fields.text("tags", nested(30_000)),
        "too large" => fields.text("unknown", super::quoted(&"x".repeat(MAX_RECORD_BYTES + 1))),
        "missing field" => fields.remove("seq"),
        "null field" => fields.text("seq", "null"),
        "duplicate key" => return good.replacen('{', "{\"country\":\"DE\",", 1).into(),
        "duplicate key in a struct" => fields.text("address", r#"{"city":"Rome","city":"Paris"}"#),
        "fraction for an integer" => fields.text("quantity", one_of(&["1.5", "2.0"])),
        "exponent for an integer" => fields.text("quantity", one_of(&["1e3", "1E0"])),
        "text for an integer" => fields.text("quantity", one_of(&["\"5\"", "\"\"", "true", "[5]"])),
        "integer out of range" => {
            fields.text("quantity", one_of(&["2147483648", "-2147483649", "18446744073709551616"]));
        }
        "text for a float" => fields.text("price", one_of(&["\"1.5\"", "\"NaN\"", "false", "{}"])),
        "number for a string" => fields.text("country", one_of(&["5", "true", "{}", "[\"DE\"]"])),
        "text for a bool" => fields.text("mobile", one_of(&["\"true\"", "1", "0", "\"\""])),
        "decimal with too many digits" => fields.text("amount", one_of(&["1.234", "\"0.001\"", "123456789.00"])),
        "not a time" => fields.text("ts", one_of(&["\"yesterday\"", "\"\"", "true", "\"2026-13-45T00:00:00Z\""])),
        "time out of range" => fields.text("ts", one_of(&["99999999999999999999", "-99999999999999999999"])),
        "wrong element in a list" => fields.text("tags", one_of(&["[\"a\",5]", "[[\"a\"]]", "[{}]"])),
        "object for a list" => fields.text("tags", one_of(&["{}", "\"a\"", "{\"0\":\"a\"}"])),
        "wrong field in a struct" => fields.text("address", one_of(&["{\"city\":5}", "{\"city\":{}}"])),
        "list for a struct" => fields.text("address", one_of(&["[]", "\"Rome\"", "[\"Rome\"]"])),
        "not a number" => fields.text("price", one_of(&["NaN", "Infinity", "+1", "0x10", ".5", "5."])),
        "leading zero" => fields.text("quantity", "01"),
        "control character in a string" => fields.text("country", one_of(&["\"D\nE\"", "\"D\u{0}E\"", "\"\t\""])),
        // "trailing comma"
        _ => return (good[..good.len() - 1].to_owned() + ",}").into(),
    }
    fields.object().into_bytes()
}

fn not_utf8(byte: u8) -> u8 {
    if byte == 1 { 0xff } else { byte }
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}
