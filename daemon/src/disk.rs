//! How much room is left on the disks that jobs write to.
//!
//! Looked at on a thread of its own: asking a file system across a network may hang, and nobody is to hang with it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::io::Errno;
use tidemill_config as config;

use crate::metrics::DISK_FREE;

/// How often to look, at stalls as well: a disk that is written to at 500 MB/s has half the default reserve left then.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a start waits for the first look.
const FIRST_LOOK_WITHIN: Duration = Duration::from_millis(200);

/// A file system's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that we may write.
    pub free: u64,
    /// Bytes of all of it.
    pub size: u64,
}

/// A folder that a job writes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    path: PathBuf,
    /// As people and metrics see it.
    pub shown: String,
}

impl Place {
    /// The folder that `text` names, unless it is in a bucket.
    #[must_use]
    pub fn local(text: &config::Text) -> Option<Self> {
        (!text.contains("://")).then(|| Self { path: text.as_str().into(), shown: text.shown().to_owned() })
    }

    /// The folders on disks that a job of these settings writes to; the daemon's own last.
    #[must_use]
    pub fn of(job: &config::Job, daemon: &config::Daemon) -> Vec<Self> {
        let sinks = std::iter::once(&job.sink).chain(&job.dead_letter);
        sinks.filter_map(|sink| Self::local(sink.place()?.1)).chain(Self::local(&daemon.state_dir)).collect()
    }
}

/// The room at some places, as it was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Disks(Mutex<BTreeMap<Place, Option<Space>>>);

impl Disks {
    /// Looks for as long as somebody else holds it. The room at these places is known at once, unless one hangs.
    pub(crate) fn start(places: impl IntoIterator<Item = Place>) -> Arc<Self> {
        let disks = Arc::new(Self::default());
        disks.watch(places);
        let watched = Arc::downgrade(&disks);
        let (looked, first) = sync_channel(1);
        match std::thread::Builder::new().name("disks".into()).spawn(move || look_on(&watched, &looked)) {
            Ok(_) => {
                let _ = first.recv_timeout(FIRST_LOOK_WITHIN);
            }
            Err(error) => tracing::warn!(%error, "no thread to watch the disks with: no job is held for want of room"),
        }
        disks
    }

    /// Looks at these places and no others.
    pub(crate) fn watch(&self, places: impl IntoIterator<Item = Place>) {
        let mut known = self.known();
        let before = std::mem::take(&mut *known);
        known.extend(places.into_iter().map(|place| {
            let space = before.get(&place).copied().flatten();
            (place, space)
        }));
    }

    /// The room at a place; `None`: nobody has looked yet, or it cannot be known.
    pub(crate) fn space(&self, place: &Place) -> Option<Space> {
        self.known().get(place).copied().flatten()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Place, Option<Space>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks once.
    fn look(&self) {
        let places: Vec<Place> = self.known().keys().cloned().collect();
        for place in places {
            let found = space(&place.path);
            if let Some(known) = self.known().get_mut(&place) {
                match &found {
                    #[allow(clippy::cast_precision_loss)] // gauges are floats
                    Ok(space) => metrics::gauge!(DISK_FREE, "path" => place.shown.clone()).set(space.free as f64),
                    Err(error) if known.is_some() => {
                        tracing::warn!(path = place.shown, %error, "the room on its disk is not known any more");
                    }
                    Err(_) => {}
                }
                *known = found.ok();
            }
        }
    }
}

fn look_on(disks: &Weak<Disks>, looked: &SyncSender<()>) {
    while let Some(disks) = disks.upgrade() {
        disks.look();
        drop(disks);
        let _ = looked.try_send(());
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The room on the file system that a folder is on, or will be once it is made.
fn space(path: &Path) -> io::Result<Space> {
    let mut found = Err(Errno::NOENT);
    for path in path.ancestors() {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        found = statvfs(path);
        if !matches!(found, Err(Errno::NOENT)) {
            break;
        }
    }
    let found = found?;
    if found.f_blocks == 0 {
        return Err(io::Error::other("a file system that does not count its blocks"));
    }
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Space { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_folder_is_that_of_its_file_system_before_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let here = space(dir.path()).unwrap();
        assert!(here.free > 0 && here.free <= here.size, "{here:?}");
        assert_eq!(space(&dir.path().join("not/yet/there")).unwrap().size, here.size);
        assert_eq!(space(Path::new("not/yet/there")).unwrap().size, space(Path::new(".")).unwrap().size);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(space(&file.join("below")).is_err(), "no folder can be there");
    }

    #[test]
    fn what_is_watched_is_known_after_a_look_and_forgotten_when_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = |path: &str| Place { path: dir.path().join(path), shown: path.into() };
        let disks = Disks::default();
        disks.watch([place("a"), place("b")]);
        assert_eq!(disks.space(&place("a")), None, "nobody has looked");
        disks.look();
        let a = disks.space(&place("a"));
        assert!(a.is_some());
        disks.watch([place("a")]);
        assert_eq!((disks.space(&place("a")), disks.space(&place("b"))), (a, None));
    }

    #[test]
    fn the_places_of_a_job_are_its_local_folders() {
        let text = "[daemon]\nstate_dir = \"./s\"\n\
                    [job.a]\nsource = { type = \"generator\" }\nformat = { type = \"raw\" }\n\
                    sink = { type = \"delta\", uri = \"./d\" }\n\
                    dead_letter = { type = \"parquet\", path = \"./bad\" }\n\
                    [job.b]\nsource = { type = \"generator\" }\nformat = { type = \"raw\" }\n\
                    sink = { type = \"parquet\", path = \"s3://b/p\" }\n";
        let config = config::load_text("t.toml", text, &config::System).expect("no fault").config;
        let shown = |job: &str| -> Vec<String> {
            Place::of(&config.jobs[job], &config.daemon).into_iter().map(|place| place.shown).collect()
        };
        assert_eq!(shown("a"), ["./d", "./bad", "./s"]);
        assert_eq!(shown("b"), ["./s"]);
    }
}
