//! The daemon's configuration at a point.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::point::Point;
use crate::workload::plain;

/// Where job `n` writes its files.
#[must_use]
pub fn out(home: &Path, n: usize) -> PathBuf {
    home.join("out").join(name(n))
}

fn name(n: usize) -> String {
    format!("j{n:03}")
}

/// The config file of a point over `topic`, with everything it makes below `home`, whose last part names the consumer
/// groups. `ends`: the jobs are done at the topic's end.
///
/// # Errors
/// When a path cannot stand in a config file.
pub fn config(point: &Point, brokers: &str, topic: &str, home: &Path, ends: bool) -> Result<String> {
    let group = home.file_name().map_or_else(|| "home".into(), |name| name.to_string_lossy());
    let mut text = format!(
        "[daemon]\nstate_dir = \"{}\"\nhttp = \"127.0.0.1:0\"\nmemory = \"{}MiB\"\n",
        plain(&home.join("state"))?,
        point.memory_mib
    );
    let mut fields = String::new();
    for (name, kind) in point.topic.shape.fields() {
        // Writing to a string does not fail.
        let _ = writeln!(fields, "  {{ name = \"{name}\", type = \"{kind}\" }},");
    }
    let until = if ends { "until = \"end\"\n" } else { "" };
    for n in 0..point.jobs {
        let (job, out) = (name(n), plain(&out(home, n))?);
        let (age, codec) = (point.max_age.as_millis(), point.codec);
        let _ = write!(
            text,
            r#"
[job.{job}]
on_error = "fail"

[job.{job}.source]
type = "kafka"
brokers = "{brokers}"
topics = ["{topic}"]
consumer_group = "{group}-{job}"
start = "earliest"
{until}
[job.{job}.format]
type = "json"
fields = [
{fields}]

[job.{job}.window]
max_age = "{age}ms"
max_rows = 100_000_000
max_bytes = "64GiB"

[job.{job}.sink]
type = "parquet"
path = "{out}"
compression = "{codec}"
"#
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::point::Axis;

    #[test]
    fn each_job_has_its_own_group_and_folder() {
        let points = Axis::Jobs.points(1_000_000, 2);
        let text = config(&points[1], "127.0.0.1:9092", "wide", Path::new("/tmp/point-1"), true).expect("plain");
        for n in 0..10 {
            assert!(text.contains(&format!("consumer_group = \"point-1-j{n:03}\"")), "{text}");
            assert!(text.contains(&format!("path = \"/tmp/point-1/out/j{n:03}\"")), "{text}");
        }
        assert_eq!(text.matches("until = \"end\"").count(), 10);
        assert_eq!(text.matches("name = \"seq\"").count(), 10);
        config(&points[0], "b", "t", Path::new("/tmp/a\"b"), true).expect_err("a quote");
        assert!(!config(&points[0], "b", "t", Path::new("/tmp/a"), false).expect("plain").contains("until"));
    }
}
