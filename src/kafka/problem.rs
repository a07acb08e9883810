//! Why the service can't begin, told apart by what is to be done: wait for brokers, or mend the configuration.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Whoever starts the service waits on `Away` and tries again, and ends with exit code 78 on `Misconfigured`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartProblem {
    /// No broker answers, or they are not ready yet. In words, without secrets.
    Away(String),
    /// Only a human can mend it: a wrong property, a missing topic, refused credentials, missing rights.
    /// In words that say how, without secrets.
    Misconfigured(String),
}

impl fmt::Display for StartProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartProblem::Away(text) | StartProblem::Misconfigured(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StartProblem {}

impl StartProblem {
    /// Why librdkafka did not make a client: always something in the properties. No property's value is
    /// repeated, since it may be a secret.
    pub(super) fn from_creation(error: &KafkaError) -> StartProblem {
        StartProblem::Misconfigured(match error {
            KafkaError::ClientConfig(_, description, key, value) => {
                let description = if value.is_empty() {
                    description.clone()
                } else {
                    description.replace(value.as_str(), "***")
                };
                format!("kafka.properties.{key}: {description}")
            }
            KafkaError::ClientCreation(text) => format!("kafka.properties: {text}"),
            other => format!("kafka.properties: {other}"),
        })
    }
}

/// Whether the brokers refuse what this client says it is: its password, token or certificate.
pub(super) fn refuses_credentials(code: RDKafkaErrorCode, reason: &str) -> bool {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => true,
        // A broker that does not take the client's certificate says so by a TLS alert.
        RDKafkaErrorCode::SSL => {
            reason.contains("alert") && (reason.contains("certificate") || reason.contains("unknown ca"))
        }
        _ => false,
    }
}

/// Whether the record, or the batch that it is in, is larger than its topic takes.
pub(super) fn is_too_large(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::MessageBatchTooLarge
        )
    )
}

/// Whether a right (ACL) is missing.
pub(super) fn lacks_rights(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_that_librdkafka_refuses_is_named_without_its_value() {
        let error = rdkafka::ClientConfig::new()
            .set("session.timeout.ms", "hunter2")
            .create::<rdkafka::producer::BaseProducer>()
            .err()
            .expect("a word is no number");
        let StartProblem::Misconfigured(text) = StartProblem::from_creation(&error) else {
            panic!("a wrong property is no outage");
        };
        assert!(text.contains("kafka.properties.session.timeout.ms"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn credentials_are_refused_by_sasl_errors_and_by_tls_alerts_about_the_certificate() {
        let cases = [
            (RDKafkaErrorCode::Authentication, "SASL authentication error", true),
            (RDKafkaErrorCode::SSL, "tlsv13 alert certificate required", true),
            (RDKafkaErrorCode::SSL, "certificate verify failed: broker certificate", false),
            (RDKafkaErrorCode::BrokerTransportFailure, "Connection refused", false),
        ];
        for (code, reason, expected) in cases {
            assert_eq!(refuses_credentials(code, reason), expected, "{code} {reason}");
        }
    }
}
