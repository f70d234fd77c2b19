//! How fast JSON is decoded, beside arrow-json, on one core:
//! `cargo run --release -p tidemill-connectors --example json_speed`.
//!
//! Prints MB of JSON a second: the best of several rounds over 4-MiB chunks, and the same for records with objects and
//! lists inside. arrow-json runs as it is used, without the guards that a daemon needs around it.

#![allow(clippy::print_stdout)] // this is what it is for

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow_json::ReaderBuilder;
use tidemill_connectors::json::{JsonFormat, JsonOptions};
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::Format;
use tidemill_engine::partition::Partition;

const CHUNK_BYTES: usize = 4 << 20;
const ROUNDS: usize = 60;

fn main() {
    let rows = clicks();
    compare("clicks, 10 fields", click_fields(), &rows, &[]);
    compare("clicks, 3 of 10 fields", click_fields(), &rows, &["user_id", "ts", "price"]);
    let spaced: Vec<String> = rows.iter().map(|r| r.replace("\":", "\": ").replace(",\"", ", \"")).collect();
    compare("clicks with spaces", click_fields(), &spaced, &[]);
    compare("nested", nested_fields(), &nested(), &[]);
}

fn compare(name: &str, fields: Fields, records: &[String], projection: &[&str]) {
    let mut chunk = Chunk::new([Partition::new("t", 0)].into(), CHUNK_BYTES);
    for (i, record) in records.iter().cycle().enumerate() {
        if chunk.bytes() + record.len() > CHUNK_BYTES {
            break;
        }
        chunk.push(0, i as i64, Some(0), Some(record.as_bytes()), None, []);
    }
    let (bytes, count) = (chunk.bytes(), chunk.len());
    chunk.seal();

    let mut format = JsonFormat::new(JsonOptions::new(fields.clone())).expect("a schema");
    if !projection.is_empty() {
        format = format.with_projection(projection).expect("columns of the schema");
    }
    let mut decoder = format.decoder();
    let ours = best(|| {
        let decoded = decoder.decode(&chunk);
        assert_eq!(decoded.rows.num_rows(), count, "{:?}", decoded.rejects.first());
    });

    let schema = match projection {
        [] => Schema::new(fields),
        names => Schema::new(fields.iter().filter(|f| names.contains(&f.name().as_str())).cloned().collect::<Vec<_>>()),
    };
    let mut theirs_decoder =
        ReaderBuilder::new(Arc::new(schema)).with_batch_size(count).build_decoder().expect("a decoder");
    let theirs = best(|| {
        for record in chunk.iter() {
            theirs_decoder.decode(record.value.unwrap_or_default()).expect("good records");
        }
        assert_eq!(theirs_decoder.flush().expect("rows").map(|b| b.num_rows()), Some(count));
    });
    let speed = |t: Duration| bytes as f64 / t.as_secs_f64() / 1e6;
    println!(
        "{name:<24} {:>4} bytes a record   tidemill {:>6.0} MB/s {:>5.0} ns a record   arrow-json {:>6.0} MB/s   x {:.1}",
        bytes / count,
        speed(ours),
        ours.as_secs_f64() * 1e9 / count as f64,
        speed(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64(),
    );
}

fn best(mut run: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))
}

fn click_fields() -> Fields {
    Fields::from(vec![
        Field::new("event_id", DataType::Utf8, true),
        Field::new("seq", DataType::Int64, false),
        Field::new("user_id", DataType::Int64, true),
        Field::new("ts", timestamp(), true),
        Field::new("type", DataType::Utf8, true),
        Field::new("url", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("quantity", DataType::Int32, true),
        Field::new("country", DataType::Utf8, true),
        Field::new("mobile", DataType::Boolean, true),
    ])
}

/// A small generator of numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn clicks() -> Vec<String> {
    let mut n = Numbers(1);
    let types = ["view", "click", "cart", "purchase", "search"];
    let countries = ["IN", "DE", "US", "BR", "JP"];
    (0..20_000u64)
        .map(|i| {
            format!(
                r#"{{"event_id":"{:016x}{:016x}","seq":{},"user_id":{},"ts":"2026-01-01T00:{:02}:{:02}.{:03}Z","type":"{}","url":"https://shop.example.com/p/{}/item?ref={}","price":{}.{:02},"quantity":{},"country":"{}","mobile":{}}}"#,
                n.below(u64::MAX) * 0x9E37_79B9,
                n.below(u64::MAX) * 0x9E37_79B9,
                4_000_000 + i,
                n.below(1_000_000),
                n.below(60),
                n.below(60),
                n.below(1000),
                types[n.below(5) as usize],
                n.below(10_000),
                n.below(100),
                n.below(1000),
                n.below(100),
                1 + n.below(9),
                countries[n.below(5) as usize],
                n.below(2) == 0,
            )
        })
        .collect()
}

fn nested_fields() -> Fields {
    let user = Fields::from(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("city", DataType::Utf8, true),
    ]);
    let item = Fields::from(vec![
        Field::new("sku", DataType::Utf8, true),
        Field::new("count", DataType::Int32, true),
        Field::new("price", DataType::Float64, true),
    ]);
    let list = |of| DataType::List(Arc::new(Field::new("item", of, true)));
    Fields::from(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("ts", timestamp(), true),
        Field::new("user", DataType::Struct(user), true),
        Field::new("tags", list(DataType::Utf8), true),
        Field::new("items", list(DataType::Struct(item)), true),
    ])
}

fn nested() -> Vec<String> {
    let mut n = Numbers(2);
    (0..10_000u64)
        .map(|i| {
            let items: Vec<String> = (0..n.below(5))
                .map(|_| {
                    let (sku, count) = (n.below(100_000), n.below(9));
                    format!(r#"{{"sku":"A-{sku:06}","count":{count},"price":{}.{:02}}}"#, n.below(500), n.below(100))
                })
                .collect();
            let tags: Vec<String> = (0..n.below(4)).map(|_| format!(r#""tag{}""#, n.below(50))).collect();
            let note = if n.below(4) == 0 { r#""gift","# } else { "" };
            format!(
                r#"{{"id":"{i:08x}","ts":"2026-03-04T05:06:07.089Z","user":{{"id":{},"name":"Ann \"A\" {}","city":"Köln"}},"tags":[{note}{}],"items":[{}]}}"#,
                n.below(1 << 30),
                n.below(100),
                if tags.is_empty() { r#""none""#.to_owned() } else { tags.join(",") },
                items.join(","),
            )
        })
        .collect()
}
