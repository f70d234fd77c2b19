//! Who may change something through the API: a pure decision about a request's head.
//!
//! A browser must not be made to send verbs by a page of somebody else. A page can send a "simple" request anywhere,
//! but neither our content type nor another origin's name without being asked first, and nothing here answers such a
//! question; and a name that was made to point at a loopback address is not one that we go by.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};

/// What the daemon is, as far as the decision goes.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// `api_token`.
    pub token: Option<&'a str>,
}

/// Whether a request that changes something may pass.
pub(super) fn check(ground: Ground<'_>, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let refuse = |why: &str| Err((StatusCode::FORBIDDEN, why.to_owned()));
    let is_loopback = ground.address.ip().is_loopback();
    let host = text(header::HOST).unwrap_or_default();
    if is_loopback && !names_loopback(host) {
        return refuse("the Host header names another host: use localhost, 127.0.0.1 or [::1]");
    }
    if let Some(origin) = text(header::ORIGIN) {
        let same = origin.split_once("://").is_some_and(|(_, rest)| rest == host);
        if !same {
            return refuse("a page of another origin may not do this");
        }
    }
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let why = "expected the header Content-Type: application/json, also without a body";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.into()));
    }
    match ground.token {
        None if is_loopback => Ok(()),
        None => refuse("this daemon listens beyond loopback: without [daemon] api_token nothing can be changed here"),
        Some(token) => {
            let given = text(header::AUTHORIZATION).and_then(bearer);
            if given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
                return Ok(());
            }
            let why = match given {
                None => "expected the header Authorization: Bearer TOKEN ([daemon] api_token)",
                Some(_) => "another token than [daemon] api_token",
            };
            Err((StatusCode::UNAUTHORIZED, why.into()))
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `localhost`, or an address of the loopback net, with or without a port.
fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Compares in a time that does not say how much of it was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");
    const TOKEN: &str = "0123456789abcdef";

    fn status(address: &str, token: Option<&str>, headers: &[(&str, &str)]) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let ground = Ground { address: address.parse().unwrap(), token };
        check(ground, &map).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn on_loopback_without_a_token() {
        let at = |headers: &[(&str, &str)]| status("127.0.0.1:9464", None, headers);
        for host in ["localhost", "localhost:9464", "127.0.0.1:9464", "[::1]:9464", "127.1.2.3", "LocalHost:1"] {
            assert_eq!(at(&[("host", host), JSON]), 200, "{host}");
        }
        for host in ["evil.example:9464", "localhost.evil.example", "10.0.0.1:9464", "", "[::2]", "127.0.0.1.evil"] {
            assert_eq!(at(&[("host", host), JSON]), 403, "{host}");
        }
        assert_eq!(at(&[JSON]), 403, "no host at all");
    }

    #[test]
    fn what_a_page_of_somebody_else_can_send_does_not_pass() {
        let at = |headers: &[(&str, &str)]| status("127.0.0.1:9464", None, headers);
        let host = ("host", "localhost:9464");
        assert_eq!(at(&[host]), 415);
        for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"] {
            assert_eq!(at(&[host, ("content-type", simple)]), 415, "{simple}");
        }
        assert_eq!(at(&[host, ("content-type", "Application/JSON; charset=utf-8")]), 200);
        assert_eq!(at(&[host, JSON, ("origin", "http://localhost:9464")]), 200, "our own page");
        for origin in ["http://evil.example", "null", "http://localhost:1", "http://localhost:9464.evil.example"] {
            assert_eq!(at(&[host, JSON, ("origin", origin)]), 403, "{origin}");
        }
    }

    #[test]
    fn a_token_where_there_is_one_and_nothing_beyond_loopback_without() {
        let host = ("host", "tidemill.internal:9464");
        assert_eq!(status("0.0.0.0:9464", None, &[host, JSON]), 403);
        assert_eq!(status("10.0.0.1:9464", None, &[("host", "localhost"), JSON]), 403, "Host says nothing here");
        let at = |value: &str| status("0.0.0.0:9464", Some(TOKEN), &[host, JSON, ("authorization", value)]);
        assert_eq!(at(&format!("Bearer {TOKEN}")), 200);
        assert_eq!(at(&format!("bearer  {TOKEN}")), 200);
        for wrong in ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Bearer", "Basic 0123456789abcdef", TOKEN] {
            assert_eq!(at(wrong), 401, "{wrong}");
        }
        assert_eq!(status("0.0.0.0:9464", Some(TOKEN), &[host, JSON]), 401);
        assert_eq!(status("127.0.0.1:1", Some(TOKEN), &[("host", "localhost"), JSON]), 401, "on loopback too");
    }
}
