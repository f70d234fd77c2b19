//! What stands before the S3 server: it makes conditional puts and copies atomic, and faults on order.
//!
//! S3Mock looks whether an object exists and then writes it, without a lock between the two: of four clients that create
//! one object at once, up to four are told that they did. A copy whose source is deleted meanwhile takes the target with
//! it, also one that another copy had made: of 2,757 pairs of copies onto one object 7 ended without it although one was
//! answered with 200 (both tried, 4.9.1). With S3 itself each is atomic. So requests with `If-None-Match`, copies and
//! deletions go through here one at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// No client waits longer for a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fault of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server never sees it: this status is the answer.
    Refuse(u16),
    /// It is served, and the connection breaks before the answer.
    Swallow,
    /// The connection breaks before the server sees it.
    Drop,
    /// The answer comes later by this.
    Delay(Duration),
}

/// Faults to come: each for the next request that it fits.
#[derive(Debug, Default)]
struct Orders(Mutex<Vec<(String, Fault)>>);

/// The front. It runs as long as the process.
#[derive(Clone, Debug)]
pub struct Front {
    address: SocketAddr,
    orders: Arc<Orders>,
}

impl Front {
    /// Begins to listen for `server`.
    pub(crate) fn before(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (orders, turn) = (Arc::<Orders>::default(), Arc::<Mutex<()>>::default());
        let front = Self { address, orders: orders.clone() };
        std::thread::Builder::new().name("s3-front".into()).spawn(move || {
            for client in listener.incoming().flatten() {
                let (orders, turn) = (orders.clone(), turn.clone());
                // A client that goes away in the middle is its own business.
                let serve = move || drop(serve(client, server, &orders, &turn));
                if std::thread::Builder::new().spawn(serve).is_err() {
                    return;
                }
            }
        })?;
        Ok(front)
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next request whose first line contains `part` (`"PUT "`, `".json"`) gets this fault. Faults given earlier come
    /// first.
    pub fn fault(&self, part: &str, fault: Fault) {
        self.lock().push((part.to_owned(), fault));
    }

    /// Faults that have not come about.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Takes back the faults that have not come about.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Fault)>> {
        self.orders.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Request {
    line: String,
    bytes: Vec<u8>,
    /// One of those that S3Mock does not do atomically.
    alone: bool,
}

/// Serves one request and closes: the answer says so.
fn serve(client: TcpStream, server: SocketAddr, orders: &Orders, turn: &Mutex<()>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(client);
    let Some(request) = read(&mut reader)? else { return Ok(()) };
    let mut client = reader.into_inner();
    let fault = {
        let mut orders = orders.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = orders.iter().position(|(part, _)| request.line.contains(part.as_str()));
        found.map(|i| orders.remove(i).1)
    };
    match fault {
        Some(Fault::Drop) => return Ok(()),
        Some(Fault::Refuse(status)) => {
            let body = "<Error><Code>InternalError</Code><Message>on order</Message></Error>";
            let length = body.len();
            write!(
                client,
                "HTTP/1.1 {status} on order\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )?;
            return client.shutdown(Shutdown::Write);
        }
        _ => {}
    }
    let _turn = request.alone.then(|| turn.lock().unwrap_or_else(PoisonError::into_inner));
    let mut upstream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    upstream.set_read_timeout(Some(PATIENCE))?;
    upstream.write_all(&request.bytes)?;
    match fault {
        Some(Fault::Swallow) => {
            io::copy(&mut upstream, &mut io::sink())?;
            return Ok(());
        }
        Some(Fault::Delay(time)) => {
            let mut answer = Vec::new();
            upstream.read_to_end(&mut answer)?;
            std::thread::sleep(time);
            client.write_all(&answer)?;
        }
        _ => {
            io::copy(&mut upstream, &mut client)?;
        }
    }
    client.shutdown(Shutdown::Write)
}

/// Reads one request whole. `None`: the client closed.
fn read(client: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if client.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut alone = line.starts_with("DELETE ") || (line.starts_with("POST ") && line.contains("?delete"));
    let (mut head, mut length) = (line.clone().into_bytes(), 0u64);
    loop {
        let mut header = String::new();
        if client.read_line(&mut header)? == 0 {
            return Ok(None);
        }
        let lower = header.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(|_| io::Error::other("no length"))?;
        }
        alone |= lower.starts_with("if-none-match:") || lower.starts_with("x-amz-copy-source:");
        if lower.starts_with("expect:") {
            // A client that asks first (the AWS SDK for Java) waits for seconds when nobody says yes.
            client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            continue;
        }
        if header.trim_end().is_empty() {
            break;
        }
        if !lower.starts_with("connection:") {
            head.extend_from_slice(header.as_bytes());
        }
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    client.take(length).read_to_end(&mut head)?;
    Ok(Some(Request { line, bytes: head, alone }))
}
