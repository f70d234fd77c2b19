//! HTTP/1.1, request by request. Each request goes to the server on a connection of its own, so that what happens to
//! one says nothing of the next.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::message::{self, Request};
use super::{Mode, Shared, Speech, until};

pub(super) async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (from, mut to) = client.into_split();
    let mut from = BufReader::new(from);
    while let Some(request) = message::request(&mut from).await? {
        let count = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let commit = matches!(&shared.speech, Speech::Http(is_commit) if is_commit(&request));
        let mode = shared.mode.borrow().clone();
        match mode {
            Mode::HalfOpen => return silence(shared, &mode).await,
            Mode::Answer { status, nth, after } if count.is_multiple_of(nth.max(1)) => {
                shared.hit();
                if after {
                    let _ = ask(shared, &request).await?;
                }
                let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n\r\n");
                to.write_all(head.as_bytes()).await?;
                continue;
            }
            Mode::Delay(time) => tokio::time::sleep(time).await,
            _ => (),
        }
        let answer = ask(shared, &request).await?;
        // The mode may have changed while the server worked.
        let mode = shared.mode.borrow().clone();
        match mode {
            Mode::SwallowAnswers => return silence(shared, &mode).await,
            Mode::SwallowCommit if commit => {
                shared.hit();
                // One time the connection breaks at once, the next time the client waits.
                if shared.hits.load(Ordering::Relaxed).is_multiple_of(2) {
                    return silence(shared, &mode).await;
                }
                return Ok(());
            }
            Mode::Throttle(per_second) => {
                let micros = (answer.len() + request.bytes.len()) as u64 * 1_000_000 / per_second.max(1);
                tokio::time::sleep(Duration::from_micros(micros.min(5_000_000))).await;
            }
            _ => (),
        }
        to.write_all(&answer).await?;
    }
    Ok(())
}

/// Says nothing as long as the mode stays; then the connection ends.
async fn silence(shared: &Shared, mode: &Mode) -> io::Result<()> {
    if *mode != Mode::SwallowCommit {
        shared.hit();
    }
    until(shared, |now| now != mode).await;
    Ok(())
}

async fn ask(shared: &Shared, request: &Request) -> io::Result<Vec<u8>> {
    let (from, mut to) = shared.connect().await?.into_split();
    to.write_all(&request.bytes).await?;
    message::answer(&mut BufReader::new(from), &request.method).await
}
