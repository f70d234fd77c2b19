//! The published suite of sinks, on files: Parquet and NDJSON on local disk, Parquet on an object store in memory and on a real S3
//! server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use object_store::ObjectStore;
use support::{FaultyStore, fast_folder, leftovers, read_keys};
use tempfile::TempDir;
use tidemill_connectors::files::store::Store;
use tidemill_connectors::files::{FileFormat, FilesOptions, FilesSink, LocalStore, ObjectStoreFiles, ParquetOptions};
use tidemill_connectors::storage::{self, S3Options, StorageOptions};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::Sink;
use tidemill_engine::testkit::Key;
use tidemill_engine::testkit::conformance::{Place, Subject};
use tidemill_test_servers::s3::{KEY, S3};

/// A folder that several sinks write into.
struct Folder {
    root: TempDir,
    store: FaultyStore,
    schema: SchemaRef,
    format: FileFormat,
    /// How to look at what is not a local folder: copy it into this one first.
    objects: Option<Arc<dyn ObjectStore>>,
}

impl Folder {
    /// A local folder with what is there now.
    async fn looked_at(&self) -> PathBuf {
        let Some(objects) = &self.objects else { return self.root.path().to_owned() };
        use futures::StreamExt as _;
        use object_store::ObjectStoreExt as _;
        std::fs::remove_dir_all(self.root.path()).unwrap();
        let mut listed = objects.list(None);
        while let Some(meta) = listed.next().await {
            let location = meta.unwrap().location;
            // What is staged may be deleted at any moment.
            let Ok(found) = objects.get(&location).await else { continue };
            let path = self.root.path().join(location.as_ref());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, found.bytes().await.unwrap()).unwrap();
        }
        self.root.path().to_owned()
    }
}

#[async_trait]
impl Subject for Folder {
    async fn sink(&self, instance: &str) -> Box<dyn Sink> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let mut options = FilesOptions::new("orders", instance, store, self.schema.clone(), Clock::system());
        options.format = self.format.clone();
        options.file_size = 20_000;
        options.checkpoint_every = 7;
        Box::new(FilesSink::new(options).unwrap())
    }

    async fn rows(&self) -> Vec<Key> {
        read_keys(&self.looked_at().await, self.format.extension(), &self.schema)
    }

    async fn lose_answer(&self, landed: bool) -> bool {
        self.store.lose_answer(landed);
        true
    }

    async fn leftovers(&self) -> Option<usize> {
        Some(leftovers(&self.looked_at().await).len())
    }
}

struct Local(FileFormat);

#[async_trait]
impl Place for Local {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        let root = fast_folder();
        let store = FaultyStore::new(Arc::new(LocalStore::new(root.path())));
        Box::new(Folder { root, store, schema, format: self.0.clone(), objects: None })
    }
}

struct Objects(FileFormat);

#[async_trait]
impl Place for Objects {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        let root = fast_folder();
        let objects = Arc::new(object_store::memory::InMemory::new());
        let files = ObjectStoreFiles::new(objects.clone(), "a/prefix".into(), tokio::runtime::Handle::current());
        let store = FaultyStore::new(Arc::new(files));
        Box::new(Folder { root, store, schema, format: self.0.clone(), objects: Some(objects) })
    }
}

/// A bucket for each subject on a server that all share.
struct Bucket(FileFormat);

#[async_trait]
impl Place for Bucket {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        let root = fast_folder();
        let server = S3::shared();
        let uri = format!("s3://{}/a/prefix", server.bucket("files").unwrap());
        let options = StorageOptions::S3(S3Options {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(KEY.0.into()),
            secret_access_key: Some(KEY.1.into()),
            allow_http: true,
            ..S3Options::default()
        });
        let store = FaultyStore::new(storage::open_files(&uri, Some(&options)).unwrap());
        let objects = Some(storage::open(&uri, Some(&options)).unwrap().store);
        Box::new(Folder { root, store, schema, format: self.0.clone(), objects })
    }
}

mod parquet_on_disk {
    use super::*;
    tidemill_engine::sink_conformance!(Local(FileFormat::Parquet(ParquetOptions::default())));
}

mod ndjson_on_disk {
    use super::*;
    tidemill_engine::sink_conformance!(Local(FileFormat::Ndjson));
}

mod parquet_on_objects {
    use super::*;
    tidemill_engine::sink_conformance!(Objects(FileFormat::Parquet(ParquetOptions::default())));
}

// One format is enough: a store does not look into files.
mod parquet_on_s3 {
    use super::*;
    tidemill_engine::sink_conformance!(Bucket(FileFormat::Parquet(ParquetOptions::default())));
}
