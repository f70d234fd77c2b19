//! Files as a table: Parquet or NDJSON in a folder, exactly once, on local disk or an object store.
//!
//! Rows are encoded into *staged* files that no reader looks at. A commit puts one record into the [`log`], which
//! moves positions and names the files in one atomic step, and then gives the files their final names. A crash in
//! between is finished by whoever comes next. See `DESIGN.md`, "The files' log".

pub mod data;
mod encode;
mod held;
mod history;
mod journal;
pub mod layout;
mod learned;
mod local;
pub mod log;
pub(crate) mod ndjson;
mod objects;
mod parquet;
mod partition;
mod share;
mod staging;
pub mod store;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Delivery, Reaction, Receipt, Sink, SinkError, Staged, Staging};
use uuid::Uuid;

pub use self::encode::FileFormat;
pub use self::history::history;
pub use self::local::LocalStore;
pub use self::objects::ObjectStoreFiles;
pub use self::parquet::{Compression, DICTIONARY_BYTES, ParquetOptions};
pub use self::partition::{NULL_PARTITION, Part, Partitioner};
pub use self::staging::{NameFile, StagedFile, Window};

use self::held::Held;
use self::journal::{Journal, Outcome};
use self::layout::Layout;
use self::log::{Cause, Checkpoint, DataFile, Found, Head, Record, Writer};
use self::staging::{FileStaging, Shared};
use self::store::{Store, StoreError};

/// Largest file: what object stores copy in one request, with room.
const MAX_FILE: u64 = 4 << 30;
/// Records of others that one commit works through before it gives up and lets the run start again.
const MAX_CLASHES: usize = 100;
/// Staged files older than this may have been swept by others as leftovers (7 days): they are not committed.
const STALE_MS: i64 = 3 * 24 * 60 * 60 * 1000;

/// Everything a [`FilesSink`] is made of.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// The job: names its log under `_tidemill/`. Several jobs may write into one folder.
    pub job: String,
    /// The daemon's instance.
    pub instance: String,
    /// Where the files go.
    pub store: Arc<dyn Store>,
    /// Schema of the rows that will be written.
    pub schema: SchemaRef,
    /// Format of the files.
    pub format: FileFormat,
    /// A file that reaches this many bytes is closed and the next one begun; at most 4 GiB.
    pub file_size: u64,
    /// Columns that become folders, in order.
    pub partition_by: Vec<String>,
    /// Files open at once; the least recently used one is closed for another. 64 unless there is a reason.
    pub open_files: usize,
    /// Bytes that the encoders of all open windows may hold together.
    pub memory: usize,
    /// A checkpoint is written every so many records. 1000 unless there is a reason.
    pub checkpoint_every: u64,
    /// The clock.
    pub clock: Clock,
}

impl FilesOptions {
    /// Parquet with default settings.
    #[must_use]
    pub fn new(job: &str, instance: &str, store: Arc<dyn Store>, schema: SchemaRef, clock: Clock) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            store,
            schema,
            format: FileFormat::Parquet(ParquetOptions::default()),
            file_size: 256 << 20,
            partition_by: Vec::new(),
            open_files: 64,
            memory: 64 << 20,
            checkpoint_every: 1000,
            clock,
        }
    }
}

/// A folder of files as a sink.
#[derive(Debug)]
pub struct FilesSink {
    shared: Arc<Shared>,
    journal: Journal,
    checkpoint_every: u64,
    sink_id: Option<Uuid>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `recover` has not been called.
    New,
    /// The newest state we know; its files are in place.
    Ready(Head),
    /// A commit was left with an unknown outcome, or undone: only a new sink can go on.
    Over,
}

impl FilesSink {
    /// What it guarantees.
    pub const DELIVERY: Delivery = Delivery::ExactlyOnce;

    /// Checks the options; touches nothing.
    pub fn new(options: FilesOptions) -> Result<Self, SinkError> {
        let writer = Writer { instance: options.instance, run: Uuid::new_v4() };
        let layout = Layout::new(&options.job, writer)?;
        let mut names: Vec<&str> = options.schema.fields().iter().map(|f| f.name().as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(SinkError::person(format!("two columns are named `{}`: rename one in the query", twice[0])));
        }
        let partitioner = Partitioner::new(&options.schema, &options.partition_by)?;
        options.format.check(partitioner.schema())?;
        let store = options.store;
        let names = layout.clone();
        let shared = Shared {
            store: store.clone(),
            held: Held::new(&options.job),
            job: options.job,
            name_file: Arc::new(move |_| names.staged()),
            format: options.format,
            partitioner,
            keep_footers: false,
            cast_to: None,
            file_size: options.file_size.clamp(1, MAX_FILE),
            open_files: options.open_files.max(1),
            memory: options.memory,
            learned: Arc::default(),
        };
        let journal = Journal { store, layout, clock: options.clock };
        let checkpoint_every = options.checkpoint_every.max(2);
        Ok(Self { shared: Arc::new(shared), journal, checkpoint_every, sink_id: None, state: State::New })
    }

    /// Bytes that the encoders hold at this moment.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.shared.held.bytes()
    }

    /// The record that follows `head`.
    fn record(&self, head: &Head, cause: Cause, window: &Window, ranges: &OffsetRanges) -> Record {
        let n = head.n + 1;
        let mut positions = head.positions.clone();
        ranges.apply_to(&mut positions);
        let layout = &self.journal.layout;
        let extension = self.shared.format.extension();
        let data = |(k, f): (usize, &StagedFile)| DataFile {
            staged: f.staged.clone(),
            path: layout.data(&f.folder, n, k, window.token, extension),
            rows: f.rows,
            bytes: f.bytes,
        };
        Record {
            v: log::VERSION,
            n,
            cause,
            token: window.token,
            writer: layout.writer().clone(),
            at_ms: self.journal.clock.wall_ms(),
            ranges: ranges.clone(),
            positions,
            files: window.files.iter().enumerate().map(data).collect(),
            rows: window.files.iter().map(|f| f.rows).sum(),
            bytes: window.files.iter().map(|f| f.bytes).sum(),
        }
    }

    /// Shuts out earlier runs of this instance and answers the newest state: after this record no such run can put one.
    async fn fence(&self) -> Result<Head, SinkError> {
        let (mut head, mut newest) = self.journal.newest().await?;
        let window = Window::empty(self.journal.store.clone());
        for _ in 0..MAX_CLASHES {
            if let Some(record) = &newest {
                self.journal.complete(record).await?;
            }
            let fence = self.record(&head, Cause::Fence, &window, &OffsetRanges::default());
            failpoint!("files.before_fence");
            match self.journal.put(&fence).await? {
                Outcome::Landed => {
                    failpoint!("files.after_fence");
                    self.journal.check_floor(fence.n).await?;
                    return Ok(Head::after(&fence));
                }
                Outcome::Taken(found) => {
                    head = Head::after(&found);
                    newest = Some(*found);
                }
            }
        }
        Err(SinkError::retry(format!("others put {MAX_CLASHES} records while this run wanted to begin")))
    }

    /// Puts the record of a commit behind whatever is newest. Answers the state before it and the record, or the
    /// positions that it does not continue from.
    async fn decide(
        &self,
        mut head: Head,
        cause: Cause,
        window: &Window,
        ranges: &OffsetRanges,
    ) -> Result<Decided, SinkError> {
        for _ in 0..MAX_CLASHES {
            // Without the compare (debug builds, by request) the fault tests must find doubled records.
            if !failpoint::compare_is_off() && !ranges.continue_from(&head.positions) {
                // What we know may be old: the answer has to be the truth.
                match self.journal.read(head.n + 1).await? {
                    Some(newer) => head = self.pass(newer, window.token).await?,
                    None => return Ok(Decided::Lost(head)),
                }
                continue;
            }
            let record = self.record(&head, cause, window, ranges);
            failpoint!("files.before_record");
            match self.journal.put(&record).await? {
                Outcome::Landed => return Ok(Decided::Landed { before: head, record }),
                Outcome::Taken(found) => head = self.pass(*found, window.token).await?,
            }
        }
        Err(SinkError::retry(format!("others put {MAX_CLASHES} records while this window wanted to land")))
    }

    /// Goes past a record of somebody else, finishing it first.
    async fn pass(&self, found: Record, token: Uuid) -> Result<Head, SinkError> {
        match log::judge(&found, token, self.journal.layout.writer()) {
            Found::Fenced => Err(SinkError::new(
                Reaction::Fenced,
                format!(
                    "a later run of instance `{}` has begun (record {}): this one is over",
                    found.writer.instance, found.n
                ),
            )),
            Found::Ours => Err(SinkError::unknown(format!("record {} is this window's already", found.n))),
            Found::Theirs => {
                self.journal.complete(&found).await?;
                Ok(Head::after(&found))
            }
        }
    }

    async fn commit_window(&mut self, mut window: Window, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let head = match std::mem::replace(&mut self.state, State::Over) {
            State::Ready(head) => head,
            State::New => return Err(SinkError::bug("commit before recover")),
            State::Over => return Err(SinkError::retry("an earlier commit failed: a new sink has to recover")),
        };
        let cause = if window.files.is_empty() { Cause::Move } else { Cause::Commit };
        if !window.files.is_empty() && self.journal.clock.wall_ms().saturating_sub(window.begun_ms) > STALE_MS {
            return Err(SinkError::retry("the window was begun days ago: its files may be gone, it is read again"));
        }
        // Should this future be dropped half-way, nobody knows whether the record names the files: they stay.
        window.keep();
        let decided = self.decide(head, cause, &window, ranges).await;
        let (before, record) = match decided {
            Ok(Decided::Landed { before, record }) => (before, record),
            Ok(Decided::Lost(head)) => {
                window.disown();
                let found = ranges.found_in(&head.positions);
                self.state = State::Ready(head);
                return Ok(Commit::Lost(found));
            }
            Err(e) => {
                if journal::definite(&e) {
                    window.disown();
                }
                return Err(e);
            }
        };
        failpoint!("files.after_record");
        // Decided. Whatever fails from here on, recover finishes it.
        let unknown = |e: SinkError| match e.reaction {
            Reaction::Person => e,
            _ => SinkError::unknown(format!("record {} is put, its files are not in place yet: {e}", record.n)),
        };
        self.journal.check_floor(record.n).await?;
        self.journal.complete(&record).await.map_err(unknown)?;
        failpoint!("files.after_rename");
        if record.n % self.checkpoint_every == 0
            && let Err(e) = self.journal.compact(record.n, &before).await
        {
            tracing::warn!(job = self.journal.layout.job(), error = %e, "cannot compact the files' log; it is tried again later");
        }
        self.state = State::Ready(Head::after(&record));
        Ok(Commit::Landed(Receipt {
            rows: record.rows,
            bytes: record.bytes,
            files: record.files.len() as u64,
            id: record.n.to_string(),
        }))
    }
}

/// What the log says to a commit.
enum Decided {
    Landed { before: Head, record: Record },
    Lost(Head),
}

#[async_trait]
impl Sink for FilesSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        self.sink_id = Some(self.journal.identity().await?);
        failpoint!("files.in_recover");
        let head = self.fence().await?;
        let swept = self.journal.sweep().await?;
        if swept > 0 {
            tracing::info!(job = self.journal.layout.job(), files = swept, "removed staged files of earlier runs");
        }
        let positions = head.positions.clone();
        self.state = State::Ready(head);
        Ok(positions)
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        Ok(Box::new(FileStaging::start(self.shared.clone(), self.journal.clock.clone())))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let window = match staged {
            None => Window::empty(self.journal.store.clone()),
            Some(staged) => match staged.payload.downcast::<Window>() {
                Ok(window) => *window,
                Err(_) => return Err(SinkError::bug("a window of another sink")),
            },
        };
        self.commit_window(window, ranges).await
    }

    fn identity(&self) -> Option<String> {
        self.sink_id.map(|id| id.to_string())
    }
}

/// A job's log as it is on a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The newest checkpoint, if any.
    pub checkpoint: Option<Checkpoint>,
    /// The records that count, from the checkpoint's floor on, in order.
    pub records: Vec<Record>,
}

impl Log {
    /// Positions after the newest record.
    #[must_use]
    pub fn positions(&self) -> Positions {
        match (self.records.last(), &self.checkpoint) {
            (Some(record), _) => record.positions.clone(),
            (None, Some(checkpoint)) => checkpoint.positions.clone(),
            (None, None) => Positions::default(),
        }
    }

    /// Checks every record against the one before it; see [`log::fold`].
    pub fn verify(&self) -> Result<Head, String> {
        log::fold(self.checkpoint.as_ref(), &self.records)
    }
}

/// Reads a job's log without changing anything: all records from the floor on, also behind one that is missing (see
/// [`Log::verify`]).
pub async fn read_log(store: &dyn Store, job: &str) -> Result<Log, SinkError> {
    layout::check_name("job", job)?;
    let checkpoint = journal::newest_checkpoint(store, job).await?;
    let floor = checkpoint.as_ref().map_or(1, |c| c.floor);
    let numbers = journal::numbers(store, job, floor).await?;
    let mut records = Vec::with_capacity(numbers.len());
    for n in numbers {
        // One that is gone again was below a floor that is newer than the one we know.
        records.extend(journal::read_record(store, job, n).await?);
    }
    Ok(Log { checkpoint, records })
}

/// A store's error as a sink's.
fn sink_error(error: StoreError) -> SinkError {
    SinkError::new(journal::reaction(error.fault), error.message)
}
