//! Which window: the longest that keeps the target.

use super::outlook::{DIVERGED, Outlook, Scene};

/// Windows are tried in steps of a tenth.
const STEP: f64 = 1.1;
/// And in wider ones where no window keeps the target: all have to be tried then.
const WIDE_STEP: f64 = 1.25;
/// Beyond this share late at the shortest window, the target is missed by the ordinary windows, not by the tail.
const HOPELESS: f64 = 0.05;

/// Above this share of the time spent in commits, a job has no room.
pub const SATURATED: f64 = 0.85;
/// Above this share late at the shortest window, being late is no measure any more.
const ALL_LATE: f64 = 0.95;

/// A window chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// Seconds.
    pub window: f64,
    /// What it leads to.
    pub outlook: Outlook,
    /// No window keeps the target; this is the best there is.
    pub infeasible: bool,
    /// The commits take as long as the windows: shorter ones would make no more commits, and the shortest was taken.
    pub commit_bound: bool,
}

/// Between `shortest` and `longest` seconds: the longest window that keeps the target for all but `allowed` of records.
///
/// Where none does: if only a tail is late that no window could save, the longest that is not much worse than the
/// shortest (chasing the tail costs commits and saves nobody); else the longest that is about as fresh as can be.
#[must_use]
pub fn decide(scene: &Scene<'_>, shortest: f64, longest: f64, allowed: f64) -> Decision {
    let longest = longest.max(shortest);
    let (late_at_shortest, between_at_shortest) = scene.brief(shortest);
    let infeasible = late_at_shortest > 0.01;
    let mut window = longest;
    if late_at_shortest <= HOPELESS {
        let bar = allowed.max(late_at_shortest + 0.2 * allowed);
        while window > shortest && scene.late(window, bar) > bar {
            window = (window / STEP).max(shortest);
        }
    } else {
        window = least_bad(scene, shortest, longest, allowed);
    }
    let outlook = scene.outlook(window);
    // While a commit runs nothing is cut: a shorter window then costs nothing, and starts a burst with less.
    let commit_bound = window <= shortest || between_at_shortest > 0.95 * outlook.between;
    if commit_bound && window > shortest {
        return Decision { window: shortest, outlook: scene.outlook(shortest), infeasible, commit_bound };
    }
    Decision { window, outlook, infeasible, commit_bound }
}

/// The longest window that is about as good as any.
fn least_bad(scene: &Scene<'_>, shortest: f64, longest: f64, allowed: f64) -> f64 {
    let steps = || std::iter::successors(Some(longest), |w| (*w > shortest).then(|| (*w / WIDE_STEP).max(shortest)));
    let tried: Vec<(f64, f64)> = steps().map(|window| (window, scene.brief(window).0)).collect();
    let least = tried.iter().map(|(_, late)| *late).fold(f64::INFINITY, f64::min);
    if least < ALL_LATE {
        let good = least + 0.2 * allowed.max(0.1 * least);
        return tried.iter().find(|(_, late)| *late <= good).map_or(shortest, |(window, _)| *window);
    }
    let tried: Vec<(f64, f64)> = steps().map(|window| (window, scene.outlook(window).p99)).collect();
    let freshest = tried.iter().map(|(_, p99)| *p99).fold(DIVERGED, f64::min);
    tried.iter().find(|(_, p99)| *p99 <= 1.05 * freshest).map_or(shortest, |(window, _)| *window)
}
