//! Keyframes and ticks as events: their bytes compressed with zstd, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use wattle_edge_core::replay::ReadError;
use wattle_wire::SiteId;
use wattle_wire::row::{Event, EventKind, Row};

/// What bytes may come to when they are unpacked.
const MAX_BYTES: usize = 32 << 20;
/// Enough for what repeats itself, and fast.
const LEVEL: i32 = 3;

/// The row that has these bytes.
pub fn row(site: &SiteId, kind: EventKind, bytes: &[u8]) -> Row {
    let packed = zstd::bulk::compress(bytes, LEVEL).expect("bytes in memory can be compressed");
    let event = Event::new(site.clone(), None, kind, "");
    Row::Event(Event { detail: STANDARD_NO_PAD.encode(packed), ..event })
}

/// The bytes that an event has.
///
/// # Errors
/// When they are not as [`row`] makes them.
pub fn bytes(event: &Event) -> Result<Vec<u8>, ReadError> {
    let damaged = ReadError::Damaged(event.kind.as_str());
    let packed = STANDARD_NO_PAD.decode(&event.detail).map_err(|_| damaged.clone())?;
    zstd::bulk::decompress(&packed, MAX_BYTES).map_err(|_| damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(detail: &str) -> Event {
        Event { detail: detail.into(), ..Event::new(site(), None, EventKind::Ticks, "") }
    }

    fn site() -> SiteId {
        SiteId::new("depot").expect("name")
    }

    #[test]
    fn bytes_come_back_as_they_were_packed() {
        for bytes in [vec![], vec![1, 2, 255], vec![7; 100_000]] {
            let Row::Event(event) = row(&site(), EventKind::Keyframe, &bytes) else { panic!("an event") };
            assert_eq!(super::bytes(&event), Ok(bytes));
        }
    }

    #[test]
    fn what_was_not_packed_is_refused() {
        for detail in ["!", "AAAA", "KLUv/SAB"] {
            assert_eq!(bytes(&event(detail)), Err(ReadError::Damaged("ticks")), "{detail}");
        }
    }

    #[test]
    fn a_small_text_that_would_fill_the_memory_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; MAX_BYTES + 1], LEVEL).expect("compressed");
        assert!(bomb.len() < 8_192);
        assert_eq!(bytes(&event(&STANDARD_NO_PAD.encode(bomb))), Err(ReadError::Damaged("ticks")));
    }
}
