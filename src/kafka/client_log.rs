//! What librdkafka itself has to say, kept from flooding the log.

use std::time::Duration;

use mailroom_actors::seldom::Seldom;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::time::Instant;

/// While brokers are away each client would log several lines a second.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Hears the log lines and errors of one client. At most one warning in 10 s; all of it at level debug.
#[derive(Debug)]
pub struct ClientLog {
    client: &'static str,
    lines: Mutex<Seldom>,
    last_error: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl ClientLog {
    /// `client` names it in the log: `consumer`, `dead letters`.
    pub fn new(client: &'static str) -> ClientLog {
        let lines = Mutex::new(Seldom::new(BETWEEN_LINES));
        ClientLog { client, lines, last_error: Mutex::default() }
    }

    /// The last error and librdkafka's words for it, once.
    pub fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.last_error.lock().take()
    }

    fn may_warn(&self) -> bool {
        self.lines.lock().may_say(Instant::now()).is_some()
    }
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let notable =
            !matches!(level, RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug);
        if notable && self.may_warn() {
            tracing::warn!(client = self.client, facility, text, "librdkafka warns");
        } else {
            tracing::debug!(client = self.client, facility, text, "librdkafka says");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(client = self.client, %error, reason, "librdkafka reports an error");
        if let Some(code) = error.rdkafka_error_code() {
            *self.last_error.lock() = Some((code, reason.to_owned()));
        }
    }
}

impl ConsumerContext for ClientLog {}

/// For a producer that sends nothing.
impl ProducerContext for ClientLog {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
