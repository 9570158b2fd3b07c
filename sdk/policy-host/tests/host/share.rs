//! Code that is shared, in memory and on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{component, hostile, snapshot};
use wattle_policy_host::{Cache, Host, Limits, LoadError, Loads};
use wattle_wire::Milliamps;

const COMPILED: Loads = Loads { compiled: 1, from_cache: 0, shared: 0 };
const FROM_CACHE: Loads = Loads { compiled: 0, from_cache: 1, shared: 0 };

fn host(folder: &Path) -> Host {
    let deadline = std::time::Duration::from_secs(20);
    let cache = Cache::open(&folder.join("code")).expect("opened");
    Host::with_cache(Limits { deadline, ..Limits::default() }, cache).expect("runs")
}

/// Loads a component on a host of its own and lets it decide; how it was loaded.
fn loads(folder: &Path, bytes: &[u8]) -> Loads {
    let host = host(folder);
    let decided = host.load(bytes).expect("sound").decide(&snapshot(3, Milliamps(40_000)), "", &[]);
    assert!(decided.is_ok());
    host.loads()
}

fn entry(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder.join("code")).expect("folder");
    let entry = entries.next().expect("an entry").expect("readable").path();
    assert!(entries.next().is_none());
    entry
}

#[test]
fn two_sites_share_one_compiled_policy() {
    let host = crate::common::host();
    let bytes = component("equal-share");
    let sites: Vec<_> = (0..1000).map(|_| host.load(&bytes).expect("sound")).collect();
    assert_eq!(host.loads(), Loads { compiled: 1, from_cache: 0, shared: 999 });
    assert!(sites[999].decide(&snapshot(3, Milliamps(40_000)), "", &[]).is_ok());
}

#[test]
fn a_policy_that_many_threads_load_at_once_is_compiled_once() {
    let host = crate::common::host();
    let bytes = component("equal-share");
    std::thread::scope(|scope| {
        let loading: Vec<_> = (0..4).map(|_| scope.spawn(|| host.load(&bytes).expect("sound"))).collect();
        let _kept: Vec<_> = loading.into_iter().map(|one| one.join().expect("loaded")).collect();
    });
    assert_eq!(host.loads(), Loads { compiled: 1, from_cache: 0, shared: 3 });
}

#[test]
fn code_goes_with_its_last_user() {
    let host = crate::common::host();
    drop(host.load(&component("equal-share")).expect("sound"));
    drop(host.load(&component("equal-share")).expect("sound"));
    assert_eq!(host.loads(), Loads { compiled: 2, from_cache: 0, shared: 0 });
}

#[test]
fn what_can_not_be_loaded_is_refused_again_with_the_same_reason_and_bars_nothing_else() {
    let host = crate::common::host();
    let mut bytes = component("equal-share");
    bytes.truncate(bytes.len() - 1);
    let first = host.load(&bytes).expect_err("cut off");
    assert!(matches!(first, LoadError::Malformed(_)), "{first}");
    assert_eq!(host.load(&bytes).expect_err("cut off"), first);
    assert!(host.load(&component("equal-share")).is_ok());
}

#[test]
fn a_restart_takes_the_code_from_the_disk_and_decides_the_same() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = component("equal-share");
    assert_eq!(loads(folder.path(), &bytes), COMPILED);
    assert_eq!(loads(folder.path(), &bytes), FROM_CACHE);
    let site = snapshot(50, Milliamps(90_000));
    let decide = |host: Host| host.load(&bytes).expect("sound").decide(&site, "", &[]).expect("it decides");
    assert_eq!(decide(host(folder.path())), decide(crate::common::host()));
}

#[test]
fn a_damaged_cache_entry_is_rebuilt() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = component("equal-share");
    loads(folder.path(), &bytes);
    let whole = fs::read(entry(folder.path())).expect("there");
    for damage in 0..4 {
        let mut damaged = whole.clone();
        match damage {
            0 => damaged[whole.len() / 2] ^= 1,
            1 => damaged.truncate(whole.len() / 2),
            2 => damaged.clear(),
            _ => damaged.fill(0xff),
        }
        fs::write(entry(folder.path()), &damaged).expect("written");
        assert_eq!(loads(folder.path(), &bytes), COMPILED, "damage {damage}");
        assert!(fs::read(entry(folder.path())).expect("there") == whole, "the same code again");
    }
    assert_eq!(loads(folder.path(), &bytes), FROM_CACHE);
}

#[test]
fn a_cache_entry_of_another_wasmtime_version_is_ignored() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = component("equal-share");
    loads(folder.path(), &bytes);
    // Whole and sealed, but for its maker.
    let mut foreign = fs::read(entry(folder.path())).expect("there");
    foreign[16] ^= 1;
    seal(&mut foreign);
    fs::write(entry(folder.path()), &foreign).expect("written");
    assert_eq!(loads(folder.path(), &bytes), COMPILED);
    assert_eq!(loads(folder.path(), &bytes), FROM_CACHE, "rebuilt in its place");
}

#[test]
fn a_sealed_entry_that_the_runtime_does_not_take_is_rebuilt() {
    let folder = tempfile::tempdir().expect("folder");
    let bytes = component("equal-share");
    loads(folder.path(), &bytes);
    let mut empty = fs::read(entry(folder.path())).expect("there");
    empty.truncate(112);
    seal(&mut empty);
    fs::write(entry(folder.path()), &empty).expect("written");
    assert_eq!(loads(folder.path(), &bytes), COMPILED);
}

#[test]
fn each_version_has_an_entry_of_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    for version in ["1.0.0-hostile", "2.0.0-hostile"] {
        assert_eq!(loads(folder.path(), &hostile(version)), COMPILED);
    }
    for version in ["1.0.0-hostile", "2.0.0-hostile"] {
        assert_eq!(loads(folder.path(), &hostile(version)), FROM_CACHE);
    }
}

#[test]
fn a_cache_that_can_not_be_written_costs_nothing_but_time() {
    let folder = tempfile::tempdir().expect("folder");
    let host = host(folder.path());
    fs::remove_dir(folder.path().join("code")).expect("removed");
    assert!(host.load(&component("equal-share")).is_ok());
    assert_eq!(host.loads(), COMPILED);
}

/// Seals an entry anew, as one could who may write there.
fn seal(entry: &mut [u8]) {
    use sha2::Digest as _;
    let seal = sha2::Sha256::new().chain_update(&entry[..80]).chain_update(&entry[112..]).finalize();
    entry[80..112].copy_from_slice(&seal);
}
