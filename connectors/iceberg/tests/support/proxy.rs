//! Stands between the sink and the catalog: one request a connection, and commits whose answers are lost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to the next commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Nothing: they pass.
    None,
    /// The next one is not passed on, and the connection breaks.
    NotSent,
    /// The next one is carried out, and the connection breaks before the answer.
    NoAnswer,
    /// The next one is carried out, and the answer is 502.
    BadGateway,
    /// The next one is carried out twice, and the second answer is given: what a gateway does that tries again.
    Twice,
    /// The next one is not passed on: the answer is 429, come again in a second.
    TooMany,
    /// The next one is not passed on: the answer is 429, come again in an hour.
    MuchTooMany,
    /// The next one is not passed on: the answer is 401.
    Unauthorized,
}

const FAULTS: [Fault; 8] = [
    Fault::None,
    Fault::NotSent,
    Fault::NoAnswer,
    Fault::BadGateway,
    Fault::Twice,
    Fault::TooMany,
    Fault::MuchTooMany,
    Fault::Unauthorized,
];

pub struct Proxy {
    address: SocketAddr,
    fault: Arc<AtomicU8>,
    commits: Arc<AtomicU32>,
    heads: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("has an address");
        let (fault, commits) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU32::new(0)));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (of_all, count, seen) = (fault.clone(), commits.clone(), heads.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, to, of_all.clone(), count.clone(), seen.clone()));
            }
        });
        Self { address, fault, commits, heads, task }
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn next(&self, fault: Fault) {
        self.fault.store(fault as u8, Ordering::SeqCst);
    }

    pub fn lose_answer(&self, landed: bool) {
        self.next(if landed { Fault::NoAnswer } else { Fault::NotSent });
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }

    /// Commits seen so far.
    pub fn commits(&self) -> u32 {
        self.commits.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    to: SocketAddr,
    fault: Arc<AtomicU8>,
    commits: Arc<AtomicU32>,
    heads: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let request = read(&mut client).await?;
    let text = String::from_utf8_lossy(&request);
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    heads.lock().expect("not poisoned").push(head);
    let is_commit = text.starts_with("POST ") && text.contains("\"updates\":");
    let mut now = Fault::None;
    if is_commit {
        commits.fetch_add(1, Ordering::SeqCst);
        now = FAULTS[usize::from(fault.swap(0, Ordering::SeqCst))];
    }
    let answer = match now {
        Fault::None => ask(to, &request).await?,
        Fault::NotSent => return None,
        Fault::NoAnswer => {
            ask(to, &request).await?;
            return None;
        }
        Fault::BadGateway => {
            ask(to, &request).await?;
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }
        Fault::Twice => {
            ask(to, &request).await?;
            ask(to, &request).await?
        }
        Fault::Unauthorized => b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        Fault::TooMany | Fault::MuchTooMany => {
            let seconds = if now == Fault::TooMany { 1 } else { 3600 };
            format!("HTTP/1.1 429 Too Many\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .into()
        }
    };
    client.write_all(&answer).await.ok()?;
    client.shutdown().await.ok()
}

/// A whole request, with `Connection: close` in its head.
async fn read(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head.lines().find_map(|l| {
                let (name, value) = l.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0);
            while bytes.len() < whole {
                if client.read_buf(&mut bytes).await.ok()? == 0 {
                    return None;
                }
            }
            let mut request = format!("{head}\r\nConnection: close\r\n\r\n").into_bytes();
            request.extend_from_slice(&bytes[end + 4..whole]);
            return Some(request);
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn ask(to: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(to).await.ok()?;
    server.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}
