//! What the tests of the sink share: a schema of one's own on the shared server, and a way to lose answers.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use tidemill_postgres::{PostgresOptions, TableName};
use tidemill_test_servers::postgres::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A schema that no other test uses.
pub fn fresh_schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A table that does not exist yet, in a schema of its own.
pub fn fresh_table(name: &str) -> TableName {
    TableName { schema: fresh_schema(), table: name.into() }
}

/// Options that create the table.
pub fn options(url: &str, table: TableName, schema: SchemaRef) -> PostgresOptions {
    PostgresOptions { create: true, ..PostgresOptions::new(url, table, "job", "a", schema) }
}

/// `COMMIT` as the client sends it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Stands between the sink and the server, and cuts the connection at the next `COMMIT`.
pub struct Cutter {
    pub address: SocketAddr,
    armed: Arc<AtomicU8>,
}

const BEFORE: u8 = 1;
const AFTER: u8 = 2;

impl Cutter {
    pub async fn start(server: u16) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let armed = Arc::new(AtomicU8::new(0));
        let shared = armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::spawn(carry(client, server, shared.clone()));
            }
        });
        Cutter { address, armed }
    }

    /// The next commit's answer is lost, after it landed or before.
    pub fn lose_answer(&self, landed: bool) {
        self.armed.store(if landed { AFTER } else { BEFORE }, Ordering::SeqCst);
    }

    pub fn url(&self) -> String {
        format!("postgres://tide@{}/tide?sslmode=disable", self.address)
    }
}

async fn carry(client: TcpStream, server: TcpStream, armed: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back =
        tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await.map(|_| from_server) });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
        let sent = &buffer[..n];
        if let Some(at) = sent.windows(COMMIT.len()).position(|w| w == COMMIT) {
            match armed.swap(0, Ordering::SeqCst) {
                BEFORE => {
                    let _ = to_server.write_all(&sent[..at]).await;
                    break;
                }
                AFTER => {
                    // From here on the client hears nothing; the server gets to carry it out.
                    back.abort();
                    let _ = to_server.write_all(sent).await;
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    return;
                }
                _ => {}
            }
        }
        if to_server.write_all(sent).await.is_err() {
            break;
        }
    }
    back.abort();
}

/// Rows of SQL, as psql shows them.
pub fn sql(postgres: &Postgres, sql: &str) -> Vec<String> {
    postgres.sql(sql).unwrap().lines().map(str::to_owned).collect()
}
