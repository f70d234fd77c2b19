//! Where things are: the names of the log, of staged and of final files.

use tidemill_engine::sink::SinkError;
use uuid::Uuid;

use super::log::{self, Writer};

/// The names of one job's sink and one of its writers.
#[derive(Clone, Debug)]
pub struct Layout {
    job: String,
    writer: Writer,
}

/// What a staged file's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedName<'a> {
    /// The daemon that made it.
    pub instance: &'a str,
    /// The run that made it.
    pub run: Uuid,
}

impl Layout {
    /// Names for `job` as written by `writer`. Job and instance are single path components of a fixed character set.
    pub fn new(job: &str, writer: Writer) -> Result<Self, SinkError> {
        check_name("job", job)?;
        check_name("instance", &writer.instance)?;
        Ok(Self { job: job.to_owned(), writer })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.job
    }

    /// Who writes.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The folder of the log's records.
    #[must_use]
    pub fn log(&self) -> String {
        log_folder(&self.job)
    }

    /// The folder of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> String {
        checkpoint_folder(&self.job)
    }

    /// The folder of staged files.
    #[must_use]
    pub fn staging(&self) -> String {
        format!("_tidemill/{}/staged", self.job)
    }

    /// Record `n`.
    #[must_use]
    pub fn record(&self, n: u64) -> String {
        format!("{}/{}", self.log(), log::file_name(n))
    }

    /// Checkpoint with floor `n`.
    #[must_use]
    pub fn checkpoint(&self, n: u64) -> String {
        format!("{}/{}", self.checkpoints(), log::file_name(n))
    }

    /// The sink's identity.
    #[must_use]
    pub fn identity(&self) -> String {
        identity_file(&self.job)
    }

    /// A new name for a staged or temporary file of this writer. It ends in `.part`: no pattern for data matches it.
    #[must_use]
    pub fn staged(&self) -> String {
        let Writer { instance, run } = &self.writer;
        format!("{}/{instance}-{}-{}.part", self.staging(), run.simple(), Uuid::new_v4().simple())
    }

    /// The final name of file `k` of record `n`.
    #[must_use]
    pub fn data(&self, folder: &str, n: u64, k: usize, token: Uuid, extension: &str) -> String {
        let token = token.simple().to_string();
        let name = format!("part-{n:020}-{k}-{}.{extension}", &token[..8]);
        if folder.is_empty() { name } else { format!("{folder}/{name}") }
    }
}

/// The folder of a job's records.
#[must_use]
pub fn log_folder(job: &str) -> String {
    format!("_tidemill/{job}/log")
}

/// The folder of a job's checkpoints.
#[must_use]
pub fn checkpoint_folder(job: &str) -> String {
    format!("_tidemill/{job}/checkpoint")
}

/// The file that tells a job's sink from all others.
#[must_use]
pub fn identity_file(job: &str) -> String {
    format!("_tidemill/{job}/sink.json")
}

/// Reads a staged file's name; `None` for one that is not ours. Read from its end, for an instance may hold dashes.
#[must_use]
pub fn parse_staged(name: &str) -> Option<StagedName<'_>> {
    let mut parts = name.strip_suffix(".part")?.rsplitn(3, '-');
    let (file, run, instance) = (parts.next()?, parts.next()?, parts.next()?);
    let simple = |text: &str| (text.len() == 32).then(|| Uuid::try_parse(text).ok())?;
    simple(file)?;
    Some(StagedName { instance, run: simple(run)? })
}

/// Refuses names that are not one plain path component.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), SinkError> {
    let fine = !name.is_empty()
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !name.starts_with(['.', '-']);
    if fine {
        return Ok(());
    }
    Err(SinkError::person(format!(
        "{what} `{name}`: 1 to 100 of A-Z a-z 0-9 _ - . are possible, not starting with . or -"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_name_says_whose_it_is() {
        for instance in ["a", "a-b", "6a5e1f0e-8d0c-4a51-9d7e-0a3c3a1d2b11", "x-0123456789abcdef0123456789abcdef"] {
            let writer = Writer { instance: instance.to_owned(), run: Uuid::new_v4() };
            let layout = Layout::new("orders", writer.clone()).unwrap();
            let name = layout.staged();
            let name = name.strip_prefix("_tidemill/orders/staged/").unwrap();
            assert_eq!(parse_staged(name), Some(StagedName { instance, run: writer.run }));
        }
        for foreign in ["x.part", "a-b-c.part", "notes.txt", "", ".part"] {
            assert_eq!(parse_staged(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["", "..", ".hidden", "a/b", "a\\b", "-x", "ä", "a b", &"x".repeat(101)] {
            assert!(check_name("job", name).is_err(), "{name}");
        }
        check_name("job", "orders.v2_EU-1").unwrap();
    }
}
