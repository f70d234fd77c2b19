//! The table: sink × fault × times × lost × doubled × longest pause.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use crate::kind::Kind;
use crate::run::{Incident, Outcome};
use crate::tally::Place;

/// A line of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// The kind of fault.
    pub fault: String,
    /// How often it happened.
    pub times: usize,
    /// Records of the time around such faults that are not in the sink.
    pub lost: usize,
    /// Those that are there more than once.
    pub doubled: usize,
    /// The longest that one lasted, in ms.
    pub longest_fault_ms: u64,
    /// The longest time without new visible rows of some partition around one, in ms.
    pub longest_pause_ms: u64,
    /// Zombies: commits refused.
    pub refused: Option<usize>,
    /// Times that it happened while there was trouble with the broker.
    pub mixed: usize,
    /// Times that it was tried and did not come about.
    pub missed: usize,
}

/// The lines of a run, and what belongs to no fault.
#[must_use]
pub fn lines(outcome: &Outcome) -> Vec<Line> {
    let mut lines: BTreeMap<Kind, Line> = BTreeMap::new();
    for incident in &outcome.incidents {
        let line = lines.entry(incident.kind).or_default();
        line.fault = incident.kind.name();
        if incident.happened {
            line.times += 1
        } else {
            line.missed += 1
        }
        line.longest_fault_ms = line.longest_fault_ms.max(incident.held_ms);
        line.longest_pause_ms = line.longest_pause_ms.max(incident.pause_ms);
        line.mixed += usize::from(incident.mixed);
        if let Some(refused) = incident.refused {
            *line.refused.get_or_insert(0) += usize::from(refused);
        }
    }
    let mut apart = Line { fault: "(apart from any fault)".into(), ..Line::default() };
    for (places, lost) in [(&outcome.rows.lost_at, true), (&outcome.rows.doubled_at, false)] {
        for place in places {
            let kind = outcome.incidents.iter().find(|incident| holds(incident, place)).map(|incident| incident.kind);
            let line = kind.and_then(|kind| lines.get_mut(&kind)).unwrap_or(&mut apart);
            *if lost { &mut line.lost } else { &mut line.doubled } += 1;
        }
    }
    lines.into_values().chain((apart.lost + apart.doubled > 0).then_some(apart)).collect()
}

fn holds(incident: &Incident, (partition, offset): &Place) -> bool {
    let offset = i64::try_from(*offset).unwrap_or(i64::MAX);
    incident.span.get(*partition).is_some_and(|(from, to)| (*from..*to).contains(&offset))
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| sink | fault | times | lost | doubled | longest fault | longest pause | |\n|---|---|--:|--:|--:|--:|--:|---|"
        )?;
        for line in lines(self) {
            let mut notes = Vec::new();
            notes.extend(line.refused.map(|n| format!("commit refused {n} of {}", line.times)));
            notes.extend((line.mixed > 0).then(|| format!("{} with trouble at the broker", line.mixed)));
            notes.extend((line.missed > 0).then(|| format!("{} did not come about", line.missed)));
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {:.1} s | {:.1} s | {} |",
                self.sink,
                line.fault,
                line.times,
                line.lost,
                line.doubled,
                line.longest_fault_ms as f64 / 1e3,
                line.longest_pause_ms as f64 / 1e3,
                notes.join("; ")
            )?;
        }
        writeln!(
            f,
            "\n{}: {} faults, {} records in {} s, {} daemons, seed {}: {} rows expected, {} found, **{} lost, {} doubled**, \
             {} foreign, {} wrong; {} of {} dead letters wrong{}",
            self.sink,
            self.incidents.iter().filter(|i| i.happened).count(),
            self.records,
            self.seconds,
            self.daemons,
            self.seed,
            self.rows.expected,
            self.rows.rows,
            self.rows.lost,
            self.rows.doubled,
            self.rows.foreign,
            self.rows.wrong,
            self.letters_wrong,
            self.letters,
            match self.values_wrong {
                Some(n) => format!("; every value compared, {n} wrong"),
                None => String::new(),
            }
        )?;
        for fault in &self.rows.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Verdict;

    fn incident(kind: Kind, span: (i64, i64), refused: Option<bool>) -> Incident {
        Incident {
            kind,
            mixed: false,
            at_ms: 0,
            held_ms: 1_000,
            recovery_ms: 10,
            pause_ms: 2_000,
            refused,
            happened: true,
            note: String::new(),
            span: vec![(0, 0), span],
        }
    }

    #[test]
    fn what_is_lost_and_doubled_belongs_to_the_fault_around_it() {
        let rows = Verdict {
            lost: 2,
            lost_at: vec![(1, 9), (0, 5)],
            doubled: 1,
            doubled_at: vec![(1, 10)],
            ..Verdict::default()
        };
        let outcome = Outcome {
            sink: "parquet".into(),
            seed: 1,
            daemons: 2,
            records: 20,
            seconds: 1,
            incidents: vec![
                incident(Kind::Kill, (0, 10), None),
                incident(Kind::Zombie, (10, 20), Some(false)),
                incident(Kind::Zombie, (20, 30), Some(true)),
            ],
            rows,
            letters_wrong: 0,
            letters: 0,
            values_wrong: None,
        };
        let lines = lines(&outcome);
        let told: Vec<_> = lines.iter().map(|l| (l.fault.as_str(), l.times, l.lost, l.doubled, l.refused)).collect();
        assert_eq!(
            told,
            [
                ("SIGKILL of a daemon", 1, 1, 0, None),
                ("SIGSTOP before a commit, SIGCONT", 2, 0, 1, Some(1)),
                ("(apart from any fault)", 0, 1, 0, None),
            ]
        );
        assert!(!outcome.is_clean());
        assert!(outcome.to_string().contains("commit refused 1 of 2"), "{outcome}");
    }
}
