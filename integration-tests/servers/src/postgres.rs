//! A real PostgreSQL server from the distribution's package, on loopback, with TLS on.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::certificates::{certificates, run};
use crate::process::{Guarded, tail};

/// Names the folder with `initdb` and `postgres`, where they are not where Debian puts them.
pub const BIN_VARIABLE: &str = "TIDEMILL_TEST_POSTGRES_BIN";

/// How long a server may take to answer after its start, also when it has a crash to recover from.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The superuser's name.
pub const USER: &str = "tide";

/// A server with a database `tide`.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    bin: PathBuf,
    process: Option<Guarded>,
    folder: PathBuf,
    // Removes the folder on drop; a static is never dropped, then the watchdog does it.
    _scratch: tempfile::TempDir,
}

impl Postgres {
    /// The server that all tests of this process share: started at the first call, ended with the process.
    ///
    /// # Panics
    /// When PostgreSQL is not installed: a test that needs it fails, it is not skipped.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Result<Postgres, String>> = OnceLock::new();
        match SHARED.get_or_init(|| Postgres::start().map_err(|error| format!("{error:#}"))) {
            Ok(postgres) => postgres,
            Err(message) => panic!("no PostgreSQL server for the tests: {message}"),
        }
    }

    /// Starts a server of one's own, to be stopped and killed at will. About two seconds.
    pub fn start() -> Result<Postgres> {
        let bin = binaries()?;
        let scratch = tempfile::Builder::new().prefix("tidemill-postgres-").tempdir()?;
        let folder = scratch.path().to_owned();
        // The server refuses to run as root: everything here belongs to whom it runs as.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        certificates(&folder)?;
        let mut init = Command::new(bin.join("initdb"));
        init.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER, "-D"]);
        init.arg(folder.join("data"));
        if let Some((uid, gid)) = other_user()? {
            chown(&folder, Some(uid), Some(gid))?;
            for entry in std::fs::read_dir(&folder)? {
                chown(entry?.path(), Some(uid), Some(gid))?;
            }
        }
        run(as_server(init, &folder)?).context("initdb")?;
        // Who comes over TLS may need a password, so that one can be tested; everybody else is trusted.
        let rules = "local all all trust\nhostssl all secretive 127.0.0.1/32 scram-sha-256\n\
                     host all all 127.0.0.1/32 trust\n";
        std::fs::write(folder.join("data/pg_hba.conf"), rules)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut postgres = Postgres { port, bin, process: None, folder, _scratch: scratch };
        postgres.restart()?;
        postgres.psql("postgres", &format!("CREATE DATABASE {USER}"))?;
        Ok(postgres)
    }

    /// `postgres://tide@127.0.0.1:PORT/tide`
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{USER}", self.port)
    }

    /// Its port on loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate that signed the server's, which is for `localhost` only.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// A certificate that signed nothing.
    #[must_use]
    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other.crt")
    }

    /// The folder of data and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs SQL with `psql`, as users do; answers its output, columns divided by `|`.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.psql(USER, sql)
    }

    fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER]);
        psql.args(["-p", &self.port.to_string(), "-d", database, "-c", sql]).env("PGCONNECT_TIMEOUT", "10");
        Ok(run(psql)?.trim_end().to_owned())
    }

    /// The program `name` of the server's installation.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Starts the server again on the same port and data, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the server runs already");
        }
        let mut server = Command::new(self.bin.join("postgres"));
        server.arg("-D").arg(self.folder.join("data"));
        let file = |name: &str| self.folder.join(name).display().to_string();
        for (name, value) in [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", String::new()),
            ("max_connections", "300".to_owned()),
            ("shared_buffers", "64MB".to_owned()),
            ("max_wal_size", "2GB".to_owned()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", file("server.crt")),
            ("ssl_key_file", file("server.key")),
            // A crash of the server alone loses nothing without it, and that is the crash the tests make.
            ("fsync", "off".to_owned()),
            ("autovacuum", "off".to_owned()),
        ] {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let log = self.folder.join("server.log");
        self.process = Some(Guarded::spawn(as_server(server, &self.folder)?, &log, Some(&self.folder))?);
        self.wait_ready()
    }

    /// A stop that ends connections (SIGINT, "fast").
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        process.signal("INT")?;
        process.wait_exit(Duration::from_secs(60)).map(|_| ())
    }

    /// SIGKILL of the whole server: of its first process and of all that it has started, which would carry out what
    /// they are at otherwise.
    pub fn kill9(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the server does not run")?;
        let children = children(process.pid())?;
        process.kill9()?;
        for child in &children {
            let _ = Command::new("sh").args(["-c", r#"kill -KILL "$1""#, "sh", &child.to_string()]).output();
        }
        let begun = Instant::now();
        while children.iter().any(|child| Path::new(&format!("/proc/{child}")).exists()) {
            if begun.elapsed() > START_LIMIT {
                bail!("processes of the killed server are still there: {children:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // A server that finds it takes the next owner of that pid for itself.
        let _ = std::fs::remove_file(self.folder.join("data/postmaster.pid"));
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.psql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            let process = self.process.as_mut().context("the server does not run")?;
            if let Some(status) = process.exited()? {
                bail!("the server ended at its start ({status}):\n{}", tail(process.log(), 30));
            }
            if begun.elapsed() > START_LIMIT {
                bail!("the server does not answer after {START_LIMIT:?}:\n{}", tail(process.log(), 30));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Processes that `parent` has started.
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name in brackets: the state, then the parent.
        let of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).map(str::parse);
        if of == Some(Ok(parent)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Where the programs are: any version from 13 on will do, the newest is taken.
fn binaries() -> Result<PathBuf> {
    if let Ok(folder) = std::env::var(BIN_VARIABLE) {
        return Ok(folder.into());
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        let bin = entry.path().join("bin");
        if version >= 13 && bin.join("initdb").exists() && bin.join("postgres").exists() {
            found.push((version, bin));
        }
    }
    found.sort();
    match found.pop() {
        Some((_, bin)) => Ok(bin),
        None => bail!(
            "PostgreSQL is not installed: install the package postgresql (Debian: apt-get install postgresql), \
             or name the folder of initdb and postgres in {BIN_VARIABLE}"
        ),
    }
}

/// As whom the server runs, when we are root: the package's user, or nobody.
fn other_user() -> Result<Option<(u32, u32)>> {
    let id = |args: &[&str]| -> Result<u32> {
        let mut id = Command::new("id");
        id.args(args);
        Ok(run(id)?.trim().parse()?)
    };
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    let user = |name: &str| Some((id(&["-u", name]).ok()?, id(&["-g", name]).ok()?));
    user("postgres")
        .or_else(|| user("nobody"))
        .map(Some)
        .context("we are root, and there is no user postgres or nobody")
}

fn as_server(mut command: Command, folder: &Path) -> Result<Command> {
    command.current_dir(folder).env("LC_ALL", "C");
    if let Some((uid, gid)) = other_user()? {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_rows_over_a_stop_and_a_kill() {
        let mut postgres = Postgres::start().expect("starts");
        postgres.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").expect("runs");
        postgres.stop().expect("stops");
        postgres.restart().expect("starts again");
        postgres.sql("INSERT INTO t VALUES (2)").expect("runs");
        postgres.kill9().expect("is killed");
        postgres.restart().expect("starts after a kill");
        assert_eq!(postgres.sql("SELECT a FROM t ORDER BY a").expect("runs"), "1\n2");
        assert!(postgres.sql("SELECT nothing").is_err());
    }
}
