//! Object stores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{Text, secret};

/// An object store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Storage {
    /// Amazon S3, or a server that speaks its protocol.
    S3(S3),
    /// Google Cloud Storage, for `gs://bucket/prefix`. Not tested against the service.
    Gcs(Gcs),
    /// Azure Blob Storage, for `az://container/prefix`. Not tested against the service.
    Azure(Azure),
}

impl Storage {
    /// What addresses in it begin with, before `://`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gs",
            Self::Azure(_) => "az",
        }
    }
}

/// Amazon S3, or a server that speaks its protocol and knows conditional puts (`If-None-Match`). What is left out comes
/// from the environment: `AWS_*` variables, web identity, container and instance credentials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Address of a server that is not AWS: `https://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "AWS, or `AWS_ENDPOINT_URL`"))]
    pub endpoint: Option<Text>,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`AWS_REGION`, else `us-east-1`"))]
    pub region: Option<Text>,
    /// Id of a fixed key. With it and its secret, nothing is taken from the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub access_key_id: Option<Text>,
    /// Secret of that key; best a reference.
    #[serde(default, deserialize_with = "secret", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub secret_access_key: Option<Text>,
    /// Token of a temporary key, beside `access_key_id`.
    #[serde(default, deserialize_with = "secret", skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Text>,
    /// Allows requests without TLS: an `endpoint` of `http://…`.
    #[serde(default)]
    pub allow_http: bool,
    /// Requests go to `bucket.host` instead of `host/bucket`.
    #[serde(default)]
    pub virtual_hosted_style: bool,
}

/// Google Cloud Storage. What is left out comes from the environment: `GOOGLE_*` variables, the credentials that
/// `gcloud` left, the instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gcs {
    /// Address of a server that is not Google's: `https://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "Google"))]
    pub endpoint: Option<Text>,
    /// File with the credentials of an application (JSON).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub credentials_path: Option<Text>,
    /// Allows requests without TLS: an `endpoint` of `http://…`.
    #[serde(default)]
    pub allow_http: bool,
}

/// Azure Blob Storage. What is left out comes from the environment: `AZURE_*` variables, workload and managed identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Azure {
    /// The storage account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "`AZURE_STORAGE_ACCOUNT_NAME`"))]
    pub account: Option<Text>,
    /// Key of the account; best a reference.
    #[serde(default, deserialize_with = "secret", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "the environment"))]
    pub access_key: Option<Text>,
    /// Address of a server that is not Azure's: `https://host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-default" = "Azure"))]
    pub endpoint: Option<Text>,
    /// Allows requests without TLS: an `endpoint` of `http://…`.
    #[serde(default)]
    pub allow_http: bool,
}
