//! A window's rows on their way into staged files: one encoder thread a window, behind a short queue.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use parquet::file::metadata::ParquetMetaData;
use tidemill_engine::clock::Clock;
use tidemill_engine::failpoint;
use tidemill_engine::sink::{Reaction, SinkError, Staged, Staging};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::encode::{Counted, EncodeError, Encoder, Trouble};
use super::held::Held;
use super::learned::Learned;
use super::partition::Partitioner;
use super::store::{Fault, Store, StoreError};
use super::{FileFormat, sink_error};

/// Batches that wait for the encoder: one to work on next, so that neither side waits long for the other.
const QUEUE: usize = 2;

/// Makes the name of a new file from the folder its rows belong to (`""`: the root).
pub type NameFile = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// What all windows of a sink share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    /// Stands in the files' metadata.
    pub(super) job: String,
    pub(super) name_file: NameFile,
    pub(super) format: FileFormat,
    pub(super) partitioner: Partitioner,
    /// Whether a window keeps the footers of its files.
    pub(super) keep_footers: bool,
    /// Columns are cast to these types first; `None`: they have them.
    pub(super) cast_to: Option<SchemaRef>,
    pub(super) file_size: u64,
    pub(super) open_files: usize,
    /// Bytes that all encoders may hold together, and do hold.
    pub(super) memory: usize,
    pub(super) held: Held,
    /// What its Parquet files have taught.
    pub(super) learned: Arc<Learned>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("store", &self.store).field("format", &self.format).finish_non_exhaustive()
    }
}

/// A file of a window, complete and durable.
#[derive(Debug)]
pub struct StagedFile {
    /// Its name in the store.
    pub staged: String,
    /// The folder its rows belong to (`country=NL`), `""` for the root.
    pub folder: String,
    /// The values of the partition columns: one row, one column for each; `None` without partition columns.
    pub values: Option<RecordBatch>,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The footer of a data file for a table format.
    pub footer: Option<Arc<ParquetMetaData>>,
}

/// A sealed window. Dropped without [`keep`](Window::keep) = its files are deleted.
#[derive(Debug)]
pub struct Window {
    /// Names it; it stands in the metadata of its files.
    pub token: Uuid,
    /// Its files.
    pub files: Vec<StagedFile>,
    /// When it was begun, by the wall clock in ms.
    pub begun_ms: i64,
    store: Arc<dyn Store>,
    owned: bool,
}

impl Window {
    /// A window without rows.
    #[must_use]
    pub fn empty(store: Arc<dyn Store>) -> Self {
        Self { token: Uuid::new_v4(), files: Vec::new(), begun_ms: 0, store, owned: false }
    }

    /// From here on a commit may name its files: nobody but the sink's log decides about them.
    pub fn keep(&mut self) {
        self.owned = false;
    }

    /// The commit will never be: the files go with this.
    pub fn disown(&mut self) {
        self.owned = true;
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.owned && !self.files.is_empty() {
            self.store.discard(self.files.iter().map(|f| f.staged.clone()).collect());
        }
    }
}

enum Message {
    Rows(RecordBatch),
    Seal,
}

/// The async end of a window being written.
pub(super) struct FileStaging {
    queue: Option<mpsc::Sender<Message>>,
    encoder: Option<JoinHandle<Result<Window, SinkError>>>,
}

impl FileStaging {
    /// Starts the encoder thread.
    pub(super) fn start(shared: Arc<Shared>, clock: Clock) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let encoder = tokio::task::spawn_blocking(move || encode(shared, clock.wall_ms(), messages));
        Self { queue: Some(queue), encoder: Some(encoder) }
    }

    async fn outcome(&mut self) -> Result<Window, SinkError> {
        self.queue = None;
        match self.encoder.take() {
            Some(encoder) => encoder.await.unwrap_or_else(|e| Err(SinkError::bug(format!("the encoder died: {e}")))),
            None => Err(SinkError::bug("a window was written to after it failed")),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), SinkError> {
        if let Some(queue) = &self.queue
            && queue.send(message).await.is_ok()
        {
            return Ok(());
        }
        // The encoder hangs up only when it failed.
        match self.outcome().await {
            Err(e) => Err(e),
            Ok(_) => Err(SinkError::bug("the encoder stopped early")),
        }
    }
}

#[async_trait]
impl Staging for FileStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        self.send(Message::Rows(rows)).await
    }

    async fn seal(mut self: Box<Self>) -> Result<Staged, SinkError> {
        self.send(Message::Seal).await?;
        let window = self.outcome().await?;
        for folder in window.folders() {
            window.store.sync_folder(folder).await.map_err(sink_error)?;
        }
        failpoint!("files.after_seal");
        Ok(Staged {
            rows: window.files.iter().map(|f| f.rows).sum(),
            bytes: window.files.iter().map(|f| f.bytes).sum(),
            files: window.files.len() as u64,
            payload: Box::new(window),
        })
    }
}

impl Window {
    /// The folders that hold its files.
    fn folders(&self) -> BTreeSet<&str> {
        self.files.iter().map(|f| f.staged.rsplit_once('/').map_or("", |(folder, _)| folder)).collect()
    }
}

/// The encoder thread. The queue closing without a seal means that the window is aborted.
fn encode(shared: Arc<Shared>, begun_ms: i64, mut messages: mpsc::Receiver<Message>) -> Result<Window, SinkError> {
    let mut files = Files::new(shared, begun_ms);
    loop {
        match messages.blocking_recv() {
            Some(Message::Rows(rows)) => files.write(rows)?,
            Some(Message::Seal) => return files.seal(),
            None => return Err(SinkError::retry("the window was aborted")),
        }
    }
}

struct OpenFile {
    staged: String,
    values: Option<RecordBatch>,
    trouble: Trouble,
    encoder: Box<dyn Encoder>,
    rows: u64,
    memory: usize,
    used: u64,
}

/// The files of one window.
struct Files {
    shared: Arc<Shared>,
    window: Window,
    open: HashMap<String, OpenFile>,
    /// This window's part of [`Shared::held`].
    memory: usize,
    uses: u64,
}

impl Files {
    fn new(shared: Arc<Shared>, begun_ms: i64) -> Self {
        let mut window = Window::empty(shared.store.clone());
        (window.begun_ms, window.owned) = (begun_ms, true);
        Self { shared, window, open: HashMap::new(), memory: 0, uses: 0 }
    }

    fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let rows = match &shared.cast_to {
            Some(schema) => conform(&rows, schema)?,
            None => rows,
        };
        for part in shared.partitioner.split(&rows)? {
            let values = || shared.partitioner.values(&rows, part.first);
            self.write_to(part.folder, &part.rows, values)?;
        }
        Ok(())
    }

    fn write_to(
        &mut self,
        folder: String,
        rows: &RecordBatch,
        values: impl FnOnce() -> Result<Option<RecordBatch>, SinkError>,
    ) -> Result<(), SinkError> {
        if !self.open.contains_key(&folder) {
            if self.open.len() >= self.shared.open_files
                && let Some(oldest) = self.open.iter().min_by_key(|(_, f)| f.used).map(|(folder, _)| folder.clone())
            {
                self.close(&oldest)?;
            }
            let file = self.create(&folder, values()?)?;
            self.open.insert(folder.clone(), file);
        }
        self.uses += 1;
        let Some(file) = self.open.get_mut(&folder) else { return Err(SinkError::bug("an open file is gone")) };
        file.used = self.uses;
        file.encoder.write(rows).map_err(|e| encode_error(&self.shared, &file.staged, &file.trouble, e))?;
        file.rows += rows.num_rows() as u64;
        failpoint!("files.mid_write");
        let full = file.encoder.size() >= self.shared.file_size;
        self.account(&folder);
        if full {
            self.close(&folder)?;
        }
        self.relieve()
    }

    fn create(&self, folder: &str, values: Option<RecordBatch>) -> Result<OpenFile, SinkError> {
        let staged = (self.shared.name_file)(folder);
        let file = Counted::new(self.shared.store.create(&staged).map_err(sink_error)?);
        let trouble = file.trouble.clone();
        failpoint!("files.staged_open");
        let encoder = self
            .shared
            .format
            .encoder(self.shared.partitioner.schema(), file, &self.shared.job, self.window.token, &self.shared.learned)
            .map_err(|e| encode_error(&self.shared, &staged, &trouble, e))?;
        Ok(OpenFile { staged, values, trouble, encoder, rows: 0, memory: 0, used: 0 })
    }

    /// Brings the account of a file's memory up to date.
    fn account(&mut self, folder: &str) {
        if let Some(file) = self.open.get_mut(folder) {
            let now = file.encoder.memory();
            self.shared.held.change(file.memory, now);
            self.memory = self.memory + now - file.memory;
            file.memory = now;
        }
    }

    /// Gives up memory while the encoders hold too much: the largest row groups first, then whole files. A window that
    /// holds little leaves that to the one that holds much.
    fn relieve(&mut self) -> Result<(), SinkError> {
        while self.shared.held.bytes() > self.shared.memory && self.memory > self.shared.memory / 4 {
            let Some(folder) = self.open.iter().max_by_key(|(_, f)| f.memory).map(|(folder, _)| folder.clone()) else {
                break;
            };
            let Some(file) = self.open.get_mut(&folder) else { break };
            let before = file.memory;
            file.encoder.flush().map_err(|e| encode_error(&self.shared, &file.staged, &file.trouble, e))?;
            self.account(&folder);
            if self.open.get(&folder).is_some_and(|f| f.memory > before / 2) {
                self.close(&folder)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, folder: &str) -> Result<(), SinkError> {
        let Some(file) = self.open.remove(folder) else { return Ok(()) };
        self.shared.held.change(file.memory, 0);
        self.memory -= file.memory;
        let finished = file.encoder.finish().map_err(|e| encode_error(&self.shared, &file.staged, &file.trouble, e))?;
        let bytes = finished.file.bytes;
        let durable = finished.file.file.finish();
        durable.map_err(|e| encode_error(&self.shared, &file.staged, &file.trouble, EncodeError::Io(e)))?;
        self.window.files.push(StagedFile {
            staged: file.staged,
            folder: folder.to_owned(),
            values: file.values,
            rows: file.rows,
            bytes,
            footer: finished.footer.filter(|_| self.shared.keep_footers),
        });
        Ok(())
    }

    fn seal(mut self) -> Result<Window, SinkError> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort_unstable();
        for folder in folders {
            self.close(&folder)?;
        }
        let empty = Window::empty(self.shared.store.clone());
        Ok(std::mem::replace(&mut self.window, empty))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.shared.held.change(self.memory, 0);
    }
}

/// Casts the columns, in their order, to the types of `schema`. What does not fit is a bad row.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SinkError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let refused = |name: &str, e: ArrowError| SinkError::new(Reaction::BadRow, format!("column `{name}`: {e}"));
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (column, field) in rows.columns().iter().zip(schema.fields()) {
        columns.push(match column.data_type() == field.data_type() {
            true => column.clone(),
            false => cast_with_options(column, field.data_type(), &options).map_err(|e| refused(field.name(), e))?,
        });
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| SinkError::new(Reaction::BadRow, e.to_string()))
}

fn encode_error(shared: &Shared, staged: &str, trouble: &Trouble, error: EncodeError) -> SinkError {
    let place = shared.store.place();
    let error = trouble.get().map_or(error, |e| EncodeError::Io(io::Error::other(e.clone())));
    match error {
        EncodeError::Io(e) => sink_error(StoreError::new(Fault::Failed, format!("cannot write {place}/{staged}: {e}"))),
        EncodeError::Rows(e) => SinkError::bug(format!("cannot encode rows for {place}/{staged}: {e}")),
    }
}
