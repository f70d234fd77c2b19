//! HTTP/1.1 messages, read whole: enough to count requests, to answer in a server's place and to lose an answer.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

/// Largest head and largest body; beyond them the connection ends.
const HEAD_BYTES: usize = 64 << 10;
const BODY_BYTES: usize = 256 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    pub(super) bytes: Vec<u8>,
}

/// The next request of a connection; `None` at its end.
pub(super) async fn request(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    if !head(from, &mut bytes).await? {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut words = text.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(invalid("request line")) };
    let (method, target) = (method.to_owned(), target.to_owned());
    body(from, &text, &mut bytes, false).await?;
    Ok(Some(Request { method, target, bytes }))
}

/// The answer to a request with this method.
pub(super) async fn answer(from: &mut BufReader<OwnedReadHalf>, method: &str) -> io::Result<Vec<u8>> {
    loop {
        let mut bytes = Vec::new();
        if !head(from, &mut bytes).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        match status {
            None => return Err(invalid("status line")),
            // `100 Continue` and the like stand before the answer.
            Some(100..=199) => continue,
            Some(204 | 304) => return Ok(bytes),
            Some(_) if method == "HEAD" => return Ok(bytes),
            Some(_) => body(from, &text, &mut bytes, true).await?,
        }
        return Ok(bytes);
    }
}

/// Reads to the empty line; false if the connection ended before the first byte.
async fn head(from: &mut BufReader<OwnedReadHalf>, into: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let before = into.len();
        let n = from.read_until(b'\n', into).await?;
        if n == 0 {
            return if into.is_empty() { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if into.len() > HEAD_BYTES {
            return Err(invalid("head longer than 64 KiB"));
        }
        if matches!(&into[before..], b"\r\n" | b"\n") && before > 0 {
            return Ok(true);
        }
    }
}

async fn body(from: &mut BufReader<OwnedReadHalf>, head: &str, into: &mut Vec<u8>, until_end: bool) -> io::Result<()> {
    let header = |name: &str| {
        head.lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
    };
    if header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        return chunks(from, into).await;
    }
    if let Some(length) = header("content-length") {
        let length: usize = length.parse().map_err(|_| invalid("content-length"))?;
        return exactly(from, into, length).await;
    }
    if until_end {
        from.take(BODY_BYTES as u64).read_to_end(into).await?;
    }
    Ok(())
}

async fn chunks(from: &mut BufReader<OwnedReadHalf>, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let start = into.len();
        from.read_until(b'\n', into).await?;
        let line = String::from_utf8_lossy(&into[start..]).into_owned();
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
        if size == 0 {
            // Trailers, then an empty line.
            loop {
                let start = into.len();
                from.read_until(b'\n', into).await?;
                if matches!(&into[start..], b"\r\n" | b"\n" | b"") {
                    return Ok(());
                }
            }
        }
        exactly(from, into, size + 2).await?;
    }
}

async fn exactly(from: &mut BufReader<OwnedReadHalf>, into: &mut Vec<u8>, length: usize) -> io::Result<()> {
    if into.len() + length > HEAD_BYTES + BODY_BYTES {
        return Err(invalid("body longer than 256 MiB"));
    }
    let start = into.len();
    into.resize(start + length, 0);
    from.read_exact(&mut into[start..]).await.map(|_| ())
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP/1.1 message that this proxy knows: {what}"))
}
