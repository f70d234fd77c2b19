//! What the files sink needs of a place: local disk and object stores are two [`Store`]s, tests have more.

use std::fmt;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;

/// A place for files. Names are relative to it, with `/` between folders, made by the sink alone.
///
/// Promises:
/// 1. [`put_if_absent`](Store::put_if_absent) is atomic and durable: of all writers of a name one creates it, and
///    a reader sees nothing or the whole.
/// 2. A file of [`create`](Store::create) is durable once it is finished and its folder synced.
/// 3. [`publish`](Store::publish) may be run again, and by several at once, to the same end.
/// 4. An error with [`Fault::Failed`] means that nothing happened; [`Fault::Unknown`] that it may have.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The place, for messages.
    fn place(&self) -> String;

    /// Creates `name` with these bytes unless it exists. `scratch` is a name that may be used on the way, and
    /// that a crash may leave behind.
    async fn put_if_absent(&self, name: &str, bytes: Bytes, scratch: &str) -> Result<Put, StoreError>;

    /// The bytes of `name`; `None` where there is no such file.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// The files right inside `folder`, by name, those after `after` only, at most `limit`. A folder that does
    /// not exist is empty. Names starting with a dot are passed over.
    async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Opens a new file for writing. **Blocks**: never called from async code.
    fn create(&self, name: &str) -> Result<Box<dyn StoreFile>, StoreError>;

    /// Makes the names in `folder` (`""`: the root) durable, where that is a step of its own.
    async fn sync_folder(&self, folder: &str) -> Result<(), StoreError>;

    /// Gives each file its final name, durably. Already there = done. Answers the moves of which neither name exists.
    async fn publish(&self, moves: &[Move]) -> Result<Vec<Move>, StoreError>;

    /// Deletes files; a missing one is no error.
    async fn delete(&self, names: &[String]) -> Result<(), StoreError>;

    /// Deletes files as well as it can without waiting or failing: for destructors.
    fn discard(&self, names: Vec<String>);
}

/// A file being written by one thread. Dropped without [`finish`](StoreFile::finish) = deleted.
pub trait StoreFile: io::Write + Send {
    /// Everything written is durable when this returns. **Blocks**.
    fn finish(self: Box<Self>) -> io::Result<()>;

    /// Bytes of memory it holds.
    fn memory(&self) -> usize {
        0
    }
}

/// The answer to [`Store::put_if_absent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is ours.
    Created,
    /// Something is there. It may be our own earlier attempt: only reading it tells.
    Exists,
}

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name within the folder.
    pub name: String,
    /// When it was last written, milliseconds since the Unix epoch by the store's clock.
    pub modified_ms: i64,
}

/// From a staged name to a final one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it is.
    pub staged: String,
    /// Where it belongs.
    pub path: String,
}

/// What is known after an error of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not happen; it may go better later.
    Failed,
    /// It may have happened.
    Unknown,
    /// It did not happen, and a person has to change something.
    Refused,
}

/// An error of a store, with the place in its message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What is known.
    pub fault: Fault,
    /// What happened and where.
    pub message: String,
}

impl StoreError {
    /// An error with what is known.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    /// An error of an operation that changes nothing, or did not.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Fault::Failed, message)
    }
}
