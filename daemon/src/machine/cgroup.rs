//! Where the kernel keeps the limits of this process's control group, and what its files say. Pure: texts in, folders and
//! numbers out.

use std::path::{Component, Path, PathBuf};

/// The two interfaces there are. A machine may have both mounted, each with its own controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// One tree for each controller: `memory.limit_in_bytes`, `cpu.cfs_quota_us`.
    One,
    /// One tree for all of them: `memory.max`, `cpu.max`.
    Two,
}

/// Folders whose files limit this process: its own group's and its parents', the innermost first.
///
/// `membership` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`. Where a group's path does not lie below what
/// is mounted (a container that sees the host's path), the mount itself stands for it.
pub(super) fn folders(membership: &str, mounts: &str, controller: &str) -> Vec<(Version, PathBuf)> {
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(parse_mount) {
        let version = match mount.kind {
            "cgroup2" => Version::Two,
            "cgroup" if mount.options.split(',').any(|option| option == controller) => Version::One,
            _ => continue,
        };
        let Some(group) = membership.lines().find_map(|line| group(line, version, controller)) else { continue };
        let inside = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
        let own = if plain && inside != Path::new("") { mount.at.join(inside) } else { mount.at.clone() };
        found.extend(own.ancestors().take_while(|f| f.starts_with(&mount.at)).map(|f| (version, f.to_owned())));
    }
    found
}

struct Mount<'t> {
    root: PathBuf,
    at: PathBuf,
    kind: &'t str,
    options: &'t str,
}

/// `ID PARENT DEV ROOT MOUNTPOINT OPTIONS [TAGS…] - TYPE SOURCE OPTIONS`
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, at) = (unescape(left.next()?), unescape(left.next()?));
    let mut right = right.split(' ');
    let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
    Some(Mount { root: root.into(), at: at.into(), kind, options })
}

/// The kernel writes blanks and backslashes as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// `0::/PATH`, or `ID:CONTROLLER,…:/PATH`.
fn group<'t>(line: &'t str, version: Version, controller: &str) -> Option<&'t str> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = match version {
        Version::Two => id == "0" && controllers.is_empty(),
        Version::One => controllers.split(',').any(|name| name == controller),
    };
    ours.then_some(path)
}

/// Bytes, of `memory.max` or `memory.limit_in_bytes`; `None`: no limit. (The latter has a number for that, too.)
pub(super) fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

/// Whole processors of a quota: `cpu.max`, or `cpu.cfs_quota_us` and `cpu.cfs_period_us` with a blank between. A part of
/// one counts as one, any other part as none, as the standard library counts them. `None`: no limit.
pub(super) fn processors(text: &str) -> Option<usize> {
    let mut numbers = text.split_whitespace().map(str::parse::<usize>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    quota.checked_div(period).map(|whole| whole.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(membership: &str, mounts: &str, controller: &str) -> Vec<String> {
        folders(membership, mounts, controller).iter().map(|(v, f)| format!("{v:?} {}", f.display())).collect()
    }

    #[test]
    fn a_group_and_its_parents_are_found_in_either_version() {
        let two = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            shown("0::/system.slice/tidemill.service\n", two, "memory"),
            [
                "Two /sys/fs/cgroup/system.slice/tidemill.service",
                "Two /sys/fs/cgroup/system.slice",
                "Two /sys/fs/cgroup"
            ]
        );
        assert_eq!(shown("0::/\n", two, "memory"), ["Two /sys/fs/cgroup"], "a container with a namespace of its own");
        assert_eq!(shown("0::/../other\n", two, "memory"), ["Two /sys/fs/cgroup"], "outside of the namespace");
        let one = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                   33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let membership = "4:memory:/a/b\n3:cpu,cpuacct:/c\n1:name=systemd:/d\n";
        assert_eq!(
            shown(membership, one, "memory"),
            ["One /sys/fs/cgroup/memory/a/b", "One /sys/fs/cgroup/memory/a", "One /sys/fs/cgroup/memory"]
        );
        assert_eq!(shown(membership, one, "cpu"), ["One /sys/fs/cgroup/cpu/c", "One /sys/fs/cgroup/cpu"]);
        let both = format!("{one}34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(shown(&format!("{membership}0::/\n"), &both, "cpu").len(), 3);
    }

    #[test]
    fn what_is_mounted_of_a_tree_is_taken_off_its_paths() {
        // A container of version 1 without a namespace: it sees the host's path, and its own group is mounted.
        let mounts = "40 31 0:30 /docker/4f\\040x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(shown("4:memory:/docker/4f x\n", mounts, "memory"), ["One /sys/fs/cgroup/memory"]);
        assert_eq!(
            shown("4:memory:/docker/4f x/child\n", mounts, "memory"),
            ["One /sys/fs/cgroup/memory/child", "One /sys/fs/cgroup/memory"]
        );
        assert_eq!(shown("4:memory:/elsewhere\n", mounts, "memory"), ["One /sys/fs/cgroup/memory"]);
        assert_eq!(shown("", mounts, "memory"), [""; 0]);
        assert_eq!(shown("garbage", "garbage\n1 2 - cgroup2\n", "memory"), [""; 0]);
    }

    #[test]
    fn numbers_are_read_and_no_limit_is_none() {
        assert_eq!(
            [bytes("1073741824\n"), bytes("max\n"), bytes("9223372036854771712\n")],
            [Some(1 << 30), None, None]
        );
        let cases = ["max 100000\n", "200000 100000\n", "150000 100000", "50000 100000", "-1 100000", "1 0", ""];
        assert_eq!(cases.map(processors), [None, Some(2), Some(1), Some(1), None, None, None]);
        assert_eq!(unescape(r"/a\040b\134c\9"), r"/a b\c\9");
    }
}
