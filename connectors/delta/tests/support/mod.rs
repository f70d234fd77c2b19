//! What the tests of the Delta sink share: places on a disk and on an S3 server, and a reader that is not ours.

#![allow(dead_code)] // each test binary uses a part of it

#[path = "../../../tests/support/mod.rs"]
pub mod files;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, default_logstore};
use futures::TryStreamExt as _;
use object_store::ObjectStore as _;
use object_store::prefix::PrefixStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;
use tidemill_connectors::storage::{S3Options, StorageOptions};
use tidemill_delta::{DeltaOptions, DeltaPlace, DeltaSink};
use tidemill_engine::clock::Clock;
use tidemill_engine::testkit::{Key, keys};
use tidemill_test_servers::s3::{KEY, S3};

use self::files::FaultyStore;

/// A place for one table.
pub struct Ground {
    pub place: DeltaPlace,
    /// What `place` writes through.
    pub store: FaultyStore,
    _folder: Option<TempDir>,
}

impl Ground {
    fn of(mut place: DeltaPlace, folder: Option<TempDir>) -> Self {
        let store = FaultyStore::new(place.store.clone());
        place.store = Arc::new(store.clone());
        Self { place, store, _folder: folder }
    }

    /// On a local disk, in memory where there is such a thing.
    pub fn local() -> Self {
        let folder = files::fast_folder();
        let place = DeltaPlace::open(&folder.path().join("table").to_string_lossy(), None).unwrap();
        Self::of(place, Some(folder))
    }

    /// In a bucket of its own on a real S3 server.
    pub fn s3() -> Self {
        let server = S3::shared();
        let bucket = server.bucket("delta").unwrap();
        let options = StorageOptions::S3(S3Options {
            endpoint: Some(server.endpoint()),
            access_key_id: Some(KEY.0.into()),
            secret_access_key: Some(KEY.1.into()),
            allow_http: true,
            ..S3Options::default()
        });
        Self::of(DeltaPlace::open(&format!("s3://{bucket}/lake/orders"), Some(&options)).unwrap(), None)
    }

    /// The place without faults.
    pub fn sound(&self) -> DeltaPlace {
        DeltaPlace { store: Arc::new(self.store.fresh()), ..self.place.clone() }
    }

    /// A new process: nothing of the former one's faults is left.
    pub fn restart(&mut self) {
        self.store = self.store.fresh();
        self.place.store = Arc::new(self.store.clone());
    }

    pub fn options(&self, instance: &str, schema: &SchemaRef) -> DeltaOptions {
        DeltaOptions::new("orders", instance, self.place.clone(), schema.clone(), Clock::system())
    }

    pub fn sink(&self, instance: &str, schema: &SchemaRef) -> DeltaSink {
        DeltaSink::new(self.options(instance, schema)).unwrap()
    }

    /// The table as delta-rs reads it; `None` where there is none.
    pub async fn table(&self) -> Option<DeltaTable> {
        let root = Arc::clone(&self.place.objects);
        let table = Arc::new(PrefixStore::new(Arc::clone(&root), self.place.prefix.clone()));
        let log = default_logstore(table, root, &self.place.url, &StorageConfig::default());
        let mut table = DeltaTable::new(log);
        match table.load().await {
            Ok(()) => Some(table),
            Err(deltalake::DeltaTableError::NotATable(_)) => None,
            Err(e) => panic!("delta-rs cannot read the table: {e}"),
        }
    }

    /// The names of the table's data files.
    pub async fn active(&self) -> BTreeSet<String> {
        let Some(table) = self.table().await else { return BTreeSet::new() };
        let snapshot = table.snapshot().unwrap();
        snapshot.log_data().into_iter().map(|file| file.path().to_string()).collect()
    }

    /// The rows of the table's data files, without partition columns.
    pub async fn batches(&self) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for name in self.active().await {
            let bytes = self.object(&name).await;
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        batches
    }

    pub async fn rows(&self) -> Vec<Key> {
        self.batches().await.iter().flat_map(keys).collect()
    }

    pub async fn object(&self, name: &str) -> bytes::Bytes {
        use object_store::ObjectStoreExt as _;
        let path = object_store::path::Path::parse(format!("{}/{name}", self.place.prefix)).unwrap();
        self.place.objects.get(&path).await.unwrap_or_else(|e| panic!("{name}: {e}")).bytes().await.unwrap()
    }

    /// Every object of the table's folder, by its name in it.
    pub async fn objects(&self) -> BTreeSet<String> {
        let prefix = self.place.prefix.to_string();
        let list = self.place.objects.list(Some(&self.place.prefix));
        let all: Vec<_> = list.try_collect().await.unwrap();
        all.into_iter().map(|meta| meta.location.as_ref()[prefix.len() + 1..].to_owned()).collect()
    }

    /// Data files that the table does not name, and unfinished commits.
    pub async fn leftovers(&self) -> BTreeSet<String> {
        let active = self.active().await;
        let objects = self.objects().await.into_iter();
        objects
            .filter(|name| !active.contains(name) && (name.ends_with(".tmp") || !name.starts_with("_delta_log")))
            .collect()
    }
}
