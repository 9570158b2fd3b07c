//! Small files that have to survive a power cut whole, or be known not to have.
//!
//! The first line is the SHA-256 of what follows, hexadecimal. A file is written under another name, synced, given its name, and the
//! folder is synced; so what is there under its name is what was written before or what was written last.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Take, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The digest and its line feed.
const DIGEST_LINE: usize = 65;

/// Writes a file; when this returns it is on the disk.
///
/// # Errors
/// When the disk doesn't take it; what was there before still is.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_added_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{}", hex(&Sha256::digest(bytes)))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder(path)
}

/// Makes the names in a file's folder durable.
///
/// # Errors
/// When the disk fails.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Reads a file that [`write()`] has written.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when it is damaged; others when it can't be read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let told = bytes.drain(..=end).take(end).collect::<Vec<u8>>();
    if told == hex(&Sha256::digest(&bytes)).as_bytes() { Ok(bytes) } else { Err(damaged()) }
}

/// A file that [`write()`] has written and that was whole when it was opened; reads what stands in it. Whoever replaces the file meanwhile
/// changes nothing for who reads this.
#[derive(Debug)]
pub struct Sealed {
    file: Take<File>,
    length: u64,
}

impl Sealed {
    /// The bytes that stand in it.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Opens a file that [`write()`] has written, to be read bit by bit.
///
/// # Errors
/// As [`read()`].
pub fn open(path: &Path) -> io::Result<Sealed> {
    let mut file = File::open(path)?;
    let mut told = [0; DIGEST_LINE];
    let mut digest = Sha256::new();
    let read = file.read_exact(&mut told).and_then(|()| io::copy(&mut file, &mut digest));
    let length = read.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged(),
        _ => error,
    })?;
    if told[..] != *format!("{}\n", hex(&digest.finalize())).as_bytes() {
        return Err(damaged());
    }
    file.seek(SeekFrom::Start(DIGEST_LINE as u64))?;
    Ok(Sealed { file: file.take(length), length })
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is damaged")
}

/// Bytes as two small hexadecimal digits each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_back_and_what_was_changed_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept");
        for bytes in [&b""[..], b"a\nb", &[0; 10_000]] {
            write(&path, bytes).expect("written");
            assert_eq!(read(&path).expect("whole"), bytes);
            let mut opened = open(&path).expect("whole");
            assert_eq!(
                (opened.length(), in_threes(&mut opened).expect("read")),
                (bytes.len() as u64, bytes.to_vec())
            );
        }
        let whole = fs::read(&path).expect("there");
        for at in [0, 64, 65, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("written");
            let kinds =
                [read(&path).map(drop), open(&path).map(drop)].map(|read| read.expect_err("damaged").kind());
            assert_eq!(kinds, [io::ErrorKind::InvalidData; 2], "{at}");
        }
        for length in [0, 10, 64, 65, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("written");
            let kinds =
                [read(&path).map(drop), open(&path).map(drop)].map(|read| read.expect_err("cut").kind());
            assert_eq!(kinds, [io::ErrorKind::InvalidData; 2], "{length}");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn what_was_opened_is_read_to_its_end_whatever_takes_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept");
        write(&path, b"the first").expect("written");
        let mut opened = open(&path).expect("whole");
        write(&path, b"another").expect("written");
        assert_eq!(in_threes(&mut opened).expect("read"), b"the first");
        assert_eq!(open(&path.with_extension("none")).expect_err("none").kind(), io::ErrorKind::NotFound);
    }

    fn in_threes(sealed: &mut Sealed) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 3]);
        loop {
            match sealed.read(&mut buffer)? {
                0 => return Ok(all),
                read => all.extend_from_slice(&buffer[..read]),
            }
        }
    }
}
