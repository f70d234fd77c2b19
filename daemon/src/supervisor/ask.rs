//! What can be asked of the supervisor, and its answers.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tidemill_config::Fault;
use tokio::sync::oneshot;

/// Questions that may wait; more are refused.
const WAITING: usize = 64;
/// A reload plans queries; everything else is answered at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A verb for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Commit what is read, take no more, keep the partitions.
    Pause,
    /// Go on; a job that is over starts.
    Resume,
    /// Commit what is read, and stop.
    Drain,
    /// Commit what is read, stop, start anew.
    Restart,
    /// End the open window now.
    Cut,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Drain, Self::Restart, Self::Cut];

    /// Its name in the API and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
            Self::Restart => "restart",
            Self::Cut => "cut",
        }
    }

    /// The verb of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }
}

/// Why something asked was not done.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// There is no such job.
    NoJob(String),
    /// Not in this state.
    Conflict(String),
    /// The configuration has faults; nothing was changed.
    Faults(Vec<Fault>),
    /// The supervisor does not answer.
    Busy(String),
}

/// What a reload did, or would do. Jobs by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// Started.
    pub added: Vec<String>,
    /// Drained and gone.
    pub removed: Vec<String>,
    /// Drained at a cut and started with their new settings.
    pub restarted: Vec<String>,
    /// Window bounds changed, without ending the run.
    pub window: Vec<String>,
    /// Not touched.
    pub unchanged: Vec<String>,
    /// Other keys that changed and hold now.
    pub keys: Vec<String>,
    /// Warnings of the new configuration.
    pub warnings: Vec<String>,
}

/// Something asked, with the place for its answer.
pub(super) enum Ask {
    Verb { job: String, verb: Verb, why: String, reply: oneshot::Sender<Result<String, Refused>> },
    Reload { only_check: bool, reply: oneshot::Sender<Result<Reloaded, Refused>> },
}

/// Asks the supervisor. Clones ask the same one.
#[derive(Clone)]
pub struct Asking(SyncSender<Ask>);

/// A way to ask, and where the supervisor hears it.
pub(crate) fn channel() -> (Asking, Heard) {
    let (send, receive) = sync_channel(WAITING);
    (Asking(send), Heard(receive))
}

/// What was asked.
pub(crate) struct Heard(pub(super) Receiver<Ask>);

impl Asking {
    /// Asks a job to do something; `why` is shown. The answer says what happens now; it may take its time.
    ///
    /// # Errors
    /// Why not.
    pub async fn verb(&self, job: &str, verb: Verb, why: String) -> Result<String, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Verb { job: job.to_owned(), verb, why, reply })?;
        wait(answer).await
    }

    /// Takes over the configuration as its files are now, or says what that would do.
    ///
    /// # Errors
    /// Why not; nothing was changed then.
    pub async fn reload(&self, only_check: bool) -> Result<Reloaded, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Ask::Reload { only_check, reply })?;
        wait(answer).await
    }

    /// As [`reload`](Self::reload), for nobody who waits: the log has the outcome.
    pub fn reload_soon(&self) {
        let (reply, _) = oneshot::channel();
        if self.send(Ask::Reload { only_check: false, reply }).is_err() {
            tracing::warn!("not reloaded: the supervisor is busy");
        }
    }

    fn send(&self, ask: Ask) -> Result<(), Refused> {
        self.0.try_send(ask).map_err(|e| match e {
            TrySendError::Full(_) => Refused::Busy("too many requests wait: try again".into()),
            TrySendError::Disconnected(_) => Refused::Busy("the daemon is about to end".into()),
        })
    }
}

async fn wait<T>(answer: oneshot::Receiver<Result<T, Refused>>) -> Result<T, Refused> {
    match tokio::time::timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Refused::Busy("the daemon is about to end".into())),
        Err(_) => Err(Refused::Busy("no answer: look at the job before asking again".into())),
    }
}
