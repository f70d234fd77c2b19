//! Finding the same key twice among keys that no schema knows.

/// Fewer keys than this are compared pair by pair, more are sorted.
const PAIRWISE: usize = 8;

/// Keys of the objects that are open, those of the innermost last.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Keys that had escapes, without them.
    unescaped: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    start: usize,
    end: usize,
    /// Of `unescaped` rather than of the buffer.
    unescaped: bool,
}

/// Where an object's keys begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    keys: usize,
    unescaped: usize,
}

impl Keys {
    /// Forgets everything: a failed record leaves its objects open.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.unescaped.clear();
    }

    /// Opens an object.
    #[inline]
    pub(super) fn open(&self) -> Mark {
        Mark { keys: self.keys.len(), unescaped: self.unescaped.len() }
    }

    /// Adds a key of the innermost object: `buf[start..end]`, or `unescaped` where it had escapes.
    pub(super) fn add(&mut self, start: usize, end: usize, unescaped: Option<&[u8]>) {
        let key = match unescaped {
            None => Key { start, end, unescaped: false },
            Some(text) => {
                let start = self.unescaped.len();
                self.unescaped.extend_from_slice(text);
                Key { start, end: self.unescaped.len(), unescaped: true }
            }
        };
        self.keys.push(key);
    }

    /// Closes the object opened at `mark`; true when it had a key twice.
    #[inline]
    pub(super) fn close(&mut self, buf: &[u8], mark: Mark) -> bool {
        let twice = self.keys.len() - mark.keys > 1 && self.has_twice(buf, mark);
        self.keys.truncate(mark.keys);
        self.unescaped.truncate(mark.unescaped);
        twice
    }

    fn has_twice(&mut self, buf: &[u8], mark: Mark) -> bool {
        let Self { keys, unescaped } = self;
        let text = |k: &Key| if k.unescaped { &unescaped[k.start..k.end] } else { &buf[k.start..k.end] };
        let keys = &mut keys[mark.keys..];
        if keys.len() <= PAIRWISE {
            return keys.iter().enumerate().any(|(i, a)| keys[..i].iter().any(|b| text(a) == text(b)));
        }
        // Not by hash: nobody can choose keys that make this slow.
        keys.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        keys.windows(2).any(|pair| text(&pair[0]) == text(&pair[1]))
    }
}
