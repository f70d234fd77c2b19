//! Good records in unusual dress: each must become a row with exactly these values.

use rand::Rng;
use rand::rngs::SmallRng;

use super::{EPOCH_MS, Fields, Row};

/// A value and the row it means.
pub(super) fn value(rng: &mut SmallRng, n: u64) -> (Vec<u8>, Row) {
    let mut fields = Fields::plain(rng, n);
    let ts = EPOCH_MS + i64::try_from(n % 1_000_000_000).unwrap_or(0);
    match rng.random_range(0..13) {
        // Everything that may be missing is missing.
        0 => {
            let seq = fields.row.seq;
            fields.texts.retain(|(name, _)| *name == "seq");
            fields.row = Row { seq, ..Row::default() };
        }
        // Everything that may be null is null.
        1 => {
            let seq = fields.row.seq;
            for (name, text) in &mut fields.texts {
                if *name != "seq" {
                    "null".clone_into(text);
                }
            }
            fields.text("tags", "null");
            fields.text("address", "null");
            fields.row = Row { seq, ..Row::default() };
        }
        // Unknown fields are ignored, whatever is in them.
        2 => {
            fields.text("unknown", format!("{}1{}", "[".repeat(60), "]".repeat(60)));
            fields.text("Seq", r#"{"seq":"another","x":[1.5e3,null,true,"\"}"]}"#);
        }
        // Order and blanks mean nothing.
        3 => {
            fields.texts.reverse();
            let value = format!(" \r\n\t{}\n ", fields.object_with(" :\t", " ,\n"));
            return (value.into_bytes(), fields.row);
        }
        // Any JSON number is a float.
        4 => {
            let forms = ["5", "-0.0", "4.5e2", "1E-300", "0.1", "123456789012345678", "2.2250738585072014e-308"];
            fields.float("price", forms[rng.random_range(0..forms.len())]);
        }
        // Text of all sorts.
        5 => {
            let url = "caf\u{e9} \u{1f600} \"quoted\" back\\slash / tab\t nul\u{0} \u{2028}";
            fields.string("url", url);
            fields.string("country", "");
        }
        // The same text, all in escapes.
        6 => {
            fields.put("url", r#""\u0063af\u00E9 \ud83d\uDE00 \/\b\f\n\r\t""#.to_owned(), |row| {
                row.url = Some("caf\u{e9} \u{1f600} /\u{8}\u{c}\n\r\t".to_owned());
            });
        }
        // Time as an epoch number in the field's unit, and with an offset.
        7 => fields.put("ts", ts.to_string(), |row| row.ts = Some(ts)),
        8 => {
            let local = super::rfc3339(ts + 2 * 3_600_000).replace('Z', "+02:00");
            fields.put("ts", format!("\"{local}\""), |row| row.ts = Some(ts));
        }
        // Decimals as text, with fewer digits, negative.
        9 => {
            let (text, cents) = [("\"12.34\"", 1234), ("7", 700), ("-0.5", -50), ("\"99999999.99\"", 9_999_999_999)]
                [rng.random_range(0..4)];
            fields.put("amount", text.to_owned(), |row| row.amount = Some(cents));
        }
        // Lists and structs, with nulls inside.
        10 => {
            fields.put("tags", r#"["a", null ,"","\u00e9"]"#.to_owned(), |row| {
                row.tags = Some(vec![Some("a".into()), None, Some(String::new()), Some("\u{e9}".into())]);
            });
            fields.put("address", r#"{"zip":[{}],"city":"Rome"}"#.to_owned(), |row| {
                row.address = Some(Some("Rome".into()));
            });
        }
        11 => {
            fields.put("tags", "[]".to_owned(), |row| row.tags = Some(Vec::new()));
            fields.put("address", "{}".to_owned(), |row| row.address = Some(None));
        }
        // The ends of the integers.
        _ => {
            let (user, quantity) = if rng.random() { (i64::MAX, i32::MIN) } else { (i64::MIN, i32::MAX) };
            fields.put("user_id", user.to_string(), |row| row.user_id = Some(user));
            fields.put("quantity", quantity.to_string(), |row| row.quantity = Some(quantity));
        }
    }
    (fields.object().into_bytes(), fields.row)
}
