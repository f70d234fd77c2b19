//! Object stores, by their names in the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_config as config;
use tidemill_connectors::storage::{AzureOptions, GcsOptions, S3Options, StorageOptions};

/// The object stores of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Storages(Arc<BTreeMap<String, StorageOptions>>);

impl Storages {
    /// Those of these settings.
    #[must_use]
    pub fn of(settings: &BTreeMap<String, config::Storage>) -> Self {
        Self(Arc::new(settings.iter().map(|(name, storage)| (name.clone(), options(storage))).collect()))
    }

    /// The options that a sink names; `None`: the environment decides. (That a name exists is a rule of the
    /// configuration.)
    #[must_use]
    pub fn get(&self, name: Option<&config::Text>) -> Option<&StorageOptions> {
        self.0.get(name?.as_str())
    }
}

fn options(settings: &config::Storage) -> StorageOptions {
    let text = |text: &Option<config::Text>| text.as_ref().map(|t| t.as_str().to_owned());
    match settings {
        config::Storage::S3(s3) => StorageOptions::S3(S3Options {
            endpoint: text(&s3.endpoint),
            region: text(&s3.region),
            access_key_id: text(&s3.access_key_id),
            secret_access_key: text(&s3.secret_access_key),
            session_token: text(&s3.session_token),
            allow_http: s3.allow_http,
            virtual_hosted_style: s3.virtual_hosted_style,
        }),
        config::Storage::Gcs(gcs) => StorageOptions::Gcs(GcsOptions {
            endpoint: text(&gcs.endpoint),
            credentials_path: text(&gcs.credentials_path),
            allow_http: gcs.allow_http,
        }),
        config::Storage::Azure(azure) => StorageOptions::Azure(AzureOptions {
            account: text(&azure.account),
            access_key: text(&azure.access_key),
            endpoint: text(&azure.endpoint),
            allow_http: azure.allow_http,
        }),
    }
}
