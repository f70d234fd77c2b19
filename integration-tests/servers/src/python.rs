//! Readers in Python: packages of exact versions in a virtual environment of the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::jars;

/// Said when something is missing.
const HOW_TO_INSTALL: &str = "some integration tests read what was written with readers in Python, and need Python 3.10 \
     (or later) with venv and pip: on Debian or Ubuntu `apt-get install python3-venv`";

/// The Python of a virtual environment `name` that holds these packages (`deltalake==1.6.6`) and nothing else. It is made
/// at the first call on a machine, and again when the packages change. Processes that ask at the same time wait for the
/// first.
pub fn with(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let cache = jars::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let folder = cache.join(format!("python-{name}"));
    let lock_path = cache.join(format!("python-{name}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("cannot make {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    let (python, wanted) = (folder.join("bin/python"), packages.join("\n"));
    // What it was made for; written last.
    let made = folder.join("packages.txt");
    if fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot clear {}", folder.display()));
        }
        _ => {}
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context(HOW_TO_INSTALL)?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
        .with_context(|| format!("cannot install {}; {HOW_TO_INSTALL}", packages.join(" ")))?;
    fs::write(&made, wanted)?;
    Ok(python)
}

/// Runs a script to its end and returns what it prints.
pub fn script(python: &Path, script: &Path, arguments: &[&str]) -> Result<String> {
    run(Command::new(python).arg(script).args(arguments))
}

fn run(command: &mut Command) -> Result<String> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !out.status.success() {
        bail!("{shown} ended with {}:\n{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
