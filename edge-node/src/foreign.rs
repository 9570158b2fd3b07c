//! What an external broker says of itself: logins that it refused, and messages that it dropped.
//!
//! Mosquitto says both on `$SYS` topics, if its configuration has `log_dest topic`, as the one that ships
//! (`deploy/edge/mosquitto.conf`) does. Another broker that says nothing is not an error.

use crate::broker::RefusedLogin;

/// What to subscribe to.
pub const FILTERS: [&str; 2] = ["$SYS/broker/log/N", DROPPED];
const DROPPED: &str = "$SYS/broker/publish/messages/dropped";

/// What to do about a broker that drops messages.
pub const DROPS: &str = "the broker drops messages; set its max_queued_messages to 0 and bound it by max_queued_bytes, as in \
    deploy/edge/mosquitto.conf. Devices send again what was not acknowledged";

/// Something that the broker said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It refused a login.
    Refused(RefusedLogin),
    /// How many messages it has dropped since it started.
    Dropped(u64),
    /// Nothing that matters.
    Other,
}

/// Reads a message on a `$SYS` topic; none for other topics.
pub fn read(topic: &str, payload: &[u8]) -> Option<Said> {
    if !topic.starts_with("$SYS/") {
        return None;
    }
    let text = String::from_utf8_lossy(&payload[..payload.len().min(512)]);
    if topic == DROPPED {
        return Some(text.trim().parse().map_or(Said::Other, Said::Dropped));
    }
    Some(refused(&text).map_or(Said::Other, Said::Refused))
}

/// `1790000000: Client cp-1 disconnected, not authorised.`
fn refused(line: &str) -> Option<RefusedLogin> {
    let (_, rest) = line.split_once("Client ")?;
    let (client, _) = rest.split_once(" disconnected, not authori")?;
    Some(RefusedLogin { client: client.chars().take(64).collect(), reason: "refused by the broker".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, payload: &str, expected: Option<Said>) {
        assert_eq!(read(topic, payload.as_bytes()), expected);
    }

    #[test]
    fn a_refused_login_is_understood() {
        let login = RefusedLogin { client: "cp-1".into(), reason: "refused by the broker".into() };
        let line = "1790000000: Client cp-1 disconnected, not authorised.";
        check("$SYS/broker/log/N", line, Some(Said::Refused(login)));
    }

    #[test]
    fn dropped_messages_are_counted() {
        check("$SYS/broker/publish/messages/dropped", "12", Some(Said::Dropped(12)));
        check("$SYS/broker/publish/messages/dropped", "many", Some(Said::Other));
    }

    #[test]
    fn other_lines_and_topics_are_left_alone() {
        check("$SYS/broker/log/N", "1790000000: Client cp-1 disconnected.", Some(Said::Other));
        check("wattle/v1/depot/cp-1/reading", "{}", None);
    }
}
