//! What stands beside an offset in the group: that it is ours, whose target's, and of which topic.
//!
//! A group may hold offsets of another program, or of this job when it wrote somewhere else. Neither is a position.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidemill_engine::partition::Position;

/// The version written; a newer one is refused by name.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Note {
    /// Version; its name says who wrote it.
    tidemill: u32,
    /// [`Sink::identity`](tidemill_engine::sink::Sink::identity) of the target.
    #[serde(default)]
    sink: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
}

/// Something else than a position of this target.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Other {
    /// Written by another program, or for another target: no position of this one.
    Foreign,
    /// Written by a newer version.
    Newer(u32),
}

/// The note for `position` in the target `sink`.
pub(super) fn write(sink: &str, topic_id: Option<&str>) -> String {
    let note = Note { tidemill: VERSION, sink: sink.to_owned(), topic_id: topic_id.map(str::to_owned) };
    // Strings and a number always serialise.
    serde_json::to_string(&note).unwrap_or_default()
}

/// The position that an offset with this note is.
pub(super) fn read(sink: &str, offset: i64, note: &str) -> Result<Position, Other> {
    #[derive(Deserialize)]
    struct Version {
        tidemill: u32,
    }
    let Version { tidemill } = serde_json::from_str(note).map_err(|_| Other::Foreign)?;
    if tidemill > VERSION {
        return Err(Other::Newer(tidemill));
    }
    let note: Note = serde_json::from_str(note).map_err(|_| Other::Foreign)?;
    if note.sink != sink || offset < 0 {
        return Err(Other::Foreign);
    }
    Ok(Position { offset, topic_id: note.topic_id.map(Arc::from) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_what_is_not_ours_is_none() {
        let note = write("cluster/out/id", Some("in"));
        assert_eq!(note, r#"{"tidemill":1,"sink":"cluster/out/id","topic_id":"in"}"#, "the form is kept");
        assert_eq!(read("cluster/out/id", 7, &note), Ok(Position { offset: 7, topic_id: Some("in".into()) }));
        assert_eq!(read("cluster/out/id", 7, &write("cluster/out/id", None)), Ok(Position::at(7)));
        assert_eq!(read("cluster/other/id", 7, &note), Err(Other::Foreign));
        for foreign in ["", "x", "{}", r#"{"sink":"cluster/out/id"}"#] {
            assert_eq!(read("cluster/out/id", 7, foreign), Err(Other::Foreign), "{foreign}");
        }
        assert_eq!(read("s", 7, r#"{"tidemill":2,"new":[1]}"#), Err(Other::Newer(2)));
    }
}
