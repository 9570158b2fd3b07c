//! What can't be read is kept aside for whoever wants to look, in `aside/`, the newest 16 files.

use std::path::PathBuf;

use super::error::{JournalError, io};
use super::log::{Place, remove};

const FOLDER: &str = "aside";
const MAX_FILES: usize = 16;

/// Moves a file of the journal aside, if it is there; where it is then.
pub(super) fn move_file(place: &Place, name: &str) -> Result<PathBuf, JournalError> {
    let path = place.dir.join(name);
    let target = free_name(place, name, &kept(place)?)?;
    match place.disk.rename(&path, &target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("set aside", &path)(error)),
        _ => Ok(target),
    }
}

/// Keeps a copy of some bytes aside, unless one of that name is there already.
pub(super) fn keep_bytes(place: &Place, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    let kept = kept(place)?;
    if kept.iter().any(|file| file.split_once('-').is_some_and(|(_, rest)| rest == name)) {
        return Ok(());
    }
    let path = free_name(place, name, &kept)?;
    let mut file = place.disk.create(&path).map_err(io("created", &path))?;
    file.write_at(0, bytes).map_err(io("written", &path))
}

/// What is there, the oldest first.
fn kept(place: &Place) -> Result<Vec<String>, JournalError> {
    let dir = place.dir.join(FOLDER);
    place.disk.make_dir(&dir).map_err(io("made", &dir))?;
    let mut kept: Vec<_> =
        place.disk.list(&dir).map_err(io("listed", &dir))?.into_iter().map(|f| f.0).collect();
    kept.sort();
    Ok(kept)
}

/// The next place for what was called `name`. Makes room first.
fn free_name(place: &Place, name: &str, kept: &[String]) -> Result<PathBuf, JournalError> {
    let dir = place.dir.join(FOLDER);
    let surplus = (kept.len() + 1).saturating_sub(MAX_FILES);
    for file in kept.iter().take(surplus) {
        remove(&*place.disk, &dir.join(file))?;
    }
    let number =
        kept.last().and_then(|file| file.split_once('-')?.0.parse::<u32>().ok()).map_or(0, |n| n + 1);
    Ok(dir.join(format!("{number:08}-{name}")))
}
