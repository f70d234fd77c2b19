//! The address that the daemon listens on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::form_schema;

/// An address to listen on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Default for Listen {
    fn default() -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464))
    }
}

form_schema!(impl Listen, { "type": "string", "x-form": "listen" });

/// Reads `IP:PORT` or `localhost:PORT`.
pub(crate) fn parse(text: &str) -> Result<Listen, String> {
    if let Ok(address) = text.parse() {
        return Ok(Listen(address));
    }
    match text.rsplit_once(':') {
        None => Err("the port is missing".into()),
        Some((host, port)) => match port.parse::<u16>() {
            Err(_) => Err("the port is not a number from 0 to 65535".into()),
            Ok(port) if host == "localhost" => Ok(Listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))),
            Ok(_) if host.is_empty() => Err("the IP address is missing; 0.0.0.0 is all of IPv4".into()),
            Ok(_) => Err("the part before the port is not an IP address".into()),
        },
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parse("127.0.0.1:9464"), Ok(Listen::default()));
        assert_eq!(parse("localhost:9464"), Ok(Listen::default()));
        assert_eq!(parse("[::1]:0").map(|a| a.0.port()), Ok(0));
        for (text, error) in [
            ("127.0.0.1", "the port is missing"),
            ("127.0.0.1:99999", "the port is not a number from 0 to 65535"),
            (":9464", "the IP address is missing; 0.0.0.0 is all of IPv4"),
            ("example.org:9464", "the part before the port is not an IP address"),
        ] {
            assert_eq!(parse(text), Err(error.into()), "{text}");
        }
    }
}
