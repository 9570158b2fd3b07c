//! What the devices have made and what was acknowledged to them, in their own words.
//!
//! One file per start of the devices, `book-<n>`, of lines
//! ```text
//! made <device> <channel> <payload>    before the message leaves the device, once per number
//! acked <device> <payload>             when an acknowledgement has come, before the device forgets anything
//! ```
//! A line is written with one call, so a kill leaves at most the last one cut, and that one says nothing that counts:
//! what it would have told of had not left, or was not yet known to be acknowledged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use wattle_wire::message::{self, Ack, Number, Phases, Reading, Session, SessionStep};
use wattle_wire::topic::Channel;

/// What names a message: device, start, number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Who has sent it.
    pub device: String,
    /// The start of the device.
    pub boot: u32,
    /// Its number since that start.
    pub seq: u64,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.device, self.boot, self.seq)
    }
}

/// A message that a device has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// All of its values, as [`reading_text`] or [`step_text`] write them; the lake's rows are written likewise.
    pub content: String,
    /// Whether it is a reading, or else a step of a stay.
    pub is_reading: bool,
    /// Whether the edge has said that it is on its disk.
    pub acknowledged: bool,
}

/// All books of a run together.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Every message that was made.
    pub made: BTreeMap<Name, Made>,
    /// Acknowledgements of what was never made, and numbers that were used for two contents.
    pub odd: Vec<String>,
}

/// A book that is being written.
#[derive(Debug)]
pub struct Writer(File);

impl Writer {
    /// Begins the book of a start.
    ///
    /// # Errors
    /// When there is one already, or the file can't be made.
    pub fn begin(folder: &Path, start: u32) -> Result<Self> {
        let path = path(folder, start);
        let file = File::options().append(true).create_new(true).open(&path);
        Ok(Self(file.with_context(|| format!("can't begin {}", path.display()))?))
    }

    /// Notes a message.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn made(&mut self, device: &str, channel: Channel, payload: &[u8]) -> Result<()> {
        self.line(&["made", device, channel.as_str()], payload)
    }

    /// Notes an acknowledgement.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn acknowledged(&mut self, device: &str, payload: &[u8]) -> Result<()> {
        self.line(&["acked", device], payload)
    }

    fn line(&mut self, words: &[&str], payload: &[u8]) -> Result<()> {
        let mut line = words.join(" ").into_bytes();
        line.push(b' ');
        line.extend(payload);
        line.push(b'\n');
        self.0.write_all(&line).context("can't write into the book")
    }
}

/// Where the book of a start is.
pub fn path(folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("book-{start}"))
}

impl Book {
    /// Reads the books of the starts from 1 to `starts`; one that was killed before it began has none.
    ///
    /// # Errors
    /// When a line can't be understood.
    pub fn read(folder: &Path, starts: u32) -> Result<Self> {
        let mut book = Self::default();
        for path in (1..=starts).map(|start| path(folder, start)).filter(|path| path.exists()) {
            let text = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
            for line in whole_lines(&text) {
                book.take(line).with_context(|| format!("{}: {line}", path.display()))?;
            }
        }
        Ok(book)
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let (what, rest) = line.split_once(' ').context("one word")?;
        let (device, rest) = rest.split_once(' ').context("two words")?;
        match (what, rest.split_once(' ')) {
            ("acked", _) => self.acknowledge(device, message::decode(rest.as_bytes())?),
            ("made", Some((channel, payload))) => self.make(device, channel, payload.as_bytes())?,
            _ => bail!("neither made nor acked"),
        }
        Ok(())
    }

    fn make(&mut self, device: &str, channel: &str, payload: &[u8]) -> Result<()> {
        let is_reading = channel == Channel::Reading.as_str();
        let (number, content) = if is_reading {
            let reading: Reading = message::decode(payload)?;
            (reading.number()?, reading_text(&reading))
        } else {
            ensure!(channel == Channel::Session.as_str(), "{channel} has no numbers");
            let step: Session = message::decode(payload)?;
            (step.number()?, step_text(&step))
        };
        let Number { boot, seq } = number.context("it has no number")?;
        let name = Name { device: device.to_owned(), boot, seq };
        let made = Made { content, is_reading, acknowledged: false };
        if let Some(before) = self.made.insert(name.clone(), made) {
            self.odd.push(format!("{name} was made twice; first with {}", before.content));
        }
        Ok(())
    }

    fn acknowledge(&mut self, device: &str, ack: Ack) {
        let all = format!("{device} {}/{} to {}", ack.boot, ack.from, ack.to);
        let name = |seq| Name { device: device.to_owned(), boot: ack.boot, seq };
        if ack.from > ack.to {
            self.odd.push(format!("{all} is no range that could be acknowledged"));
            return;
        }
        let mut found = 0;
        for (_, made) in self.made.range_mut(name(ack.from)..=name(ack.to)) {
            made.acknowledged = true;
            found += 1;
        }
        if found != (ack.to - ack.from).saturating_add(1) {
            self.odd.push(format!("{all} are acknowledged, and only {found} of them were made"));
        }
    }
}

fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// A reading's values, a field that it hasn't got as nothing. The lake's rows are written in the same words.
pub fn reading_text(reading: &Reading) -> String {
    let values = reading.values();
    let parts = [
        some(reading.at_us.map(|at| at.0)),
        some(reading.state.map(message::ChargerState::as_str)),
        some(reading.setpoint),
        phases(values.current_ma, |current| current.0),
        phases(values.voltage_mv, |voltage| voltage.0),
        some(values.power_w.map(|power| power.0)),
        some(values.register_wh.map(|energy| energy.0)),
        some(values.soc_percent),
        some(values.temperature_mc),
        some(values.humidity_percent),
        some(values.signal_dbm),
    ];
    parts.join(";")
}

/// A step's values, likewise.
pub fn step_text(step: &Session) -> String {
    let kind = match step.step {
        SessionStep::Plug => "plugged",
        SessionStep::Start => "started",
        SessionStep::End => "ended",
        SessionStep::Unplug => "unplugged",
    };
    let parts = [
        kind.to_owned(),
        some(step.at_us.map(|at| at.0)),
        some(step.register_wh.map(|energy| energy.0)),
        some(step.user.as_ref()),
        some(step.requested_wh.map(|energy| energy.0)),
        some(step.departure_us.map(|at| at.0)),
    ];
    parts.join(";")
}

fn some<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn phases<T: Copy>(values: Option<Phases<T>>, number: fn(T) -> i32) -> String {
    let one = |index| some(values.and_then(|values| values.get(index)).map(number));
    [one(0), one(1), one(2)].join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: &str = r#"made cp-1 reading {"boot":2,"seq":1,"at_us":5,"current_ma":[100,null],"register_wh":7}
made cp-1 session {"boot":2,"seq":2,"step":"start","register_wh":7,"user":"ann"}
"#;

    fn book(text: &str) -> Result<Book> {
        let folder = tempfile::tempdir()?;
        fs::write(path(folder.path(), 3), text)?;
        Book::read(folder.path(), 4)
    }

    fn name(seq: u64) -> Name {
        Name { device: "cp-1".into(), boot: 2, seq }
    }

    #[test]
    fn what_was_made_and_acknowledged_is_read_back() {
        let book = book(&format!("{MADE}acked cp-1 {{\"boot\":2,\"from\":2,\"to\":2}}\n")).expect("sound");
        let (reading, step) = (&book.made[&name(1)], &book.made[&name(2)]);
        assert_eq!((reading.content.as_str(), reading.acknowledged), ("5;;;100;;;;;;;7;;;;", false));
        assert_eq!((step.content.as_str(), step.acknowledged), ("started;;7;ann;;", true));
        assert_eq!((reading.is_reading, step.is_reading), (true, false));
        assert!(book.odd.is_empty(), "{:?}", book.odd);
    }

    #[test]
    fn a_line_that_a_kill_has_cut_says_nothing() {
        let cut = book(&format!("{MADE}acked cp-1 {{\"boot\":2,\"from\":1,\"to\":2}}")).expect("sound");
        assert!(cut.made.values().all(|made| !made.acknowledged));
        assert!(
            book(&format!("{MADE}acked cp-1 {{\"boot\"\n")).is_err(),
            "a whole line has to be understood"
        );
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_made_is_odd() {
        let book = book(&format!("{MADE}acked cp-1 {{\"boot\":2,\"from\":2,\"to\":3}}\n")).expect("sound");
        assert_eq!(book.odd, ["cp-1 2/2 to 3 are acknowledged, and only 1 of them were made"]);
    }

    #[test]
    fn a_number_that_is_used_twice_is_odd() {
        let book = book(&format!("{MADE}{MADE}")).expect("sound");
        assert_eq!(book.odd.len(), 2);
        assert!(book.odd[0].starts_with("cp-1 2/1 was made twice; first with 5;"), "{}", book.odd[0]);
    }

    #[test]
    fn a_writer_writes_what_a_reader_reads_and_begins_no_book_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = Writer::begin(folder.path(), 1).expect("begun");
        writer.made("m", Channel::Reading, br#"{"boot":1,"seq":9}"#).expect("written");
        writer.acknowledged("m", br#"{"boot":1,"from":9,"to":9}"#).expect("written");
        let book = Book::read(folder.path(), 1).expect("sound");
        assert_eq!(book.made.values().filter(|made| made.acknowledged).count(), 1);
        assert!(Writer::begin(folder.path(), 1).is_err());
    }
}
