//! An Iceberg table in S3, behind the reference REST catalog.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tidemill_test_servers::iceberg_rest::IcebergRest;

use super::s3::Store;
use super::{Server, Setup, UnderTest, web};
use crate::kind::{Part, Surroundings};
use crate::proxy::{Proxy, Request, Speech};
use crate::readers;
use crate::tally::Tally;
use crate::watch::Look;

/// A table.
pub(super) struct Iceberg {
    catalog: IcebergRest,
    catalog_links: Vec<Proxy>,
    store: Store,
    partitions: usize,
}

impl Iceberg {
    pub(super) fn new(setup: &Setup) -> Result<Self> {
        let store = Store::start(setup)?;
        let catalog = IcebergRest::start_on(&store.server)?;
        let mut catalog_links = Vec::new();
        for _ in 0..setup.daemons {
            let link = Proxy::start(&setup.runtime, Speech::Http(is_commit))?;
            link.forward_to(catalog.address());
            catalog_links.push(link);
        }
        Ok(Self { catalog, catalog_links, store, partitions: setup.partitions })
    }
}

/// A change of a table.
fn is_commit(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("/tables/")
}

impl UnderTest for Iceberg {
    fn name(&self) -> &'static str {
        "iceberg"
    }

    fn config(&self, daemon: usize) -> String {
        format!(
            "type = \"iceberg\"\ncatalog = {{ type = \"rest\", uri = \"http://127.0.0.1:{}\", warehouse = \"{}\" }}\n\
             table = \"shop.clicks\"\nstorage = \"lake\"\n{}",
            self.catalog_links[daemon].port(),
            self.catalog.warehouse(),
            self.store.table(daemon)
        )
    }

    fn max_age(&self) -> &'static str {
        "1s"
    }

    fn failpoints(&self) -> &'static [&'static str] {
        &[
            "iceberg.in_recover",
            "iceberg.before_open",
            "iceberg.after_manifest",
            "iceberg.after_manifest_list",
            "iceberg.before_commit",
            "iceberg.after_commit",
        ]
    }

    fn surroundings(&self) -> Surroundings {
        let servers = vec![Part::S3, Part::Catalog];
        Surroundings {
            servers: servers.clone(),
            http: servers,
            commits: Some(Part::Catalog),
            ..Surroundings::default()
        }
    }

    fn server(&mut self, part: Part) -> Result<&mut dyn Server> {
        match part {
            Part::Catalog => Ok(&mut self.catalog),
            Part::S3 => Ok(&mut self.store.server),
            other => bail!("an Iceberg table has no {}", other.name()),
        }
    }

    fn link(&self, part: Part, daemon: usize) -> Result<&Proxy> {
        match part {
            Part::Catalog => Ok(&self.catalog_links[daemon]),
            part => self.store.link(part, daemon),
        }
    }

    fn look(&self) -> Result<Box<dyn Look>> {
        Ok(Box::new(Property { catalog: self.catalog.address(), partitions: self.partitions }))
    }

    fn read(&self, tally: &mut Tally<'_>) -> Result<()> {
        let args =
            [self.catalog.uri(), "shop.clicks".into(), self.store.server.endpoint(), self.catalog.warehouse().into()];
        readers::read("iceberg", &args.each_ref().map(String::as_str), &[], tally)
    }
}

/// Loads the table, and the positions in its property.
struct Property {
    catalog: std::net::SocketAddr,
    partitions: usize,
}

impl Look for Property {
    fn positions(&mut self) -> Result<Vec<i64>> {
        let (status, body) = web::ask(self.catalog, "GET", "/v1/namespaces/shop/tables/clicks?snapshots=refs")?;
        if status != 200 {
            bail!("the catalog answers {status}");
        }
        let table: Value = serde_json::from_slice(&body)?;
        let held = table["metadata"]["properties"]["tidemill.positions.clicks"].as_str().context("no positions yet")?;
        let held: Value = serde_json::from_str(held)?;
        let mut visible = vec![-1; self.partitions];
        for at in held["positions"].as_array().context("positions are no list")? {
            let partition = at["partition"].as_u64().and_then(|p| usize::try_from(p).ok());
            if let (Some(visible), Some(offset)) = (partition.and_then(|p| visible.get_mut(p)), at["offset"].as_i64()) {
                *visible = offset;
            }
        }
        Ok(visible)
    }
}
