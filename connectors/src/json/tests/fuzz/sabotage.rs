//! The fuzzer notices when the decoder is wrong: a check that cannot fail shows nothing.

use arrow::compute::concat_batches;
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::{Decoded, Decoder, Format};

use super::super::every_type;
use super::corpus;
use super::driver::Fuzzer;
use super::target::Target;
use crate::json::{JsonFormat, JsonOptions};

/// Chunks within which it has to notice.
const SOON: usize = 2_000;

/// What is found when the decoder is not what the oracle takes it for.
fn found(spoil: impl Fn(&mut Target)) -> String {
    let mut target = Target::new("every type", JsonOptions { max_record_bytes: 200, ..JsonOptions::new(every_type()) });
    spoil(&mut target);
    let mut fuzzer = Fuzzer::new(1, vec![target], corpus::seeds());
    for _ in 0..SOON {
        fuzzer.step();
        if let Some(found) = fuzzer.found.pop() {
            return found;
        }
    }
    panic!("nothing found in {SOON} chunks");
}

/// Decodes with other options than the oracle knows of.
fn with_options(target: &mut Target, options: JsonOptions) {
    target.format = JsonFormat::new(options).unwrap();
    target.decoder = target.format.decoder();
}

/// Changes what another decoder made.
struct Spoilt(Box<dyn Decoder>, fn(&mut Decoded));

impl Decoder for Spoilt {
    fn decode(&mut self, chunk: &Chunk) -> Decoded {
        let mut decoded = self.0.decode(chunk);
        (self.1)(&mut decoded);
        decoded
    }
}

fn spoilt(spoil: fn(&mut Decoded)) -> String {
    found(|target| target.decoder = Box::new(Spoilt(target.format.decoder(), spoil)))
}

#[test]
fn a_row_that_is_its_neighbours_is_noticed() {
    let found = spoilt(|decoded| {
        let n = decoded.rows.num_rows();
        if n >= 2 && !decoded.rejects.is_empty() {
            let (head, row) = (decoded.rows.slice(0, n - 1), decoded.rows.slice(n - 2, 1));
            decoded.rows = concat_batches(&decoded.rows.schema(), [&head, &row]).unwrap();
        }
    });
    assert!(found.contains("row of"), "{found}");
}

#[test]
fn a_row_under_another_records_place_is_noticed() {
    let found = spoilt(|decoded| {
        if let Some(last) = decoded.records.as_mut().and_then(|r| r.last_mut()) {
            *last += 1;
        }
    });
    assert!(found.contains("good record") || found.contains("of nothing"), "{found}");
}

#[test]
fn a_refusal_in_other_words_is_noticed() {
    let found = spoilt(|decoded| {
        let several = decoded.rejects.len() > 1;
        if let (Some(last), true) = (decoded.rejects.last_mut(), several) {
            last.error.push('!');
        }
    });
    assert!(found.contains("other words") || found.contains("among others"), "{found}");
}

#[test]
fn looser_options_are_noticed_and_the_finding_is_small() {
    let found = found(|target| with_options(target, JsonOptions { coerce: true, ..target.options.clone() }));
    assert!(found.contains("took a record with Type"), "{found}");
    let records = found.rsplit("records: ").next().unwrap();
    assert!(records.len() <= 30, "{found}");
}

#[test]
fn one_byte_more_is_noticed() {
    let found = found(|target| {
        with_options(target, JsonOptions { max_record_bytes: 201, ..target.options.clone() });
    });
    assert!(found.contains("TooLarge"), "{found}");
}
