//! How the daemon's binary is linked.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") && packed_relocations_are_known() {
        // 300,000 addresses are put in their places at the start. Packed they take some KiB of the file instead of 7 MiB,
        // which would stay in the resident set of a daemon that has nothing to do.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Loaders know them from glibc 2.36 on. Asked of the machine that builds: a binary made here does not run on one with an
/// older glibc in any case.
fn packed_relocations_are_known() -> bool {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = answer.ok().filter(|out| out.status.success()).and_then(|out| String::from_utf8(out.stdout).ok());
    let numbers = version.and_then(|text| {
        let (major, minor) = text.trim().rsplit(' ').next()?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    numbers.is_some_and(|version| version >= (2, 36))
}
