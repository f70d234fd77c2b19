//! A client of Iceberg's REST catalogs: the five requests the sink needs, each with an answer that says for certain
//! whether it happened, did not, or may have.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use iceberg::spec::{Schema, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidemill_engine::clock::Clock;
use tidemill_engine::sink::{Reaction, SinkError};
use tokio::sync::Mutex;

use crate::options::{CatalogOptions, TableName};

/// Time for one request, answer included.
const REQUEST: Duration = Duration::from_secs(30);
/// Time until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// A token is renewed this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);
/// Separates the parts of a namespace in a path.
const NAMESPACE_SEPARATOR: &str = "\u{1f}";

/// Why a request was not carried out, or what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogError {
    /// It did not happen: what it asserted does not hold, or the thing exists.
    #[error("{0}")]
    Conflict(String),
    /// It did not happen: there is no such thing.
    #[error("{0}")]
    Missing(String),
    /// It did not happen: too many requests.
    #[error("{message}")]
    Busy {
        /// What the catalog says.
        message: String,
        /// When to come again, where it says so.
        retry_after: Option<Duration>,
    },
    /// It did not happen, for the catalog does not like it.
    #[error("{0}")]
    Invalid(String),
    /// It did not happen, and a person has to change something (address, rights).
    #[error("{0}")]
    Refused(String),
    /// It did not happen: there was no connection.
    #[error("{0}")]
    NotSent(String),
    /// It may have happened.
    #[error("{0}")]
    Unknown(String),
    /// It happened, and the answer is none that we know how to read.
    #[error("{0}")]
    Unreadable(String),
}

impl CatalogError {
    /// As an error of a request that may be made again at will.
    pub(crate) fn of_a_read(self) -> SinkError {
        match self {
            Self::Busy { message, retry_after } => SinkError { reaction: Reaction::Retry, message, retry_after },
            Self::Invalid(message) | Self::Refused(message) | Self::Missing(message) | Self::Unreadable(message) => {
                SinkError::person(message)
            }
            Self::Conflict(message) | Self::NotSent(message) | Self::Unknown(message) => SinkError::retry(message),
        }
    }
}

/// A table as the catalog answers it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoadedTable {
    pub(crate) metadata: TableMetadata,
    /// How to reach its files, where the catalog says so.
    #[serde(default)]
    pub(crate) config: HashMap<String, String>,
    #[serde(default)]
    pub(crate) storage_credentials: Option<Vec<StorageCredential>>,
}

/// Credentials for everything below a prefix.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StorageCredential {
    pub(crate) prefix: String,
    pub(crate) config: HashMap<String, String>,
}

/// A table to be made.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NewTable<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Schema,
    pub(crate) partition_spec: &'a UnboundPartitionSpec,
    pub(crate) properties: BTreeMap<&'a str, &'a str>,
}

/// A change of a table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) updates: Vec<TableUpdate>,
}

#[derive(Deserialize)]
struct Changed {
    metadata: TableMetadata,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorModel,
}

#[derive(Deserialize)]
struct ErrorModel {
    #[serde(default)]
    message: String,
    #[serde(default, rename = "type")]
    kind: String,
}

struct Token {
    value: String,
    /// On the clock's monotonic time.
    ends: Option<Duration>,
}

/// A catalog that answered once.
pub(crate) struct RestCatalog {
    http: Client,
    uri: Url,
    properties: BTreeMap<String, String>,
    options: CatalogOptions,
    /// Asks for credentials of the table's storage.
    delegate: bool,
    token: Mutex<Option<Token>>,
    clock: Clock,
}

impl RestCatalog {
    /// Checks the options; sends nothing. `delegate`: the catalog is asked for credentials of the table's storage.
    pub(crate) fn new(options: &CatalogOptions, delegate: bool, clock: &Clock) -> Result<Self, SinkError> {
        let uri = parse(&options.uri)?;
        let mut headers = HeaderMap::new();
        for (key, value) in &options.properties {
            let Some(name) = key.strip_prefix("header.") else { continue };
            let name = HeaderName::try_from(name)
                .map_err(|_| SinkError::person(format!("catalog.properties: `{name}` is no name of a header")))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| SinkError::person(format!("catalog.properties: `{key}` holds no value of a header")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let http = Client::builder()
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .build()
            .map_err(|e| SinkError::person(format!("no HTTP client can be made: {e}")))?;
        Ok(Self {
            http,
            uri,
            properties: options.properties.clone(),
            options: options.clone(),
            delegate,
            token: Mutex::new(None),
            clock: clock.clone(),
        })
    }

    /// Asks the catalog for its configuration.
    pub(crate) async fn connect(&mut self) -> Result<(), SinkError> {
        let mut url = self.url(&["v1", "config"])?;
        if let Some(warehouse) = &self.options.warehouse {
            url.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let config: Config = self.get(url).await.map_err(|e| match e {
            CatalogError::Missing(m) => SinkError::person(format!("{m}; catalog.uri is the address without `/v1`")),
            other => other.of_a_read(),
        })?;
        let mut properties = config.defaults;
        properties.extend(self.options.properties.clone());
        properties.extend(config.overrides);
        if let Some(uri) = properties.get("uri") {
            self.uri = parse(uri)?;
        }
        self.properties = properties;
        Ok(())
    }

    /// Loads a table; `None`: there is none.
    pub(crate) async fn load(&self, table: &TableName) -> Result<Option<LoadedTable>, SinkError> {
        match self.get(self.table_url(table)?).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(CatalogError::Missing(_)) => Ok(None),
            Err(other) => Err(other.of_a_read()),
        }
    }

    /// Makes the namespace of a table unless it is there.
    pub(crate) async fn create_namespace(&self, table: &TableName) -> Result<(), CatalogError> {
        let url = self.prefixed(&["namespaces"]).map_err(|e| CatalogError::Refused(e.message))?;
        let body = serde_json::json!({ "namespace": table.namespace, "properties": {} });
        match self.post::<serde_json::Value>(url, &body).await {
            Ok(_) | Err(CatalogError::Conflict(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Makes a table.
    pub(crate) async fn create_table(
        &self,
        table: &TableName,
        new: &NewTable<'_>,
    ) -> Result<LoadedTable, CatalogError> {
        let namespace = table.namespace.join(NAMESPACE_SEPARATOR);
        let url = self.prefixed(&["namespaces", &namespace, "tables"]);
        self.post(url.map_err(|e| CatalogError::Refused(e.message))?, new).await
    }

    /// Changes a table, if what the change requires holds. Answers the table after it.
    pub(crate) async fn commit(&self, table: &TableName, change: &Change) -> Result<TableMetadata, CatalogError> {
        let url = self.table_url(table).map_err(|e| CatalogError::Refused(e.message))?;
        self.post::<Changed>(url, change).await.map(|changed| changed.metadata)
    }

    fn url(&self, segments: &[&str]) -> Result<Url, SinkError> {
        let mut url = self.uri.clone();
        match url.path_segments_mut() {
            Ok(mut path) => path.pop_if_empty().extend(segments),
            Err(()) => return Err(SinkError::person(format!("catalog.uri: `{}` has no path", self.uri))),
        };
        Ok(url)
    }

    fn prefixed(&self, segments: &[&str]) -> Result<Url, SinkError> {
        let prefix = self.properties.get("prefix").map_or("", |p| p.trim_matches('/'));
        let mut all = vec!["v1"];
        all.extend(prefix.split('/').filter(|part| !part.is_empty()));
        all.extend(segments);
        self.url(&all)
    }

    fn table_url(&self, table: &TableName) -> Result<Url, SinkError> {
        self.prefixed(&["namespaces", &table.namespace.join(NAMESPACE_SEPARATOR), "tables", &table.name])
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, CatalogError> {
        self.request(Method::GET, url, None).await
    }

    async fn post<T: DeserializeOwned>(&self, url: Url, body: &impl Serialize) -> Result<T, CatalogError> {
        let body =
            serde_json::to_vec(body).map_err(|e| CatalogError::Refused(format!("cannot write a request: {e}")))?;
        self.request(Method::POST, url, Some(body)).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<T, CatalogError> {
        let mut renewed = false;
        loop {
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(token) = self.bearer(renewed).await? {
                request = request.bearer_auth(token);
            }
            if self.delegate {
                request = request.header("X-Iceberg-Access-Delegation", "vended-credentials");
            }
            if let Some(body) = &body {
                request = request.header("Content-Type", "application/json").body(body.clone());
            }
            let place = format!("{method} {url}");
            let answer = request.send().await.map_err(|e| failed(&place, &e))?;
            let status = answer.status();
            // The token ended early: nothing was done.
            let stale = status == StatusCode::UNAUTHORIZED || status.as_u16() == 419;
            if stale && self.options.credential.is_some() && !renewed {
                renewed = true;
                continue;
            }
            let retry_after = answer.headers().get("Retry-After").and_then(|v| v.to_str().ok()?.trim().parse().ok());
            let bytes = answer.bytes().await;
            if status.is_success() {
                let bytes = bytes.map_err(|e| CatalogError::Unknown(format!("{place}: the answer broke off: {e}")))?;
                let read = serde_json::from_slice(if bytes.is_empty() { b"null" } else { &bytes });
                return read
                    .map_err(|e| CatalogError::Unreadable(format!("{place}: an answer that cannot be read: {e}")));
            }
            let said = said(&bytes.unwrap_or_default());
            return Err(judged(status, format!("{place}: {status}{said}"), retry_after.map(Duration::from_secs)));
        }
    }

    /// The token to send. `renew`: the one at hand was refused.
    async fn bearer(&self, renew: bool) -> Result<Option<String>, CatalogError> {
        let Some(credential) = &self.options.credential else { return Ok(self.options.token.clone()) };
        let mut held = self.token.lock().await;
        let now = self.clock.now();
        if let Some(token) = held.as_ref().filter(|t| !renew && t.ends.is_none_or(|ends| now < ends)) {
            return Ok(Some(token.value.clone()));
        }
        let property = |key: &str| self.properties.get(key).map(String::as_str);
        // What is asked before the request itself: whatever goes wrong, the request was not sent.
        let not_sent = |e: String| CatalogError::NotSent(e);
        let url = match property("oauth2-server-uri") {
            Some(uri) if uri.contains("://") => Url::parse(uri).map_err(|e| not_sent(e.to_string()))?,
            Some(path) => self
                .url(&path.split('/').filter(|p| !p.is_empty()).collect::<Vec<_>>())
                .map_err(|e| not_sent(e.message))?,
            None => self.url(&["v1", "oauth", "tokens"]).map_err(|e| not_sent(e.message))?,
        };
        let (id, secret) = match credential.split_once(':') {
            Some((id, secret)) => (Some(id), secret),
            None => (None, credential.as_str()),
        };
        let mut form = vec![("grant_type", "client_credentials"), ("client_secret", secret)];
        form.extend(id.map(|id| ("client_id", id)));
        form.push(("scope", property("scope").unwrap_or("catalog")));
        for key in ["audience", "resource"] {
            form.extend(property(key).map(|value| (key, value)));
        }
        let answer = self.http.post(url.clone()).form(&form).send().await;
        let answer = answer.map_err(|e| not_sent(format!("no token from {url}: {}", causes(&e))))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|e| not_sent(format!("no token from {url}: {e}")))?;
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            return Err(CatalogError::Refused(format!("no token from {url}: {status}{}", said(&bytes))));
        }
        if !status.is_success() {
            return Err(not_sent(format!("no token from {url}: {status}{}", said(&bytes))));
        }
        let answer: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|e| not_sent(format!("no token from {url}: {e}")))?;
        let ends = answer.expires_in.map(|s| now + Duration::from_secs(s).saturating_sub(TOKEN_MARGIN));
        let token = held.insert(Token { value: answer.access_token, ends });
        Ok(Some(token.value.clone()))
    }
}

fn parse(uri: &str) -> Result<Url, SinkError> {
    match Url::parse(uri) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(SinkError::person(format!("catalog.uri: expected http://host:port or https://…, found `{uri}`"))),
    }
}

/// What an answer other than success means for the request.
fn judged(status: StatusCode, message: String, retry_after: Option<Duration>) -> CatalogError {
    match status.as_u16() {
        409 => CatalogError::Conflict(message),
        404 => CatalogError::Missing(message),
        429 => CatalogError::Busy { message, retry_after },
        400 | 422 => CatalogError::Invalid(message),
        // A gateway says 503 also for a connection that broke after the catalog had the request.
        500.. => CatalogError::Unknown(message),
        _ => CatalogError::Refused(message),
    }
}

fn failed(place: &str, error: &reqwest::Error) -> CatalogError {
    let message = format!("{place}: {}", causes(error));
    if error.is_connect() {
        CatalogError::NotSent(message)
    } else if error.is_builder() {
        CatalogError::Refused(message)
    } else {
        CatalogError::Unknown(message)
    }
}

/// An error with what lies beneath it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut at: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = at {
        text = format!("{text}: {cause}");
        at = cause.source();
    }
    text
}

/// What a catalog says about an error, kept short.
fn said(body: &[u8]) -> String {
    if let Ok(answer) = serde_json::from_slice::<ErrorAnswer>(body) {
        return format!(": {} ({})", answer.error.message, answer.error.kind);
    }
    let text = String::from_utf8_lossy(body);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(properties: &[(&str, &str)]) -> RestCatalog {
        let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let options =
            CatalogOptions { uri: "https://lake.example:8443/api/".into(), properties, ..CatalogOptions::default() };
        RestCatalog::new(&options, false, &Clock::system()).unwrap()
    }

    #[test]
    fn addresses_hold_what_names_hold() {
        let table = TableName { namespace: vec!["shop".into(), "e u".into()], name: "a/b".into() };
        let url = catalog(&[("prefix", "ws/1")]).table_url(&table).unwrap();
        assert_eq!(url.as_str(), "https://lake.example:8443/api/v1/ws/1/namespaces/shop%1Fe%20u/tables/a%2Fb");
        let plain = catalog(&[]).table_url(&TableName { namespace: vec!["n".into()], name: "t".into() }).unwrap();
        assert_eq!(plain.as_str(), "https://lake.example:8443/api/v1/namespaces/n/tables/t");
        for uri in ["", "lake:8181", "ftp://lake", "http://"] {
            assert!(parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn only_a_clear_no_is_a_no() {
        let of = |code: u16| judged(StatusCode::from_u16(code).unwrap(), String::new(), Some(Duration::from_secs(7)));
        for code in [500, 501, 502, 503, 504, 507, 520] {
            assert_eq!(of(code), CatalogError::Unknown(String::new()), "{code}");
        }
        assert_eq!(of(409), CatalogError::Conflict(String::new()));
        assert_eq!(of(404), CatalogError::Missing(String::new()));
        assert_eq!(of(400), CatalogError::Invalid(String::new()));
        assert_eq!(of(403), CatalogError::Refused(String::new()));
        assert_eq!(of(429), CatalogError::Busy { message: String::new(), retry_after: Some(Duration::from_secs(7)) });
    }
}
