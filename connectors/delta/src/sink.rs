//! The sink: starts from the table's newest version, and puts the next one if its positions allow it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use rand::Rng;
use serde_json::json;
use tidemill_connectors::files::data::{DataFiles, DataFilesOptions};
use tidemill_connectors::files::store::{Fault, Put};
use tidemill_connectors::files::{ParquetOptions, Window};
use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::failpoint::compare_is_off;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{self, Delivery, Reaction, Receipt, Sink, SinkError, Staged, Staging};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::actions::{self, Commit, Line, Mark, Metadata};
use super::names::{self, LOG};
use super::place::DeltaPlace;
use super::reader::{Reader, sink_error};
use super::schema::{self, Plan, SchemaEvolution};
use super::state::TableState;
use super::{add, checkpoint, protocol};

/// Commits of others that one commit works through before it gives up and lets the run start again.
const MAX_CLASHES: u32 = 100;
/// Times that a version which exists is looked for, when it cannot be read yet.
const MAX_LOOKS: u32 = 5;
/// Data files older than this may have been taken for garbage by a VACUUM (7 days by default): they are not committed.
const STALE_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// A run that knows nothing newer than this looks whether the log still has its place before it puts a version.
const LOOK_AFTER: Duration = Duration::from_secs(60);

/// Everything a [`DeltaSink`] is made of.
#[derive(Clone, Debug)]
pub struct DeltaOptions {
    /// The job: its positions are kept under this name. Several jobs may write to one table.
    pub job: String,
    /// The daemon's instance; stands in the table's history.
    pub instance: String,
    /// Where the table is.
    pub place: DeltaPlace,
    /// Schema of the rows that will be written.
    pub schema: SchemaRef,
    /// Partition columns of a table that is created; empty: none, or those of the table there is.
    pub partition_by: Vec<String>,
    /// What happens when the rows have columns that the table has not.
    pub evolution: SchemaEvolution,
    /// Form of the data files.
    pub parquet: ParquetOptions,
    /// A file that reaches this many bytes is closed and the next one begun; at most 4 GiB.
    pub file_size: u64,
    /// Files open at once; the least recently used one is closed for another. 64 unless there is a reason.
    pub open_files: usize,
    /// Bytes that the encoders of all open windows may hold together.
    pub memory: usize,
    /// A checkpoint is written every so many versions; `None`: as often as the table says, else every 100.
    pub checkpoint_every: Option<u64>,
    /// The clock.
    pub clock: Clock,
}

impl DeltaOptions {
    /// Default settings.
    #[must_use]
    pub fn new(job: &str, instance: &str, place: DeltaPlace, schema: SchemaRef, clock: Clock) -> Self {
        Self {
            job: job.to_owned(),
            instance: instance.to_owned(),
            place,
            schema,
            partition_by: Vec::new(),
            evolution: SchemaEvolution::Strict,
            parquet: ParquetOptions::default(),
            file_size: 256 << 20,
            open_files: 64,
            memory: 64 << 20,
            checkpoint_every: None,
            clock,
        }
    }
}

/// A Delta table as a sink.
#[derive(Debug)]
pub struct DeltaSink {
    options: DeltaOptions,
    reader: Reader,
    stage: Stage,
    /// The last checkpoint's writer, perhaps still at work.
    checkpoint: Option<JoinHandle<()>>,
    /// A checkpoint was due while another was being written.
    behind: bool,
}

#[derive(Debug)]
enum Stage {
    /// `recover` has not been called.
    New,
    /// The newest version we know, and how rows are written to it.
    Ready(Box<Ready>),
    /// A commit was left with an unknown outcome, or undone: only a new sink can go on.
    Over,
}

#[derive(Debug)]
struct Ready {
    state: TableState,
    /// When that was the newest.
    known_at: Duration,
    table: Table,
    files: DataFiles,
}

/// The table that was planned for.
#[derive(Clone, Debug)]
struct Table {
    metadata: Metadata,
    plan: Plan,
}

/// What came of putting a version.
enum Outcome {
    Landed,
    /// This commit of somebody else has its version.
    Taken(Commit),
}

/// What the log says to a commit.
enum Decided {
    Landed(TableState),
    Lost(TableState),
}

impl DeltaSink {
    /// What it guarantees.
    pub const DELIVERY: Delivery = Delivery::ExactlyOnce;

    /// Touches nothing.
    ///
    /// # Errors
    /// When no Delta table can hold rows of the schema.
    pub fn new(options: DeltaOptions) -> Result<Self, SinkError> {
        check(&options.schema, &options.partition_by)?;
        let reader = Reader { place: options.place.clone(), job: options.job.clone() };
        Ok(Self { options, reader, stage: Stage::New, checkpoint: None, behind: false })
    }

    fn place(&self) -> String {
        self.options.place.store.place()
    }

    /// The table as it is, created where there is none.
    async fn table(&self) -> Result<TableState, SinkError> {
        if let Some(state) = self.reader.newest().await? {
            return Ok(state);
        }
        let now_ms = self.options.clock.wall_ms();
        let (protocol, metadata) = schema::create(&self.options.schema, &self.options.partition_by, now_ms)?;
        let info = json!({
            "timestamp": now_ms,
            "operation": "CREATE TABLE",
            "operationParameters": {},
            "isBlindAppend": true,
            "engineInfo": engine_info(),
        });
        let lines = vec![
            Line { commit_info: Some(info), ..Line::default() },
            Line { protocol: Some(protocol), ..Line::default() },
            Line { meta_data: Some(metadata), ..Line::default() },
        ];
        failpoint!("delta.before_create");
        // Two that create it at once: one does, both read it.
        let (name, bytes) = (names::commit(0), Commit { lines }.encode()?);
        self.options.place.store.put_if_absent(&name, bytes.into(), &scratch()).await.map_err(sink_error)?;
        failpoint!("delta.after_create");
        let state = self.reader.newest().await?;
        state.ok_or_else(|| SinkError::retry(format!("{} was created and cannot be found", self.place())))
    }

    /// Checks that this sink may write to the table, and how.
    fn plan(&self, state: &TableState, evolution: SchemaEvolution) -> Result<Table, SinkError> {
        let place = self.place();
        let (Some(protocol), Some(metadata)) = (&state.protocol, &state.metadata) else {
            return Err(SinkError::person(format!("the log of {place} names no protocol or no schema: it is damaged")));
        };
        protocol::check(&place, protocol, metadata)?;
        let plan = schema::plan(&place, &self.options.schema, &self.options.partition_by, evolution, metadata)?;
        Ok(Table { metadata: metadata.clone(), plan })
    }

    /// Adds the columns that the table has not, in a commit of its own.
    async fn evolve(&self, mut state: TableState) -> Result<(TableState, Table), SinkError> {
        for _ in 0..MAX_CLASHES {
            let table = self.plan(&state, self.options.evolution)?;
            let Some(metadata) = table.plan.evolved.clone() else { return Ok((state, table)) };
            let token = Uuid::new_v4();
            let info = json!({
                "timestamp": self.options.clock.wall_ms(),
                "operation": "ADD COLUMNS",
                "operationParameters": {},
                "isBlindAppend": true,
                "engineInfo": engine_info(),
                "tidemill": self.mark(token, &OffsetRanges::default(), 0),
            });
            let lines = vec![
                Line { commit_info: Some(info), ..Line::default() },
                Line { meta_data: Some(metadata), ..Line::default() },
            ];
            let commit = Commit { lines };
            failpoint!("delta.before_evolve");
            let version = state.version + 1;
            let lines = match self.put(version, &commit, token).await? {
                Outcome::Landed => commit.lines,
                Outcome::Taken(other) => other.lines,
            };
            state.apply(&lines);
            state.version = version;
        }
        Err(SinkError::retry(format!("others made {MAX_CLASHES} commits while this run wanted to add columns")))
    }

    fn mark(&self, token: Uuid, ranges: &OffsetRanges, rows: u64) -> Mark {
        let (job, instance) = (self.options.job.clone(), self.options.instance.clone());
        Mark { v: actions::VERSION, token, job, instance, ranges: ranges.clone(), rows }
    }

    /// The commit of a window on top of `state`.
    fn commit_of(
        &self,
        state: &TableState,
        table: &Table,
        window: &Window,
        ranges: &OffsetRanges,
    ) -> Result<Commit, SinkError> {
        let now_ms = self.options.clock.wall_ms();
        let rows = window.files.iter().map(|f| f.rows).sum();
        let bytes: u64 = window.files.iter().map(|f| f.bytes).sum();
        let info = json!({
            "timestamp": now_ms,
            "operation": "WRITE",
            "operationParameters": {
                "mode": "Append",
                "partitionBy": serde_json::to_string(&table.metadata.partition_columns).unwrap_or_default(),
            },
            "readVersion": state.version,
            "isBlindAppend": true,
            "engineInfo": engine_info(),
            "operationMetrics": {
                "numFiles": window.files.len().to_string(),
                "numOutputRows": u64::to_string(&rows),
                "numOutputBytes": bytes.to_string(),
            },
            "txnId": window.token.to_string(),
            "tidemill": self.mark(window.token, ranges, rows),
        });
        let mut lines = vec![Line { commit_info: Some(info), ..Line::default() }];
        let txns = state.moves(ranges, now_ms).into_iter();
        lines.extend(txns.map(|txn| Line { txn: Some(txn), ..Line::default() }));
        for file in &window.files {
            lines.push(Line { add: Some(add::action(file, &table.metadata, now_ms)?), ..Line::default() });
        }
        Ok(Commit { lines })
    }

    /// Puts `commit` as `version`, unless it is taken. An error with [`Reaction::Unknown`] means that it may be there.
    async fn put(&self, version: u64, commit: &Commit, token: Uuid) -> Result<Outcome, SinkError> {
        let name = names::commit(version);
        let bytes = commit.encode()?;
        let mut pause = Duration::from_millis(10);
        for look in 0..MAX_LOOKS {
            let put = self.options.place.store.put_if_absent(&name, bytes.clone().into(), &scratch()).await;
            let lost = match put {
                Ok(Put::Created) => return self.landed(version).await,
                Ok(Put::Exists) => None,
                Err(e) if e.fault == Fault::Unknown => Some(sink_error(e)),
                // The conflict before this one may have been with an attempt of our own.
                Err(e) if look > 0 => return Err(SinkError::unknown(e.message)),
                Err(e) => return Err(sink_error(e)),
            };
            // It may be our own first attempt, somebody else's commit, or (object stores) a conflict that wrote nothing.
            match self.reader.commit(version).await {
                Ok(Some(found)) if found.mark().is_some_and(|mark| mark.token == token) => {
                    return self.landed(version).await;
                }
                // Whatever of ours is still on its way meets a name that is taken.
                Ok(Some(found)) => return Ok(Outcome::Taken(found)),
                Ok(None) if lost.is_none() => {}
                // An attempt without an answer may land at any later time.
                Ok(None) => return Err(lost.unwrap_or_else(|| SinkError::unknown(""))),
                Err(e) => return Err(SinkError::unknown(lost.map_or(e.message, |lost| lost.message))),
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        Err(SinkError::unknown(format!("{} exists and cannot be read", self.reader.at(&name))))
    }

    /// A version that was created counts, unless its name was free because the log had been tidied beyond it.
    async fn landed(&self, version: u64) -> Result<Outcome, SinkError> {
        match self.reader.is_past(version).await {
            Ok(false) => Ok(Outcome::Landed),
            Ok(true) => Err(SinkError::unknown(self.was_late(version))),
            Err(e) => Err(SinkError::unknown(e.message)),
        }
    }

    fn was_late(&self, version: u64) -> String {
        format!("the log of {} has gone past version {version} and was tidied there: starting again", self.place())
    }

    /// Commits a window on top of whatever is newest.
    async fn decide(&self, ready: &mut Ready, window: &Window, ranges: &OffsetRanges) -> Result<Decided, SinkError> {
        let mut state = ready.state.clone();
        for clash in 0..MAX_CLASHES {
            let version = state.version + 1;
            if !compare_is_off() && !ranges.continue_from(&state.positions()) {
                // What we know may be old: the answer has to be the truth.
                match self.reader.commit(version).await? {
                    Some(newer) => self.pass(ready, &mut state, &newer)?,
                    None => return Ok(Decided::Lost(state)),
                }
                continue;
            }
            let commit = self.commit_of(&state, &ready.table, window, ranges)?;
            failpoint!("delta.before_commit");
            match self.put(version, &commit, window.token).await? {
                Outcome::Landed => {
                    state.apply(&commit.lines);
                    state.version = version;
                    return Ok(Decided::Landed(state));
                }
                Outcome::Taken(newer) => self.pass(ready, &mut state, &newer)?,
            }
            // Several writers that clash step out of each other's way.
            let most = 5u64 << clash.min(6);
            let pause = rand::rng().random_range(0..=most);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Err(SinkError::retry(format!("others made {MAX_CLASHES} commits while this window wanted to land")))
    }

    /// Goes past a commit of somebody else. A table that it changed has to take the files as they are.
    fn pass(&self, ready: &mut Ready, state: &mut TableState, newer: &Commit) -> Result<(), SinkError> {
        state.apply(&newer.lines);
        state.version += 1;
        let changed = newer.lines.iter().any(|line| line.protocol.is_some() || line.meta_data.is_some());
        if !changed {
            return Ok(());
        }
        let table = self.plan(state, SchemaEvolution::Strict)?;
        if table.metadata.id != ready.table.metadata.id || table.plan != ready.table.plan {
            return Err(SinkError::retry(format!(
                "the schema of {} has changed: the window is read again",
                self.place()
            )));
        }
        ready.table = table;
        Ok(())
    }

    async fn commit_window(&mut self, mut window: Window, ranges: &OffsetRanges) -> Result<sink::Commit, SinkError> {
        let mut ready = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Ready(ready) => ready,
            Stage::New => return Err(SinkError::bug("commit before recover")),
            Stage::Over => return Err(SinkError::retry("an earlier commit failed: a new sink has to recover")),
        };
        if !window.files.is_empty() && self.options.clock.wall_ms().saturating_sub(window.begun_ms) > STALE_MS {
            return Err(SinkError::retry("the window was begun days ago: its files may be gone, it is read again"));
        }
        let version = ready.state.version + 1;
        if self.options.clock.now().saturating_sub(ready.known_at) > LOOK_AFTER && self.reader.is_past(version).await? {
            return Err(SinkError::retry(self.was_late(version)));
        }
        // Should this future be dropped half-way, nobody knows whether a commit names the files: they stay.
        window.keep();
        let known_at = self.options.clock.now();
        match self.decide(&mut ready, &window, ranges).await {
            Ok(Decided::Landed(state)) => {
                failpoint!("delta.after_commit");
                self.checkpoint_if_due(&state, &ready.table.metadata);
                let receipt = Receipt {
                    rows: window.files.iter().map(|f| f.rows).sum(),
                    bytes: window.files.iter().map(|f| f.bytes).sum(),
                    files: window.files.len() as u64,
                    id: state.version.to_string(),
                };
                (ready.state, ready.known_at) = (state, known_at);
                self.stage = Stage::Ready(ready);
                Ok(sink::Commit::Landed(receipt))
            }
            Ok(Decided::Lost(state)) => {
                window.disown();
                let found = ranges.found_in(&state.positions());
                ready.state = state;
                self.stage = Stage::Ready(ready);
                Ok(sink::Commit::Lost(found))
            }
            Err(e) => {
                if e.reaction != Reaction::Unknown {
                    window.disown();
                }
                Err(e)
            }
        }
    }

    /// Beside the windows that follow, and one at a time: a large table's checkpoint takes a while.
    fn checkpoint_if_due(&mut self, state: &TableState, metadata: &Metadata) {
        self.behind |= checkpoint::is_due(state.version, self.options.checkpoint_every, metadata);
        let busy = self.checkpoint.as_ref().is_some_and(|writer| !writer.is_finished());
        if self.behind && !busy {
            self.behind = false;
            let (place, now_ms) = (self.options.place.clone(), self.options.clock.wall_ms());
            self.checkpoint = Some(tokio::spawn(checkpoint::write(place, state.version, metadata.clone(), now_ms)));
        }
    }
}

#[async_trait]
impl Sink for DeltaSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        failpoint!("delta.in_recover");
        let known_at = self.options.clock.now();
        let state = self.table().await?;
        let (state, table) = self.evolve(state).await?;
        let options = &self.options;
        let files = DataFiles::new(DataFilesOptions {
            job: options.job.clone(),
            store: options.place.store.clone(),
            name_file: Arc::new(data_file),
            schema: table.plan.target.clone(),
            partition_by: table.plan.partition_by.clone(),
            parquet: options.parquet.clone(),
            file_size: options.file_size,
            open_files: options.open_files,
            memory: options.memory,
            clock: options.clock.clone(),
        })?;
        let positions = state.positions();
        self.stage = Stage::Ready(Box::new(Ready { state, known_at, table, files }));
        Ok(positions)
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        match &self.stage {
            Stage::Ready(ready) => Ok(ready.files.open()),
            Stage::New => Err(SinkError::bug("open before recover")),
            Stage::Over => Err(SinkError::retry("an earlier commit failed: a new sink has to recover")),
        }
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<sink::Commit, SinkError> {
        let window = match staged {
            None => Window::empty(self.options.place.store.clone()),
            Some(staged) => match staged.payload.downcast::<Window>() {
                Ok(window) => *window,
                Err(_) => return Err(SinkError::bug("a window of another sink")),
            },
        };
        self.commit_window(window, ranges).await
    }

    fn identity(&self) -> Option<String> {
        match &self.stage {
            Stage::Ready(ready) => Some(ready.table.metadata.id.clone()),
            Stage::New | Stage::Over => None,
        }
    }
}

/// Checks that a Delta table can hold rows of `schema`, partitioned by these columns.
///
/// # Errors
/// What is wrong, with the column.
pub fn check(schema: &SchemaRef, partition_by: &[String]) -> Result<(), SinkError> {
    let (_, metadata) = schema::create(schema, partition_by, 0)?;
    let plan = schema::plan("", schema, partition_by, SchemaEvolution::Strict, &metadata)?;
    let partitioner = tidemill_connectors::files::Partitioner::new(&plan.target, partition_by)?;
    tidemill_connectors::files::FileFormat::Parquet(ParquetOptions::default()).check(partitioner.schema())
}

fn engine_info() -> &'static str {
    concat!("tidemill/", env!("CARGO_PKG_VERSION"))
}

/// A new data file's name in its folder.
fn data_file(folder: &str) -> String {
    let name = format!("part-{}.parquet", Uuid::new_v4());
    if folder.is_empty() { name } else { format!("{folder}/{name}") }
}

/// A name for a commit on its way, on a disk: readers pass over names with a dot.
fn scratch() -> String {
    format!("{LOG}/.tidemill-{}.tmp", Uuid::new_v4().simple())
}
