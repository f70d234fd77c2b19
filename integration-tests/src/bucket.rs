//! A bucket as its users see it: listed, and copied into a folder.

use std::path::Path as FilePath;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tidemill_connectors::storage::{self, S3Options, StorageOptions};
use tidemill_test_servers::s3::{KEY, S3};

/// A bucket on a server of the tests.
pub struct Bucket {
    /// Its name.
    pub name: String,
    endpoint: String,
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
}

impl Bucket {
    /// A new bucket.
    pub fn new(server: &S3, prefix: &str) -> Result<Self> {
        let (name, endpoint) = (server.bucket(prefix)?, server.endpoint());
        let options = StorageOptions::S3(S3Options {
            endpoint: Some(endpoint.clone()),
            access_key_id: Some(KEY.0.into()),
            secret_access_key: Some(KEY.1.into()),
            allow_http: true,
            ..S3Options::default()
        });
        let store = storage::open(&format!("s3://{name}"), Some(&options))?.store;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { name, endpoint, store, runtime })
    }

    /// The URI of a prefix in it.
    #[must_use]
    pub fn uri(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// A `[storage.lake]` table that reaches it.
    #[must_use]
    pub fn storage(&self) -> String {
        format!(
            "\n[storage.lake]\ntype = \"s3\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\nallow_http = true\n\
             access_key_id = \"${{env:LAKE_ID}}\"\nsecret_access_key = \"${{env:LAKE_SECRET}}\"\n",
            self.endpoint
        )
    }

    /// The environment that `storage` needs, and that sinks without a `storage` need.
    #[must_use]
    pub fn env(&self) -> Vec<(&str, &str)> {
        vec![
            ("LAKE_ID", KEY.0),
            ("LAKE_SECRET", KEY.1),
            ("AWS_ENDPOINT_URL", &self.endpoint),
            ("AWS_ACCESS_KEY_ID", KEY.0),
            ("AWS_SECRET_ACCESS_KEY", KEY.1),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }

    /// Names below `prefix` that end with `suffix`.
    pub fn names(&self, prefix: &str, suffix: &str) -> Result<Vec<String>> {
        let list = self.store.list(Some(&Path::from(prefix)));
        let all: Vec<_> = self.runtime.block_on(list.try_collect())?;
        let names = all.into_iter().map(|meta| meta.location.to_string());
        Ok(names.filter(|name| name.ends_with(suffix)).collect())
    }

    /// Copies what `names` finds into a folder, which is emptied first.
    pub fn copy(&self, prefix: &str, suffix: &str, folder: &FilePath) -> Result<()> {
        let _ = std::fs::remove_dir_all(folder);
        for name in self.names(prefix, suffix)? {
            let path = folder.join(&name);
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            let bytes = self.runtime.block_on(async { self.store.get(&Path::parse(&name)?).await?.bytes().await })?;
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }
}
