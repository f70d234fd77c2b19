//! Parts of messages, and sizes.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use tidemill_connectors::kafka::sink::{AtLeastOnceKafkaSink, KafkaSinkOptions, Mapping, Value};
use tidemill_connectors::kept::KeptPositions;
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError};
use tidemill_engine::testkit::{plain_schema, rows};

use crate::group::{Group, Peers, Read, SOURCE, broker, read_committed, staged};

fn p() -> Partition {
    Partition::new(SOURCE, 0)
}

fn moved(start: i64, end: i64) -> OffsetRanges {
    [(p(), OffsetRange::new(start, end))].into_iter().collect()
}

fn anchor() -> OffsetRanges {
    [(p(), OffsetRange::anchor(Position::at(0)))].into_iter().collect()
}

fn batch(keys: Vec<Option<&str>>, partitions: Vec<i32>) -> RecordBatch {
    let n = i64::try_from(keys.len()).unwrap();
    RecordBatch::try_from_iter([
        ("k", Arc::new(StringArray::from(keys)) as ArrayRef),
        ("_at", Arc::new(Int64Array::from_iter_values((0..n).map(|i| 1_600_000_000_000 + i)))),
        ("_part", Arc::new(Int32Array::from(partitions))),
        ("text", Arc::new(StringArray::from_iter((0..n).map(|i| (i != 1).then(|| format!("t{i}")))))),
    ])
    .unwrap()
}

fn mapping(value: Value) -> Mapping {
    Mapping {
        value,
        key: Some("k".into()),
        headers: None,
        header_columns: vec!["text".into()],
        timestamp: Some("_at".into()),
        partition: Some("_part".into()),
    }
}

/// The error of a window of these rows, wherever it is noticed.
async fn refused(sink: &mut Box<dyn Sink>, rows: RecordBatch) -> SinkError {
    let mut staging = sink.open().await.unwrap();
    if let Err(error) = staging.write(rows).await {
        return error;
    }
    match staging.seal().await {
        Ok(window) => sink.commit(Some(window), &moved(0, 1)).await.unwrap_err(),
        Err(error) => error,
    }
}

/// As [`refused`], by the client: known when the window is sealed, where the row can still be looked for.
async fn refused_in_time(sink: &mut Box<dyn Sink>, rows: RecordBatch) -> SinkError {
    let mut staging = sink.open().await.unwrap();
    if let Err(error) = staging.write(rows).await {
        return error;
    }
    staging.seal().await.map(drop).expect_err("refused before the commit")
}

async fn ready(group: &Group) -> Box<dyn Sink> {
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    sink.recover(&[p()]).await.unwrap();
    assert!(matches!(sink.commit(None, &anchor()).await, Ok(Commit::Landed(_))));
    sink
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_arrive_as_they_are_mapped() {
    let rows = batch(vec![Some("a"), None, Some("c")], vec![1, 0, 1]);
    for raw in [false, true] {
        let mut group = Group::new(rows.schema(), Peers::Frozen);
        let value = if raw { Value::Raw { column: "text".into() } } else { Value::Json };
        group.options.mapping = mapping(value);
        let mut sink = ready(&group).await;
        let window = staged(&mut sink, [rows.clone()]).await;
        assert!(matches!(sink.commit(Some(window), &moved(0, 3)).await, Ok(Commit::Landed(r)) if r.rows == 3));
        let read = tokio::task::block_in_place(|| read_committed(&group.topic));
        let expected = |partition, key: Option<&str>, i: usize, json: &str| {
            let text = (i != 1).then(|| format!("t{i}").into_bytes());
            Read {
                partition,
                key: key.map(|k| k.as_bytes().to_vec()),
                value: if raw { text.clone() } else { Some(json.as_bytes().to_vec()) },
                timestamp: Some(1_600_000_000_000 + i as i64),
                headers: text.map(|t| ("text".to_owned(), Some(t))).into_iter().collect(),
            }
        };
        assert_eq!(
            read,
            [
                expected(0, None, 1, r#"{"k":null,"text":null}"#),
                expected(1, Some("a"), 0, r#"{"k":"a","text":"t0"}"#),
                expected(1, Some("c"), 2, r#"{"k":"c","text":"t2"}"#),
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_not_there_and_a_message_too_large_are_the_rows_fault() {
    let rows = batch(vec![Some("a")], vec![99]);
    let mut group = Group::new(rows.schema(), Peers::Frozen);
    group.options.mapping = mapping(Value::Json);
    let mut sink = ready(&group).await;
    let error = refused_in_time(&mut sink, rows).await;
    assert_eq!(error.reaction, Reaction::BadRow, "{error}");
    drop(sink);
    let large = "x".repeat(2 << 20);
    let rows = batch(vec![Some(large.as_str())], vec![0]);
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    sink.recover(&[p()]).await.unwrap();
    let error = refused_in_time(&mut sink, rows).await;
    assert_eq!(error.reaction, Reaction::BadRow, "{error}");
    assert!(error.message.contains("message.max.bytes"), "{error}");
    // What the broker refuses, where the client would not.
    group.options.properties.insert("message.max.bytes".into(), "8000000".into());
    drop(sink);
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    sink.recover(&[p()]).await.unwrap();
    let random: String = (0..2 << 20).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect();
    let error = refused(&mut sink, batch(vec![Some(random.as_str())], vec![0])).await;
    assert_eq!(error.reaction, Reaction::BadRow, "{error}");
    assert!(tokio::task::block_in_place(|| read_committed(&group.topic)).is_empty());
}

/// More than the memory it may hold goes through it, before the commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_larger_than_its_memory_streams_through() {
    let mut group = Group::new(plain_schema(), Peers::Frozen);
    group.options.memory = 2 << 20;
    // A transaction that outlives a busy machine.
    group.options.max_age = Duration::from_secs(200);
    let mut sink = ready(&group).await;
    let batches = (0..30).map(|i| rows(&plain_schema(), SOURCE, 0, i * 5000..(i + 1) * 5000));
    let window = tokio::time::timeout(Duration::from_secs(300), staged(&mut sink, batches)).await.unwrap();
    assert!(window.bytes > 5 << 20, "{} bytes", window.bytes);
    assert!(matches!(sink.commit(Some(window), &moved(0, 150_000)).await, Ok(Commit::Landed(r)) if r.rows == 150_000));
    assert_eq!(tokio::task::block_in_place(|| read_committed(&group.topic)).len(), 150_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_transactions_messages_are_there_and_positions_in_a_file() {
    let topic = tokio::task::block_in_place(|| broker().topic("plain", 1, &[]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let kept = || KeptPositions::in_file(folder.path().join("positions.json"));
    let options = KafkaSinkOptions::new("plain", "a", broker().brokers(), &topic, plain_schema());
    let mut sink: Box<dyn Sink> =
        Box::new(AtLeastOnceKafkaSink::new(options.clone(), kept(), Clock::system()).unwrap());
    assert!(sink.recover(&[p()]).await.unwrap().is_empty());
    assert!(matches!(sink.commit(None, &anchor()).await, Ok(Commit::Landed(_))));
    let window = staged(&mut sink, [rows(&plain_schema(), SOURCE, 0, 0..10)]).await;
    assert!(matches!(sink.commit(Some(window), &moved(0, 10)).await, Ok(Commit::Landed(r)) if r.rows == 10));
    // A crash before the commit: the messages are there already, and come again.
    let lost = staged(&mut sink, [rows(&plain_schema(), SOURCE, 0, 10..12)]).await;
    drop((lost, sink));
    let mut sink: Box<dyn Sink> = Box::new(AtLeastOnceKafkaSink::new(options, kept(), Clock::system()).unwrap());
    assert_eq!(sink.recover(&[p()]).await.unwrap().offset(&p()), Some(10));
    let window = staged(&mut sink, [rows(&plain_schema(), SOURCE, 0, 10..12)]).await;
    assert!(matches!(sink.commit(Some(window), &moved(10, 12)).await, Ok(Commit::Landed(_))));
    let read = tokio::task::block_in_place(|| read_committed(&topic));
    assert!((12..=14).contains(&read.len()), "{}", read.len());
}
