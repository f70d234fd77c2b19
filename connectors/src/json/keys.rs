//! The keys of one kind of object: those of the schema, and some that turned up besides. Finds a key by guess: the
//! one that came next the last time, then by name.

use super::scan::load16;

/// Unknown keys that are remembered for each kind of object; others are known by their text only.
pub(super) const UNKNOWN_MAX: usize = 64;

/// How a key looks in a text that is written without spaces: `"name":`.
#[derive(Debug)]
struct Pattern {
    /// The first sixteen bytes of it, zeros where it is shorter.
    head: u128,
    mask: u128,
    /// What is left.
    tail: Box<[u8]>,
    len: usize,
}

impl Pattern {
    fn new(name: &str) -> Self {
        let text = format!("\"{name}\":");
        // Written with an escape: never found by guess.
        let plain = !name.bytes().any(|b| matches!(b, b'"' | b'\\') || b < 0x20);
        let n = if plain { text.len().min(16) } else { 0 };
        let mut head = [0; 16];
        head[..n].copy_from_slice(&text.as_bytes()[..n]);
        let mut mask = [0; 16];
        mask[..if plain { n } else { 16 }].fill(0xFF);
        Self {
            // No key begins with a control character.
            head: if plain { u128::from_le_bytes(head) } else { 1 },
            mask: u128::from_le_bytes(mask),
            tail: text.as_bytes()[n..].into(),
            len: text.len(),
        }
    }
}

/// The keys of one kind of object. A key's id is its place: first the schema's fields, then the unknown ones.
#[derive(Debug)]
pub(super) struct KeyTable {
    names: Vec<Box<str>>,
    patterns: Vec<Pattern>,
    fields: usize,
    /// The key after key `i` at `i + 1`, the first key at 0.
    next: Vec<u32>,
    /// Open addressing by hash; `EMPTY` or an id. At most half full.
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl KeyTable {
    /// A table of a schema's fields, expected in their order.
    pub(super) fn new<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<Box<str>> = fields.map(Into::into).collect();
        let fields = names.len();
        let mut table = Self {
            patterns: Vec::new(),
            fields,
            next: vec![0],
            slots: vec![EMPTY; ((fields + UNKNOWN_MAX) * 2).next_power_of_two()],
            names: Vec::with_capacity(fields),
        };
        for name in names {
            table.insert(&name);
        }
        for (i, next) in table.next.iter_mut().enumerate() {
            *next = if i < fields { i as u32 } else { 0 };
        }
        table
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Number of the schema's keys.
    #[inline(always)]
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Name of a key.
    pub(super) fn name(&self, id: usize) -> &str {
        &self.names[id]
    }

    /// The key expected after `previous` (see [`KeyTable::learn`]).
    #[inline(always)]
    pub(super) fn guess(&self, previous: usize) -> usize {
        self.next[previous] as usize
    }

    /// What stands for a key in [`KeyTable::guess`] once it is passed; 0 stands for the object's beginning.
    #[inline(always)]
    pub(super) fn passed(id: usize) -> usize {
        id + 1
    }

    /// From now on `id` is expected after `previous`.
    pub(super) fn learn(&mut self, previous: usize, id: usize) {
        self.next[previous] = id as u32;
    }

    /// Length of key `id` with quotes and colon, if it is what the text has at `p`.
    #[inline(always)]
    pub(super) fn matches(&self, id: usize, buf: &[u8], p: usize) -> Option<usize> {
        let pattern = self.patterns.get(id)?;
        let word = u128::from_le_bytes(load16(buf, p));
        let same = (word ^ pattern.head) & pattern.mask == 0;
        if same && (pattern.len <= 16 || buf[p + 16..].starts_with(&pattern.tail)) { Some(pattern.len) } else { None }
    }

    /// The id of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let mut slot = self.slot(name);
        loop {
            match self.slots[slot] {
                EMPTY => return None,
                id if self.names[id as usize].as_bytes() == name => return Some(id as usize),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Remembers an unknown name, if there is room.
    pub(super) fn remember(&mut self, name: &str) -> Option<usize> {
        (self.names.len() < self.fields + UNKNOWN_MAX).then(|| self.insert(name))
    }

    fn insert(&mut self, name: &str) -> usize {
        let id = self.names.len();
        let mut slot = self.slot(name.as_bytes());
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        self.slots[slot] = id as u32;
        self.names.push(name.into());
        self.patterns.push(Pattern::new(name));
        self.next.push(0);
        id
    }

    /// Not a strong hash: the table is small and bounded, so the worst choice of names costs little.
    fn slot(&self, name: &[u8]) -> usize {
        let mut hash = name.len() as u64;
        for chunk in name.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        (hash >> 32) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_guessed() {
        let names = ["a", "a_name_of_14_by", "a_name_longer_than_one_load", "\"", "é", ""];
        let mut table = KeyTable::new(names.into_iter());
        for (id, name) in names.iter().enumerate() {
            assert_eq!(table.find(name.as_bytes()), Some(id));
            assert_eq!(table.guess(id), id, "expected in the schema's order");
            let mut text = format!("\"{name}\":1").into_bytes();
            text.extend([0; 64]);
            let want = if *name == "\"" { None } else { Some(name.len() + 3) };
            assert_eq!(table.matches(id, &text, 0), want, "{name}");
            text[1] ^= 1;
            assert_eq!(table.matches(id, &text, 0), None, "{name}");
        }
        for i in 0..UNKNOWN_MAX {
            assert_eq!(table.remember(&format!("u{i}")), Some(names.len() + i));
        }
        assert_eq!(table.remember("one too many"), None);
        assert_eq!(table.find(b"u63"), Some(names.len() + 63));
        assert_eq!(table.find(b"one too many"), None);
        assert_eq!(table.len(), names.len() + UNKNOWN_MAX);
    }
}
