//! Recognises a commit in what is said through a proxy.

use super::message::Request;

/// Kafka's `EndTxn`: the request that decides a transaction.
const END_TXN: i16 = 26;

/// What is spoken on a link, as far as it takes to recognise a commit.
#[derive(Clone, Debug)]
pub enum Speech {
    /// Kafka's protocol: the end of a transaction.
    Kafka,
    /// Any protocol over TCP: a request with these bytes.
    Text(&'static [u8]),
    /// HTTP/1.1: a request of which this is true.
    Http(fn(&Request) -> bool),
}

impl Speech {
    /// For one connection's bytes, from its first on.
    pub(super) fn spotter(&self) -> Spotter {
        match self {
            Self::Kafka => Spotter::Frames(Frames::default()),
            Self::Text(pattern) => Spotter::Text { pattern, tail: Vec::new() },
            Self::Http(_) => Spotter::Nothing,
        }
    }
}

/// Looks at the bytes of one connection.
#[derive(Debug)]
pub(super) enum Spotter {
    Nothing,
    Frames(Frames),
    Text { pattern: &'static [u8], tail: Vec<u8> },
}

impl Spotter {
    /// Takes the next bytes; true if a commit begins, or ends, in them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Frames(frames) => frames.feed(bytes),
            Self::Text { pattern, tail } => {
                tail.extend_from_slice(bytes);
                let seen = tail.windows(pattern.len()).any(|window| window == *pattern);
                let keep = if seen { 0 } else { pattern.len() - 1 };
                tail.drain(..tail.len().saturating_sub(keep));
                seen
            }
        }
    }
}

/// Kafka's requests: a length, then a header that begins with the kind of request.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut seen = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = self.left.min(bytes.len());
                self.left -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let [a, b, c, d, e, f] = self.head[..] {
                seen |= i16::from_be_bytes([e, f]) == END_TXN;
                self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(0).saturating_sub(2);
                self.head.clear();
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(key: i16, body: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(body + 2).expect("small").to_be_bytes().to_vec();
        bytes.extend(key.to_be_bytes());
        bytes.resize(body + 6, 0);
        bytes
    }

    #[test]
    fn the_end_of_a_transaction_is_seen_however_the_bytes_are_cut() {
        let bytes = [frame(0, 100), frame(3, 0), frame(END_TXN, 31), frame(1, 7)].concat();
        for size in 1..bytes.len() {
            let mut spotter = Speech::Kafka.spotter();
            assert_eq!(bytes.chunks(size).filter(|piece| spotter.feed(piece)).count(), 1, "pieces of {size}");
        }
        let mut spotter = Speech::Kafka.spotter();
        assert!(!spotter.feed(&[frame(0, 26), frame(2600, 26)].concat()), "a number elsewhere is no commit");
    }

    #[test]
    fn a_text_is_seen_once_however_it_is_cut() {
        let bytes = b"Q\0\0\0\x0bBEGIN\0Q\0\0\0\x0cCOMMIT\0Q\0\0\0\x0bBEGIN\0";
        for size in 1..bytes.len() {
            let mut spotter = Speech::Text(b"COMMIT").spotter();
            assert_eq!(bytes.chunks(size).filter(|piece| spotter.feed(piece)).count(), 1, "pieces of {size}");
        }
    }
}
