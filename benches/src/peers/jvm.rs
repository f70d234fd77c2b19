//! Peers on the JVM: jars from Maven, a job in Java.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tidemill_integration_tests::jars;

/// Said when something is missing.
const HOW_TO_INSTALL: &str = "the peers on the JVM need a JDK (17 or 21) and Maven: on Debian or Ubuntu \
     `apt-get install openjdk-17-jdk-headless maven`";

const TIMED: &str = include_str!("../../peers/Timed.java");
const LOGGING: &str = include_str!("../../peers/log4j2.properties");

/// What a peer is made of.
#[derive(Debug)]
pub struct Classes {
    /// Its version, as in `pom`.
    pub version: &'static str,
    folder: &'static str,
    pom: &'static str,
    sources: &'static [(&'static str, &'static str)],
    options: &'static str,
}

/// Flink.
pub const FLINK: Classes = Classes {
    version: "2.3.0",
    folder: "peer-flink-2.3.0",
    pom: include_str!("../../peers/flink/pom.xml"),
    sources: &[("Timed.java", TIMED), ("Job.java", include_str!("../../peers/flink/Job.java"))],
    options: include_str!("../../peers/flink/jvm.options"),
};

/// Spark.
pub const SPARK: Classes = Classes {
    version: "4.2.0",
    folder: "peer-spark-4.2.0",
    pom: include_str!("../../peers/spark/pom.xml"),
    sources: &[("Timed.java", TIMED), ("Job.java", include_str!("../../peers/spark/Job.java"))],
    options: include_str!("../../peers/spark/jvm.options"),
};

/// Kafka Connect with Iceberg's sink, whose version this is.
pub const CONNECT: Classes = Classes {
    version: "1.12.0",
    folder: "peer-connect-iceberg-1.12.0",
    pom: include_str!("../../peers/connect/pom.xml"),
    sources: &[("CreateTable.java", include_str!("../../peers/connect/CreateTable.java"))],
    options: include_str!("../../peers/connect/jvm.options"),
};

/// What one time of the work took, as `Timed.java` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// From before the job was made to when it had ended, seconds.
    pub wall_seconds: f64,
    /// CPU seconds of the process in that time.
    pub cpu_seconds: f64,
}

/// Compiled classes, the jars they need and the JVM's options.
#[derive(Debug)]
pub(super) struct Java {
    classpath: String,
    options: PathBuf,
}

impl Java {
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("@{}", self.options.display())).args(["-cp", &self.classpath]);
        command
    }
}

impl Classes {
    /// Fetches the jars and compiles the sources into `folder`.
    pub(super) fn ready(&self, folder: &Path) -> Result<Java> {
        for tool in ["java", "javac", "mvn"] {
            let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                bail!("cannot run {tool}; {HOW_TO_INSTALL}");
            }
        }
        let fetched = jars::fetched(self.folder, self.pom)?;
        let classes = folder.join("classes");
        fs::create_dir_all(&classes)?;
        let classpath = format!("{}:{}/*", classes.display(), fetched.display());
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-cp", &classpath, "-d"]).arg(&classes);
        for (name, text) in self.sources {
            let path = folder.join(name);
            fs::write(&path, text)?;
            javac.arg(path);
        }
        let out = javac.stdin(Stdio::null()).output().with_context(|| format!("cannot run javac; {HOW_TO_INSTALL}"))?;
        if !out.status.success() {
            bail!("javac cannot compile the job of {}:\n{}", self.folder, String::from_utf8_lossy(&out.stderr));
        }
        fs::write(classes.join("log4j2.properties"), LOGGING)?;
        let options = folder.join("jvm.options");
        // Peers that are killed leave what they had there.
        let temporary = folder.join("tmp");
        fs::create_dir_all(&temporary)?;
        fs::write(&options, format!("{}\n-Djava.io.tmpdir={}\n", self.options, temporary.display()))?;
        Ok(Java { classpath, options })
    }
}

/// The jobs that a log tells of.
pub(super) fn jobs(log: &Path) -> Result<Vec<Job>> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let said = text.lines().filter_map(|line| line.strip_prefix("job {"));
    said.map(|rest| serde_json::from_str(&format!("{{{rest}")).with_context(|| format!("not a job: {rest}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_poms() {
        for classes in [&FLINK, &SPARK, &CONNECT] {
            assert!(classes.pom.contains(&format!(">{}<", classes.version)), "{}", classes.folder);
            assert!(classes.folder.ends_with(classes.version), "{}", classes.folder);
        }
        assert!(CONNECT.pom.contains(&format!("<kafka>{}<", super::super::connect::KAFKA_VERSION)));
    }

    #[test]
    fn jobs_are_found_among_other_lines() {
        let dir = tempfile::tempdir().expect("tempdir");
        let log = dir.path().join("log");
        fs::write(&log, "WARN job x\njob {\"wall_seconds\":1.5,\"cpu_seconds\":2}\njobs\njob {\"wall_seconds\":1,\"cpu_seconds\":0.5}\n")
            .expect("writes");
        let found = jobs(&log).expect("reads");
        let expected = [(1.5, 2.0), (1.0, 0.5)].map(|(wall_seconds, cpu_seconds)| Job { wall_seconds, cpu_seconds });
        assert_eq!(found, expected);
        fs::write(&log, "job {oops}").expect("writes");
        jobs(&log).expect_err("not a job");
    }
}
