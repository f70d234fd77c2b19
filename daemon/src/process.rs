//! What the process uses, as the kernel counts it.

use std::time::Duration;

/// Use of CPU and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time since the start.
    pub cpu: Duration,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Largest resident memory since the start.
    pub peak_rss_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Threads.
    pub threads: u64,
}

/// Clock ticks a second in `/proc`; 100 on every Linux we know (`USER_HZ`).
const TICKS: u64 = 100;

impl Usage {
    /// The use of this process; `None` where there is no `/proc`.
    #[must_use]
    pub fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        parse(&stat, &status, open_fds)
    }
}

fn parse(stat: &str, status: &str, open_fds: u64) -> Option<Usage> {
    // The command's name, in parentheses, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let kib = |key: &str| {
        let line = status.lines().find(|l| l.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(Usage {
        cpu: Duration::from_millis(ticks * 1000 / TICKS),
        rss_bytes: kib("VmRSS:")? * 1024,
        peak_rss_bytes: kib("VmHWM:")? * 1024,
        open_fds,
        threads: kib("Threads:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_words() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        let status = "Name:\ta\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\nThreads:\t3\n";
        let usage = parse(stat, status, 4).unwrap();
        assert_eq!((usage.cpu, usage.rss_bytes, usage.peak_rss_bytes), (Duration::from_secs(3), 10240, 20480));
        assert_eq!((usage.open_fds, usage.threads), (4, 3));
        assert!(Usage::now().is_some());
    }
}
