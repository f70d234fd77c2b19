//! A real Apache Kafka broker from Maven Central's jars, in KRaft combined mode, on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::certificates::certificates;
use crate::jars;
use crate::process::{Guarded, tail};

/// Names a broker that is already there (`host:port,…`), instead of starting one.
pub const BROKERS_VARIABLE: &str = "TIDEMILL_TEST_BROKERS";

/// How the broker's JVM runs.
#[derive(Clone, Copy, Debug)]
struct Jvm {
    options: &'static [&'static str],
    heap: [&'static str; 2],
}

/// In tests: started fast, with little memory.
const IN_TESTS: Jvm = Jvm { options: jars::QUICK, heap: ["-Xmx512m", "-Xms64m"] };
/// As `kafka-server-start.sh` and `kafka-run-class.sh` of Kafka's own distribution run it.
const AS_SHIPPED: Jvm = Jvm {
    options: &[
        "-server",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=20",
        "-XX:InitiatingHeapOccupancyPercent=35",
        "-XX:+ExplicitGCInvokesConcurrent",
        "-XX:MaxInlineLevel=15",
        "-Djava.awt.headless=true",
    ],
    heap: ["-Xmx1G", "-Xms1G"],
};

/// How long a broker may take to answer after its start, on a busy machine with two cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A listener with TLS and SCRAM-SHA-512, and what a client of it needs.
#[derive(Clone, Debug)]
pub struct Secured {
    /// `bootstrap.servers`.
    pub brokers: String,
    /// File with the certificate of the authority that signed the broker's.
    pub ca: PathBuf,
    /// `sasl.username`.
    pub user: &'static str,
    /// `sasl.password`.
    pub password: &'static str,
}

const USER: &str = "tidemill";
const PASSWORD: &str = "a-secret-of-tests";

/// A broker, ours or somebody else's.
#[derive(Debug)]
pub struct Kafka {
    brokers: String,
    secured: Option<Secured>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    process: Option<Guarded>,
    jvm: Jvm,
    folder: PathBuf,
    classpath: String,
    behind: Vec<u16>,
    // Removes the folder on drop; a static is never dropped, then the watchdog does it.
    _scratch: tempfile::TempDir,
}

impl Kafka {
    /// The broker that all tests of this process share: started at the first call, ended with the process.
    /// With [`BROKERS_VARIABLE`] set, that one.
    ///
    /// # Panics
    /// When there is neither the variable nor Java and Maven: a test that needs a broker fails, it is not skipped.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let started = SHARED.get_or_init(|| {
            let brokers = std::env::var(BROKERS_VARIABLE).ok().filter(|brokers| !brokers.is_empty());
            Kafka::at(brokers.as_deref()).map_err(|error| format!("{error:#}"))
        });
        match started {
            Ok(kafka) => kafka,
            Err(message) => panic!("no Kafka broker for the tests: {message}"),
        }
    }

    /// The broker that is at `brokers`; `None`: one of one's own is started.
    pub fn at(brokers: Option<&str>) -> Result<Kafka> {
        match brokers {
            Some(brokers) => Ok(Kafka { brokers: brokers.to_owned(), secured: None, own: None }),
            None => Kafka::start(),
        }
    }

    /// As [`at`](Self::at), to measure latency: a broker of one's own runs as Kafka's start script runs it, not as one that
    /// is to start fast. For some minutes it takes more of the machine for its compiler, then it is faster.
    pub fn for_measuring(brokers: Option<&str>) -> Result<Kafka> {
        match brokers {
            Some(_) => Kafka::at(brokers),
            None => Self::begin(AS_SHIPPED, &[], None),
        }
    }

    /// Whether it ends with this value, and all that is in it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Starts a broker of one's own, to be stopped and killed at will. About five seconds.
    pub fn start() -> Result<Kafka> {
        Self::start_behind(&[])
    }

    /// As [`start`](Self::start), with one more listener for each of `proxies`: ports on loopback at which somebody
    /// else listens and forwards to [`behind`](Self::behind). A client that begins at such a port is sent to no other
    /// one, so whatever it says to the broker goes through that proxy.
    pub fn start_behind(proxies: &[u16]) -> Result<Kafka> {
        Self::begin(IN_TESTS, proxies, None)
    }

    /// As [`start`](Self::start), with one more listener that asks for TLS and a password: [`secured`](Self::secured).
    pub fn start_secured() -> Result<Kafka> {
        Self::begin(IN_TESTS, &[], Some(free_port()?))
    }

    fn begin(jvm: Jvm, proxies: &[u16], secured: Option<u16>) -> Result<Kafka> {
        let classpath = format!("{}/*", jars::kafka()?.display());
        let scratch = tempfile::Builder::new().prefix("tidemill-kafka-").tempdir()?;
        let folder = scratch.path().to_owned();
        let (port, controller) = (free_port()?, free_port()?);
        let behind = proxies.iter().map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        let pairs: Vec<(u16, u16)> = behind.iter().copied().zip(proxies.iter().copied()).collect();
        write_settings(&folder, port, controller, &pairs, secured)?;
        format_storage(&folder, &classpath, secured.is_some())?;
        let mut kafka = Kafka {
            brokers: format!("127.0.0.1:{port}"),
            secured: secured.map(|port| Secured {
                brokers: format!("localhost:{port}"),
                ca: folder.join("ca.crt"),
                user: USER,
                password: PASSWORD,
            }),
            own: Some(Own { process: None, jvm, folder, classpath, behind, _scratch: scratch }),
        };
        kafka.restart()?;
        Ok(kafka)
    }

    /// `bootstrap.servers`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The listener of [`start_secured`](Self::start_secured).
    #[must_use]
    pub fn secured(&self) -> Option<&Secured> {
        self.secured.as_ref()
    }

    /// The ports that the proxies of [`start_behind`](Self::start_behind) forward to, in their order.
    #[must_use]
    pub fn behind(&self) -> &[u16] {
        self.own.as_ref().map_or(&[], |own| &own.behind)
    }

    /// A client configuration with only `bootstrap.servers` set.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// Starts the broker again on the same ports and folders, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        let own = self.own.as_mut().context("the broker of TIDEMILL_TEST_BROKERS is not ours to start")?;
        if own.process.is_some() {
            bail!("the broker runs already");
        }
        own.process = Some(launch(own)?);
        self.wait_ready()
    }

    /// A clean stop (SIGTERM).
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.running()?;
        process.term(Duration::from_secs(60)).map(|_| ())
    }

    /// SIGKILL.
    pub fn kill9(&mut self) -> Result<()> {
        self.running()?.kill9()
    }

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn freeze(&mut self) -> Result<()> {
        self.process()?.signal("STOP")
    }

    /// SIGCONT.
    pub fn thaw(&mut self) -> Result<()> {
        self.process()?.signal("CONT")
    }

    /// The broker's process id, where it is ours and runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref()?.process.as_ref().map(Guarded::pid)
    }

    fn process(&mut self) -> Result<&mut Guarded> {
        let own = self.own.as_mut().context("the broker of TIDEMILL_TEST_BROKERS is not ours to control")?;
        own.process.as_mut().context("the broker does not run")
    }

    fn running(&mut self) -> Result<Guarded> {
        self.process()?;
        self.own.as_mut().and_then(|own| own.process.take()).context("the broker does not run")
    }

    /// Waits until the broker answers and is in its own metadata: for a moment after a start, or a thaw, it is not.
    pub fn wait_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        let client: BaseConsumer = self.client().create()?;
        loop {
            if let Ok(found) = client.fetch_metadata(None, Duration::from_secs(1))
                && !found.brokers().is_empty()
            {
                return Ok(());
            }
            if let Some(process) = self.own.as_mut().and_then(|own| own.process.as_mut()) {
                if let Some(status) = process.exited()? {
                    bail!("the broker ended at its start ({status}):\n{}", tail(process.log(), 30));
                }
                if begun.elapsed() > START_LIMIT {
                    bail!("the broker does not answer after {START_LIMIT:?}:\n{}", tail(process.log(), 30));
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a topic with `partitions` partitions and topic settings, and returns its name: `prefix` and a suffix
    /// that no other test has.
    pub fn topic(&self, prefix: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<String> {
        let name = format!("{prefix}-{:08x}", rand::random::<u32>());
        self.create_topic(&name, partitions, settings)?;
        Ok(name)
    }

    /// Makes a topic of this very name and waits until the broker leads all its partitions.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let begun = Instant::now();
        loop {
            let made = self.admin(async |admin, options| admin.create_topics([&topic], options).await)?;
            match made.into_iter().find_map(Result::err) {
                None => break,
                // A broker that has just started does not count itself yet.
                Some((_, RDKafkaErrorCode::InvalidReplicationFactor)) if begun.elapsed() < START_LIMIT => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Some((name, code)) => bail!("cannot create topic {name}: {code}"),
            }
        }
        self.wait_partitions(name, usize::try_from(partitions)?)
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let gone = self.admin(async |admin, options| admin.delete_topics(&[name], options).await)?;
        one_result(gone).with_context(|| format!("cannot delete topic {name}"))
    }

    /// Deletes all records of a partition below an offset: its log's low end is there then.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(below))?;
        let gone = self.admin(async |admin, options| admin.delete_records(&list, options).await)?;
        gone.elements().iter().try_for_each(|e| e.error()).with_context(|| format!("cannot delete records of {topic}"))
    }

    /// Raises the number of partitions to `partitions`.
    pub fn add_partitions(&self, name: &str, partitions: i32) -> Result<()> {
        let more = NewPartitions::new(name, usize::try_from(partitions)?);
        let made = self.admin(async |admin, options| admin.create_partitions([&more], options).await)?;
        one_result(made).with_context(|| format!("cannot add partitions to {name}"))?;
        self.wait_partitions(name, usize::try_from(partitions)?)
    }

    /// The log's low and high end of a partition. A broker that has just come back is asked again, for it may not know its
    /// own partitions for a moment.
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let begun = Instant::now();
        loop {
            // A new client each time: one that was told of a partition without a leader keeps that answer for as long as
            // its metadata are young (15 minutes), for nothing in it uses the topic.
            let client: BaseProducer = self.client().create()?;
            let ends = client.client().fetch_watermarks(topic, partition, Duration::from_secs(10));
            if ends.is_ok() || begun.elapsed() > START_LIMIT {
                return ends.with_context(|| format!("the broker does not tell the ends of {topic}/{partition}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait_partitions(&self, name: &str, partitions: usize) -> Result<()> {
        let client: BaseConsumer = self.client().create()?;
        let begun = Instant::now();
        loop {
            let found = client.fetch_metadata(Some(name), Duration::from_secs(10))?;
            let ready = found.topics().iter().any(|topic| {
                topic.partitions().len() == partitions
                    && topic.partitions().iter().all(|p| p.leader() >= 0 && p.error().is_none())
            });
            if ready {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("topic {name} has not {partitions} partitions with a leader after 30 s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn admin<T>(
        &self,
        ask: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> rdkafka::error::KafkaResult<T>,
    ) -> Result<T> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let wait = Some(Duration::from_secs(20));
        let options = AdminOptions::new().operation_timeout(wait).request_timeout(wait);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(ask(&admin, &options))?)
    }
}

fn one_result(results: Vec<rdkafka::admin::TopicResult>) -> Result<()> {
    for result in results {
        result.map_err(|(name, code)| anyhow!("{name}: {code}"))?;
    }
    Ok(())
}

fn launch(own: &Own) -> Result<Guarded> {
    let mut java = jars::java(own.jvm.options, &own.classpath, &own.folder)?;
    java.args(own.jvm.heap).arg(log_setting(&own.folder)).arg("kafka.Kafka");
    java.arg(own.folder.join("server.properties")).current_dir(&own.folder);
    Guarded::spawn(java, &own.folder.join("server.log"), Some(&own.folder))
}

fn format_storage(folder: &Path, classpath: &str, secured: bool) -> Result<()> {
    let mut java: Command = jars::java(jars::QUICK, classpath, folder)?;
    java.arg(log_setting(folder)).args(["kafka.tools.StorageTool", "format", "-t"]);
    java.args(["dGlkZW1pbGwtdGVzdHMtMQ", "-c"]).arg(folder.join("server.properties")).current_dir(folder);
    if secured {
        java.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"));
    }
    let out = java.output().context("cannot start java")?;
    if !out.status.success() {
        bail!("kafka's StorageTool failed: {}{}", lossy(&out.stdout), lossy(&out.stderr));
    }
    Ok(())
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn log_setting(folder: &Path) -> String {
    format!("-Dlog4j2.configurationFile=file:{}", folder.join("log4j2.properties").display())
}

/// A listener with TLS and SCRAM-SHA-512 at `port`: its settings.
fn secure(folder: &Path, port: u16) -> Result<[String; 3]> {
    certificates(folder)?;
    let (key, chain) = (folder.join("server.key"), folder.join("server.crt"));
    let store = folder.join("server.pem");
    std::fs::write(&store, [std::fs::read(key)?, std::fs::read(chain)?].concat())?;
    let name = "listener.name.secured";
    let settings = format!(
        "{name}.ssl.keystore.type=PEM\n\
         {name}.ssl.keystore.location={}\n\
         {name}.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         {name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n",
        store.display(),
    );
    Ok([format!(",SECURED://localhost:{port}"), ",SECURED:SASL_SSL".to_owned(), settings])
}

/// Settings for one quick, small, lonely broker. `behind`: ports to listen at, and to tell of instead of them; `secured`:
/// a port that asks for TLS and a password.
fn write_settings(
    folder: &Path,
    port: u16,
    controller: u16,
    behind: &[(u16, u16)],
    secured: Option<u16>,
) -> Result<()> {
    let (mut listeners, mut advertised, mut protocols) = (String::new(), String::new(), String::new());
    for (i, (own, told)) in behind.iter().enumerate() {
        listeners += &format!(",LINK{i}://127.0.0.1:{own}");
        advertised += &format!(",LINK{i}://127.0.0.1:{told}");
        protocols += &format!(",LINK{i}:PLAINTEXT");
    }
    let mut more = String::new();
    if let Some(port) = secured {
        let [at, protocol, settings] = secure(folder, port)?;
        listeners += &at;
        advertised += &at;
        protocols += &protocol;
        more = settings;
    }
    let logs = folder.join("data");
    let settings = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={logs}\n\
         auto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=3\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         group.consumer.min.session.timeout.ms=1000\n\
         group.consumer.min.heartbeat.interval.ms=200\n\
         broker.session.timeout.ms=2000\n\
         broker.heartbeat.interval.ms=400\n\
         log.cleaner.dedupe.buffer.size=16777216\n\
         log.index.size.max.bytes=1048576\n\
         num.network.threads=2\n\
         num.io.threads=2\n\
         background.threads=2\n\
         num.recovery.threads.per.data.dir=1\n\
         {more}",
        logs = logs.display(),
    );
    std::fs::write(folder.join("server.properties"), settings)?;
    let quiet = "status = error\n\
                 appender.out.type = Console\n\
                 appender.out.name = out\n\
                 appender.out.layout.type = PatternLayout\n\
                 appender.out.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1}: %m%n\n\
                 rootLogger.level = warn\n\
                 rootLogger.appenderRef.out.ref = out\n";
    std::fs::write(folder.join("log4j2.properties"), quiet)?;
    Ok(())
}

/// A loopback port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
