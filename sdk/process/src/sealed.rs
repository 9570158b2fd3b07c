//! Small files that have to survive a power cut whole, or be known not to have.
//!
//! The first line is the SHA-256 of what follows, hexadecimal. A file is written under another name, synced, given its name, and the
//! folder is synced; so what is there under its name is what was written before or what was written last.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

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
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let told = bytes.drain(..=end).take(end).collect::<Vec<u8>>();
    if told == hex(&Sha256::digest(&bytes)).as_bytes() { Ok(bytes) } else { Err(damaged()) }
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
        }
        let whole = fs::read(&path).expect("there");
        for at in [0, 64, 65, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("written");
            assert_eq!(read(&path).expect_err("damaged").kind(), io::ErrorKind::InvalidData, "{at}");
        }
        for length in [0, 10, 64, 65, whole.len() - 1] {
            fs::write(&path, &whole[..length]).expect("written");
            assert!(read(&path).is_err(), "{length}");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}
