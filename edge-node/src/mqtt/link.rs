//! One connection to a broker, with a session that lasts.
//!
//! - What is read and what is written may be broken off at any point: the next call goes on there.
//! - It says that it is there every [`PING_EVERY`], whatever else is sent. A broker from which nothing comes for two of them is away.
//! - A broker that takes nothing for [`SEND_TIME`] is away.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::{Connect, ConnectReturnCode, Error, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::Login;
use super::packets::{Incoming, Packets};

/// What the broker is promised; it waits half as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a broker may take to let the edge in.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long the broker may take no more before the connection counts as broken.
const SEND_TIME: Duration = Duration::from_secs(5);
/// What is gathered before it is sent.
const MOST_GATHERED: usize = 64 * 1024;
/// No packet of the edge is as large.
const MAX_SENT_BYTES: usize = 1024 * 1024;

/// Why a connection ended, or didn't come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the broker has closed the connection")]
    Closed,
    #[error("the broker is silent")]
    Silent,
    #[error("the broker takes nothing")]
    Stuck,
    #[error("the broker refused the edge: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("what the broker sent can't be read: {0}")]
    Packet(#[from] Error),
}

/// A connection.
pub(super) struct Link {
    stream: TcpStream,
    packets: Packets,
    /// Gathered to be sent.
    out: BytesMut,
    ping_at: Instant,
    /// Pings since something came.
    unanswered: u32,
}

impl Link {
    /// Logs in under the name of this lane.
    pub(super) async fn connect(login: &Login, client_id: &str) -> Result<Self, LinkError> {
        timeout(CONNECT_TIME, Self::log_in(login, client_id)).await.unwrap_or(Err(LinkError::Silent))
    }

    async fn log_in(login: &Login, client_id: &str) -> Result<Self, LinkError> {
        let stream = TcpStream::connect(format!("{}:{}", login.host, login.port)).await?;
        // A setpoint must not wait until the broker's system has said that it got what was sent before it.
        stream.set_nodelay(true)?;
        let ping_at = Instant::now() + PING_EVERY;
        let mut link =
            Self { stream, packets: Packets::default(), out: BytesMut::new(), ping_at, unanswered: 0 };
        let mut connect = Connect::new(client_id);
        connect.keep_alive = KEEP_ALIVE.as_secs() as u16;
        connect.clean_session = false;
        connect.set_login(&login.user, &login.password);
        link.write(&Packet::Connect(connect)).await?;
        link.flush().await?;
        match link.next().await?.packet {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(link),
            Packet::ConnAck(answer) => Err(LinkError::Refused(answer.code)),
            _ => Err(LinkError::Packet(Error::IncorrectPacketFormat)),
        }
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Incoming, LinkError> {
        loop {
            if let Some(incoming) = self.packets.next()? {
                return Ok(incoming);
            }
            if self.ping_at <= Instant::now() {
                if self.unanswered == 2 {
                    return Err(LinkError::Silent);
                }
                self.unanswered += 1;
                self.ping().await?;
            }
            tokio::select! {
                read = self.stream.read_buf(self.packets.room()) => match read? {
                    0 => return Err(LinkError::Closed),
                    _ => self.unanswered = 0,
                },
                () = sleep_until(self.ping_at) => {}
            }
        }
    }

    /// When [`Self::ping`] is due. Whoever doesn't read for long has to see to it.
    pub(super) fn ping_at(&self) -> Instant {
        self.ping_at
    }

    /// Says that the edge is there.
    pub(super) async fn ping(&mut self) -> Result<(), LinkError> {
        self.ping_at = Instant::now() + PING_EVERY;
        self.write(&Packet::PingReq).await?;
        self.flush().await
    }

    /// Takes a packet to send; it goes out with the next [`Self::flush`] at the latest.
    pub(super) async fn write(&mut self, packet: &Packet) -> Result<(), LinkError> {
        packet.write(&mut self.out, MAX_SENT_BYTES)?;
        if self.out.len() >= MOST_GATHERED { self.flush().await } else { Ok(()) }
    }

    /// Sends what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        match timeout(SEND_TIME, self.stream.write_all_buf(&mut self.out)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(LinkError::Stuck),
        }
    }
}
