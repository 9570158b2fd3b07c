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
//! A new life is begun in steps, each on the disk before the next, but for the first, which the second makes last as well; the
//! opening after a cut does the rest:
//! 1. `restored` says which life ends, after which number, and which begins, and which file it is itself.
//! 2. The former life's folder gets its `identity` and a `restored` that stays, then the files. None is written over.
//! 3. `identity` goes.
//! 4. What belongs to the new life comes back under new numbers.
//! 5. `handed` and then `identity` are written for the new life, and last `restored` goes.
//!
//! The folder may be copied between two of these steps. The original goes on as the new life that `restored` names; so the
//! copy doesn't, which `restored` tells by being another file than it says: where nothing of that life is there yet, one more
//! takes its place, and else the copy finishes it and ends it as its former one.
//!
//! Where `restored` is damaged by then, that of the former life's folder says the same, from the second step on.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wattle_wire::Micros;
use wattle_wire::uplink::Incarnation;

use super::disk::{Disk, RealDisk, replace};
use super::error::{JournalError, io};
use super::log::{self, Place, remove};
use super::position;
use super::stamp::{self, Found, Identity, RESTORED};
use super::tail::Tail;
use super::{Options, seal};

const FORMER: &str = "before-";

/// The folders of former lives below a journal's folder, the oldest life first.
///
/// # Errors
/// When the folder can't be listed.
pub fn former(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let folders = RealDisk.folders(dir)?.into_iter().filter(|name| name.starts_with(FORMER));
    let mut found: Vec<_> = folders.map(|name| dir.join(name)).collect();
    in_order(&RealDisk, &mut found);
    Ok(found)
}

/// Whether a folder is that of a former life, by its name.
pub fn is_former(dir: &Path) -> bool {
    dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(FORMER))
}

/// Puts the folders of former lives in the order of these: each tells which life came after it, but for those of older
/// versions, which come first.
pub fn in_order(disk: &dyn Disk, folders: &mut [PathBuf]) {
    let follows = |dir: &PathBuf| match stamp::read_restored(disk, dir) {
        Found::Sound(stamp::Restored { former, new, .. }) => Some((former, new)),
        _ => None,
    };
    let next: BTreeMap<_, _> = folders.iter().filter_map(follows).collect();
    // How many lives came after one, of those that are here; no more than there are, should they go round in a circle.
    let later = |dir: &PathBuf| {
        let first = follows(dir).map(|(_, new)| new);
        std::iter::successors(first, |life| next.get(life).copied()).take(next.len()).count()
    };
    folders.sort_by_cached_key(|dir| (follows(dir).is_some(), Reverse(later(dir)), dir.clone()));
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
    /// Whether the folder was copied while this change was on its way: then the original goes on as `new`.
    is_copied: bool,
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
        (Found::Sound(identity), declared) => {
            let Some(change) = change_of(&**disk, options, &identity, declared)? else { return Ok(None) };
            if change.new == identity.incarnation {
                end(&**disk, dir)?;
                return Ok(Some(change.former));
            }
            move_out(&**disk, options, &change)?;
            change
        }
        (Found::Nothing, Declared::Begun(change)) => change,
        (Found::Nothing, Declared::Yes) => match told_of_nameless(&**disk, dir)? {
            Some(change) => change,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    take_over(disk, options, &change, now)?;
    if change.is_copied {
        // All of it bears the name of the original's life now, and ends that.
        return begin_anew_if_copied(disk, options, now);
    }
    end(&**disk, dir)?;
    Ok(Some(change.former))
}

/// The change that a journal with a name is in, or has to begin; none where it is what it was.
fn change_of(
    disk: &dyn Disk,
    options: &Options,
    identity: &Identity,
    declared: Declared,
) -> Result<Option<Change>, JournalError> {
    let (dir, life) = (&options.dir, identity.incarnation);
    let is_other = is_other(disk, &dir.join(stamp::IDENTITY), identity.file);
    let declared = match declared {
        Declared::Yes => told_of(disk, dir, life).map_or(Declared::Yes, Declared::Begun),
        told => told,
    };
    let cut = match declared {
        Declared::No if !is_other => return Ok(None),
        Declared::Begun(change) if change.new == life && !is_other && !change.is_copied => {
            return Ok(Some(change));
        }
        Declared::Begun(change) if change.former == life && !change.is_copied => return Ok(Some(change)),
        // Nothing of the life that the original goes on with is here yet.
        Declared::Begun(change) if change.former == life => change.cut,
        // Of a backup nothing is its own yet; an image has been run.
        Declared::No => u64::MAX,
        Declared::Begun(change) if change.new == life => u64::MAX,
        _ => handed(disk, dir, life).unwrap_or(u64::MAX),
    };
    begin(disk, options, life, cut).map(Some)
}

/// Whether a file isn't the one that it says to be. A file system that can't tell says nothing against it.
fn is_other(disk: &dyn Disk, path: &Path, says: Option<u128>) -> bool {
    says.zip(disk.file_id(path).ok()).is_some_and(|(says, found)| says != found)
}

/// One that can't be read may say anything: no guess is made then.
fn read_declared(disk: &dyn Disk, dir: &Path) -> Result<Declared, JournalError> {
    let path = dir.join(RESTORED);
    match disk.read_begin(&path, 1) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Declared::No),
        Err(error) => return Err(io("read", &path)(error)),
        Ok(_) => {}
    }
    Ok(told_in(disk, dir).map_or(Declared::Yes, Declared::Begun))
}

/// The change that the file `restored` of a folder tells, if it is sound.
fn told_in(disk: &dyn Disk, dir: &Path) -> Option<Change> {
    let Found::Sound(found) = stamp::read_restored(disk, dir) else { return None };
    let stamp::Restored { former, cut, new, file } = found;
    let is_copied = is_other(disk, &dir.join(RESTORED), file);
    Some(Change { former, cut, new, is_copied })
}

/// What the folder of a life tells of its end.
fn told_of(disk: &dyn Disk, dir: &Path, former: Incarnation) -> Option<Change> {
    told_in(disk, &folder_of(dir, former)).filter(|change| change.former == former)
}

/// The change that a journal is in which has no name: the last of those that the folders of its former lives tell. One that was
/// opened since then has written how far the lake is.
fn told_of_nameless(disk: &dyn Disk, dir: &Path) -> Result<Option<Change>, JournalError> {
    let is_open = disk.file_id(&dir.join(stamp::COMMITTED)).is_ok();
    let folders = disk.folders(dir).map_err(io("listed", dir))?;
    let lives = folders.iter().filter_map(|name| u128::from_str_radix(name.strip_prefix(FORMER)?, 16).ok());
    let mut last = lives.filter_map(|life| told_of(disk, dir, Incarnation(life)));
    Ok(last.find(|change| !is_open && told_of(disk, dir, change.new).is_none()))
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
    stamp::write_restored(disk, dir, former, cut, new)?;
    Ok(Change { former, cut, new, is_copied: false })
}

fn folder_of(dir: &Path, former: Incarnation) -> PathBuf {
    dir.join(format!("{FORMER}{former}"))
}

/// Moves what the folder holds of its former life into a folder of that.
fn move_out(disk: &dyn Disk, options: &Options, change: &Change) -> Result<(), JournalError> {
    let (dir, life) = (&options.dir, change.former);
    let former = folder_of(dir, life);
    disk.make_dir(&former).map_err(io("made", &former))?;
    stamp::write_identity(disk, &former, &options.edge, life)?;
    stamp::write_restored(disk, &former, life, change.cut, change.new)?;
    disk.sync_dir(&former).map_err(io("synced", &former))?;
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

/// Ends a change whose new life has its name. Should `restored` come back after that, it is ended again.
fn end(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    disk.sync_dir(dir).map_err(io("synced", dir))?;
    remove(disk, &dir.join(RESTORED))
}
