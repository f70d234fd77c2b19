//! A sink that waits for its turn to commit: the [`scheduler`](crate::scheduler) of a group, at a sink of each of its jobs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::failpoint;
use crate::partition::{OffsetRanges, Partition, Positions};
use crate::progress::Progress;
use crate::scheduler::{CommitLimits, CommitScheduler, Ticket, Turn};
use crate::sink::{Commit, Sink, SinkError, Staged, Staging};

/// The gate that all commits of a group go through. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct CommitGate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    scheduler: Mutex<CommitScheduler>,
    changed: Notify,
    clock: Clock,
}

impl CommitGate {
    /// A gate with these limits.
    #[must_use]
    pub fn new(limits: CommitLimits, clock: Clock) -> Self {
        let scheduler = Mutex::new(CommitScheduler::new(limits));
        Self(Arc::new(Inner { scheduler, changed: Notify::new(), clock }))
    }

    /// Other limits, from the next commit on.
    pub fn set(&self, limits: CommitLimits) {
        self.scheduler().set(limits);
        self.0.changed.notify_waiters();
    }

    fn scheduler(&self) -> MutexGuard<'_, CommitScheduler> {
        self.0.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn; it ends when the answer is dropped. Dropping the wait gives the place in the line up.
    pub async fn turn(&self) -> Permit {
        let ticket = self.scheduler().enter();
        let mut permit = Permit { gate: self.clone(), ticket: Some(ticket) };
        loop {
            // Before asking: what changes in between is not missed.
            let changed = self.0.changed.notified();
            let turn = self.scheduler().ask(ticket, self.0.clock.now());
            match turn {
                Turn::Now => {
                    permit.ticket = None;
                    // The next in line may be due as well.
                    self.0.changed.notify_waiters();
                    return permit;
                }
                Turn::At(at) => {
                    let _ = tokio::time::timeout(at.saturating_sub(self.0.clock.now()), changed).await;
                }
                Turn::Later => changed.await,
            }
        }
    }
}

/// A turn, or a place in the line for one.
#[derive(Debug)]
pub struct Permit {
    gate: CommitGate,
    ticket: Option<Ticket>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.ticket {
            Some(ticket) => self.gate.scheduler().give_up(ticket),
            None => self.gate.scheduler().leave(),
        }
        self.gate.0.changed.notify_waiters();
    }
}

/// A sink whose commits go through a gate. Anchors do not: they move nothing. Nor do commits that are cheap: there is
/// nothing to spare, and their window may be an open transaction, which the other side ends when it waits for long.
pub struct GatedSink {
    /// The sink itself.
    pub inner: Box<dyn Sink>,
    /// The gate.
    pub gate: CommitGate,
    /// Where the job's waiting is published.
    pub progress: Arc<Progress>,
    /// Cancelled when the sink's run is over: then it waits no longer.
    pub over: CancellationToken,
}

#[async_trait]
impl Sink for GatedSink {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.inner.recover(partitions).await
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        self.inner.open().await
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        if self.inner.commits_are_cheap() || staged.is_none() && ranges.iter().all(|(_, range)| range.start.is_none()) {
            return self.inner.commit(staged, ranges).await;
        }
        let waiting = Waiting::begin(&self.progress);
        let _turn = tokio::select! {
            biased;
            () = self.over.cancelled() => {
                return Err(SinkError::retry("the run was over before its turn to commit came"));
            }
            turn = self.gate.turn() => turn,
        };
        drop(waiting);
        failpoint::hang("gate.in_turn").await;
        self.inner.commit(staged, ranges).await
    }

    fn identity(&self) -> Option<String> {
        self.inner.identity()
    }

    fn commits_are_cheap(&self) -> bool {
        self.inner.commits_are_cheap()
    }
}

/// Published for as long as it lives.
struct Waiting<'a>(&'a Progress);

impl<'a> Waiting<'a> {
    fn begin(progress: &'a Progress) -> Self {
        progress.waits_to_commit(true);
        Self(progress)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits_to_commit(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{OffsetRange, Position};
    use crate::sink::Reaction;
    use crate::testkit::MemoryStore;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn no_more_turns_at_once_than_the_limit_and_a_dropped_wait_holds_nobody_up() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let gate = CommitGate::new(CommitLimits { concurrent: Some(2), per_minute: None }, Clock::system());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for i in 0..40 {
                let (gate, now, most) = (gate.clone(), now.clone(), most.clone());
                tasks.push(tokio::spawn(async move {
                    let work = async {
                        let _turn = gate.turn().await;
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                    };
                    if i % 3 == 0 {
                        let _ = tokio::time::timeout(Duration::from_micros(10), gate.turn()).await;
                    } else {
                        work.await;
                    }
                }));
            }
            for task in tasks {
                tokio::time::timeout(Duration::from_secs(20), task)
                    .await
                    .expect("nobody waits for ever")
                    .expect("no panic");
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_anchor_does_not_wait_and_a_commit_is_seen_to_wait_until_its_run_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clock = Clock::system();
        let gate = CommitGate::new(CommitLimits { concurrent: Some(1), per_minute: None }, clock.clone());
        let progress = Arc::new(Progress::new("j", clock));
        let inner: Box<dyn Sink> = Box::new(MemoryStore::new().sink("a"));
        let over = CancellationToken::new();
        let mut sink = GatedSink { inner, gate: gate.clone(), progress: progress.clone(), over: over.clone() };
        let partition = Partition::new("t", 0);
        let ranges = |range| [(partition.clone(), range)].into_iter().collect::<OffsetRanges>();
        runtime.block_on(async {
            let taken = gate.turn().await;
            sink.recover(&[]).await.expect("recovers");
            sink.commit(None, &ranges(OffsetRange::anchor(Position::at(0))))
                .await
                .expect("anchored beside the taken turn");
            let moved = ranges(OffsetRange { start: Some(0), end: 5, topic_id: None });
            let commit = async {
                let landed = sink.commit(None, &moved).await.expect("commits");
                assert!(matches!(landed, Commit::Landed(_)));
            };
            let look = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                assert!(progress.snapshot().waits_to_commit);
                drop(taken);
            };
            tokio::join!(commit, look);
            assert!(!progress.snapshot().waits_to_commit);

            let taken = gate.turn().await;
            let moved = ranges(OffsetRange::new(5, 9));
            let ends = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                over.cancel();
            };
            let (given_up, ()) = tokio::join!(sink.commit(None, &moved), ends);
            assert_eq!(given_up.expect_err("nothing happened").reaction, Reaction::Retry);
            drop(taken);
            sink.commit(None, &moved).await.expect_err("nor does it begin when there is a turn");
            assert!(!progress.snapshot().waits_to_commit);
            assert_eq!(sink.recover(&[]).await.expect("recovers").offset(&partition), Some(5));
        });
    }

    /// As a sink whose window is an open transaction, which cannot wait.
    struct Cheap(Box<dyn Sink>);

    #[async_trait]
    impl Sink for Cheap {
        async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
            self.0.recover(partitions).await
        }
        async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
            self.0.open().await
        }
        async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
            self.0.commit(staged, ranges).await
        }
        fn commits_are_cheap(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_sink_whose_commits_are_cheap_does_not_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clock = Clock::system();
        let gate = CommitGate::new(CommitLimits { concurrent: Some(1), per_minute: Some(1) }, clock.clone());
        let progress = Arc::new(Progress::new("j", clock));
        let inner: Box<dyn Sink> = Box::new(Cheap(Box::new(MemoryStore::new().sink("a"))));
        let mut sink = GatedSink { inner, gate: gate.clone(), progress, over: CancellationToken::new() };
        let partition = Partition::new("t", 0);
        let ranges = |range| [(partition.clone(), range)].into_iter().collect::<OffsetRanges>();
        runtime.block_on(async {
            let _taken = gate.turn().await;
            sink.recover(&[]).await.expect("recovers");
            sink.commit(None, &ranges(OffsetRange::anchor(Position::at(0)))).await.expect("anchored");
            let moved = ranges(OffsetRange::new(0, 5));
            let landed = tokio::time::timeout(Duration::from_secs(5), sink.commit(None, &moved)).await;
            assert!(matches!(landed.expect("beside the taken turn"), Ok(Commit::Landed(_))));
        });
    }
}
