//! Whether any broker can be reached, told once per change.
//!
//! librdkafka 2.12 as built here never raises its "all brokers down" event, so the state is read from its periodic
//! statistics: the number of broker connections that are up.

use memchr::memmem;

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// No broker is connected; `reason` is the last error seen.
    Down {
        /// librdkafka's words.
        reason: String,
    },
    /// A broker is connected again.
    Up,
}

/// Connection state of one client.
#[derive(Debug, Default)]
pub(super) struct Connection {
    down: bool,
    last_error: Option<String>,
}

impl Connection {
    /// A client-level error, kept for the message of an outage.
    pub(super) fn on_error(&mut self, reason: &str) {
        self.last_error = Some(reason.to_owned());
    }

    /// True while no broker is connected, as far as the last statistics say.
    pub(super) fn is_down(&self) -> bool {
        self.down
    }

    /// The last client-level error of the present outage.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// librdkafka's statistics, as JSON.
    pub(super) fn on_statistics(&mut self, json: &[u8]) -> Option<Change> {
        let up = memmem::find(json, br#""state":"UP""#).is_some();
        match (self.down, up) {
            (false, false) => {
                self.down = true;
                let reason = self.last_error.clone().unwrap_or_else(|| "no connection".to_owned());
                Some(Change::Down { reason })
            }
            (true, true) => {
                self.down = false;
                self.last_error = None;
                Some(Change::Up)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let (up, down) = (br#"{"brokers":{"a":{"state":"UP"}}}"#, br#"{"brokers":{"a":{"state":"TRY_CONNECT"}}}"#);
        let mut connection = Connection::default();
        assert_eq!(connection.on_statistics(up), None);
        connection.on_error("connection refused");
        assert_eq!(connection.on_statistics(down), Some(Change::Down { reason: "connection refused".into() }));
        assert!(connection.is_down());
        assert_eq!(connection.on_statistics(down), None);
        assert_eq!(connection.on_statistics(up), Some(Change::Up));
        assert_eq!(connection.on_statistics(up), None);
    }
}
