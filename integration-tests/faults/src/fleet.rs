//! The daemons of a run, each with a folder and a way to the servers of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidemill_integration_tests::daemon::{Daemon, FAILPOINT_VARIABLE};

/// Names the file with a debug build's clock offset in ms.
const CLOCK_VARIABLE: &str = "TIDEMILL_CLOCK_OFFSET_FILE";
/// How long a clean end may take: a revoke's deadline and a commit, on a busy machine.
const TERM_LIMIT: Duration = Duration::from_secs(40);
/// Lines of a log in an error.
const LINES: usize = 40;

/// A daemon that ought to run, or not at this moment.
#[derive(Debug)]
pub struct Member {
    /// `[daemon] instance`.
    pub name: String,
    home: PathBuf,
    config: String,
    env: Vec<(String, String)>,
    daemon: Option<Daemon>,
}

impl Member {
    /// A daemon that does not run yet. `env`: variables for all its lives.
    #[must_use]
    pub fn new(name: &str, home: PathBuf, config: String, mut env: Vec<(String, String)>) -> Self {
        let clock = home.join("clock-offset-ms").display().to_string();
        env.push((CLOCK_VARIABLE.to_owned(), clock));
        Self { name: name.to_owned(), home, config, env, daemon: None }
    }

    /// Starts it.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(None)
    }

    /// Starts it with a failpoint armed (`name:nth`, `stop:name:nth`).
    pub fn start_with(&mut self, failpoint: Option<&str>) -> Result<()> {
        if self.daemon.is_some() {
            bail!("daemon {} runs already", self.name);
        }
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        env.extend(failpoint.map(|text| (FAILPOINT_VARIABLE, text)));
        self.daemon = Some(Daemon::spawn(&self.home, &self.config, &env)?);
        Ok(())
    }

    /// Whether it was started and not stopped.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.daemon.is_some()
    }

    fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().with_context(|| format!("daemon {} does not run", self.name))
    }

    /// SIGKILL; nothing if it does not run.
    pub fn kill(&mut self) -> Result<()> {
        match self.daemon.take() {
            Some(mut daemon) => daemon.kill9(),
            None => Ok(()),
        }
    }

    /// SIGTERM; an error unless it ends cleanly. One that has not begun yet ends as any program does.
    pub fn term(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        match daemon.term(TERM_LIMIT) {
            Err(_) if !daemon.log().contains("tidemill runs") && daemon.exited()?.is_some() => Ok(()),
            done => done.with_context(|| format!("daemon {} was told to stop", self.name)),
        }
    }

    /// SIGSTOP.
    pub fn freeze(&mut self) -> Result<()> {
        self.daemon()?.freeze()
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.daemon()?.thaw()
    }

    /// Waits for the abort at its failpoint. False, and it runs on, if it does not get there in time.
    pub fn died(&mut self, limit: Duration) -> Result<bool> {
        let daemon = self.daemon()?;
        if daemon.wait_exit(limit).is_err() {
            return Ok(false);
        }
        let log = daemon.log();
        if !log.contains("aborting at a failpoint") {
            bail!("daemon {} ended by itself:\n{}", self.name, tail(&log));
        }
        self.daemon = None;
        Ok(true)
    }

    /// Waits until it has stopped itself at its failpoint. False if it does not get there in time.
    pub fn stopped_itself(&mut self, limit: Duration) -> Result<bool> {
        let begun = Instant::now();
        let stat = format!("/proc/{}/stat", self.daemon()?.pid());
        while begun.elapsed() < limit {
            self.check()?;
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            if stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't'])) {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }

    /// Makes its wall clock go wrong by so many ms.
    pub fn set_clock(&self, offset_ms: i64) -> Result<()> {
        Ok(std::fs::write(self.home.join("clock-offset-ms"), offset_ms.to_string())?)
    }

    /// An error if it has ended though nobody told it to.
    pub fn check(&mut self) -> Result<()> {
        let Some(daemon) = self.daemon.as_mut() else { return Ok(()) };
        if let Some(status) = daemon.exited()? {
            let log = tail(&daemon.log());
            bail!("daemon {} ended by itself ({status}):\n{log}", self.name);
        }
        Ok(())
    }

    /// Commits of this life that the sink refused: lost the race, or failed. The dead letters' count, too.
    pub fn refused(&mut self) -> Result<u64> {
        let metrics = self.daemon()?.metrics()?;
        let of = |outcome| metrics.sum("tidemill_commits_total", &[("outcome", outcome)]).unwrap_or(0.0);
        Ok((of("lost") + of("failed")).round() as u64)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(self.home.join("tidemill.log")).unwrap_or_default();
        format!("daemon {}:\n{}", self.name, tail(&String::from_utf8_lossy(&text)))
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
