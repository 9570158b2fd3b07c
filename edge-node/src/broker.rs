//! The embedded broker: rumqttd, in a process of its own below the edge's.
//!
//! rumqttd takes no further login once one of its connections has panicked, and a peer that resets its connection right
//! after it has asked to be let in leads to that. So the edge starts its own program once more as a [`child`], which
//! ends at the first panic, and a [`supervisor`] starts it again; [`exchange`] is what the two tell each other. [`start`]
//! runs the broker in the process that calls it.
//!
//! It listens where `[broker] listen` says, 127.0.0.1 by default, and lets in who gives the password that
//! stands in the passwords file under its client id. It has no rules for topics and keeps nothing on a disk:
//! what it holds when its process ends is resent by the devices, because only the edge's own acknowledgement
//! frees a reading.
//!
//! Bounds: payloads of [`MAX_PAYLOAD_BYTES`] (a larger one ends the connection of who sent it);
//! [`MAX_CONNECTIONS`]; per filter a log in which the oldest makes room: 256 MiB over all filters of single devices
//! (more with over 1,300 devices: 192 KiB each), 64 MiB for any other. rumqttd has no way to stop: it ends with
//! its process.

pub mod child;
pub mod exchange;
mod listener;
pub mod supervisor;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, SegmentConfig, ServerSettings};
use tokio::sync::mpsc;

/// The largest payload that a connection may send.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 10_000;
/// The user as which the edge itself connects. No device can have this name, because of the space.
pub const EDGE_USER: &str = "wattle edge";
/// Refused logins that wait to be journaled; beyond that they are only logged by the broker.
const REFUSALS: usize = 64;
const CONNECT_TIMEOUT_MS: u16 = 5000;
/// How long rumqttd may take until it listens, and how often that is looked at.
const LISTEN_TIME: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);
/// Segments of a log; the oldest goes as a whole.
const SEGMENTS: usize = 4;
/// One segment of each log of a device, over all devices.
const DEVICES_SEGMENT_BYTES: usize = 64 << 20;

/// Someone whom the broker did not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLogin {
    /// The client id that was given, cut to 64 bytes.
    pub client: String,
    /// Why.
    pub reason: String,
}

/// Who may connect: client id and user name are the device's name.
struct Accounts {
    passwords: BTreeMap<String, String>,
    edge_password: String,
    refusals: mpsc::Sender<RefusedLogin>,
}

impl Accounts {
    fn admit(&self, client: &str, user: &str, password: &str) -> bool {
        match self.verdict(client, user, password) {
            Ok(()) => true,
            Err(reason) => {
                let client = client.chars().take(64).collect();
                // Full only under a flood of refused logins, of which the first few say enough.
                let _ = self.refusals.try_send(RefusedLogin { client, reason: reason.into() });
                false
            }
        }
    }

    fn verdict(&self, client: &str, user: &str, password: &str) -> Result<(), &'static str> {
        if user == EDGE_USER {
            let right = same(password, &self.edge_password) && client.starts_with(EDGE_USER);
            return if right { Ok(()) } else { Err("wrong password") };
        }
        let Some(expected) = self.passwords.get(user) else { return Err("unknown user") };
        if !same(password, expected) {
            return Err("wrong password");
        }
        if is_own(client, user) { Ok(()) } else { Err("client id is not the user name") }
    }
}

/// A device's client id is its user name, so that nobody can take another's session; beside it, behind an `@`, which no
/// name has, a person may look on. rumqttd panics at the second login of an id with one of `+ $ # /`.
fn is_own(client: &str, user: &str) -> bool {
    let rest = client.strip_prefix(user);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        && !client.contains(['+', '$', '#', '/'])
}

/// Compares without telling by its duration where two passwords differ.
fn same(given: &str, expected: &str) -> bool {
    let difference = given.bytes().zip(expected.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == expected.len() && difference == 0
}

/// The address at which this machine reaches what listens on `address`, which may stand for all addresses.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// Starts the broker in this process for about so many devices, and waits until it listens. Gives where, and whom it refuses
/// from now on.
///
/// # Errors
/// When the address can't be listened on, or a thread can't be started.
pub fn start(
    listen: SocketAddr,
    passwords: BTreeMap<String, String>,
    edge_password: String,
    devices: usize,
) -> io::Result<(SocketAddr, mpsc::Receiver<RefusedLogin>)> {
    // rumqttd only logs when it can't listen, so the address is tried first; this also picks a port for 0.
    let address = TcpListener::bind(listen)?.local_addr()?;
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let accounts = Arc::new(Accounts { passwords, edge_password, refusals });
    let mut broker = Broker::new(config(address, accounts, devices));
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        if let Err(error) = broker.start() {
            tracing::error!(%error, "the embedded broker has stopped");
        }
    })?;
    let deadline = Instant::now() + LISTEN_TIME;
    have_it_send_at_once(address, deadline);
    wait_until_it_listens(address, deadline)?;
    Ok((address, refused))
}

/// As soon as rumqttd has its socket. Where that can't be done the broker works all the same, only later now and then.
fn have_it_send_at_once(address: SocketAddr, deadline: Instant) {
    let outcome = loop {
        match listener::send_at_once(address) {
            Ok(false) if Instant::now() < deadline => std::thread::sleep(LOOK),
            outcome => break outcome,
        }
    };
    if !matches!(outcome, Ok(true)) {
        tracing::warn!(
            ?outcome,
            "the broker's socket can't be set to send at once; a setpoint may wait 40 ms"
        );
    }
}

fn wait_until_it_listens(address: SocketAddr, deadline: Instant) -> io::Result<()> {
    loop {
        match TcpStream::connect(reachable(address)) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

fn config(listen: SocketAddr, accounts: Arc<Accounts>, devices: usize) -> Config {
    let mut server = ServerSettings {
        name: "devices".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: CONNECT_TIMEOUT_MS,
            max_payload_size: MAX_PAYLOAD_BYTES,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    };
    server.set_auth_handler(move |client: String, user: String, password: String| {
        let accounts = accounts.clone();
        async move { accounts.admit(&client, &user, &password) }
    });
    // Three logs per device: what it sends, its setpoints, its acknowledgements.
    let max_segment_size = (DEVICES_SEGMENT_BYTES / devices.max(1) / 3).clamp(16 << 10, 8 << 20);
    let device_log = SegmentConfig { max_segment_size, max_segment_count: SEGMENTS };
    Config {
        router: RouterConfig {
            max_connections: MAX_CONNECTIONS,
            max_outgoing_packet_count: 200,
            max_segment_size: 16 << 20,
            max_segment_count: SEGMENTS,
            custom_segment: Some(HashMap::from([("wattle/v1/+/+/#".to_owned(), device_log)])),
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("devices".to_owned(), server)])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(client: &str, user: &str, password: &str, expected: Result<(), &'static str>) {
        let (refusals, mut refused) = mpsc::channel(1);
        let passwords = BTreeMap::from([("cp-1".to_owned(), "secret".to_owned())]);
        let accounts = Accounts { passwords, edge_password: "mine".into(), refusals };
        assert_eq!(accounts.admit(client, user, password), expected.is_ok());
        assert_eq!(refused.try_recv().ok().map(|r| r.reason), expected.err().map(str::to_owned));
    }

    #[test]
    fn a_device_with_its_own_password_is_let_in() {
        check("cp-1", "cp-1", "secret", Ok(()));
    }

    #[test]
    fn whoever_is_not_let_in_is_told_of_with_the_reason() {
        check("cp-1", "cp-1", "Secret", Err("wrong password"));
        check("cp-1", "cp-1", "secret ", Err("wrong password"));
        check("cp-1", "cp-1", "", Err("wrong password"));
        check("cp-9", "cp-9", "secret", Err("unknown user"));
        check("cp-2", "cp-1", "secret", Err("client id is not the user name"));
    }

    #[test]
    fn the_edges_own_name_is_of_no_use_without_its_password() {
        check("wattle edge", EDGE_USER, "mine", Ok(()));
        check("wattle edge", EDGE_USER, "secret", Err("wrong password"));
        check("cp-1", EDGE_USER, "mine", Err("wrong password"));
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free port");
        let address = taken.local_addr().expect("bound");
        assert!(start(address, BTreeMap::new(), String::new(), 1).is_err());
    }
}
