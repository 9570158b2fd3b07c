//! Recorded decisions come out again: of a day, from every keyframe, out of memory and out of a journal's files.

mod live;

use wattle_edge_core::Outcome;
use wattle_wire::message::Phases;
use wattle_wire::row::{Cause, Event, EventKind, Gap, GapReason, Record, Row};
use wattle_wire::{EdgeId, Micros, Milliamps};

use super::*;
use crate::journal::{Journal, Options, Reader, SyncPolicy};
use live::{Live, depot, policies};

const DEMO: &str = include_str!("../../../../docs/site.toml");
const EVER: std::ops::RangeInclusive<Micros> = Micros(i64::MIN)..=Micros::MAX;

#[derive(Default)]
struct Made(Vec<(Micros, Outcome)>);

impl Audience for Made {
    fn decided(&mut self, at: Micros, outcome: &Outcome) {
        self.0.push((at, outcome.clone()));
    }
}

fn replayed(records: &[Record]) -> (Tally, Vec<(Micros, Outcome)>) {
    let site = records.iter().find_map(|record| match &record.row {
        Row::Event(event) => Some(event.site.clone()),
        _ => None,
    });
    let shelf = Shelf::new(&[policies()]).expect("a shelf");
    let mut replay = Replay::new(site.expect("a site"), shelf, EVER, Made::default());
    records.iter().for_each(|record| replay.take(record));
    let (tally, made) = replay.end();
    (tally, made.0)
}

fn recorded(live: &Live) -> u64 {
    recorded_in(&live.records)
}

/// Decisions of policies in shadow.
fn imagined(live: &Live) -> u64 {
    let decisions = live.records.iter().filter(|record| matches!(record.row, Row::Decision(_)));
    decisions.count() as u64 - recorded(live)
}

/// That everything came out the same, but what a killed edge had not written down.
fn check_same(live: &Live, kills: usize) {
    let (tally, made) = replayed(&live.records);
    assert_eq!(tally.differences, []);
    assert_eq!(tally.stretches, []);
    assert_eq!((tally.same, tally.different, tally.not_replayed), (recorded(live), 0, 0));
    assert_eq!(tally.keyframes_different, 0);
    let mut was = live.made.iter();
    for made in &made {
        let same = was.find(|was| was.0 == made.0).expect("it was made then, too");
        assert_eq!(same, made);
    }
    // Each kill loses at most a minute of decisions that were not recorded, and so does the end.
    let lost = live.made.len() - made.len();
    assert!(lost <= 75 * (kills + 1), "{lost} of {} decisions are lost", live.made.len());
}

#[test]
fn every_decision_of_a_day_of_the_demo_site_comes_out_the_same_from_every_keyframe() {
    let mut live = Live::new(DEMO, 1);
    for hour in 0..24 {
        live.run(3_000);
        match hour {
            3 | 9 | 17 => live.restart(),
            6 => live.swap("equal-share"),
            12 => live.now += Micros::from_secs(1_800),
            15 => live.now += Micros::from_secs(-1_200),
            20 => live.swap("first-come"),
            _ => {}
        }
        live.run(600);
    }
    assert!(live.made.len() > 86_000);
    let keyframes = replayed(&live.records[..1_000]).0.begun;
    assert_eq!(keyframes, 1);
    check_same(&live, 3);
}

/// The site of the demo with a policy in shadow that keeps state from decision to decision.
fn shadowed() -> String {
    DEMO.replace("[control]\n", "[control]\nshadow = { policy = 'first-come' }\n")
}

#[test]
fn what_policies_in_shadow_would_have_done_comes_out_the_same_with_the_states_that_they_had() {
    let mut live = Live::new(&shadowed(), 11);
    for hour in 0..4 {
        live.run(1_700);
        match hour {
            0 => live.swap("equal-share"),
            1 => live.restart(),
            2 => live.swap("deadline"),
            _ => live.swap("fair-share"),
        }
    }
    check_same(&live, 1);
    let shadows = replayed(&live.records).0.shadows;
    assert!(imagined(&live) > 200, "{}", imagined(&live));
    assert_eq!(shadows, Shadows { same: imagined(&live), different: 0, not_replayed: 0 });
    // From the last keyframe alone those behind it.
    let last = *places(&live.records, EventKind::Keyframe).last().expect("many");
    let shadows = replayed(&live.records[last..]).0.shadows;
    assert!(shadows.same > 0 && shadows.different == 0, "{shadows:?}");
    // That beside which the keyframe stands may be asked before it and heard behind it.
    assert!(shadows.not_replayed <= 2, "{shadows:?}");
}

#[test]
fn a_shadow_whose_row_or_state_is_another_shows_and_one_that_is_not_there_is_counted() {
    let mut live = Live::new(&shadowed(), 12);
    live.is_rough = false;
    live.run(900);
    let mut records = live.records.clone();
    let is_imagined =
        |record: &&mut Record| matches!(&record.row, Row::Decision(d) if d.cause == Cause::Shadow);
    let all = imagined(&live);
    let Some(Row::Decision(decision)) = records.iter_mut().filter(is_imagined).nth(3).map(|r| &mut r.row)
    else {
        panic!("there are many")
    };
    decision.chargers[0].setpoint_ma += Milliamps(1_000);
    let tally = replayed(&records).0;
    assert_eq!(tally.shadows, Shadows { same: all - 1, different: 1, not_replayed: 0 });
    assert_eq!(tally.different, 0, "what was obeyed is the same");
    assert!(tally.differences[0].text.starts_with("in shadow; "), "{}", tally.differences[0].text);

    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(policies().join("fair-share.wasm"), folder.path().join("f.wasm")).expect("copied");
    let replay_with = |folders: &[std::path::PathBuf]| {
        let shelf = Shelf::new(folders).expect("a shelf");
        let mut replay = Replay::new(live.site.id.clone(), shelf, EVER, Silent);
        live.records.iter().for_each(|record| replay.take(record));
        replay.end().0
    };
    let tally = replay_with(&[folder.path().to_owned()]);
    assert_eq!((tally.same, tally.different), (recorded(&live), 0), "what was obeyed doesn't need it");
    assert_eq!(tally.shadows, Shadows { same: 0, different: 0, not_replayed: all });

    // Where a node keeps versions they are found, too.
    let data = tempfile::tempdir().expect("a folder");
    let kept = data.path().join("deployed");
    std::fs::create_dir(&kept).expect("made");
    std::fs::copy(policies().join("first-come.wasm"), kept.join("x.wasm")).expect("copied");
    let tally = replay_with(&folders(folder.path(), Some(data.path())));
    assert_eq!(tally.shadows, Shadows { same: all, different: 0, not_replayed: 0 });
}

#[test]
fn a_reading_or_a_step_with_another_value_makes_the_comparison_fail() {
    let mut live = Live::new(DEMO, 2);
    live.is_rough = false;
    live.run(900);
    let whole = replayed(&live.records).0;
    assert_eq!((whole.different, whole.keyframes_different), (0, 0));
    let mut tried = 0;
    for place in (10..live.records.len() - 800).step_by(331) {
        let mut records = live.records.clone();
        match &mut records[place].row {
            Row::Reading(reading) => {
                let Some(current) = reading.values.current_ma.and_then(|current| current.get(0)) else {
                    continue;
                };
                reading.values.current_ma = Some(Phases::new(&[current + Milliamps(11_000); 3]));
            }
            Row::Event(event) if event.kind == EventKind::Started => event.user = None,
            _ => continue,
        }
        let (tally, _) = replayed(&records);
        assert!(tally.different > 0, "entry {place} could be another: {:?}", records[place]);
        let says = &tally.differences[0].text;
        assert!(says.contains("are not what the site's machine was told"), "{says}");
        tried += 1;
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn entries_that_are_no_more_are_a_stretch_and_the_replay_goes_on_from_the_next_keyframe() {
    let mut live = Live::new(DEMO, 3);
    live.run(2_500);
    let keyframes: Vec<usize> = places(&live.records, EventKind::Keyframe);
    assert!(keyframes.len() >= 4);
    let middle = (keyframes[1] + keyframes[2]) / 2;
    let mut records = live.records.clone();
    let sequence = records[middle].sequence;
    let gap = Gap { from: sequence, to: sequence + 9, reason: GapReason::Budget };
    records[middle].row = Row::Gap(gap);
    records.drain(middle + 1..middle + 10);
    let (tally, made) = replayed(&records);
    assert_eq!((tally.different, tally.keyframes_different), (0, 0));
    assert!(tally.not_replayed > 0 && tally.same > 0);
    assert_eq!(tally.same + tally.not_replayed, recorded_in(&records));
    let [stretch] = tally.stretches.as_slice() else { panic!("{:?}", tally.stretches) };
    assert_eq!(stretch.from, sequence);
    assert_eq!(stretch.to, live.records[keyframes[2]].sequence - 1);
    assert_eq!(stretch.reason, format!("the entries {sequence} to {} are no more (budget)", sequence + 9));
    for made in &made {
        assert!(live.made.contains(made));
    }
}

#[test]
fn ticks_that_were_damaged_or_lost_are_told_and_a_damaged_keyframe_too() {
    let mut live = Live::new(DEMO, 4);
    live.run(1_900);
    let ticks = places(&live.records, EventKind::Ticks);
    let keyframes = places(&live.records, EventKind::Keyframe);
    for (place, says) in [(ticks[4], "ticks can't be read"), (keyframes[1], "keyframe can't be read")] {
        let mut records = live.records.clone();
        detail(&mut records[place]).insert(20, '!');
        let (tally, _) = replayed(&records);
        assert_eq!(tally.stretches[0].reason, says);
        assert_eq!((tally.different, tally.keyframes_different), (0, 0));
        assert!(tally.same > 0);
    }
    let mut records = live.records.clone();
    records.remove(ticks[4]);
    let (tally, _) = replayed(&records);
    assert!(tally.different > 0, "a decision stands where none comes out");
}

#[test]
fn a_policy_that_is_not_there_is_named_with_what_to_do() {
    let mut live = Live::new(DEMO, 5);
    live.run(100);
    let empty = tempfile::tempdir().expect("a folder");
    let shelf = Shelf::new(&[empty.path().to_owned()]).expect("a shelf");
    let mut replay = Replay::new(live.site.id.clone(), shelf, EVER, Silent);
    live.records.iter().for_each(|record| replay.take(record));
    let (tally, _) = replay.end();
    assert_eq!((tally.same, tally.different), (0, 0));
    let reason = &tally.stretches[0].reason;
    assert!(reason.starts_with("fair-share ") && reason.contains("put that component there"), "{reason}");
}

#[test]
fn another_policy_is_asked_at_each_recorded_decision_and_the_same_one_agrees() {
    let mut live = Live::new(DEMO, 6);
    live.run(1_500);
    let beside = |policy: &str| {
        let path = policies().join(policy).with_extension("wasm");
        let mut all = Vec::new();
        let audience = Beside::new(path, None, |compared| all.push(compared)).expect("a host");
        let shelf = Shelf::new(&[policies()]).expect("a shelf");
        let mut replay = Replay::new(live.site.id.clone(), shelf, EVER, audience);
        live.records.iter().for_each(|record| replay.take(record));
        let (tally, audience) = replay.end();
        assert_eq!(tally.different, 0);
        assert_eq!(audience.unusable(), None);
        drop(audience);
        all
    };
    let same = beside("fair-share");
    assert_eq!(same.len() as u64, recorded(&live));
    let differs = |compared: &beside::Compared| {
        let chargers = compared.chargers.as_ref().expect("a plan");
        chargers.iter().any(|charger| charger.was_told != charger.would_have)
    };
    assert!(!same.iter().any(differs));
    assert!(beside("first-come").iter().any(differs));
}

#[test]
fn a_journal_on_the_disk_is_read_while_it_is_open_and_comes_out_the_same() {
    let mut live = Live::new(DEMO, 7);
    live.run(1_300);
    let (folder, mut journal) = journal(1 << 20);
    for record in &live.records {
        let sequence = journal.append(record.at_us, record.row.clone()).expect("appended");
        assert_eq!(sequence, record.sequence);
        if sequence % 1_000 == 0 {
            journal.sync().expect("synced");
            journal.seal(record.at_us).expect("sealed");
        }
    }
    journal.sync().expect("synced");
    assert!(journal.stats().segments > 1 && journal.stats().sealed_to < live.records.len() as u64);
    let read: Vec<Record> =
        Reader::open(folder.path()).expect("a journal").map(|r| r.expect("read")).collect();
    assert_eq!(read.len(), live.records.len());
    let (tally, _) = replayed(&read);
    assert_eq!((tally.same, tally.different), (recorded(&live), 0));
    assert!(tally.keyframes_same >= 2 && tally.keyframes_different == 0);
    // The last decision is told, out of the same files.
    let explained = explain::from_journal(folder.path(), None, None, &[policies()], None).expect("explained");
    assert!(explained.is_same, "{explained}");
    let last = live.records.iter().rev().find(|record| matches!(record.row, Row::Decision(_)));
    assert_eq!(Some(explained.sequence), last.map(|record| record.sequence));
    assert!(explained.to_string().contains("Circuit grid"), "{explained}");
    drop(journal);
}

#[test]
fn a_journal_whose_lake_keeps_up_still_explains_its_last_decisions() {
    let mut live = Live::new(DEMO, 10);
    live.run(1_900);
    let (folder, mut journal) = journal(1 << 10);
    for record in &live.records {
        let sequence = journal.append(record.at_us, record.row.clone()).expect("appended");
        if sequence % 500 == 0 {
            journal.sync().expect("synced");
            journal.seal(record.at_us + Micros::from_secs(60)).expect("sealed");
            journal.checkpoint(sequence, &[]).expect("kept");
            journal.read_after(Some(sequence - 1)).expect("sound").expect("it goes up");
            journal.free(sequence).expect("freed");
        }
    }
    journal.sync().expect("synced");
    let read: Vec<Record> =
        Reader::open(folder.path()).expect("a journal").map(|r| r.expect("read")).collect();
    assert!(read.len() < live.records.len(), "what is old is gone");
    let (tally, _) = replayed(&read);
    assert!(tally.same > 0 && tally.different == 0 && tally.begun == 1, "{tally:?}");
    assert_eq!(tally.keyframes_same, 1, "it begins at the last keyframe but one");
    assert!(
        explain::from_journal(folder.path(), None, None, &[policies()], None).expect("explained").is_same
    );
}

#[test]
fn what_stands_before_the_first_sound_keyframe_is_told_with_the_entries_that_are_damaged() {
    let mut live = Live::new(DEMO, 13);
    live.run(1_500);
    let (folder, mut journal) = journal(1 << 20);
    for record in &live.records {
        let sequence = journal.append(record.at_us, record.row.clone()).expect("appended");
        if sequence % 100 == 0 {
            journal.sync().expect("synced");
            journal.seal(record.at_us + Micros::from_secs(60)).expect("sealed");
        }
    }
    journal.sync().expect("synced");
    let sealed_to = journal.stats().sealed_to;
    drop(journal);
    let files =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut segments = Vec::new();
    for path in files {
        match path.extension().and_then(|end| end.to_str()) {
            Some("wlog") => std::fs::remove_file(path).expect("there"),
            Some("wseg") => segments.push(path),
            _ => {}
        }
    }
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segments[0], bytes).expect("writable");
    let damaged = segments[0].file_stem().and_then(|name| name.to_str()).expect("a name").rsplit_once('-');
    let damaged: u64 = damaged.expect("two numbers").1.parse().expect("a number");

    let read: Vec<Record> =
        Reader::open(folder.path()).expect("a journal").map(|r| r.expect("read")).collect();
    let (tally, _) = replayed(&read);
    let [stretch] = tally.stretches.as_slice() else { panic!("{:?}", tally.stretches) };
    let keyframe = live.records[places(&live.records, EventKind::Keyframe)[1]].sequence;
    assert_eq!((stretch.from, stretch.to), (1, keyframe - 1));
    let reason = format!("the entries 1 to {damaged} are no more (damage); no keyframe stands before it");
    assert_eq!(stretch.reason, reason);
    assert!(stretch.from_at > Micros::ZERO, "{stretch:?}");
    let there: Vec<Record> =
        live.records.iter().filter(|r| (damaged + 1..=sealed_to).contains(&r.sequence)).cloned().collect();
    assert_eq!(tally.not_replayed + tally.same, recorded_in(&there));
    assert!(tally.not_replayed > 0 && tally.same > 0, "{tally:?}");
    // Where a keyframe follows, what is missing before it takes nothing away.
    let gap = Gap { from: 1, to: keyframe - 1, reason: GapReason::Damage };
    let mut records: Vec<Record> = live.records.iter().filter(|r| r.sequence >= keyframe).cloned().collect();
    records.insert(0, Record { sequence: 1, at_us: records[0].at_us, row: Row::Gap(gap) });
    let (tally, _) = replayed(&records);
    assert_eq!((tally.stretches, tally.not_replayed), (vec![], 0));
}

#[test]
fn a_policy_that_can_not_be_used_is_told_once_and_compared_with_nothing() {
    let mut live = Live::new(DEMO, 14);
    live.run(200);
    let mut compared = 0;
    let audience = Beside::new("/nowhere/p.wasm".into(), None, |_| compared += 1).expect("a host");
    let shelf = Shelf::new(&[policies()]).expect("a shelf");
    let mut replay = Replay::new(live.site.id.clone(), shelf, EVER, audience);
    live.records.iter().for_each(|record| replay.take(record));
    let (_, audience) = replay.end();
    assert!(audience.unusable().is_some_and(|why| why.contains("/nowhere/p.wasm")));
    drop(audience);
    assert_eq!(compared, 0);
}

#[test]
fn a_folder_without_a_journal_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Reader::open(folder.path()).err().expect("no journal").to_string();
    assert!(error.contains("there is no journal in this folder"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0, "nothing was made");
}

/// Prints what the replay costs on the disk; see docs/journal.md.
#[test]
fn ticks_and_keyframes_of_64_chargers_come_to_less_than_four_megabytes_a_day() {
    let minutes = 20;
    let mut live = Live::new(&depot(64), 8);
    live.is_rough = false;
    live.run(60 * minutes);
    let is_replay = |record: &Record| {
        matches!(&record.row, Row::Event(Event { kind: EventKind::Ticks | EventKind::Keyframe, .. }))
    };
    let a_day = |bytes: usize| bytes as i64 * 24 * 60 / minutes / 1_000;
    for seconds in [3, 60] {
        let all = sealed(live.records.iter().map(|record| (record.at_us, &record.row)), seconds);
        let without = live.records.iter().filter(|record| !is_replay(record));
        let without = sealed(without.map(|record| (record.at_us, &record.row)), seconds);
        println!(
            "{seconds} s of rows a segment: {} KB a day, of which {} KB are ticks and keyframes",
            a_day(all),
            a_day(all - without)
        );
        assert!(all > without && a_day(all - without) < 4_000, "{all} {without}");
    }
    let of_kind = |kind: EventKind| -> (usize, usize) {
        let texts = live.records.iter().filter_map(|record| match &record.row {
            Row::Event(event) if event.kind == kind => Some(event.detail.len()),
            _ => None,
        });
        texts.fold((0, 0), |(count, bytes), len| (count + 1, bytes + len))
    };
    let (ticks, keyframes) = (of_kind(EventKind::Ticks), of_kind(EventKind::Keyframe));
    println!(
        "64 chargers, {minutes} min, {} decisions, {} recorded: {} entries of ticks of {} bytes, {} keyframes of {} bytes",
        live.made.len(),
        recorded(&live),
        ticks.0,
        ticks.1 / ticks.0,
        keyframes.0,
        keyframes.1 / keyframes.0,
    );
    let mut large = Live::new(&depot(100), 9);
    large.is_rough = false;
    large.run(610);
    let keyframe = places(&large.records, EventKind::Keyframe)[1];
    println!("100 chargers: a keyframe of {} bytes", detail(&mut large.records[keyframe]).len());
}

/// What a journal seals of these rows, so many seconds at a time.
fn sealed<'a>(rows: impl Iterator<Item = (Micros, &'a Row)>, seconds: i64) -> usize {
    let (_folder, mut journal) = journal(2 << 20);
    let (mut at_last, mut bytes) = (live::START, 0);
    let mut take = |journal: &mut Journal, at: Micros| {
        journal.sync().expect("synced");
        journal.seal(at + Micros::from_secs(7_200)).expect("sealed");
        while let Some((header, segment)) = journal.read_after(None).expect("readable") {
            bytes += segment.len();
            journal.free(header.to).expect("freed");
        }
    };
    for (at, row) in rows {
        journal.append(at, row.clone()).expect("appended");
        if at - at_last >= Micros::from_secs(seconds) {
            at_last = at;
            take(&mut journal, at);
        }
    }
    take(&mut journal, at_last);
    bytes
}

/// An empty journal with a folder of its own.
fn journal(segment_bytes: u64) -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().expect("a folder");
    let edge = EdgeId::new("edge-1").expect("name");
    let options = Options { sync: SyncPolicy::Off, segment_bytes, ..Options::new(folder.path(), edge) };
    let (journal, _) = Journal::open(options, live::START).expect("opened");
    (folder, journal)
}

fn places(records: &[Record], kind: EventKind) -> Vec<usize> {
    let is_one = |record: &Record| matches!(&record.row, Row::Event(event) if event.kind == kind);
    (0..records.len()).filter(|place| is_one(&records[*place])).collect()
}

fn recorded_in(records: &[Record]) -> u64 {
    let is_obeyed =
        |record: &&Record| matches!(&record.row, Row::Decision(decision) if decision.cause != Cause::Shadow);
    records.iter().filter(is_obeyed).count() as u64
}

fn detail(record: &mut Record) -> &mut String {
    match &mut record.row {
        Row::Event(event) => &mut event.detail,
        _ => panic!("no event"),
    }
}
