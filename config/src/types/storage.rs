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
