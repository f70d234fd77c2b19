//! From the addresses in a table's metadata to stores that can read and write there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tidemill_connectors::files::LocalStore;
use tidemill_connectors::files::store::{Store, StoreError};
use tidemill_connectors::storage::{self, S3Options, StorageOptions};
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use crate::rest::LoadedTable;

/// The stores of one table, by bucket.
#[derive(Debug)]
pub(crate) struct Places {
    options: Option<StorageOptions>,
    stores: Mutex<BTreeMap<String, Arc<dyn Store>>>,
}

/// A place in a store.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    /// Its name in the store, without slashes at its ends.
    pub(crate) name: String,
}

impl Places {
    /// Stores reached by these options; `None`: by what the catalog says about the table, else the environment.
    pub(crate) fn new(options: Option<StorageOptions>, table: &LoadedTable) -> Self {
        let options = options.or_else(|| vended(&configured(table)));
        Self { options, stores: Mutex::default() }
    }

    /// The place that an address names. Sends no request.
    pub(crate) fn resolve(&self, uri: &str) -> Result<Place, SinkError> {
        let (root, name) = split(uri)?;
        let name = name.trim_matches('/').to_owned();
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&root) {
            return Ok(Place { store: store.clone(), name });
        }
        let store: Arc<dyn Store> = match root.as_str() {
            "/" => Arc::new(LocalStore::new("/")),
            bucket => storage::open_files(bucket, self.options.as_ref())?,
        };
        stores.insert(root, store.clone());
        Ok(Place { store, name })
    }

    /// Reads a small file.
    pub(crate) async fn read(&self, uri: &str) -> Result<Bytes, SinkError> {
        let Place { store, name } = self.resolve(uri)?;
        match store.get(&name).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(SinkError::retry(format!("{uri} is not there, although the table's metadata names it"))),
            Err(e) => Err(SinkError::retry(format!("cannot read {uri}: {e}"))),
        }
    }

    /// Writes a small file under a name that nobody else has.
    pub(crate) async fn write(&self, uri: &str, bytes: Bytes) -> Result<(), SinkError> {
        let Place { store, name } = self.resolve(uri)?;
        let (folder, _) = name.rsplit_once('/').unwrap_or(("", &name));
        let scratch = format!("{folder}/.{}.tmp", Uuid::new_v4());
        let put = store.put_if_absent(&name, bytes, scratch.trim_start_matches('/')).await;
        // Already there: our own first attempt, for the name is random.
        put.map(drop).map_err(|e| SinkError::retry(format!("cannot write {uri}: {e}")))
    }

    /// Deletes files that no commit names, as well as it can.
    pub(crate) async fn delete(&self, uris: &[String]) {
        for uri in uris {
            let deleted = match self.resolve(uri) {
                Ok(Place { store, name }) => store.delete(&[name]).await,
                Err(e) => Err(StoreError::failed(e.message)),
            };
            if let Err(error) = deleted {
                tracing::warn!(%uri, %error, "cannot delete a file of a commit that did not land; no reader sees it");
            }
        }
    }
}

/// Store and name of an address.
fn split(uri: &str) -> Result<(String, &str), SinkError> {
    let refused = |problem: String| {
        SinkError::person(format!(
            "the table's metadata names `{uri}`: {problem}; s3://, gs:// and az://bucket/… and local paths are possible"
        ))
    };
    let local = |path| match str::starts_with(path, '/') {
        true => Ok(("/".to_owned(), path)),
        false => Err(refused("it is no whole path".to_owned())),
    };
    // Hadoop writes `file:/path` where others write `file:///path`.
    match uri.split_once(':') {
        _ if uri.starts_with('/') => local(uri),
        Some(("file", path)) => local(path.strip_prefix("//").unwrap_or(path)),
        Some((scheme @ ("s3" | "s3a" | "s3n" | "gs" | "az"), path)) => {
            let scheme = if scheme.starts_with("s3") { "s3" } else { scheme };
            let path = path.strip_prefix("//").ok_or_else(|| refused("it names no bucket".to_owned()))?;
            let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
            Ok((format!("{scheme}://{bucket}"), name))
        }
        Some((scheme, _)) => Err(refused(format!("nothing speaks `{scheme}`"))),
        None => Err(refused("it is no address".to_owned())),
    }
}

/// What the catalog says about the table's storage: the credentials nearest to its location win.
fn configured(table: &LoadedTable) -> HashMap<String, String> {
    let mut config = table.config.clone();
    let near = table.storage_credentials.iter().flatten();
    let near = near.filter(|c| table.metadata.location().starts_with(&c.prefix)).max_by_key(|c| c.prefix.len());
    config.extend(near.map(|c| c.config.clone()).unwrap_or_default());
    config
}

/// Iceberg's own names of storage properties.
fn vended(config: &HashMap<String, String>) -> Option<StorageOptions> {
    let of = |key: &str| config.get(key).filter(|v| !v.is_empty()).cloned();
    let endpoint = of("s3.endpoint");
    let options = S3Options {
        allow_http: endpoint.as_ref().is_some_and(|e| e.starts_with("http://")),
        endpoint,
        region: of("s3.region").or_else(|| of("client.region")),
        access_key_id: of("s3.access-key-id"),
        secret_access_key: of("s3.secret-access-key"),
        session_token: of("s3.session-token"),
        virtual_hosted_style: of("s3.endpoint").is_some()
            && of("s3.path-style-access").is_some_and(|v| v.eq_ignore_ascii_case("false")),
    };
    (options != S3Options::default()).then_some(StorageOptions::S3(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (uri, root, name) in [
            ("file:///tmp/wh/t", "/", "/tmp/wh/t"),
            ("file:/tmp/wh/t", "/", "/tmp/wh/t"),
            ("/tmp/wh/t", "/", "/tmp/wh/t"),
            ("s3://lake/wh/t", "s3://lake", "wh/t"),
            ("s3a://lake/wh/t", "s3://lake", "wh/t"),
            ("gs://lake/wh/t", "gs://lake", "wh/t"),
        ] {
            assert_eq!(split(uri).unwrap(), (root.to_owned(), name), "{uri}");
        }
        for uri in ["hdfs://x/y", "wh/t", "ftp://b/x", "file:wh", ""] {
            let error = split(uri).unwrap_err().to_string();
            assert!(error.contains(&format!("`{uri}`")), "{error}");
        }
    }

    #[test]
    fn what_the_catalog_says_is_used() {
        assert_eq!(vended(&HashMap::new()), None);
        let config = [("s3.endpoint", "http://127.0.0.1:9"), ("s3.access-key-id", "a"), ("s3.secret-access-key", "b")];
        let config = config.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let Some(StorageOptions::S3(s3)) = vended(&config) else { panic!("S3") };
        assert_eq!((s3.allow_http, s3.virtual_hosted_style), (true, false));
        assert_eq!((s3.access_key_id.as_deref(), s3.secret_access_key.as_deref()), (Some("a"), Some("b")));
    }
}
