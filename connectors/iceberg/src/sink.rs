//! Compare and append: the positions are compared on the very snapshot that a commit requires to be the newest still.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::spec::TableMetadata;
use tidemill_connectors::files::Window;
use tidemill_engine::failpoint;
use tidemill_engine::failpoint::compare_is_off;
use tidemill_engine::history::History;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Reaction, Receipt, Sink, SinkError, Staged, Staging};
use uuid::Uuid;

use crate::held::{self, Held};
use crate::options::{IcebergOptions, TableName};
use crate::places::Places;
use crate::rest::{CatalogError, RestCatalog};
use crate::snapshot::{Append, Base};
use crate::staging::{IcebergStaging, Payload, Writer};
use crate::turns::Turns;
use crate::{table, types};

/// So often a commit that met another writer's is tried again, on top of that one.
const ATTEMPTS: u32 = 12;
/// The first pause before that, doubled each time and then cut at random …
const PAUSE: Duration = Duration::from_millis(20);
/// … up to this one. A catalog that asks for more time than that gets it from the next run.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Appends to one table of a catalog.
pub struct IcebergSink {
    options: Arc<IcebergOptions>,
    name: TableName,
    open: Option<Open>,
}

/// What is known after `recover`.
struct Open {
    catalog: RestCatalog,
    places: Places,
    /// The table as the catalog last answered it.
    table: TableMetadata,
    writer: Arc<Writer>,
    turns: Turns,
}

impl IcebergSink {
    /// Checks the options against the schema of the rows; sends nothing.
    ///
    /// # Errors
    /// Names and addresses that are none, columns that Iceberg has no type for, partition fields that do not go with them.
    pub fn new(options: IcebergOptions) -> Result<Self, SinkError> {
        let name = options.table_ident()?;
        RestCatalog::new(&options.catalog, false, &options.clock)?;
        // Whether nanoseconds are possible, only the table knows.
        let schema = types::new_schema(&options.schema, true)?;
        table::new_spec(&options.partition_fields()?, &schema)?;
        Ok(Self { options: Arc::new(options), name, open: None })
    }
}

#[async_trait]
impl Sink for IcebergSink {
    async fn recover(&mut self, _partitions: &[Partition]) -> Result<Positions, SinkError> {
        failpoint!("iceberg.in_recover");
        let options = &self.options;
        let mut catalog = RestCatalog::new(&options.catalog, options.storage.is_none(), &options.clock)?;
        catalog.connect().await?;
        let loaded = table::load_or_create(&catalog, &self.name, options).await?;
        let places = Places::new(options.storage.clone(), &loaded);
        let mut table = loaded.metadata;
        let writer = table::writer(&catalog, &self.name, &mut table, &places, options).await?;
        let held = Held::of(&table, &options.job)?;
        if held.as_ref().is_some_and(|held| held.is_rolled_back(&table)) {
            tracing::warn!(
                table = options.table,
                "the table was rolled back behind this job's newest snapshot: the job goes on after it; to read again \
                 what was rolled back, set its positions (tidemill positions --set)"
            );
        }
        self.open = Some(Open { catalog, places, table, writer, turns: Turns::default() });
        Ok(held.map(|held| held.positions).unwrap_or_default())
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        let open = self.open.as_mut().ok_or_else(|| SinkError::bug("open before recover"))?;
        let moved = open.writer.schema.schema_id() != open.table.current_schema_id()
            || open.writer.spec.spec_id() != open.table.default_partition_spec_id();
        if moved || open.writer.is_worn() {
            // Somebody changed the table's columns or partitions: later windows follow.
            open.writer =
                table::writer(&open.catalog, &self.name, &mut open.table, &open.places, &self.options).await?;
        }
        failpoint!("iceberg.before_open");
        Ok(Box::new(IcebergStaging::start(open.writer.clone())))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let open = self.open.as_mut().ok_or_else(|| SinkError::bug("commit before recover"))?;
        let payload = match staged {
            None => None,
            Some(staged) => {
                Some(*staged.payload.downcast::<Payload>().map_err(|_| SinkError::bug("a window of another sink"))?)
            }
        };
        open.commit(payload, &self.name, &self.options, ranges).await
    }

    fn identity(&self) -> Option<String> {
        self.open.as_ref().map(|open| open.table.uuid().to_string())
    }
}

/// How an attempt ended that did not land and may be made again.
enum Again {
    /// Another writer was faster, or the catalog was busy.
    Pause(Option<Duration>),
    /// The catalog does not like the change. Where the table has moved on meanwhile, that may be why.
    IfMoved(SinkError),
}

impl Open {
    async fn commit(
        &mut self,
        payload: Option<Payload>,
        name: &TableName,
        options: &IcebergOptions,
        ranges: &OffsetRanges,
    ) -> Result<Commit, SinkError> {
        let (mut window, mut append) = match payload {
            Some(p) => {
                let append = Append::new(p.window.token, p.files, p.spec, p.schema);
                (Some(p.window), append)
            }
            None => {
                let (schema, spec) = (self.writer.schema.clone(), self.writer.spec.clone());
                (None, Append::new(Uuid::new_v4(), Vec::new(), spec, schema))
            }
        };
        // The table as it was last seen may be old: only what was just loaded says that the race is lost.
        let mut fresh = self.give_way(name, options).await?;
        let mut attempt = 0;
        while attempt < ATTEMPTS {
            let mut positions = Held::of(&self.table, &options.job)?.map(|h| h.positions).unwrap_or_default();
            if !compare_is_off() && !ranges.continue_from(&positions) {
                if fresh {
                    self.places.delete(append.manifest_uri().as_slice()).await;
                    return Ok(Commit::Lost(ranges.found_in(&positions)));
                }
                self.reload(name).await?;
                fresh = true;
                continue;
            }
            attempt += 1;
            let begun = options.clock.now();
            ranges.apply_to(&mut positions);
            let said = held::summary(&options.job, &options.instance, append.token, ranges)?;
            let held = Held::new(append.token, append.snapshot, positions).text()?;
            let properties = HashMap::from([(held::property(&options.job), held)]);
            let now = options.clock.wall_ms();
            let base = Base { table: &self.table, merge: attempt == 1 };
            let tried = append.on(base, &self.places, said, properties, now).await?;
            failpoint!("iceberg.before_commit");
            // From here on a snapshot may name the files: whatever goes wrong, they stay.
            window.iter_mut().for_each(Window::keep);
            let again = match self.catalog.commit(name, &tried.change).await {
                Ok(table) => {
                    failpoint!("iceberg.after_commit");
                    self.table = table;
                    self.turns.landed(begun, options.clock.now());
                    return Ok(landed(&append, append.snapshot));
                }
                Err(e) => may_be_tried_again(e)?,
            };
            let before = (self.table.current_snapshot_id(), self.table.last_sequence_number());
            self.reload(name).await?;
            fresh = true;
            // Something between us and the catalog may have sent the request twice, and answered for the second.
            if let Some(snapshot) = held::landed(&self.table, append.token) {
                return Ok(landed(&append, snapshot));
            }
            // The catalog has it not, and said that it would not: nobody knows these files.
            window.iter_mut().for_each(Window::disown);
            self.places.delete(&tried.files).await;
            let moved = before != (self.table.current_snapshot_id(), self.table.last_sequence_number());
            let wait = match again {
                Again::Pause(wait) => wait,
                Again::IfMoved(_) if moved => None,
                Again::IfMoved(error) => {
                    self.places.delete(append.manifest_uri().as_slice()).await;
                    return Err(error);
                }
            };
            tracing::debug!(table = options.table, attempt, "a commit met another writer's, or a busy catalog");
            pause(attempt, wait).await;
            // What was read before the pause is old after it: with a busy other writer each attempt would be in vain.
            self.reload(name).await?;
        }
        self.places.delete(append.manifest_uri().as_slice()).await;
        Err(SinkError::retry(format!(
            "table `{}`: {ATTEMPTS} attempts to commit met other writers; nothing was committed",
            options.table
        )))
    }

    /// Lets other writers of the table come before the first attempt. True: the table was read again after it.
    async fn give_way(&mut self, name: &TableName, options: &IcebergOptions) -> Result<bool, SinkError> {
        let wait = self.turns.wait(options.clock.now(), rand::random());
        if wait.is_zero() || !held::is_shared(&self.table, &options.job, &options.instance) {
            return Ok(false);
        }
        tokio::time::sleep(wait).await;
        self.reload(name).await?;
        Ok(true)
    }

    /// Looks at the table again.
    async fn reload(&mut self, name: &TableName) -> Result<(), SinkError> {
        let place = || format!("table `{}.{}`", name.namespace.join("."), name.name);
        let Some(found) = self.catalog.load(name).await? else {
            return Err(SinkError::retry(format!("{} is gone", place())));
        };
        if found.metadata.uuid() != self.table.uuid() {
            return Err(SinkError::retry(format!("{} is another one than before", place())));
        }
        self.table = found.metadata;
        Ok(())
    }
}

fn landed(append: &Append, snapshot: i64) -> Commit {
    Commit::Landed(Receipt {
        rows: append.rows(),
        bytes: append.bytes(),
        files: append.files.len() as u64,
        id: snapshot.to_string(),
    })
}

/// What an attempt's failure means for the commit.
fn may_be_tried_again(error: CatalogError) -> Result<Again, SinkError> {
    match error {
        CatalogError::Conflict(_) => Ok(Again::Pause(None)),
        CatalogError::Busy { message, retry_after: Some(after) } if after > LONGEST_PAUSE => {
            Err(SinkError { reaction: Reaction::Retry, message, retry_after: Some(after) })
        }
        CatalogError::Busy { retry_after, .. } => Ok(Again::Pause(retry_after)),
        CatalogError::Invalid(message) => Ok(Again::IfMoved(SinkError::person(message))),
        CatalogError::Refused(message) => Err(SinkError::person(message)),
        CatalogError::Missing(message) | CatalogError::NotSent(message) => Err(SinkError::retry(message)),
        // What it cannot read now, `recover` will name.
        CatalogError::Unknown(message) | CatalogError::Unreadable(message) => Err(SinkError::unknown(message)),
    }
}

/// Waits before the next attempt, so that writers who met do not meet again.
async fn pause(attempt: u32, wait: Option<Duration>) {
    let most = PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    let jitter = most.mul_f64(rand::random::<f64>());
    tokio::time::sleep(wait.map_or(jitter, |wait| wait + jitter.min(PAUSE))).await;
}

/// The commits of a job that its table remembers, and the positions it holds. Changes nothing; empty where there is no
/// table.
///
/// # Errors
/// What keeps the catalog or the table from being read.
pub async fn history(options: &IcebergOptions) -> Result<History, SinkError> {
    let mut catalog = RestCatalog::new(&options.catalog, false, &options.clock)?;
    catalog.connect().await?;
    match catalog.load(&options.table_ident()?).await? {
        Some(found) => held::history(&found.metadata, &options.job),
        None => Ok(History::default()),
    }
}
