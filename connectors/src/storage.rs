//! Object stores: from a URI and options to a store that is ready for requests.
//!
//! A place is a folder on a local disk, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. What is
//! not given in the options comes from the usual chain of the service's environment: its variables, web identity,
//! container and instance credentials. Only S3 is tested; the others go the same way through the same client.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};
use tidemill_engine::sink::SinkError;
use tokio::runtime::Handle;

use crate::files::store::Store;
use crate::files::{LocalStore, ObjectStoreFiles};

/// Time for one request, answer included. S3 copies 4 GiB within it.
const REQUEST: Duration = Duration::from_secs(60);
/// Time until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// A failed request is made again so many times (server errors, connections that break) …
const RETRIES: usize = 6;
/// … but not when this much time has passed since it was first made.
const RETRY_WITHIN: Duration = Duration::from_secs(30);

/// How to reach an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageOptions {
    /// S3, or a server that speaks its protocol.
    S3(S3Options),
    /// Google Cloud Storage.
    Gcs(GcsOptions),
    /// Azure Blob Storage.
    Azure(AzureOptions),
}

impl StorageOptions {
    fn service(&self) -> Service {
        match self {
            Self::S3(_) => Service::S3,
            Self::Gcs(_) => Service::Gcs,
            Self::Azure(_) => Service::Azure,
        }
    }
}

/// Settings of S3; what is `None` comes from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Base address of a server that is not AWS, `https://host:port`.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` where nobody says.
    pub region: Option<String>,
    /// Id of a fixed key. With it and its secret nothing is taken from the environment.
    pub access_key_id: Option<String>,
    /// Secret of that key.
    pub secret_access_key: Option<String>,
    /// Token of a temporary key.
    pub session_token: Option<String>,
    /// Whether requests without TLS are allowed.
    pub allow_http: bool,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted_style: bool,
}

/// Settings of Google Cloud Storage; what is `None` comes from the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcsOptions {
    /// Base address of a server that is not Google's.
    pub endpoint: Option<String>,
    /// File with the credentials of an application.
    pub credentials_path: Option<String>,
    /// Whether requests without TLS are allowed.
    pub allow_http: bool,
}

/// Settings of Azure Blob Storage; what is `None` comes from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AzureOptions {
    /// The storage account.
    pub account: Option<String>,
    /// Key of the account.
    pub access_key: Option<String>,
    /// Base address of a server that is not Azure's.
    pub endpoint: Option<String>,
    /// Whether requests without TLS are allowed.
    pub allow_http: bool,
}

/// Shows no secret.
impl fmt::Debug for AzureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureOptions")
            .field("account", &self.account)
            .field("access_key", &self.access_key.as_ref().map(|_| "***"))
            .field("endpoint", &self.endpoint)
            .field("allow_http", &self.allow_http)
            .finish()
    }
}

/// Shows no secret.
impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "***");
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &hidden(&self.secret_access_key))
            .field("session_token", &hidden(&self.session_token))
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted_style", &self.virtual_hosted_style)
            .finish()
    }
}

/// Who keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// S3, or a server that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Service {
    /// What its addresses begin with, before `://`.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }
}

/// What a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder on a local disk.
    Folder(PathBuf),
    /// A prefix (perhaps empty) within a bucket.
    Bucket {
        /// Who keeps it.
        service: Service,
        /// The bucket, or Azure's container.
        bucket: String,
        /// Everything after it, without slashes at its ends.
        prefix: Path,
    },
}

impl Location {
    /// Reads `s3://bucket/prefix`, `gs://…`, `az://…` or the path of a local folder.
    ///
    /// # Errors
    /// Another scheme, an empty bucket, a prefix that is no path of objects.
    pub fn parse(uri: &str) -> Result<Self, StorageError> {
        let refused = |problem: &str| StorageError::Uri { uri: uri.to_owned(), problem: problem.to_owned() };
        let Some((scheme, rest)) = uri.split_once("://") else {
            return match uri.is_empty() {
                true => Err(refused("it is empty")),
                false => Ok(Self::Folder(PathBuf::from(uri))),
            };
        };
        let services = [Service::S3, Service::Gcs, Service::Azure];
        let Some(service) = services.into_iter().find(|service| service.scheme() == scheme) else {
            return Err(refused(&format!("nothing speaks `{scheme}`")));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(refused("the bucket is missing"));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|e| refused(&e.to_string()))?;
        Ok(Self::Bucket { service, bucket: bucket.to_owned(), prefix })
    }
}

/// An object store and the place in it that a URI names.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The whole store: a bucket, or a local disk from the folder down.
    pub store: Arc<dyn ObjectStore>,
    /// The place within it; empty for its root.
    pub prefix: Path,
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The URI is none of ours.
    #[error("`{uri}`: {problem}; expected a local folder or s3://, gs:// or az://bucket/prefix")]
    Uri {
        /// As given.
        uri: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The options do not make a store.
    #[error("cannot open `{uri}`: {source}")]
    Options {
        /// As given.
        uri: String,
        /// What the client says.
        source: object_store::Error,
    },
    /// A local folder cannot be made.
    #[error("cannot make folder `{uri}`: {source}")]
    Folder {
        /// As given.
        uri: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl From<StorageError> for SinkError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Folder { .. } => SinkError::retry(error.to_string()),
            StorageError::Uri { .. } | StorageError::Options { .. } => SinkError::person(error.to_string()),
        }
    }
}

/// Opens the place that `uri` names; makes a local folder that is missing. Sends no request.
///
/// Every request of the store is bounded: 60 s each, 5 s to connect, made again at most 6 times within 30 s after
/// server errors and broken connections. A conditional put that was made again may find its own first attempt there
/// already: callers compare what they find.
///
/// # Errors
/// What is wrong with the URI or the options.
pub fn open(uri: &str, options: Option<&StorageOptions>) -> Result<Opened, StorageError> {
    match Location::parse(uri)? {
        Location::Folder(folder) => {
            let made = std::fs::create_dir_all(&folder);
            made.map_err(|source| StorageError::Folder { uri: uri.to_owned(), source })?;
            let store = LocalFileSystem::new_with_prefix(&folder);
            let store = store.map_err(|source| StorageError::Options { uri: uri.to_owned(), source })?;
            Ok(Opened { store: Arc::new(store), prefix: Path::default() })
        }
        Location::Bucket { service, bucket, prefix } => {
            let failed = |source| StorageError::Options { uri: uri.to_owned(), source };
            let store: Arc<dyn ObjectStore> = match (service, options.cloned()) {
                (Service::S3, None) => Arc::new(s3(&bucket, S3Options::default()).build().map_err(failed)?),
                (Service::S3, Some(StorageOptions::S3(o))) => Arc::new(s3(&bucket, o).build().map_err(failed)?),
                (Service::Gcs, None) => Arc::new(gcs(&bucket, GcsOptions::default()).build().map_err(failed)?),
                (Service::Gcs, Some(StorageOptions::Gcs(o))) => Arc::new(gcs(&bucket, o).build().map_err(failed)?),
                (Service::Azure, None) => Arc::new(azure(&bucket, AzureOptions::default()).build().map_err(failed)?),
                (Service::Azure, Some(StorageOptions::Azure(o))) => {
                    Arc::new(azure(&bucket, o).build().map_err(failed)?)
                }
                (_, Some(other)) => {
                    let problem = format!("its storage is reached with {}://…", other.service().scheme());
                    return Err(StorageError::Uri { uri: uri.to_owned(), problem });
                }
            };
            Ok(Opened { store, prefix })
        }
    }
}

/// Checks a URI and its options without touching anything.
///
/// # Errors
/// As [`open`].
pub fn check(uri: &str, options: Option<&StorageOptions>) -> Result<(), StorageError> {
    match Location::parse(uri)? {
        Location::Folder(_) => Ok(()),
        Location::Bucket { .. } => open(uri, options).map(drop),
    }
}

/// The place that `uri` names as the files sink needs it. A local folder is used directly, for an object store
/// knows nothing of fsync. Sends no request.
///
/// # Errors
/// As [`open`].
///
/// # Panics
/// Outside of a multi-threaded tokio runtime: it carries the requests of encoder threads.
pub fn open_files(uri: &str, options: Option<&StorageOptions>) -> Result<Arc<dyn Store>, StorageError> {
    Ok(match Location::parse(uri)? {
        Location::Folder(folder) => Arc::new(LocalStore::new(folder)),
        Location::Bucket { .. } => {
            let Opened { store, prefix } = open(uri, options)?;
            Arc::new(ObjectStoreFiles::new(store, prefix, Handle::current()))
        }
    })
}

fn s3(bucket: &str, options: S3Options) -> AmazonS3Builder {
    // Fixed keys and, say, the environment's session token do not belong together.
    let fixed = options.access_key_id.is_some() && options.secret_access_key.is_some();
    let mut builder = if fixed { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
    let client = |key| AmazonS3ConfigKey::Client(key);
    builder = builder
        .with_bucket_name(bucket)
        .with_config(client(ClientConfigKey::Timeout), format!("{} seconds", REQUEST.as_secs()))
        .with_config(client(ClientConfigKey::ConnectTimeout), format!("{} seconds", CONNECT.as_secs()));
    // What is not said here may still be said by the environment.
    if options.allow_http {
        builder = builder.with_allow_http(true);
    }
    if options.virtual_hosted_style {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    if let Some(endpoint) = options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = options.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (options.access_key_id, options.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        if let Some(token) = options.session_token {
            builder = builder.with_token(token);
        }
    }
    builder.with_retry(retry())
}

fn gcs(bucket: &str, options: GcsOptions) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if let Some(path) = options.credentials_path {
        builder = builder.with_application_credentials(path);
    }
    builder.with_client_options(client(options.allow_http)).with_retry(retry())
}

fn azure(container: &str, options: AzureOptions) -> MicrosoftAzureBuilder {
    // A fixed key and, say, the environment's token do not belong together.
    let fixed = options.access_key.is_some();
    let mut builder = if fixed { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
    builder = builder.with_container_name(container);
    if let Some(account) = options.account {
        builder = builder.with_account(account);
    }
    if let Some(key) = options.access_key {
        builder = builder.with_access_key(key);
    }
    if let Some(endpoint) = options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.with_client_options(client(options.allow_http)).with_retry(retry())
}

fn client(allow_http: bool) -> ClientOptions {
    ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT).with_allow_http(allow_http)
}

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_folder_or_a_place_in_a_bucket() {
        let place = |service, bucket: &str, prefix: &str| Location::Bucket {
            service,
            bucket: bucket.into(),
            prefix: prefix.into(),
        };
        let s3 = |bucket: &str, prefix: &str| place(Service::S3, bucket, prefix);
        for (uri, expected) in [
            ("./out/orders", Location::Folder("./out/orders".into())),
            ("/var/lib/out", Location::Folder("/var/lib/out".into())),
            ("s3://lake/orders/eu/", s3("lake", "orders/eu")),
            ("s3://lake", s3("lake", "")),
            ("s3://lake/", s3("lake", "")),
            ("gs://lake/x", place(Service::Gcs, "lake", "x")),
            ("az://lake/x/y", place(Service::Azure, "lake", "x/y")),
        ] {
            assert_eq!(Location::parse(uri).unwrap(), expected, "{uri}");
        }
        for (uri, problem) in
            [("hdfs://lake/x", "`hdfs`"), ("s3:///x", "bucket is missing"), ("s3://lake/a//b", "empty"), ("", "empty")]
        {
            let error = Location::parse(uri).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("expected a local folder or s3://"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = StorageOptions::S3(S3Options {
            access_key_id: Some("id".into()),
            secret_access_key: Some("hunter2".into()),
            session_token: Some("hunter3".into()),
            ..S3Options::default()
        });
        let opened = open("s3://lake/orders", Some(&options)).unwrap();
        let shown = format!("{options:?} {opened:?} {}", opened.store);
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(opened.prefix, Path::from("orders"));
    }

    #[test]
    fn each_service_is_reached_with_its_own_settings() {
        let gcs = StorageOptions::Gcs(GcsOptions { allow_http: true, ..GcsOptions::default() });
        let azure = StorageOptions::Azure(AzureOptions {
            account: Some("tidemill".into()),
            access_key: Some("aHVudGVyMg==".into()),
            ..AzureOptions::default()
        });
        let opened = open("az://lake/orders", Some(&azure)).unwrap();
        let shown = format!("{azure:?} {opened:?} {}", opened.store);
        assert!(shown.contains("tidemill") && !shown.contains("aHVu"), "{shown}");
        assert_eq!(opened.prefix, Path::from("orders"));
        for (uri, options, scheme) in [("s3://b/p", &gcs, "gs://"), ("gs://b/p", &azure, "az://")] {
            let error = open(uri, Some(options)).unwrap_err().to_string();
            assert!(error.contains(scheme), "{error}");
        }
        assert!(open("az://lake/orders", Some(&StorageOptions::Azure(AzureOptions::default()))).is_err(), "no account");
    }
}
