//! What the edge and its broker's process tell each other: JSON, one line each.
//!
//! On the child's standard input one line of [`Settings`], then nothing; its end tells the child to end. On its standard
//! output [`Said`]: first `{"listening":"127.0.0.1:1883"}` or `{"failed":"why"}`, then
//! `{"refused":{"client":"cp-1","reason":"wrong password"}}` for each login. Both ends are the same program, so
//! there is no version. Passwords never stand on the command line, where others could read them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The longest line of settings; a device takes about a hundred bytes.
pub const MAX_SETTINGS_BYTES: u64 = 16 << 20;
/// The longest line that the child says.
pub const MAX_SAID_BYTES: u64 = 4096;

/// What the broker is started with.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it listens; port 0 for any.
    pub listen: SocketAddr,
    /// Passwords by device.
    pub accounts: BTreeMap<String, String>,
    /// The edge's own password.
    pub edge_password: String,
    /// For about how many devices.
    pub devices: usize,
}

/// What the broker's process says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It listens here.
    Listening(SocketAddr),
    /// It can't, and ends.
    Failed(String),
    /// It has refused a login.
    Refused {
        /// The client id that was given, cut to 64 characters.
        client: String,
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(said: Said, expected: &str) {
        assert_eq!(serde_json::to_string(&said).expect("plain data"), expected);
        assert_eq!(serde_json::from_str::<Said>(expected).expect("as written"), said);
    }

    #[test]
    fn each_thing_said_is_a_line_with_its_name() {
        check(Said::Listening(([127, 0, 0, 1], 1883).into()), r#"{"listening":"127.0.0.1:1883"}"#);
        check(Said::Failed("taken".into()), r#"{"failed":"taken"}"#);
        let refused = Said::Refused { client: "cp-1".into(), reason: "unknown user".into() };
        check(refused, r#"{"refused":{"client":"cp-1","reason":"unknown user"}}"#);
    }

    #[test]
    fn the_longest_refusal_fits_into_a_line() {
        let said =
            Said::Refused { client: "\u{1}".repeat(64), reason: "client id is not the user name".into() };
        assert!(serde_json::to_vec(&said).expect("plain data").len() < MAX_SAID_BYTES as usize);
    }
}
