//! Object stores (S3 and what speaks like it): conditional puts, staged objects, copy and delete.

use std::io::{self, Write};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, WriteMultipart};
use tidemill_engine::failpoint;
use tokio::runtime::Handle;

use super::store::{Entry, Fault, Move, Put, Store, StoreError, StoreFile};

/// Bytes of a part: the least that S3 takes.
const PART: usize = 5 << 20;
/// Parts of one file on their way at once.
const UPLOADS: usize = 2;

/// A prefix of an object store.
#[derive(Clone, Debug)]
pub struct ObjectStoreFiles {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Handle,
}

impl ObjectStoreFiles {
    /// The objects of `store` under `prefix`. `runtime` carries the requests of encoder threads; it must be
    /// multi-threaded.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, runtime: Handle) -> Self {
        Self { store, prefix, runtime }
    }

    fn path(&self, name: &str) -> Result<Path, StoreError> {
        let refused = |e| StoreError::new(Fault::Refused, format!("`{name}` is not a name in {}: {e}", self.place()));
        if self.prefix.as_ref().is_empty() {
            return Path::parse(name).map_err(refused);
        }
        Path::parse(format!("{}/{name}", self.prefix)).map_err(refused)
    }

    /// What is known after `error` of a request that changes something.
    fn error(&self, what: &str, path: &Path, error: &Error) -> StoreError {
        let fault = match error {
            Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::UnknownConfigurationKey { .. } => Fault::Refused,
            Error::NotFound { .. } => Fault::Failed,
            _ => Fault::Unknown,
        };
        StoreError::new(fault, format!("cannot {what} {path} in {}: {error}", self.store))
    }

    /// As [`error`](Self::error) for requests that change nothing, or that may be made again.
    fn harmless(&self, what: &str, path: &Path, error: &Error) -> StoreError {
        let mut error = self.error(what, path, error);
        if error.fault == Fault::Unknown {
            error.fault = Fault::Failed;
        }
        error
    }

    async fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        match self.store.head(path).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.harmless("look at", path, &e)),
        }
    }
}

#[async_trait]
impl Store for ObjectStoreFiles {
    fn place(&self) -> String {
        format!("{}/{}", self.store, self.prefix)
    }

    async fn put_if_absent(&self, name: &str, bytes: Bytes, _scratch: &str) -> Result<Put, StoreError> {
        let path = self.path(name)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(Put::Created),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Exists),
            Err(e) => Err(self.error("create", &path, &e)),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let path = self.path(name)?;
        let result = match self.store.get(&path).await {
            Ok(found) => found.bytes().await.map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        };
        result.map_err(|e| self.harmless("read", &path, &e))
    }

    async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let folder = self.path(folder)?;
        let stream = match after {
            Some(after) => {
                let offset =
                    Path::parse(format!("{folder}/{after}")).map_err(|e| self.harmless("list", &folder, &e.into()))?;
                self.store.list_with_offset(Some(&folder), &offset)
            }
            None => self.store.list(Some(&folder)),
        };
        // Only object stores that list in order may stop early, and those are the ones this is for; S3 does.
        let found: Vec<ObjectMeta> =
            stream.take(limit).try_collect().await.map_err(|e| self.harmless("list", &folder, &e))?;
        let mut entries: Vec<Entry> = found
            .into_iter()
            .filter_map(|meta| {
                let name = meta.location.as_ref().strip_prefix(folder.as_ref())?.strip_prefix('/')?;
                (!name.contains('/') && !name.starts_with('.'))
                    .then(|| Entry { name: name.to_owned(), modified_ms: meta.last_modified.timestamp_millis() })
            })
            .collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, name: &str) -> Result<Box<dyn StoreFile>, StoreError> {
        let path = self.path(name)?;
        let upload =
            self.runtime.block_on(self.store.put_multipart(&path)).map_err(|e| self.harmless("create", &path, &e))?;
        let upload = WriteMultipart::new_with_chunk_size(upload, PART);
        Ok(Box::new(Upload { upload: Some(upload), runtime: self.runtime.clone() }))
    }

    async fn sync_folder(&self, _folder: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn publish(&self, moves: &[Move]) -> Result<Vec<Move>, StoreError> {
        let mut missing = Vec::new();
        for step in moves {
            let (from, to) = (self.path(&step.staged)?, self.path(&step.path)?);
            match self.store.copy(&from, &to).await {
                Ok(()) => {
                    failpoint!("files.mid_rename");
                    match self.store.delete(&from).await {
                        Ok(()) | Err(Error::NotFound { .. }) => {}
                        Err(e) => return Err(self.harmless("delete", &from, &e)),
                    }
                }
                Err(Error::NotFound { .. }) => {
                    if !self.exists(&to).await? {
                        missing.push(step.clone());
                    }
                }
                Err(e) => return Err(self.harmless("copy to", &to, &e)),
            }
        }
        Ok(missing)
    }

    async fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        let paths = names.iter().map(|n| self.path(n)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = paths.first().cloned() else { return Ok(()) };
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut results = self.store.delete_stream(paths);
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(e) => return Err(self.harmless("delete", &first, &e)),
            }
        }
        Ok(())
    }

    fn discard(&self, names: Vec<String>) {
        let store = self.clone();
        self.runtime.spawn(async move {
            if let Err(e) = store.delete(&names).await {
                tracing::warn!(error = %e, "cannot remove staged objects; the next start sweeps them");
            }
        });
    }
}

/// A multipart upload that is aborted unless it is finished.
struct Upload {
    upload: Option<WriteMultipart>,
    runtime: Handle,
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let upload = self.upload.as_mut().ok_or_else(|| io::Error::other("the file is finished"))?;
        self.runtime.block_on(upload.wait_for_capacity(UPLOADS))?;
        upload.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for Upload {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        let upload = self.upload.take().ok_or_else(|| io::Error::other("the file is finished"))?;
        self.runtime.block_on(upload.finish())?;
        Ok(())
    }

    fn memory(&self) -> usize {
        PART * (1 + UPLOADS)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.runtime.spawn(async move {
                if let Err(e) = upload.abort().await {
                    tracing::warn!(error = %e, "cannot abort an upload; the store's lifecycle rule has to");
                }
            });
        }
    }
}
