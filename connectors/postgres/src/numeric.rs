//! Decimals in the binary form of `numeric`: groups of four digits, aligned at the decimal point.

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
/// More groups than any value here has: 2^128 has 39 digits, and a scale below zero adds at most 128.
const GROUPS: usize = 48;

/// Writes `unscaled` · 10^-`scale`. False: the scale is absurd.
pub(crate) fn put(unscaled: i128, scale: i8, out: &mut BytesMut) -> bool {
    // Digits shown behind the point; a negative scale only adds zeros in front of it.
    let shown = u16::from(scale.max(0).unsigned_abs());
    // Zeros that bring the last digit to the end of a group.
    let zeros = i32::from(scale).rem_euclid(4);
    let zeros = u32::try_from((4 - zeros) % 4).unwrap_or(0);
    let below = (i32::from(scale) + i32::try_from(zeros).unwrap_or(0)).div_euclid(4);
    let mut groups = [0i16; GROUPS];
    let count = split(unscaled.unsigned_abs(), zeros, &mut groups);
    // Least significant group first here; on the wire it is last, and zeros at the end are left out.
    let first = groups[..count].iter().position(|g| *g != 0).unwrap_or(count);
    let Ok(weight) = i16::try_from(i32::try_from(count).unwrap_or(0) - below - 1) else { return false };
    let used = &groups[first..count];
    out.put_i16(i16::try_from(used.len()).unwrap_or(0));
    out.put_i16(if used.is_empty() { 0 } else { weight });
    out.put_u16(if unscaled < 0 { NEGATIVE } else { 0 });
    out.put_u16(shown);
    for group in used.iter().rev() {
        out.put_i16(*group);
    }
    true
}

/// `value` · 10^`zeros` in groups of four digits, least significant first. Answers how many there are.
fn split(value: u128, zeros: u32, groups: &mut [i16; GROUPS]) -> usize {
    let mut count = 0;
    let mut push = |group: u64| {
        groups[count] = i16::try_from(group).unwrap_or(0);
        count += 1;
    };
    // The lowest group takes 4 - zeros digits of the value, the others four: no product that could overflow.
    let cut = 10u128.pow(4 - zeros);
    let mut rest = value;
    if rest > 0 && zeros > 0 {
        push(u64::try_from(rest % cut).unwrap_or(0) * 10u64.pow(zeros));
        rest /= cut;
    }
    while rest > u128::from(u64::MAX) {
        push(u64::try_from(rest % 10_000).unwrap_or(0));
        rest /= 10_000;
    }
    let mut rest = u64::try_from(rest).unwrap_or(0);
    while rest > 0 {
        push(rest % 10_000);
        rest /= 10_000;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the binary form back as text.
    fn shown(unscaled: i128, scale: i8) -> String {
        let mut out = BytesMut::new();
        assert!(put(unscaled, scale, &mut out));
        let word = |i: usize| i16::from_be_bytes([out[2 * i], out[2 * i + 1]]);
        let (digits, weight, sign, dscale) = (word(0), word(1), word(2), word(3));
        let group = |at: i16| {
            let i = weight - at;
            if (0..digits).contains(&i) { word(4 + usize::try_from(i).unwrap()) } else { 0 }
        };
        let mut text = String::new();
        for at in (0..=weight.max(0)).rev() {
            text.push_str(&format!("{:04}", group(at)));
        }
        let mut fraction = String::new();
        for at in 1..=((dscale + 3) / 4) {
            fraction.push_str(&format!("{:04}", group(-at)));
        }
        let whole = text.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let minus = if sign == 0x4000 { "-" } else { "" };
        if dscale == 0 {
            return format!("{minus}{whole}");
        }
        format!("{minus}{whole}.{}", &fraction[..usize::try_from(dscale).unwrap()])
    }

    #[test]
    fn values_come_out_as_they_went_in() {
        for (unscaled, scale, expected) in [
            (0, 2, "0.00"),
            (1, 0, "1"),
            (10_000, 0, "10000"),
            (-1, 3, "-0.001"),
            (12345, 2, "123.45"),
            (123_456_789, 4, "12345.6789"),
            (100, 2, "1.00"),
            (5, 9, "0.000000005"),
            (-99_999, 1, "-9999.9"),
            (7, -3, "7000"),
            (12, -5, "1200000"),
            (i128::MAX, 0, "170141183460469231731687303715884105727"),
            (-i128::MAX, 37, "-17.0141183460469231731687303715884105727"),
            (99_999_999_999_999_999_999_999_999_999_999_999_999, 38, "0.99999999999999999999999999999999999999"),
            (i128::from(u64::MAX), 0, "18446744073709551615"),
        ] {
            assert_eq!(shown(unscaled, scale), expected);
        }
    }
}
