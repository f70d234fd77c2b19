//! Merging manifests: each commit adds one, and readers open every one of them.
//!
//! When as many small manifests as the table allows have come together, the next commit writes one in their place.
//! Only manifests that list nothing but added files are merged, each once: the number of manifests grows by one for
//! each hundred commits. Whatever is larger is the work of the table's maintenance (`rewrite_manifests`).

use iceberg::spec::{FormatVersion, Manifest, ManifestFile, TableMetadata};
use tidemill_engine::sink::SinkError;

use crate::places::Places;
use crate::snapshot::{Draft, is_data, unwritten};

/// So many are merged, where the table says nothing (`commit.manifest.min-count-to-merge`).
const MERGE_AT: usize = 100;
/// The most that one commit merges.
const MOST: usize = 500;

/// A table's manifests after a merge.
pub(crate) struct Merged {
    pub(crate) manifests: Vec<ManifestFile>,
    /// The new one.
    pub(crate) written: String,
}

/// Which of these manifests to merge; none: too few.
fn candidates(table: &TableMetadata, manifests: &[ManifestFile]) -> Vec<usize> {
    let property = |key: &str| table.properties().get(key).map(String::as_str);
    if property("commit.manifest-merge.enabled") == Some("false") || table.format_version() != FormatVersion::V2 {
        return Vec::new();
    }
    let at = property("commit.manifest.min-count-to-merge").and_then(|n| n.parse().ok()).unwrap_or(MERGE_AT).max(2);
    let only_added = |m: &ManifestFile| {
        m.added_files_count.is_some() && m.existing_files_count == Some(0) && m.deleted_files_count == Some(0)
    };
    let spec = table.default_partition_spec_id();
    let fit =
        |(i, m): (usize, &ManifestFile)| (is_data(m, spec) && only_added(m) && m.key_metadata.is_none()).then_some(i);
    let found: Vec<usize> = manifests.iter().enumerate().filter_map(fit).take(MOST).collect();
    if found.len() >= at { found } else { Vec::new() }
}

/// Writes one manifest in place of many; `None`: nothing to merge.
pub(crate) async fn merged(
    table: &TableMetadata,
    places: &Places,
    manifests: &[ManifestFile],
    snapshot: i64,
    folder: &str,
) -> Result<Option<Merged>, SinkError> {
    let merge = candidates(table, manifests);
    if merge.is_empty() {
        return Ok(None);
    }
    let spec = table.default_partition_spec();
    let mut draft = Draft::new(FormatVersion::V2, snapshot, table.current_schema(), spec)?;
    for index in &merge {
        let from = &manifests[*index];
        let uri = &from.manifest_path;
        let bytes = places.read(uri).await?;
        let unreadable = |e| SinkError::person(format!("{uri} cannot be read: {e}"));
        for entry in Manifest::parse_avro(&bytes).map_err(unreadable)?.entries() {
            // What an entry does not say, its manifest does.
            let sequence = entry.sequence_number().filter(|n| *n >= 0).unwrap_or(from.sequence_number);
            let added_by = entry.snapshot_id().unwrap_or(from.added_snapshot_id);
            let file = entry.data_file().clone();
            draft.writer.add_existing_file(file, added_by, sequence, Some(from.sequence_number)).map_err(unwritten)?;
        }
    }
    let written = format!("{folder}/{}-m1.avro", uuid::Uuid::new_v4());
    let one = draft.write(places, written.clone()).await?;
    let kept = manifests.iter().enumerate().filter(|(i, _)| merge.binary_search(i).is_err());
    let manifests = kept.map(|(_, m)| m.clone()).chain([one]).collect();
    tracing::debug!(table = table.location(), count = merge.len(), "merged manifests");
    Ok(Some(Merged { manifests, written }))
}
