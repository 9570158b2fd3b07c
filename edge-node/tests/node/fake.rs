//! A broker that a test plays: it takes one connection at a time, sends what it likes, and sees every acknowledgement.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use wattle_testkit::wait_for;

use crate::support::LIMIT;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;

/// Waits for connections.
pub struct FakeBroker {
    listener: TcpListener,
}

/// One connection of an edge that has logged in and subscribed.
pub struct Link {
    stream: TcpStream,
    /// What the edge has published so far: topic and payload.
    pub published: Vec<(String, Vec<u8>)>,
    /// How often it has asked whether the broker is there.
    pings: u64,
    /// Whether it takes no more, as far as is known.
    is_full: bool,
}

impl FakeBroker {
    pub fn start() -> Self {
        Self { listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port") }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    /// The next connection, as soon as it has subscribed.
    pub fn accept(&self) -> Link {
        self.listener.set_nonblocking(true).expect("a socket");
        let stream = wait_for("a connection", LIMIT, || self.listener.accept().ok()).expect("it connects").0;
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        let mut link = Link { stream, published: Vec::new(), pings: 0, is_full: false };
        loop {
            let (kind, body) = link.packet().expect("it logs in");
            match kind >> 4 {
                // Of a session that is there.
                CONNECT => link.send(&[0x20, 2, 1, 0]),
                SUBSCRIBE => {
                    let filters = filters(&body[2..]);
                    let mut answer = vec![0x90, 2 + filters as u8, body[0], body[1]];
                    answer.extend(vec![1; filters]);
                    link.send(&answer);
                    return link;
                }
                other => panic!("packet {other} before it has subscribed"),
            }
        }
    }
}

/// How many filters a SUBSCRIBE has.
fn filters(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while rest.len() > 2 {
        let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        rest = &rest[2 + len + 1..];
        count += 1;
    }
    count
}

impl Link {
    /// Publishes to the edge; QoS 0 when there is no packet id.
    pub fn publish(&mut self, topic: &str, payload: &[u8], packet_id: Option<u16>, again: bool) {
        let packet = publish(topic, payload, packet_id, again);
        self.send(&packet);
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the edge reads");
    }

    /// Writes for as long as the edge takes bytes; gives how many it took until it took none for a while.
    pub fn flood(&mut self, bytes: &[u8], most: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
        let mut sent = 0;
        while sent < most {
            match self.stream.write(&bytes[sent % bytes.len()..]) {
                Ok(len) => sent += len,
                Err(_) => {
                    self.is_full = true;
                    return sent;
                }
            }
        }
        sent
    }

    /// The next acknowledgement.
    pub fn acknowledged(&mut self) -> u16 {
        loop {
            if let Some(id) = self.take_packet() {
                return id;
            }
        }
    }

    /// The acknowledgements that have come and were not looked at yet.
    pub fn acknowledged_so_far(&mut self) -> Vec<u16> {
        let mut ids = Vec::new();
        while self.has_come() {
            ids.extend(self.take_packet());
        }
        ids
    }

    /// Waits until the edge asks whether the broker is there; nothing may be acknowledged before.
    pub fn is_pinged(&mut self) {
        let (before, end) = (self.pings, Instant::now() + LIMIT);
        while self.pings == before {
            assert!(Instant::now() < end, "a ping in time");
            assert_eq!(self.take_packet(), None);
        }
    }

    fn has_come(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        peeked.is_ok()
    }

    /// Waits until the edge has published on a topic that ends so; nothing may be acknowledged before.
    pub fn hears_of(&mut self, end: &str) {
        let latest = Instant::now() + LIMIT;
        while !self.published.iter().any(|(topic, _)| topic.ends_with(end)) {
            assert!(Instant::now() < latest, "something on {end} in time");
            assert_eq!(self.take_packet(), None);
        }
    }

    /// Takes the next packet; its id if it is an acknowledgement.
    fn take_packet(&mut self) -> Option<u16> {
        let (kind, body) = self.packet().expect("a packet in time");
        match kind >> 4 {
            PUBACK => return Some(u16::from_be_bytes([body[0], body[1]])),
            PINGREQ => {
                self.pings += 1;
                if !self.is_full {
                    self.send(&[0xD0, 0]);
                }
            }
            PUBLISH => {
                let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + len]).into_owned();
                self.published.push((topic, body[2 + len..].to_vec()));
            }
            other => panic!("packet {other}"),
        }
        None
    }

    fn packet(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let kind = self.byte()?;
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let byte = self.byte()?;
            len |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok((kind, body))
    }

    fn byte(&mut self) -> std::io::Result<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

/// The bytes of a PUBLISH.
pub fn publish(topic: &str, payload: &[u8], packet_id: Option<u16>, again: bool) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    if let Some(id) = packet_id {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(payload);
    let mut packet = vec![0x30 | u8::from(packet_id.is_some()) << 1 | u8::from(again) << 3];
    let mut len = body.len();
    while len >= 0x80 {
        packet.push(len as u8 | 0x80);
        len >>= 7;
    }
    packet.push(len as u8);
    packet.extend(body);
    packet
}
