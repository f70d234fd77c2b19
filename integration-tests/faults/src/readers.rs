//! Readers of the sinks in Python, as their users have them: a virtual environment with pinned versions in the cache.

use std::io::BufReader;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tidemill_test_servers::python;

use crate::tally::Tally;

/// What the scripts import.
const PACKAGES: &[&str] = &["deltalake==1.6.6", "duckdb==2.0.0", "pyarrow==26.0.1", "pyiceberg==0.12.0"];

/// The scripts, by name.
const SCRIPTS: [(&str, &str); 4] = [
    ("parquet", include_str!("../readers/parquet.py")),
    ("ndjson", include_str!("../readers/ndjson.py")),
    ("delta", include_str!("../readers/delta.py")),
    ("iceberg", include_str!("../readers/iceberg.py")),
];

/// Runs a script and counts what it prints.
pub fn read(script: &str, args: &[&str], env: &[(&str, &str)], tally: &mut Tally<'_>) -> Result<()> {
    let (_, text) = SCRIPTS.iter().find(|(name, _)| *name == script).with_context(|| format!("no reader {script}"))?;
    let mut command = Command::new(python::with("faults", PACKAGES)?);
    command.args(["-c", text]).args(args).envs(env.iter().copied());
    lines(command, tally)
}

/// Runs any command whose standard output is lines `topic,partition,offset,seq`, and counts them.
pub fn lines(mut command: Command, tally: &mut Tally<'_>) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let errors = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.reopen()?);
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let out = child.stdout.take().context("no standard output")?;
    let counted = tally.lines(BufReader::with_capacity(1 << 20, out));
    let status = child.wait()?;
    if !status.success() {
        bail!("{program} failed ({status}): {}", std::fs::read_to_string(errors.path()).unwrap_or_default());
    }
    counted
}
