//! An S3 server with a way for each daemon, and Parquet in it.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use tidemill_test_servers::s3::{KEY, S3};

use super::files::FAILPOINTS;
use super::log::{Folder, FollowLog};
use super::{Server, Setup, UnderTest, web};
use crate::kind::{Part, Surroundings};
use crate::proxy::{Proxy, Request, Speech};
use crate::readers;
use crate::tally::Tally;
use crate::watch::Look;

/// The server, its bucket, and the ways to it.
pub(super) struct Store {
    pub(super) server: S3,
    pub(super) bucket: String,
    pub(super) links: Vec<Proxy>,
}

impl Store {
    pub(super) fn start(setup: &Setup) -> Result<Self> {
        let server = S3::start()?;
        let bucket = server.bucket("faults")?;
        let mut links = Vec::new();
        for _ in 0..setup.daemons {
            let link = Proxy::start(&setup.runtime, Speech::Http(is_commit))?;
            link.forward_to(server.front().address());
            links.push(link);
        }
        Ok(Self { server, bucket, links })
    }

    /// `[storage.lake]` of one daemon.
    pub(super) fn table(&self, daemon: usize) -> String {
        let (id, secret) = KEY;
        format!(
            "\n[storage.lake]\ntype = \"s3\"\nendpoint = \"http://127.0.0.1:{}\"\nregion = \"us-east-1\"\n\
             access_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\nallow_http = true\n",
            self.links[daemon].port()
        )
    }

    pub(super) fn link(&self, part: Part, daemon: usize) -> Result<&Proxy> {
        match part {
            Part::S3 => Ok(&self.links[daemon]),
            other => bail!("an S3 server is no {}", other.name()),
        }
    }
}

/// What makes a window visible on an object store: a record of the files' log, a version of a Delta table.
fn is_commit(request: &Request) -> bool {
    let target = request.target.as_str();
    let files = target.contains("/_tidemill/") && target.contains("/log/");
    request.method == "PUT" && (files || (target.contains("/_delta_log/") && target.contains(".json")))
}

/// What may go wrong around a sink in S3 whose commits go there.
pub(super) fn surroundings() -> Surroundings {
    Surroundings { servers: vec![Part::S3], http: vec![Part::S3], commits: Some(Part::S3), ..Surroundings::default() }
}

/// Parquet in a bucket.
pub(super) struct ParquetS3 {
    store: Store,
    partitions: usize,
}

impl ParquetS3 {
    pub(super) fn new(setup: &Setup) -> Result<Self> {
        Ok(Self { store: Store::start(setup)?, partitions: setup.partitions })
    }
}

impl UnderTest for ParquetS3 {
    fn name(&self) -> &'static str {
        "parquet-s3"
    }

    fn config(&self, daemon: usize) -> String {
        let bucket = &self.store.bucket;
        let table = self.store.table(daemon);
        format!("type = \"parquet\"\npath = \"s3://{bucket}/out\"\nstorage = \"lake\"\n{table}")
    }

    fn max_age(&self) -> &'static str {
        "500ms"
    }

    fn failpoints(&self) -> &'static [&'static str] {
        FAILPOINTS
    }

    fn surroundings(&self) -> Surroundings {
        surroundings()
    }

    fn server(&mut self, _part: Part) -> Result<&mut dyn Server> {
        Ok(&mut self.store.server)
    }

    fn link(&self, part: Part, daemon: usize) -> Result<&Proxy> {
        self.store.link(part, daemon)
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        Ok(Box::new(FollowLog::new(Bucket::new(&self.store, "out"), "clicks", self.partitions)))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        let address = self.store.server.front().address().to_string();
        readers::read("parquet", &["s3", &address, &format!("{}/out", self.store.bucket)], &[], tally)
    }
}

/// A folder in the bucket, past the proxies.
pub(super) struct Bucket {
    server: SocketAddr,
    prefix: String,
}

impl Bucket {
    pub(super) fn new(store: &Store, folder: &str) -> Self {
        Self { server: store.server.front().address(), prefix: format!("/{}/{folder}", store.bucket) }
    }
}

impl Folder for Bucket {
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match web::ask(self.server, "GET", &format!("{}/{path}", self.prefix))? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, _) => bail!("{path}: {status}"),
        }
    }

    fn has(&self, path: &str) -> Result<bool> {
        match web::ask(self.server, "HEAD", &format!("{}/{path}", self.prefix))? {
            (200, _) => Ok(true),
            (404, _) => Ok(false),
            (status, _) => bail!("{path}: {status}"),
        }
    }
}
