//! Numbers: strict integers, floats that are rounded as the standard library rounds, exact decimals.

use super::cause::Cause;
use super::fault::{Context, Failed, Next};
use super::scan::eight_digits;

const POW10: [u64; 20] = {
    let mut table = [1u64; 20];
    let mut i = 1;
    while i < 20 {
        table[i] = table[i - 1] * 10;
        i += 1;
    }
    table
};

/// Digits that a `u64` holds whatever they are.
const DIGITS_MAX: usize = 19;

const A_NUMBER: &str = "a JSON number";

/// True where a number may begin.
#[inline(always)]
pub(super) fn begins(b: u8) -> bool {
    b.is_ascii_digit() || b == b'-'
}

/// An integer type of a column.
pub(super) trait Integer: Copy {
    const EXPECTED: &'static str;
    /// The number of this sign and size, where the type has it.
    fn of(negative: bool, magnitude: u64) -> Option<Self>;
}

macro_rules! integers {
    ($($t:ident $signed:literal $expected:literal)*) => {$(
        impl Integer for $t {
            const EXPECTED: &'static str = $expected;
            #[inline(always)]
            fn of(negative: bool, magnitude: u64) -> Option<Self> {
                if $signed {
                    if magnitude > i64::MAX as u64 + u64::from(negative) {
                        return None;
                    }
                    let x = magnitude as i64;
                    $t::try_from(if negative { x.wrapping_neg() } else { x }).ok()
                } else if negative && magnitude != 0 {
                    None
                } else {
                    $t::try_from(magnitude).ok()
                }
            }
        }
    )*};
}

integers! {
    i8 true "an integer of -128 to 127"
    i16 true "an integer of -32768 to 32767"
    i32 true "an integer of 32 bits"
    i64 true "an integer of 64 bits"
    u8 false "an integer of 0 to 255"
    u16 false "an integer of 0 to 65535"
    u32 false "an integer of 0 to 4294967295"
    u64 false "an integer of 0 to 18446744073709551615"
}

/// Reads an integer: no fraction, no exponent, no quotes.
#[inline(always)]
pub(super) fn integer<T: Integer>(cx: &mut Context, buf: &[u8], p: usize) -> Result<(T, usize), Failed> {
    let negative = buf[p] == b'-';
    let start = p + usize::from(negative);
    let (mut magnitude, n) = eight_digits(buf, start);
    let mut end = start + n as usize;
    let mut fits = true;
    if n == 8 {
        (magnitude, end, fits) = long_integer(buf, magnitude, end);
    } else if n == 0 {
        return Err(cx.fail(Cause::Type, p, T::EXPECTED));
    }
    if buf[start] == b'0' && end - start > 1 {
        return Err(cx.not_json(p, "a number without leading zeros"));
    }
    if matches!(buf[end], b'.' | b'e' | b'E') {
        return Err(cx.fail(Cause::Type, p, T::EXPECTED));
    }
    match T::of(negative, magnitude) {
        Some(value) if fits => Ok((value, end)),
        _ => Err(cx.fail(Cause::Range, p, T::EXPECTED)),
    }
}

/// Goes on after the first eight digits: the number, where it ends, whether it fits.
#[inline]
fn long_integer(buf: &[u8], mut magnitude: u64, mut p: usize) -> (u64, usize, bool) {
    let mut fits = true;
    loop {
        let (v, n) = eight_digits(buf, p);
        let sum = magnitude.checked_mul(POW10[n as usize]).and_then(|m| m.checked_add(v));
        fits &= sum.is_some();
        magnitude = sum.unwrap_or(0);
        p += n as usize;
        if n < 8 {
            return (magnitude, p, fits);
        }
    }
}

/// A JSON number, taken apart: `±mantissa · 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) negative: bool,
    /// All digits as one integer; right when there are at most [`DIGITS_MAX`] of them.
    pub(super) mantissa: u64,
    pub(super) digits: usize,
    /// Saturates.
    pub(super) exponent: i64,
    pub(super) end: usize,
}

/// Reads digits into `value` and tells how many they are.
#[inline(always)]
fn run(buf: &[u8], mut p: usize, value: &mut u64) -> usize {
    let mut count = 0;
    loop {
        let (v, n) = eight_digits(buf, p);
        *value = value.wrapping_mul(POW10[n as usize]).wrapping_add(v);
        p += n as usize;
        count += n as usize;
        if n < 8 {
            return count;
        }
    }
}

/// Reads a number after JSON's grammar.
#[inline]
pub(super) fn number(cx: &mut Context, buf: &[u8], p: usize) -> Result<Number, Failed> {
    let negative = buf[p] == b'-';
    let start = p + usize::from(negative);
    let mut mantissa = 0;
    let mut digits = run(buf, start, &mut mantissa);
    if digits == 0 {
        return Err(cx.not_json(p, A_NUMBER));
    }
    if buf[start] == b'0' && digits > 1 {
        return Err(cx.not_json(p, "a number without leading zeros"));
    }
    let mut end = start + digits;
    let mut exponent = 0;
    if buf[end] == b'.' {
        let fraction = run(buf, end + 1, &mut mantissa);
        if fraction == 0 {
            return Err(cx.not_json(p, A_NUMBER));
        }
        end += 1 + fraction;
        digits += fraction;
        exponent = -(fraction as i64);
    }
    if matches!(buf[end], b'e' | b'E') {
        let (value, after) = exponent_part(cx, buf, p, end + 1)?;
        exponent = value.saturating_add(exponent);
        end = after;
    }
    Ok(Number { negative, mantissa, digits, exponent, end })
}

#[inline(never)]
fn exponent_part(cx: &mut Context, buf: &[u8], number_at: usize, p: usize) -> Result<(i64, usize), Failed> {
    let negative = buf[p] == b'-';
    let start = p + usize::from(matches!(buf[p], b'-' | b'+'));
    let mut end = start;
    let mut value = 0i64;
    while buf[end].is_ascii_digit() {
        // Far beyond every type, and far from overflow when added up.
        value = (value * 10 + i64::from(buf[end] - b'0')).min(1 << 40);
        end += 1;
    }
    if end == start { Err(cx.not_json(number_at, A_NUMBER)) } else { Ok((if negative { -value } else { value }, end)) }
}

/// Passes over a number.
#[inline]
pub(super) fn skip(cx: &mut Context, buf: &[u8], p: usize) -> Next {
    number(cx, buf, p).map(|n| n.end)
}

/// A float type of a column. A number that is out of its range becomes none.
pub(super) trait Float: Copy + std::str::FromStr {
    /// Mantissas below are exact.
    const MANTISSA_MAX: u64;
    /// Powers of ten up to this one are exact.
    const EXPONENT_MAX: i64;
    fn exact(mantissa: u64, exponent: i64) -> Self;
    fn negate(self) -> Self;
    fn is_finite(self) -> bool;
}

macro_rules! floats {
    ($($t:ident $mantissa:literal $exponent:literal)*) => {$(
        impl Float for $t {
            const MANTISSA_MAX: u64 = 1 << $mantissa;
            const EXPONENT_MAX: i64 = $exponent;
            /// One rounding of two exact numbers: the nearest float.
            #[inline(always)]
            fn exact(mantissa: u64, exponent: i64) -> Self {
                const POWERS: [$t; $exponent + 1] = {
                    let mut table = [1.0; $exponent + 1];
                    let mut i = 1;
                    while i <= $exponent {
                        table[i] = table[i - 1] * 10.0;
                        i += 1;
                    }
                    table
                };
                let power = POWERS[exponent.unsigned_abs() as usize];
                if exponent < 0 { mantissa as $t / power } else { mantissa as $t * power }
            }
            #[inline(always)]
            fn negate(self) -> Self { -self }
            fn is_finite(self) -> bool { $t::is_finite(self) }
        }
    )*};
}

floats! { f32 24 10  f64 53 22 }

/// Reads any number as a float.
#[inline(always)]
pub(super) fn float<T: Float>(cx: &mut Context, buf: &[u8], p: usize) -> Result<(T, usize), Failed> {
    if !begins(buf[p]) {
        return Err(cx.fail(Cause::Type, p, A_NUMBER));
    }
    let n = number(cx, buf, p)?;
    let value = if n.digits <= DIGITS_MAX
        && n.mantissa <= T::MANTISSA_MAX
        && (-T::EXPONENT_MAX..=T::EXPONENT_MAX).contains(&n.exponent)
    {
        let value = T::exact(n.mantissa, n.exponent);
        if n.negative { value.negate() } else { value }
    } else {
        slow_float(cx, buf, p, n.end)?
    };
    Ok((value, n.end))
}

#[inline(never)]
fn slow_float<T: Float>(cx: &mut Context, buf: &[u8], p: usize, end: usize) -> Result<T, Failed> {
    match std::str::from_utf8(&buf[p..end]).ok().and_then(|text| text.parse::<T>().ok()) {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(cx.fail(Cause::Range, p, "a number that the float type holds")),
    }
}

/// Most digits of a 128-bit decimal.
pub(super) const PRECISION_MAX: u8 = 38;

/// What a decimal column takes.
pub(super) const A_DECIMAL: &str = "a number with the column's precision and scale";

/// Reads a number as a decimal: `value · 10^scale`, exact.
#[inline]
pub(super) fn decimal(
    cx: &mut Context,
    buf: &[u8],
    p: usize,
    precision: u8,
    scale: i8,
) -> Result<(i128, usize), Failed> {
    let n = number(cx, buf, p)?;
    let shift = n.exponent + i64::from(scale);
    let value = if n.digits <= DIGITS_MAX && (0..=DIGITS_MAX as i64).contains(&shift) {
        // Below 10^38, as a mantissa is below 10^19.
        let value = i128::from(n.mantissa) * i128::from(POW10[shift as usize]);
        (value < pow10(precision)).then_some(value)
    } else {
        slow_decimal(&buf[p..n.end], n.exponent, precision, scale)
    };
    match value {
        Some(value) => Ok((if n.negative { -value } else { value }, n.end)),
        None => Err(cx.fail(Cause::Range, p, A_DECIMAL)),
    }
}

fn pow10(n: u8) -> i128 {
    10i128.pow(u32::from(n.min(PRECISION_MAX)))
}

/// The same for any number of digits; `exponent` counts from the last digit.
#[inline(never)]
fn slow_decimal(text: &[u8], exponent: i64, precision: u8, scale: i8) -> Option<i128> {
    let mantissa = text.split(|b| matches!(b, b'e' | b'E')).next().unwrap_or_default();
    let digits = || mantissa.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0');
    let Some(first) = digits().position(|d| d != 0) else { return Some(0) };
    let trailing = digits().rev().take_while(|&d| d == 0).count();
    let significant = digits().count() - first - trailing;
    let shift = exponent + trailing as i64 + i64::from(scale);
    if shift < 0 || significant as i64 + shift > i64::from(precision) {
        return None;
    }
    let value = digits().skip(first).take(significant).fold(0i128, |v, d| v * 10 + i128::from(d));
    Some(value * 10i128.pow(shift as u32))
}
