//! The records of the workloads: a seeded clickstream, 235 bytes of JSON each.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::topic::Records;

/// Seed of all published figures.
pub const SEED: u64 = 42;

/// Most records: their times stay within one day.
pub const MAX_RECORDS: u64 = 10 * 86_400_000;

const TYPES: [&str; 5] = ["view", "click", "add_to_cart", "purchase", "search"];
const COUNTRIES: [&str; 8] = ["DE", "US", "FR", "GB", "IN", "BR", "JP", "CN"];

/// What a run over all records must find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records made.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sum of `seq`.
    pub seq_sum: u64,
    /// Records of type `purchase`.
    pub purchases: u64,
    /// Sum of `price * quantity` of the purchases, in hundredths.
    pub purchase_cents: u64,
}

/// Makes one record after the other; the same ones for the same seed.
#[derive(Debug)]
pub struct Clicks {
    random: SmallRng,
    totals: Totals,
    key: String,
    value: String,
}

impl Clicks {
    /// A stream from its first record.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            totals: Totals::default(),
            key: String::new(),
            value: String::with_capacity(512),
        }
    }

    /// The next record's key and value. The order in which random numbers are drawn is part of the workload.
    pub fn next_record(&mut self) -> (&str, &str) {
        let seq = self.totals.records;
        let r = &mut self.random;
        let user: u32 = r.random_range(0..1_000_000);
        let id: u128 = r.random();
        let kind = r.random_range(0..TYPES.len());
        let product: i32 = r.random_range(0..50_000);
        let referrer: i32 = r.random_range(0..100);
        let whole: i32 = r.random_range(1..500);
        let hundredths: i32 = r.random_range(0..100);
        let quantity: i32 = r.random_range(1..9);
        let country = COUNTRIES[r.random_range(0..COUNTRIES.len())];
        let mobile = r.random_bool(0.6);
        // Ten records a millisecond, from the first moment of 2026.
        let ms = seq / 10;
        let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        self.key.clear();
        self.value.clear();
        // Writing to a string does not fail.
        let _ = write!(self.key, "{user}");
        let _ = write!(
            self.value,
            "{{\"event_id\":\"{id:032x}\",\"seq\":{seq},\"user_id\":{user},\
             \"ts\":\"2026-01-01T{hour:02}:{minute:02}:{second:02}.{milli:03}Z\",\"type\":\"{}\",\
             \"url\":\"https://shop.example.com/p/{product}/item?ref={referrer}\",\"price\":{whole}.{hundredths:02},\
             \"quantity\":{quantity},\"country\":\"{country}\",\"mobile\":{mobile}}}",
            TYPES[kind]
        );
        self.totals.records += 1;
        self.totals.bytes += self.value.len() as u64;
        self.totals.seq_sum += seq;
        if TYPES[kind] == "purchase" {
            self.totals.purchases += 1;
            self.totals.purchase_cents +=
                u64::from((whole * 100 + hundredths).unsigned_abs() * quantity.unsigned_abs());
        }
        (&self.key, &self.value)
    }

    /// What was made so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

impl Records for Clicks {
    fn next_record(&mut self) -> (&str, &str) {
        Clicks::next_record(self)
    }

    fn totals(&self) -> Totals {
        Clicks::totals(self)
    }
}

/// The columns of W1, as the raw loop decodes them.
#[must_use]
pub fn schema() -> SchemaRef {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let fields = [
        ("event_id", DataType::Utf8),
        ("seq", DataType::Int64),
        ("user_id", DataType::Int64),
        ("ts", timestamp),
        ("type", DataType::Utf8),
        ("url", DataType::Utf8),
        ("price", DataType::Float64),
        ("quantity", DataType::Int32),
        ("country", DataType::Utf8),
        ("mobile", DataType::Boolean),
    ];
    Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_the_same_in_every_run_and_of_the_published_form() {
        let (mut a, mut b) = (Clicks::new(SEED), Clicks::new(SEED));
        for i in 0..1000u64 {
            let (key, value) = a.next_record();
            assert_eq!((key, value), b.next_record());
            let json: serde_json::Value = serde_json::from_str(value).expect("JSON");
            assert_eq!(json["seq"], i);
            assert_eq!(json["user_id"].to_string(), key);
            assert_eq!(json.as_object().map(serde_json::Map::len), Some(schema().fields().len()));
        }
        let totals = a.totals();
        assert_eq!((totals.records, totals.seq_sum), (1000, 499_500));
        assert!((150..250).contains(&totals.purchases), "a fifth: {totals:?}");
    }
}
