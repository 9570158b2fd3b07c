//! A run in which each step fails once, in every way, or is the last before the power goes. Whatever was acknowledged is
//! in the lake or in the journal afterwards, once, with what it was acknowledged with.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::*;

/// A lake that takes what a run hands it, and what the run was told.
#[derive(Default)]
struct Told {
    /// The register of each reading that was offered; a different one each time.
    offered: i64,
    /// Sequence to register, as appended.
    appended: BTreeMap<u64, i64>,
    acknowledged: u64,
    lake: BTreeMap<u64, i64>,
    gaps: Vec<(u64, u64)>,
    damaged: Vec<(u64, u64)>,
    errors: usize,
}

impl Told {
    fn note<T>(&mut self, result: Result<T, JournalError>) -> Option<T> {
        self.errors += usize::from(result.is_err());
        result.ok()
    }

    fn append(&mut self, journal: &mut Journal) {
        self.offered += 1;
        let mut row = reading(self.offered);
        if let Row::Reading(reading) = &mut row {
            reading.values.register_wh = Some(WattHours(self.offered));
        }
        let taken = journal.append(Micros(self.offered), row);
        if let Some(sequence) = self.note(taken) {
            self.appended.insert(sequence, self.offered);
        }
    }

    fn sync(&mut self, journal: &mut Journal) {
        let synced = journal.sync();
        self.acknowledged = self.note(synced).unwrap_or_default().max(self.acknowledged);
    }

    /// Takes a segment into the lake; what it has it must have alike.
    fn take(&mut self, bytes: &[u8]) {
        let segment = Segment::decode(bytes).expect("what is handed out is sound");
        let readings =
            |name| segment.readings.column_by_name(name).expect("there").as_primitive::<Int64Type>();
        let rows = readings("sequence").values().iter().zip(readings("register_wh").values());
        for (sequence, register) in rows {
            let before = self.lake.insert(sequence.unsigned_abs(), *register);
            assert!(before.is_none_or(|before| before == *register), "entry {sequence} was given out twice");
        }
        for gap in gaps(bytes) {
            let (range, reason) = gap.split_once(": ").expect("a reason");
            let (from, to) = range.split_once("..=").expect("a range");
            let range = (from.parse().expect("a number"), to.parse().expect("a number"));
            match reason {
                "budget" => self.gaps.push(range),
                _ => self.damaged.push(range),
            }
        }
    }

    /// Sends up the next segment, and frees it if `frees`.
    fn send(&mut self, journal: &mut Journal, after: Option<u64>, frees: bool) -> Option<u64> {
        let read = journal.read_after(after);
        let (header, bytes) = self.note(read).flatten()?;
        self.take(&bytes);
        if frees {
            let freed = journal.free(header.to);
            self.note(freed);
        }
        Some(header.to)
    }

    /// Rounds of rows, sealing, checkpoints and freeing, each tried once, as a node does that goes on whatever fails.
    fn run(&mut self, journal: &mut Journal, rounds: i64) {
        for round in 0..rounds {
            (0..3).for_each(|_| self.append(journal));
            self.sync(journal);
            self.append(journal);
            self.sync(journal);
            let sealed = journal.seal(Micros(LATER.0 + round));
            self.note(sealed);
            if round % 2 == 1 {
                let checkpoint = journal.checkpoint(journal.stats().durable, b"state");
                self.note(checkpoint);
                self.send(journal, None, true);
            }
        }
    }

    /// The journal is opened again and everything goes up: nothing that was acknowledged is missing.
    fn check(mut self, disk: &MemoryDisk, options: Options, context: &str) {
        let (mut journal, recovery) = open_as(disk, options);
        assert!(recovery.last >= self.acknowledged, "{context}: ends at {}", recovery.last);
        assert_eq!(recovery.repaired.missing_segments, [], "{context}");
        journal.seal(LATER).expect("the disk works");
        let mut after = Some(journal.stats().committed);
        while let Some(to) = self.send(&mut journal, after, false) {
            after = Some(to);
        }
        // A write that was cut may leave a gap, in which nothing was acknowledged.
        let acknowledged = self.damaged.iter().find(|(from, _)| *from <= self.acknowledged);
        assert_eq!(acknowledged, None, "{context}: {} were acknowledged", self.acknowledged);
        for sequence in 1..=self.acknowledged {
            let dropped = self.gaps.iter().any(|(from, to)| (from..=to).contains(&&sequence));
            match self.lake.get(&sequence) {
                Some(register) => assert_eq!(self.appended[&sequence], *register, "{context}: {sequence}"),
                None => assert!(dropped, "{context}: {sequence} of {} is missing", self.acknowledged),
            }
        }
    }
}

fn small() -> Options {
    // Two rounds of rows fit, and the readings of a third have to go.
    Options { budget_bytes: 3_000, buffer_bytes: 2_000, ..options() }
}

/// How many steps a run takes in which nothing fails.
fn steps(options: &Options) -> usize {
    let disk = MemoryDisk::default();
    let mut told = Told::default();
    let (mut journal, _) = open_as(&disk, options.clone());
    told.run(&mut journal, 6);
    assert_eq!(told.errors, 0);
    drop(journal);
    let steps = disk.steps();
    told.check(&disk, options.clone(), "nothing failed");
    steps
}

/// A run, until something fails at this step, and on from there.
fn run(options: &Options, step: usize, fault: Fault, lasting: bool) -> (MemoryDisk, Told, Option<Journal>) {
    let disk = MemoryDisk::default();
    disk.fail_at(step, fault, lasting);
    let mut told = Told::default();
    let opened = recovery::open(Arc::new(disk.clone()), options.clone(), Micros(0));
    let mut journal = told.note(opened).map(|(journal, _)| journal);
    if let Some(journal) = &mut journal {
        told.run(journal, 6);
    }
    (disk, told, journal)
}

#[test]
fn the_power_may_go_before_any_step() {
    for options in [options(), small()] {
        for step in 0..steps(&options) {
            let (disk, told, journal) = run(&options, step, Fault::PowerCut, true);
            drop(journal);
            disk.lose_power();
            told.check(&disk, options.clone(), &format!("power cut before step {step}"));
        }
    }
}

#[test]
fn a_loss_of_power_may_keep_any_part_of_what_was_not_synced() {
    for options in [options(), small()] {
        for (step, seed) in (0..steps(&options)).flat_map(|step| (0..5).map(move |seed| (step, seed))) {
            let (disk, told, journal) = run(&options, step, Fault::PowerCut, true);
            drop(journal);
            disk.lose_power_but(chance(seed * 1_000_003 + step as u64));
            told.check(&disk, options.clone(), &format!("power cut before step {step}, seed {seed}"));
        }
    }
}

/// Numbers that look like chance.
pub(super) fn chance(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// Else a copy of its folder could have a row under a number that the original gives to another.
#[test]
fn a_process_killed_at_any_step_leaves_no_row_that_the_power_may_take() {
    for options in [options(), small()] {
        let next = |disk: &MemoryDisk| open_as(disk, options.clone()).0.stats().next_sequence;
        for kill in 0..steps(&options) {
            let (disk, _, journal) = run(&options, kill, Fault::Killed, true);
            drop(journal);
            disk.heal();
            let left = next(&disk.copy());
            disk.lose_power();
            assert_eq!(left, next(&disk), "killed at step {kill}");
        }
    }
}

/// What a killed process wrote stands in the system's memory: the next one reads it and acts on it, and then the power goes.
#[test]
fn the_power_may_go_at_any_step_after_a_kill_at_any_step() {
    for options in [options(), small()] {
        for (kill, later) in (0..steps(&options)).flat_map(|kill| (0..10).map(move |later| (kill, later))) {
            // Nothing reaches the disk from there on, and what has stays.
            let (disk, mut told, journal) = run(&options, kill, Fault::Failing, true);
            drop(journal);
            disk.heal();
            disk.fail_at(disk.steps() + later, Fault::PowerCut, true);
            let opened = recovery::open(Arc::new(disk.clone()), options.clone(), Micros(0));
            let acknowledged: Vec<_> = told
                .appended
                .range(..=told.acknowledged)
                .map(|(number, register)| (*number, *register))
                .collect();
            if let Ok((mut journal, _)) = opened {
                told.run(&mut journal, 2);
            }
            // Without power a process doesn't go on, and gives no numbers.
            told.appended.extend(acknowledged);
            disk.lose_power_but(chance((kill * 1_000 + later) as u64));
            let context = format!("killed before step {kill}, power cut {later} steps after that");
            told.check(&disk, options.clone(), &context);
        }
    }
}

#[test]
fn every_single_step_may_fail_and_the_run_goes_on() {
    for options in [options(), small()] {
        for (step, fault) in every(steps(&options)) {
            let (disk, mut told, journal) = run(&options, step, fault, false);
            let mut journal = journal.expect("one failed step keeps no node from starting");
            disk.heal();
            told.run(&mut journal, 2);
            assert_eq!(told.acknowledged, journal.stats().next_sequence - 1);
            drop(journal);
            told.check(&disk, options.clone(), &format!("{fault:?} at step {step}"));
        }
    }
}

#[test]
fn a_disk_that_fails_from_any_step_on_holds_everything_up_and_loses_nothing_when_it_is_back() {
    for options in [options(), small()] {
        for (step, fault) in every(steps(&options)) {
            let context = format!("{fault:?} from step {step} on");
            let (disk, mut told, journal) = run(&options, step, fault, true);
            disk.heal();
            let mut journal = match journal {
                Some(journal) => journal,
                None => open_as(&disk, options.clone()).0,
            };
            let refused = told.errors;
            told.sync(&mut journal);
            told.run(&mut journal, 1);
            assert_eq!(told.errors, refused, "{context}: it goes on by itself");
            assert_eq!(told.acknowledged, journal.stats().next_sequence - 1, "{context}");
            drop(journal);
            disk.lose_power();
            told.check(&disk, options.clone(), &context);
        }
    }
}

fn every(steps: usize) -> impl Iterator<Item = (usize, Fault)> {
    (0..steps).flat_map(|step| [Fault::Full, Fault::Failing, Fault::ReadOnly].map(|fault| (step, fault)))
}

#[test]
fn on_a_disk_that_can_t_be_changed_a_node_starts_with_all_it_had_and_goes_on_when_it_can() {
    for fault in [Fault::Full, Fault::Failing, Fault::ReadOnly] {
        let disk = MemoryDisk::default();
        let mut journal = sealed(&disk, 2);
        journal.checkpoint(2, b"state").expect("room");
        append(&mut journal, 2);
        journal.sync().expect("room");
        drop(journal);
        disk.put(&PathBuf::from(DIR).join("committed"), b"damaged".to_vec());
        disk.put(&PathBuf::from(DIR).join("log-00000000000000000009.wlog"), vec![7; 100]);
        disk.delete(&disk.files(".wseg")[0]);
        disk.fail(fault);
        let (mut journal, recovery) = open(&disk);
        assert_eq!(recovery.checkpoint, Some((2, b"state".to_vec())), "{fault:?}");
        assert_eq!(recovery.repaired.set_aside.len(), 2, "{fault:?}");
        assert_eq!(sequences(recovery.rows), [3, 4, 5, 6], "{fault:?}");
        journal.read_after(None).expect_err("what is missing can't be made again");
        assert_eq!(append(&mut journal, 1), [7]);
        journal.sync().expect_err("nothing can be written");
        disk.heal();
        assert_eq!(journal.sync().expect("it can now"), 7);
        journal.seal(LATER).expect("it can now");
        assert_eq!(ranges(&mut journal), [(1, 2), (3, 4), (5, 6), (7, 7)], "{fault:?}");
    }
}

#[test]
fn a_file_that_can_t_be_read_is_damage_and_keeps_no_node_from_starting() {
    for part in ["identity", "committed", "checkpoint", ".wlog", ".wseg"] {
        let disk = MemoryDisk::default();
        let mut journal = sealed(&disk, 2);
        ranges(&mut journal);
        journal.free(2).expect("known");
        journal.checkpoint(2, b"two").expect("room");
        drop(journal);
        disk.unreadable(part);
        let (mut journal, recovery) = open(&disk);
        disk.heal();
        // Of the two rows of a log file that can't be read one is known to have been there; both are sealed.
        assert_eq!(recovery.last, 4, "{part}");
        assert_eq!(append(&mut journal, 1), [5], "{part}");
        journal.sync().expect("room");
        journal.seal(LATER).expect("room");
        assert_eq!(ranges(&mut journal).last(), Some(&(5, 5)), "{part}");
    }
}

#[test]
fn a_log_or_a_segment_that_can_never_be_read_again_becomes_a_gap_after_some_patience() {
    let disk = MemoryDisk::default();
    let mut journal = sealed(&disk, 1);
    append(&mut journal, 2);
    journal.sync().expect("room");
    disk.unreadable(".wlog");
    let failures = (0..100).take_while(|_| journal.seal(LATER).is_err()).count();
    assert_eq!(failures, PATIENCE as usize);
    disk.unreadable("segment-00000000000000000001");
    let failures = (0..100).take_while(|_| journal.read_after(None).is_err()).count();
    assert_eq!(failures, PATIENCE as usize);
    disk.heal();
    assert_eq!(ranges(&mut journal), [(1, 2), (3, 4)]);
    let (_, bytes) = journal.read_after(Some(2)).expect("sound").expect("one");
    assert_eq!(gaps(&bytes), ["3..=4: damage"]);
}
