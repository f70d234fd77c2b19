//! The published suite of sinks on Delta: on a local disk and on a real S3 server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use support::Ground;
use tidemill_delta::{DeltaOptions, DeltaSink};
use tidemill_engine::sink::Sink;
use tidemill_engine::testkit::Key;
use tidemill_engine::testkit::conformance::{Place, Subject};

struct Table {
    ground: Ground,
    schema: SchemaRef,
}

#[async_trait]
impl Subject for Table {
    async fn sink(&self, instance: &str) -> Box<dyn Sink> {
        self.ground.store.reconnect();
        let options = self.ground.options(instance, &self.schema);
        let options = DeltaOptions { file_size: 20_000, checkpoint_every: Some(7), ..options };
        Box::new(DeltaSink::new(options).unwrap())
    }

    async fn rows(&self) -> Vec<Key> {
        self.ground.rows().await
    }

    async fn lose_answer(&self, landed: bool) -> bool {
        self.ground.store.lose_line(landed);
        true
    }

    async fn leftovers(&self) -> Option<usize> {
        Some(self.ground.leftovers().await.len())
    }
}

struct Local;

#[async_trait]
impl Place for Local {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        Box::new(Table { ground: Ground::local(), schema })
    }
}

struct Bucket;

#[async_trait]
impl Place for Bucket {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        Box::new(Table { ground: Ground::s3(), schema })
    }
}

mod on_disk {
    use super::*;
    tidemill_engine::sink_conformance!(Local);
}

mod on_s3 {
    use super::*;
    tidemill_engine::sink_conformance!(Bucket);
}
