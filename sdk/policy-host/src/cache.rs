//! Compiled code on the disk, so that a start needn't compile.
//!
//! One file per component, `<SHA-256 of the component>.code`, in a folder of the cache's own:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | [`MAGIC`], with the version of this layout |
//! | 32 | the maker: SHA-256 over the runtime's version, the target and every setting that compiled code depends on |
//! | 32 | SHA-256 of the component |
//! | 32 | the seal: SHA-256 over all of the above and the code |
//! | rest | the code |
//!
//! Compiled code runs with all that the process may do, so what is not known to be ours never reaches the runtime:
//!
//! - The folder is made for its owner alone. One that belongs to another user, or that others may write, is refused: the
//!   host then works without a cache.
//! - An entry is read only if it is a plain file of the same owner that nobody else may write, at most
//!   [`MOST_ENTRY_BYTES`] long.
//! - An entry of another maker or component is passed over, and so is one whose seal doesn't fit; the component is then
//!   compiled, and the new entry takes the place of the old one.
//! - The seal finds damage. It is no signature: who may write as this user could make one that fits, and could as well
//!   change the journal or trace the process. So a cache is never copied from elsewhere, and belongs to one data folder.
//!
//! Entries are written under another name, synced and renamed, so that there is never half of one. There are at most
//! [`MOST_ENTRIES`] of [`MOST_BYTES`] together; the one that was written first makes room. A cache that can't be written costs time at the next
//! start, nothing else.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{Digest, hex};

/// The first bytes of an entry.
const MAGIC: &[u8; 16] = b"wattle-policy-1\n";
const HEADER_BYTES: usize = MAGIC.len() + 3 * 32;
/// The largest entry; what compiles to more is compiled at each start. A guest with Python in it comes to 45 MB.
pub const MOST_ENTRY_BYTES: usize = 96 << 20;
/// The most bytes of all entries.
pub const MOST_BYTES: u64 = 512 << 20;
/// The most entries.
pub const MOST_ENTRIES: usize = 16;

const OWNER_ONLY_FOLDER: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;
const OTHERS_MAY_WRITE: u32 = 0o022;

/// Why a folder is not used as a cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder can't be made or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put code there.
    #[error("{} is no folder of this user's own that nobody else may write; remove it, and it is made anew", .0.display())]
    Foreign(PathBuf),
}

/// A folder with compiled code.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// The user that this process writes as.
    owner: u32,
}

/// Compiled code whose entry was found whole and made by the engine that asked.
pub(crate) struct Sealed {
    entry: Vec<u8>,
}

impl Cache {
    /// Opens the folder, and makes it if it isn't there.
    ///
    /// # Errors
    /// When it can't be made or written, or others could write there.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError::Io { path: folder.into(), source };
        DirBuilder::new().recursive(true).mode(OWNER_ONLY_FOLDER).create(folder).map_err(failed)?;
        let owner = writes_as(folder).map_err(failed)?;
        let found = fs::symlink_metadata(folder).map_err(failed)?;
        if !found.is_dir() || found.uid() != owner || found.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(CacheError::Foreign(folder.into()));
        }
        Ok(Self { folder: folder.into(), owner })
    }

    /// The code of a component, if there is an entry of this maker; what is wrong with the entry, if something is.
    pub(crate) fn read(&self, component: &Digest, maker: &Digest) -> Result<Option<Sealed>, String> {
        let path = self.path(component);
        let bytes = match self.read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        open(bytes, component, maker).map(Some).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Keeps the code of a component.
    pub(crate) fn write(&self, component: &Digest, maker: &Digest, code: &[u8]) -> io::Result<()> {
        if code.len() > MOST_ENTRY_BYTES - HEADER_BYTES {
            return Ok(());
        }
        self.make_room(component, (HEADER_BYTES + code.len()) as u64)?;
        let unfinished = self.folder.join(format!("{}.new", hex(component)));
        let mut file = own_file(&unfinished)?;
        file.write_all(&header(component, maker, code))?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path(component))?;
        File::open(&self.folder)?.sync_all()
    }

    fn path(&self, component: &Digest) -> PathBuf {
        self.folder.join(format!("{}.code", hex(component)))
    }

    fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::other("is no plain file"));
        }
        let file = File::open(path)?;
        // Of the file that was opened, whatever has its name by now.
        let found = file.metadata()?;
        if !found.is_file() || found.uid() != self.owner || found.mode() & OTHERS_MAY_WRITE != 0 {
            return Err(io::Error::other("others could have written it"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_ENTRY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > MOST_ENTRY_BYTES {
            return Err(io::Error::other(format!("is longer than {MOST_ENTRY_BYTES} bytes")));
        }
        Ok(bytes)
    }

    /// Removes what was written first until one more entry of so many bytes fits, and what an interrupted write has left. What has
    /// no name of the cache's own is nobody's business here.
    fn make_room(&self, component: &Digest, bytes: u64) -> io::Result<()> {
        let own = self.path(component);
        let mut entries = Vec::new();
        for found in fs::read_dir(&self.folder)? {
            let found = found?;
            let path = found.path();
            match ending(&found.file_name()) {
                _ if found.file_type()?.is_dir() => {}
                Some(Ending::New) => fs::remove_file(&path)?,
                Some(Ending::Code) if path != own => {
                    let about = found.metadata()?;
                    entries.push((about.modified()?, path, about.len()));
                }
                _ => {}
            }
        }
        entries.sort();
        let (mut count, mut all) = (entries.len() + 1, bytes);
        all += entries.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        for (_, path, bytes) in entries {
            if count <= MOST_ENTRIES && all <= MOST_BYTES {
                break;
            }
            fs::remove_file(path)?;
            (count, all) = (count - 1, all - bytes);
        }
        Ok(())
    }
}

/// What a name of the cache's own ends in.
enum Ending {
    /// An entry.
    Code,
    /// One that is being written.
    New,
}

/// The ending of a name that a component's entry may have; none for any other name.
fn ending(name: &OsStr) -> Option<Ending> {
    let (digest, ending) = name.to_str()?.split_once('.')?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match ending {
        "code" if is_digest => Some(Ending::Code),
        "new" if is_digest => Some(Ending::New),
        _ => None,
    }
}

/// What compiles: the runtime's version, the target and the settings, as one digest.
pub(crate) fn maker(engine: &Engine) -> Digest {
    struct Everything(Sha256);
    impl Hasher for Everything {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut everything = Everything(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut everything);
    everything.0.finalize().into()
}

/// Makes a component of compiled code.
pub(crate) fn revive(engine: &Engine, sealed: &Sealed) -> wasmtime::Result<Component> {
    let code = &sealed.entry[HEADER_BYTES..];
    // SAFETY: `deserialize` wants, unchanged, what a compatible engine has serialized. Only `open` makes a `Sealed`, and
    // only of an entry whose seal fits and whose maker is this engine's; and `Cache` reads entries only from files that
    // nobody but the user of this process may write.
    unsafe { Component::deserialize(engine, code) }
}

/// The user whom files made by this process belong to.
fn writes_as(folder: &Path) -> io::Result<u32> {
    let probe = folder.join(format!("{}.new", std::process::id()));
    let file = own_file(&probe)?;
    let owner = file.metadata()?.uid();
    fs::remove_file(&probe)?;
    Ok(owner)
}

/// A new file for its owner alone; never one that is there already, nor what a link leads to.
fn own_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY_FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(OWNER_ONLY_FILE))?;
    Ok(file)
}

fn header(component: &Digest, maker: &Digest, code: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (front, seal) = header.split_at_mut(HEADER_BYTES - 32);
    front[..16].copy_from_slice(MAGIC);
    front[16..48].copy_from_slice(maker);
    front[48..80].copy_from_slice(component);
    seal.copy_from_slice(&Sha256::new().chain_update(&front).chain_update(code).finalize());
    header
}

/// Checks an entry's header and seal.
fn open(entry: Vec<u8>, component: &Digest, maker: &Digest) -> Result<Sealed, &'static str> {
    let Some((found, code)) = entry.split_at_checked(HEADER_BYTES) else { return Err("is cut off") };
    if found[..16] != *MAGIC {
        return Err("is no entry of this layout");
    }
    if found[16..48] != *maker {
        return Err("was made by another version of the runtime, for another target or with other settings");
    }
    if found[48..80] != *component {
        return Err("is of another component");
    }
    if *found != header(component, maker, code) {
        return Err("is damaged");
    }
    Ok(Sealed { entry })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wasmtime::{Config, ModuleVersionStrategy};

    use super::*;

    const COMPONENT: Digest = [7; 32];
    const MAKER: Digest = [9; 32];

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("folder");
        let cache = Cache::open(&folder.path().join("code")).expect("opened");
        (folder, cache)
    }

    fn maker_with(change: impl FnOnce(&mut Config) -> &mut Config) -> Digest {
        let mut config = crate::host::config();
        change(&mut config);
        maker(&Engine::new(&config).expect("this machine compiles for it"))
    }

    fn names(cache: &Cache) -> Vec<String> {
        let entries = fs::read_dir(&cache.folder).expect("folder");
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("text")).collect()
    }

    fn check_refused(cache: &Cache, expected: &str) {
        let error = cache.read(&COMPONENT, &MAKER).err().expect("refused");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn code_that_was_written_is_read_again() {
        let (_folder, cache) = cache();
        assert!(cache.read(&COMPONENT, &MAKER).expect("no error").is_none());
        cache.write(&COMPONENT, &MAKER, b"code").expect("written");
        let sealed = cache.read(&COMPONENT, &MAKER).expect("whole").expect("there");
        assert_eq!(&sealed.entry[HEADER_BYTES..], b"code");
        assert!(cache.read(&[8; 32], &MAKER).expect("no error").is_none());
    }

    #[test]
    fn no_changed_byte_and_no_cut_goes_unnoticed() {
        let (_folder, cache) = cache();
        cache.write(&COMPONENT, &MAKER, b"code").expect("written");
        let path = cache.path(&COMPONENT);
        let whole = fs::read(&path).expect("there");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).expect("written");
            assert!(cache.read(&COMPONENT, &MAKER).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert!(cache.read(&COMPONENT, &MAKER).is_err(), "cut at {at}");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).expect("written");
        check_refused(&cache, "is damaged");
    }

    #[test]
    fn an_entry_of_another_maker_or_component_is_passed_over_though_it_is_whole() {
        let (_folder, cache) = cache();
        cache.write(&COMPONENT, &[1; 32], b"code").expect("written");
        check_refused(&cache, "another version of the runtime");
        cache.write(&[8; 32], &MAKER, b"code").expect("written");
        fs::rename(cache.path(&[8; 32]), cache.path(&COMPONENT)).expect("moved");
        check_refused(&cache, "is of another component");
    }

    #[test]
    fn each_version_of_the_runtime_each_target_and_each_setting_is_another_maker() {
        let own = maker_with(|config| config);
        assert_eq!(maker_with(|config| config), own);
        let version = |text: &str| {
            let version = ModuleVersionStrategy::Custom(text.into());
            maker_with(|config| config.module_version(version).expect("short enough"))
        };
        let target = |system: &str| {
            let target = format!("{}-{system}", std::env::consts::ARCH);
            maker_with(|config| config.target(&target).expect("a target"))
        };
        let others = [
            version("one"),
            version("another"),
            target("apple-darwin"),
            target("unknown-freebsd"),
            maker_with(|config| config.consume_fuel(false)),
            maker_with(|config| config.epoch_interruption(false)),
            maker_with(|config| config.cranelift_nan_canonicalization(false)),
        ];
        let makers: BTreeSet<Digest> = others.into_iter().chain([own]).collect();
        assert_eq!(makers.len(), others.len() + 1, "{makers:?}");
    }

    #[test]
    fn an_entry_that_others_could_have_written_is_not_read() {
        let (folder, cache) = cache();
        cache.write(&COMPONENT, &MAKER, b"code").expect("written");
        let path = cache.path(&COMPONENT);
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, OWNER_ONLY_FILE);
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("changed");
        check_refused(&cache, "others could have written it");
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).expect("moved");
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).expect("changed");
        std::os::unix::fs::symlink(&elsewhere, &path).expect("linked");
        check_refused(&cache, "is no plain file");
    }

    #[test]
    fn a_folder_that_others_may_write_is_no_cache() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("code");
        let cache = Cache::open(&path).expect("opened");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, OWNER_ONLY_FOLDER);
        assert!(names(&cache).is_empty());
        fs::set_permissions(&path, Permissions::from_mode(0o770)).expect("changed");
        assert!(matches!(Cache::open(&path), Err(CacheError::Foreign(_))));
        let link = folder.path().join("link");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("changed");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(matches!(Cache::open(&link), Err(CacheError::Foreign(_))));
        fs::write(folder.path().join("file"), "").expect("written");
        assert!(matches!(Cache::open(&folder.path().join("file")), Err(CacheError::Io { .. })));
    }

    #[test]
    fn the_oldest_entry_makes_room_and_so_does_what_an_interrupted_write_has_left() {
        let (_folder, cache) = cache();
        let first = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for n in 0..MOST_ENTRIES as u8 {
            cache.write(&[n; 32], &MAKER, b"code").expect("written");
            let file = File::open(cache.path(&[n; 32])).expect("there");
            file.set_modified(first + std::time::Duration::from_secs(n.into())).expect("changed");
        }
        fs::write(cache.path(&[99; 32]).with_extension("new"), "x").expect("written");
        // Written again it takes its own place.
        cache.write(&[3; 32], &MAKER, b"code").expect("written");
        assert_eq!(names(&cache).len(), MOST_ENTRIES);
        cache.write(&[100; 32], &MAKER, b"code").expect("written");
        assert_eq!(names(&cache).len(), MOST_ENTRIES);
        assert!(cache.read(&[0; 32], &MAKER).expect("no error").is_none());
        assert!(cache.read(&[1; 32], &MAKER).expect("no error").is_some());
    }

    #[test]
    fn entries_that_are_too_much_together_make_room() {
        let (_folder, cache) = cache();
        let first = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        for n in 0..4 {
            cache.write(&[n; 32], &MAKER, b"code").expect("written");
            let file = File::options().write(true).open(cache.path(&[n; 32])).expect("there");
            // A file of zeros takes no room on the disk.
            file.set_len(MOST_BYTES / 4).expect("grown");
            file.set_modified(first + std::time::Duration::from_secs(n.into())).expect("changed");
        }
        cache.write(&[9; 32], &MAKER, b"code").expect("written");
        let left: Vec<_> = (0..4).filter(|n| cache.path(&[*n; 32]).exists()).collect();
        assert_eq!(left, [1, 2, 3], "the first has made room");
        assert!(cache.read(&[9; 32], &MAKER).expect("no error").is_some());
    }

    #[test]
    fn what_has_no_name_of_the_caches_own_stays() {
        let (_folder, cache) = cache();
        let digest = hex(&[5; 32]);
        let others = [
            "half.new".into(),
            "notes.code".into(),
            digest.clone(),
            format!("{digest}.code.new"),
            format!("{}.code", "g".repeat(64)),
            format!("{}.new", digest[1..].to_owned()),
        ];
        for name in &others {
            fs::write(cache.folder.join(name), "x").expect("written");
        }
        for folder in ["below".into(), format!("{}.new", hex(&[6; 32])), format!("{}.code", hex(&[6; 32]))] {
            fs::create_dir(cache.folder.join(folder)).expect("made");
        }
        for n in 100..101 + MOST_ENTRIES as u8 {
            cache.write(&[n; 32], &MAKER, b"code").expect("written");
        }
        assert_eq!(names(&cache).len(), MOST_ENTRIES + others.len() + 3);
    }

    #[test]
    fn code_that_is_too_long_is_not_kept() {
        let (_folder, cache) = cache();
        cache.write(&COMPONENT, &MAKER, &vec![0; MOST_ENTRY_BYTES]).expect("left out");
        assert!(names(&cache).is_empty());
    }
}
