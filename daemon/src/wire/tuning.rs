//! Tuners: from settings, with what an earlier process learned.

use std::sync::Arc;

use tidemill_config as config;
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::clock::Clock;
use tidemill_engine::tuning::{Tuning, TuningMode};

use crate::state::State;

/// Lets the PI loop choose, in debug builds only: to measure what the model is worth.
const PI_VARIABLE: &str = "TIDEMILL_TEST_TUNER";

/// The tuner of a job with these settings; `None`: they ask for none. A former one hands its knowledge on, else the
/// state folder does.
#[must_use]
pub fn tuner(
    job: &str,
    settings: &config::Window,
    bounds: &BoundsHandle,
    former: Option<&Arc<Tuning>>,
    state: &State,
    clock: &Clock,
) -> Option<Arc<Tuning>> {
    let wanted = settings.freshness.and_then(|freshness| match settings.tuning.unwrap_or_default() {
        config::Tuning::Off => None,
        config::Tuning::Observe => Some((freshness, TuningMode::Observe)),
        config::Tuning::On => Some((freshness, TuningMode::On)),
    });
    let Some((freshness, mode)) = wanted else {
        bounds.follow(None);
        return None;
    };
    if let Some(former) = former.filter(|former| former.mode() == mode && former.target() == freshness) {
        return Some(former.clone());
    }
    let saved = match former {
        Some(former) => former.save(),
        None => state.load_tuning(job),
    };
    let tuning = Tuning::new(job, mode, freshness, bounds.clone(), saved, clock.clone());
    if cfg!(debug_assertions) && std::env::var(PI_VARIABLE).is_ok_and(|told| told == "pi") {
        tuning.by_pi_alone();
    }
    Some(tuning)
}
