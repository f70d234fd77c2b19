//! Timestamps, dates and times of day, as RFC 3339 writes them.

use arrow::datatypes::TimeUnit;

/// Days from 0000-01-01 to the Unix epoch.
pub(super) const FIRST_DAY: i64 = -719_528;
/// 9999-12-31.
pub(super) const LAST_DAY: i64 = 2_932_896;
/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// Why a text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not written as RFC 3339 has it, or no such day or hour.
    Text,
    /// A time, but not one that the column can hold.
    Range,
}

/// Units of `unit` in a second.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A timestamp in `per_second` units from seconds since the epoch and nanoseconds, if its year has four digits.
/// What is finer than the unit is cut off.
#[inline]
fn instant(seconds: i64, nanos: i64, per_second: i64) -> Result<i64, Wrong> {
    if !(FIRST_DAY * DAY..(LAST_DAY + 1) * DAY).contains(&seconds) {
        return Err(Wrong::Range);
    }
    // Nanoseconds reach from 1677 to 2262 only. The fraction of a negative second counts upwards, so the first of
    // those seconds must be added in full before it is found to fit.
    let value = i128::from(seconds) * i128::from(per_second) + i128::from(nanos / (1_000_000_000 / per_second));
    i64::try_from(value).map_err(|_| Wrong::Range)
}

/// True when a number is a timestamp of the years 0000 to 9999 in `per_second` units.
#[inline]
pub(super) fn is_in_range(value: i64, per_second: i64) -> bool {
    (FIRST_DAY * DAY..(LAST_DAY + 1) * DAY).contains(&value.div_euclid(per_second))
}

/// Reads a timestamp: `2026-01-02T03:04:05`, with or without a fraction, and `Z` or an offset.
pub(super) fn timestamp(text: &[u8], per_second: i64) -> Result<i64, Wrong> {
    let (date_text, rest) = text.split_at_checked(10).ok_or(Wrong::Text)?;
    let days = date(date_text)?;
    let rest = match rest.split_first() {
        Some((b'T' | b't' | b' ', rest)) => rest,
        _ => return Err(Wrong::Text),
    };
    let (seconds, nanos, zone) = clock(rest)?;
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (two(*h0, *h1)?, two(*m0, *m1)?);
            if hours > 23 || minutes > 59 {
                return Err(Wrong::Text);
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return Err(Wrong::Text),
    };
    instant(i64::from(days) * DAY + seconds - offset, nanos, per_second)
}

/// Reads a date, `2026-01-02`, as days since the epoch.
pub(super) fn date(text: &[u8]) -> Result<i32, Wrong> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return Err(Wrong::Text) };
    let year = two(*y0, *y1)? * 100 + two(*y2, *y3)?;
    let (month, day) = (two(*m0, *m1)?, two(*d0, *d1)?);
    if is_date(year, month, day) { Ok(days(year, month, day)) } else { Err(Wrong::Text) }
}

/// Reads a time of day, `03:04:05` with or without a fraction, in `per_second` units.
pub(super) fn time_of_day(text: &[u8], per_second: i64) -> Result<i64, Wrong> {
    match clock(text)? {
        (seconds, nanos, []) => Ok(seconds * per_second + nanos / (1_000_000_000 / per_second)),
        _ => Err(Wrong::Text),
    }
}

/// Seconds, nanoseconds, and what follows.
fn clock(text: &[u8]) -> Result<(i64, i64, &[u8]), Wrong> {
    let [h0, h1, b':', m0, m1, b':', s0, s1, rest @ ..] = text else { return Err(Wrong::Text) };
    let (hours, minutes, seconds) = (two(*h0, *h1)?, two(*m0, *m1)?, two(*s0, *s1)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(Wrong::Text);
    }
    let (mut nanos, mut rest) = (0, rest);
    if let Some((b'.', fraction)) = rest.split_first() {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Err(Wrong::Text);
        }
        let padded = fraction[..digits].iter().chain(std::iter::repeat(&b'0'));
        nanos = padded.take(9).fold(0, |n, d| n * 10 + i64::from(d - b'0'));
        rest = &fraction[digits..];
    }
    Ok((i64::from(hours * 3600 + minutes * 60 + seconds), nanos, rest))
}

fn two(a: u8, b: u8) -> Result<u32, Wrong> {
    if a.is_ascii_digit() && b.is_ascii_digit() {
        Ok(u32::from(a - b'0') * 10 + u32::from(b - b'0'))
    } else {
        Err(Wrong::Text)
    }
}

#[inline]
fn is_date(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    (1..=last).contains(&day)
}

/// Days since the epoch. Years are counted from March, so that the leap day is a year's last.
#[inline]
fn days(year: u32, month: u32, day: u32) -> i32 {
    let from_march = (month + 9) % 12;
    let year = year + 400 - u32::from(month < 3);
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    // 0000-03-01 is day -719468; the 400 years added are 146097 days.
    days as i32 - 146_097 - 719_468
}

/// A timestamp in its most common layouts, `"2026-01-02T03:04:05.678Z"` and the same without a fraction, quotes
/// included: its value and its length. `None`: let [`timestamp`] have a look.
#[inline]
pub(super) fn common_timestamp(bytes: &[u8; 32], per_second: i64) -> Option<(i64, usize)> {
    let mut wrong = 0u8;
    let mut digit = |i: usize| {
        let d = bytes[i].wrapping_sub(b'0');
        wrong |= u8::from(d > 9);
        u32::from(d)
    };
    let year = digit(1) * 1000 + digit(2) * 100 + digit(3) * 10 + digit(4);
    let month = digit(6) * 10 + digit(7);
    let day = digit(9) * 10 + digit(10);
    let hours = digit(12) * 10 + digit(13);
    let minutes = digit(15) * 10 + digit(16);
    let seconds = digit(18) * 10 + digit(19);
    let (millis, length) = match (bytes[20], bytes[21], bytes[24], bytes[25]) {
        (b'.', _, b'Z', b'"') => (digit(21) * 100 + digit(22) * 10 + digit(23), 26),
        (b'Z', b'"', _, _) => (0, 22),
        _ => return None,
    };
    let separators = [(5, b'-'), (8, b'-'), (11, b'T'), (14, b':'), (17, b':')];
    wrong |= separators.iter().fold(0, |w, &(i, b)| w | (bytes[i] ^ b));
    wrong |= u8::from(hours > 23) | u8::from(minutes > 59) | u8::from(seconds > 59);
    if wrong != 0 || !is_date(year, month, day) {
        return None;
    }
    let seconds = i64::from(days(year, month, day)) * DAY + i64::from(hours * 3600 + minutes * 60 + seconds);
    let value = match per_second {
        1 => seconds,
        1_000_000_000 => instant(seconds, i64::from(millis) * 1_000_000, per_second).ok()?,
        _ => seconds * per_second + i64::from(millis) * (per_second / 1000),
    };
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_is_counted() {
        let mut expected = FIRST_DAY as i32;
        for year in 0..10_000 {
            for month in 0..=13 {
                for day in 0..=32 {
                    let exists = chrono::NaiveDate::from_ymd_opt(year as i32, month, day).is_some();
                    assert_eq!(is_date(year, month, day), exists, "{year}-{month}-{day}");
                    if exists {
                        assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(i64::from(expected), LAST_DAY + 1);
    }
}
