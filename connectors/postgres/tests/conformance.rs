//! The published suite of sinks on a real server: appending, and upserting by the place of a record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod support;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use support::{Cutter, fresh_table, options};
use tidemill_engine::sink::Sink;
use tidemill_engine::testkit::Key;
use tidemill_engine::testkit::conformance::{Place, Subject};
use tidemill_postgres::{Mode, PostgresOptions, PostgresSink};
use tidemill_test_servers::postgres::Postgres;

struct Table {
    options: PostgresOptions,
    cutter: Cutter,
}

#[async_trait]
impl Subject for Table {
    async fn sink(&self, instance: &str) -> Box<dyn Sink> {
        let options = PostgresOptions { instance: instance.to_owned(), ..self.options.clone() };
        Box::new(PostgresSink::new(options).unwrap())
    }

    async fn rows(&self) -> Vec<Key> {
        let table = self.options.table.sql();
        let sql = format!("SELECT _topic, _partition, _offset FROM {table}");
        let (client, connection) =
            tokio_postgres::connect(&Postgres::shared().url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        // No sink has recovered yet: no table.
        match client.query(&sql, &[]).await {
            Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect(),
            Err(e) if e.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE) => Vec::new(),
            Err(e) => panic!("{e}"),
        }
    }

    async fn lose_answer(&self, landed: bool) -> bool {
        self.cutter.lose_answer(landed);
        true
    }
}

struct Server(Mode);

#[async_trait]
impl Place for Server {
    async fn fresh(&self, schema: SchemaRef) -> Box<dyn Subject> {
        let cutter = Cutter::start(Postgres::shared().port()).await;
        let mut options = options(&cutter.url(), fresh_table("orders"), schema);
        options.mode = self.0;
        if self.0 == Mode::Upsert {
            options.key = ["_topic", "_partition", "_offset"].map(str::to_owned).to_vec();
        }
        Box::new(Table { options, cutter })
    }
}

mod append {
    use super::*;
    tidemill_engine::sink_conformance!(Server(Mode::Append));
}

/// Without `reset`: rows that come again replace themselves, and that case expects them twice.
mod upsert {
    use super::*;
    tidemill_engine::sink_conformance!(@ Server(Mode::Upsert); append many_batches holes compare_fails
        compare_is_for_every_partition two_writers_race two_writers_share zombie_of_another_instance
        zombie_of_the_same_instance answer_lost_landed answer_lost_not_landed crash_at_each_step empty_window
        anchor_twice many_partitions new_partition topic_id wide nested abort stage_while_committing);
}
