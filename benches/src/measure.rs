//! A whole process measured from exec to exit.
#![allow(unsafe_code)] // wait4: the standard library waits for a child without its resource usage

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tidemill_integration_tests::process::tail;

/// What a process took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Wall clock from exec to exit, seconds.
    pub wall_seconds: f64,
    /// User and system CPU of all its threads, seconds.
    pub cpu_seconds: f64,
    /// Its largest resident set, bytes.
    pub peak_rss_bytes: u64,
}

/// Runs `command` to its end, with its output in `log`.
///
/// A new process counts the resident set of the one that started it as its own first peak: the caller must be small.
///
/// # Errors
/// When it cannot start, does not exit 0, or runs longer than `limit` (then it is killed).
pub fn run(mut command: Command, log: &Path, limit: Duration) -> Result<Usage> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let program = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let (status, usage) = loop {
        if let Some(ended) = reap(&child)? {
            break ended;
        }
        if begun.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{program} still ran after {limit:?}:\n{}", tail(log, 15));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let wall = begun.elapsed();
    if !status.success() {
        bail!("{program} ended with {status}:\n{}", tail(log, 15));
    }
    Ok(Usage { wall_seconds: wall.as_secs_f64(), ..usage })
}

/// CPU seconds so far and resident bytes now of a process that runs.
///
/// # Errors
/// When there is none.
pub fn of(pid: u32) -> Result<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    let (_, rest) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("stat is shorter than expected");
    // utime, stime in ticks of 10 ms; rss in pages of 4 KiB.
    Ok(((number(11)? + number(12)?) as f64 / 100.0, number(21)? * 4096))
}

/// How a child ended and what the kernel counted for it and for its children that it waited for, once it has; the wall
/// clock is 0. It is gone after that: nothing may wait for it again.
pub(crate) fn reap(child: &Child) -> Result<Option<(ExitStatus, Usage)>> {
    let pid = i32::try_from(child.id())?;
    let mut status = 0;
    // SAFETY: a plain struct of integers, for which zero is a value; `wait4` fills it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the types it asks for, and `pid` is our unreaped child.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    if reaped < 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot wait for process {pid}"));
    }
    if reaped != pid {
        return Ok(None);
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let usage = Usage {
        wall_seconds: 0.0,
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_rss_bytes: u64::try_from(usage.ru_maxrss)? * 1024,
    };
    Ok(Some((ExitStatus::from_raw(status), usage)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Usage> {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, &dir.path().join("log"), limit)
    }

    #[test]
    fn time_is_the_process_own_and_failure_is_an_error() {
        let slept = shell("sleep 0.2", Duration::from_secs(20)).expect("ends");
        assert!(slept.wall_seconds >= 0.2 && slept.cpu_seconds < 0.2, "{slept:?}");
        assert!(slept.peak_rss_bytes > 100_000, "{slept:?}");
        let worked = shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done", Duration::from_secs(60)).expect("ends");
        assert!(worked.cpu_seconds > 0.02, "{worked:?}");
        let error = shell("echo no such thing; exit 3", Duration::from_secs(20)).expect_err("fails");
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert!(shell("sleep 60", Duration::from_millis(100)).expect_err("too long").to_string().contains("still ran"));
    }
}
