//! Where the server is, read from a URL, and the URL without its password.

use std::time::Duration;

use tidemill_engine::sink::SinkError;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How far the server has to prove who it is: `sslmode`, with libpq's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// `disable`: no TLS. `prefer`, `require`: whoever answers.
    Nobody,
    /// `verify-ca`: a certificate that is signed by one of the roots.
    Signed,
    /// `verify-full`: and its name is the host's.
    Named,
}

/// Where to connect, and how.
#[derive(Clone)]
pub struct Target {
    pub(crate) config: Config,
    pub(crate) verify: Verify,
    /// `host:port/database`, for messages.
    pub(crate) place: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("place", &self.place).field("verify", &self.verify).finish_non_exhaustive()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that acknowledges nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(30);

impl Target {
    /// Reads `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…]`. With `ca`, `require` means `verify-ca`, as
    /// in libpq.
    ///
    /// # Errors
    /// A person error, which shows nothing of the URL's password.
    pub fn parse(url: &str, has_ca: bool) -> Result<Self, SinkError> {
        let person = |what: &str| SinkError::person(format!("url {}: {what}", redacted(url)));
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(person("expected postgres://USER@HOST:PORT/DATABASE"));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut mode = None;
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", _)) => return Err(person("give the certificates as `ca`, not as sslrootcert")),
                _ => rest.push(pair),
            }
        }
        let (ssl, verify) = match mode {
            Some("disable") => (SslMode::Disable, Verify::Nobody),
            None | Some("prefer") => (SslMode::Prefer, Verify::Nobody),
            Some("require") if has_ca => (SslMode::Require, Verify::Signed),
            Some("require") => (SslMode::Require, Verify::Nobody),
            Some("verify-ca") => (SslMode::Require, Verify::Signed),
            Some("verify-full") => (SslMode::Require, Verify::Named),
            Some(_) => return Err(person("sslmode is disable, prefer, require, verify-ca or verify-full")),
        };
        let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // The client's own error may quote the value that it does not understand.
        let mut config: Config = plain.parse().map_err(|_| person("not understood; percent-encode odd characters"))?;
        config.ssl_mode(ssl);
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(person("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(person("it names no user"));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE).keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
        };
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
        let place = format!("{host}:{port}/{database}");
        Ok(Self { config, verify, place })
    }
}

/// The URL as it may be shown: without its password, wherever in the URL that stands.
#[must_use]
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".into() };
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    // A password may hold an @ that was not encoded: everything up to the last one is hidden.
    let rest = match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{place}"),
            None => format!("{login}@{place}"),
        },
        None => rest.to_owned(),
    };
    let hide = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.eq_ignore_ascii_case("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    match query {
        Some(query) => format!("{scheme}://{rest}?{}", query.split('&').map(hide).collect::<Vec<_>>().join("&")),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_mean_what_they_mean_in_libpq() {
        let verify = |mode: &str, ca| {
            Target::parse(&format!("postgres://u@h/d{mode}"), ca).map(|t| (t.config.get_ssl_mode(), t.verify))
        };
        assert_eq!(verify("", false).unwrap(), (SslMode::Prefer, Verify::Nobody));
        assert_eq!(verify("?sslmode=disable", true).unwrap(), (SslMode::Disable, Verify::Nobody));
        assert_eq!(verify("?sslmode=require", false).unwrap(), (SslMode::Require, Verify::Nobody));
        assert_eq!(verify("?sslmode=require", true).unwrap(), (SslMode::Require, Verify::Signed));
        assert_eq!(verify("?sslmode=verify-ca", true).unwrap(), (SslMode::Require, Verify::Signed));
        assert_eq!(verify("?sslmode=verify-full&connect_timeout=3", true).unwrap().1, Verify::Named);
        assert!(verify("?sslmode=maybe", false).is_err());
    }

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("postgres://u:secret@h:1/d", "postgres://u:***@h:1/d"),
            ("postgres://u:sec@ret@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h/d?password=secret&x=1", "postgres://u@h/d?password=***&x=1"),
            ("secret", "***"),
        ] {
            assert_eq!(redacted(url), shown);
        }
        for bad in ["postgres://u:secret@h:port/d", "postgres://u:secret@h/d?sslmode=secret2", "mysql://u:secret@h"] {
            let message = Target::parse(bad, false).unwrap_err().to_string();
            assert!(!message.contains("u:secret"), "{message}");
        }
        let target = Target::parse("postgres://u:secret@h:7/d", false).unwrap();
        assert_eq!(target.place, "h:7/d");
        assert!(!format!("{target:?}").contains("secret"));
    }
}
