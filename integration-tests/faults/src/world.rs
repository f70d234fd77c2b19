//! Everything that was started for a run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidemill_integration_tests::job::Job;
use tidemill_integration_tests::producer::{Plan, Producer};
use tidemill_test_servers::kafka::Kafka;
use tokio::runtime::Runtime;

use crate::fleet::Member;
use crate::kind::Part;
use crate::proxy::{Proxy, Speech};
use crate::run::Options;
use crate::sinks::{self, Server, Setup, UnderTest};
use crate::watch::Watch;

/// Partitions of the topic: every daemon of three gets some.
pub const PARTITIONS: usize = 6;

/// The servers, the proxies, the daemons, the producer. Fields are dropped in this order: nobody outlives what it
/// talks to, and the runtime that the proxies run on goes last.
pub struct World {
    /// Sees the sink.
    pub watch: Watch,
    /// The daemons.
    pub members: Vec<Member>,
    /// Runs until its end is asked for.
    pub producer: Option<Producer>,
    /// The sink with its servers and proxies.
    pub sink: Box<dyn UnderTest>,
    /// The way of each daemon to the broker.
    pub links: Vec<Proxy>,
    /// The way of the producer to the broker.
    pub producer_link: Proxy,
    /// The broker.
    pub kafka: Kafka,
    /// Where dead letters go.
    pub letters: PathBuf,
    _runtime: Runtime,
}

impl World {
    /// Starts all, the daemons and the producer included. `root`: a folder of the run.
    pub fn start(sink: &str, options: &Options, root: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut links = (0..=options.daemons)
            .map(|_| Proxy::start(runtime.handle(), Speech::Kafka))
            .collect::<Result<Vec<Proxy>>>()?;
        let ports: Vec<u16> = links.iter().map(Proxy::port).collect();
        let kafka = Kafka::start_behind(&ports)?;
        for (link, port) in links.iter().zip(kafka.behind()) {
            link.forward_to(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)));
        }
        let producer_link = links.pop().context("a way for the producer")?;
        let topic = kafka.topic("clicks", i32::try_from(PARTITIONS)?, &[])?;
        let setup = Setup {
            root: root.to_owned(),
            daemons: options.daemons,
            runtime: runtime.handle().clone(),
            brokers: kafka.brokers().to_owned(),
            ways: links.iter().map(Proxy::port).map(|port| format!("127.0.0.1:{port}")).collect(),
            topic: topic.clone(),
            group: format!("tidemill-{topic}"),
            sink_topic: kafka.topic("rows", 4, &[])?,
            partitions: PARTITIONS,
        };
        let sink = sinks::set_up(sink, &setup).with_context(|| format!("cannot set up the {sink} sink"))?;
        let letters = root.join("rejected");
        let mut members = Vec::new();
        for (i, way) in setup.ways.iter().enumerate() {
            let name = ["a", "b", "c"][i];
            let mut job = Job::new(way, &topic, root).instance(name);
            job.max_age = sink.max_age().to_owned();
            job.session_timeout_ms = u64::try_from(options.session.as_millis())?;
            job.properties.clone_from(&options.properties);
            job.other_sink = Some(sink.config(i));
            // A full disk is a fault that is meant to be met.
            job.daemon = "disk_reserve = 0".to_owned();
            let mut member = Member::new(name, job.home.clone(), job.toml(), options.env.clone());
            member.start()?;
            members.push(member);
        }
        let plan = Plan {
            mix: sink.mix(),
            seed: options.seed,
            ..Plan::endless(&topic, i32::try_from(PARTITIONS)?, options.rate)
        };
        let producer = Some(Producer::start(&format!("127.0.0.1:{}", producer_link.port()), plan)?);
        let watch = Watch::start(sink.look()?, PARTITIONS)?;
        Ok(Self { watch, members, producer, sink, links, producer_link, kafka, letters, _runtime: runtime })
    }

    /// The ways between the daemons meant and a part.
    pub fn ways(&self, part: Part, daemon: usize, all: bool) -> Result<Vec<&Proxy>> {
        (0..self.members.len())
            .filter(|i| all || *i == daemon)
            .map(|i| match part {
                Part::Broker => Ok(&self.links[i]),
                part => self.sink.link(part, i),
            })
            .collect()
    }

    /// A server.
    pub fn server(&mut self, part: Part) -> Result<&mut dyn Server> {
        match part {
            Part::Broker => Ok(&mut self.kafka),
            part => self.sink.server(part),
        }
    }

    /// An error if a daemon has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::check)
    }

    /// Records acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.producer.as_ref().map_or(0, Producer::acked)
    }

    /// The ends of all daemons' logs.
    #[must_use]
    pub fn logs(&self) -> String {
        self.members.iter().map(Member::log_tail).collect::<Vec<_>>().join("\n")
    }
}
