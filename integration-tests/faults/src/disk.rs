//! A small file system of its own, that can be full.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const SIZE: &str = "2g";

/// A tmpfs. Dropped = unmounted, and what was on it is gone.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one at `at`, which is made.
    pub fn mount(at: &Path) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]).arg(at))?;
        Ok(Self(at.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it no larger than what is on it.
    pub fn fill(&self) -> Result<()> {
        let out = Command::new("df").args(["-k", "--output=used"]).arg(&self.0).output().context("cannot run df")?;
        let text = String::from_utf8_lossy(&out.stdout);
        let used: u64 = text.lines().last().and_then(|line| line.trim().parse().ok()).context("df said no number")?;
        // While files are being written what is used may grow in between: a little more then.
        for more in [0, 64, 256, 1024, 4096] {
            if self.resize(&format!("{}k", used.max(4) + more)).is_ok() {
                return Ok(());
            }
        }
        bail!("cannot make {} as small as what is on it", self.0.display())
    }

    /// Makes room again.
    pub fn grow(&self) -> Result<()> {
        self.resize(SIZE)
    }

    fn resize(&self, size: &str) -> Result<()> {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !out.status.success() {
        bail!(
            "the sink's disk is a small tmpfs, and mounting one takes the right to (root, or `unshare --user \
             --map-root-user --mount …`): {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}
