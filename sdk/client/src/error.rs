//! What goes wrong between a client and a fog node, in words that help.

use arrow_flight::error::FlightError;
use tonic::Code;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address isn't one.
    #[error("{0:?} is no address of a fog node; give http://HOST:PORT, for example http://127.0.0.1:7401")]
    BadUrl(String),
    /// Nobody answers there.
    #[error("no fog node answers at {url}: {reason}; is wattle-fog running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The fog node can't or won't answer this query; the text is the fog node's and says why.
    #[error("{0}")]
    Refused(String),
    /// What answers isn't a fog node.
    #[error("what answers at {0} doesn't speak Flight SQL; is it the query port of wattle-fog (7401)?")]
    NotFlightSql(String),
    /// The connection failed before anything was answered on it.
    #[error("{url} doesn't answer as a fog node does: {reason}; is it the query port of wattle-fog (7401)?")]
    Unheard {
        /// Where.
        url: String,
        /// What failed.
        reason: String,
    },
    /// The connection failed on the way; whatever came before is whole.
    #[error("the connection to the fog node at {url} failed: {reason}; ask again")]
    Broken {
        /// Where.
        url: String,
        /// What failed.
        reason: String,
    },
}

impl ClientError {
    pub(crate) fn from_flight(url: &str, error: FlightError) -> Self {
        let broken = |reason: String| Self::Broken { url: url.to_string(), reason };
        match error {
            FlightError::Tonic(status) => match status.code() {
                Code::InvalidArgument | Code::Internal | Code::ResourceExhausted if is_ours(&status) => {
                    Self::Refused(status.message().to_string())
                }
                Code::Unimplemented => Self::NotFlightSql(url.to_string()),
                // What lies under it says more than the layer that has failed by it.
                _ if !is_ours(&status) => broken(innermost(&*status)),
                _ => broken(status.message().to_string()),
            },
            other => broken(other.to_string()),
        }
    }
}

/// Whether a fog node wrote the status, not the transport on this side.
fn is_ours(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_none()
}

/// What lies under the layers that only say that something failed.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: tonic::Status, expected: &str) {
        let error = ClientError::from_flight("http://fog:7401", FlightError::Tonic(Box::new(status)));
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_the_fog_node_says_of_a_query_reaches_the_reader_as_it_is() {
        check(tonic::Status::invalid_argument("table 'x' not found"), "table 'x' not found");
        check(tonic::Status::internal("the query failed: overflow"), "the query failed: overflow");
    }

    #[test]
    fn a_lost_connection_names_the_fog_node() {
        check(
            tonic::Status::unavailable("reset"),
            "the connection to the fog node at http://fog:7401 failed: reset; ask again",
        );
    }

    #[test]
    fn another_service_on_that_port_is_called_so() {
        check(
            tonic::Status::unimplemented(""),
            "what answers at http://fog:7401 doesn't speak Flight SQL; is it the query port of wattle-fog (7401)?",
        );
    }
}
