//! Raw records in arrival order: one arena of bytes, and beside it a small fixed entry for each record.

use std::ops::Range;
use std::sync::Arc;

use crate::partition::Partition;

/// Which partition of a run a record is of: an index into [`Chunk::partitions`].
pub type Slot = u32;

const ABSENT: u32 = u32::MAX;

/// What a record's bytes are and where; 40 bytes beside the arena.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    timestamp_ms: i64,
    slot: Slot,
    /// Start of the value in the arena; key and headers follow it.
    start: u32,
    value_len: u32,
    key_len: u32,
    headers_len: u32,
}

/// Some MiB of raw records of any partitions of one run.
///
/// The arena holds for each record, back to back: value, key, headers. Values are therefore contiguous when
/// keys and headers are not kept. [`Chunk::arena`] is followed by [`PADDING`] readable zero bytes.
#[derive(Debug)]
pub struct Chunk {
    partitions: Arc<[Partition]>,
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Readable zero bytes behind the arena's end, for decoders that load whole vectors.
pub const PADDING: usize = 64;

/// One record, borrowed from a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its partition.
    pub partition: &'a Partition,
    /// Its partition's slot.
    pub slot: Slot,
    /// Its offset.
    pub offset: i64,
    /// Broker timestamp in ms since the epoch, where there is one.
    pub timestamp_ms: Option<i64>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The key, where the job keeps keys.
    pub key: Option<&'a [u8]>,
    headers: &'a [u8],
}

/// A record's headers as the source hands them in: names and values in order, names may repeat.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

impl<'a> Record<'a> {
    /// Its headers in order, where the job keeps headers.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.headers;
        std::iter::from_fn(move || {
            let name_len = take_len(&mut rest)??;
            let (name, tail) = rest.split_at(name_len as usize);
            rest = tail;
            let value = match take_len(&mut rest)? {
                None => None,
                Some(n) => {
                    let (value, tail) = rest.split_at(n as usize);
                    rest = tail;
                    Some(value)
                }
            };
            Some((std::str::from_utf8(name).unwrap_or(""), value))
        })
    }

    /// True when the record has a header.
    #[must_use]
    pub fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Copies it out of its chunk.
    #[must_use]
    pub fn to_owned_record(&self) -> OwnedRecord {
        OwnedRecord {
            partition: self.partition.clone(),
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            value: self.value.map(<[u8]>::to_vec),
            key: self.key.map(<[u8]>::to_vec),
            headers: self.headers().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// A record that owns its bytes: what dead letters are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
    /// Broker timestamp in ms since the epoch.
    pub timestamp_ms: Option<i64>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// Header names and values in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// `None`: the input is at its end. `Some(None)`: an absent value.
fn take_len(rest: &mut &[u8]) -> Option<Option<u32>> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    let len = u32::from_le_bytes(*len);
    Some((len != ABSENT).then_some(len))
}

impl Chunk {
    /// An empty chunk over the partitions of a run, with room for `bytes` of arena.
    #[must_use]
    pub fn new(partitions: Arc<[Partition]>, bytes: usize) -> Self {
        Self { partitions, arena: Vec::with_capacity(bytes + PADDING), entries: Vec::new() }
    }

    /// An empty chunk that uses the memory of a former one.
    #[must_use]
    pub fn reusing(partitions: Arc<[Partition]>, mut former: Chunk) -> Self {
        former.arena.clear();
        former.entries.clear();
        Self { partitions, arena: former.arena, entries: former.entries }
    }

    /// Appends a record, copying its bytes.
    ///
    /// # Panics
    /// When the arena would pass 4 GiB; the intake hands a chunk on long before.
    #[allow(clippy::too_many_arguments)]
    pub fn push<'h>(
        &mut self,
        slot: Slot,
        offset: i64,
        timestamp_ms: Option<i64>,
        value: Option<&[u8]>,
        key: Option<&[u8]>,
        headers: impl IntoIterator<Item = Header<'h>>,
    ) {
        debug_assert!((slot as usize) < self.partitions.len(), "slot of another run");
        let start = narrow(self.arena.len());
        self.make_room(value.map_or(0, <[u8]>::len) + key.map_or(0, <[u8]>::len));
        self.arena.extend_from_slice(value.unwrap_or_default());
        self.arena.extend_from_slice(key.unwrap_or_default());
        let headers_at = self.arena.len();
        for (name, value) in headers {
            self.make_room(name.len() + value.map_or(0, <[u8]>::len) + 2 * size_of::<u32>());
            self.arena.extend_from_slice(&narrow(name.len()).to_le_bytes());
            self.arena.extend_from_slice(name.as_bytes());
            self.arena.extend_from_slice(&value.map_or(ABSENT, |v| narrow(v.len())).to_le_bytes());
            self.arena.extend_from_slice(value.unwrap_or_default());
        }
        self.entries.push(Entry {
            offset,
            timestamp_ms: timestamp_ms.unwrap_or(i64::MIN),
            slot,
            start,
            value_len: value.map_or(ABSENT, |v| narrow(v.len())),
            key_len: key.map_or(ABSENT, |k| narrow(k.len())),
            headers_len: narrow(self.arena.len() - headers_at),
        });
    }

    /// Makes room for `len` bytes and the padding. What does not fit is large, and so in the chunk's last record: the arena
    /// need not grow to twice its size.
    #[inline]
    fn make_room(&mut self, len: usize) {
        let len = len + PADDING;
        if self.arena.capacity() - self.arena.len() < len {
            self.arena.reserve_exact(len.max(self.arena.capacity() / 8));
        }
    }

    /// Makes the padding readable; the intake calls it once when it hands the chunk on.
    pub fn seal(&mut self) {
        let len = self.arena.len();
        self.arena.resize(len + PADDING, 0);
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in the arena (values, kept keys and headers).
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Bytes of memory in use: the arena and the entries.
    #[must_use]
    pub fn used(&self) -> usize {
        self.arena.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Bytes of memory it holds on to.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// The arena with its padding.
    #[must_use]
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// The run's partitions, by slot.
    #[must_use]
    pub fn partitions(&self) -> &Arc<[Partition]> {
        &self.partitions
    }

    /// Record `i`.
    ///
    /// # Panics
    /// When there is no record `i`.
    #[inline]
    #[must_use]
    pub fn record(&self, i: usize) -> Record<'_> {
        let e = &self.entries[i];
        let value_end = e.start as usize + present(e.value_len);
        let key_end = value_end + present(e.key_len);
        Record {
            partition: &self.partitions[e.slot as usize],
            slot: e.slot,
            offset: e.offset,
            timestamp_ms: (e.timestamp_ms != i64::MIN).then_some(e.timestamp_ms),
            value: (e.value_len != ABSENT).then(|| &self.arena[e.start as usize..value_end]),
            key: (e.key_len != ABSENT).then(|| &self.arena[value_end..key_end]),
            headers: &self.arena[key_end..key_end + e.headers_len as usize],
        }
    }

    /// Where the value of record `i` is in the arena; `None` for a tombstone.
    ///
    /// # Panics
    /// When there is no record `i`.
    #[inline]
    #[must_use]
    pub fn value_range(&self, i: usize) -> Option<Range<usize>> {
        let e = &self.entries[i];
        (e.value_len != ABSENT).then(|| e.start as usize..e.start as usize + e.value_len as usize)
    }

    /// All records in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.entries.len()).map(|i| self.record(i))
    }
}

#[inline]
fn present(len: u32) -> usize {
    if len == ABSENT { 0 } else { len as usize }
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).ok().filter(|&n| n != ABSENT).expect("a chunk stays below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let partitions: Arc<[Partition]> = [Partition::new("t", 0), Partition::new("t", 1)].into();
        let mut chunk = Chunk::new(partitions, 1024);
        chunk.push(0, 5, Some(9), Some(b"v"), Some(b"k"), [("a", Some(&b"1"[..])), ("a", None)]);
        chunk.push(1, 6, None, None, None, []);
        chunk.push(1, 7, None, Some(b""), Some(b""), []);
        chunk.seal();
        let a = chunk.record(0).to_owned_record();
        assert_eq!((a.partition.index, a.offset, a.timestamp_ms), (0, 5, Some(9)));
        assert_eq!((a.value.as_deref(), a.key.as_deref()), (Some(&b"v"[..]), Some(&b"k"[..])));
        assert_eq!(a.headers, vec![("a".into(), Some(b"1".to_vec())), ("a".into(), None)]);
        let b = chunk.record(1);
        assert_eq!((b.value, b.key, b.timestamp_ms), (None, None, None), "a tombstone is not an empty value");
        let c = chunk.record(2);
        assert_eq!((c.value, c.key), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(chunk.arena().len(), chunk.record(0).headers.len() + 2 + PADDING);
    }

    #[test]
    fn what_fills_a_chunk_does_not_double_its_memory() {
        const LIMIT: usize = 100_000;
        let header = |bytes: usize| vec![b'h'; bytes];
        // Records of so many bytes, the last of them, alone and after small ones, also by its headers.
        for (size, count, last, headers) in [
            (10, 10_000, 10, vec![]),
            (30_000, 3, 30_000, vec![]),
            (0, 0, 1_000_000, vec![]),
            (10, 1_999, 95_000, vec![]),
            (300, 280, 10, vec![header(50_000)]),
            (300, 280, 10, vec![header(10); 2_000]),
        ] {
            let mut chunk = Chunk::new([Partition::new("t", 0)].into(), LIMIT);
            let push = |chunk: &mut Chunk, size: usize, headers: &[Vec<u8>]| {
                let headers = headers.iter().map(|value| ("h", Some(value.as_slice())));
                chunk.push(0, chunk.len() as i64, None, Some(&vec![b'x'; size]), None, headers);
            };
            while chunk.len() < count && chunk.used() < LIMIT {
                push(&mut chunk, size, &[]);
            }
            let before = chunk.bytes();
            if chunk.used() < LIMIT {
                push(&mut chunk, last, &headers);
            }
            let added = chunk.bytes() - before;
            // Entries count.
            let entries = chunk.len() * size_of::<Entry>();
            assert!(chunk.bytes() + entries < LIMIT + added.max(size) + size_of::<Entry>(), "{size} x {count}");
            chunk.seal();
            let most = (LIMIT + PADDING).max((chunk.bytes() + PADDING) * 9 / 8);
            let most = most.min(LIMIT + added.max(LIMIT / 8) + 3 * PADDING);
            assert!(chunk.arena.capacity() <= most, "{} of {most}: {size} x {count}, {last}", chunk.arena.capacity());
        }
    }
}
