//! Clickstream records with known content: record `n` of a seed is always the same bytes with the same fate.
//! So the ledger only keeps numbers, and the checker makes the record again to compare.

mod bad;
mod odd;

use chrono::DateTime;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub use bad::BAD_KINDS;

/// The job's `[job.NAME.format]` fields for these records, as TOML.
pub const FIELDS: &str = r#"[
  { name = "event_id", type = "string" },
  { name = "seq", type = "int64", nullable = false },
  { name = "user_id", type = "int64" },
  { name = "ts", type = "timestamp" },
  { name = "type", type = "string" },
  { name = "url", type = "string" },
  { name = "price", type = "float64" },
  { name = "quantity", type = "int32" },
  { name = "country", type = "string" },
  { name = "mobile", type = "bool" },
  { name = "amount", type = "decimal(10,2)" },
  { name = "tags", type = "list<string>" },
  { name = "address", type = "struct", fields = [ { name = "city", type = "string" } ] },
]"#;

/// `max_record_bytes` that these records count on; oversized ones are a little larger.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// 2026-01-01T00:00:00Z in ms.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// Shares of what is not an everyday record, each in `0.0..=1.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Records that must be rejected, of every kind in [`BAD_KINDS`].
    pub bad: f64,
    /// Null values.
    pub tombstones: f64,
    /// Good records in unusual dress: missing fields, escapes, exponents, other forms of time.
    pub odd: f64,
}

impl Mix {
    /// Nothing unusual.
    pub const PLAIN: Mix = Mix { bad: 0.0, tombstones: 0.0, odd: 0.0 };
    /// The 2 % of bad records that a daemon has to live with, some tombstones and odd ones.
    pub const POISON: Mix = Mix { bad: 0.02, tombstones: 0.01, odd: 0.1 };
}

/// What a good record must be in the sink. `None` is null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Field of that name.
    pub event_id: Option<String>,
    /// Field of that name.
    pub seq: i64,
    /// Field of that name.
    pub user_id: Option<i64>,
    /// Field `ts`, in ms since the Unix epoch.
    pub ts: Option<i64>,
    /// Field `type`.
    pub kind: Option<String>,
    /// Field of that name.
    pub url: Option<String>,
    /// Field of that name, as bits: `-0.0` is not `0.0` here.
    pub price: Option<u64>,
    /// Field of that name.
    pub quantity: Option<i32>,
    /// Field of that name.
    pub country: Option<String>,
    /// Field of that name.
    pub mobile: Option<bool>,
    /// Field of that name, in hundredths.
    pub amount: Option<i128>,
    /// Field of that name.
    pub tags: Option<Vec<Option<String>>>,
    /// Field `address`; the inner one is its `city`.
    pub address: Option<Option<String>>,
}

/// What must become of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// One row in the sink, with these values.
    Good(Box<Row>),
    /// One dead letter with the raw bytes; the kind is for messages.
    Bad(&'static str),
    /// Nothing (`tombstones = "skip"`).
    Tombstone,
}

/// A record as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// What must become of it.
    pub fate: Fate,
}

/// Makes records of one seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Maker {
    /// Records of another seed are others.
    pub seed: u64,
    /// What to mix in.
    pub mix: Mix,
}

impl Maker {
    /// Record number `n`.
    #[must_use]
    pub fn record(&self, n: u64) -> Record {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let draw: f64 = rng.random();
        let key = rng.random_bool(0.5).then(|| format!("user-{}", rng.random_range(0..100_000)).into_bytes());
        let headers = if rng.random_bool(0.05) { headers(&mut rng) } else { Vec::new() };
        let (value, fate) = if draw < self.mix.tombstones {
            (None, Fate::Tombstone)
        } else if draw < self.mix.tombstones + self.mix.bad {
            let (kind, value) = bad::value(&mut rng, n);
            (Some(value), Fate::Bad(kind))
        } else if draw < self.mix.tombstones + self.mix.bad + self.mix.odd {
            let (value, row) = odd::value(&mut rng, n);
            (Some(value), Fate::Good(Box::new(row)))
        } else {
            let fields = Fields::plain(&mut rng, n);
            (Some(fields.object().into_bytes()), Fate::Good(Box::new(fields.row)))
        };
        Record { key, value, headers, fate }
    }
}

fn headers(rng: &mut SmallRng) -> Vec<(String, Option<Vec<u8>>)> {
    let mut headers = vec![("trace".to_owned(), Some(rng.random::<[u8; 8]>().to_vec()))];
    if rng.random_bool(0.3) {
        headers.push(("trace".to_owned(), None));
        headers.push(("empty".to_owned(), Some(Vec::new())));
    }
    headers
}

/// A record's fields as JSON texts by name, and the row that they mean.
struct Fields {
    texts: Vec<(&'static str, String)>,
    row: Row,
}

impl Fields {
    fn plain(rng: &mut SmallRng, n: u64) -> Fields {
        const KINDS: [&str; 5] = ["view", "click", "cart", "purchase", "search"];
        const COUNTRIES: [&str; 6] = ["DE", "FR", "IN", "US", "BR", "JP"];
        let cents = rng.random_range(1..100_000_i64);
        let price = format!("{}.{:02}", cents / 100, cents % 100);
        let mut fields = Fields { texts: Vec::with_capacity(13), row: Row::default() };
        let seq = i64::try_from(n).unwrap_or(i64::MAX);
        fields.string("event_id", &format!("{:032x}", rng.random::<u128>()));
        fields.put("seq", seq.to_string(), |row| row.seq = seq);
        let user = rng.random_range(0..1_000_000_i64);
        fields.put("user_id", user.to_string(), |row| row.user_id = Some(user));
        let ts = EPOCH_MS + seq;
        fields.put("ts", format!("\"{}\"", rfc3339(ts)), |row| row.ts = Some(ts));
        fields.string("type", KINDS[rng.random_range(0..KINDS.len())]);
        let (product, from) = (rng.random_range(0..10_000), rng.random_range(0..50));
        fields.string("url", &format!("https://shop.example.com/p/{product}/item?ref={from}"));
        fields.float("price", &price);
        let quantity = rng.random_range(1..10_i32);
        fields.put("quantity", quantity.to_string(), |row| row.quantity = Some(quantity));
        fields.string("country", COUNTRIES[rng.random_range(0..COUNTRIES.len())]);
        let mobile = rng.random::<bool>();
        fields.put("mobile", mobile.to_string(), |row| row.mobile = Some(mobile));
        fields.put("amount", price, |row| row.amount = Some(i128::from(cents)));
        fields
    }

    /// Sets a field's text, in its place or at the end, and what it means.
    fn put(&mut self, name: &'static str, text: String, meaning: impl FnOnce(&mut Row)) {
        match self.texts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = text,
            None => self.texts.push((name, text)),
        }
        meaning(&mut self.row);
    }

    fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.put(name, text.into(), |_| ());
    }

    fn string(&mut self, name: &'static str, value: &str) {
        self.text(name, quoted(value));
        *self.row.string_mut(name) = Some(value.to_owned());
    }

    fn float(&mut self, name: &'static str, text: &str) {
        let value = text.parse::<f64>().ok();
        self.put(name, text.to_owned(), |row| row.price = value.map(f64::to_bits));
    }

    fn remove(&mut self, name: &str) {
        self.texts.retain(|(known, _)| *known != name);
    }

    fn object(&self) -> String {
        self.object_with(":", ",")
    }

    fn object_with(&self, colon: &str, comma: &str) -> String {
        let mut out = String::with_capacity(320);
        for (i, (name, text)) in self.texts.iter().enumerate() {
            out.push_str(if i == 0 { "{" } else { comma });
            out.push('"');
            out.push_str(name);
            out.push('"');
            out.push_str(colon);
            out.push_str(text);
        }
        out.push('}');
        out
    }
}

impl Row {
    fn string_mut(&mut self, name: &str) -> &mut Option<String> {
        match name {
            "event_id" => &mut self.event_id,
            "type" => &mut self.kind,
            "url" => &mut self.url,
            _ => &mut self.country,
        }
    }
}

fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).map(|t| t.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Mix = Mix { bad: 0.4, tombstones: 0.1, odd: 0.3 };

    #[test]
    fn a_number_is_always_the_same_record() {
        let maker = Maker { seed: 7, mix: ALL };
        for n in 0..200 {
            assert_eq!(maker.record(n), maker.record(n));
        }
        assert_ne!(maker.record(1).value, Maker { seed: 8, mix: Mix::PLAIN }.record(1).value);
    }

    #[test]
    fn good_records_are_json_objects_and_every_kind_of_bad_one_occurs() {
        let maker = Maker { seed: 1, mix: ALL };
        let mut kinds = std::collections::BTreeSet::new();
        let (mut good, mut tombstones) = (0, 0);
        for n in 0..5000 {
            let record = maker.record(n);
            match record.fate {
                Fate::Good(row) => {
                    good += 1;
                    let value = record.value.expect("a value");
                    let parsed: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
                    assert_eq!(parsed["seq"], row.seq);
                    assert!(value.len() < 4096);
                }
                Fate::Bad(kind) => {
                    kinds.insert(kind);
                    assert!(record.value.is_some());
                }
                Fate::Tombstone => tombstones += 1,
            }
        }
        assert!(good > 2000 && tombstones > 300);
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), {
            let mut all = BAD_KINDS.to_vec();
            all.sort_unstable();
            all
        });
    }
}
