//! The journal on the disk of the machine.

use std::time::Instant;

use super::*;

#[test]
fn a_journal_on_a_real_disk_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { dir: folder.path().join("deep/journal"), ..options() };
    let (mut journal, first) = Journal::open(options.clone(), Micros(0)).expect("opened");
    assert!(matches!(Journal::open(options.clone(), Micros(0)), Err(JournalError::Locked { .. })));
    append(&mut journal, 1000);
    journal.sync().expect("room");
    journal.seal(LATER).expect("room");
    journal.checkpoint(400, b"state").expect("room");
    append(&mut journal, 10);
    journal.sync().expect("room");
    journal.read_after(None).expect("sound").expect("one");
    journal.free(1000).expect("known");
    drop(journal);
    let (journal, again) = Journal::open(options, Micros(0)).expect("opened");
    assert_eq!((again.incarnation, again.last), (first.incarnation, 1010));
    assert_eq!(again.repaired, Repaired::default());
    assert_eq!(sequences(again.rows), (401..=1010).collect::<Vec<_>>());
    assert_eq!(journal.stats().depth, 10);
}

#[test]
fn a_new_life_on_a_real_disk_is_gone_on_with_though_what_tells_of_it_is_damaged() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let options = Options { dir: dir.into(), ..options() };
    let (mut journal, first) = Journal::open(options.clone(), Micros(0)).expect("opened");
    append(&mut journal, 3);
    journal.sync().expect("room");
    journal.declare_restored().expect("room");
    drop(journal);
    let (journal, second) = Journal::open(options.clone(), Micros(0)).expect("opened");
    assert_eq!((second.restored_from, second.last), (Some(first.incarnation), 3));
    drop(journal);
    // As it was before it got its name.
    for name in [stamp::IDENTITY, stamp::COMMITTED] {
        std::fs::remove_file(dir.join(name)).expect("there");
    }
    std::fs::write(dir.join(stamp::RESTORED), b"WRST").expect("written");
    let (_, again) = Journal::open(options, Micros(0)).expect("opened");
    assert_eq!((again.incarnation, again.last), (second.incarnation, 3));
    assert_eq!(again.restored_from, Some(first.incarnation));
    assert!(!dir.join(stamp::RESTORED).exists());
}

#[test]
fn two_journals_never_share_a_life() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let lives = folders.map(|folder| {
        let options = Options { dir: folder.path().into(), ..options() };
        Journal::open(options, Micros(0)).expect("opened").1.incarnation
    });
    assert_ne!(lives[0], lives[1]);
}

/// The bounds hold on a slow machine. Its noise recurs, which packs far better than what devices send: `make bench` has figures.
#[test]
fn a_hundred_thousand_readings_are_appended_synced_and_sealed_in_seconds() {
    const ROWS: i64 = 100_000;
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, _) =
        Journal::open(Options { dir: folder.path().into(), ..options() }, Micros(0)).expect("opened");
    let rows: Vec<_> = (0..ROWS).map(reading).collect();
    let started = Instant::now();
    for (n, row) in rows.into_iter().enumerate() {
        journal.append(Micros(n as i64 * 5), row).expect("room");
        if n % 500 == 499 {
            journal.sync().expect("room");
        }
    }
    let appended = started.elapsed();
    let log = journal.stats().bytes;
    let started = Instant::now();
    journal.seal(LATER).expect("room");
    let sealing = started.elapsed();
    let sealed: u64 = journal.segments.list.iter().map(|sealed| sealed.segment.bytes).sum();
    let rate = |took: std::time::Duration| ROWS as f64 / took.as_secs_f64();
    println!(
        "append and sync {:.0} rows/s, seal {:.0} rows/s, log {:.1} B/row, sealed {:.1} B/row",
        rate(appended),
        rate(sealing),
        log as f64 / ROWS as f64,
        sealed as f64 / ROWS as f64
    );
    assert!(rate(appended) > 1_000.0 && rate(sealing) > 1_000.0);
    assert!(sealed < log);
}
