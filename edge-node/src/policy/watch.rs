//! Sees that the file of a policy has changed, and loads the new version, on a thread of its own.
//!
//! Each file that a site of the node names is looked at every second: its length, its times and its inode. What has
//! changed is read once it has looked the same twice, so that a file that is still being written isn't taken for a
//! broken policy. It is read once for all sites that name it, and compiled once; each site's settings are shown to it. A
//! file that is gone, or can't be looked at, changes nothing. A file that couldn't be read, or a version that the machine
//! was too busy for, is tried again after a pause; each further pause is twice as long.
//!
//! The first look finds every file changed, so a file that was replaced while the node started isn't missed; sites know
//! by the digest that they run it already.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use wattle_policy_host::Host;

use super::retry::Retry;
use super::version::Unusable;
use super::version::read;
use super::{Source, Version};

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes what was found.
pub type Tell = Box<dyn Fn(Result<Version, String>) + Send>;
/// A site with where its policy comes from.
pub type Reader = (Source, Tell);

/// Runs until it is dropped.
pub struct Watch {
    /// Closed by the drop, which ends the thread.
    _running: mpsc::SyncSender<()>,
}

impl Watch {
    /// Starts to look.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(host: Host, readers: Vec<Reader>) -> std::io::Result<Self> {
        let (running, ended) = mpsc::sync_channel::<()>(0);
        let mut files = Files::new(host, readers);
        std::thread::Builder::new().name("policy-watch".into()).spawn(move || {
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                files.look();
            }
        })?;
        Ok(Self { _running: running })
    }
}

/// The files, each with who reads it.
struct Files {
    host: Host,
    files: BTreeMap<PathBuf, (Seen, Vec<(Reader, Retry)>)>,
}

impl Files {
    fn new(host: Host, readers: Vec<Reader>) -> Self {
        let mut files: BTreeMap<PathBuf, (Seen, Vec<_>)> = BTreeMap::new();
        for reader in readers {
            files.entry(reader.0.path().to_owned()).or_default().1.push((reader, Retry::default()));
        }
        Self { host, files }
    }

    /// Looks at each file once, and tells what has changed or what was tried again.
    fn look(&mut self) {
        for (path, (seen, readers)) in &mut self.files {
            let now = Marks::of(path);
            let is_new = seen.is_new(now);
            if !is_new && now != seen.taken {
                continue;
            }
            let due: Vec<_> = readers
                .iter_mut()
                .filter_map(|(reader, retry)| (retry.is_due() || is_new).then_some((reader, retry)))
                .collect();
            if due.is_empty() {
                continue;
            }
            let bytes = read(path, self.host.limits().component_bytes);
            for ((source, tell), retry) in due {
                let found = bytes.as_ref().map_err(Unusable::clone);
                let found = found.and_then(|bytes| source.version(&self.host, bytes));
                if is_new {
                    *retry = Retry::default();
                }
                if found.as_ref().is_err_and(|unusable| unusable.may_pass) {
                    retry.later();
                }
                tell(found.map_err(|unusable| unusable.reason));
            }
        }
    }
}

/// By what a change is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    length: u64,
    seconds: i64,
    nanoseconds: i64,
    /// Of the last change of the file or of what is known of it; it can't be set back.
    changed: (i64, i64),
    inode: u64,
}

impl Marks {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok().filter(|found| found.is_file())?;
        Some(Self {
            length: found.len(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
        })
    }
}

/// What was seen of a file.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Marks>,
    taken: Option<Marks>,
}

impl Seen {
    /// Whether the file is another than the one that was taken last, and stands still; then it is taken.
    fn is_new(&mut self, now: Option<Marks>) -> bool {
        let stands_still = std::mem::replace(&mut self.last, now) == now;
        if !stands_still || now.is_none() || now == self.taken {
            return false;
        }
        self.taken = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::super::tests::{component, host, hostile};
    use super::*;
    use wattle_policy_host::{Limits, Loads};
    use wattle_site::Control;

    /// A site that reads `policies/site.wasm` and is told of what is found.
    fn reader(folder: &Path) -> (Reader, Receiver<Result<Version, String>>) {
        let control = Control { policy: "site".into(), ..Control::default() };
        let source = Source::active(folder, &control).expect("it is on");
        let (say, told) = mpsc::channel();
        ((source, Box::new(move |found| say.send(found).expect("it listens"))), told)
    }

    #[test]
    fn every_site_that_names_a_file_is_told_of_its_change_and_what_it_holds_is_compiled_once() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("site.wasm");
        std::fs::write(&file, component("hostile")).expect("written");
        let (readers, told): (Vec<_>, Vec<_>) = (0..3).map(|_| reader(folder.path())).unzip();
        let mut files = Files::new(host(), readers);
        let mut check = |looks: usize, expected: Option<&str>| {
            (0..looks).for_each(|_| files.look());
            let names: Vec<_> = told
                .iter()
                .map(|told| told.try_recv().ok().map(|found| found.map_or_else(|why| why, |v| v.name())))
                .collect();
            for name in &names {
                match (name, expected) {
                    (Some(name), Some(expected)) => assert!(name.contains(expected), "{name}"),
                    (name, expected) => assert_eq!(name.as_deref(), expected),
                }
            }
            files.host.loads()
        };
        check(1, None);
        assert_eq!(check(1, Some("hostile 1.0.0")), Loads { compiled: 1, from_cache: 0, shared: 2 });
        check(5, None);
        let other = folder.path().join("other");
        std::fs::write(&other, hostile("2.0.0-hostile")).expect("written");
        std::fs::rename(&other, &file).expect("moved");
        assert_eq!(check(2, Some("hostile 2.0.0")).compiled, 2);
        std::fs::write(&file, "no policy").expect("written");
        check(2, Some("site.wasm can't be used: this is no whole WebAssembly component"));
        std::fs::remove_file(&file).expect("removed");
        check(5, None);
    }

    #[test]
    fn what_only_the_busy_machine_refused_is_tried_again_after_pauses_that_double() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("site.wasm"), component("hostile")).expect("written");
        let ((sound, other), (mut late, told)) = (reader(folder.path()), reader(folder.path()));
        let control = "policy = 'site'\npolicy_fuel = 9223372036854775807\nsettings = { way = 'spin' }";
        late.0 = Source::active(folder.path(), &toml::from_str(control).expect("right")).expect("it is on");
        let limits = Limits { deadline: Duration::from_millis(100), fuel: u64::MAX, ..Limits::default() };
        let mut files = Files::new(Host::new(limits).expect("runs"), vec![sound, late]);
        let mut tries = Vec::new();
        for look in 0..20 {
            files.look();
            if let Ok(found) = told.try_recv() {
                let why = found.expect_err("it never ends");
                assert!(why.contains("did not finish within 100ms"), "{why}");
                tries.push(look);
            }
        }
        assert_eq!(tries, [1, 1 + 5, 1 + 5 + 10]);
        assert!(other.try_iter().last().expect("told").is_ok());
        std::fs::write(folder.path().join("site.wasm"), "no policy").expect("written");
        (0..60).for_each(|_| files.look());
        assert_eq!(told.try_iter().count(), 1, "what the bytes are at fault for is not tried again");
    }

    #[test]
    fn a_file_whose_time_was_set_back_has_changed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("site.wasm");
        std::fs::write(&path, "one").expect("written");
        let before = Marks::of(&path);
        let time = std::fs::metadata(&path).and_then(|found| found.modified()).expect("there");
        let mut looks = 0;
        while Marks::of(&path) == before {
            // The clock of a file system may tick slowly.
            std::fs::write(&path, "two").expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(time).expect("changed");
            looks += 1;
            assert!(looks < 100_000, "no change is seen");
        }
    }

    fn marks(length: u64) -> Option<Marks> {
        Some(Marks { length, seconds: 1, nanoseconds: 2, changed: (4, 5), inode: 3 })
    }

    fn check(looks: &[(Option<Marks>, bool)]) {
        let mut seen = Seen::default();
        for (n, (now, expected)) in looks.iter().enumerate() {
            assert_eq!(seen.is_new(*now), *expected, "look {n}");
        }
    }

    #[test]
    fn a_file_is_taken_once_and_again_when_it_has_changed() {
        check(&[
            (marks(1), false),
            (marks(1), true),
            (marks(1), false),
            (marks(2), false),
            (marks(2), true),
            (marks(2), false),
        ]);
    }

    #[test]
    fn a_file_that_grows_is_taken_when_it_is_whole() {
        check(&[(marks(1), false), (marks(2), false), (marks(3), false), (marks(3), true)]);
    }

    #[test]
    fn a_file_that_is_gone_changes_nothing_and_may_come_back() {
        check(&[
            (None, false),
            (None, false),
            (marks(1), false),
            (marks(1), true),
            (None, false),
            (None, false),
            (marks(1), false),
            (marks(1), false),
        ]);
    }

    #[test]
    fn a_file_that_is_put_back_between_two_looks_is_no_change() {
        check(&[
            (marks(1), false),
            (marks(1), true),
            (marks(2), false),
            (marks(1), false),
            (marks(1), false),
        ]);
    }
}
