//! A Postgres table, with the server behind a proxy for each daemon.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result};
use tidemill_integration_tests::records::Mix;
use tidemill_test_servers::postgres::Postgres as PostgresServer;
use tokio::runtime::Handle;
use tokio_postgres::{Client, NoTls};

use super::{Server, Setup, UnderTest};
use crate::kind::{Part, Surroundings};
use crate::proxy::{Proxy, Speech};
use crate::readers;
use crate::tally::Tally;
use crate::watch::{LOOK, Look};

/// A table.
pub(super) struct Postgres {
    server: PostgresServer,
    links: Vec<Proxy>,
    partitions: usize,
    runtime: Handle,
}

impl Postgres {
    pub(super) fn new(setup: &Setup) -> Result<Self> {
        let server = PostgresServer::start()?;
        let mut links = Vec::new();
        for _ in 0..setup.daemons {
            let link = Proxy::start(&setup.runtime, Speech::Text(b"COMMIT"))?;
            link.forward_to(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port())));
            links.push(link);
        }
        Ok(Self { server, links, partitions: setup.partitions, runtime: setup.runtime.clone() })
    }
}

impl UnderTest for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn config(&self, daemon: usize) -> String {
        let port = |port: u16| format!("127.0.0.1:{port}");
        let url = self.server.url().replace(&port(self.server.port()), &port(self.links[daemon].port()));
        format!("type = \"postgres\"\nurl = \"{url}?sslmode=disable\"\ntable = \"public.clicks\"\ncreate = true")
    }

    fn mix(&self) -> Mix {
        // Odd records have text with NUL in it, which Postgres refuses.
        Mix { odd: 0.0, ..Mix::POISON }
    }

    fn failpoints(&self) -> &'static [&'static str] {
        &[
            "postgres.before_copy",
            "postgres.mid_copy",
            "postgres.after_copy",
            "postgres.after_seal",
            "postgres.before_positions",
            "postgres.before_commit",
            "postgres.after_commit",
            "postgres.in_recover",
            "postgres.before_epoch",
            "postgres.after_epoch",
        ]
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings { servers: vec![Part::Postgres], commits: Some(Part::Postgres), ..Surroundings::default() }
    }

    fn server(&mut self, _part: Part) -> Result<&mut dyn Server> {
        Ok(&mut self.server)
    }

    fn link(&self, _part: Part, daemon: usize) -> Result<&Proxy> {
        Ok(&self.links[daemon])
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        Ok(Box::new(Positions {
            url: self.server.url(),
            runtime: self.runtime.clone(),
            client: None,
            partitions: self.partitions,
        }))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        let mut psql = Command::new(self.server.program("psql"));
        let rows = "COPY (SELECT _topic, _partition, _offset, seq FROM public.clicks) TO STDOUT WITH (FORMAT csv)";
        psql.args(["--no-psqlrc", "-d", &self.server.url(), "-c", rows]);
        readers::lines(psql, tally)
    }
}

/// Reads the positions in a transaction of its own: what it sees is committed, and so are the rows.
struct Positions {
    url: String,
    runtime: Handle,
    client: Option<Client>,
    partitions: usize,
}

impl Positions {
    async fn ask(&mut self) -> Result<Vec<i64>> {
        let client = match &self.client {
            Some(client) if !client.is_closed() => client,
            _ => {
                let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
                tokio::spawn(connection);
                self.client.insert(client)
            }
        };
        let sql = "SELECT partition, position FROM public.tidemill_position WHERE job = 'clicks'";
        let rows = client.query(sql, &[]).await?;
        let found: HashMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        (0..self.partitions).map(|p| Ok(found.get(&i32::try_from(p)?).copied().unwrap_or(-1))).collect()
    }
}

impl Look for Positions {
    fn positions(&mut self) -> Result<Vec<i64>> {
        let runtime = self.runtime.clone();
        let found = runtime.block_on(async { tokio::time::timeout(LOOK, self.ask()).await });
        let found = found.context("the server does not answer").and_then(|found| found);
        if found.is_err() {
            self.client = None;
        }
        found
    }
}
