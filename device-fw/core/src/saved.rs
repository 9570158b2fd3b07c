//! What a device keeps across restarts, as bytes.
//!
//! One entry named [`STATE_KEY`], 26 bytes, little-endian: version (1), stay (0 none, 1 plugged, 2 started), boot
//! (u32), whole watt-hours (i64), remainder in microjoules (u64), CRC-32 (IEEE) of all before. It is always written
//! as a whole, so the number of the start, the register and the stay can't tell different stories.

use alloc::vec::Vec;

use wattle_wire::WattHours;

use crate::register::Energy;

/// The name of the entry.
pub const STATE_KEY: &str = "state";

const VERSION: u8 = 1;
const LENGTH: usize = 26;

/// Why stored bytes were not taken. A device that finds this must not start over from zero by itself: a person
/// decides what its register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedError {
    /// Not as many bytes as were written.
    Length(usize),
    /// Written by a version that this one doesn't know.
    Version(u8),
    /// The checksum or a value is wrong.
    Damaged,
}

impl core::fmt::Display for SavedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length(length) => write!(f, "the stored state has {length} bytes instead of {LENGTH}"),
            Self::Version(version) => {
                write!(f, "the stored state has version {version}; this firmware knows {VERSION}")
            }
            Self::Damaged => f.write_str("the stored state is damaged: its checksum doesn't fit"),
        }
    }
}

impl core::error::Error for SavedError {}

/// What a device would have stored that has started `boot` times and drawn nothing: for one that has no storage
/// of its own and takes the number of its start from elsewhere.
pub fn started_before(boot: u32) -> Vec<u8> {
    Saved { boot, ..Saved::default() }.encode()
}

/// How often a device has started by what it has stored.
///
/// # Errors
/// When the bytes can't be used.
pub fn starts(bytes: &[u8]) -> Result<u32, SavedError> {
    Saved::decode(bytes).map(|saved| saved.boot)
}

/// What is stored, with another number of starts: the connectors of one device start together, and have one number.
///
/// # Errors
/// When the bytes can't be used.
pub fn with_starts(bytes: &[u8], boot: u32) -> Result<Vec<u8>, SavedError> {
    Saved::decode(bytes).map(|saved| Saved { boot, ..saved }.encode())
}

/// How far a vehicle's stay has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stay {
    #[default]
    None,
    Plugged,
    Started,
}

/// What is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    pub boot: u32,
    pub stay: Stay,
    pub energy: Energy,
}

impl Saved {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(VERSION);
        bytes.push(self.stay as u8);
        bytes.extend_from_slice(&self.boot.to_le_bytes());
        bytes.extend_from_slice(&self.energy.wh.0.to_le_bytes());
        bytes.extend_from_slice(&self.energy.rest_uj.to_le_bytes());
        bytes.extend_from_slice(&crc32(&bytes).to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, SavedError> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| SavedError::Length(bytes.len()))?;
        let (body, crc) = bytes.split_at(LENGTH - 4);
        if crc32(body).to_le_bytes() != crc {
            return Err(SavedError::Damaged);
        }
        if body[0] != VERSION {
            return Err(SavedError::Version(body[0]));
        }
        let stay = match body[1] {
            0 => Stay::None,
            1 => Stay::Plugged,
            2 => Stay::Started,
            _ => return Err(SavedError::Damaged),
        };
        Ok(Self {
            boot: u32::from_le_bytes(part(body, 2)),
            stay,
            energy: Energy {
                wh: WattHours(i64::from_le_bytes(part(body, 6))),
                rest_uj: u64::from_le_bytes(part(body, 14)),
            },
        })
    }
}

fn part<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes[from..from + N].try_into().expect("the length was checked")
}

/// CRC-32 as in IEEE 802.3, bit by bit: it runs over 22 bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        Saved {
            boot: 7,
            stay: Stay::Started,
            energy: Energy { wh: WattHours(123_456), rest_uj: 3_599_999_999 },
        }
    }

    #[test]
    fn the_bytes_are_as_released() {
        let hex: alloc::string::String = saved().encode().iter().map(|b| alloc::format!("{b:02x}")).collect();
        assert_eq!(hex, "01020700000040e2010000000000ffa393d6000000008a408060");
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn what_was_stored_comes_back() {
        assert_eq!(Saved::decode(&saved().encode()), Ok(saved()));
    }

    #[test]
    fn another_number_of_starts_leaves_register_and_stay() {
        let bytes = with_starts(&saved().encode(), 9).expect("sound");
        assert_eq!((starts(&bytes), Saved::decode(&bytes)), (Ok(9), Ok(Saved { boot: 9, ..saved() })));
        assert_eq!(with_starts(&bytes[1..], 9), Err(SavedError::Length(25)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = saved().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Saved::decode(&bad), Err(SavedError::Damaged), "bit {bit}");
        }
    }

    #[test]
    fn a_torn_or_foreign_entry_is_refused() {
        assert_eq!(Saved::decode(&[]), Err(SavedError::Length(0)));
        assert_eq!(Saved::decode(&saved().encode()[..25]), Err(SavedError::Length(25)));
        let mut newer = saved().encode();
        newer[0] = 2;
        let crc = crc32(&newer[..22]).to_le_bytes();
        newer[22..].copy_from_slice(&crc);
        assert_eq!(Saved::decode(&newer), Err(SavedError::Version(2)));
    }
}
