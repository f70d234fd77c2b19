//! The configuration of Tidemill: typed TOML, data and checks only. Knows no component.
//!
//! A load goes through these modules in order:
//! [`files`] (a file or a folder) → [`tree`] (TOML with places) → [`reference`](mod@reference) (`${env:…}`) → [`walk`] (faults of
//! shape, along the JSON [`schema`] that the [`types`] give) → serde → [`rules`] (what goes together).
//! All faults come at once, each a [`Fault`] with file, line and key. [`docs()`] is the reference for people.

mod docs;
mod fault;
mod files;
mod forms;
mod near;
mod path;
mod reference;
mod rules;
mod schema;
mod text;
mod tree;
mod types;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize as _;

pub use docs::docs;
pub use fault::{Fault, FaultKind};
pub use forms::{DataType, Listen, TimeUnit};
pub use reference::{Lookup, System};
pub use schema::schema;
pub use text::{Properties, Text};
pub use types::*;

/// Reads a duration as the configuration writes it: `"500ms"`, `"5s"`, `"1h30m"`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    forms::duration::parse(text)
}

/// A configuration, with the places of its keys.
pub struct Loaded {
    /// The settings, defaults filled in. Shows no secret, neither by `Debug` nor serialized.
    pub config: Config,
    /// What works, but is better changed: a secret that stands in the file, a setting without effect.
    pub warnings: Vec<Fault>,
    /// The files it came from.
    pub sources: Vec<PathBuf>,
    walked: walk::Walked,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, warnings, sources, walked: _ } = self;
        f.debug_struct("Loaded")
            .field("config", config)
            .field("warnings", warnings)
            .field("sources", sources)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// A fault of a later check (the plan of a query, a property that a client refuses) at a key such as
    /// `job.orders.operator[0].query`; where that key is not in a file, at the nearest one above it.
    /// The message must hold no secret.
    #[must_use]
    pub fn fault_at(&self, key: &str, message: impl Into<String>) -> Fault {
        let message = message.into();
        match rules::place(&self.walked, key) {
            Some(place) => place.fault(FaultKind::BadValue, key, message),
            None => Fault {
                file: self.sources.first().cloned().unwrap_or_default(),
                line: 0,
                column: 0,
                key: key.to_owned(),
                message,
                kind: FaultKind::BadValue,
            },
        }
    }
}

/// A configuration and everything that is wrong with it.
#[derive(Debug)]
pub struct Checked {
    /// The settings. Where there is a fault they hold a placeholder: for further checks of the sound parts, so that
    /// all faults come at once, and never to be run.
    pub loaded: Loaded,
    /// Every fault, in the order of the files.
    pub faults: Vec<Fault>,
}

impl Checked {
    /// Whether nothing is wrong at this key (`job.orders.format`), above or under it: what is there is what the files
    /// say.
    #[must_use]
    pub fn is_sound(&self, key: &str) -> bool {
        !self.faults.iter().any(|fault| path::is_under(&fault.key, key))
            && !self
                .loaded
                .walked
                .broken
                .iter()
                .any(|broken| path::is_under(key, broken) || path::is_under(broken, key))
    }

    /// The configuration, if it has no fault.
    ///
    /// # Errors
    /// Every fault there is.
    pub fn into_result(self) -> Result<Loaded, Vec<Fault>> {
        if self.faults.is_empty() { Ok(self.loaded) } else { Err(self.faults) }
    }
}

/// Loads a file, or all `*.toml` of a folder as one: jobs are put together, anything else may be given once.
///
/// # Errors
/// Every fault there is, in the order of the files.
pub fn load(path: &Path, lookup: &dyn Lookup) -> Result<Loaded, Vec<Fault>> {
    check(path, lookup).into_result()
}

/// Loads a text that is no file; `name` stands for it in faults.
///
/// # Errors
/// As [`load`].
pub fn load_text(name: &str, text: &str, lookup: &dyn Lookup) -> Result<Loaded, Vec<Fault>> {
    let source = files::Source { path: name.into(), text: text.to_owned() };
    check_sources(Path::new(name), vec![source], lookup, Vec::new()).into_result()
}

/// As [`load`], and gives what it could read beside the faults, for checks that know more (queries, properties).
#[must_use]
pub fn check(path: &Path, lookup: &dyn Lookup) -> Checked {
    let mut faults = Vec::new();
    let sources = files::read(path, &mut faults);
    check_sources(path, sources, lookup, faults)
}

fn check_sources(path: &Path, sources: Vec<files::Source>, lookup: &dyn Lookup, mut faults: Vec<Fault>) -> Checked {
    let mut roots = Vec::new();
    for source in &sources {
        match tree::parse(&Arc::from(source.path.as_path()), &source.text) {
            Ok(root) => roots.push(root),
            Err(syntax) => faults.extend(syntax),
        }
    }
    // A job may be in a file that could not be read.
    let whole = faults.is_empty();
    let schema = schema();
    let mut root = files::merge(roots, &schema, path, &mut faults);
    reference::expand(&mut root, "", lookup, &mut faults);
    let mut walked = walk::walk(&schema, &root);
    faults.append(&mut walked.faults);
    let mut config = Config::deserialize(std::mem::take(&mut walked.json)).unwrap_or_else(|error| {
        // The walk let something pass that serde does not take: ours to fix, and still no panic.
        let message = format!("cannot be read: {error}; please report this");
        faults.push(root.place.fault(FaultKind::BadValue, "", message));
        walked.broken.insert(String::new());
        Config::default()
    });
    rules::defaults(&mut config, &walked);
    let (more, mut warnings) = rules::check(&config, &walked, whole);
    faults.extend(more);
    fault::sort(&mut faults);
    fault::sort(&mut warnings);
    let sources = sources.into_iter().map(|source| source.path).collect();
    Checked { loaded: Loaded { config, warnings, sources, walked }, faults }
}
