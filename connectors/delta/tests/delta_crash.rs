//! A crash at every single write to the table, and a failure at every one: nothing lost, nothing doubled, and nothing
//! left behind but data files that no version names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use support::Ground;
use support::files::How;
use tidemill_delta::{DeltaOptions, DeltaSink};
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition};
use tidemill_engine::sink::{Commit, Sink, SinkError, Staged};
use tidemill_engine::testkit::{plain_schema, rows};

const END: i64 = 60;

fn sink(ground: &Ground, instance: &str) -> DeltaSink {
    DeltaSink::new(DeltaOptions { checkpoint_every: Some(3), ..ground.options(instance, &plain_schema()) }).unwrap()
}

async fn stage(sink: &mut DeltaSink, at: i64) -> Result<Staged, SinkError> {
    let mut staging = sink.open().await?;
    staging.write(rows(&plain_schema(), "orders", 0, at..at + 20)).await?;
    staging.seal().await
}

/// A job from wherever the sink stands to the end: windows of 20 records, the next one staged before a commit.
async fn run(mut sink: DeltaSink) -> Result<(), SinkError> {
    let p = Partition::new("orders", 0);
    let moved = |start, end| -> OffsetRanges {
        [(p.clone(), OffsetRange { start, end, topic_id: None })].into_iter().collect()
    };
    let held = sink.recover(std::slice::from_ref(&p)).await?;
    let mut at = held.offset(&p);
    if at.is_none() {
        let outcome = sink.commit(None, &moved(None, 0)).await?;
        assert!(matches!(outcome, Commit::Landed(_)), "{outcome:?}");
        at = Some(0);
    }
    let (mut at, mut sealed) = (at.unwrap(), None);
    while at < END {
        let staged = match sealed.take() {
            Some(staged) => staged,
            None => stage(&mut sink, at).await?,
        };
        let next = if at + 20 < END { Some(stage(&mut sink, at + 20).await?) } else { None };
        match sink.commit(Some(staged), &moved(Some(at), at + 20)).await? {
            Commit::Landed(receipt) => assert_eq!((receipt.rows, receipt.files), (20, 1)),
            Commit::Lost(found) => panic!("lost against nobody: {found:?}"),
        }
        at += 20;
        sealed = next;
    }
    Ok(())
}

async fn check_done(ground: &Ground) {
    let mut seen: Vec<i64> = ground.rows().await.into_iter().map(|(_, _, offset)| offset).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..END).collect::<Vec<_>>());
    let history = tidemill_delta::history(&ground.sound(), "orders").await.unwrap();
    let mut held = None;
    for commit in history.commits.iter().filter(|c| !c.ranges.is_empty()) {
        let (_, range) = commit.ranges.iter().next().unwrap();
        assert_eq!(range.start, held, "commits follow each other: {:?}", history.commits);
        held = Some(range.end);
    }
    assert_eq!(held, Some(END));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_step_is_survived() {
    let mut crashes = 0;
    for how in [How::Before, How::Half, How::After] {
        for k in 1.. {
            let mut ground = Ground::local();
            ground.store.crash_at(k, how);
            let first = run(sink(&ground, "a")).await;
            if !ground.store.came() {
                first.unwrap();
                check_done(&ground).await;
                break;
            }
            crashes += 1;
            ground.restart();
            run(sink(&ground, if k % 2 == 0 { "a" } else { "b" })).await.unwrap();
            check_done(&ground).await;
        }
    }
    assert!(crashes > 60, "{crashes} steps");
    eprintln!("{crashes} crashes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_at_every_step_is_survived_and_leaves_nothing_but_what_is_unknown() {
    for how in [How::Before, How::Half, How::After] {
        for k in 1.. {
            let ground = Ground::local();
            ground.store.fail_at(k, how);
            let mut runs = 0;
            while let Err(e) = run(sink(&ground, "a")).await {
                runs += 1;
                assert!(runs < 5, "{e}");
            }
            check_done(&ground).await;
            if !ground.store.came() {
                break;
            }
        }
    }
}
