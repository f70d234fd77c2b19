//! A short seeded share of the fault bench, and the proof that its checker can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_faults::kind::Kind;
use tidemill_faults::run::{Options, Outcome, run};

/// The runs load the machine and measure pauses: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn storm(sink: &str, options: &Options) -> Outcome {
    let _alone = alone();
    let place = tempfile::Builder::new().prefix("tidemill-faults-").tempdir().unwrap();
    match run(sink, options, place.path(), &mut |text| eprintln!("{text}")) {
        Ok(outcome) => {
            eprintln!("\n{outcome}");
            outcome
        }
        Err(error) => panic!("{error:#}\nfiles and logs are kept in {}", place.keep().display()),
    }
}

fn only(names: &[&str]) -> Options {
    Options { only: names.iter().map(|&name| name.to_owned()).collect(), ..Options::default() }
}

#[test]
fn parquet_survives_a_share_of_all_faults() {
    let names = [
        "SIGKILL of a daemon",
        "abort at a step",
        "before a commit",
        "storm",
        "broker: cut",
        "half-open",
        "disk",
        "clock",
    ];
    let outcome = storm("parquet", &only(&names));
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.rows.expected > 20_000 && outcome.letters > 300, "{outcome}");
    assert_eq!(outcome.values_wrong, Some(0));
    assert_eq!(outcome.incidents.len(), names.len());
    let zombie = outcome.incidents.iter().find(|incident| incident.kind == Kind::Zombie).unwrap();
    assert_eq!(zombie.refused, Some(true), "a zombie's commit has to be refused: {zombie:?}");
}

/// The same with the compare switched off: if this finds nothing doubled, then the runs above prove nothing.
#[test]
fn without_the_compare_the_checker_finds_doubled_records() {
    let mut options = only(&["before a commit"]);
    options.faults = 2;
    options.session = Duration::from_secs(2);
    options.env = vec![("TIDEMILL_COMPARE".into(), "off".into())];
    let outcome = storm("parquet", &options);
    assert!(outcome.rows.doubled > 0, "{outcome}");
    assert!(!outcome.is_clean());
    let shown = tidemill_faults::table::lines(&outcome);
    assert!(shown.iter().any(|line| line.fault == Kind::Zombie.name() && line.doubled > 0), "{outcome}");
}
