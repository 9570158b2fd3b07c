//! Names. Each is a short text of its own type, so that a site can't be passed where a device is meant.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The most bytes that a name may have.
pub const MAX_ID_BYTES: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("a name is empty; use 1 to {MAX_ID_BYTES} letters, digits, '.', '_', ':' or '-'")]
    Empty,
    /// More than [`MAX_ID_BYTES`].
    #[error("a name has {0} bytes; use at most {MAX_ID_BYTES}")]
    TooLong(usize),
    /// Something that an MQTT topic, a file name or SQL would trip over.
    #[error("a name holds {0:?}; use letters, digits, '.', '_', ':' or '-'")]
    BadCharacter(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(IdError::BadCharacter(c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 64 bytes of ASCII letters, digits, `.`, `_`, `:` and `-`.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes a text as a name.
            ///
            /// # Errors
            /// When it is empty, longer than [`MAX_ID_BYTES`] or holds another character.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A place with one supply.
    SiteId
);
id!(
    /// A charger or a meter: what speaks MQTT.
    DeviceId
);
id!(
    /// A circuit of a site's tree.
    CircuitId
);
id!(
    /// Whoever pays.
    UserId
);
id!(
    /// One stay of one vehicle at one charger.
    SessionId
);
id!(
    /// An edge node.
    EdgeId
);

/// A charger is named by its device.
pub type ChargerId = DeviceId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_allowed_characters_is_taken() {
        for text in ["a", "CA-305", "2_39_131:30.x", &"x".repeat(64)] {
            assert_eq!(DeviceId::new(text).expect("allowed").as_str(), text);
        }
    }

    #[test]
    fn a_name_that_a_topic_or_a_path_would_trip_over_is_refused() {
        assert_eq!(DeviceId::new(""), Err(IdError::Empty));
        assert_eq!(DeviceId::new("x".repeat(65)), Err(IdError::TooLong(65)));
        for c in ['/', '+', '#', ' ', '\n', '\'', 'é', '\0'] {
            assert_eq!(DeviceId::new(alloc::format!("a{c}")), Err(IdError::BadCharacter(c)));
        }
    }

    #[test]
    fn a_bad_name_is_refused_while_it_is_read() {
        assert!(serde_json::from_str::<SiteId>("\"depot-1\"").is_ok());
        assert!(serde_json::from_str::<SiteId>("\"a/b\"").is_err());
    }
}
