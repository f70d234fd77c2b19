//! The published suite of sinks, on Iceberg's reference REST catalog: plain and partitioned tables on a local disk, and on
//! an S3 server.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

mod support;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use support::Lake;
use tidemill_engine::testkit::conformance::{Place, Subject};
use tidemill_iceberg::IcebergOptions;
use tidemill_test_servers::iceberg_rest::IcebergRest;

struct Tables {
    server: fn() -> &'static IcebergRest,
    tune: fn(&mut IcebergOptions),
}

#[async_trait]
impl Place for Tables {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        let server = tokio::task::spawn_blocking(self.server).await.expect("a catalog");
        let mut lake = Lake::new(server, schema).await;
        lake.tune = self.tune;
        Box::new(lake)
    }
}

mod on_disk {
    use super::*;
    tidemill_engine::sink_conformance!(Tables { server: IcebergRest::shared, tune: |_| {} });
}

mod partitioned {
    use super::*;
    tidemill_engine::sink_conformance!(Tables {
        server: IcebergRest::shared,
        tune: |options| options.partition_by = vec!["bucket[3](_offset)".into(), "_partition".into()],
    });
}

mod on_s3 {
    use super::*;
    tidemill_engine::sink_conformance!(Tables { server: IcebergRest::shared_on_s3, tune: |_| {} });
}
