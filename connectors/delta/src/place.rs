//! Where a table is: the same place as a store that writes durably, as one that reads in parts, and as a URL.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use tidemill_connectors::files::store::Store;
use tidemill_connectors::storage::{self, Location, Opened, StorageError, StorageOptions};
use tidemill_engine::sink::SinkError;
use url::Url;

/// The place of a Delta table.
#[derive(Clone, Debug)]
pub struct DeltaPlace {
    /// Everything this sink writes goes through it: on a local disk it syncs files and folders.
    pub store: Arc<dyn Store>,
    /// The whole disk or bucket, for reading parts of large files.
    pub objects: Arc<dyn ObjectStore>,
    /// The table within `objects`.
    pub prefix: Path,
    /// The table as an absolute URL, with a slash at its end.
    pub url: Url,
}

impl DeltaPlace {
    /// The place that `uri` names: `s3://bucket/prefix` (`gs://`, `az://`) or a local folder, which is made when it is
    /// missing. Called within a multi-threaded runtime; sends no request.
    ///
    /// # Errors
    /// What is wrong with the URI or the options.
    pub fn open(uri: &str, options: Option<&StorageOptions>) -> Result<Self, SinkError> {
        let store = storage::open_files(uri, options)?;
        match Location::parse(uri)? {
            Location::Folder(folder) => {
                let failed = |e: std::io::Error| {
                    SinkError::from(StorageError::Folder { uri: folder.display().to_string(), source: e })
                };
                std::fs::create_dir_all(&folder).map_err(failed)?;
                let folder = folder.canonicalize().map_err(failed)?;
                let no_url = || SinkError::person(format!("{} is no absolute folder", folder.display()));
                let url = Url::from_directory_path(&folder).map_err(|()| no_url())?;
                let prefix = Path::from_absolute_path(&folder).map_err(|_| no_url())?;
                Ok(Self { store, objects: Arc::new(LocalFileSystem::new()), prefix, url })
            }
            Location::Bucket { service, bucket, .. } => {
                let Opened { store: objects, prefix } = storage::open(uri, options)?;
                let root = format!("{}://{bucket}/", service.scheme());
                let text = match prefix.as_ref() {
                    "" => root,
                    prefix => format!("{root}{prefix}/"),
                };
                let url = Url::parse(&text).map_err(|e| SinkError::person(format!("`{uri}` is no URL: {e}")))?;
                Ok(Self { store, objects, prefix, url })
            }
        }
    }
}
