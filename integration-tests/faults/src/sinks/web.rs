//! The least of an HTTP client: for looking at servers past the proxies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

use crate::watch::LOOK;

/// Status and body of a request without a body.
pub(super) fn ask(server: SocketAddr, method: &str, target: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&server, LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(stream, "{method} {target} HTTP/1.0\r\nHost: {server}\r\nAccept: */*\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no end of the HTTP head")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
    Ok((status, body))
}
