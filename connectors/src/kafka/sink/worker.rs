//! The one thread of a sink that calls librdkafka: its calls block, and may ignore their timeouts.
//!
//! Commands come in a bounded queue. Blocks of the open window are sent to the brokers as they come; those of the next
//! one wait until the open one has landed. When the sink is dropped the thread aborts what is open and ends. When it
//! does not answer in time it is *abandoned*: it commits nothing more and ends when its call returns, and the next run
//! makes another, which fences it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Reaction, Receipt, SinkError};
use tokio::sync::oneshot;

use super::client::Client;
use super::ledger::{self, Ledger};
use super::options::KafkaSinkOptions;
use super::staging::{Block, Room, Window};
use crate::kafka::GroupMetadataSlot;
use crate::kafka::ffi::transactions::GroupMetadata;

/// How often a thread without work serves its client.
const IDLE: Duration = Duration::from_secs(1);
/// Threads that hang in the client, over all sinks, from which on no more are made.
const MOST_HANGING: usize = 16;

static HANGING: AtomicUsize = AtomicUsize::new(0);

/// What the thread is told.
pub(super) enum Command {
    /// Fence, and read positions.
    Recover { partitions: Vec<Partition>, answer: oneshot::Sender<Result<(Positions, String), SinkError>> },
    /// Send messages, when it is their window's turn.
    Produce(Box<Block>),
    /// Answer when everything before has been given to the client.
    Reach(oneshot::Sender<()>),
    /// Commit a window, or positions alone.
    Commit(Order),
}

/// A commit.
pub(super) struct Order {
    pub(super) window: Option<Arc<Window>>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) ranges: OffsetRanges,
    pub(super) answer: oneshot::Sender<Result<Commit, SinkError>>,
}

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Orders {
    queue: SyncSender<Command>,
    abandoned: Arc<AtomicBool>,
}

impl Orders {
    /// Hands a command over; never waits: the room of the staged messages bounds their number.
    pub(super) fn give(&self, command: Command) -> Result<(), SinkError> {
        self.queue.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => SinkError::bug("more blocks than there is room for"),
            TrySendError::Disconnected(_) => SinkError::retry("the sink's thread has ended"),
        })
    }

    /// Gives the thread up: it hangs in the client.
    pub(super) fn abandon(&self) {
        if !self.abandoned.swap(true, Ordering::AcqRel) {
            HANGING.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Starts the thread of a sink.
pub(super) fn spawn(
    options: KafkaSinkOptions,
    slot: Arc<GroupMetadataSlot>,
    run: u64,
    room: &Room,
    clock: Clock,
) -> Result<Orders, SinkError> {
    if HANGING.load(Ordering::Acquire) >= MOST_HANGING {
        return Err(SinkError::person(format!(
            "{MOST_HANGING} threads hang in the Kafka client: restart the daemon, and report this"
        )));
    }
    let (queue, commands) = sync_channel(room.blocks() + 8);
    let abandoned = Arc::new(AtomicBool::new(false));
    let name = format!("kafka-{}", options.job);
    let mut worker = Worker {
        options,
        slot,
        run,
        clock,
        abandoned: abandoned.clone(),
        ledger: Ledger::default(),
        client: None,
        open: None,
        waiting: VecDeque::new(),
        commits: 0,
    };
    let body = move || {
        worker.work(&commands);
        if worker.abandoned.load(Ordering::Acquire) {
            HANGING.fetch_sub(1, Ordering::AcqRel);
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|e| SinkError::retry(format!("no thread for the Kafka sink: {e}")))?;
    Ok(Orders { queue, abandoned })
}

struct Worker {
    options: KafkaSinkOptions,
    slot: Arc<GroupMetadataSlot>,
    /// The source's run that this sink belongs to.
    run: u64,
    clock: Clock,
    abandoned: Arc<AtomicBool>,
    ledger: Ledger,
    client: Option<Client>,
    /// The window whose messages are in the open transaction.
    open: Option<Arc<Window>>,
    /// Blocks of later windows, in order.
    waiting: VecDeque<Block>,
    commits: u64,
}

impl Worker {
    fn work(&mut self, commands: &Receiver<Command>) {
        while !self.abandoned.load(Ordering::Acquire) {
            match commands.recv_timeout(IDLE) {
                Ok(Command::Recover { partitions, answer }) => {
                    let _ = answer.send(self.recover(partitions));
                }
                Ok(Command::Produce(block)) => self.produce(*block),
                Ok(Command::Reach(answer)) => {
                    self.drop_unwanted();
                    let _ = answer.send(());
                }
                Ok(Command::Commit(order)) => {
                    let outcome = self.commit(&order);
                    if !matches!(outcome, Ok(Commit::Landed(_))) {
                        self.abort();
                    }
                    let _ = order.answer.send(outcome);
                    self.next_window();
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(client) = &self.client {
                        client.idle();
                    }
                    self.drop_unwanted();
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.abort();
    }

    /// A client that has fenced all former ones of this instance.
    fn client(&mut self) -> Result<&mut Client, SinkError> {
        if self.client.is_none() {
            let client = Client::new(&self.options, self.options.transactional_id(), &self.clock)?;
            client.init()?;
            let found = self.positions(&client)?;
            // Somebody may have committed while this sink had no client, and fencing them now would be too late.
            if let Some(partition) = self.ledger.differs(&found) {
                let (held, found) = (self.ledger.held.offset(partition), found.offset(partition));
                let message = format!("{partition} is at {found:?} and was at {held:?}: another owner took over");
                return Err(SinkError::new(Reaction::Fenced, message));
            }
            self.client = Some(client);
        }
        self.client.as_mut().ok_or_else(|| SinkError::bug("no client"))
    }

    fn positions(&self, client: &Client) -> Result<Positions, SinkError> {
        let patience = self.options.transaction_timeout() + super::client::INIT_WITHIN;
        let group = &self.options.group;
        ledger::positions(client.client(), group, &self.ledger.identity, true, patience, &self.clock)
    }

    fn recover(&mut self, partitions: Vec<Partition>) -> Result<(Positions, String), SinkError> {
        let client = Client::new(&self.options, self.options.transactional_id(), &self.clock)?;
        let cluster = ledger::cluster(client.client(), &self.options)?;
        if let Some(sources) = self.slot.cluster()
            && sources != cluster
        {
            return Err(SinkError::person(format!(
                "the sink's brokers {} are of cluster {cluster}, the source's of cluster {sources}: one transaction \
                 cannot hold rows of the one and positions of the other; write to the source's cluster, or set \
                 transactional = false and delivery = \"at_least_once\"",
                self.options.brokers
            )));
        }
        self.ledger.identity = ledger::identity(client.client(), &cluster, &self.options, &self.clock)?;
        failpoint!("kafka.before_init");
        client.init()?;
        failpoint!("kafka.after_init");
        self.ledger.held = self.positions(&client)?;
        self.ledger.own = partitions.into_iter().collect();
        self.client = Some(client);
        Ok((self.ledger.held.clone(), self.ledger.identity.clone()))
    }

    fn produce(&mut self, block: Block) {
        self.drop_unwanted();
        let turn = self.open.as_ref().is_none_or(|open| Arc::ptr_eq(open, &block.window));
        if !turn || !self.waiting.is_empty() {
            self.waiting.push_back(block);
            return;
        }
        self.send(&block);
    }

    /// Sends messages of the open window, opening it with the first.
    fn send(&mut self, block: &Block) {
        if block.window.is_dropped() || block.window.failure().is_some() {
            return;
        }
        if let Err(error) = self.try_send(block) {
            block.window.fail(error);
        }
    }

    fn try_send(&mut self, block: &Block) -> Result<(), SinkError> {
        let abandoned = self.abandoned.clone();
        let client = self.client()?;
        if !client.is_open() {
            client.begin()?;
        }
        let sent = client.produce(&block.messages, &abandoned);
        self.open = Some(block.window.clone());
        sent
    }

    /// Aborts an open transaction that nobody wants any more.
    fn drop_unwanted(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.is_dropped()) {
            self.abort();
        }
        if self.open.is_none() && !self.waiting.is_empty() {
            self.next_window();
        }
    }

    /// The blocks of the next window that waited for their turn.
    fn next_window(&mut self) {
        while let Some(block) = self.waiting.front() {
            if self.open.as_ref().is_some_and(|open| !Arc::ptr_eq(open, &block.window)) {
                break;
            }
            if let Some(block) = self.waiting.pop_front() {
                self.send(&block);
            }
        }
    }

    /// Aborts what is open and throws the client away: one that has aborted or failed is not used again.
    fn abort(&mut self) {
        self.open = None;
        if let Some(client) = self.client.take() {
            client.abandon();
        }
    }

    fn commit(&mut self, order: &Order) -> Result<Commit, SinkError> {
        self.drop_unwanted();
        let ranges = &order.ranges;
        let same = match (&self.open, &order.window) {
            (Some(open), Some(window)) => Arc::ptr_eq(open, window),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !same {
            return Err(SinkError::bug("a window is committed while another is open"));
        }
        if let Some(failure) = order.window.as_ref().and_then(|w| w.failure()) {
            return Err(failure);
        }
        if !failpoint::compare_is_off() && !ranges.continue_from(&self.ledger.held) {
            return Ok(Commit::Lost(ranges.found_in(&self.ledger.held)));
        }
        if ranges.iter().any(|(_, range)| range.start.is_none()) {
            if order.rows > 0 {
                return Err(SinkError::bug("an anchor has no rows"));
            }
            return self.anchor(ranges);
        }
        let group = self.group()?;
        let lose = self.options.lose.take();
        let offsets = self.ledger.offsets(ranges)?;
        let abandoned = self.abandoned.clone();
        let client = self.client()?;
        if !client.is_open() {
            client.begin()?;
        }
        failpoint!("kafka.before_offsets");
        client.send_offsets(&offsets, &group)?;
        failpoint!("kafka.after_offsets");
        client.flush()?;
        failpoint!("kafka.before_commit");
        if lose == Some(false) {
            // As in a process that died here: the transaction stays open.
            self.client = None;
            return Err(SinkError::unknown("the answer to the commit did not come in time"));
        }
        if abandoned.load(Ordering::Acquire) {
            return Err(SinkError::unknown("the answer to the commit did not come in time"));
        }
        client.commit()?;
        failpoint!("kafka.after_commit");
        if client.take_shaken() {
            self.client = None;
        }
        self.open = None;
        if lose.is_some() {
            return Err(SinkError::unknown("the answer to the commit did not come in time"));
        }
        self.landed(order)
    }

    fn landed(&mut self, order: &Order) -> Result<Commit, SinkError> {
        self.ledger.landed(&order.ranges);
        self.commits += 1;
        let id = format!("{}-{}", self.run, self.commits);
        Ok(Commit::Landed(Receipt { rows: order.rows, bytes: order.bytes, files: 0, id }))
    }

    /// Who commits: this member in the group's present generation, while the run's assignment is held.
    fn group(&self) -> Result<Arc<GroupMetadata>, SinkError> {
        if failpoint::compare_is_off() {
            let nobody = GroupMetadata::of_nobody(&self.options.group).map(Arc::new);
            return nobody.ok_or_else(|| SinkError::bug("the group's name has a NUL in it"));
        }
        let fenced = |why: &str| SinkError::new(Reaction::Fenced, format!("group {}: {why}", self.options.group));
        let group = self.slot.now(self.run).ok_or_else(|| fenced("the assignment of this run is gone"))?;
        if group.generation() < 0 {
            // The broker would take positions of nobody without a look at the generation.
            return Err(fenced("this daemon is no member any more"));
        }
        Ok(group)
    }

    /// First positions, also of partitions that other instances read: under a transactional id of the whole job, so
    /// that of two who found a position absent only one writes it.
    fn anchor(&mut self, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let mut client = Client::new(&self.options, self.options.anchor_id(), &self.clock)?;
        client.init()?;
        failpoint!("kafka.in_anchor");
        let found = self.positions(&client)?;
        if !ranges.continue_from(&found) {
            return Ok(Commit::Lost(ranges.found_in(&found)));
        }
        let group = self.group()?;
        client.begin()?;
        let written = client.send_offsets(&self.ledger.offsets(ranges)?, &group).and_then(|()| {
            if self.abandoned.load(Ordering::Acquire) {
                return Err(SinkError::unknown("the answer to the anchor did not come in time"));
            }
            client.commit()
        });
        client.abandon();
        written?;
        failpoint!("kafka.after_anchor");
        self.ledger.held = found;
        self.ledger.landed(ranges);
        self.commits += 1;
        let id = format!("{}-{}", self.run, self.commits);
        Ok(Commit::Landed(Receipt { rows: 0, bytes: 0, files: 0, id }))
    }
}
