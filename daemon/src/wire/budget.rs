//! One job's share of the memory, cut into the places where records wait.

use tidemill_engine::intake::ChunkLimits;
use tidemill_engine::job::Limits;

const MIB: usize = 1 << 20;

/// A job's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Fetched records waiting in the client.
    pub prefetch_bytes: usize,
    /// One chunk; a handful exist at a time, decoded ones take about their size again.
    pub chunk_bytes: usize,
    /// Held by the sink's encoders.
    pub encode_bytes: usize,
    /// Held by the dead-letter sink's encoders.
    pub dead_letter_bytes: usize,
    /// For windows of SQL.
    pub sql_bytes: usize,
    /// Chunks decoded ahead of the writer.
    pub decode_ahead: usize,
}

/// Chunks of a job that are decoded at the same time.
#[must_use]
pub fn workers(cores: usize) -> usize {
    cores.clamp(1, 8)
}

impl Budget {
    /// The share of one of `jobs` jobs in `memory` bytes, with `cores` to decode on.
    #[must_use]
    pub fn of(memory: u64, jobs: usize, cores: usize) -> Self {
        let share = usize::try_from(memory).unwrap_or(usize::MAX) / jobs.max(1);
        let decode_ahead = workers(cores) + 1;
        // Chunks: one filling, two queued, `decode_ahead` raw and decoded, in a third of the share.
        let chunk_bytes = (share / 3 / (3 + 2 * decode_ahead)).clamp(64 << 10, 4 * MIB);
        Self {
            // Measured: 16 MiB feed 4 M records/s; the client's own objects take about as much again.
            prefetch_bytes: (share / 8).clamp(MIB, 32 * MIB),
            chunk_bytes,
            encode_bytes: (share / 4).clamp(2 * MIB, 512 * MIB),
            dead_letter_bytes: (share / 16).clamp(MIB, 32 * MIB),
            sql_bytes: (share / 4).max(4 * MIB),
            decode_ahead,
        }
    }

    /// The engine's part of it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            chunk: ChunkLimits { bytes: self.chunk_bytes, records: 64 << 10 },
            queued_chunks: 2,
            decode_ahead: self.decode_ahead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_together_stay_within_the_share() {
        for (memory, jobs) in [(128 * MIB, 1), (512 * MIB, 1), (512 * MIB, 4), (4096 * MIB, 2)] {
            let b = Budget::of(memory as u64, jobs, 2);
            let chunks = b.chunk_bytes * (3 + 2 * b.decode_ahead);
            let all = b.prefetch_bytes + chunks + b.encode_bytes + b.dead_letter_bytes;
            assert!(all <= memory / jobs, "{memory} bytes for {jobs} jobs: {b:?}");
        }
    }
}
