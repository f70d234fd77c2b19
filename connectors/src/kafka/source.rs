//! The protocol of a run: assignment, positions, records, and the answer to a rebalance when the run has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tidemill_engine::clock::Clock;
use tidemill_engine::intake::Intake;
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::source::{Source, SourceError, SourceEvent};

use super::absent;
use super::context::Context;
use super::errors::{self, Reaction};
use super::ffi::{KafkaConsumer, OffsetSpec};
use super::group_metadata::GroupMetadataSlot;
use super::lag;
use super::log_facts::LogFacts;
use super::membership::{GroupEvent, Membership, Wish};
use super::options::{KafkaOptions, OnDataLoss, Start, Until};
use super::reader::Reader;
use super::start::{self, Log, Verdict};
use super::topic_watch::TopicWatch;

/// Longest wait for records between two looks at the group's events.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long records of an open window are gathered in the client before they are taken.
const GATHER: Duration = Duration::from_millis(4);
/// Informational group commits are at least this far apart.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How long the assign that follows a revocation is awaited before the run goes on with what is left.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);
/// After so long without an assignment it is looked whether the topics exist at all.
const LOOK_FOR_TOPICS_AFTER: Duration = Duration::from_secs(3);
/// How often.
const LOOK_FOR_TOPICS_EVERY: Duration = Duration::from_secs(5);
/// How long a bounded source waits for topics to be made.
const ABSENT_FOR: Duration = Duration::from_secs(10);
/// How long the brokers may take to list their topics.
const LIST_WITHIN: Duration = Duration::from_secs(5);
/// How long the cluster's id is waited for; it comes with the first metadata.
const CLUSTER_ID_WITHIN: Duration = Duration::from_secs(1);
/// A client that has reached no broker for so long is made anew: one that saw its only broker missing from the metadata,
/// as after a freeze, can forget it for good (librdkafka 2.12).
const RENEW_AFTER: Duration = Duration::from_secs(15);
/// How long leaving may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Records of the partitions that a consumer group gives this member.
///
/// Promises, beside those of [`Source`]:
/// 1. A record is pushed only if its partition belongs to the run and it was fetched after `begin`.
/// 2. An error that names a partition ends the run: nothing is passed over.
/// 3. A rebalance that takes or gives partitions is answered after `end_run`, not before.
/// 4. A topic that was made again while it was read ends the run some seconds later.
/// 5. A wait that a window's first record ends comes back without pushing it; the next `poll` does at once, so that the
///    intake knows when it came.
///
/// After an error the source is spent: drop it and make a new one. With `group_instance_id` that costs no rebalance.
pub struct KafkaSource {
    reader: Option<Reader>,
    consumer: Option<Arc<KafkaConsumer>>,
    options: KafkaOptions,
    clock: Clock,
    membership: Membership,
    metadata: Arc<GroupMetadataSlot>,
    /// The cluster's id, once it was asked for.
    cluster: Option<Option<String>>,
    seen_activity: u64,
    /// The client may have lost its place: assign anew before the next record is taken.
    replace_due: bool,
    /// A revocation came while partitions were being assigned: the assign may have answered it.
    lost: bool,
    /// This client has lost its membership at some time.
    was_lost: bool,
    revoked_at: Option<Duration>,
    /// Since when no broker is connected.
    down_since: Option<Duration>,
    warned: bool,
    /// When the source was made.
    made_at: Duration,
    /// When it was looked for the topics, and which do not exist.
    looked_at: Option<Duration>,
    absent: Vec<String>,
    /// Ends of a bounded source, resolved once for each partition.
    stops: BTreeMap<Partition, i64>,
    /// Partitions that were read to their end and are paused: the client would keep that beyond an assignment.
    paused: Vec<Partition>,
    /// The topics as they were at `begin`, while a run reads.
    watch: Option<TopicWatch>,
    /// Ends of the logs at `begin`.
    ends: BTreeMap<Partition, i64>,
    /// Partitions of all members at `begin`.
    in_all: Option<usize>,
    /// What landed and is not committed to the group yet.
    landed: Positions,
    committed: Positions,
    committed_at: Option<Duration>,
}

impl KafkaSource {
    /// Makes the client and subscribes; nothing is waited for.
    ///
    /// # Errors
    /// A person error that names all faults of the options, or what librdkafka says of a property.
    pub fn new(options: KafkaOptions, clock: Clock) -> Result<Self, SourceError> {
        Self::with_group_metadata(options, clock, Arc::default())
    }

    /// The same, with a place for the group metadata that outlives the source: a sink that commits in a Kafka
    /// transaction finds it there, whichever source of the job is alive. One source at a time.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_group_metadata(
        options: KafkaOptions,
        clock: Clock,
        metadata: Arc<GroupMetadataSlot>,
    ) -> Result<Self, SourceError> {
        let config = options.client_config()?;
        let context = Context::new(options.job.clone(), metadata.clone());
        let fault = |e: KafkaError| SourceError::person(format!("kafka source of job {}: {e}", options.job));
        let consumer: KafkaConsumer = config.create_with_context(context).map_err(fault)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(fault)?;
        let made_at = clock.now();
        Ok(Self {
            reader: None,
            consumer: Some(Arc::new(consumer)),
            options,
            clock,
            membership: Membership::default(),
            metadata,
            cluster: None,
            seen_activity: 0,
            replace_due: false,
            lost: false,
            was_lost: false,
            revoked_at: None,
            down_since: None,
            warned: false,
            made_at,
            looked_at: None,
            absent: Vec::new(),
            stops: BTreeMap::new(),
            paused: Vec::new(),
            watch: None,
            ends: BTreeMap::new(),
            in_all: None,
            landed: Positions::default(),
            committed: Positions::default(),
            committed_at: None,
        })
    }

    /// Where the group metadata of each run is found, for sinks that commit in a Kafka transaction.
    #[must_use]
    pub fn group_metadata(&self) -> Arc<GroupMetadataSlot> {
        self.metadata.clone()
    }

    fn consumer(&self) -> Result<Arc<KafkaConsumer>, SourceError> {
        self.consumer.clone().ok_or_else(|| SourceError::retry("the kafka source is closed"))
    }

    /// Serves callbacks and events without waiting, and collects what the group said.
    fn serve(&mut self) -> Result<(), SourceError> {
        self.serve_for(Duration::ZERO)
    }

    fn serve_for(&mut self, timeout: Duration) -> Result<(), SourceError> {
        let consumer = self.consumer()?;
        let mut timeout = timeout;
        // Bounded: each round serves one callback, and a flood of log lines must not hold the records up.
        for _ in 0..256 {
            let polled = consumer.poll(timeout);
            timeout = Duration::ZERO;
            let activity = consumer.context().activity();
            let served = std::mem::replace(&mut self.seen_activity, activity) != activity;
            match polled {
                Some(Err(error)) => self.client_error(&consumer, &error)?,
                Some(Ok(record)) => {
                    use rdkafka::Message;
                    return Err(SourceError::retry(format!(
                        "{}/{} at offset {}: a record came outside of the run's queue; this is a bug",
                        record.topic(),
                        record.partition(),
                        record.offset()
                    )));
                }
                None if !served => break,
                None => {}
            }
            consumer.context().take_events(&mut self.membership.pending);
        }
        self.renew_if_forgotten(&consumer)
    }

    fn renew_if_forgotten(&mut self, consumer: &KafkaConsumer) -> Result<(), SourceError> {
        if !consumer.context().is_down() {
            self.down_since = None;
            return Ok(());
        }
        let now = self.clock.now();
        let since = *self.down_since.get_or_insert(now);
        if now.saturating_sub(since) < RENEW_AFTER {
            return Ok(());
        }
        Err(SourceError::retry(format!("no broker could be reached for {RENEW_AFTER:?}: trying with a new client")))
    }

    fn client_error(&mut self, consumer: &KafkaConsumer, error: &KafkaError) -> Result<(), SourceError> {
        if let Some((code, text)) = consumer.client().fatal_error() {
            // The loss itself may not have been told of yet.
            let lost = self.was_lost || consumer.assignment_lost();
            return Err(errors::fatal(code, &text, self.options.member_id().as_deref(), lost));
        }
        let Some(code) = error.rdkafka_error_code() else {
            return Err(SourceError::retry(format!("kafka client: {error}")));
        };
        let why = consumer.context().last_error().unwrap_or_else(|| error.to_string());
        let hint = errors::hint(code);
        match errors::client(code) {
            Reaction::Wait => Ok(()),
            Reaction::Warn => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(job = self.options.job, ?code, why, "kafka client; waiting");
                }
                Ok(())
            }
            Reaction::Retry => Err(SourceError::retry(format!("kafka client: {why} ({code:?}){hint}"))),
            Reaction::Person => Err(SourceError::person(format!("kafka client: {why} ({code:?}){hint}"))),
        }
    }

    fn is_eager(consumer: &KafkaConsumer) -> bool {
        matches!(consumer.rebalance_protocol(), RebalanceProtocol::Eager)
    }

    /// Answers the oldest event that needs no positions. False: there is none.
    fn answer_next(&mut self) -> Result<bool, SourceError> {
        let consumer = self.consumer()?;
        let Some(event) = self.membership.next_to_answer() else { return Ok(false) };
        let eager = Self::is_eager(&consumer);
        let answered = match &event {
            GroupEvent::Assigned(_) => {
                self.membership.assigned_nothing();
                let nothing = TopicPartitionList::new();
                if eager { consumer.assign(&nothing) } else { consumer.incremental_assign(&nothing) }
            }
            GroupEvent::Revoked { partitions, lost } => {
                tracing::info!(job = self.options.job, partitions = partitions.len(), lost, "partitions handed back");
                let mut list = TopicPartitionList::new();
                // librdkafka refuses the whole list for one partition that it has not assigned, and then waits for ever.
                for p in self.membership.assigned().iter().filter(|p| *lost || partitions.contains(p)) {
                    list.add_partition(&p.topic, p.index);
                }
                self.was_lost |= *lost;
                self.membership.revoked(partitions, *lost, eager);
                self.revoked_at = Some(self.clock.now());
                if eager { consumer.unassign() } else { consumer.incremental_unassign(&list) }
            }
        };
        answered.map_err(|e| SourceError::retry(format!("cannot answer the group's rebalance: {e}")))?;
        Ok(true)
    }

    /// Whether all topics exist, as far as the brokers can be asked. A bounded source does not wait for them for ever:
    /// it would never end, or end without them.
    fn topics_exist(&mut self) -> Result<bool, SourceError> {
        let now = self.clock.now();
        if self.looked_at.is_none_or(|at| now.saturating_sub(at) >= LOOK_FOR_TOPICS_EVERY) {
            let consumer = self.consumer()?;
            // Brokers that do not answer prove nothing.
            let Ok(metadata) = consumer.fetch_metadata(None, LIST_WITHIN) else { return Ok(false) };
            self.looked_at = Some(now);
            let existing = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name);
            let absent = absent::absent(&self.options.topics, existing);
            if absent != self.absent && !absent.is_empty() {
                let what = absent::describe(&absent);
                tracing::warn!(job = self.options.job, "{what} (or may not be seen by this user); waiting for it");
            }
            self.absent = absent;
        }
        if self.absent.is_empty() {
            return Ok(true);
        }
        if self.options.until.is_some() && now.saturating_sub(self.made_at) >= ABSENT_FOR {
            return Err(SourceError::person(format!(
                "{} (or this user may not describe it), and job {} is to end at its end (`until`): make it, or correct \
                 `topics`",
                absent::describe(&self.absent),
                self.options.job
            )));
        }
        Ok(false)
    }

    /// What the group wants of the present run.
    fn event(&mut self) -> Result<SourceEvent, SourceError> {
        self.serve()?;
        self.watch_topics()?;
        self.commit_landed();
        loop {
            if self.lost {
                return Ok(SourceEvent::Lost);
            }
            match self.membership.wish() {
                Wish::None => return Ok(SourceEvent::Continue),
                Wish::AnswerNow => {
                    self.replace_due = true;
                    if !self.answer_next()? {
                        return Ok(SourceEvent::Continue);
                    }
                }
                Wish::EndRun => return Ok(SourceEvent::Revoked { deadline: self.options.revoke_deadline() }),
                Wish::Lost => {
                    self.metadata.forget();
                    return Ok(SourceEvent::Lost);
                }
            }
        }
    }

    fn watch_topics(&mut self) -> Result<(), SourceError> {
        match (&mut self.watch, &self.consumer) {
            (Some(watch), Some(consumer)) => watch.look(consumer, self.clock.now()),
            _ => Ok(()),
        }
    }

    /// Assigns exactly `starts`, on the reader's queue. Answers an assign that waits.
    fn place(&mut self, starts: &[(Partition, i64)]) -> Result<(), SourceError> {
        self.serve()?;
        self.replace_due = false;
        if self.membership.is_revoking() {
            // The run ends before it reads anything: `event` says so.
            return Ok(());
        }
        self.resume_done();
        let consumer = self.consumer()?;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        reader.renew_queue(&consumer);
        let fault = |e: KafkaError| SourceError::retry(format!("cannot assign partitions: {e}"));
        let list = offsets(starts.iter().map(|(p, at)| (p, *at)));
        let eager = Self::is_eager(&consumer);
        if !self.membership.assigned().is_empty() {
            if eager {
                consumer.assign(&TopicPartitionList::new()).map_err(fault)?;
            } else {
                let former = offsets(self.membership.assigned().iter().map(|p| (p, 0)));
                consumer.incremental_unassign(&former).map_err(fault)?;
            }
        }
        // Before: so that no record goes to the client's own queue. After: stopping a partition cuts its forwarding,
        // and only when the second call is back has the stop of the first been done. What came between is moved over.
        let forward = || match starts.iter().find(|(p, _)| !reader.queue().forward(p)) {
            Some((p, _)) => Err(SourceError::retry(format!("{p}: the client does not know this partition"))),
            None => Ok(()),
        };
        forward()?;
        if eager { consumer.assign(&list) } else { consumer.incremental_assign(&list) }.map_err(fault)?;
        forward()?;
        self.membership.placed(starts.iter().map(|(p, _)| p.clone()));
        self.serve()?;
        if self.membership.is_revoking() {
            // It may have come just before the calls above, which then counted as its answer.
            self.lost = true;
            self.metadata.forget();
            return Ok(());
        }
        let done = self.reader.as_mut().map(Reader::all_done).unwrap_or_default();
        self.pause_done(done)
    }

    /// Where each partition of a bounded source stops; resolved once for each.
    fn stops(&mut self, facts: &LogFacts<'_>, partitions: &[Partition]) -> Result<Option<Vec<i64>>, SourceError> {
        let Some(until) = &self.options.until else { return Ok(None) };
        let new: Vec<Partition> = partitions.iter().filter(|p| !self.stops.contains_key(*p)).cloned().collect();
        if !new.is_empty() {
            let committed = self.options.read_committed();
            let ends = facts.offsets(&new, OffsetSpec::Latest, committed)?;
            let wanted = match until {
                Until::End => BTreeMap::new(),
                Until::Time(ms) => facts.offsets(&new, OffsetSpec::Time(*ms), committed)?,
                Until::Offsets(named) => {
                    self.all_exist(facts, "until", named)?;
                    for (partition, end) in &ends {
                        let stop = start::stop_at(named, partition);
                        if stop > *end {
                            tracing::info!(job = self.options.job, %partition, end, until = stop, "waits for records");
                        }
                    }
                    new.iter().map(|p| (p.clone(), start::stop_at(named, p))).collect()
                }
            };
            self.stops.extend(ends.iter().map(|(p, end)| (p.clone(), start::or_else(&wanted, p, *end))));
        }
        Ok(Some(partitions.iter().map(|p| self.stops.get(p).copied().unwrap_or(0)).collect()))
    }

    /// Every partition that is named by hand has to be there: a job would end without it.
    fn all_exist(&self, facts: &LogFacts<'_>, key: &str, named: &BTreeMap<Partition, i64>) -> Result<(), SourceError> {
        let known = facts.known_partitions(&self.options.topics, &[])?;
        match start::unknown(named, &known) {
            None => Ok(()),
            Some(unknown) => Err(SourceError::person(format!(
                "`{key}` of job {} names partitions that do not exist: {unknown}; correct it",
                self.options.job
            ))),
        }
    }

    /// Fetches no more of partitions that have come to their end: what lies behind it would be thrown away here.
    fn pause_done(&mut self, done: Vec<Partition>) -> Result<(), SourceError> {
        if done.is_empty() {
            return Ok(());
        }
        let list = offsets(done.iter().map(|p| (p, 0)));
        let paused = self.consumer()?.pause(&list);
        self.paused.extend(done);
        paused.map_err(|e| SourceError::retry(format!("cannot pause partitions that were read to their end: {e}")))
    }

    /// Takes back what [`pause_done`](Self::pause_done) did, while the partitions are assigned.
    fn resume_done(&mut self) {
        let paused = std::mem::take(&mut self.paused);
        if let (Some(consumer), false) = (&self.consumer, paused.is_empty()) {
            let list = offsets(paused.iter().map(|p| (p, 0)));
            if let Err(error) = consumer.resume(&list) {
                tracing::debug!(job = self.options.job, %error, "partitions not resumed");
            }
        }
    }

    /// Commits landed positions to the group, at most once a second, without waiting.
    fn commit_landed(&mut self) {
        let now = self.clock.now();
        let due = self.committed_at.is_none_or(|at| now.saturating_sub(at) >= COMMIT_EVERY);
        if due && !self.landed.is_empty() {
            self.committed_at = Some(now);
            self.commit_now();
        }
    }

    fn commit_now(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        // A commit that waits for a broker could be sent under a membership that has ended by then.
        if consumer.context().is_down() {
            return;
        }
        let landed = std::mem::take(&mut self.landed);
        let mut list = TopicPartitionList::new();
        for (partition, position) in landed.iter().filter(|(p, _)| self.membership.assigned().contains(*p)) {
            self.committed.set(partition.clone(), position.clone());
            let mut element = list.add_partition(&partition.topic, partition.index);
            if let Some(mark) = &self.options.commit_metadata {
                element.set_metadata(mark.as_str());
            }
            if let Err(error) = element.set_offset(Offset::Offset(position.offset)) {
                tracing::debug!(job = self.options.job, %partition, %error, "position left out of the group commit");
            }
        }
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(job = self.options.job, %error, "informational group commit failed");
        }
    }
}

fn offsets<'a>(partitions: impl Iterator<Item = (&'a Partition, i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, at) in partitions {
        // Only the offset's form can be refused, and a number has none.
        let _ = list.add_partition_offset(&partition.topic, partition.index, Offset::Offset(at));
    }
    list
}

impl Source for KafkaSource {
    fn assignment(&mut self, timeout: Duration) -> Result<Option<Vec<Partition>>, SourceError> {
        let give_up = self.clock.now() + timeout;
        let mut wait = Duration::ZERO;
        // Revocations are answered below.
        self.metadata.forget();
        loop {
            self.serve_for(wait)?;
            while self.answer_next()? {
                self.serve()?;
            }
            self.commit_landed();
            let now = self.clock.now();
            let settling = self.membership.is_settling()
                && self.revoked_at.is_some_and(|at| now.saturating_sub(at) < SETTLE_WITHIN);
            if !settling && let Some(share) = self.membership.share() {
                if self.options.until.is_none() || self.topics_exist()? {
                    self.absent.clear();
                    let consumer = self.consumer()?;
                    let cluster =
                        self.cluster.get_or_insert_with(|| consumer.client().fetch_cluster_id(CLUSTER_ID_WITHIN));
                    self.metadata.begin(&consumer, cluster.clone());
                    return Ok(Some(share.into_iter().collect()));
                }
            } else if now.saturating_sub(self.made_at) >= LOOK_FOR_TOPICS_AFTER {
                self.topics_exist()?;
            }
            if now >= give_up {
                return Ok(None);
            }
            wait = LOOK_EVERY.min(give_up - now);
        }
    }

    fn waits_for(&self) -> Option<String> {
        (!self.absent.is_empty()).then(|| absent::describe(&self.absent))
    }

    fn start_positions(&mut self, partitions: &[Partition], first: bool) -> Result<Positions, SourceError> {
        if partitions.is_empty() {
            return Ok(Positions::default());
        }
        let consumer = self.consumer()?;
        let facts = LogFacts { consumer: &consumer, clock: &self.clock };
        let all;
        let partitions = if first {
            // `start` is for every partition there is at the job's first anchor, whoever of several daemons reads it.
            all = facts.known_partitions(&self.options.topics, partitions)?;
            all.as_slice()
        } else {
            partitions
        };
        let ids = facts.topic_ids(&topics(partitions))?;
        let committed = self.options.read_committed();
        let low = facts.offsets(partitions, OffsetSpec::Earliest, committed)?;
        let found = match &self.options.start {
            _ if !first => low,
            Start::Earliest => low,
            Start::Latest => facts.offsets(partitions, OffsetSpec::Latest, committed)?,
            Start::Committed => {
                let wanted = facts.committed(partitions)?;
                low.iter().map(|(p, low)| (p.clone(), start::or_else(&wanted, p, *low))).collect()
            }
            Start::Time(ms) => {
                let end = facts.offsets(partitions, OffsetSpec::Latest, committed)?;
                let wanted = facts.offsets(partitions, OffsetSpec::Time(*ms), committed)?;
                end.iter().map(|(p, end)| (p.clone(), start::or_else(&wanted, p, *end))).collect()
            }
            Start::Offsets(named) => {
                self.all_exist(&facts, "start", named)?;
                let high = facts.offsets(partitions, OffsetSpec::Latest, false)?;
                let pass_lost = self.options.on_data_loss == OnDataLoss::Continue;
                start::at_offsets(named, &low, &high, pass_lost)
                    .map_err(|wrong| SourceError::person(format!("job {}: {wrong}", self.options.job)))?
            }
        };
        Ok(found
            .into_iter()
            .map(|(p, offset)| {
                let topic_id = ids.get(&*p.topic).cloned();
                (p, Position { offset, topic_id })
            })
            .collect())
    }

    fn begin(&mut self, positions: &[(Partition, Position)]) -> Result<OffsetRanges, SourceError> {
        let consumer = self.consumer()?;
        let clock = self.clock.clone();
        let facts = LogFacts { consumer: &consumer, clock: &clock };
        let partitions: Vec<Partition> = positions.iter().map(|(p, _)| p.clone()).collect();
        let mut lost = OffsetRanges::default();
        let mut starts = Vec::with_capacity(positions.len());
        let (mut ids, mut low, mut high) = Default::default();
        if !partitions.is_empty() {
            ids = facts.topic_ids(&topics(&partitions))?;
            low = facts.offsets(&partitions, OffsetSpec::Earliest, false)?;
            high = facts.offsets(&partitions, OffsetSpec::Latest, false)?;
        }
        for (partition, position) in positions {
            let end = |ends: &BTreeMap<Partition, i64>| ends.get(partition).copied().unwrap_or(position.offset);
            let log = Log { low: end(&low), high: end(&high), topic_id: ids.get(&*partition.topic).cloned() };
            match start::check(position, &log) {
                Verdict::Holds => starts.push((partition.clone(), position.offset)),
                Verdict::Lost { why, .. } if self.options.on_data_loss == OnDataLoss::Fail => {
                    return Err(SourceError::person(start::data_loss(partition, &why, &self.options.job)));
                }
                Verdict::Lost { range, why } => {
                    tracing::warn!(job = self.options.job, %partition, from = range.start, to = range.end, why, "data loss");
                    starts.push((partition.clone(), range.end));
                    lost.0.insert(partition.clone(), range);
                }
            }
        }
        let stops = self.stops(&facts, &partitions)?;
        self.watch = Some(TopicWatch::new(ids, clock.now()));
        self.ends = high;
        self.in_all = facts.partitions_in_all(&self.options.topics);
        self.committed = Positions::default();
        self.lost = false;
        self.reader = Some(Reader::new(&consumer, &starts, stops));
        self.place(&starts)?;
        Ok(lost)
    }

    fn poll(&mut self, intake: &mut Intake, timeout: Duration) -> Result<SourceEvent, SourceError> {
        let mut event = self.event()?;
        if event != SourceEvent::Continue {
            return Ok(event);
        }
        if self.replace_due {
            let Some(reader) = &self.reader else { return Ok(event) };
            let partitions = reader.partitions().clone();
            let starts: Vec<_> = (0..).zip(partitions.iter()).map(|(s, p)| (p.clone(), intake.expected(s))).collect();
            self.place(&starts)?;
        }
        let Some(reader) = &mut self.reader else {
            return Err(SourceError::retry("poll without begin; this is a bug"));
        };
        let took = reader.deliver(intake)?;
        if reader.is_done() {
            return Ok(SourceEvent::End);
        }
        let done = reader.take_done();
        self.pause_done(done)?;
        if took || !intake.has_room() {
            return Ok(event);
        }
        let give_up = self.clock.now() + timeout;
        loop {
            let left = give_up.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Ok(event);
            }
            let Some(reader) = &mut self.reader else { return Ok(event) };
            if intake.window_is_open() {
                // What comes now belongs to this window, and a wake-up for each record would be wasted. The client waits
                // for whole milliseconds only.
                let wait = Duration::from_millis(u64::try_from(left.min(GATHER).as_millis()).unwrap_or(0));
                if wait.is_zero() {
                    std::thread::sleep(left);
                }
                if reader.gather(wait) {
                    reader.deliver(intake)?;
                    return Ok(if reader.is_done() { SourceEvent::End } else { event });
                }
            } else if reader.wait(left.min(LOOK_EVERY)) {
                return Ok(event);
            }
            event = self.event()?;
            if event != SourceEvent::Continue || self.replace_due {
                return Ok(event);
            }
        }
    }

    fn idle(&mut self) -> Result<SourceEvent, SourceError> {
        self.event()
    }

    fn pause(&mut self, paused: bool) -> Result<(), SourceError> {
        let consumer = self.consumer()?;
        let list = offsets(self.membership.assigned().iter().map(|p| (p, 0)));
        if list.count() == 0 {
            return Ok(());
        }
        // What was prefetched is thrown away; the next run assigns all partitions anew.
        let done = if paused { consumer.pause(&list) } else { consumer.resume(&list) };
        done.map_err(|e| SourceError::retry(format!("cannot pause or resume partitions: {e}")))
    }

    fn end_run(&mut self) {
        if !self.landed.is_empty() {
            self.commit_now();
        }
        self.metadata.forget();
        self.reader = None;
        self.watch = None;
        self.resume_done();
        self.lost = false;
        loop {
            match self.answer_next() {
                Ok(true) => {}
                Ok(false) => break,
                // The next call meets the same client and reports it.
                Err(error) => {
                    tracing::warn!(job = self.options.job, %error, "rebalance not answered");
                    break;
                }
            }
        }
    }

    fn landed(&mut self, positions: &Positions) {
        if !self.options.commit_landed {
            return;
        }
        for (partition, position) in positions.iter() {
            if self.committed.get(partition) != Some(position) {
                self.landed.set(partition.clone(), position.clone());
            }
        }
        self.commit_landed();
    }

    fn ends(&self) -> BTreeMap<Partition, i64> {
        let Some(consumer) = &self.consumer else { return BTreeMap::new() };
        let mut ends = lag::ends(consumer, self.membership.assigned().iter(), &self.ends);
        // What lies behind the end of a bounded source is none of its lag.
        for (partition, stop) in &self.stops {
            if let Some(end) = ends.get_mut(partition) {
                *end = (*end).min(*stop);
            }
        }
        ends
    }

    fn partitions_in_all(&self) -> Option<usize> {
        self.in_all
    }

    fn close(&mut self) {
        self.commit_now();
        self.reader = None;
        self.watch = None;
        self.metadata.forget();
        let Some(consumer) = self.consumer.take() else { return };
        consumer.context().close();
        consumer.context().take_events(&mut self.membership.pending);
        // A rebalance left unanswered would keep the client from leaving.
        let all = offsets(self.membership.assigned().iter().map(|p| (p, 0)));
        for event in std::mem::take(&mut self.membership.pending) {
            let nothing = TopicPartitionList::new();
            let answered = match event {
                _ if Self::is_eager(&consumer) => consumer.unassign(),
                GroupEvent::Assigned(_) => consumer.incremental_assign(&nothing),
                GroupEvent::Revoked { .. } => consumer.incremental_unassign(&all),
            };
            if let Err(error) = answered {
                tracing::debug!(job = self.options.job, %error, "left in the middle of a rebalance");
            }
        }
        // Leaving can hang in librdkafka: it is given a thread and a deadline.
        let (left, has_left) = sync_channel(1);
        let leaving = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            drop(consumer);
            let _ = left.send(());
        });
        if leaving.is_err() || has_left.recv_timeout(CLOSE_WITHIN).is_err() {
            tracing::warn!(job = self.options.job, "the Kafka client did not close in 10 s and is left behind");
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.close();
    }
}

fn topics(partitions: &[Partition]) -> Vec<&str> {
    let mut topics: Vec<&str> = partitions.iter().map(|p| &*p.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}
