//! Why records are refused: the fixed set of causes, which are labels of a metric.

/// The kind of fault of a refused record.
///
/// A record with several faults has the first of these that applies: a tombstone, its size, its text as JSON
/// (`not_json` and `too_deep` in the order of the bytes, then `duplicate_key`), and only for well-formed JSON
/// what the schema says, in the order of the bytes, missing fields where their object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A null value, in a job that rejects tombstones.
    Tombstone,
    /// Larger than `max_record_bytes`, or than a column of one chunk can hold.
    TooLarge,
    /// Not one JSON text in UTF-8: a syntax error, cut off, blank, a byte order mark, something behind the end, an
    /// escaped half of a surrogate pair.
    NotJson,
    /// More than [`MAX_DEPTH`](super::MAX_DEPTH) objects and lists inside each other.
    TooDeep,
    /// An object with the same key twice, in any object, known to the schema or not.
    DuplicateKey,
    /// A field that must not be null is missing or `null`.
    MissingField,
    /// A value of another JSON type than the field's, or a number with a fraction or an exponent for an integer.
    Type,
    /// A string that is not what its field's type writes in strings: a timestamp, a date, a time, a decimal, base64.
    Text,
    /// A number or time that the field's type cannot hold, or a decimal with more digits than its scale.
    Range,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Tombstone,
        Self::TooLarge,
        Self::NotJson,
        Self::TooDeep,
        Self::DuplicateKey,
        Self::MissingField,
        Self::Type,
        Self::Text,
        Self::Range,
    ];

    /// Their names.
    pub(crate) const NAMES: [&'static str; Self::ALL.len()] = {
        let mut names = [""; Self::ALL.len()];
        let mut i = 0;
        while i < names.len() {
            names[i] = Self::ALL[i].as_str();
            i += 1;
        }
        names
    };

    /// Its name, as [`Reject::cause`](tidemill_engine::format::Reject::cause) has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::DuplicateKey => "duplicate_key",
            Self::MissingField => "missing_field",
            Self::Type => "type",
            Self::Text => "text",
            Self::Range => "range",
        }
    }
}
