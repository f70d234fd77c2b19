//! A real Iceberg catalog on loopback: the reference REST catalog of the Iceberg project, over SQLite, with its warehouse
//! in a local folder or on an S3 server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::jars;
use crate::kafka::free_port;
use crate::process::{Guarded, tail};
use crate::s3::{KEY, S3};

const POM: &str = include_str!("../iceberg/pom.xml");

/// How long a server may take to answer after its start, on a busy machine with two cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A catalog. Dropped = killed, and a local warehouse is gone.
#[derive(Debug)]
pub struct IcebergRest {
    process: Option<Guarded>,
    port: u16,
    folder: PathBuf,
    classpath: String,
    warehouse: String,
    s3: Option<String>,
    // Removes the folder on drop; a static is never dropped, then the watchdog does it.
    _scratch: tempfile::TempDir,
}

impl IcebergRest {
    /// The catalog with a local warehouse that all tests of this process share: started at the first call, ended with the
    /// process.
    ///
    /// # Panics
    /// Without Java and Maven: a test that needs a catalog fails, it is not skipped.
    pub fn shared() -> &'static IcebergRest {
        static SHARED: OnceLock<Result<IcebergRest, String>> = OnceLock::new();
        started(SHARED.get_or_init(|| IcebergRest::start().map_err(|error| format!("{error:#}"))))
    }

    /// The same with its warehouse on [`S3::shared`].
    ///
    /// # Panics
    /// As [`shared`](Self::shared).
    pub fn shared_on_s3() -> &'static IcebergRest {
        static SHARED: OnceLock<Result<IcebergRest, String>> = OnceLock::new();
        started(SHARED.get_or_init(|| IcebergRest::start_on(S3::shared()).map_err(|error| format!("{error:#}"))))
    }

    /// Starts a catalog of one's own with a local warehouse, to be stopped and killed at will. About two seconds; the first
    /// call on a machine fetches its jars (150 MB).
    pub fn start() -> Result<IcebergRest> {
        Self::begin(None)
    }

    /// Starts a catalog of one's own with its warehouse in a new bucket of `s3`.
    pub fn start_on(s3: &S3) -> Result<IcebergRest> {
        Self::begin(Some(s3))
    }

    fn begin(s3: Option<&S3>) -> Result<IcebergRest> {
        let classpath = format!("{}/*", jars::fetched("iceberg-rest-1.10.0", POM)?.display());
        let scratch = tempfile::Builder::new().prefix("tidemill-iceberg-").tempdir()?;
        let folder = scratch.path().to_owned();
        let warehouse = match s3 {
            Some(s3) => format!("s3://{}/warehouse", s3.bucket("iceberg")?),
            None => format!("file://{}", folder.join("warehouse").display()),
        };
        let mut server = IcebergRest {
            process: None,
            port: free_port()?,
            folder,
            classpath,
            warehouse,
            s3: s3.map(S3::endpoint),
            _scratch: scratch,
        };
        server.restart()?;
        Ok(server)
    }

    /// `http://host:port`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Address of the warehouse: `file:///…` or `s3://…`.
    #[must_use]
    pub fn warehouse(&self) -> &str {
        &self.warehouse
    }

    /// The folder of a local warehouse.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.warehouse.strip_prefix("file://").map(Path::new)
    }

    /// Starts the server again, on the same port and tables, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the catalog runs already");
        }
        let mut java = jars::java(jars::QUICK, &self.classpath, &self.folder)?;
        java.args(["-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        java.arg("org.apache.iceberg.rest.RESTCatalogServer").current_dir(&self.folder);
        java.env("CATALOG_REST_PORT", self.port.to_string()).env("CATALOG_WAREHOUSE", &self.warehouse);
        java.env("CATALOG_URI", format!("jdbc:sqlite:{}", self.folder.join("catalog.db").display()));
        // SQLite has one writer: one connection, so that none of them finds it locked.
        java.env("CATALOG_CLIENTS", "1").env("CATALOG_JDBC_SCHEMA__VERSION", "V1");
        if let Some(endpoint) = &self.s3 {
            java.env("CATALOG_IO__IMPL", "org.apache.iceberg.aws.s3.S3FileIO")
                .env("CATALOG_S3_ENDPOINT", endpoint)
                .env("CATALOG_S3_PATH__STYLE__ACCESS", "true")
                .env("CATALOG_S3_ACCESS__KEY__ID", KEY.0)
                .env("CATALOG_S3_SECRET__ACCESS__KEY", KEY.1)
                .env("AWS_REGION", "us-east-1");
        }
        self.process = Some(Guarded::spawn(java, &self.folder.join("log"), Some(&self.folder))?);
        self.wait_ready()
    }

    /// A clean stop (SIGTERM).
    pub fn stop(&mut self) -> Result<()> {
        self.running()?.term(Duration::from_secs(60)).map(|_| ())
    }

    /// SIGKILL.
    pub fn kill9(&mut self) -> Result<()> {
        self.running()?.kill9()
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.as_mut().context("the catalog does not run")?.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().context("the catalog does not run")?.signal("CONT")
    }

    /// Sends a request with a JSON body (`""`: none); answers status and body.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address(),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    fn running(&mut self) -> Result<Guarded> {
        self.process.take().context("the catalog does not run")
    }

    fn wait_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.request("GET", "/v1/config", "").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            let process = self.process.as_mut().context("the catalog does not run")?;
            if let Some(status) = process.exited()? {
                bail!("the catalog ended at its start ({status}):\n{}", tail(process.log(), 30));
            }
            if begun.elapsed() > START_LIMIT {
                bail!("the catalog does not answer after {START_LIMIT:?}:\n{}", tail(process.log(), 30));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn started(server: &'static Result<IcebergRest, String>) -> &'static IcebergRest {
    match server {
        Ok(server) => server,
        Err(message) => panic!("no Iceberg catalog for the tests: {message}"),
    }
}
