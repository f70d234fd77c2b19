//! The daemon as a process: started from a config file, watched through its metrics, killed in every way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Guarded, tail};

/// Names another binary to test than the one built beside the tests.
pub const BINARY_VARIABLE: &str = "TIDEMILL_TEST_BINARY";

/// The variable that makes a debug build abort at a named step: `name` or `name:nth`.
pub const FAILPOINT_VARIABLE: &str = "TIDEMILL_FAILPOINT";

/// The built daemon: `target/<profile>/tidemill`, next to the running program or to the folder of the running test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE).filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe()?;
    let folder = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let path = folder.context("the program is in no folder")?.join("tidemill");
    if !path.is_file() {
        bail!(
            "{} does not exist: run `cargo build -p tidemill` first (`cargo test --workspace` builds it by itself), \
             or set {BINARY_VARIABLE}",
            path.display()
        );
    }
    Ok(path)
}

/// A running daemon. Dropped = killed.
#[derive(Debug)]
pub struct Daemon {
    process: Guarded,
    /// Where this life's lines begin in the log, which outlives the daemon.
    log_start: u64,
    port: Option<u16>,
}

impl Daemon {
    /// Starts `tidemill run --config <folder>/tidemill.toml` with this text as its config and these variables,
    /// in `folder` (relative paths of the config are below it). The log is appended to `<folder>/tidemill.log`.
    pub fn spawn(folder: &Path, config: &str, env: &[(&str, &str)]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("tidemill.toml");
        std::fs::write(&file, config)?;
        let log = folder.join("tidemill.log");
        let log_start = std::fs::metadata(&log).map_or(0, |m| m.len());
        let mut command = Command::new(binary()?);
        command.args(["run", "--log-format", "text", "--config"]).arg(&file).current_dir(folder);
        command.env("RUST_BACKTRACE", "1").env_remove(FAILPOINT_VARIABLE).envs(env.iter().copied());
        let process = Guarded::spawn(command, &log, None)?;
        Ok(Self { process, log_start, port: None })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What this life of the daemon has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.process.log()).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// SIGKILL.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// SIGSTOP.
    pub fn freeze(&mut self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// SIGTERM; an error unless it exits 0 within `timeout`.
    pub fn term(&mut self, timeout: Duration) -> Result<()> {
        let status = self.process.term(timeout)?;
        self.expect_success(status)
    }

    /// [`term`](Self::term) once it listens to signals: one that was started a moment ago ends as any program does.
    pub fn stop(&mut self, timeout: Duration) -> Result<()> {
        self.http_port(timeout)?;
        self.term(timeout)
    }

    /// The exit status, if it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let log = self.process.log().to_owned();
        self.process.wait_exit(timeout).with_context(|| tail(&log, 15))
    }

    /// Waits for its end; an error unless it exits 0.
    pub fn wait_success(&mut self, timeout: Duration) -> Result<()> {
        let status = self.wait_exit(timeout)?;
        self.expect_success(status)
    }

    fn expect_success(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("the daemon ended with {status}:\n{}", tail(self.process.log(), 25));
        }
        Ok(())
    }

    /// The port of its HTTP server, from its log (`http = "127.0.0.1:0"` lets it choose one).
    pub fn http_port(&mut self, timeout: Duration) -> Result<u16> {
        let begun = Instant::now();
        loop {
            if let Some(port) = self.port {
                return Ok(port);
            }
            self.port = self.log().lines().filter(|line| line.contains("http")).find_map(port_in);
            if self.port.is_none() {
                if let Some(status) = self.exited()? {
                    bail!("the daemon ended with {status}:\n{}", tail(self.process.log(), 25));
                }
                if begun.elapsed() > timeout {
                    bail!("no http port in the log after {timeout:?}:\n{}", tail(self.process.log(), 25));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// GET of a path: status and body.
    pub fn get(&mut self, path: &str) -> Result<(u16, String)> {
        let port = self.http_port(Duration::from_secs(20))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the HTTP head")?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP status")?;
        Ok((status, body.to_owned()))
    }

    /// Scrapes `/metrics`.
    pub fn metrics(&mut self) -> Result<Metrics> {
        let (status, text) = self.get("/metrics")?;
        if status != 200 {
            bail!("/metrics answered {status}");
        }
        Ok(Metrics(text))
    }
}

fn port_in(line: &str) -> Option<u16> {
    // Colours of a terminal may stand between.
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|port| *port != 0)
}

/// A scrape in Prometheus' text format.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all series of a name that carry all these labels; `None` when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let mut sum = None;
        for line in self.0.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            if found == name && wanted.iter().all(|label| labels.contains(label.as_str())) {
                sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().unwrap_or(0.0));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_labels() {
        let text = "# HELP a b\na_total{job=\"x\",cause=\"rows\"} 2\na_total{job=\"x\",cause=\"age\"} 3\nb 1.5\n";
        let metrics = Metrics(text.into());
        assert_eq!(metrics.sum("a_total", &[]), Some(5.0));
        assert_eq!(metrics.sum("a_total", &[("cause", "age")]), Some(3.0));
        assert_eq!(metrics.sum("b", &[]), Some(1.5));
        assert_eq!(metrics.sum("a", &[]), None);
    }

    #[test]
    fn the_port_is_found_in_a_line_of_the_log() {
        assert_eq!(port_in("INFO http listening address=127.0.0.1:34567"), Some(34567));
        assert_eq!(port_in("INFO http=\"http://127.0.0.1:80/metrics\""), Some(80));
        assert_eq!(port_in("INFO http = 127.0.0.1:0"), None);
    }
}
