use std::io::{Read, Write};
use std::net::TcpListener as StdListener;
use std::net::TcpStream as StdStream;
use std::time::Instant;

use super::*;

struct Bench {
    runtime: tokio::runtime::Runtime,
    upstream: SocketAddr,
    heard: std::sync::mpsc::Receiver<Vec<u8>>,
}

/// A server that answers each read with `answer`, or echoes.
fn bench(answer: Option<&'static [u8]>) -> Bench {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let upstream = listener.local_addr().unwrap();
    let (tell, heard) = std::sync::mpsc::sync_channel(1000);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    let _ = tell.send(buffer[..n].to_vec());
                    let _ = stream.write_all(answer.unwrap_or(&buffer[..n]));
                }
            });
        }
    });
    Bench { runtime, upstream, heard }
}

impl Bench {
    fn proxy(&self, speech: Speech) -> Proxy {
        let proxy = Proxy::start(self.runtime.handle(), speech).unwrap();
        proxy.forward_to(self.upstream);
        proxy
    }
}

fn client(proxy: &Proxy) -> StdStream {
    let stream = StdStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn said(stream: &mut StdStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer)?;
    Ok(buffer[..n].to_vec())
}

fn silent(stream: &mut StdStream) {
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let answer = stream.read(&mut [0; 16]);
    assert!(matches!(&answer, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{answer:?}");
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
}

fn ended(stream: &mut StdStream) {
    let answer = stream.read(&mut [0; 16]);
    assert!(!matches!(answer, Ok(1..)), "{answer:?}");
    assert!(!matches!(&answer, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{answer:?}");
}

#[test]
fn forwards_delays_and_throttles() {
    let bench = bench(None);
    let proxy = bench.proxy(Speech::Text(b"COMMIT"));
    let mut stream = client(&proxy);
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
    proxy.set(Mode::Delay(Duration::from_millis(100)));
    let begun = Instant::now();
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    proxy.set(Mode::Throttle(2000));
    let begun = Instant::now();
    stream.write_all(&[7; 400]).unwrap();
    stream.read_exact(&mut [0; 400]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    proxy.set(Mode::Open);
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
    assert_eq!(proxy.hits(), 0);
}

#[test]
fn cuts_and_refuses_and_comes_back() {
    let bench = bench(None);
    let proxy = bench.proxy(Speech::Kafka);
    let mut stream = client(&proxy);
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
    proxy.cut();
    ended(&mut stream);
    let mut stream = client(&proxy);
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
    proxy.set(Mode::Refuse);
    ended(&mut stream);
    let begun = Instant::now();
    while StdStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it still listens");
    }
    proxy.set(Mode::Open);
    let mut stream = loop {
        match StdStream::connect((Ipv4Addr::LOCALHOST, proxy.port())) {
            Ok(stream) => break stream,
            Err(_) => assert!(begun.elapsed() < Duration::from_secs(10), "it does not come back"),
        }
    };
    assert_eq!(said(&mut stream, b"hello").unwrap(), b"hello");
}

#[test]
fn half_open_hears_nothing_and_the_connection_ends_with_the_fault() {
    let bench = bench(None);
    let proxy = bench.proxy(Speech::Kafka);
    let mut stream = client(&proxy);
    proxy.set(Mode::HalfOpen);
    stream.write_all(b"lost").unwrap();
    silent(&mut stream);
    assert!(bench.heard.try_recv().is_err());
    proxy.set(Mode::Open);
    ended(&mut stream);
}

#[test]
fn the_answer_of_a_commit_is_swallowed_after_the_server_had_it() {
    let bench = bench(None);
    let proxy = bench.proxy(Speech::Text(b"COMMIT"));
    let mut stream = client(&proxy);
    proxy.set(Mode::SwallowCommit);
    assert_eq!(said(&mut stream, b"INSERT").unwrap(), b"INSERT");
    assert_eq!(proxy.hits(), 0);
    stream.write_all(b"COMMIT").unwrap();
    silent(&mut stream);
    assert_eq!(proxy.hits(), 1);
    let heard: Vec<Vec<u8>> = bench.heard.try_iter().collect();
    assert_eq!(heard, [b"INSERT".to_vec(), b"COMMIT".to_vec()]);
    let mut other = client(&proxy);
    assert_eq!(said(&mut other, b"SELECT").unwrap(), b"SELECT", "other connections go on");
    proxy.set(Mode::Open);
    ended(&mut stream);
    assert_eq!(said(&mut other, b"SELECT").unwrap(), b"SELECT");
}

#[test]
fn all_answers_are_swallowed() {
    let bench = bench(None);
    let proxy = bench.proxy(Speech::Text(b"COMMIT"));
    let mut stream = client(&proxy);
    proxy.set(Mode::SwallowAnswers);
    stream.write_all(b"INSERT").unwrap();
    silent(&mut stream);
    assert_eq!(bench.heard.try_iter().collect::<Vec<_>>(), [b"INSERT".to_vec()]);
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
const PUT: &[u8] = b"PUT /log/7 HTTP/1.1\r\nHost: x\r\ncontent-length: 3\r\n\r\nabc";
const GET: &[u8] = b"GET /log/7 HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn http_is_answered_in_the_servers_place_before_or_after_it_acted() {
    let bench = bench(Some(OK));
    let proxy = bench.proxy(Speech::Http(|request| request.method == "PUT"));
    let mut stream = client(&proxy);
    assert_eq!(said(&mut stream, PUT).unwrap(), OK);
    proxy.set(Mode::Answer { status: 503, nth: 1, after: false });
    assert!(said(&mut stream, PUT).unwrap().starts_with(b"HTTP/1.1 503 "));
    assert_eq!(bench.heard.try_iter().collect::<Vec<_>>(), [PUT.to_vec()], "the server has not heard of the second");
    proxy.set(Mode::Answer { status: 500, nth: 1, after: true });
    assert!(said(&mut stream, PUT).unwrap().starts_with(b"HTTP/1.1 500 "));
    assert_eq!(bench.heard.try_iter().collect::<Vec<_>>(), [PUT.to_vec()], "but of the third");
    proxy.set(Mode::Answer { status: 503, nth: 2, after: false });
    let answers: Vec<bool> = (0..4).map(|_| said(&mut stream, GET).unwrap() == OK).collect();
    assert_eq!(answers.iter().filter(|ok| **ok).count(), 2, "every second one: {answers:?}");
}

#[test]
fn the_answer_of_an_http_commit_is_swallowed_and_others_are_not() {
    let bench = bench(Some(OK));
    let proxy = bench.proxy(Speech::Http(|request| request.method == "PUT" && request.target.contains("/log/")));
    proxy.set(Mode::SwallowCommit);
    let mut stream = client(&proxy);
    assert_eq!(said(&mut stream, GET).unwrap(), OK);
    stream.write_all(PUT).unwrap();
    ended(&mut stream);
    assert_eq!(bench.heard.try_iter().collect::<Vec<_>>(), [GET.to_vec(), PUT.to_vec()]);
    let mut stream = client(&proxy);
    stream.write_all(PUT).unwrap();
    silent(&mut stream);
    assert_eq!(proxy.hits(), 2);
    proxy.set(Mode::Open);
    ended(&mut stream);
}
