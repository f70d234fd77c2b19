//! What a tuner does, in words, with what-ifs.

use super::outlook::{DIVERGED, Scene};
use super::{Limit, Mode, State, Tuner};

/// Share of the time that commits may take on an instance that is not to be run at its limit.
const COMFORTABLE: f64 = 0.6;
/// How many times the rate seen a capacity is told.
const FAR: f64 = 5.0;
const AHEAD: usize = 2048;

/// Sentences, the most important first. `p99`: what was measured over the last five minutes, seconds.
#[must_use]
pub fn explain(tuner: &Tuner, p99: Option<f64>) -> Vec<String> {
    let choice = tuner.choice();
    let target = tuner.target();
    let mut out = Vec::new();
    let measured = match p99 {
        Some(p99) => format!("99 of 100 records became visible within {} over the last five minutes", seconds(p99)),
        None => "nothing was measured yet".to_owned(),
    };
    out.push(format!("freshness {} is asked for; {measured}.", seconds(target)));
    let Some(cost) = tuner.cost() else {
        out.push(format!("nothing is known about this job yet: windows begin at {}.", seconds(choice.window)));
        return out;
    };
    let rate = tuner.arrivals().peak();
    let per_row = cost.marginal(tuner.arrivals().bytes_per_row());
    out.push(format!(
        "a window costs {} whatever is in it, and {} for each million rows ({} rows/s expected, {} of the time spent in \
         commits).",
        seconds(cost.fixed),
        seconds(per_row * 1e6),
        count(rate),
        percent(per_row * rate + cost.fixed / choice.window.max(cost.fixed)),
    ));
    let why = match choice.limit {
        Limit::Freshness => "a longer one would miss the freshness asked for",
        Limit::Commit => "the commit before takes as long, so a shorter one would not be fresher",
        Limit::Slew => "windows grow by steps, in case the cost is not what was learned",
        Limit::MaxAge => "max_age allows no longer one",
        Limit::MaxRows => "max_rows allows no longer one",
        Limit::MaxBytes => "max_bytes allows no longer one",
        Limit::Backlog => "old records are being caught up with, and nothing is there to keep fresh yet",
    };
    let by = match (choice.state, choice.mode) {
        (State::Frozen, _) => "held by a person",
        (State::Warming, _) => "chosen carefully, too few windows were seen",
        (_, Mode::Pi) => "chosen by the PI loop, since the cost model explains too little here",
        (_, Mode::Model) => "chosen by the cost model",
    };
    out.push(format!("window {}, {by}: {why}.", seconds(choice.window)));
    if let (Some(p99), Some(commits)) = (choice.p99.filter(|p| *p < DIVERGED), choice.commits_per_hour) {
        out.push(format!(
            "that should keep 99 of 100 records within {}, with {} commits an hour.",
            seconds(p99),
            count(commits)
        ));
    }
    what_ifs(tuner, per_row, &mut out);
    out
}

fn what_ifs(tuner: &Tuner, per_row: f64, out: &mut Vec<String>) {
    let (Some(cost), choice, target) = (tuner.cost(), tuner.choice(), tuner.target()) else { return };
    let ratios = tuner.ratios().sequence(AHEAD);
    let scene = |share: f64, target: f64| Scene {
        fixed: cost.fixed,
        utilisation: per_row * tuner.arrivals().peak() * share,
        delay: tuner.delay(),
        ratios: &ratios,
        target,
        horizon: f64::INFINITY,
    };
    let shortest = tuner.caps().shortest;
    if let Some(reachable) = choice.infeasible {
        if reachable.p99 < DIVERGED {
            let slow = match reachable.p99_with_slow_commits {
                slow if slow < 1.2 * reachable.p99 => String::new(),
                slow => format!(" ({} if a commit in a hundred takes three times as long)", seconds(slow)),
            };
            out.push(format!(
                "no window keeps {}: the fixed cost alone is {}, and below {}{slow} no window can hold.",
                seconds(target),
                seconds(cost.fixed),
                seconds(reachable.p99)
            ));
        } else {
            out.push(format!(
                "no window keeps {}: {} rows/s come, and this instance commits {} rows/s at most.",
                seconds(target),
                count(tuner.arrivals().peak()),
                count(1.0 / per_row.max(1e-12))
            ));
        }
        let enough = (2..=16).find(|n| scene(1.0 / f64::from(*n), target).outlook(shortest).late <= 0.01);
        if let Some(n) = enough {
            out.push(format!("{n} instances would hold it."));
        } else {
            out.push("more instances would not hold it: a faster sink or another freshness would.".to_owned());
        }
    }
    let now = scene(1.0, target).outlook(choice.window);
    for other in [0.5 * target, 2.0 * target] {
        let decision = super::decide::decide(&scene(1.0, other), shortest.min(other), other, 0.006);
        if decision.infeasible {
            out.push(format!("freshness {} could not be held.", seconds(other)));
        } else {
            out.push(format!(
                "freshness {} would need {:.1} × the commits.",
                seconds(other),
                now.between / decision.outlook.between.max(1e-9)
            ));
        }
    }
    // What a row costs is not known far beyond what was seen.
    let (room, seen) = (COMFORTABLE / per_row.max(1e-12), tuner.arrivals().peak());
    if room <= FAR * seen {
        out.push(format!("this instance has room for about {} rows/s.", count(room)));
    } else {
        out.push(format!("this instance has room for more than {FAR} times as many rows."));
    }
}

fn seconds(s: f64) -> String {
    match s {
        s if s >= DIVERGED => "any time".to_owned(),
        s if s >= 100.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s => format!("{:.0} ms", s * 1e3),
    }
}

fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share.min(1.0))
}
