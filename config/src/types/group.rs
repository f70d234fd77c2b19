//! Jobs that are managed together.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{duration, size};

/// Jobs that are managed together: their part of the memory, how often they commit, how they start again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Its part of `daemon.memory` in relation to the other groups' weights. 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Most memory of its jobs together, whatever its weight gives. At least 16MiB.
    #[serde(with = "size::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "size::SizeForm", extend("x-default" = "what its weight gives"))]
    pub memory: Option<u64>,
    /// Commits of its jobs at the same time; others wait for their turn, but for transactions of Kafka sinks. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "one a job"))]
    pub max_concurrent_commits: Option<u32>,
    /// Commits of its jobs a minute, evenly spread; for catalogs that throttle. Transactions of Kafka sinks are not
    /// counted. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "no limit"))]
    pub commits_per_minute: Option<u32>,
    /// How its jobs start again after an error.
    pub restart: Restart,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            weight: 1,
            memory: None,
            max_concurrent_commits: None,
            commits_per_minute: None,
            restart: Restart::default(),
        }
    }
}

/// How jobs start again after an error that may pass. Pauses double from `first` to `longest`, each ± 20 %, and begin
/// anew once a commit has landed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// The first pause.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub first: Duration,
    /// The longest pause.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub longest: Duration,
    /// So many errors within `within` put a job into quarantine: it fails and waits for a person. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), extend("x-default" = "never"))]
    pub give_up_after: Option<u32>,
    /// See `give_up_after`.
    #[serde(with = "duration")]
    #[schemars(with = "duration::DurationForm")]
    pub within: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(15),
            give_up_after: None,
            within: Duration::from_secs(600),
        }
    }
}
