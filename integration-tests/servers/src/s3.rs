//! A real S3 server on loopback: Adobe S3Mock, which keeps its objects in a folder and finds them again after a restart.
//! Clients reach it through a [`Front`].

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::jars;
use crate::kafka::free_port;
use crate::process::{Guarded, tail};
use crate::s3_front::Front;

const POM: &str = include_str!("../s3/pom.xml");
const JAR: &str = "s3mock-4.9.1-exec.jar";

/// Key id and secret that clients may use: the server checks neither.
pub const KEY: (&str, &str) = ("test", "test");

/// How long a server may take to answer after its start, on a busy machine with two cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// An S3 server. Dropped = killed, and its objects are gone.
#[derive(Debug)]
pub struct S3 {
    process: Option<Guarded>,
    port: u16,
    front: Front,
    folder: PathBuf,
    jar: PathBuf,
    // Removes the folder on drop; a static is never dropped, then the watchdog does it.
    _scratch: tempfile::TempDir,
}

impl S3 {
    /// The server that all tests of this process share: started at the first call, ended with the process.
    ///
    /// # Panics
    /// Without Java and Maven: a test that needs a server fails, it is not skipped.
    pub fn shared() -> &'static S3 {
        static SHARED: OnceLock<Result<S3, String>> = OnceLock::new();
        match SHARED.get_or_init(|| S3::start().map_err(|error| format!("{error:#}"))) {
            Ok(server) => server,
            Err(message) => panic!("no S3 server for the tests: {message}"),
        }
    }

    /// Starts a server of one's own, to be stopped and killed at will. About three seconds; the first call on a machine
    /// fetches its jar (60 MB).
    pub fn start() -> Result<S3> {
        let jar = jars::fetched("s3mock-4.9.1", POM)?.join(JAR);
        let scratch = tempfile::Builder::new().prefix("tidemill-s3-").tempdir()?;
        let folder = scratch.path().to_owned();
        let port = free_port()?;
        let front = Front::before(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let mut server = S3 { process: None, port, front, folder, jar, _scratch: scratch };
        server.restart()?;
        Ok(server)
    }

    /// `http://host:port` of its front.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.front.address())
    }

    /// What stands before it: for faults.
    #[must_use]
    pub fn front(&self) -> &Front {
        &self.front
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Starts the server again, on the same port and objects, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the S3 server runs already");
        }
        let mut command = jars::java(jars::QUICK, "", &self.folder)?;
        // Each upload is a request of its own thread: a small heap is enough for objects of some MiB.
        command.args(["-Xmx512m", "-jar"]).arg(&self.jar).args([
            // Its second port, with TLS: any free one.
            "--server.port=0".to_owned(),
            format!("--com.adobe.testing.s3mock.http-port={}", self.port),
            format!("--com.adobe.testing.s3mock.store.root={}", self.folder.join("objects").display()),
            "--com.adobe.testing.s3mock.store.retain-files-on-exit=true".to_owned(),
            "--logging.level.root=WARN".to_owned(),
        ]);
        std::fs::create_dir_all(self.folder.join("objects"))?;
        self.process = Some(Guarded::spawn(command, &self.folder.join("log"), Some(&self.folder))?);
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
        self.process.as_mut().context("the S3 server does not run")?.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.as_mut().context("the S3 server does not run")?.signal("CONT")
    }

    /// The server's process id, where it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Guarded::pid)
    }

    fn running(&mut self) -> Result<Guarded> {
        self.process.take().context("the S3 server does not run")
    }

    /// Makes a bucket and returns its name: `prefix` and a suffix that no other test has.
    pub fn bucket(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-{:08x}", rand::random::<u32>());
        let (status, body) = self.request("PUT", &format!("/{name}"))?;
        if status != 200 {
            bail!("cannot make bucket {name}: {status} {body}");
        }
        Ok(name)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.request("GET", "/").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            let process = self.process.as_mut().context("the S3 server does not run")?;
            if let Some(status) = process.exited()? {
                bail!("the S3 server ended at its start ({status}):\n{}", tail(process.log(), 30));
            }
            if begun.elapsed() > START_LIMIT {
                bail!("the S3 server does not answer after {START_LIMIT:?}:\n{}", tail(process.log(), 30));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn request(&self, method: &str, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address()
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        Ok((status, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_outlive_a_kill_and_a_stop() {
        let begun = Instant::now();
        let mut server = S3::start().expect("starts");
        eprintln!("S3 server up in {:?}", begun.elapsed());
        let bucket = server.bucket("kept").expect("makes");
        server.kill9().expect("killed");
        assert!(server.pid().is_none());
        server.restart().expect("starts again");
        server.stop().expect("stops");
        server.restart().expect("starts again");
        let (status, _) = server.request("GET", &format!("/{bucket}")).expect("answers");
        assert_eq!(status, 200, "the bucket is there");
    }
}
