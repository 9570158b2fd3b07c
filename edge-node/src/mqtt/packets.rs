//! From the bytes of a connection to packets, in whatever pieces they come.
//!
//! A packet above [`MAX_PACKET_BYTES`] is not read whole. Of a message there come its topic and the first [`KEPT_BYTES`] of what was
//! published, once the rest has gone by: so it can be acknowledged, and stands in nobody's way. No other packet is as large.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::{Error, Packet, PacketType, Publish};

/// The largest packet that is read whole.
const MAX_PACKET_BYTES: usize = 1024 * 1024;
/// What is kept of a larger message; more than anybody may send.
const KEPT_BYTES: usize = 32 * 1024;
/// The most that stands before what was published: the topic with its length, and the packet's id.
const MAX_HEAD_BYTES: usize = 2 + u16::MAX as usize + 2;
/// What is waited for of a larger message, behind the length of its packet.
const BEGINNING: usize = MAX_HEAD_BYTES + KEPT_BYTES;
/// Room for what comes next.
const READ_BYTES: usize = 8 * 1024;

/// A packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) packet: Packet,
    /// Bytes at the end of a message that were not kept.
    pub(super) left_out: usize,
}

/// Bytes of which packets are made.
#[derive(Default)]
pub(super) struct Packets {
    bytes: BytesMut,
    /// A message that is going by.
    large: Option<Large>,
}

struct Large {
    publish: Publish,
    left_out: usize,
    /// How much of it is still to come.
    remaining: usize,
}

impl Packets {
    /// Where the next bytes go.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 8 {
            self.bytes.reserve(READ_BYTES);
        }
        &mut self.bytes
    }

    /// The next packet, if all of it has come.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Error> {
        if self.large.is_none() {
            match Packet::read(&mut self.bytes, MAX_PACKET_BYTES) {
                Ok(packet) => return Ok(Some(Incoming { packet, left_out: 0 })),
                Err(Error::PayloadSizeLimitExceeded(len)) => self.begin_large(len)?,
                Err(Error::InsufficientBytes(missing)) => self.bytes.reserve(missing),
                Err(error) => return Err(error),
            }
        }
        Ok(self.pass_large())
    }

    /// Takes the beginning of a packet with so many bytes behind its length, once it is there.
    fn begin_large(&mut self, len: usize) -> Result<(), Error> {
        let kind = self.bytes[0];
        if kind >> 4 != PacketType::Publish as u8 {
            return Err(Error::PayloadSizeLimitExceeded(len));
        }
        // The last byte of the length is the first without its highest bit; it was read already.
        let fixed = 2 + self.bytes[1..].iter().take_while(|byte| **byte >= 0x80).count();
        let end = fixed + BEGINNING;
        if self.bytes.len() < end {
            self.bytes.reserve(end - self.bytes.len());
            return Ok(());
        }
        let publish = beginning(kind, &self.bytes[fixed..end])?;
        self.bytes.advance(end);
        let remaining = len - BEGINNING;
        let kept = Bytes::copy_from_slice(&publish.payload[..KEPT_BYTES]);
        let left_out = remaining + publish.payload.len() - KEPT_BYTES;
        self.large = Some(Large { publish: Publish { payload: kept, ..publish }, left_out, remaining });
        Ok(())
    }

    fn pass_large(&mut self) -> Option<Incoming> {
        let large = self.large.as_mut()?;
        let passing = large.remaining.min(self.bytes.len());
        self.bytes.advance(passing);
        large.remaining -= passing;
        let Large { publish, left_out, .. } = self.large.take_if(|large| large.remaining == 0)?;
        Some(Incoming { packet: Packet::Publish(publish), left_out })
    }
}

/// A message that ends with its beginning.
fn beginning(kind: u8, bytes: &[u8]) -> Result<Publish, Error> {
    let mut packet = BytesMut::with_capacity(bytes.len() + 4);
    let length = [BEGINNING | 0x80, BEGINNING >> 7 | 0x80, BEGINNING >> 14].map(|part| part as u8);
    packet.extend_from_slice(&[kind]);
    packet.extend_from_slice(&length);
    packet.extend_from_slice(bytes);
    match Packet::read(&mut packet, MAX_PACKET_BYTES)? {
        Packet::Publish(publish) => Ok(publish),
        _ => Err(Error::IncorrectPacketFormat),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{PubAck, QoS};

    use super::*;

    fn message(id: u16, topic: &str, len: usize) -> Publish {
        let payload: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let qos = if id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        Publish { pkid: id, ..Publish::new(topic, qos, payload) }
    }

    /// What comes out of these packets when they come in pieces of so many bytes.
    fn read(packets: &[Packet], piece: usize) -> Vec<Incoming> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).expect("written");
        }
        let (mut reading, mut all) = (Packets::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            let room = reading.room();
            assert!(room.capacity() < 3 * MAX_PACKET_BYTES, "{}", room.capacity());
            room.extend_from_slice(piece);
            while let Some(incoming) = reading.next().expect("sound") {
                all.push(incoming);
            }
        }
        assert!(reading.bytes.is_empty() && reading.large.is_none());
        all
    }

    /// A message of this length comes cut between two others, which come whole.
    fn check_large(id: u16, topic: &str, len: usize, piece: usize) {
        let around = |id| Packet::Publish(message(id, "a", 100));
        let large = message(id, topic, len);
        let came = read(&[around(7), Packet::Publish(large.clone()), around(8)], piece);
        let kept = Publish { payload: large.payload.slice(..KEPT_BYTES), ..large };
        let expected = [
            Incoming { packet: around(7), left_out: 0 },
            Incoming { packet: Packet::Publish(kept), left_out: len - KEPT_BYTES },
            Incoming { packet: around(8), left_out: 0 },
        ];
        assert_eq!(came, expected, "{topic:.9} {len} in pieces of {piece}");
    }

    #[test]
    fn of_a_message_that_is_too_large_the_beginning_comes_and_what_is_behind_it_comes_whole() {
        let long = "t".repeat(u16::MAX.into());
        for piece in [1, 1_000, 8_192, 5 << 20] {
            check_large(9, "wattle/v1/depot/cp-1/reading", 2 << 20, piece);
            check_large(0, "x", MAX_PACKET_BYTES, piece);
            check_large(9, &long, MAX_PACKET_BYTES - MAX_HEAD_BYTES + 1, piece);
        }
    }

    #[test]
    fn the_largest_message_of_all_goes_by_in_little_memory() {
        let head = [0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'x', 0, 5];
        let mut reading = Packets::default();
        let (mut left, piece) = (268_435_455 + 5 - head.len(), [0; 8_192]);
        reading.room().extend_from_slice(&head);
        while left > piece.len() {
            reading.room().extend_from_slice(&piece);
            left -= piece.len();
            assert_eq!(reading.next().expect("sound"), None);
        }
        assert!(reading.room().capacity() < 1 << 20);
        reading.room().extend_from_slice(&piece[..left]);
        let Incoming { packet: Packet::Publish(publish), left_out } =
            reading.next().expect("sound").expect("all has come")
        else {
            panic!("a message")
        };
        assert_eq!((publish.pkid, publish.payload.len() + left_out), (5, 268_435_455 - 5));
    }

    #[test]
    fn what_is_not_too_large_comes_whole() {
        let packets = [
            Packet::Publish(message(1, "x", MAX_PACKET_BYTES - 5)),
            Packet::PingResp,
            Packet::PubAck(PubAck::new(3)),
            Packet::Publish(message(0, "x", 0)),
        ];
        for piece in [1, 1_000, 2 << 20] {
            let came: Vec<_> = read(&packets, piece).into_iter().map(|i| (i.packet, i.left_out)).collect();
            assert_eq!(came, packets.clone().map(|packet| (packet, 0)));
        }
    }

    #[test]
    fn what_no_broker_sends_is_an_error() {
        for bytes in [&[0x90, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF], &[0xF0, 0]] {
            let mut reading = Packets::default();
            reading.room().extend_from_slice(bytes);
            assert!(reading.next().is_err(), "{bytes:?}");
        }
    }
}
