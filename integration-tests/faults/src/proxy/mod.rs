//! A proxy of our own on loopback, between any two parts, that makes the network misbehave.
//!
//! Each proxy listens on one port and forwards to one address. What it does to the bytes is its [`Mode`], which may
//! change at any time. A connection from which something was swallowed is broken for good: it is cut when the mode
//! changes back to [`Mode::Open`].

mod http;
mod message;
mod spot;
mod tcp;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use message::Request;
pub use spot::Speech;

/// What a proxy does to the connections through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards.
    Open,
    /// Nobody listens, and every connection is cut.
    Refuse,
    /// Every piece waits so long, in both directions.
    Delay(Duration),
    /// So many bytes a second for each connection and direction.
    Throttle(u64),
    /// Accepts, swallows what is said, and never answers.
    HalfOpen,
    /// Forwards what is said, and swallows every answer.
    SwallowAnswers,
    /// Forwards a commit (see [`Speech`]), and swallows whatever comes back on that connection from then on.
    SwallowCommit,
    /// HTTP only: answers every `nth` request with this status. `after`: the server did what was asked all the same.
    Answer {
        /// The status code.
        status: u16,
        /// 1: every request.
        nth: u64,
        /// Whether the server gets the request first.
        after: bool,
    },
}

/// A running proxy. Dropped = its port is closed and its connections are cut.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    speech: Speech,
    upstream: Mutex<Option<SocketAddr>>,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    requests: AtomicU64,
    hits: AtomicU64,
}

impl Shared {
    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(upstream) = upstream else { return Err(std::io::ErrorKind::ConnectionRefused.into()) };
        let stream = TcpStream::connect(upstream).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Proxy {
    /// Listens on a free port of loopback. Connections are closed at once until [`forward_to`](Self::forward_to).
    pub fn start(runtime: &Handle, speech: Speech) -> Result<Self> {
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("the proxy finds no free port on loopback")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            speech,
            upstream: Mutex::new(None),
            mode: watch::Sender::new(Mode::Open),
            cuts: watch::Sender::new(0),
            requests: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        });
        let task = runtime.spawn(accept(listener, port, shared.clone()));
        Ok(Self { port, shared, task })
    }

    /// Where it listens, on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it forwards to.
    pub fn forward_to(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = Some(upstream);
    }

    /// Changes what it does, for connections that are there and that come.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Cuts every connection that is there. New ones are welcome.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|n| *n += 1);
    }

    /// How often it has done something to a request, or swallowed something, since it was started.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(first: TcpListener, port: u16, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(first);
    loop {
        if *mode.borrow_and_update() == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            // Somebody else may have the port as the local end of a connection for a moment.
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.ok();
            if listener.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        }
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            accepted = next => if let Ok((client, _)) = accepted {
                tokio::spawn(connection(client, shared.clone()));
            },
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let _ = client.set_nodelay(true);
    let mut cuts = shared.cuts.subscribe();
    let mut mode = shared.mode.subscribe();
    let refused = async {
        loop {
            if *mode.borrow_and_update() == Mode::Refuse || mode.changed().await.is_err() {
                return;
            }
        }
    };
    // However it ends, both sides are dropped: the peers see a reset or the end.
    tokio::select! {
        _ = cuts.changed() => {}
        () = refused => {}
        _ = forward(client, &shared) => {}
    }
}

async fn forward(client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    match shared.speech {
        Speech::Http(_) => http::serve(client, shared).await,
        _ => tcp::pump(client, shared).await,
    }
}

/// Waits until `over` says so of the mode.
async fn until(shared: &Shared, over: impl Fn(&Mode) -> bool) {
    let mut mode = shared.mode.subscribe();
    // The sender lives as long as `shared`: this cannot fail.
    let _ = mode.wait_for(over).await;
}

#[cfg(test)]
mod tests;
