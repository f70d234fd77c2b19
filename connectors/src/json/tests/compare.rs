//! The fast decoder against the oracle: same rows, same refusals, whatever stands around a record.

use tidemill_engine::format::{Decoded, Decoder, Format, Reject};

use super::super::oracle::{self, Cell};
use super::super::{Cause, JsonFormat, JsonOptions};
use super::{agree, chunk, unsealed};

/// What the oracle makes of a record: a row, nothing, or a refusal.
pub(super) type Expected = Result<Option<Vec<Cell>>, Cause>;

/// What the oracle makes of each record.
pub(super) fn expected(options: &JsonOptions, values: &[Option<&[u8]>]) -> Vec<Expected> {
    values.iter().map(|value| oracle::decode(options, *value)).collect()
}

/// The same records in one chunk, again by the same decoder, then by a new one: without padding, and one by one. Each
/// time the outcomes have to be the oracle's, and refusals have to be in the same words, which are returned.
pub(super) fn all_ways(
    expected: &[Expected],
    format: &JsonFormat,
    decoder: &mut dyn Decoder,
    values: &[Option<&[u8]>],
) -> Result<Vec<String>, String> {
    let sealed = chunk(values);
    let first = decoder.decode(&sealed);
    compare(expected, &first, values).map_err(|e| format!("in a chunk: {e}"))?;
    let again = decoder.decode(&sealed);
    compare(expected, &again, values).map_err(|e| format!("in a chunk, again: {e}"))?;
    same_refusals(&first.rejects, &again.rejects).map_err(|e| format!("in a chunk, again: {e}"))?;
    let mut fresh = format.decoder();
    let bare = fresh.decode(&unsealed(values));
    compare(expected, &bare, values).map_err(|e| format!("without padding: {e}"))?;
    same_refusals(&first.rejects, &bare.rejects).map_err(|e| format!("without padding: {e}"))?;
    let mut refused = first.rejects.iter();
    for (i, value) in values.iter().enumerate() {
        let alone = fresh.decode(&chunk(&[*value]));
        compare(&expected[i..=i], &alone, &[*value]).map_err(|e| format!("alone: {e}"))?;
        if let [reject] = &alone.rejects[..] {
            let among = refused.next().map(|r| &r.error);
            if among != Some(&reject.error) {
                return Err(format!("{}: alone {:?}, among others {among:?}", shown(*value), reject.error));
            }
        }
    }
    Ok(first.rejects.into_iter().map(|r| r.error).collect())
}

/// A decoded chunk of `values` is what the oracle expects, record by record.
pub(super) fn compare(expected: &[Expected], decoded: &Decoded, values: &[Option<&[u8]>]) -> Result<(), String> {
    let records = decoded.records.clone().unwrap_or_else(|| (0..values.len() as u32).collect());
    if records.len() != decoded.rows.num_rows() {
        return Err(format!("{} rows of {} records", decoded.rows.num_rows(), records.len()));
    }
    let mut rows = records.iter().enumerate().peekable();
    let mut rejects = decoded.rejects.iter().peekable();
    let mut skipped = 0;
    for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
        match expected {
            Ok(Some(cells)) => {
                let Some((row, _)) = rows.next_if(|(_, record)| **record == i as u32) else {
                    let error = rejects.peek().map(|r| &r.error);
                    return Err(format!("refused a good record: {}: {error:?}", shown(*value)));
                };
                let got = oracle::row(&decoded.rows, row);
                if got != *cells {
                    return Err(format!("row of {}: {got:?}, not {cells:?}", shown(*value)));
                }
            }
            Ok(None) => skipped += 1,
            Err(cause) => {
                let Some(reject) = rejects.next_if(|r| r.record.offset == i as i64) else {
                    return Err(format!("took a record with {cause:?}: {}", shown(*value)));
                };
                if reject.record.value.as_deref() != *value {
                    return Err(format!("a refusal of {} has another record's bytes", shown(*value)));
                }
                if !agree(*cause, reject.cause, *value) {
                    let (got, error) = (reject.cause, &reject.error);
                    return Err(format!("{}: {cause:?}, got {got}: {error}", shown(*value)));
                }
            }
        }
    }
    let left = (rows.count(), rejects.count(), decoded.tombstones_skipped);
    if left != (0, 0, skipped) {
        return Err(format!("rows and refusals of nothing, tombstones: {left:?}, not (0, 0, {skipped})"));
    }
    Ok(())
}

fn same_refusals(a: &[Reject], b: &[Reject]) -> Result<(), String> {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("refused in other words: {a:?}, {b:?}")),
        None => Ok(()),
    }
}

/// A record as it could stand in a test.
pub(super) fn shown(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "a tombstone".to_owned(), |v| format!("b\"{}\"", v.escape_ascii()))
}
