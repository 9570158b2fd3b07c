//! How far the devices are, from the book that they are writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use anyhow::Result;
use wattle_wire::message::{self, Ack, Reading};

use crate::book;
use crate::cast::Cast;
use crate::plan::Target;

/// A start and a number in it.
pub type At = (u32, u64);

/// Follows the newest book.
#[derive(Debug, Default)]
pub struct Tail {
    start: u32,
    read_to: u64,
    heard: u64,
    made: BTreeMap<String, At>,
    acknowledged: BTreeMap<String, At>,
}

impl Tail {
    /// Reads what has come since the last time.
    ///
    /// # Errors
    /// When the book can't be read.
    pub fn follow(&mut self, cast: &mut Cast) -> Result<()> {
        let start = cast.node(Target::Devices).starts;
        if start != self.start {
            *self = Self { start, heard: self.heard, ..Self::default() };
        }
        // A start that has only begun has no book yet.
        let Ok(mut file) = File::open(book::path(&cast.place.books(), start)) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read_to))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may be only half there.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read_to += whole as u64;
        String::from_utf8_lossy(&bytes[..whole]).lines().for_each(|line| self.line(line));
        Ok(())
    }

    fn line(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (Some(what), Some(device), Some(rest)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let (at, all) = match (what, rest.split_once(' ')) {
            ("acked", _) => {
                self.heard += 1;
                let ack = message::decode::<Ack>(rest.as_bytes());
                (ack.ok().map(|ack| (ack.boot, ack.to)), &mut self.acknowledged)
            }
            (_, Some((_, payload))) => {
                // A step isn't followed: its neighbours are readings.
                let reading = message::decode::<Reading>(payload.as_bytes());
                (reading.ok().and_then(|made| made.boot.zip(made.seq)), &mut self.made)
            }
            _ => return,
        };
        if let Some(at) = at {
            let last = all.entry(device.to_owned()).or_insert(at);
            *last = at.max(*last);
        }
    }

    /// How many acknowledgements have come, over all starts.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// The last reading that each device has made in this start.
    pub fn made(&self) -> BTreeMap<String, At> {
        self.made.clone()
    }

    /// Whether each of these has been acknowledged, or a later one.
    pub fn acknowledged(&self, made: &BTreeMap<String, At>) -> bool {
        made.iter().all(|(device, at)| self.acknowledged.get(device).is_some_and(|last| last >= at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(lines: &[&str]) -> Tail {
        let mut tail = Tail::default();
        lines.iter().for_each(|line| tail.line(line));
        tail
    }

    #[test]
    fn a_device_is_acknowledged_when_its_last_reading_or_a_later_one_is() {
        let made = tail(&[
            r#"made m reading {"boot":2,"seq":5}"#,
            r#"made m session {"boot":2,"seq":6,"step":"plug"}"#,
        ]);
        let made = made.made();
        assert_eq!(made, BTreeMap::from([("m".to_owned(), (2, 5))]));
        for (ack, expected) in [
            (r#"acked m {"boot":2,"from":1,"to":4}"#, false),
            (r#"acked m {"boot":2,"from":5,"to":5}"#, true),
            (r#"acked m {"boot":1,"from":1,"to":99}"#, false),
            (r#"acked n {"boot":2,"from":1,"to":99}"#, false),
        ] {
            let tail = tail(&[ack]);
            assert_eq!((tail.acknowledged(&made), tail.heard()), (expected, 1), "{ack}");
        }
    }
}
