//! Whether a disk has too little room for a job to go on: a pure decision.

use crate::disk::Space;

/// What is kept free where nobody says how much: enough for what is under way to be committed, and at most a twentieth of
/// the disk, for a small one is not to be half a reserve.
const DEFAULT: u64 = 512 << 20;
const DEFAULT_PART: u64 = 20;
/// A held job goes on when one part in so many more than the reserve is free, or it would be held again at once.
const MORE: u64 = 8;

/// The reserve that a job has to leave alone, if it has to be held (further); `None`: there is room.
pub(super) fn short_of(reserve: Option<u64>, space: Space, is_held: bool) -> Option<u64> {
    let reserve = reserve.unwrap_or_else(|| DEFAULT.min(space.size / DEFAULT_PART));
    let needed = if is_held { reserve.saturating_add(reserve / MORE) } else { reserve };
    (space.free < needed).then_some(reserve)
}

/// Bytes for people.
pub(super) fn shown(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // for people
    let bytes = bytes as f64;
    match bytes {
        0.0..1024.0 => format!("{bytes:.0} B"),
        1024.0..1048576.0 => format!("{:.1} KiB", bytes / 1024.0),
        1048576.0..1073741824.0 => format!("{:.1} MiB", bytes / 1048576.0),
        _ => format!("{:.1} GiB", bytes / 1073741824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(free: u64, size: u64) -> Space {
        Space { free: free * MIB, size: size * MIB }
    }

    #[test]
    fn a_job_is_held_below_the_reserve_and_goes_on_an_eighth_above_it() {
        let reserve = Some(800 * MIB);
        for (free, is_held, held) in [
            (800, false, false),
            (799, false, true),
            (799, true, true),
            (800, true, true),
            (899, true, true),
            (900, true, false),
            (0, false, true),
        ] {
            assert_eq!(short_of(reserve, space(free, 10_000), is_held).is_some(), held, "{free} {is_held}");
        }
        assert_eq!(short_of(reserve, space(1, 10_000), true), reserve, "the reserve itself is told");
    }

    #[test]
    fn nothing_is_held_without_a_reserve_and_a_small_disk_has_a_small_one() {
        assert_eq!(short_of(Some(0), space(0, 10), false), None);
        assert_eq!(short_of(Some(0), space(0, 10), true), None);
        assert_eq!(short_of(None, space(2, 40), false), None);
        assert_eq!(short_of(None, space(1, 40), false), Some(2 * MIB));
        assert_eq!(short_of(None, space(512, 1_000_000), false), None);
        assert_eq!(short_of(None, space(511, 1_000_000), false), Some(512 * MIB));
        let most = Space { free: u64::MAX - 1, size: u64::MAX };
        assert_eq!(short_of(Some(u64::MAX), most, true), Some(u64::MAX), "nothing overflows");
    }

    #[test]
    fn bytes_are_said_in_their_unit() {
        let said = [0, 1023, 1536, 3 * MIB / 2, 5 << 30].map(shown);
        assert_eq!(said, ["0 B", "1023 B", "1.5 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}
