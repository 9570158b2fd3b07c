//! What librdkafka complains of, as one sentence that says what to do.
//!
//! librdkafka reports the same trouble many times and from each of its threads; [`Faults`] keeps the newest and its owner
//! tells it once.

use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Trouble with the brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What and what to do.
    pub text: String,
    /// Whether the client can't be used any more.
    pub fatal: bool,
}

/// The newest trouble of a client.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Option<Fault>>);

impl Faults {
    /// Keeps what librdkafka has said.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // The end of what there is to read is no trouble.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        let mut kept = self.lock();
        // "All brokers are down" says less than why.
        let says_less = code == RDKafkaErrorCode::AllBrokersDown && kept.is_some();
        if says_less || kept.as_ref().is_some_and(|kept| kept.fatal) {
            return;
        }
        *kept = Some(Fault { text: said(code, reason), fatal: code == RDKafkaErrorCode::Fatal });
    }

    /// Gives it, and forgets it.
    pub fn take(&self) -> Option<Fault> {
        self.lock().take()
    }

    /// librdkafka's own log lines: for whoever looks for them.
    pub fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, text);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error as a person should read it.
pub fn said(code: RDKafkaErrorCode, reason: &str) -> String {
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    let what_to_do = match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            "the brokers refuse who we are; check kafka.sasl.user and the password file"
        }
        RDKafkaErrorCode::SSL => {
            "no encrypted connection; check kafka.tls: ca has to have signed the brokers' certificate, \
             and cert has to be one that the brokers take"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            "the brokers don't allow it; give this user the rights of docs/kafka.md"
        }
        RDKafkaErrorCode::Resolve => "no such host; check kafka.brokers",
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => {
            "no such topic; a fog node with intake.create_topics makes it, or docs/kafka.md says how"
        }
        _ => "the brokers can't be reached or don't answer; check kafka.brokers",
    };
    format!("{what_to_do} ({reason})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::Global(code)
    }

    #[test]
    fn why_is_kept_when_all_brokers_are_said_to_be_down_after_it() {
        let faults = Faults::default();
        faults.note(
            &global(RDKafkaErrorCode::Authentication),
            "SASL: wrong password (after 3ms in state AUTH)",
        );
        faults.note(&global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        let fault = faults.take().expect("a fault");
        assert!(fault.text.contains("password file") && fault.text.contains("wrong password)"), "{fault:?}");
        assert!(!fault.fatal);
        assert_eq!(faults.take(), None);
        faults.note(&global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(faults.take().is_some_and(|fault| fault.text.contains("kafka.brokers")));
    }

    #[test]
    fn what_is_fatal_is_not_hidden_by_what_comes_after_it() {
        let faults = Faults::default();
        faults.note(&global(RDKafkaErrorCode::Fatal), "out of order");
        faults.note(&global(RDKafkaErrorCode::BrokerTransportFailure), "connection refused");
        assert!(faults.take().is_some_and(|fault| fault.fatal));
    }
}
