//! The simulated cable between chargers and a meter: UDP on this machine. Nothing of it touches MQTT.
//!
//! A charger tells what it draws on L1, L2, L3 at every change and every [`REPEAT`]; a meter forgets a charger
//! that it hasn't heard for [`FORGET`], as a charger without power draws nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use wattle_wire::{DeviceId, Milliamps};

/// How often a charger repeats what it draws.
pub const REPEAT: Duration = Duration::from_millis(100);
/// When a silent charger is forgotten.
pub const FORGET: Duration = Duration::from_millis(1000);
/// The most chargers on one cable; more are not heard.
pub const MAX_CHARGERS: usize = 1024;

/// What a charger draws.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Which charger.
    pub device: DeviceId,
    /// On L1, L2, L3.
    pub current_ma: [Milliamps; 3],
}

/// A charger's end.
#[derive(Debug)]
pub struct ChargerEnd {
    socket: std::net::UdpSocket,
}

impl ChargerEnd {
    /// Leads to a meter's end.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn connect(meter: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(if meter.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" })?;
        socket.set_nonblocking(true)?;
        socket.connect(meter)?;
        Ok(Self { socket })
    }

    /// Tells what is drawn. One that is lost is repeated soon.
    pub fn tell(&self, draw: &Draw) {
        let text = serde_json::to_vec(draw).expect("a draw is plain");
        let _ = self.socket.send(&text);
    }
}

/// A meter's end.
#[derive(Debug)]
pub struct MeterEnd {
    socket: UdpSocket,
    draws: BTreeMap<DeviceId, ([Milliamps; 3], Instant)>,
}

impl MeterEnd {
    /// Listens on an address of this machine.
    ///
    /// # Errors
    /// When the address is taken or not ours. Must be called within a runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, draws: BTreeMap::new() })
    }

    /// Waits for a draw that differs from the last of its charger.
    pub async fn changed(&mut self) {
        let mut buf = [0; 512];
        loop {
            let Ok(length) = self.socket.recv(&mut buf).await else { continue };
            let Ok(draw) = serde_json::from_slice::<Draw>(&buf[..length]) else { continue };
            if self.draws.len() >= MAX_CHARGERS && !self.draws.contains_key(&draw.device) {
                continue;
            }
            let before = self.draws.insert(draw.device, (draw.current_ma, Instant::now()));
            if before.is_none_or(|(current, _)| current != draw.current_ma) {
                return;
            }
        }
    }

    /// What each charger draws now.
    pub fn draws(&mut self) -> BTreeMap<DeviceId, [Milliamps; 3]> {
        self.draws.retain(|_, (_, heard)| heard.elapsed() < FORGET);
        self.draws.iter().map(|(id, (current, _))| (id.clone(), *current)).collect()
    }
}
