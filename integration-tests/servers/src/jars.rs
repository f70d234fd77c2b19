//! Jars of the servers: fetched once from Maven Central into a cached folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const KAFKA: &str = include_str!("../kafka/pom.xml");

/// Said when something is missing.
const HOW_TO_INSTALL: &str = "the integration tests start a real Apache Kafka broker and need Java 17 (or later) and \
     Maven: on Debian or Ubuntu `apt-get install openjdk-17-jre-headless maven`. Or set TIDEMILL_TEST_BROKERS=host:port \
     to a broker that is already there";

/// `${TIDEMILL_CACHE:-$HOME/.cache/tidemill}`.
pub fn cache() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEMILL_CACHE").filter(|v| !v.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let home = std::env::var_os("HOME").context("neither TIDEMILL_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/tidemill"))
}

/// The folder with the broker's jars, filled at the first call on a machine (about 55 MB).
pub fn kafka() -> Result<PathBuf> {
    fetched("kafka-4.1.0", KAFKA)
}

/// The folder `name` of the cache, with all that the dependencies of `pom` need at run time. It is filled again when
/// the pom has changed. Processes that ask at the same time wait for the first.
pub fn fetched(name: &str, pom: &str) -> Result<PathBuf> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let folder = cache.join(name);
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("cannot make {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    // The pom beside the jars says what they were fetched for; it is written last.
    if fs::read_to_string(folder.join("pom.xml")).is_ok_and(|found| found == pom) {
        return Ok(folder);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot clear {}", folder.display()));
        }
        _ => fs::create_dir_all(&folder)?,
    }
    let fetching = folder.join("fetching.xml");
    fs::write(&fetching, pom)?;
    let out = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&fetching)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run mvn; {HOW_TO_INSTALL}"))?;
    if !out.status.success() {
        let said = [out.stdout, out.stderr].concat();
        bail!("mvn could not fetch the jars of {name} from Maven Central: {}", String::from_utf8_lossy(&said));
    }
    fs::rename(&fetching, folder.join("pom.xml"))?;
    Ok(folder)
}

/// Options of a JVM that is to start fast rather than to come to its top speed.
pub const QUICK: &[&str] = &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// `java` with options and a class path. Its temporary files lie below `folder`: a server that is killed leaves them behind.
pub fn java(options: &[&str], classpath: &str, folder: &Path) -> Result<Command> {
    let found = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        bail!("cannot run java; {HOW_TO_INSTALL}");
    }
    let temporary = folder.join("tmp");
    fs::create_dir_all(&temporary)?;
    let mut command = Command::new("java");
    command.arg(format!("-Djava.io.tmpdir={}", temporary.display()));
    command.args(options).args(["-cp", classpath]);
    Ok(command)
}
