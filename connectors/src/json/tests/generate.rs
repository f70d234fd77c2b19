//! Schemas, records and faults from a seed.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::scalars;

/// Makes things from a seed.
pub(super) struct Generator {
    pub(super) rng: SmallRng,
}

/// Values that one type or another takes, or just not.
pub(super) const VALUES: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "127",
    "128",
    "-128",
    "-129",
    "255",
    "256",
    "32767",
    "32768",
    "-32768",
    "-32769",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999",
    "100000000",
    "1234567890123456",
    "123456789012345678901234567890123456789012345678901234567890",
    "01",
    "00",
    "-01",
    "-",
    "+1",
    "1.",
    ".5",
    "1.5",
    "1e3",
    "1E+3",
    "1e-3",
    "1e",
    "1e+",
    "0.1",
    "-0.0",
    "0e0",
    "1e22",
    "1e23",
    "1e-22",
    "9007199254740993",
    "9007199254740992.5",
    "16777217",
    "0.30000000000000004",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "3.4028235e38",
    "3.4028236e38",
    "1e400",
    "-1e400",
    "1e-400",
    "4.9e-324",
    "2e-324",
    "1.50",
    "1.505",
    "99999999.99",
    "100000000.00",
    "12300",
    "99900",
    "100000",
    "1e36",
    "0e99999999999999999999",
    "1e-99999999999999999999",
    "0.00000000000000000000000000000000000001",
    "0.000000000000000000000000000000000000001",
    "1.0e-38",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "true",
    "false",
    "tru",
    "nulls",
    "True",
    "NaN",
    "Infinity",
    "null",
    "{}",
    "[]",
    "[1,2]",
    "[null]",
    "[[],[\"x\",null]]",
    "[\"a\",\"b\"]",
    "{\"a\":1}",
    "{\"a\":1,\"b\":[\"x\"],\"c\":0}",
    "{\"a\":null}",
    "{\"a\":1,\"a\":1}",
    "{\"z\":1,\"z\":1}",
    "[{\"a\":1},{\"a\":2,\"c\":\"2020-01-01T00:00:00Z\"}]",
    "[1,]",
    "{,}",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\"\"",
    "\"x\"",
    "\"5\"",
    "\"1.25\"",
    "\"1e2\"",
    "\" 1\"",
    "\"1 \"",
    "\"-\"",
    "\"true\"",
    "\"null\"",
    "\"Zg==\"",
    "\"Zm8=\"",
    "\"Zm9v\"",
    "\"Zh==\"",
    "\"Zg\"",
    "\"\\/\\/\\/\\/\"",
    "\"2026-01-02\"",
    "\"2026-02-29\"",
    "\"2024-02-29\"",
    "\"0000-01-01\"",
    "\"9999-12-31\"",
    "\"2026-13-01\"",
    "\"2026-1-1\"",
    "\"23:59:59\"",
    "\"23:59:59.999999999\"",
    "\"24:00:00\"",
    "\"00:00:60\"",
    "\"12:34\"",
    "\"12:34:56.\"",
    "\"12:34:56Z\"",
    "\"2026-01-02T03:04:05Z\"",
    "\"2026-01-02T03:04:05.6Z\"",
    "\"2026-01-02T03:04:05.678Z\"",
    "\"2026-01-02t03:04:05.678901234567z\"",
    "\"2026-01-02 03:04:05.678+05:30\"",
    "\"2026-01-02T03:04:05-23:59\"",
    "\"2026-01-02T03:04:05+24:00\"",
    "\"2026-01-02T03:04:05\"",
    "\"2026-01-02T03:04:60Z\"",
    "\"2026-01-02T24:00:00Z\"",
    "\"0000-01-01T00:00:00Z\"",
    "\"0000-01-01T00:00:00+00:01\"",
    "\"9999-12-31T23:59:59.999Z\"",
    "\"9999-12-31T23:59:59-00:01\"",
    "\"1969-12-31T23:59:59.999Z\"",
    "\"1677-09-21T00:12:43.145224192Z\"",
    "\"1677-09-21T00:12:43.145224191Z\"",
    "\"1677-09-21T00:12:43.145Z\"",
    "\"2262-04-11T23:47:16.854775807Z\"",
    "\"2262-04-11T23:47:16.854775808Z\"",
    "\"2262-04-11T23:47:16.855Z\"",
    "\"2026-01-02T03:04:05.678Zx\"",
    "\"2026-01-02T03:04:05.678\\u005a\"",
    "-719528",
    "-719529",
    "2932896",
    "2932897",
    "86399",
    "86400",
    "86399999",
    "86400000",
    "86399999999",
    "86400000000",
    "86399999999999",
    "86400000000000",
    "253402300799",
    "253402300800",
    "-62167219200",
    "-62167219201",
    "253402300799999",
    "253402300800000",
    "-62167219200000",
    "-62167219200001",
    "253402300799999999",
    "253402300800000000",
    "\"\\u0041\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\ude00\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ud83dx\"",
    "\"\\u12\"",
    "\"\\uZZZZ\"",
    "\"\\x\"",
    "\"\\\"",
    "\"\\\\\"",
    "\"\\n\\t\\b\\f\\r\\/\\\"\"",
    "\"tab\there\"",
    "\"nul\0\"",
    "\"\u{7f}\u{80}é😀\"",
    "\"0123456789abcdef\"",
    "\"0123456789abcdef0123456789abcdef\"",
    "\"0123456789abcd\\n\"",
    "\"0123456789abcdef\\u00e9 and more\"",
];

const KEYS: &[&str] =
    &["a", "b", "c", "id", "a key", "a_rather_long_field_name", "exactly_13_ch", "é", "\"", "\\", "", "f0", "x\ty"];

/// Bits of an integer that the type takes for certain, and whether it takes negative ones.
fn width(of: &DataType) -> (u32, bool) {
    use TimeUnit::{Microsecond, Millisecond, Second};
    match of {
        DataType::Int8 => (7, true),
        DataType::Int16 => (15, true),
        DataType::Int32 => (31, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        DataType::Date32 => (19, true),
        DataType::Time32(Second) => (16, false),
        DataType::Time32(_) => (26, false),
        DataType::Time64(Microsecond) => (36, false),
        DataType::Time64(_) => (46, false),
        DataType::Timestamp(Second, _) => (35, true),
        DataType::Timestamp(Millisecond, _) => (45, true),
        DataType::Timestamp(Microsecond, _) => (55, true),
        _ => (63, true),
    }
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed) }
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: u32) -> bool {
        self.rng.random_ratio(1, n)
    }

    /// Fields of an object with types up to `depth` inside each other.
    pub(super) fn fields(&mut self, depth: usize) -> Fields {
        let mut names: Vec<&str> = KEYS.to_vec();
        names.shuffle(&mut self.rng);
        let n = self.rng.random_range(0..=6.min(names.len()));
        names.into_iter().take(n).map(|name| Arc::new(self.field(name, depth))).collect()
    }

    fn field(&mut self, name: &str, depth: usize) -> Field {
        let of = match self.rng.random_range(0..10) {
            0 | 1 if depth > 0 => DataType::Struct(self.fields(depth - 1)),
            2 | 3 if depth > 0 => DataType::List(Arc::new(self.field("item", depth - 1))),
            _ => scalars().choose(&mut self.rng).unwrap().clone(),
        };
        Field::new(name, of, !self.once_in(4))
    }

    /// A record of these fields; about one in `fault_in` of its values is wrong in some way.
    pub(super) fn record(&mut self, fields: &Fields, fault_in: u32) -> String {
        let mut out = String::new();
        self.space(&mut out);
        self.object(fields, fault_in, &mut out);
        self.space(&mut out);
        out
    }

    fn object(&mut self, fields: &Fields, fault_in: u32, out: &mut String) {
        let mut order: Vec<Option<usize>> = (0..fields.len()).map(Some).collect();
        if self.once_in(4) {
            order.shuffle(&mut self.rng);
        }
        order.retain(|i| {
            i.is_some_and(|i| !self.rng.random_ratio(1, if fields[i].is_nullable() { 6 } else { fault_in * 4 }))
        });
        for _ in 0..if self.once_in(3) { self.rng.random_range(1..4) } else { 0 } {
            order.insert(self.rng.random_range(0..=order.len()), None);
        }
        if !order.is_empty() && self.once_in(fault_in * 8) {
            order.push(order[0]);
        }
        out.push('{');
        self.space(out);
        for (n, i) in order.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
                self.space(out);
            }
            match i {
                Some(i) => self.string(&fields[i].name().clone(), out),
                None => {
                    let key = format!("u{}", self.rng.random_range(0..200));
                    self.string(&key, out);
                }
            }
            self.space(out);
            out.push(':');
            self.space(out);
            match i {
                Some(i) => self.value(&fields[i].clone(), fault_in, out),
                None => out.push_str(self.any_value(fault_in)),
            }
            self.space(out);
        }
        out.push('}');
    }

    fn any_value(&mut self, fault_in: u32) -> &'static str {
        if self.once_in(fault_in) {
            return VALUES.choose(&mut self.rng).unwrap();
        }
        ["1", "null", "\"x\"", "[1,{\"k\":[]}]", "{\"p\":1,\"q\":{\"p\":2}}", "-1.5e7", "true"]
            .choose(&mut self.rng)
            .unwrap()
    }

    fn value(&mut self, field: &Field, fault_in: u32, out: &mut String) {
        if self.once_in(fault_in) || field.is_nullable() && self.once_in(6) {
            out.push_str(if self.once_in(2) { "null" } else { VALUES.choose(&mut self.rng).unwrap() });
            return;
        }
        match field.data_type() {
            DataType::Struct(fields) => self.object(fields, fault_in, out),
            DataType::List(item) => {
                out.push('[');
                for n in 0..self.rng.random_range(0..4) {
                    if n > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.value(item, fault_in, out);
                    self.space(out);
                }
                out.push(']');
            }
            DataType::Boolean => out.push_str(if self.once_in(2) { "true" } else { "false" }),
            DataType::Utf8 => {
                let chars = ['a', 'Z', '"', '\\', '/', '\n', '\u{1}', 'é', '€', '😀', ' '];
                let n = self.rng.random_range(0..40);
                let text: String =
                    (0..n).map(|_| if self.once_in(4) { *chars.choose(&mut self.rng).unwrap() } else { 'x' }).collect();
                self.string(&text, out);
            }
            DataType::Binary => {
                let n = self.rng.random_range(0..4);
                out.push('"');
                out.extend((0..n * 4).map(|_| *['A', 'z', '0', '+', '9', 'Q'].choose(&mut self.rng).unwrap()));
                out.push('"');
            }
            DataType::Float32 | DataType::Float64 => {
                let bits = self.rng.random::<u64>();
                let single = *field.data_type() == DataType::Float32 && !self.once_in(fault_in);
                let float = match self.rng.random_range(0..4) {
                    0 if !single => f64::from_bits(bits),
                    0 | 1 => f64::from(f32::from_bits(bits as u32)),
                    2 => (bits % 1_000_000) as f64 / 100.0,
                    _ => bits as f64,
                };
                let float = if float.is_finite() { float } else { 0.5 };
                let _ = if self.once_in(2) { write!(out, "{float:e}") } else { write!(out, "{float}") };
            }
            DataType::Decimal128(precision, scale) => {
                let n = self.rng.random_range(1..=u32::from(*precision));
                let digits: String = (0..n).map(|_| char::from(b'0' + self.rng.random_range(0..10u8))).collect();
                let digits = digits.trim_start_matches('0');
                let quote = if self.once_in(2) { "\"" } else { "" };
                let digits = if digits.is_empty() { "0" } else { digits };
                let _ = write!(out, "{quote}{digits}e{}{quote}", -i32::from(*scale));
            }
            DataType::Date32 | DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_)
                if self.once_in(2) =>
            {
                let mut two = |max: u32| self.rng.random_range(1..=max);
                let nanos = matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _));
                let century = if nanos { 18 + two(2) } else { two(20) };
                let date = format!("{century:02}{:02}-{:02}-{:02}", two(98), two(12), two(28));
                let time = format!("{:02}:{:02}:{:02}", two(23), two(59), two(59));
                let fraction = ["", ".5", ".123", ".123456", ".999999999"][two(5) as usize - 1];
                let zone = ["Z", "Z", "z", "+01:00", "-12:30"][two(5) as usize - 1];
                let text = match field.data_type() {
                    DataType::Date32 => date,
                    DataType::Timestamp(..) => format!("{date}T{time}{fraction}{zone}"),
                    _ => format!("{time}{fraction}"),
                };
                let _ = write!(out, "\"{text}\"");
            }
            _ => {
                let (bits, signed) = if self.once_in(fault_in) { (64, true) } else { width(field.data_type()) };
                let magnitude = self.rng.random::<u64>() >> self.rng.random_range(64 - bits..64);
                let sign = if signed && self.once_in(3) { "-" } else { "" };
                let _ = write!(out, "{sign}{magnitude}");
            }
        }
    }

    /// A string with some of its characters escaped that need not be.
    fn string(&mut self, text: &str, out: &mut String) {
        out.push('"');
        let all_plain = !self.once_in(8);
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' if self.once_in(2) => out.push_str("\\n"),
                c if c < ' ' || !all_plain && self.once_in(3) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                '/' if self.once_in(2) => out.push_str("\\/"),
                c => out.push(c),
            }
        }
        out.push('"');
    }

    fn space(&mut self, out: &mut String) {
        while self.once_in(6) {
            out.push(*[' ', '\n', '\r', '\t'].choose(&mut self.rng).unwrap());
        }
    }

    /// Damages a record.
    pub(super) fn damage(&mut self, record: &mut Vec<u8>) {
        let at = self.rng.random_range(0..=record.len());
        let other = self.rng.random_range(0..=record.len());
        let (from, to) = (at.min(other), at.max(other));
        match self.rng.random_range(0..8) {
            0 => record.truncate(at),
            1 if at < record.len() => record[at] ^= 1 << self.rng.random_range(0..8),
            2 if at < record.len() => record[at] = self.rng.random(),
            3 => drop(record.drain(from..to)),
            4 => record.extend_from_within(from..to),
            5 => {
                let piece = record[from..to].to_vec();
                record.splice(other..other, piece);
            }
            6 => record.insert(at, *b"{}[]\",:\\0-.e \n\0\x80\xFF".choose(&mut self.rng).unwrap()),
            _ => {
                let value = VALUES.choose(&mut self.rng).unwrap();
                record.splice(at..at, value.bytes());
            }
        }
    }
}
