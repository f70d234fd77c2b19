//! What the machine gives this process: memory and processors, as its control group limits them.
//!
//! A daemon in a container takes its memory from the container's limit, so that one number, in one place, is enough.

mod cgroup;

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use cgroup::Version;

const MIB: u64 = 1 << 20;
/// `memory` where nothing limits it.
const UNLIMITED: u64 = 512 * MIB;
/// The least that a daemon works with.
const LEAST: u64 = 32 * MIB;
/// What a process takes beside `memory`, at most.
const BESIDE: u64 = 72 * MIB;
/// Part of a limit that becomes `memory`: the rest is for the process itself, and the page cache of its files.
const PERCENT: u64 = 60;
/// Another root of `/proc` and `/sys`, in debug builds only: for tests.
const ROOT_VARIABLE: &str = "TIDEMILL_TEST_MACHINE_ROOT";

/// A number, and where it comes from, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The number.
    pub number: T,
    /// Where it comes from.
    pub from: String,
}

/// A limit of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    file: PathBuf,
}

/// Reads what the kernel says about this process.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine that this process runs on.
    #[must_use]
    pub fn here() -> Self {
        let told = std::env::var_os(ROOT_VARIABLE).filter(|_| cfg!(debug_assertions));
        Self::at(told.map_or_else(|| "/".into(), PathBuf::from))
    }

    /// A machine whose `/proc` and `/sys` lie below `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    fn read(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(self.root.join(path.strip_prefix("/").unwrap_or(path))).ok()
    }

    fn folders(&self, controller: &str) -> Vec<(Version, PathBuf)> {
        let text = |path: &str| self.read(Path::new(path)).unwrap_or_default();
        cgroup::folders(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"), controller)
    }

    /// The least limit of memory among this process's control group and its parents.
    fn limit(&self) -> Option<Limit> {
        let limits = self.folders("memory").into_iter().filter_map(|(version, folder)| {
            let file = folder.join(match version {
                Version::One => "memory.limit_in_bytes",
                Version::Two => "memory.max",
            });
            let bytes = cgroup::bytes(&self.read(&file)?)?;
            Some(Limit { bytes, file })
        });
        limits.min_by_key(|limit| limit.bytes)
    }

    /// Memory of the machine.
    fn physical(&self) -> Option<u64> {
        let info = self.read(Path::new("/proc/meminfo"))?;
        let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// The budget of a daemon whose configuration says `set`. Complains when it and what comes beside it do not fit
    /// into the limit: then the kernel kills the process sooner or later.
    #[must_use]
    pub fn memory(&self, set: Option<u64>) -> Found<u64> {
        let (limit, physical) = (self.limit(), self.physical());
        let found = memory(set, limit.as_ref(), physical);
        if let Some(limit) = limit.filter(|limit| found.number + BESIDE > limit.bytes) {
            tracing::warn!(
                memory_mib = found.number / MIB,
                limit_mib = limit.bytes / MIB,
                file = %limit.file.display(),
                "memory and the 72 MiB beside it are more than the limit: raise the limit, or lower daemon.memory"
            );
        }
        found
    }

    /// Processors to decode on. The standard library counts those that this process may run on, and the quota of its
    /// control group in whole processors.
    #[must_use]
    pub fn processors(&self) -> Found<usize> {
        let here = available_parallelism().map_or(1, std::num::NonZero::get);
        let quotas = self.folders("cpu").into_iter().filter_map(|(version, folder)| {
            let text = |name: &str| self.read(&folder.join(name));
            let (file, text) = match version {
                Version::One => {
                    let (quota, period) = (text("cpu.cfs_quota_us")?, text("cpu.cfs_period_us")?);
                    ("cpu.cfs_quota_us", format!("{quota} {period}"))
                }
                Version::Two => ("cpu.max", text("cpu.max")?),
            };
            Some((cgroup::processors(&text)?, folder.join(file)))
        });
        match quotas.min_by_key(|(quota, _)| *quota) {
            Some((quota, file)) if quota <= here => Found { number: quota, from: file.display().to_string() },
            _ => Found { number: here, from: "processors that this process may run on".to_owned() },
        }
    }
}

/// What is set; else 60 % of a limit, and so much less that the process fits into it with what it takes beside; else
/// 512 MiB, and no more than 60 % of the machine. A limit that is no less than the machine has is none.
fn memory(set: Option<u64>, limit: Option<&Limit>, physical: Option<u64>) -> Found<u64> {
    if let Some(number) = set {
        return Found { number, from: "daemon.memory of the configuration".to_owned() };
    }
    let part = |bytes: u64| bytes / 100 * PERCENT;
    match limit.filter(|limit| physical.is_none_or(|physical| limit.bytes < physical)) {
        Some(limit) => Found {
            number: part(limit.bytes).min(limit.bytes.saturating_sub(BESIDE)).max(LEAST),
            from: format!("the limit of {} MiB in {}", limit.bytes / MIB, limit.file.display()),
        },
        None => match physical.filter(|physical| part(*physical) < UNLIMITED) {
            Some(physical) => {
                Found { number: part(physical).max(LEAST), from: format!("the machine's {} MiB", physical / MIB) }
            }
            None => Found { number: UNLIMITED, from: "the default where no control group limits it".to_owned() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A tree of files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let machine = Machine::at(dir.path().to_owned());
        (dir, machine)
    }

    const TWO: (&str, &str) =
        ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_limit_of_the_group_and_its_parents_counts() {
        let (_dir, machine) = machine(&[
            TWO,
            MACHINE,
            ("proc/self/cgroup", "0::/pods/a\n"),
            ("sys/fs/cgroup/pods/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/pods/a/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/pods/a/cpu.max", "max 100000\n"),
        ]);
        let found = machine.memory(None);
        assert_eq!(found.number, 2 * GIB / 100 * 60);
        assert_eq!(found.from, "the limit of 2048 MiB in /sys/fs/cgroup/pods/memory.max");
        assert_eq!(machine.memory(Some(GIB)).number, GIB, "what is set holds");
        let found = machine.processors();
        assert_eq!((found.number, found.from.as_str()), (1, "/sys/fs/cgroup/pods/cpu.max"));
    }

    #[test]
    fn version_1_has_files_of_its_own() {
        let (_dir, machine) = machine(&[
            MACHINE,
            ("proc/self/cgroup", "4:memory:/m\n1:cpu,cpuacct:/c\n0::/\n"),
            (
                "proc/self/mountinfo",
                "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 2 0 0:2 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                 3 0 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(machine.memory(None).number, GIB / 100 * 60);
        assert_eq!(machine.processors().number, 1);
    }

    #[test]
    fn without_a_limit_the_default_is_what_it_was() {
        let (_dir, bare) = machine(&[]);
        assert_eq!(bare.memory(None).number, UNLIMITED);
        assert_eq!(bare.processors().number, available_parallelism().unwrap().get());
        let files = [TWO, MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "17179869184\n")];
        let (_dir, all) = machine(&files);
        assert_eq!(all.memory(None).number, UNLIMITED, "a limit of all there is limits nothing");
    }

    #[test]
    fn small_limits_leave_room_for_the_process() {
        let of = |mib: u64| {
            let limit = Limit { bytes: mib * MIB, file: "f".into() };
            memory(None, Some(&limit), Some(16 * GIB)).number / MIB
        };
        assert_eq!([of(64), of(100), of(128), of(180), of(256), of(1000)], [32, 32, 56, 107, 153, 600]);
        assert_eq!(memory(None, None, Some(512 * MIB)).number / MIB, 307, "a small machine");
        assert_eq!(memory(None, None, None).number, UNLIMITED);
    }
}
