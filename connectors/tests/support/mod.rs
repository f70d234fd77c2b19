//! What the tests of the files sink share: a store that fails on order, and a reader that knows nothing of the log.

#![allow(dead_code)] // each test binary uses a part of it

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidemill_connectors::files::store::{Entry, Fault, Move, Put, Store, StoreError, StoreFile};
use tidemill_engine::testkit::{Key, keys};

/// How an operation of a [`FaultyStore`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Before it did anything.
    Before,
    /// Half-way, where there is such a thing, else before.
    Half,
    /// After it did everything.
    After,
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    crash_at: Option<(u64, How)>,
    fail_at: Option<(u64, How)>,
    crashed: bool,
    lose_answer: Option<bool>,
    /// With the answer the line goes down.
    with_line: bool,
    down: bool,
    repeat_put: bool,
    fail_next: Option<&'static str>,
}

/// A store whose operations fail on order. After a *crash* every later operation fails too, without effect, as if
/// the process were gone; after a *failure* they work again.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// The same store without faults.
    pub fn fresh(&self) -> Self {
        Self::new(self.inner.clone())
    }

    /// The `k`-th operation from now on is the last.
    pub fn crash_at(&self, k: u64, how: How) {
        let mut state = self.state.lock().unwrap();
        state.operations = 0;
        state.crash_at = Some((k, how));
    }

    /// The `k`-th operation from now on fails.
    pub fn fail_at(&self, k: u64, how: How) {
        let mut state = self.state.lock().unwrap();
        state.operations = 0;
        state.fail_at = Some((k, how));
    }

    /// The next put of a record has no answer.
    pub fn lose_answer(&self, landed: bool) {
        self.state.lock().unwrap().lose_answer = Some(landed);
    }

    /// The next put of a record has no answer, and nothing gets through after it until [`Self::reconnect`].
    pub fn lose_line(&self, landed: bool) {
        let mut state = self.state.lock().unwrap();
        (state.lose_answer, state.with_line) = (Some(landed), true);
    }

    /// Requests get through again.
    pub fn reconnect(&self) {
        let mut state = self.state.lock().unwrap();
        (state.with_line, state.down) = (false, false);
    }

    /// The next put of a record is made twice, as an object store's client does when an answer got lost.
    pub fn repeat_put(&self) {
        self.state.lock().unwrap().repeat_put = true;
    }

    /// The next operation of this kind fails before it does anything.
    pub fn fail_next(&self, what: &'static str) {
        self.state.lock().unwrap().fail_next = Some(what);
    }

    pub fn crashed(&self) -> bool {
        self.state.lock().unwrap().crashed
    }

    /// Whether the ordered fault came about.
    pub fn came(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.crash_at.or(state.fail_at).is_none_or(|(k, _)| state.operations >= k)
    }

    /// `Ok(None)`: go on. `Ok(Some(how))`: fail this one so. `Err`: fail at once.
    fn step(&self, what: &str) -> Result<Option<How>, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Err(StoreError::new(Fault::Unknown, format!("{what}: the line is down")));
        }
        if state.crashed {
            return Err(StoreError::new(Fault::Unknown, format!("{what}: the process is gone")));
        }
        if state.fail_next.is_some_and(|kind| kind == what) {
            state.fail_next = None;
            return Ok(Some(How::Before));
        }
        state.operations += 1;
        let now = state.operations;
        let due = |at: Option<(u64, How)>| at.filter(|(k, _)| *k == now).map(|(_, how)| how);
        if let Some(how) = due(state.crash_at) {
            state.crashed = true;
            return Ok(Some(how));
        }
        Ok(due(state.fail_at))
    }

    fn error(what: &str, how: How) -> StoreError {
        let fault = if how == How::Before { Fault::Failed } else { Fault::Unknown };
        StoreError::new(fault, format!("{what}: injected {how:?}"))
    }
}

/// A record of the files' log, or a commit of a Delta log.
fn is_record(name: &str) -> bool {
    name.contains("/log/") || name.contains("_delta_log/")
}

#[async_trait]
impl Store for FaultyStore {
    fn place(&self) -> String {
        self.inner.place()
    }

    async fn put_if_absent(&self, name: &str, bytes: Bytes, scratch: &str) -> Result<Put, StoreError> {
        let lose = if is_record(name) { self.state.lock().unwrap().lose_answer.take() } else { None };
        if let Some(landed) = lose {
            if landed {
                self.inner.put_if_absent(name, bytes, scratch).await?;
            }
            let mut state = self.state.lock().unwrap();
            state.down = state.with_line;
            drop(state);
            return Err(StoreError::new(Fault::Unknown, "put: injected, the answer was lost"));
        }
        if is_record(name) && std::mem::take(&mut self.state.lock().unwrap().repeat_put) {
            self.inner.put_if_absent(name, bytes.clone(), scratch).await?;
        }
        match self.step("put")? {
            None => self.inner.put_if_absent(name, bytes, scratch).await,
            Some(How::After) => {
                self.inner.put_if_absent(name, bytes, scratch).await?;
                Err(Self::error("put", How::After))
            }
            // Half: the temporary file is left behind.
            Some(How::Half) => {
                self.inner.put_if_absent(scratch, bytes, &format!("{scratch}2")).await?;
                Err(Self::error("put", How::Before))
            }
            Some(how) => Err(Self::error("put", how)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match self.step("get")? {
            None => self.inner.get(name).await,
            Some(_) => Err(Self::error("get", How::Before)),
        }
    }

    async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        match self.step("list")? {
            None => self.inner.list(folder, after, limit).await,
            Some(_) => Err(Self::error("list", How::Before)),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn StoreFile>, StoreError> {
        match self.step("create")? {
            None => Ok(Box::new(FaultyFile { inner: Some(self.inner.create(name)?), store: self.clone() })),
            Some(How::Before) => Err(Self::error("create", How::Before)),
            Some(how) => {
                let file = self.inner.create(name)?;
                if self.crashed() {
                    std::mem::forget(file);
                }
                Err(Self::error("create", how))
            }
        }
    }

    async fn sync_folder(&self, folder: &str) -> Result<(), StoreError> {
        match self.step("sync")? {
            None => self.inner.sync_folder(folder).await,
            Some(how) => Err(Self::error("sync", how)),
        }
    }

    async fn publish(&self, moves: &[Move]) -> Result<Vec<Move>, StoreError> {
        match self.step("publish")? {
            None => self.inner.publish(moves).await,
            Some(how) => {
                let done = match how {
                    How::Before => 0,
                    How::Half => moves.len() / 2,
                    How::After => moves.len(),
                };
                self.inner.publish(&moves[..done]).await?;
                Err(Self::error("publish", how))
            }
        }
    }

    async fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        match self.step("delete")? {
            None => self.inner.delete(names).await,
            Some(how) => {
                let done = match how {
                    How::Before => 0,
                    How::Half => names.len() / 2,
                    How::After => names.len(),
                };
                self.inner.delete(&names[..done]).await?;
                Err(Self::error("delete", how))
            }
        }
    }

    fn discard(&self, names: Vec<String>) {
        if !self.crashed() {
            self.inner.discard(names);
        }
    }
}

struct FaultyFile {
    inner: Option<Box<dyn StoreFile>>,
    store: FaultyStore,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fault = self.store.step("write").map_err(io::Error::other)?;
        let inner = self.inner.as_mut().unwrap();
        match fault {
            None => inner.write(bytes),
            Some(how) => {
                if how != How::Before {
                    inner.write_all(&bytes[..bytes.len() / 2])?;
                }
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for FaultyFile {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let fault = self.store.step("finish").map_err(io::Error::other)?;
        match fault {
            None => self.inner.take().unwrap().finish(),
            Some(How::After) => {
                self.inner.take().unwrap().finish()?;
                Err(io::Error::other("injected: finish failed afterwards"))
            }
            Some(_) => Err(io::Error::other("injected: finish failed")),
        }
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if self.store.crashed() {
            // A process that is gone cleans nothing up.
            std::mem::forget(self.inner.take());
        }
    }
}

/// A temporary folder in memory where there is one: tests that sync thousands of times need no disk.
pub fn fast_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// All files below `root`, as a recursive pattern would find them.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What `**/*.<extension>` matches below `root`.
pub fn data_files(root: &Path, extension: &str) -> Vec<PathBuf> {
    files_below(root).into_iter().filter(|f| f.extension().is_some_and(|e| e == extension)).collect()
}

/// Staged and temporary files below `root`.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    data_files(root, "part")
}

/// The rows of a data file. Panics when it is not whole.
pub fn read_file(path: &Path, schema: &SchemaRef) -> Vec<RecordBatch> {
    let file = fs::File::open(path).unwrap();
    if path.extension().is_some_and(|e| e == "parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        return reader.build().unwrap().map(|b| b.unwrap()).collect();
    }
    let reader = arrow_json::ReaderBuilder::new(schema.clone()).with_strict_mode(true);
    reader.build(io::BufReader::new(file)).unwrap().map(|b| b.unwrap_or_else(|e| panic!("{path:?}: {e}"))).collect()
}

/// Where all rows below `root` come from, read as a plain reader does.
pub fn read_keys(root: &Path, extension: &str, schema: &SchemaRef) -> Vec<Key> {
    let files = data_files(root, extension);
    files.iter().flat_map(|f| read_file(f, schema)).flat_map(|b| keys(&b)).collect()
}
