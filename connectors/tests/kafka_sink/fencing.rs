//! What the group and the transactional id refuse, and what the sink cannot refuse alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_connectors::kafka::GroupMetadataSlot;
use tidemill_connectors::kafka::sink::{KafkaSink, KafkaSinkOptions, read_positions};
use tidemill_engine::clock::Clock;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError};
use tidemill_engine::testkit::{plain_schema, rows};

use crate::group::{Group, Peers, SOURCE, broker, staged};

fn p(index: i32) -> Partition {
    Partition::new(SOURCE, index)
}

fn range(index: i32, start: i64, end: i64) -> OffsetRanges {
    [(p(index), OffsetRange::new(start, end))].into_iter().collect()
}

fn anchor(index: i32, at: i64) -> OffsetRanges {
    [(p(index), OffsetRange::anchor(Position::at(at)))].into_iter().collect()
}

async fn started(group: &Group, instance: &str) -> Box<dyn Sink> {
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink(instance));
    sink.recover(&[p(0), p(1)]).await.unwrap();
    sink
}

fn landed(outcome: &Result<Commit, SinkError>) -> bool {
    matches!(outcome, Ok(Commit::Landed(_)))
}

/// Without a member there is no generation to compare, and the broker would take positions of nobody: refused here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_commits_nothing() {
    let group = Group::new(plain_schema(), Peers::Frozen);
    let slot = Arc::new(GroupMetadataSlot::default());
    let options = KafkaSinkOptions { instance: "a".into(), ..group.options.clone() };
    let mut sink = KafkaSink::new(options, slot, Clock::system()).unwrap();
    assert!(sink.recover(&[p(0)]).await.unwrap().is_empty());
    assert_eq!(sink.commit(None, &anchor(0, 0)).await.unwrap_err().reaction, Reaction::Fenced);
    drop(sink);
    let mut sink = started(&group, "a").await;
    assert!(landed(&sink.commit(None, &anchor(0, 0)).await));
}

/// Two members of one generation that both believe to own a partition: the broker does not know who does, so both
/// land. It is the engine's run that never lets it come to this, as partitions change hands only between generations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sink_alone_cannot_tell_two_owners_in_one_generation_apart() {
    let group = Group::new(plain_schema(), Peers::Awake);
    let mut a = started(&group, "a").await;
    assert!(landed(&a.commit(None, &anchor(0, 0)).await));
    let mut b = started(&group, "b").await;
    let in_a = staged(&mut a, [rows(&plain_schema(), SOURCE, 0, 0..3)]).await;
    let in_b = staged(&mut b, [rows(&plain_schema(), SOURCE, 0, 0..3)]).await;
    assert!(landed(&a.commit(Some(in_a), &range(0, 0, 3)).await));
    assert!(landed(&b.commit(Some(in_b), &range(0, 0, 3)).await), "if this is refused now: strengthen the docs");
}

/// Of two instances that find a partition absent, and anchor it for each other, one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_anchors_in_one_generation_one_lands() {
    let group = Group::new(plain_schema(), Peers::Awake);
    for round in 0..5 {
        let (mut a, mut b) = (started(&group, "a").await, started(&group, "b").await);
        // Both know nothing of this partition, whatever they ask for.
        let (of_a, of_b) = (anchor(round, 10), anchor(round, 20));
        let (in_a, in_b) = futures::join!(a.commit(None, &of_a), b.commit(None, &of_b));
        let a_landed = landed(&in_a);
        assert!(a_landed != landed(&in_b), "{in_a:?} {in_b:?}");
        let held = read_positions_of(&group).await;
        let expected = if a_landed { 10 } else { 20 };
        assert_eq!(held.iter().find(|(i, _)| *i == round), Some(&(round, expected)));
    }
}

async fn read_positions_of(group: &Group) -> Vec<(i32, i64)> {
    let options = group.options.clone();
    let read = move || read_positions(&options, &Clock::system());
    let held = tokio::task::spawn_blocking(read).await.unwrap().unwrap();
    held.iter().map(|(p, at)| (p.index, at.offset)).collect()
}

/// A transaction that a frozen owner left open with positions in it: the heir waits until it is decided, then reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_waits_for_positions_that_are_not_decided() {
    let mut group = Group::new(plain_schema(), Peers::Frozen);
    group.options.max_age = Duration::from_millis(10);
    let mut a = started(&group, "a").await;
    assert!(landed(&a.commit(None, &anchor(0, 0)).await));
    let in_a = staged(&mut a, [rows(&plain_schema(), SOURCE, 0, 0..3)]).await;
    group.options.lose.next(false);
    let lost = a.commit(Some(in_a), &range(0, 0, 3)).await.unwrap_err();
    assert_eq!(lost.reaction, Reaction::Unknown);
    drop(a);
    let begun = Instant::now();
    let mut b = started(&group, "b").await;
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(25), "at most the transaction's timeout: {waited:?}");
    let in_b = staged(&mut b, [rows(&plain_schema(), SOURCE, 0, 0..5)]).await;
    assert!(landed(&b.commit(Some(in_b), &range(0, 0, 5)).await));
    let count = tokio::task::block_in_place(|| group.messages().len());
    assert_eq!(count, 5);
}

/// A topic made again is another target: its positions are not those of the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_holds_no_positions() {
    let group = Group::new(plain_schema(), Peers::Frozen);
    let mut sink = started(&group, "a").await;
    assert!(landed(&sink.commit(None, &anchor(0, 7)).await));
    let before = sink.identity().unwrap();
    drop(sink);
    tokio::task::block_in_place(|| {
        broker().delete_topic(&group.topic).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        broker().create_topic(&group.topic, 1, &[]).unwrap();
    });
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    assert!(sink.recover(&[p(0)]).await.unwrap().is_empty());
    assert_ne!(sink.identity().unwrap(), before);
}

/// Offsets that another program committed to the group are none of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_another_program_are_no_positions() {
    use rdkafka::consumer::{CommitMode, Consumer};
    let group = Group::new(plain_schema(), Peers::Frozen);
    let consumer: rdkafka::consumer::BaseConsumer =
        broker().client().set("group.id", &group.options.group).create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(SOURCE, 0, rdkafka::Offset::Offset(5)).unwrap();
    tokio::task::block_in_place(|| consumer.commit(&list, CommitMode::Sync).unwrap());
    drop(consumer);
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    assert!(sink.recover(&[p(0)]).await.unwrap().is_empty());
    assert!(landed(&sink.commit(None, &anchor(0, 3)).await));
    assert_eq!(read_positions_of(&group).await, [(0, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_needs_a_person() {
    let mut group = Group::new(plain_schema(), Peers::Frozen);
    group.options.topic = "there-is-none".into();
    let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
    let error = sink.recover(&[p(0)]).await.unwrap_err();
    assert_eq!(error.reaction, Reaction::Person);
    assert!(error.message.contains("there-is-none"), "{error}");
}

/// The time of a commit does not grow with partitions that have nothing: only what moved is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_quick_and_idle_partitions_cost_nothing() {
    let mut group = Group::new(plain_schema(), Peers::Frozen);
    group.options.max_age = Duration::from_millis(10);
    let mut medians = Vec::new();
    for anchored in [1, 300] {
        let mut sink = tokio::task::block_in_place(|| group.kafka_sink("a"));
        let all: Vec<Partition> = (0..anchored).map(p).collect();
        let held = sink.recover(&all).await.unwrap();
        let anchors: OffsetRanges = all
            .iter()
            .filter(|p| held.get(p).is_none())
            .map(|p| (p.clone(), OffsetRange::anchor(Position::at(0))))
            .collect();
        assert!(landed(&sink.commit(None, &anchors).await));
        let mut at = held.offset(&p(0)).unwrap_or(0);
        let mut times = Vec::new();
        for _ in 0..100 {
            let window = staged(&mut sink, [rows(&plain_schema(), SOURCE, 0, at..at + 100)]).await;
            let begun = Instant::now();
            assert!(landed(&sink.commit(Some(window), &range(0, at, at + 100)).await));
            times.push(begun.elapsed());
            at += 100;
        }
        times.sort_unstable();
        println!("{anchored} partitions: commit p50 {:?} p99 {:?}", times[50], times[98]);
        medians.push(times[50]);
    }
    assert!(medians[0] < Duration::from_millis(60), "a wait of 100 ms is back: {medians:?}");
    assert!(medians[1] < medians[0] * 3 + Duration::from_millis(5), "{medians:?}");
}

/// With the compare switched off the suite's cases about zombies find doubled rows: else they would prove nothing.
#[test]
fn without_the_compare_the_suite_fails() {
    for case in ["compare_fails", "zombie_of_another_instance", "two_writers_race"] {
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("frozen_peers::{case}")])
            .env("TIDEMILL_COMPARE", "off")
            .env("TIDEMILL_TEST_BROKERS", broker().brokers())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(!out.status.success() && said.contains("1 failed"), "{case} passed without a compare:\n{said}");
        let reasons = ["expected the commit to be lost", "refused(&zombie", "one lands and one does not"];
        assert!(reasons.iter().any(|r| said.contains(r)), "{case}:\n{said}");
    }
}
