//! A process and all that it starts, measured from exec to exit.
//!
//! CPU: what the kernel counted for the process and for every descendant that was waited for (`wait4`), and what those have
//! used that outlive it. Memory: the largest sum of the resident sets of all of them, seen every 100 ms, or the largest
//! resident set of one of them as the kernel counted it, whichever is more. Pages that two of them share count twice; a
//! descendant that lives for less than half a second may be missed in the memory, not in the CPU.
#![allow(unsafe_code)] // signals, and the child's wish to die with its parent

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidemill_integration_tests::process::tail;

use crate::measure::{Usage, reap};

/// How often the resident sets are added up.
const SAMPLE: Duration = Duration::from_millis(100);
/// How often new members are looked for.
const DISCOVER: Duration = Duration::from_millis(500);
/// How long a process may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Runs `command` to its end, with its output in `log`. Where the process does not end by itself, `done` says when its work
/// is done, asked every 100 ms: then the wall clock stops, it gets SIGTERM, and how it exits does not matter.
///
/// # Errors
/// When it cannot start, does not exit 0, runs longer than `limit` (then it is killed), or `done` fails.
pub fn run(
    mut command: Command,
    log: &Path,
    limit: Duration,
    mut done: Option<&mut dyn FnMut() -> Result<bool>>,
) -> Result<Usage> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    // SAFETY: prctl is safe between fork and exec: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let mut tree = Tree::of(i32::try_from(child.id())?);
    let mut stopped: Option<Duration> = None;
    let (status, usage) = loop {
        if let Some(ended) = reap(&child)? {
            break ended;
        }
        let sampled = tree.sample();
        let elapsed = begun.elapsed();
        if elapsed > limit || stopped.is_some_and(|at| elapsed > at + STOP_LIMIT) {
            kill(&mut child, &tree)?;
            bail!("{program} still ran after {elapsed:.0?}:\n{}", tail(log, 15));
        }
        if let (true, None, Some(done)) = (sampled, stopped, done.as_mut()) {
            match done() {
                Ok(false) => {}
                Ok(true) => {
                    stopped = Some(begun.elapsed());
                    signal(tree.root, libc::SIGTERM);
                }
                Err(error) => {
                    kill(&mut child, &tree)?;
                    return Err(error);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = stopped.unwrap_or_else(|| begun.elapsed());
    let left = tree.end_rest();
    if stopped.is_none() && !status.success() {
        bail!("{program} ended with {status}:\n{}", tail(log, 15));
    }
    if stopped.is_none() && done.is_some() {
        bail!("{program} ended before its work was done:\n{}", tail(log, 15));
    }
    Ok(Usage {
        wall_seconds: wall.as_secs_f64(),
        cpu_seconds: usage.cpu_seconds + left,
        peak_rss_bytes: usage.peak_rss_bytes.max(tree.peak_rss_bytes),
    })
}

fn kill(child: &mut Child, tree: &Tree) -> Result<()> {
    child.kill()?;
    child.wait()?;
    tree.end_rest();
    Ok(())
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: takes no pointers. A process that has just ended is no error.
    unsafe { libc::kill(pid, signal) };
}

/// The processes seen so far: of each its pid and, as pids are used again, when it started.
struct Tree {
    root: i32,
    members: BTreeMap<i32, u64>,
    peak_rss_bytes: u64,
    sampled: Option<Instant>,
    discovered: Option<Instant>,
}

impl Tree {
    fn of(root: i32) -> Self {
        Self { root, members: BTreeMap::new(), peak_rss_bytes: 0, sampled: None, discovered: None }
    }

    /// Adds the resident sets up if it is time; whether it was.
    fn sample(&mut self) -> bool {
        if self.sampled.is_some_and(|at| at.elapsed() < SAMPLE) {
            return false;
        }
        self.sampled = Some(Instant::now());
        if self.discovered.is_none_or(|at| at.elapsed() >= DISCOVER) {
            self.discovered = Some(Instant::now());
            self.discover();
        }
        let resident = self.members.keys().filter_map(|pid| resident_bytes(*pid)).sum();
        self.peak_rss_bytes = self.peak_rss_bytes.max(resident);
        true
    }

    fn discover(&mut self) {
        let all: BTreeMap<i32, Stat> = pids().filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();
        self.members.retain(|pid, start| all.get(pid).is_some_and(|stat| stat.start == *start));
        if let Some(stat) = all.get(&self.root) {
            self.members.insert(self.root, stat.start);
        }
        // Until no more are found: a child may have a smaller pid than its parent.
        loop {
            let found: Vec<(i32, u64)> = all
                .iter()
                .filter(|(pid, stat)| self.members.contains_key(&stat.parent) && !self.members.contains_key(pid))
                .map(|(pid, stat)| (*pid, stat.start))
                .collect();
            if found.is_empty() {
                return;
            }
            self.members.extend(found);
        }
    }

    /// Kills those that outlived the root; the CPU seconds they and their children had used.
    fn end_rest(&self) -> f64 {
        let mut ticks = 0;
        for (pid, start) in &self.members {
            if let Some(stat) = Stat::of(*pid).filter(|stat| stat.start == *start && *pid != self.root) {
                signal(*pid, libc::SIGKILL);
                ticks += stat.ticks;
            }
        }
        ticks as f64 / configured(libc::_SC_CLK_TCK) as f64
    }
}

/// What is used of `/proc/PID/stat`.
struct Stat {
    parent: i32,
    /// Ticks since the machine's start.
    start: u64,
    /// User and system time, its own and that of the children it waited for.
    ticks: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in parentheses, may hold anything: fields count from its end, where the third (state) is the first.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self { parent: fields.get(1)?.parse().ok()?, start: number(22)?, ticks })
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn resident_bytes(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * configured(libc::_SC_PAGESIZE))
}

fn configured(name: i32) -> u64 {
    // SAFETY: takes no pointers.
    u64::try_from(unsafe { libc::sysconf(name) }).unwrap_or(1).max(1)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
