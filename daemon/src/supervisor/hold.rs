//! Holds jobs while a disk that they write to has less room than the reserve.

use super::Supervisor;
use super::reserve::{short_of, shown};
use crate::disk::{Disks, Place};

impl Supervisor {
    /// Holds the jobs that are short of room, and lets those go on that are so no more.
    pub(super) fn watch_disks(&mut self) {
        let reserve = self.shared.live().disk_reserve;
        let places = self.jobs.values().flat_map(|managed| Place::of(&managed.planned.settings, &self.config.daemon));
        self.disks.watch(places);
        for (name, managed) in &self.jobs {
            let control = &managed.job.control;
            if managed.is_over() {
                control.release();
                continue;
            }
            let places = Place::of(&managed.planned.settings, &self.config.daemon);
            let short = places.iter().find_map(|place| trouble(&self.disks, place, reserve, control.held().is_some()));
            match short {
                Some(why) if control.hold(&why) => tracing::warn!(job = name, why, "held, it takes nothing more"),
                Some(_) => {}
                None if control.release() => tracing::info!(job = name, "there is room again, it goes on"),
                None => {}
            }
        }
    }
}

/// Why a job that writes to `place` is held; `None`: there is room, or nobody knows.
fn trouble(disks: &Disks, place: &Place, reserve: Option<u64>, is_held: bool) -> Option<String> {
    let space = disks.space(place)?;
    let reserve = short_of(reserve, space, is_held)?;
    Some(format!(
        "the disk has {} free of reserve {} at {}: make room there, or lower daemon.disk_reserve",
        shown(space.free),
        shown(reserve),
        place.shown
    ))
}
