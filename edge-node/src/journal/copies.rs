//! A folder that was copied: a backup that was restored, or a machine that was cloned.
//!
//! The original went on after the copy was made, and gave out numbers that the copy would give out again, for other rows: the
//! lake would take those for what it has. So a copy begins a new life. What it holds of the old one goes into a
//! folder of its own, is a journal there, and goes up under the old life: those are rows of the original, and what the
//! lake has of them it drops.
//!
//! A copy is known by its file `identity`, which says which file it is ([`Disk::file_id`]). An image of a whole file
//! system has the same files; it is known only once the lake is ahead of what it has handed out, see
//! [`super::JournalError::Ahead`], and then [`declare`] says that it is one. By then it has taken rows of its own, under
//! numbers that the original has given to others. What was never handed out of such a folder is moved into the new
//! life (`tail`), so that the lake takes it: nothing of it is lost. What the original had not handed out yet when the image was
//! made is among it, and comes to the lake a second time if the original has sent it.
//!
//! # Order
//! A new life is begun in steps, each on the disk before the next; the opening after a cut does the rest:
//! 1. `restored` says which life ends, after which number, and which begins.
//! 2. The former life's folder gets its `identity`, then the files. None is written over.
//! 3. `identity` goes.
//! 4. What belongs to the new life comes back under new numbers.
//! 5. `handed` and then `identity` are written for the new life, and last `restored` goes.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wattle_wire::Micros;
use wattle_wire::uplink::Incarnation;

use super::disk::{Disk, replace};
use super::error::{JournalError, io};
use super::log::{self, Place, remove};
use super::position;
use super::stamp::{self, Found, RESTORED};
use super::tail::Tail;
use super::{Options, seal};

const FORMER: &str = "before-";

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

/// Declares a folder to be a copy: the next opening begins a new life.
pub(super) fn declare(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    replace(disk, dir, RESTORED, b"")
}

/// A change of lives.
struct Change {
    former: Incarnation,
    /// The last entry that stays in the former life.
    cut: u64,
    new: Incarnation,
}

/// What the file `restored` says.
enum Declared {
    /// It isn't there.
    No,
    /// That the folder is a copy.
    Yes,
    /// Also that its new life is on its way.
    Begun(Change),
}

/// Begins a new life if the folder is a copy, or goes on with it. Gives the former one.
pub(super) fn begin_anew_if_copied(
    disk: &Arc<dyn Disk>,
    options: &Options,
    now: Micros,
) -> Result<Option<Incarnation>, JournalError> {
    let dir = &options.dir;
    // Nothing is added to a former life: a copy of one is as good as itself, and goes up under the same life.
    if options.is_former {
        return Ok(None);
    }
    let declared = read_declared(&**disk, dir)?;
    let change = match (stamp::read_identity(&**disk, dir), declared) {
        (Found::Sound(identity), _) if identity.edge != options.edge => return Ok(None),
        (Found::Sound(identity), Declared::Begun(change)) if identity.incarnation == change.new => {
            end(&**disk, dir)?;
            return Ok(Some(change.former));
        }
        (Found::Sound(identity), declared) => {
            // A file system that can't tell says nothing against the folder.
            let found = disk.file_id(&dir.join(stamp::IDENTITY)).ok();
            let is_other = identity.file.zip(found).is_some_and(|(file, found)| file != found);
            let change = match declared {
                Declared::No if !is_other => return Ok(None),
                Declared::Begun(change) if change.former == identity.incarnation => change,
                // Of a backup nothing is its own yet; an image has been run.
                Declared::No => begin(&**disk, options, identity.incarnation, u64::MAX)?,
                _ => {
                    let cut = handed(&**disk, dir, identity.incarnation).unwrap_or(u64::MAX);
                    begin(&**disk, options, identity.incarnation, cut)?
                }
            };
            move_out(&**disk, options, change.former)?;
            change
        }
        (Found::Nothing, Declared::Begun(change)) => change,
        _ => return Ok(None),
    };
    take_over(disk, options, &change, now)?;
    end(&**disk, dir)?;
    Ok(Some(change.former))
}

/// One that can't be read may say anything: no guess is made then.
fn read_declared(disk: &dyn Disk, dir: &Path) -> Result<Declared, JournalError> {
    let path = dir.join(RESTORED);
    match disk.read_begin(&path, 1) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Declared::No),
        Err(error) => return Err(io("read", &path)(error)),
        Ok(_) => {}
    }
    let Found::Sound((former, cut, new)) = stamp::read_any_position(disk, dir, RESTORED) else {
        return Ok(Declared::Yes);
    };
    let new = new.first_chunk::<16>().map(|number| Incarnation(u128::from_le_bytes(*number)));
    Ok(new.map_or(Declared::Yes, |new| Declared::Begun(Change { former, cut, new })))
}

/// The last entry that the uplink may have got; none where the journal doesn't say it.
fn handed(disk: &dyn Disk, dir: &Path, incarnation: Incarnation) -> Option<u64> {
    let position = |name| match stamp::read_position(disk, dir, name, incarnation) {
        Found::Sound((sequence, _)) => Some(sequence),
        _ => None,
    };
    Some(position(stamp::HANDED)?.max(position(stamp::COMMITTED).unwrap_or(0)))
}

fn begin(disk: &dyn Disk, options: &Options, former: Incarnation, cut: u64) -> Result<Change, JournalError> {
    let dir = &options.dir;
    tracing::error!(
        dir = %dir.display(),
        former = %former,
        "the journal's folder is a copy, as of a restored backup: it begins a new life, and what it has goes up under the old one"
    );
    let new = options.life.unwrap_or_else(|| Incarnation(rand::random()));
    stamp::write_position(disk, dir, RESTORED, former, cut, &new.0.to_le_bytes())?;
    Ok(Change { former, cut, new })
}

fn folder_of(dir: &Path, former: Incarnation) -> PathBuf {
    dir.join(format!("{FORMER}{former}"))
}

/// Moves what the folder holds of its former life into a folder of that.
fn move_out(disk: &dyn Disk, options: &Options, life: Incarnation) -> Result<(), JournalError> {
    let dir = &options.dir;
    let former = folder_of(dir, life);
    disk.make_dir(&former).map_err(io("made", &former))?;
    stamp::write_identity(disk, &former, &options.edge, life)?;
    for (name, _) in disk.list(dir).map_err(io("listed", dir))? {
        let is_position = [stamp::COMMITTED, stamp::HANDED, stamp::CHECKPOINT].contains(&name.as_str());
        if is_position || log::parse_name(&name).is_some() || seal::parse_name(&name).is_some() {
            let (from, to) = (dir.join(&name), former.join(&name));
            if disk.file_id(&to).is_ok() {
                return Err(JournalError::Occupied { path: to });
            }
            disk.rename(&from, &to).map_err(io("moved", &from))?;
        }
    }
    disk.sync_dir(&former).map_err(io("synced", &former))?;
    disk.sync_dir(dir).map_err(io("synced", dir))?;
    remove(disk, &dir.join(stamp::IDENTITY))?;
    disk.sync_dir(dir).map_err(io("synced", dir))
}

/// Gives the new life what is its own, and its name.
fn take_over(
    disk: &Arc<dyn Disk>,
    options: &Options,
    change: &Change,
    now: Micros,
) -> Result<(), JournalError> {
    let place = |dir: &Path, incarnation| Place { disk: disk.clone(), dir: dir.into(), incarnation };
    let dir = &options.dir;
    let (former, new) = (place(&folder_of(dir, change.former), change.former), place(dir, change.new));
    if change.cut < u64::MAX {
        Tail { former, new, edge: options.edge.clone(), cut: change.cut, now }.take_over()?;
    }
    position::make(&place(dir, change.new), stamp::HANDED, 0)?;
    stamp::write_identity(&**disk, dir, &options.edge, change.new)
}

fn end(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    remove(disk, &dir.join(RESTORED))?;
    disk.sync_dir(dir).map_err(io("synced", dir))
}
