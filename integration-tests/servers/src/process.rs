//! A child process that cannot outlive the test: signals by pid, and a watchdog that ends it when we die.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What the watchdog does when its standard input closes without a word: kill, wait until the process is gone
/// (so that it makes no new files), clean up.
const WATCH: &str = r#"
if read -r said; then exit 0; fi
kill -KILL "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
if [ -n "$2" ]; then rm -rf "$2"; fi
"#;

/// A running child, with its output in a log file.
///
/// Dropped = killed and reaped. When this (the parent) process dies in whatever way, a small shell that holds
/// the other end of a pipe kills the child: no orphan survives a killed test run.
#[derive(Debug)]
pub struct Guarded {
    child: Child,
    watchdog: Watchdog,
    log: PathBuf,
    exited: Option<ExitStatus>,
}

impl Guarded {
    /// Starts `command` with standard output and error appended to `log`.
    /// `scratch`: a folder that the watchdog removes when the parent is gone.
    pub fn spawn(mut command: Command, log: &Path, scratch: Option<&Path>) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let program = command.get_program().to_string_lossy().into_owned();
        // A process group of its own: Ctrl-C reaches the tests, and the watchdog does the rest.
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let watchdog = match Watchdog::over(child.id(), scratch) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        Ok(Self { child, watchdog, log: log.to_owned(), exited: None })
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The exit status, once it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait()?;
            if self.exited.is_some() {
                self.watchdog.dismiss();
            }
        }
        Ok(self.exited)
    }

    /// Sends a signal by its name without `SIG` (`TERM`, `STOP`, `CONT`, …). An error if the child has ended.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if let Some(status) = self.exited()? {
            bail!("cannot send SIG{name} to {}: it has ended ({status}), log {}", self.pid(), self.log.display());
        }
        let status = Command::new("sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &self.pid().to_string()])
            .stdin(Stdio::null())
            .status()
            .context("cannot run sh")?;
        if !status.success() {
            bail!("kill -s {name} {} failed: {status}", self.pid());
        }
        Ok(())
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.child.kill()?;
            self.exited = Some(self.child.wait()?);
            self.watchdog.dismiss();
        }
        Ok(())
    }

    /// Waits for the end, at most `timeout`; the error names the log.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if begun.elapsed() > timeout {
                bail!("process {} still runs after {timeout:?}, log {}", self.pid(), self.log.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, then at most `timeout` for a clean end.
    pub fn term(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        self.signal("TERM")?;
        self.wait_exit(timeout)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.kill9();
    }
}

#[derive(Debug)]
struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    fn over(pid: u32, scratch: Option<&Path>) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "watchdog", &pid.to_string()])
            .arg(scratch.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// The child has been reaped: its pid may be somebody else's soon.
    fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}

/// The last lines of a log, for messages.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: &Path) -> Guarded {
        let mut command = Command::new("sleep");
        command.arg("600");
        Guarded::spawn(command, log, None).expect("sleep starts")
    }

    fn alive(pid: u32) -> bool {
        // A zombie counts as dead.
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
    }

    #[test]
    fn signals_reach_the_child_and_drop_ends_it() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut child = sleeper(&dir.path().join("log"));
        assert!(child.exited().expect("asks").is_none());
        let status = child.term(Duration::from_secs(5)).expect("ends");
        assert!(!status.success());
        assert!(child.signal("TERM").is_err(), "never signals a pid that was given back");

        let child = sleeper(&dir.path().join("log"));
        let pid = child.pid();
        assert!(alive(pid));
        drop(child);
        assert!(!alive(pid));
    }

    #[test]
    fn the_watchdog_kills_when_its_pipe_closes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let scratch = dir.path().join("scratch");
        std::fs::create_dir(&scratch).expect("makes");
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = Guarded::spawn(command, &dir.path().join("log"), Some(&scratch)).expect("starts");
        // What the kernel does when the parent dies.
        drop(child.watchdog.pipe.take());
        child.wait_exit(Duration::from_secs(5)).expect("was killed");
        let _ = child.watchdog.shell.wait();
        assert!(!scratch.exists(), "and its scratch folder is gone");
    }
}
