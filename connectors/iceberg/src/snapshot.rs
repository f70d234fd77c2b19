//! A new snapshot on top of the newest one: its manifest, its manifest list, and the change of the table that adds it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::{FileIO, FileWrite};
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestFile, ManifestList, ManifestListWriter,
    ManifestWriter, ManifestWriterBuilder, Operation, PartitionSpecRef, SchemaRef, Snapshot, SnapshotReference,
    SnapshotRetention, Summary, TableMetadata,
};
use iceberg::{TableRequirement, TableUpdate};
use tidemill_engine::failpoint;
use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use crate::merge;
use crate::places::Places;
use crate::rest::Change;

/// What a commit adds.
pub(crate) struct Append {
    /// Names the commit.
    pub(crate) token: Uuid,
    /// The snapshot it makes, on whatever it is based.
    pub(crate) snapshot: i64,
    /// Its files, all of one partition spec.
    pub(crate) files: Vec<DataFile>,
    /// The spec of the files.
    pub(crate) spec: PartitionSpecRef,
    /// The schema of the files.
    pub(crate) schema: SchemaRef,
    /// The manifest of the files and the format version it was written for: attempts share it.
    pub(crate) manifest: Option<(FormatVersion, ManifestFile)>,
}

/// One attempt: a change of the table, ready to be sent.
pub(crate) struct Attempt {
    /// What to send.
    pub(crate) change: Change,
    /// Files written for this attempt alone.
    pub(crate) files: Vec<String>,
}

/// What a snapshot is put on top of.
pub(crate) struct Base<'a> {
    /// The table as it was just read.
    pub(crate) table: &'a TableMetadata,
    /// Whether this commit may merge manifests, which takes long: one that races with others' leaves it to a later one.
    pub(crate) merge: bool,
}

impl Append {
    /// An append of these files.
    pub(crate) fn new(token: Uuid, files: Vec<DataFile>, spec: PartitionSpecRef, schema: SchemaRef) -> Self {
        // Positive, for some readers know no other.
        let snapshot = i64::from_be_bytes(rand::random::<[u8; 8]>()) & i64::MAX;
        Self { token, snapshot, files, spec, schema, manifest: None }
    }

    /// Rows in the files.
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(DataFile::record_count).sum()
    }

    /// Bytes of the files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(DataFile::file_size_in_bytes).sum()
    }

    /// Writes what a snapshot on top of `base` needs, and makes the change that adds it and sets `properties`. The change
    /// requires that `base`'s newest snapshot still is the newest.
    pub(crate) async fn on(
        &mut self,
        base: Base<'_>,
        places: &Places,
        said: HashMap<String, String>,
        properties: HashMap<String, String>,
        now_ms: i64,
    ) -> Result<Attempt, SinkError> {
        let Base { table: base, merge } = base;
        let folder = metadata_folder(base);
        let mut written = Vec::new();
        let mut manifests = match base.current_snapshot() {
            None => Vec::new(),
            Some(parent) => listed(places, parent, base.format_version()).await?,
        };
        if merge && let Some(merged) = merge::merged(base, places, &manifests, self.snapshot, &folder).await? {
            written.push(merged.written);
            manifests = merged.manifests;
        }
        if let Some(manifest) = self.manifest(base.format_version(), places, &folder).await? {
            manifests.push(manifest);
        }
        failpoint!("iceberg.after_manifest");
        let list = format!("{folder}/snap-{}-{}.avro", self.snapshot, Uuid::new_v4());
        let (bytes, row_range) = manifest_list(base, self.snapshot, manifests)?;
        places.write(&list, bytes).await?;
        written.push(list.clone());
        failpoint!("iceberg.after_manifest_list");
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot)
            .with_parent_snapshot_id(base.current_snapshot_id())
            .with_sequence_number(base.next_sequence_number())
            // Catalogs refuse a snapshot that is older than what they have: another writer's clock may be ahead.
            .with_timestamp_ms(now_ms.max(base.last_updated_ms()))
            .with_manifest_list(list)
            .with_summary(self.summary(base, said))
            .with_schema_id(base.current_schema_id());
        let snapshot = match row_range {
            Some((first, count)) => snapshot.with_row_range(first, count).build(),
            None => snapshot.build(),
        };
        let reference = SnapshotReference::new(self.snapshot, SnapshotRetention::branch(None, None, None));
        Ok(Attempt {
            change: Change {
                requirements: vec![
                    TableRequirement::UuidMatch { uuid: base.uuid() },
                    TableRequirement::RefSnapshotIdMatch {
                        r#ref: MAIN_BRANCH.to_owned(),
                        snapshot_id: base.current_snapshot_id(),
                    },
                ],
                updates: vec![
                    TableUpdate::AddSnapshot { snapshot },
                    TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
                    TableUpdate::SetProperties { updates: properties },
                ],
            },
            files: written,
        })
    }

    /// The manifest of the files, written at the first attempt; none without files.
    async fn manifest(
        &mut self,
        version: FormatVersion,
        places: &Places,
        folder: &str,
    ) -> Result<Option<ManifestFile>, SinkError> {
        if self.files.is_empty() {
            return Ok(None);
        }
        if let Some((_, manifest)) = self.manifest.as_ref().filter(|(v, _)| *v == version) {
            return Ok(Some(manifest.clone()));
        }
        let mut draft = Draft::new(version, self.snapshot, &self.schema, &self.spec)?;
        for file in &self.files {
            // No sequence number: readers take the manifest's, whatever snapshot it lands in.
            draft.writer.add_file(file.clone(), -1).map_err(unwritten)?;
        }
        let manifest = draft.write(places, format!("{folder}/{}-m0.avro", self.token)).await?;
        self.manifest = Some((version, manifest.clone()));
        Ok(Some(manifest))
    }

    /// Where the shared manifest is.
    pub(crate) fn manifest_uri(&self) -> Option<String> {
        self.manifest.as_ref().map(|(_, manifest)| manifest.manifest_path.clone())
    }

    fn summary(&self, base: &TableMetadata, said: HashMap<String, String>) -> Summary {
        let before = base.current_snapshot().map(|s| &s.summary().additional_properties);
        let partitions: BTreeSet<String> = self.files.iter().map(|f| format!("{:?}", f.partition())).collect();
        let mut text = said;
        let added = [
            ("data-files", "added-data-files", self.files.len() as u64),
            ("records", "added-records", self.rows()),
            ("files-size", "added-files-size", self.bytes()),
            ("delete-files", "", 0),
            ("position-deletes", "", 0),
            ("equality-deletes", "", 0),
        ];
        for (what, key, count) in added {
            if count > 0 {
                text.insert(key.to_owned(), count.to_string());
            }
            let total = format!("total-{what}");
            // A total is kept only where the one before is known.
            let old = match before {
                None => Some(0),
                Some(before) => before.get(&total).and_then(|n| n.parse::<u64>().ok()),
            };
            if let Some(old) = old {
                text.insert(total, (old + count).to_string());
            }
        }
        if !self.files.is_empty() {
            text.insert("changed-partition-count".to_owned(), partitions.len().to_string());
        }
        Summary { operation: Operation::Append, additional_properties: text }
    }
}

/// A manifest being written.
pub(crate) struct Draft {
    pub(crate) writer: ManifestWriter,
    memory: FileIO,
}

/// Iceberg's writer writes to a storage of its own: this one is memory, and the bytes go on from there.
const DRAFT: &str = "memory:/manifest.avro";

impl Draft {
    pub(crate) fn new(
        version: FormatVersion,
        snapshot: i64,
        schema: &SchemaRef,
        spec: &PartitionSpecRef,
    ) -> Result<Self, SinkError> {
        let memory = FileIO::new_with_memory();
        let output = memory.new_output(DRAFT).map_err(unwritten)?;
        let builder = ManifestWriterBuilder::new(output, Some(snapshot), schema.clone(), spec.as_ref().clone());
        let writer = match version {
            FormatVersion::V1 => builder.build_v1(),
            FormatVersion::V2 => builder.build_v2_data(),
            FormatVersion::V3 => builder.build_v3_data(),
        };
        Ok(Self { writer, memory })
    }

    /// Writes it to its place.
    pub(crate) async fn write(self, places: &Places, uri: String) -> Result<ManifestFile, SinkError> {
        let mut manifest = self.writer.write_manifest_file().await.map_err(unwritten)?;
        let bytes = self.memory.new_input(DRAFT).map_err(unwritten)?.read().await.map_err(unwritten)?;
        places.write(&uri, bytes).await?;
        manifest.manifest_path = uri;
        Ok(manifest)
    }
}

/// Folder of a table's metadata.
pub(crate) fn metadata_folder(table: &TableMetadata) -> String {
    let own = table.properties().get("write.metadata.path").map(|path| path.trim_end_matches('/').to_owned());
    own.unwrap_or_else(|| format!("{}/metadata", table.location().trim_end_matches('/')))
}

/// The manifests of a snapshot, without those that name nothing.
async fn listed(places: &Places, of: &Snapshot, version: FormatVersion) -> Result<Vec<ManifestFile>, SinkError> {
    let uri = of.manifest_list();
    let bytes = places.read(uri).await?;
    let list = ManifestList::parse_with_version(&bytes, version)
        .map_err(|e| SinkError::person(format!("{uri} cannot be read: {e}")))?;
    let names_files = |m: &ManifestFile| m.has_added_files() || m.has_existing_files() || m.has_deleted_files();
    Ok(list.consume_entries().into_iter().filter(names_files).collect())
}

/// The list's bytes, and for tables that number their rows the first number and how many were given out.
fn manifest_list(
    base: &TableMetadata,
    snapshot: i64,
    manifests: Vec<ManifestFile>,
) -> Result<(Bytes, Option<(u64, u64)>), SinkError> {
    let (parent, sequence) = (base.current_snapshot_id(), base.next_sequence_number());
    let buffer = Buffer::default();
    let out = Box::new(buffer.clone());
    let mut writer = match base.format_version() {
        FormatVersion::V1 => ManifestListWriter::v1(out, snapshot, parent),
        FormatVersion::V2 => ManifestListWriter::v2(out, snapshot, parent, sequence),
        FormatVersion::V3 => ManifestListWriter::v3(out, snapshot, parent, sequence, Some(base.next_row_id())),
    };
    writer.add_manifests(manifests.into_iter()).map_err(unwritten)?;
    let row_range = writer.next_row_id().map(|next| (base.next_row_id(), next - base.next_row_id()));
    futures::FutureExt::now_or_never(writer.close())
        .ok_or_else(|| SinkError::bug("writing to memory waits"))?
        .map_err(unwritten)?;
    Ok((buffer.take(), row_range))
}

pub(crate) fn unwritten(error: iceberg::Error) -> SinkError {
    SinkError::bug(format!("a manifest cannot be written: {error}"))
}

/// Whether a manifest lists data files of one spec.
pub(crate) fn is_data(manifest: &ManifestFile, spec: i32) -> bool {
    manifest.content == ManifestContentType::Data && manifest.partition_spec_id == spec
}

/// Bytes in memory.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

#[async_trait]
impl FileWrite for Buffer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        Ok(())
    }
}
