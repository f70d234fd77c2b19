//! What the tuner promises, by simulation with fixed seeds; the whole evaluation is in `docs/tuning.md`.

use super::cost::{CostModel, Sample};
use super::loads::{Load, Trace};
use super::outlook::Scene;
use super::policy::{Fixed, PiPolicy};
use super::ratios::Ratios;
use super::simulator::{Outcome, SimulatedSink, run};
use super::{Caps, Cost, Landed, Line, State, Tuner};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const COST: Cost = Cost { fixed: 0.35, per_row: 4e-6, per_byte: 0.0 };

fn tuned(trace: &Trace, sink: &SimulatedSink, target: f64, seed: u64) -> (Outcome, Tuner) {
    let caps = Caps::of(target);
    let mut tuner = Tuner::new(target, caps, None);
    let outcome = run(trace, sink, &mut tuner, target, &caps, seed);
    (outcome, tuner)
}

#[test]
fn one_setting_fits_a_fast_and_a_slow_sink() {
    let trace = Trace::of(900.0, 200.0, |_| 20e3);
    for (fixed, most) in [(0.3, 170), (3.0, 250)] {
        let sink = SimulatedSink::new(Cost { fixed, ..COST });
        let (outcome, _) = tuned(&trace, &sink, 10.0, 1);
        assert!(outcome.in_target() >= 0.99, "fixed cost {fixed} s: {:.4} in target", outcome.in_target());
        assert!(outcome.windows.len() <= most, "fixed cost {fixed} s: {} commits", outcome.windows.len());
    }
}

#[test]
fn a_held_window_stays_while_costs_are_learned_and_follows_once_it_is_let_go() {
    let trace = Trace::of(600.0, 200.0, |_| 20e3);
    let (_, mut tuner) = tuned(&trace, &SimulatedSink::new(COST), 10.0, 1);
    let before = *tuner.choice();
    assert_ne!(before.state, State::Frozen);
    tuner.freeze(true);
    let slower = |now: f64| Landed {
        now,
        rows: 20e3 * before.window,
        bytes: 0.0,
        filled: before.window,
        since_cut: before.window,
        after: 3.0,
        cost: 3.0,
        oldest: Some(before.window + 3.0),
        counted: 20e3 * before.window,
        late: 0.0,
        backlog: 0.0,
    };
    let learned = tuner.windows();
    for i in 0..40 {
        if i == 0 {
            tuner.glance(1e6, 0.5);
        }
        tuner.learn(&slower(600.0 + 10.0 * f64::from(i)));
        assert_eq!((tuner.choice().state, tuner.choice().line), (State::Frozen, before.line));
    }
    assert_eq!(tuner.windows(), learned + 40, "it goes on learning");
    tuner.freeze(false);
    assert!(tuner.choice().window < 0.9 * before.window, "{:?} after {before:?}", tuner.choice());
    assert_ne!(tuner.choice().state, State::Frozen);
}

#[test]
fn a_step_is_answered_within_the_window_it_falls_into() {
    let trace = Load::Step.trace(1800.0, 1.0);
    let edge = 300.0;
    for seed in 0..5 {
        // Without the tail, so that only the answer to the step is seen.
        let sink = SimulatedSink { tail: (0.0, 1.0), ..SimulatedSink::new(COST) };
        let (outcome, _) = tuned(&trace, &sink, 10.0, seed);
        assert!(outcome.in_target() >= 0.999, "seed {seed}: {:.4} in target", outcome.in_target());
        let settled = outcome.settled_after(edge).expect("settles");
        assert!(settled <= 3, "seed {seed}: settled after {settled} windows");
    }
}

/// Late rows and commits of four runs.
fn sum(go: impl Fn(u64) -> Outcome) -> (f64, usize) {
    (0..4).map(go).fold((0.0, 0), |(late, commits), o| (late + o.late, commits + o.windows.len()))
}

#[test]
fn not_beaten_by_the_pi_loop_on_both_counts() {
    for load in [Load::Step, Load::SlowSink] {
        let (trace, sink) = (load.trace(1800.0, 1.0), SimulatedSink::new(COST).for_load(load, 1800.0));
        let caps = Caps::of(10.0);
        let ours = sum(|seed| tuned(&trace, &sink, 10.0, seed).0);
        for setpoint in [0.5, 0.65, 0.85] {
            let pi = sum(|seed| run(&trace, &sink, &mut PiPolicy::new(10.0, setpoint, caps), 10.0, &caps, seed));
            assert!(ours.0 <= pi.0 || ours.1 <= pi.1, "{load:?}: pi {setpoint} has {pi:?}, tuned {ours:?}");
        }
    }
}

#[test]
fn what_cannot_be_held_is_said_soon_with_what_can() {
    // A commit takes 5 s: records that just miss a cut wait for it and for their own.
    let trace = Trace::of(7200.0, 200.0, |_| 20e3);
    let sink = SimulatedSink::new(Cost { fixed: 5.0, ..COST });
    let (outcome, tuner) = tuned(&trace, &sink, 5.0, 3);
    let (at, _) = outcome.announced.first().copied().expect("announced");
    assert!(at <= 60.0, "said after {at:.0} s");
    let (said, found) = (tuner.choice().infeasible.expect("still so").p99, outcome.p99());
    assert!((said / found - 1.0).abs() <= 0.2, "said {said:.1} s, found {found:.1} s");
    let words = super::explain::explain(&tuner, Some(found)).join(" ");
    assert!(words.contains("no window keeps 5.0 s"), "{words}");
}

#[test]
fn what_can_be_held_is_said_right_of_a_sink_without_slow_commits_too() {
    // The share of slow commits that is believed in would double it, and five minutes are too few to rule it out.
    let trace = Trace::of(300.0, 200.0, |_| 2e3);
    let sink = SimulatedSink { noise: 0.01, tail: (0.0, 1.0), ..SimulatedSink::new(Cost { fixed: 5.0, ..COST }) };
    let (outcome, tuner) = tuned(&trace, &sink, 10.0, 3);
    let (at, first) = outcome.announced.first().copied().expect("announced");
    let (reachable, found) = (tuner.choice().infeasible.expect("still so"), outcome.p99());
    assert!(at <= 60.0, "said after {at:.0} s");
    for said in [first, reachable.p99] {
        assert!((said / found - 1.0).abs() <= 0.2, "said {said:.1} s, found {found:.1} s");
    }
    assert!(reachable.p99_with_slow_commits > 1.5 * found, "{reachable:?}");
    let words = super::explain::explain(&tuner, Some(found)).join(" ");
    assert!(words.contains("if a commit in a hundred takes three times as long"), "{words}");
}

#[test]
fn more_than_can_be_committed_is_said_and_costs_no_throughput() {
    let trace = Trace::of(300.0, 200.0, |_| 300e3);
    let sink = SimulatedSink { noise: 0.0, tail: (0.0, 1.0), ..SimulatedSink::new(COST) };
    let (outcome, tuner) = tuned(&trace, &sink, 10.0, 3);
    assert!(outcome.announced.first().is_some_and(|(at, _)| *at <= 60.0), "{:?}", outcome.announced);
    assert_eq!(tuner.choice().state, State::Saturated);
    let caps = Caps::of(10.0);
    let best = [0.5, 1.0, 2.0, 5.0, 10.0]
        .map(|window| run(&trace, &sink, &mut Fixed(window), 10.0, &caps, 3).throughput())
        .into_iter()
        .fold(0.0, f64::max);
    assert!(outcome.throughput() >= 0.98 * best, "{:.0} of {best:.0} rows/s", outcome.throughput());
}

#[test]
fn caps_are_never_crossed() {
    let trace = Load::Step.trace(600.0, 1.0);
    let caps = Caps { shortest: 0.1, longest: 2.5, rows: 100e3, bytes: 15e6 };
    let mut tuner = Tuner::new(10.0, caps, None);
    // A sink so fast that no cut waits for a commit.
    let sink = SimulatedSink::new(Cost { fixed: 0.01, per_row: 1e-8, per_byte: 0.0 });
    let outcome = run(&trace, &sink, &mut tuner, 10.0, &caps, 1);
    for w in &outcome.windows {
        assert!(w.cut - w.opened <= 2.51 && w.rows <= 75_001.0, "{w:?}");
    }
    assert!(
        outcome.windows.iter().any(|w| w.rows > 74_000.0) && outcome.windows.iter().any(|w| w.cut - w.opened > 2.4)
    );
}

#[test]
fn a_model_that_explains_nothing_gives_way_to_the_pi_loop() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut tuner = Tuner::new(10.0, Caps::of(10.0), None);
    for i in 0..120 {
        // Whatever the rows, anything between 10 ms and 5 s.
        let cost = 0.01 * 500f64.powf(random.random());
        tuner.learn(&super::Landed {
            now: f64::from(i),
            rows: 1000.0,
            bytes: 1e5,
            filled: 1.0,
            since_cut: 1.0,
            after: cost,
            cost,
            oldest: Some(1.0 + cost),
            counted: 1000.0,
            late: 0.0,
            backlog: 0.0,
        });
    }
    assert_eq!(tuner.choice().mode, super::Mode::Pi);
}

#[test]
fn a_warm_start_knows_what_was_learned() {
    let trace = Trace::of(600.0, 200.0, |_| 20e3);
    let sink = SimulatedSink::new(COST);
    let (_, tuner) = tuned(&trace, &sink, 10.0, 1);
    let text = serde_json::to_string(&tuner.kept()).expect("JSON");
    let kept: super::Kept = serde_json::from_str(&text).expect("the same");
    let cost = |kept: &super::Kept| kept.model.cost().expect("known").seconds(100e3, 2e7);
    assert!((cost(&kept) / cost(&tuner.kept()) - 1.0).abs() < 1e-9);
    let caps = Caps::of(10.0);
    let mut warm = Tuner::new(10.0, caps, Some(kept));
    let outcome = run(&Trace::of(60.0, 200.0, |_| 20e3), &sink, &mut warm, 10.0, &caps, 2);
    assert!(outcome.windows.len() <= 12, "{} commits in the first minute", outcome.windows.len());
}

#[test]
fn the_fit_finds_the_cost_and_another_one_after_a_change() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut model = CostModel::default();
    let mut feed = |model: &mut CostModel, cost: Cost, n: usize| {
        (0..n)
            .filter(|_| {
                let rows = random.random_range(10e3..500e3);
                let bytes = rows * random.random_range(50.0..500.0);
                let tail = if random.random::<f64>() < 0.01 { 3.0 } else { 1.0 };
                let seconds = cost.seconds(rows, bytes) * random.random_range(0.9..1.1) * tail;
                model.learn(Sample { rows, bytes, seconds }).regime
            })
            .count()
    };
    let cost = Cost { fixed: 0.5, per_row: 3e-6, per_byte: 5e-9 };
    assert_eq!(feed(&mut model, cost, 200), 0, "noise is no change");
    let found = model.cost().expect("learned");
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.25;
    assert!(near(found.fixed, cost.fixed), "{found:?}");
    assert!(near(found.per_row, cost.per_row) && near(found.per_byte, cost.per_byte), "{found:?}");
    let slow = Cost { fixed: 1.5, ..cost };
    assert!(feed(&mut model, slow, 12) >= 1, "a change is found");
    let (rows, bytes) = (200e3, 4e7);
    let (found, real) = (model.cost().expect("learned").seconds(rows, bytes), slow.seconds(rows, bytes));
    assert!(near(found, real), "{found:.2} s for {real:.2} s");
}

#[test]
fn constant_windows_do_not_wind_the_fit_up() {
    let mut model = CostModel::knowing(COST);
    let mut random = SmallRng::seed_from_u64(3);
    for _ in 0..2000 {
        let seconds = COST.seconds(100e3, 2e7) * random.random_range(0.9..1.1);
        model.learn(Sample { rows: 100e3, bytes: 2e7, seconds });
    }
    let cost = model.cost().expect("known");
    assert!((cost.seconds(100e3, 2e7) / 0.75 - 1.0).abs() < 0.05, "{cost:?}");
    // Nothing was learned about other sizes, and that is known.
    assert!(model.error(800e3, 1.6e8) > 3.0 * model.error(100e3, 2e7));
    assert!(cost.seconds(800e3, 1.6e8).is_finite() && cost.fixed > 0.0);
}

#[test]
fn a_tail_is_believed_until_it_did_not_show_and_then_rarer() {
    let mut ratios = Ratios::default();
    assert!(ratios.quantile(0.99) > 2.5);
    for _ in 0..2000 {
        ratios.add(1.0, false, false);
    }
    assert!(ratios.quantile(0.99) < 1.3, "{}", ratios.quantile(0.99));
    let sequence = ratios.sequence(2048);
    let slow = sequence.iter().filter(|r| **r > 2.0).count();
    assert!((1..10).contains(&slow), "rarer, not gone: {slow} of 2048");
}

#[test]
fn an_outlook_counts_what_follows_a_slow_commit() {
    // Every fourth commit takes three times as long; the window after it is longer for it.
    let ratios = [1.0, 1.0, 1.0, 3.0];
    let scene =
        Scene { fixed: 1.0, utilisation: 0.0, delay: 0.0, ratios: &ratios, target: 4.0, horizon: f64::INFINITY };
    let outlook = scene.outlook(2.0);
    // Windows of 2 s and 1 + 1 + 1 + 3 s after them: of the last, records of its first second are late.
    assert!((outlook.late - 1.0 / 8.0).abs() < 1e-9, "{outlook:?}");
    assert!((outlook.between - 2.0).abs() < 1e-9);
    assert!((scene.late(2.0, 1.0) - outlook.late).abs() < 1e-9);
}

#[test]
fn along_a_line_a_burst_cuts_earlier() {
    let line = Line { budget: 5.0, per_row: 1e-5, per_byte: 1e-8, shortest: 0.1 };
    assert!((line.age(100e3, 1e7) - 3.9).abs() < 1e-9);
    assert!((line.age(1e9, 1e11) - 0.1).abs() < 1e-9);
}
