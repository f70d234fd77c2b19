use super::*;
use proptest::prelude::*;
use tidemill_engine::partition::{OffsetRange, Partition, Position};

fn writer(instance: &str) -> Writer {
    Writer { instance: instance.to_owned(), run: Uuid::new_v4() }
}

fn record(head: &Head, cause: Cause, ranges: OffsetRanges, writer: &Writer) -> Record {
    let mut positions = head.positions.clone();
    ranges.apply_to(&mut positions);
    Record {
        v: VERSION,
        n: head.n + 1,
        cause,
        token: Uuid::new_v4(),
        writer: writer.clone(),
        at_ms: 0,
        ranges,
        positions,
        files: Vec::new(),
        rows: 0,
        bytes: 0,
    }
}

/// A log that writers made who keep to the rule; `moves` are (partition, how far).
fn log_of(moves: &[(i32, i64)]) -> Vec<Record> {
    let (mut head, mut records) = (Head::default(), Vec::new());
    for (index, by) in moves {
        let partition = Partition::new("t", *index);
        let range = match head.positions.offset(&partition) {
            Some(start) => OffsetRange::new(start, start + by),
            None => OffsetRange::anchor(Position::at(*by)),
        };
        let next = record(&head, Cause::Commit, [(partition, range)].into_iter().collect(), &writer("a"));
        head = Head::after(&next);
        records.push(next);
    }
    records
}

proptest! {
    /// Every log made by the rule folds to its newest record's positions, from any checkpoint in it, and survives
    /// being written and read.
    #[test]
    fn a_log_folds_to_its_newest_record(moves in prop::collection::vec((0..4i32, -3..20i64), 1..30), floor in 1..30usize) {
        let records = log_of(&moves);
        let last = records.last().unwrap();
        prop_assert_eq!(fold(None, &records), Ok(Head::after(last)));
        let floor = floor.min(records.len());
        let before = fold(None, &records[..floor - 1]).unwrap();
        let checkpoint = Checkpoint { v: VERSION, floor: floor as u64, positions: before.positions, at_ms: 0 };
        prop_assert_eq!(fold(Some(&checkpoint), &records[floor - 1..]), Ok(Head::after(last)));
        for record in &records {
            let read: Record = decode("r", &encode(record).unwrap()).unwrap();
            prop_assert_eq!(&read, record);
        }
    }

    /// A record that is missing, doubled, or moved without its positions is found.
    #[test]
    fn a_broken_log_is_found(moves in prop::collection::vec((0..3i32, 1..20i64), 3..20), at in 0..100usize, by in 1..5i64) {
        let records = log_of(&moves);
        let at = at % (records.len() - 1);
        let mut gap = records.clone();
        gap.remove(at);
        prop_assert!(fold(None, &gap).is_err());
        let mut doubled = records.clone();
        doubled.insert(at, records[at].clone());
        prop_assert!(fold(None, &doubled).is_err());
        let mut moved = records.clone();
        for range in moved[at].ranges.0.values_mut() {
            range.end += by;
        }
        prop_assert!(fold(None, &moved).is_err());
    }

    /// `newest` is the last number of a listing without a gap, and names the first gap of another.
    #[test]
    fn newest_finds_the_first_gap(floor in 1..100u64, len in 1..50u64, gap in 0..50u64) {
        let all: Vec<u64> = (floor..floor + len).collect();
        prop_assert_eq!(newest(floor, all.iter().copied()), Ok(Some(floor + len - 1)));
        let missing = floor + gap % len;
        let holed: Vec<u64> = all.into_iter().filter(|n| *n != missing).collect();
        // Without its last number a listing is only shorter.
        let expected = if missing == floor + len - 1 {
            Ok((len > 1).then(|| floor + len - 2))
        } else {
            Err(missing)
        };
        prop_assert_eq!(newest(floor, holed), expected);
    }
}

#[test]
fn the_record_in_the_way_is_ours_theirs_or_the_end_of_us() {
    let (me, other) = (writer("a"), writer("b"));
    let head = Head::default();
    let commit = |w: &Writer| record(&head, Cause::Commit, OffsetRanges::default(), w);
    let fence = |w: &Writer| record(&head, Cause::Fence, OffsetRanges::default(), w);
    let mine = commit(&me);
    assert_eq!(judge(&mine, mine.token, &me), Found::Ours);
    let token = Uuid::new_v4();
    assert_eq!(judge(&commit(&other), token, &me), Found::Theirs);
    assert_eq!(judge(&fence(&other), token, &me), Found::Theirs);
    assert_eq!(judge(&fence(&writer("a")), token, &me), Found::Fenced, "a later run of this instance");
    assert_eq!(judge(&fence(&me), token, &me), Found::Theirs, "its own fence shuts nobody out");
}

/// The form of release 0.1.0: what this reads has to be read for ever.
#[test]
fn golden_record() {
    let text = r#"{"v":1,"n":7,"cause":"commit","token":"11111111-2222-4333-8444-555555555555",
        "writer":{"instance":"a","run":"00000000-0000-4000-8000-000000000001"},"at_ms":1700000000000,
        "ranges":[{"topic":"t","partition":3,"start":1,"end":9}],
        "positions":[{"topic":"t","partition":3,"offset":9},{"topic":"u","partition":0,"offset":4,"topic_id":"x"}],
        "files":[{"staged":"_tidemill/j/staged/a.part","path":"part-7.parquet","rows":8,"bytes":100}],"rows":8,"bytes":100}"#;
    let record: Record = decode("r", text.as_bytes()).unwrap();
    assert_eq!((record.n, record.cause, record.files.len()), (7, Cause::Commit, 1));
    assert_eq!(record.positions.offset(&Partition::new("t", 3)), Some(9));
    let again: serde_json::Value = serde_json::from_slice(&encode(&record).unwrap()).unwrap();
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
}

#[test]
fn a_newer_form_is_refused_by_name() {
    let error = decode::<Record>("out/_tidemill/j/log/1.json", br#"{"v":2,"unheard":"of"}"#).unwrap_err();
    assert!(error.message.contains("out/_tidemill/j/log/1.json") && error.message.contains("v2"), "{error}");
    assert!(decode::<Record>("r", b"{\"v\":1").is_err(), "half a record");
    assert!(decode::<Record>("r", b"").is_err());
}

#[test]
fn only_our_numbers_are_numbers() {
    assert_eq!(number(&file_name(42)), Some(42));
    for foreign in
        ["42.json", "00000000000000000042.json.tmp", "x0000000000000000042.json", "", "99999999999999999999.json"]
    {
        assert_eq!(number(foreign), None, "{foreign}");
    }
}
