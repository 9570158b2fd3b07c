//! How edges' connections are kept: one whose edge is gone without a word, by a cut line or a lost address, is noticed and closed.
//!
//! Each connection is asked for a sign of life every [`ALIVE`] over HTTP/2, and has as long to give it; before HTTP/2 has begun TCP asks the
//! machine at the other end. A TLS handshake has [`HANDSHAKE`]. So connections that nobody holds any more don't add up to the most
//! files that a process may have open, beyond which no edge gets in.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server, ServerTlsConfig};

/// How often a connection is asked for a sign of life, and how long that may take.
pub const ALIVE: Duration = Duration::from_secs(20);
/// The longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// The most streams of one connection; an edge has one.
const MOST_STREAMS: u32 = 64;
/// How many times TCP asks in vain.
const ASKED: u32 = 3;

/// A server on connections that are kept so.
///
/// # Errors
/// When the TLS configuration can't be used.
pub fn server(tls: Option<ServerTlsConfig>, alive: Duration) -> Result<Server, Error> {
    let server = Server::builder()
        .http2_keepalive_interval(Some(alive))
        .http2_keepalive_timeout(Some(alive))
        .max_concurrent_streams(MOST_STREAMS);
    match tls {
        None => Ok(server),
        Some(tls) => {
            wattle_process::choose_crypto();
            server.tls_config(tls.timeout(HANDSHAKE))
        }
    }
}

/// The connections of a port.
pub fn incoming(listener: TcpListener, alive: Duration) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_keepalive(Some(alive))
        .with_keepalive_interval(Some(alive))
        .with_keepalive_retries(Some(ASKED))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;
    use tonic::service::Routes;

    use super::*;

    /// The preface of HTTP/2 and empty settings.
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_connection_that_gives_no_sign_of_life_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let alive = Duration::from_millis(50);
        let server = server(None, alive).expect("a server").add_routes(Routes::default());
        let serving = tokio::spawn(server.serve_with_incoming(incoming(listener, alive)));
        let mut peer = TcpStream::connect(address).await.expect("a connection");
        peer.write_all(GREETING).await.expect("taken");
        let mut said = Vec::new();
        let end = timeout(LONG, peer.read_to_end(&mut said)).await.expect("it is closed");
        assert!(end.is_ok() || !said.is_empty(), "{end:?}");
        // Frame type 6: it was asked.
        assert!(frames(&said).contains(&6), "{said:?}");
        serving.abort();
    }

    /// The types of whole frames.
    fn frames(mut bytes: &[u8]) -> Vec<u8> {
        let mut types = Vec::new();
        while let [a, b, c, kind, ..] = *bytes {
            types.push(kind);
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            bytes = bytes.get(9 + length..).unwrap_or_default();
        }
        types
    }
}
