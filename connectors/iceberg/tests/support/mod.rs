//! A table on a real catalog, a plain reader of it, and a way to lose the catalog's answers.

pub mod proxy;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use iceberg::spec::{Manifest, ManifestList, TableMetadata};
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidemill_connectors::storage::{self, S3Options, StorageOptions};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::Sink;
use tidemill_engine::testkit::conformance::Subject;
use tidemill_engine::testkit::{Key, keys};
use tidemill_iceberg::{CatalogOptions, IcebergOptions, IcebergSink};
use tidemill_test_servers::iceberg_rest::IcebergRest;
use tidemill_test_servers::s3::{KEY, S3};

use proxy::Proxy;

/// A table that may not exist yet.
pub struct Lake {
    pub server: &'static IcebergRest,
    pub proxy: Proxy,
    pub name: String,
    pub schema: SchemaRef,
    pub storage: Option<StorageOptions>,
    /// Changes the options of each sink.
    pub tune: fn(&mut IcebergOptions),
}

impl Lake {
    pub async fn new(server: &'static IcebergRest, schema: SchemaRef) -> Self {
        let name = format!("t{:08x}", rand::random::<u32>());
        let storage = (!server.warehouse().starts_with("file:")).then(|| {
            StorageOptions::S3(S3Options {
                endpoint: Some(S3::shared().endpoint()),
                access_key_id: Some(KEY.0.into()),
                secret_access_key: Some(KEY.1.into()),
                allow_http: true,
                ..S3Options::default()
            })
        });
        Self { server, proxy: Proxy::start(server.address()).await, name, schema, storage, tune: |_| {} }
    }

    pub fn options(&self, instance: &str) -> IcebergOptions {
        let catalog = CatalogOptions { uri: self.proxy.uri(), ..CatalogOptions::default() };
        let table = format!("tests.{}", self.name);
        let mut options = IcebergOptions::new("orders", instance, catalog, table, self.schema.clone(), Clock::system());
        options.storage = self.storage.clone();
        options.file_size = 20_000;
        (self.tune)(&mut options);
        options
    }

    pub fn sink(&self, instance: &str) -> IcebergSink {
        IcebergSink::new(self.options(instance)).expect("good options")
    }

    fn path(&self) -> String {
        format!("/v1/namespaces/tests/tables/{}", self.name)
    }

    /// The table, if it is there.
    pub fn table(&self) -> Option<TableMetadata> {
        let (status, body) = self.server.request("GET", &self.path(), "").expect("answers");
        if status == 404 {
            return None;
        }
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        Some(serde_json::from_value(answer["metadata"].clone()).expect("table metadata"))
    }

    /// Makes a table from a request's body, without its name.
    pub fn create(&self, mut body: serde_json::Value) {
        let _ = self.server.request("POST", "/v1/namespaces", r#"{"namespace":["tests"]}"#);
        body["name"] = self.name.clone().into();
        let (status, answer) =
            self.server.request("POST", "/v1/namespaces/tests/tables", &body.to_string()).expect("answers");
        assert_eq!(status, 200, "{answer}");
    }

    /// Changes the table as another program would.
    pub fn change(&self, updates: serde_json::Value) {
        let body = serde_json::json!({ "requirements": [], "updates": updates });
        let (status, answer) = self.server.request("POST", &self.path(), &body.to_string()).expect("answers");
        assert_eq!(status, 200, "{answer}");
    }

    fn store(&self) -> (Arc<dyn ObjectStore>, String) {
        let warehouse = self.server.warehouse();
        match warehouse.strip_prefix("s3://") {
            Some(rest) => {
                let bucket = format!("s3://{}", rest.split('/').next().unwrap_or_default());
                (storage::open(&bucket, self.storage.as_ref()).expect("opens").store, format!("{bucket}/"))
            }
            None => {
                let store = object_store::local::LocalFileSystem::new();
                (Arc::new(store), "file:///".to_owned())
            }
        }
    }

    async fn read(&self, uri: &str) -> Bytes {
        let (store, root) = self.store();
        let path = uri.strip_prefix(&root).or_else(|| uri.strip_prefix("file:/")).expect("within the warehouse");
        store.get(&path.trim_start_matches('/').into()).await.expect("is there").bytes().await.expect("can be read")
    }

    /// Every data file of the newest snapshot, with the manifests that name them.
    pub async fn files(&self) -> Vec<Arc<iceberg::spec::ManifestEntry>> {
        let Some(table) = self.table() else { return Vec::new() };
        let Some(snapshot) = table.current_snapshot() else { return Vec::new() };
        let mut files = Vec::new();
        for manifest in self.manifests(&table, snapshot.manifest_list()).await {
            let bytes = self.read(&manifest.manifest_path).await;
            let (entries, _) = Manifest::parse_avro(&bytes).expect("a manifest").into_parts();
            files.extend(entries.into_iter().filter(|e| e.is_alive()));
        }
        files
    }

    pub async fn manifests(&self, table: &TableMetadata, list: &str) -> Vec<iceberg::spec::ManifestFile> {
        let bytes = self.read(list).await;
        let list = ManifestList::parse_with_version(&bytes, table.format_version()).expect("a manifest list");
        list.consume_entries().into_iter().collect()
    }

    pub async fn batches(&self) -> Vec<RecordBatch> {
        let mut all = Vec::new();
        for file in self.files().await {
            let reader = ParquetRecordBatchReaderBuilder::try_new(self.read(file.file_path()).await).expect("Parquet");
            all.extend(reader.build().expect("reads").map(|batch| batch.expect("a batch")));
        }
        all
    }

    /// Files in the table's folder that no snapshot names.
    async fn unnamed(&self) -> Vec<String> {
        let Some(table) = self.table() else { return Vec::new() };
        let mut named = BTreeSet::new();
        for snapshot in table.snapshots() {
            named.insert(last(snapshot.manifest_list()));
            for manifest in self.manifests(&table, snapshot.manifest_list()).await {
                named.insert(last(&manifest.manifest_path));
                let bytes = self.read(&manifest.manifest_path).await;
                let manifest = Manifest::parse_avro(&bytes).expect("a manifest");
                named.extend(manifest.entries().iter().map(|e| last(e.file_path())));
            }
        }
        let (store, root) = self.store();
        let prefix = table.location().strip_prefix(&root).expect("within the warehouse").to_owned();
        let listed: Vec<_> = store.list(Some(&prefix.into())).try_collect().await.expect("lists");
        let names = listed.iter().map(|meta| last(meta.location.as_ref()));
        names.filter(|n| !n.ends_with(".metadata.json") && !n.ends_with(".crc") && !named.contains(n)).collect()
    }
}

fn last(path: &str) -> String {
    let name: &Path = Path::new(path);
    name.file_name().map(PathBuf::from).unwrap_or_default().display().to_string()
}

#[async_trait]
impl Subject for Lake {
    async fn sink(&self, instance: &str) -> Box<dyn Sink> {
        Box::new(Lake::sink(self, instance))
    }

    async fn rows(&self) -> Vec<Key> {
        self.batches().await.iter().flat_map(keys).collect()
    }

    async fn lose_answer(&self, landed: bool) -> bool {
        self.proxy.lose_answer(landed);
        true
    }

    async fn leftovers(&self) -> Option<usize> {
        Some(self.unnamed().await.len())
    }
}
