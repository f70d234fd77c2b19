//! Bytes in both directions, as they come.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Mode, Shared, until};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// State of one connection.
#[derive(Debug, Default)]
struct Connection {
    /// A commit went through: nothing comes back.
    committed: AtomicBool,
    /// Something was swallowed: the two sides no longer agree on what was said.
    broken: AtomicBool,
}

pub(super) async fn pump(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let server = shared.connect().await?;
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let connection = Connection::default();
    let over = async {
        loop {
            until(shared, |mode| *mode != Mode::Open).await;
            until(shared, |mode| *mode == Mode::Open).await;
            if connection.broken.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    };
    tokio::select! {
        done = one_way(Way::Up, client_in, server_out, shared, &connection) => done,
        done = one_way(Way::Down, server_in, client_out, shared, &connection) => done,
        done = over => done,
    }
}

async fn one_way(
    way: Way,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    connection: &Connection,
) -> io::Result<()> {
    let mut spotter = shared.speech.spotter();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let bytes = &buffer[..n];
        let commit = way == Way::Up && spotter.feed(bytes);
        let mode = shared.mode.borrow().clone();
        let swallow = match mode {
            Mode::HalfOpen => true,
            Mode::SwallowAnswers => way == Way::Down,
            Mode::SwallowCommit => {
                if commit && !connection.committed.swap(true, Ordering::Relaxed) {
                    shared.hit();
                }
                way == Way::Down && connection.committed.load(Ordering::Relaxed)
            }
            _ => false,
        };
        if swallow {
            connection.broken.store(true, Ordering::Relaxed);
            if mode != Mode::SwallowCommit {
                shared.hit();
            }
            continue;
        }
        match mode {
            Mode::Delay(time) => {
                tokio::time::sleep(time).await;
                to.write_all(bytes).await?;
            }
            Mode::Throttle(per_second) => {
                // Twenty pieces a second, so that a change of the mode is seen soon.
                for piece in bytes.chunks(usize::try_from(per_second / 20).unwrap_or(1).max(1)) {
                    to.write_all(piece).await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if !matches!(*shared.mode.borrow(), Mode::Throttle(_)) {
                        let sent = piece.as_ptr() as usize - bytes.as_ptr() as usize + piece.len();
                        to.write_all(&bytes[sent..]).await?;
                        break;
                    }
                }
            }
            _ => to.write_all(bytes).await?,
        }
    }
}
