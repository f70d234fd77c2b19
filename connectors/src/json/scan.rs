//! Loads and scans over the bytes of a record.
//!
//! The buffer behind a record is always readable for [`PADDING`](tidemill_engine::chunk::PADDING) bytes, and the
//! whole buffer ends in that many zero bytes. A zero is no whitespace, no digit, and ends every string scan, so
//! scans need no end of their own: they stop in the padding at the latest. Whether a record was left on the way
//! is asked once, when its outermost object is closed.

use wide::u8x16;

/// Eight bytes at `p`, the first in the lowest byte.
#[inline(always)]
pub(super) fn load8(buf: &[u8], p: usize) -> u64 {
    match buf[p..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// Sixteen bytes at `p`.
#[inline(always)]
pub(super) fn load16(buf: &[u8], p: usize) -> [u8; 16] {
    match buf[p..].first_chunk() {
        Some(bytes) => *bytes,
        None => [0; 16],
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How many of the sixteen bytes come before a quote, a backslash or a control character.
#[inline(always)]
pub(super) fn plain_run(block: &[u8; 16]) -> usize {
    let v = u8x16::from(*block);
    let quote = v.simd_eq(u8x16::splat(b'"'));
    let backslash = v.simd_eq(u8x16::splat(b'\\'));
    let control = v.simd_eq(v.min(u8x16::splat(0x1F)));
    ((quote | backslash | control).to_bitmask() | 1 << 16).trailing_zeros() as usize
}

/// Passes over a string's plain bytes from `p`: the place of the first quote, backslash or control character.
#[inline(always)]
pub(super) fn plain_end(buf: &[u8], mut p: usize) -> usize {
    loop {
        let n = plain_run(&load16(buf, p));
        p += n;
        if n < 16 {
            return p;
        }
    }
}

/// Passes over whitespace.
#[inline(always)]
pub(super) fn space(buf: &[u8], p: usize) -> usize {
    if buf[p] > b' ' { p } else { space_slow(buf, p) }
}

#[inline(never)]
fn space_slow(buf: &[u8], mut p: usize) -> usize {
    while is_space(buf[p]) {
        p += 1;
    }
    p
}

/// JSON's four whitespace characters.
#[inline(always)]
pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t')
}

/// The value of up to eight digits at `p`, and how many they are.
#[inline(always)]
pub(super) fn eight_digits(buf: &[u8], p: usize) -> (u64, u32) {
    let v = load8(buf, p) ^ (ONES * b'0' as u64);
    let not_digit = (v.wrapping_add(ONES * 0x76) | v) & HIGH;
    let n = not_digit.trailing_zeros() / 8;
    if n == 0 {
        return (0, 0);
    }
    // The digits go to the top; the zeros below them are leading zeros of an eight-digit number.
    let v = v << (64 - 8 * n);
    let v = (v & 0x0F0F_0F0F_0F0F_0F0F).wrapping_mul(2561) >> 8;
    let v = (v & 0x00FF_00FF_00FF_00FF).wrapping_mul(6_553_601) >> 16;
    ((v & 0x0000_FFFF_0000_FFFF).wrapping_mul(42_949_672_960_001) >> 32, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_runs_end_at_quote_backslash_and_control() {
        for stop in 0..=255u8 {
            for at in 0..16 {
                let want = if matches!(stop, b'"' | b'\\') || stop < 0x20 { at } else { 16 };
                for around in [b'a', 0xE9, b'!'] {
                    let mut block = [around; 16];
                    block[at] = stop;
                    assert_eq!(plain_run(&block), want, "byte {stop:#x} at {at} among {around:#x}");
                }
            }
        }
    }

    #[test]
    fn digits_are_read_in_one_load() {
        for n in 0..=8usize {
            for follow in [b',', b'}', b'.', b'e', 0, b' ', b'/', b':', 0xFF, 0x80] {
                let mut text = b"98765432"[..n].to_vec();
                text.push(follow);
                text.extend([b'7'; 16]);
                let want = "98765432"[..n].parse().unwrap_or(0);
                assert_eq!(eight_digits(&text, 0), (want, n as u32), "{n} digits before {follow:#x}");
            }
        }
    }
}
