//! A folder that was copied: a backup that was restored, or a machine that was cloned.
//!
//! The original went on after the copy was made, and gave out numbers that the copy would give out again, for other rows: the
//! lake would take those for what it has. So a copy begins a new life. What it holds of the old one goes into a
//! folder of its own, is a journal there, and goes up under the old life: those are rows of the original, and what the
//! lake has of them it drops.
//!
//! A copy is known by its file `identity`, which says which file it is ([`Disk::file_id`]). An image of a whole file
//! system has the same files; it is known only once the lake is ahead of it, see
//! [`super::JournalError::Ahead`], and then [`declare`] says that it is one.
//!
//! Order: the old life's new `identity` is written first, the one in the copy removed last; cut anywhere between, the
//! next opening does the rest.

use std::path::{Path, PathBuf};

use wattle_wire::uplink::Incarnation;

use super::disk::Disk;
use super::error::{JournalError, io};
use super::log::remove;
use super::stamp::{self, Found, Identity};
use super::{Options, log, seal};

const FORMER: &str = "before-";
/// Says that the folder is a copy, however it looks.
const DECLARED: &str = "restored";

/// The folders of former lives below a journal's folder, in order.
///
/// # Errors
/// When the folder can't be listed.
pub fn former(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().starts_with(FORMER) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a folder is named as [`begin_anew_if_copied`] names those of former lives.
fn is_former(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    let life = name.and_then(|name| name.strip_prefix(FORMER));
    life.is_some_and(|life| life.len() == 32 && u128::from_str_radix(life, 16).is_ok())
}

/// Declares a folder to be a copy: the next opening begins a new life.
pub(super) fn declare(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    super::disk::replace(disk, dir, DECLARED, b"")
}

/// Moves what the folder holds of another journal's life out of the way, if it is a copy of that.
pub(super) fn begin_anew_if_copied(
    disk: &dyn Disk,
    options: &Options,
) -> Result<Option<Incarnation>, JournalError> {
    let dir = &options.dir;
    // Nothing is added to a former life: a copy of one is as good as itself, and goes up under the same life.
    if is_former(dir) {
        return Ok(None);
    }
    let Found::Sound(Identity { incarnation, edge, file }) = stamp::read_identity(disk, dir) else {
        return Ok(None);
    };
    let declared = disk.file_id(&dir.join(DECLARED)).is_ok();
    // A file system that can't tell says nothing against the folder.
    let Ok(found) = disk.file_id(&dir.join(stamp::IDENTITY)) else { return Ok(None) };
    if edge != options.edge || !(declared || file.is_some_and(|file| file != found)) {
        return Ok(None);
    }
    tracing::error!(
        dir = %dir.display(),
        former = %incarnation,
        "the journal's folder is a copy, as of a restored backup: it begins a new life, and what it has goes up under the old one"
    );
    let former = dir.join(format!("{FORMER}{incarnation}"));
    disk.make_dir(&former).map_err(io("made", &former))?;
    stamp::write_identity(disk, &former, &edge, incarnation)?;
    for (name, _) in disk.list(dir).map_err(io("listed", dir))? {
        let kept = [stamp::COMMITTED, stamp::CHECKPOINT].contains(&name.as_str());
        if kept || log::parse_name(&name).is_some() || seal::parse_name(&name).is_some() {
            let (from, to) = (dir.join(&name), former.join(&name));
            disk.rename(&from, &to).map_err(io("moved", &from))?;
        }
    }
    disk.sync_dir(&former).map_err(io("synced", &former))?;
    disk.sync_dir(dir).map_err(io("synced", dir))?;
    remove(disk, &dir.join(DECLARED))?;
    remove(disk, &dir.join(stamp::IDENTITY))?;
    disk.sync_dir(dir).map_err(io("synced", dir))?;
    Ok(Some(incarnation))
}
