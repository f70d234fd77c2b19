//! Local disk, or one shared POSIX file system. Every step is made durable: files *and* their folders.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use tidemill_engine::failpoint;

use super::store::{Entry, Fault, Move, Put, Store, StoreError, StoreFile};

/// Folders whose way from the root is known to be durable; forgotten above this many.
const KNOWN_FOLDERS: usize = 10_000;

/// A folder on a local disk.
#[derive(Clone, Debug)]
pub struct LocalStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStore {
    /// The folder at `root`. It is created when something is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Inner { root: root.into(), durable: Mutex::default() }))
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Runs file work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.0.clone();
        // A panic or a runtime that shuts down: nobody knows how far it came.
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|e| Err(StoreError::new(Fault::Unknown, format!("file work was interrupted: {e}"))))
    }
}

impl Inner {
    /// The path of `name`, which may not leave the root.
    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        if name.split('/').any(|part| matches!(part, "" | "." | "..") || part.contains(['\\', '\0'])) {
            return Err(StoreError::new(Fault::Refused, format!("`{name}` is not a name within {:?}", self.root)));
        }
        Ok(self.root.join(name))
    }

    /// Creates `folder` and makes the way to it durable.
    fn make_folder(&self, folder: &Path) -> Result<(), StoreError> {
        let known = |f: &Path| self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(f);
        if known(folder) && folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(|e| failed("create folder", folder, &e))?;
        // Somebody else may have made it and crashed before syncing: so every folder up to the root's parent.
        for at in folder.ancestors() {
            if !known(at) {
                if let Some(parent) = at.parent() {
                    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                    sync_folder(parent).map_err(|e| failed("sync folder", parent, &e))?;
                }
                let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
                if durable.len() >= KNOWN_FOLDERS {
                    durable.clear();
                }
                durable.insert(at.to_owned());
            }
            if at == self.root {
                break;
            }
        }
        Ok(())
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8], scratch: &str) -> Result<Put, StoreError> {
        let (path, temp) = (self.path(name)?, self.path(scratch)?);
        let folder = parent(&path);
        self.make_folder(folder)?;
        self.make_folder(parent(&temp))?;
        let put = write_new(&temp, bytes).and_then(|()| match fs::hard_link(&temp, &path) {
            Ok(()) => Ok(Put::Created),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(e) if e.kind() == ErrorKind::Unsupported || e.raw_os_error() == Some(libc::EPERM) => {
                Err(StoreError::new(
                    Fault::Refused,
                    format!("cannot create {path:?}: this file system has no hard links ({e}); use another one"),
                ))
            }
            Err(e) => Err(StoreError::new(
                // A network file system may have made the link before its answer was lost.
                if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::NotFound | ErrorKind::PermissionDenied) {
                    Fault::Failed
                } else {
                    Fault::Unknown
                },
                format!("cannot create {path:?}: {e}"),
            )),
        });
        if let Err(e) = fs::remove_file(&temp)
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = ?temp, error = %e, "cannot remove a temporary file; the next start sweeps it");
        }
        let put = put?;
        sync_folder(folder).map_err(|e| {
            StoreError::new(Fault::Unknown, format!("cannot sync folder {folder:?} after creating {path:?}: {e}"))
        })?;
        Ok(put)
    }

    fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let folder = self.path(folder)?;
        let mut names = Vec::new();
        let read = match fs::read_dir(&folder) {
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed("list", &folder, &e)),
        };
        for entry in read {
            let entry = entry.map_err(|e| failed("list", &folder, &e))?;
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
                && after.is_none_or(|after| name.as_str() > after)
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.truncate(limit);
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            match fs::metadata(folder.join(&name)) {
                Ok(meta) if meta.is_file() => {
                    let modified_ms = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
                    let modified_ms = modified_ms.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
                    entries.push(Entry { name, modified_ms });
                }
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(failed("look at", &folder.join(&name), &e)),
            }
        }
        Ok(entries)
    }

    fn publish(&self, moves: &[Move]) -> Result<Vec<Move>, StoreError> {
        let mut missing = Vec::new();
        let mut touched = HashSet::new();
        for step in moves {
            let (from, to) = (self.path(&step.staged)?, self.path(&step.path)?);
            self.make_folder(parent(&to))?;
            match fs::rename(&from, &to) {
                Ok(()) => failpoint!("files.mid_rename"),
                // Another owner was faster: its rename may not be synced yet, so the folders are synced all the same.
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    if !to.try_exists().map_err(|e| failed("look at", &to, &e))? {
                        missing.push(step.clone());
                        continue;
                    }
                }
                Err(e) => return Err(failed("rename to", &to, &e)),
            }
            touched.insert(parent(&to).to_owned());
            touched.insert(parent(&from).to_owned());
        }
        for folder in touched {
            sync_folder(&folder).map_err(|e| failed("sync folder", &folder, &e))?;
        }
        Ok(missing)
    }

    fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            let path = self.path(name)?;
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("delete", &path, &e)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for LocalStore {
    fn place(&self) -> String {
        self.0.root.display().to_string()
    }

    async fn put_if_absent(&self, name: &str, bytes: Bytes, scratch: &str) -> Result<Put, StoreError> {
        let (name, scratch) = (name.to_owned(), scratch.to_owned());
        self.blocking(move |inner| inner.put_if_absent(&name, &bytes, &scratch)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let path = self.0.path(name)?;
        self.blocking(move |_| match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, &e)),
        })
        .await
    }

    async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (folder, after) = (folder.to_owned(), after.map(str::to_owned));
        self.blocking(move |inner| inner.list(&folder, after.as_deref(), limit)).await
    }

    fn create(&self, name: &str) -> Result<Box<dyn StoreFile>, StoreError> {
        let path = self.0.path(name)?;
        self.0.make_folder(parent(&path))?;
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| failed("create", &path, &e))?;
        Ok(Box::new(LocalFile { file: Some(file), path }))
    }

    async fn sync_folder(&self, folder: &str) -> Result<(), StoreError> {
        let folder = if folder.is_empty() { self.0.root.clone() } else { self.0.path(folder)? };
        self.blocking(move |_| sync_folder(&folder).map_err(|e| failed("sync folder", &folder, &e))).await
    }

    async fn publish(&self, moves: &[Move]) -> Result<Vec<Move>, StoreError> {
        let moves = moves.to_vec();
        self.blocking(move |inner| inner.publish(&moves)).await
    }

    async fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        let names = names.to_vec();
        self.blocking(move |inner| inner.delete(&names)).await
    }

    fn discard(&self, names: Vec<String>) {
        if let Err(e) = self.0.delete(&names) {
            tracing::warn!(error = %e, "cannot remove staged files; the next start sweeps them");
        }
    }
}

/// A file that goes away unless it is finished.
struct LocalFile {
    file: Option<File>,
    path: PathBuf,
}

impl Write for LocalFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file is finished")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StoreFile for LocalFile {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = ?self.path, error = %e, "cannot remove a staged file; the next start sweeps it");
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| failed("write", path, &e))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::failed(format!("cannot {what} {path:?}: {error}"))
}
