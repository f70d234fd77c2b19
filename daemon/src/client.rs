//! The command line's side of the API: verbs for a running daemon.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::{FAILED, OK, complain, say};

/// How long connecting, and each wait for an answer, may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(70);
/// A larger answer is none of ours.
const MOST_ANSWER: u64 = 64 << 20;

/// Which daemon, and how to show its answers.
#[derive(Clone, Debug, clap::Args)]
pub struct Daemon {
    /// Address of the daemon, HOST:PORT.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    http: Option<String>,
    /// Take address and token from the daemon's configuration file or folder. Else: 127.0.0.1:9464.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// Token of the API, where the daemon has one.
    #[arg(long = "token", env = "TIDEMILL_API_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Print the API's answer as it is.
    #[arg(long)]
    json: bool,
}

/// What to ask.
#[derive(Debug)]
pub enum Request {
    /// All jobs, or one.
    Jobs(Option<String>),
    /// All groups.
    Groups,
    /// A verb, for jobs or groups of these names.
    Verb {
        /// Which.
        verb: &'static str,
        /// Jobs, or groups.
        names: Vec<String>,
        /// They are groups.
        groups: bool,
        /// How long to wait until the jobs are there.
        wait: Option<Duration>,
    },
    /// Shows window bounds, or changes those that are given.
    Window {
        /// The job.
        job: String,
        /// New bounds, as the API takes them.
        bounds: serde_json::Map<String, Value>,
    },
    /// What its tuner does, and why.
    Explain(String),
    /// Reload, or only the check of it.
    Reload {
        /// Change nothing.
        check: bool,
    },
}

/// Asks, and prints the answer. The exit code is 0 when everything asked for was done or begun.
///
/// # Errors
/// When the daemon cannot be reached or refuses.
pub fn run(daemon: &Daemon, request: &Request) -> anyhow::Result<u8> {
    let target = Target::of(daemon)?;
    match request {
        Request::Jobs(None) => {
            let jobs = target.ask("GET", "/api/jobs", None)?.good()?;
            show(daemon, &jobs, || table(jobs["jobs"].as_array().map_or(&[], Vec::as_slice)))
        }
        Request::Jobs(Some(name)) => {
            let job = target.ask("GET", &format!("/api/jobs/{}", encoded(name)), None)?.good()?;
            show(daemon, &job, || details(&job))
        }
        Request::Groups => {
            let groups = target.ask("GET", "/api/groups", None)?.good()?;
            show(daemon, &groups, || group_table(groups["groups"].as_array().map_or(&[], Vec::as_slice)))
        }
        Request::Verb { verb, names, groups, wait } => target.verbs(daemon, verb, names, *groups, *wait),
        Request::Window { job, bounds } => {
            let path = format!("/api/jobs/{}/window", encoded(job));
            let answer = match bounds.is_empty() {
                true => target.ask("GET", &path, None)?,
                false => target.ask("PATCH", &path, Some(&Value::Object(bounds.clone())))?,
            };
            let answer = answer.good()?;
            show(daemon, &answer, || window(&answer["window"]))
        }
        Request::Explain(job) => {
            let answer = target.ask("GET", &format!("/api/jobs/{}/tuning", encoded(job)), None)?.good()?;
            let lines = answer["explanation"].as_array().into_iter().flatten().filter_map(Value::as_str);
            show(daemon, &answer, || lines.map(|line| format!("{line}\n")).collect())
        }
        Request::Reload { check } => {
            let path = if *check { "/api/reload?check=true" } else { "/api/reload" };
            let answer = target.ask("POST", path, Some(&json!({})))?;
            for fault in answer.body["faults"].as_array().into_iter().flatten() {
                let text = |key: &str| fault[key].as_str().unwrap_or_default().to_owned();
                complain(&format!(
                    "{}:{}:{}: {}: {}\n",
                    text("file"),
                    fault["line"],
                    fault["column"],
                    text("key"),
                    text("message")
                ));
            }
            let answer = answer.good()?;
            show(daemon, &answer, || changes(&answer, *check))
        }
    }
}

fn show(daemon: &Daemon, answer: &Value, words: impl FnOnce() -> String) -> anyhow::Result<u8> {
    if daemon.json { say(&format!("{answer:#}\n")) } else { say(&words()) }
}

/// A daemon to ask.
struct Target {
    host: String,
    addresses: Vec<SocketAddr>,
    token: Option<String>,
}

struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    /// The body, unless the daemon refused.
    fn good(self) -> anyhow::Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let why = self.body["error"].as_str().unwrap_or("no reason given");
        match self.status {
            401 => bail!("{why}: give it as TIDEMILL_API_TOKEN or --token"),
            status => bail!("{why} (HTTP {status})"),
        }
    }
}

impl Target {
    fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        let mut token = daemon.token.clone();
        let host = match (&daemon.http, &daemon.config) {
            (Some(http), _) => http.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            (None, Some(config)) => {
                let (address, known) = from_config(config)?;
                token = token.or(known);
                address.to_string()
            }
            (None, None) => "127.0.0.1:9464".to_owned(),
        };
        let addresses: Vec<SocketAddr> = host
            .to_socket_addrs()
            .with_context(|| format!("{host}: expected HOST:PORT, such as 127.0.0.1:9464"))?
            .collect();
        Ok(Self { host, addresses, token })
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(CONNECT_WITHIN))?;
        let body = body.map(ToString::to_string);
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host);
        if let Some(body) = &body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        if let Some(token) = &self.token {
            if !token.bytes().all(|b| b.is_ascii_graphic()) {
                bail!("the token has characters that no token has");
            }
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let no_answer = || format!("the daemon at {} does not answer", self.host);
        stream.write_all(format!("{head}\r\n{}", body.unwrap_or_default()).as_bytes()).with_context(no_answer)?;
        let mut answer = Vec::new();
        stream.take(MOST_ANSWER).read_to_end(&mut answer).with_context(no_answer)?;
        parse(&String::from_utf8_lossy(&answer)).with_context(|| format!("{} is no tidemill daemon", self.host))
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        let mut last = None;
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, CONNECT_WITHIN) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(|| "it has no address".to_owned(), |e| e.to_string());
        bail!(
            "no daemon at {}: {why}; its log says where it listens (`tidemill runs`): give that as --http, or its \
             configuration as --config",
            self.host
        )
    }

    fn verbs(
        &self,
        daemon: &Daemon,
        verb: &str,
        names: &[String],
        groups: bool,
        wait: Option<Duration>,
    ) -> anyhow::Result<u8> {
        let kind = if groups { "groups" } else { "jobs" };
        let mut code = OK;
        let mut told = Vec::new();
        for name in names {
            let answer = self.ask("POST", &format!("/api/{kind}/{}/{verb}", encoded(name)), Some(&json!({})))?;
            if daemon.json {
                say(&format!("{:#}\n", answer.body))?;
            }
            let each = answer.body["jobs"].as_object().cloned().unwrap_or_default();
            for (job, answer) in &each {
                match (answer["done"].as_str(), answer["error"].as_str()) {
                    (Some(done), _) if !daemon.json => drop(say(&format!("{job}: {done}\n"))?),
                    (None, Some(error)) => complain(&format!("{job}: {error}\n")),
                    _ => {}
                }
                told.push(job.clone());
            }
            match answer.good() {
                Ok(body) => {
                    if let Some(done) = body["done"].as_str().filter(|_| !daemon.json) {
                        say(&format!("{name}: {done}\n"))?;
                    }
                    if !groups {
                        told.push(name.clone());
                    }
                }
                Err(error) => {
                    complain(&format!("{name}: {error:#}\n"));
                    code = FAILED;
                }
            }
        }
        if let (Some(wait), OK) = (wait, code) {
            let deadline = Instant::now() + wait;
            for job in &told {
                self.wait(job, verb, deadline)?;
            }
        }
        Ok(code)
    }

    /// Waits until a job is where a verb takes it.
    fn wait(&self, job: &str, verb: &str, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let shown = self.ask("GET", &format!("/api/jobs/{}", encoded(job)), None)?.good()?;
            let state = shown["state"].as_str().unwrap_or_default();
            let there = match verb {
                "pause" => state == "paused",
                "drain" => matches!(state, "stopped" | "finished" | "failed"),
                "resume" | "restart" => matches!(state, "running" | "finished"),
                _ => true,
            };
            if there {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("job `{job}` is {state} still: {}", shown["why"].as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Address and token from a configuration.
fn from_config(path: &Path) -> anyhow::Result<(SocketAddr, Option<String>)> {
    let loaded = tidemill_config::load(path, &tidemill_config::System).map_err(|faults| {
        anyhow::anyhow!("{} has faults (see `tidemill check`): give --http instead; {}", path.display(), faults[0])
    })?;
    let daemon = &loaded.config.daemon;
    let mut address = daemon.http.0;
    if address.port() == 0 {
        bail!("the daemon takes any free port (http = \"{address}\"): its log says which; give that as --http");
    }
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    Ok((address, daemon.api_token.as_ref().map(|token| token.as_str().to_owned())))
}

fn parse(answer: &str) -> anyhow::Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").context("its answer is not HTTP")?;
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunk(body) } else { body.into() };
    let status = status.context("its answer has no status")?;
    Ok(Answer { status, body: serde_json::from_str(&body).context("its answer is not JSON")? })
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Some(size) = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0) else { break };
        whole.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn table(jobs: &[Value]) -> String {
    let head = ["JOB", "GROUP", "STATE", "FOR", "LAG", "ROWS", "COMMITS", "RUNS", "WHY"].map(str::to_owned);
    let row = |job: &Value| {
        let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
        let crash = if job["crash_loop"] == true {
            format!("CRASH LOOP ({} errors in 10 min): ", job["errors_in_10_minutes"])
        } else {
            String::new()
        };
        let why = job["trouble"].as_str().or(job["why"].as_str()).unwrap_or_default();
        [
            text("name"),
            text("group"),
            text("state"),
            since(&job["since_ms"]),
            job["lag"].to_string(),
            job["rows"].to_string(),
            job["commits_landed"].to_string(),
            job["runs"].to_string(),
            crash + why,
        ]
    };
    columns(std::iter::once(head).chain(jobs.iter().map(row)))
}

fn group_table(groups: &[Value]) -> String {
    let head = ["GROUP", "JOBS", "RUNNING", "BACKING OFF", "FAILED"].map(str::to_owned);
    let row = |group: &Value| {
        let jobs: Vec<_> = group["jobs"].as_array().into_iter().flatten().filter_map(|j| j["name"].as_str()).collect();
        let count = |key: &str| group[key].to_string();
        let name = group["name"].as_str().unwrap_or_default().to_owned();
        [name, jobs.join(","), count("running"), count("backing_off"), count("failed")]
    };
    columns(std::iter::once(head).chain(groups.iter().map(row)))
}

fn columns<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    let widths: Vec<usize> = (0..N).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn details(job: &Value) -> String {
    let mut text = table(std::slice::from_ref(job));
    if let Some(error) = job["last_error"]["error"].as_str() {
        text.push_str(&format!("last error, {} ago: {error}\n", since(&job["last_error"]["at_ms"])));
    }
    if let Some(at) = job["next_try_ms"].as_i64() {
        text.push_str(&format!("next try in {} ms\n", (at - chrono::Utc::now().timestamp_millis()).max(0)));
    }
    text.push_str(&window(&job["window"]));
    for p in job["partitions"].as_array().into_iter().flatten() {
        let topic = p["topic"].as_str().unwrap_or_default();
        text.push_str(&format!(
            "{topic}/{} at {}, end {}, lag {}\n",
            p["partition"], p["position"], p["end"], p["lag"]
        ));
    }
    text
}

fn window(window: &Value) -> String {
    let idle = window["idle_seconds"].as_f64().map_or_else(|| "none".to_owned(), |s| format!("{s} s"));
    let tuning = window["tuning"].as_str().map_or_else(String::new, |tuning| format!(", tuning {tuning}"));
    format!(
        "window: max_age {} s, max_rows {}, max_bytes {}, idle {idle}{tuning}\n",
        window["max_age_seconds"], window["max_rows"], window["max_bytes"]
    )
}

fn changes(answer: &Value, check: bool) -> String {
    let changes = &answer["changes"];
    let list = |key: &str| -> Vec<String> {
        changes[key].as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut text = String::from(if check { "no fault; nothing was changed. A reload would say:\n" } else { "" });
    for key in ["added", "removed", "restarted", "window", "keys", "warnings"] {
        let names = list(key);
        if !names.is_empty() {
            text.push_str(&format!("{key}: {}\n", names.join(", ")));
        }
    }
    text.push_str(&format!("unchanged: {} jobs\n", list("unchanged").len()));
    text
}

fn since(ms: &Value) -> String {
    let ms = ms.as_i64().unwrap_or_default();
    match (chrono::Utc::now().timestamp_millis() - ms).max(0) / 1000 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s => format!("{}h", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let plain = parse("HTTP/1.1 409 Conflict\r\ncontent-length: 13\r\n\r\n{\"error\":\"x\"}").unwrap();
        assert_eq!((plain.status, plain.body["error"].as_str()), (409, Some("x")));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked).unwrap().body["a"], 1);
        assert!(parse("SSH-2.0-x\r\n").is_err());
        assert_eq!(encoded("a/../b c"), "a%2F..%2Fb%20c");
    }
}
