//! The suite every sink passes: what [`Sink`] promises, as functions that can fail.
//!
//! A crate with a sink implements [`Place`] for it and calls [`sink_conformance!`](crate::sink_conformance), which
//! makes one test of each case. Every case starts in a fresh place.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::rows::{Key, nested_schema, plain_schema, rows, wide_schema};
use crate::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use crate::sink::{Commit, Reaction, Sink, SinkError, Staged, Staging};

/// Makes fresh, empty subjects.
#[async_trait]
pub trait Place: Sync {
    /// An empty target for rows of `schema`.
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject>;
}

/// One target that several sinks may have open.
#[async_trait]
pub trait Subject: Send + Sync {
    /// A new sink of `instance`, as a daemon would open it. It has not recovered.
    async fn sink(&self, instance: &str) -> Box<dyn Sink>;

    /// Where the rows come from that a plain reader sees at this moment.
    async fn rows(&self) -> Vec<Key>;

    /// The answer of the next commit gets lost, after it landed or before. `false`: this subject cannot do that.
    async fn lose_answer(&self, _landed: bool) -> bool {
        false
    }

    /// What lies around that no reader sees and no commit decided on. `None`: cannot be seen.
    async fn leftovers(&self) -> Option<usize> {
        None
    }
}

const TOPIC: &str = "orders";

fn p(index: i32) -> Partition {
    Partition::new(TOPIC, index)
}

fn ranges<const N: usize>(of: [(i32, i64, i64); N]) -> OffsetRanges {
    of.into_iter().map(|(index, start, end)| (p(index), OffsetRange::new(start, end))).collect()
}

fn anchors<const N: usize>(of: [(i32, i64); N]) -> OffsetRanges {
    of.into_iter().map(|(index, at)| (p(index), OffsetRange::anchor(Position::at(at)))).collect()
}

fn offsets(positions: &Positions) -> Vec<(i32, i64)> {
    positions.iter().map(|(p, at)| (p.index, at.offset)).collect()
}

/// One subject and what should be in it.
struct Bench {
    subject: Box<dyn Subject>,
    schema: SchemaRef,
}

impl Bench {
    async fn new(place: &dyn Place) -> Self {
        Self::with(place, plain_schema()).await
    }

    async fn with(place: &dyn Place, schema: SchemaRef) -> Self {
        Self { subject: place.fresh(schema.clone()).await, schema }
    }

    /// A recovered sink, with the positions it found.
    async fn start(&self, instance: &str) -> (Box<dyn Sink>, Positions) {
        let mut sink = self.subject.sink(instance).await;
        let partitions: Vec<Partition> = (0..4).map(p).collect();
        let positions = sink.recover(&partitions).await.expect("recovers");
        (sink, positions)
    }

    /// A recovered sink whose partition 0 is anchored at 0.
    async fn anchored(&self, instance: &str) -> Box<dyn Sink> {
        let (mut sink, positions) = self.start(instance).await;
        assert!(positions.is_empty(), "a fresh place holds no position");
        landed(sink.commit(None, &anchors([(0, 0)])).await, 0);
        sink
    }

    async fn staging(&self, sink: &mut Box<dyn Sink>, of: &[(i32, i64, i64)]) -> Box<dyn Staging> {
        let mut staging = sink.open().await.expect("opens");
        for (partition, start, end) in of {
            staging.write(rows(&self.schema, TOPIC, *partition, *start..*end)).await.expect("takes rows");
        }
        staging
    }

    async fn staged(&self, sink: &mut Box<dyn Sink>, of: &[(i32, i64, i64)]) -> Staged {
        let staged = self.staging(sink, of).await.seal().await.expect("seals");
        let expected: i64 = of.iter().map(|(_, start, end)| end - start).sum();
        assert_eq!(i64::try_from(staged.rows).expect("few"), expected, "rows staged");
        staged
    }

    /// Stages and commits the rows of `of`, which are its ranges too.
    async fn write<const N: usize>(
        &self,
        sink: &mut Box<dyn Sink>,
        of: [(i32, i64, i64); N],
    ) -> Result<Commit, SinkError> {
        let staged = self.staged(sink, &of).await;
        sink.commit(Some(staged), &ranges(of)).await
    }

    /// Exactly these rows are visible, each once.
    async fn holds(&self, of: &[(i32, i64, i64)]) {
        let mut found = self.subject.rows().await;
        found.sort_unstable();
        let mut expected: Vec<Key> =
            of.iter().flat_map(|(p, start, end)| (*start..*end).map(|o| (TOPIC.to_owned(), *p, o))).collect();
        expected.sort_unstable();
        assert_eq!(found.len(), expected.len(), "rows visible");
        assert_eq!(found, expected);
    }

    /// A new sink of `instance` finds these positions.
    async fn recovers(&self, instance: &str, at: &[(i32, i64)]) -> Box<dyn Sink> {
        let (sink, positions) = self.start(instance).await;
        assert_eq!(offsets(&positions), at, "positions held");
        sink
    }
}

fn landed(outcome: Result<Commit, SinkError>, rows: u64) {
    match outcome {
        Ok(Commit::Landed(receipt)) => assert_eq!(receipt.rows, rows, "rows landed"),
        other => panic!("expected the commit to land, got {other:?}"),
    }
}

fn lost(outcome: Result<Commit, SinkError>, at: &[(i32, i64)]) {
    match outcome {
        Ok(Commit::Lost(found)) => assert_eq!(offsets(&found), at, "positions found"),
        other => panic!("expected the commit to be lost, got {other:?}"),
    }
}

/// Lost, or told that it is over: nothing of it is visible.
fn refused(outcome: &Result<Commit, SinkError>) -> bool {
    match outcome {
        Ok(Commit::Landed(_)) => false,
        Ok(Commit::Lost(_)) => true,
        Err(e) => {
            assert_eq!(e.reaction, Reaction::Fenced, "{e}");
            true
        }
    }
}

/// Windows follow each other, and a new sink goes on where they ended.
pub async fn append(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 10)]).await, 10);
    bench.holds(&[(0, 0, 10)]).await;
    landed(bench.write(&mut sink, [(0, 10, 25)]).await, 15);
    bench.holds(&[(0, 0, 25)]).await;
    drop(sink);
    let mut sink = bench.recovers("a", &[(0, 25)]).await;
    landed(bench.write(&mut sink, [(0, 25, 26)]).await, 1);
    bench.holds(&[(0, 0, 26)]).await;
}

/// A window of many batches is visible as a whole, and not before its commit.
pub async fn many_batches(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    let batches: Vec<_> = (0..50).map(|i| (0, i * 100, (i + 1) * 100)).collect();
    let staged = bench.staged(&mut sink, &batches).await;
    bench.holds(&[]).await;
    landed(sink.commit(Some(staged), &ranges([(0, 0, 5000)])).await, 5000);
    bench.holds(&[(0, 0, 5000)]).await;
}

/// Holes in a range, and a range that begins before its first record, are normal.
pub async fn holes(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    let staged = bench.staged(&mut sink, &[(0, 5, 8), (0, 11, 12)]).await;
    landed(sink.commit(Some(staged), &ranges([(0, 0, 20)])).await, 4);
    bench.holds(&[(0, 5, 8), (0, 11, 12)]).await;
    drop(sink);
    bench.recovers("a", &[(0, 20)]).await;
}

/// A start below or above the position held loses, with the position found; nothing is visible.
pub async fn compare_fails(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 10)]).await, 10);
    for (start, end) in [(9, 20), (11, 20), (0, 10)] {
        lost(bench.write(&mut sink, [(0, start, end)]).await, &[(0, 10)]);
        bench.holds(&[(0, 0, 10)]).await;
        drop(sink);
        sink = bench.recovers("a", &[(0, 10)]).await;
    }
    landed(bench.write(&mut sink, [(0, 10, 20)]).await, 10);
    bench.holds(&[(0, 0, 20)]).await;
}

/// One partition that does not match refuses the others of its window too.
pub async fn compare_is_for_every_partition(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(sink.commit(None, &anchors([(1, 100)])).await, 0);
    lost(bench.write(&mut sink, [(0, 0, 5), (1, 101, 110)]).await, &[(0, 0), (1, 100)]);
    // A partition without a position matches no start.
    drop(sink);
    let mut sink = bench.recovers("a", &[(0, 0), (1, 100)]).await;
    lost(bench.write(&mut sink, [(0, 0, 5), (2, 0, 5)]).await, &[(0, 0)]);
    bench.holds(&[]).await;
    drop(sink);
    bench.recovers("a", &[(0, 0), (1, 100)]).await;
}

/// Of two writers with the same range one lands.
pub async fn two_writers_race(place: &dyn Place) {
    let bench = Bench::new(place).await;
    drop(bench.anchored("a").await);
    for round in 0..5 {
        let at = round * 10;
        let (mut a, mut b) = (bench.recovers("a", &[(0, at)]).await, bench.recovers("b", &[(0, at)]).await);
        let of = [(0, at, at + 10)];
        let (in_a, in_b) = (bench.staged(&mut a, &of).await, bench.staged(&mut b, &of).await);
        let moved = ranges(of);
        let (in_a, in_b) = futures::join!(a.commit(Some(in_a), &moved), b.commit(Some(in_b), &moved));
        assert!(refused(&in_a) != refused(&in_b), "one lands and one does not: {in_a:?} {in_b:?}");
        bench.holds(&[(0, 0, at + 10)]).await;
    }
}

/// Writers of different partitions do not hinder each other.
pub async fn two_writers_share(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut a = bench.anchored("a").await;
    let (mut b, _) = bench.start("b").await;
    landed(b.commit(None, &anchors([(1, 0)])).await, 0);
    for i in 0..5 {
        let at = i * 10;
        let in_a = bench.staged(&mut a, &[(0, at, at + 10)]).await;
        let in_b = bench.staged(&mut b, &[(1, at, at + 10)]).await;
        let (of_a, of_b) = (ranges([(0, at, at + 10)]), ranges([(1, at, at + 10)]));
        let (in_a, in_b) = futures::join!(a.commit(Some(in_a), &of_a), b.commit(Some(in_b), &of_b));
        for (sink, instance, outcome) in [(&mut a, "a", in_a), (&mut b, "b", in_b)] {
            match outcome {
                // The other one tidied the log at this moment: then only a new sink can tell, and it did land.
                Err(e) if e.reaction == Reaction::Unknown => {
                    *sink = bench.recovers(instance, &[(0, at + 10), (1, at + 10)]).await;
                }
                outcome => landed(outcome, 10),
            }
        }
        bench.holds(&[(0, 0, at + 10), (1, 0, at + 10)]).await;
    }
    drop((a, b));
    bench.recovers("c", &[(0, 50), (1, 50)]).await;
}

/// Another instance took over the partition: the zombie's window does not land.
pub async fn zombie_of_another_instance(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut zombie = bench.anchored("a").await;
    let held = bench.staged(&mut zombie, &[(0, 0, 10)]).await;
    let mut heir = bench.recovers("b", &[(0, 0)]).await;
    landed(bench.write(&mut heir, [(0, 0, 7)]).await, 7);
    assert!(refused(&zombie.commit(Some(held), &ranges([(0, 0, 10)])).await));
    landed(bench.write(&mut heir, [(0, 7, 12)]).await, 5);
    bench.holds(&[(0, 0, 12)]).await;
}

/// A former run of the same instance comes back after a new one recovered: of the two windows one lands.
pub async fn zombie_of_the_same_instance(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut zombie = bench.anchored("a").await;
    let held = bench.staged(&mut zombie, &[(0, 0, 10)]).await;
    let mut heir = bench.recovers("a", &[(0, 0)]).await;
    let of_zombie = zombie.commit(Some(held), &ranges([(0, 0, 10)])).await;
    let of_heir = bench.write(&mut heir, [(0, 0, 10)]).await;
    assert!(refused(&of_zombie) != refused(&of_heir), "{of_zombie:?} {of_heir:?}");
    bench.holds(&[(0, 0, 10)]).await;
    drop((zombie, heir));
    bench.recovers("a", &[(0, 10)]).await;
}

async fn answer_lost(place: &dyn Place, did_land: bool) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 10)]).await, 10);
    let staged = bench.staged(&mut sink, &[(0, 10, 20)]).await;
    // The next window is staged already: it goes with this one.
    let next = bench.staged(&mut sink, &[(0, 20, 30)]).await;
    if !bench.subject.lose_answer(did_land).await {
        return;
    }
    let outcome = sink.commit(Some(staged), &ranges([(0, 10, 20)])).await;
    assert_eq!(outcome.expect_err("the answer is lost").reaction, Reaction::Unknown);
    drop((next, sink));
    let at = if did_land { 20 } else { 10 };
    let mut sink = bench.recovers("a", &[(0, at)]).await;
    bench.holds(&[(0, 0, at)]).await;
    landed(bench.write(&mut sink, [(0, at, 40)]).await, u64::try_from(40 - at).expect("few"));
    bench.holds(&[(0, 0, 40)]).await;
}

/// A commit whose answer got lost after it landed.
pub async fn answer_lost_landed(place: &dyn Place) {
    answer_lost(place, true).await;
}

/// A commit whose answer got lost before it landed.
pub async fn answer_lost_not_landed(place: &dyn Place) {
    answer_lost(place, false).await;
}

/// The sink is dropped after each step of a window; the same or another instance goes on.
pub async fn crash_at_each_step(place: &dyn Place) {
    let bench = Bench::new(place).await;
    drop(bench.anchored("a").await);
    let mut at = 0;
    for step in 0..6 {
        for heir in ["a", "b"] {
            let mut sink = bench.recovers("a", &[(0, at)]).await;
            if step >= 1 {
                let mut staging = sink.open().await.expect("opens");
                if step >= 2 {
                    staging.write(rows(&bench.schema, TOPIC, 0, at..at + 10)).await.expect("takes rows");
                }
                if step >= 3 {
                    let staged = staging.seal().await.expect("seals");
                    if step >= 4 {
                        landed(sink.commit(Some(staged), &ranges([(0, at, at + 10)])).await, 10);
                        at += 10;
                    }
                    if step >= 5 {
                        // Dies with the next window sealed.
                        let _next = bench.staged(&mut sink, &[(0, at, at + 10)]).await;
                    }
                }
            }
            drop(sink);
            let mut sink = bench.recovers(heir, &[(0, at)]).await;
            bench.holds(&[(0, 0, at)]).await;
            landed(bench.write(&mut sink, [(0, at, at + 3)]).await, 3);
            at += 3;
            bench.holds(&[(0, 0, at)]).await;
        }
    }
}

/// A window whose rows were all filtered moves its position.
pub async fn empty_window(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(sink.commit(None, &ranges([(0, 0, 10)])).await, 0);
    let staged = bench.staged(&mut sink, &[]).await;
    landed(sink.commit(Some(staged), &ranges([(0, 10, 20)])).await, 0);
    let staged = bench.staged(&mut sink, &[(0, 20, 20)]).await;
    landed(sink.commit(Some(staged), &ranges([(0, 20, 30)])).await, 0);
    bench.holds(&[]).await;
    drop(sink);
    bench.recovers("a", &[(0, 30)]).await;
}

/// A partition is anchored once.
pub async fn anchor_twice(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    lost(sink.commit(None, &anchors([(0, 0)])).await, &[(0, 0)]);
    drop(sink);
    let mut sink = bench.recovers("a", &[(0, 0)]).await;
    lost(sink.commit(None, &anchors([(0, 77), (1, 5)])).await, &[(0, 0)]);
    drop(sink);
    bench.recovers("a", &[(0, 0)]).await;
}

/// Hundreds of partitions in one window.
pub async fn many_partitions(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let (mut sink, _) = bench.start("a").await;
    let all: OffsetRanges = (0..300).map(|i| (p(i), OffsetRange::anchor(Position::at(i.into())))).collect();
    landed(sink.commit(None, &all).await, 0);
    let of: Vec<(i32, i64, i64)> = (0..300).map(|i| (i, i.into(), i64::from(i) + 2)).collect();
    let staged = bench.staged(&mut sink, &of).await;
    let moved = of.iter().map(|(i, start, end)| (p(*i), OffsetRange::new(*start, *end))).collect();
    landed(sink.commit(Some(staged), &moved).await, 600);
    bench.holds(&of).await;
    drop(sink);
    let mut sink = bench.subject.sink("a").await;
    let partitions: Vec<Partition> = (0..300).map(p).collect();
    let positions = sink.recover(&partitions).await.expect("recovers");
    assert_eq!(offsets(&positions), (0..300).map(|i| (i, i64::from(i) + 2)).collect::<Vec<_>>());
}

/// A partition that appears later is anchored beside the others, which stay where they are.
pub async fn new_partition(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 10)]).await, 10);
    landed(sink.commit(None, &anchors([(1, 3)])).await, 0);
    landed(bench.write(&mut sink, [(0, 10, 12), (1, 3, 6)]).await, 5);
    bench.holds(&[(0, 0, 12), (1, 3, 6)]).await;
    drop(sink);
    bench.recovers("a", &[(0, 12), (1, 6)]).await;
}

/// The id of a topic is kept beside its position.
pub async fn topic_id(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let (mut sink, _) = bench.start("a").await;
    let anchor = Position { offset: 4, topic_id: Some("id-1".into()) };
    landed(sink.commit(None, &[(p(0), OffsetRange::anchor(anchor))].into_iter().collect()).await, 0);
    let staged = bench.staged(&mut sink, &[(0, 4, 6)]).await;
    let moved = OffsetRange { topic_id: Some("id-1".into()), ..OffsetRange::new(4, 6) };
    landed(sink.commit(Some(staged), &[(p(0), moved)].into_iter().collect()).await, 2);
    drop(sink);
    let (_, positions) = bench.start("a").await;
    assert_eq!(positions.get(&p(0)), Some(&Position { offset: 6, topic_id: Some("id-1".into()) }));
}

async fn shape(place: &dyn Place, schema: SchemaRef) {
    let bench = Bench::with(place, schema).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 1000)]).await, 1000);
    landed(bench.write(&mut sink, [(0, 1000, 1001)]).await, 1);
    bench.holds(&[(0, 0, 1001)]).await;
}

/// A hundred columns of many types.
pub async fn wide(place: &dyn Place) {
    shape(place, wide_schema()).await;
}

/// Structs and lists of structs.
pub async fn nested(place: &dyn Place) {
    shape(place, nested_schema()).await;
}

/// A staging that is dropped leaves nothing behind, before the commit of another and after.
pub async fn abort(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    drop(bench.staging(&mut sink, &[(0, 0, 10)]).await);
    drop(bench.staged(&mut sink, &[(0, 0, 11)]).await);
    bench.holds(&[]).await;
    landed(bench.write(&mut sink, [(0, 0, 5)]).await, 5);
    bench.holds(&[(0, 0, 5)]).await;
    lost(bench.write(&mut sink, [(0, 0, 12)]).await, &[(0, 5)]);
    bench.holds(&[(0, 0, 5)]).await;
    // What was dropped may be on its way out still. (A sink that was told that it lost may keep no window either.)
    for _ in 0..200 {
        if bench.subject.leftovers().await.unwrap_or(0) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(bench.subject.leftovers().await.unwrap_or(0), 0, "aborted windows lie around");
    drop(sink);
    bench.recovers("a", &[(0, 5)]).await;
}

/// The next window is written while one commits, and is not touched by it.
pub async fn stage_while_committing(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    let mut sealed = bench.staged(&mut sink, &[(0, 0, 10)]).await;
    for i in 0..5 {
        let at = i * 10;
        let mut next = sink.open().await.expect("opens");
        let (schema, moved) = (bench.schema.clone(), ranges([(0, at, at + 10)]));
        let filling = async move {
            next.write(rows(&schema, TOPIC, 0, at + 10..at + 15)).await.expect("takes rows");
            next.write(rows(&schema, TOPIC, 0, at + 15..at + 20)).await.expect("takes rows");
            next.seal().await.expect("seals")
        };
        let (outcome, next) = futures::join!(sink.commit(Some(sealed), &moved), filling);
        landed(outcome, 10);
        bench.holds(&[(0, 0, at + 10)]).await;
        sealed = next;
    }
    landed(sink.commit(Some(sealed), &ranges([(0, 50, 60)])).await, 10);
    bench.holds(&[(0, 0, 60)]).await;
}

/// A person sets a position back: rows stay, the position moves, later windows follow it.
pub async fn reset(place: &dyn Place) {
    let bench = Bench::new(place).await;
    let mut sink = bench.anchored("a").await;
    landed(bench.write(&mut sink, [(0, 0, 10)]).await, 10);
    landed(sink.commit(None, &ranges([(0, 10, 3)])).await, 0);
    drop(sink);
    let mut sink = bench.recovers("a", &[(0, 3)]).await;
    lost(bench.write(&mut sink, [(0, 10, 12)]).await, &[(0, 3)]);
    bench.holds(&[(0, 0, 10)]).await;
    drop(sink);
    let mut sink = bench.recovers("a", &[(0, 3)]).await;
    landed(bench.write(&mut sink, [(0, 3, 5)]).await, 2);
    bench.holds(&[(0, 0, 10), (0, 3, 5)]).await;
}

/// Makes a test of each case of the suite. `$place` is an expression that is a [`Place`]; the crate needs tokio
/// with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! sink_conformance {
    ($place:expr) => {
        $crate::sink_conformance!(@ $place; append many_batches holes compare_fails compare_is_for_every_partition
            two_writers_race two_writers_share zombie_of_another_instance zombie_of_the_same_instance
            answer_lost_landed answer_lost_not_landed crash_at_each_step empty_window anchor_twice many_partitions
            new_partition topic_id wide nested abort stage_while_committing reset);
    };
    (@ $place:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::testkit::conformance::$case(&$place).await;
            }
        )*
    };
}

#[cfg(test)]
mod memory {
    use super::super::{Injected, MemoryStore};
    use super::*;

    struct Memory;

    #[async_trait]
    impl Place for Memory {
        async fn fresh(&self, _schema: SchemaRef) -> Box<dyn Subject> {
            Box::new(MemoryStore::new())
        }
    }

    #[async_trait]
    impl Subject for MemoryStore {
        async fn sink(&self, instance: &str) -> Box<dyn Sink> {
            Box::new(MemoryStore::sink(self, instance))
        }

        async fn rows(&self) -> Vec<Key> {
            self.keys()
        }

        async fn lose_answer(&self, landed: bool) -> bool {
            self.inject(if landed { Injected::LandedUnknown } else { Injected::NotLandedUnknown });
            true
        }
    }

    sink_conformance!(Memory);
}
