//! The machine without a broker: what it makes of messages, answers and assignments.

use std::collections::BTreeMap;
use std::sync::Arc;

use wattle_wire::uplink::{Incarnation, SegmentHeader};
use wattle_wire::{EdgeId, Micros};

use super::intake::*;
use crate::lake::{Journal, Refusal};
use crate::sources::{Fences, Outcome};

fn header(edge: &str, from: u64, to: u64) -> SegmentHeader {
    SegmentHeader { edge: EdgeId::new(edge).expect("name"), incarnation: Incarnation(1), from, to }
}

fn at(second: i64) -> Micros {
    Micros::from_secs(second)
}

fn hole(next: u64) -> Outcome {
    let position = next.checked_sub(1).filter(|position| *position > 0);
    Outcome::Refused(position, Refusal::Hole { from: 99, next })
}

/// A machine with partition 0, and what was offered.
struct Rig {
    intake: Intake,
    fences: Arc<Fences>,
}

impl Rig {
    fn new() -> Self {
        let fences = Arc::new(Fences::default());
        let mut intake = Intake::new(fences.clone(), at(0));
        intake.assigned(0);
        Self { intake, fences }
    }

    /// A message that is offered; its generation.
    fn offered(&mut self, offset: i64, header: &SegmentHeader) -> u64 {
        self.offered_at(offset, header, 0)
    }

    fn offered_at(&mut self, offset: i64, header: &SegmentHeader, second: i64) -> u64 {
        match self.intake.message(0, offset, header, at(second)) {
            Take::Offer(generation) => generation,
            other => panic!("{other:?}"),
        }
    }

    fn answer(
        &mut self,
        generation: u64,
        offset: i64,
        header: &SegmentHeader,
        outcome: Outcome,
        second: i64,
    ) {
        self.intake.answer(0, generation, offset, &Journal::of(header), outcome, at(second));
    }

    /// A segment comes beyond a hole that the partition can't fill from its beginning either.
    fn stays_beyond(&mut self, offset: i64, header: &SegmentHeader, next: u64) {
        for _ in 0..2 {
            let generation = self.offered(offset, header);
            self.answer(generation, offset, header, hole(next), 0);
            self.intake.seeks();
        }
    }

    fn told(&mut self) -> Vec<(Option<u64>, bool)> {
        self.told_at(0)
    }

    fn told_at(&mut self, second: i64) -> Vec<(Option<u64>, bool)> {
        let told = self.intake.positions(at(second)).into_values();
        told.map(|position| (position.sequence, position.needs)).collect()
    }
}

#[test]
fn an_offset_is_kept_once_all_before_it_are_in_the_lake() {
    let mut rig = Rig::new();
    let (one, two) = (header("e1", 1, 10), header("e2", 1, 10));
    let generation = rig.offered(5, &one);
    rig.offered(6, &two);
    rig.answer(generation, 6, &two, Outcome::Committed(Some(10)), 1);
    assert!(rig.intake.stored().is_empty());
    rig.answer(generation, 5, &one, Outcome::Committed(Some(10)), 1);
    assert_eq!(rig.intake.stored(), [(0, 7)]);
    assert!(rig.intake.stored().is_empty(), "once");
    assert_eq!(rig.told(), [(Some(10), false), (Some(10), false)]);
}

#[test]
fn what_the_lake_has_is_let_go_undecoded_and_its_position_told_again() {
    let mut rig = Rig::new();
    let segment = header("e1", 1, 10);
    let generation = rig.offered(0, &segment);
    rig.answer(generation, 0, &segment, Outcome::Committed(Some(10)), 0);
    rig.told();
    assert_eq!(rig.intake.message(0, 1, &segment, at(10)), Take::Known);
    assert_eq!((rig.told_at(10), rig.intake.stored()), (vec![(Some(10), false)], vec![(0, 2)]));
}

#[test]
fn a_topic_that_is_read_once_more_tells_each_journal_once_in_ten_seconds_and_the_last_time_too() {
    let mut rig = Rig::new();
    let segment = header("e1", 1, 1000);
    let generation = rig.offered(0, &segment);
    rig.answer(generation, 0, &segment, Outcome::Committed(Some(1000)), 0);
    assert_eq!(rig.told(), [(Some(1000), false)]);
    let mut told = Vec::new();
    for n in 1..=1000 {
        let second = n / 40;
        assert_eq!(rig.intake.message(0, n, &header("e1", n as u64, n as u64), at(second)), Take::Known);
        told.extend(rig.told_at(second).into_iter().map(|_| second));
    }
    assert_eq!(told, [10, 20]);
    // Who sent the last message hears as well, though nothing comes after it.
    assert_eq!((rig.told_at(29), rig.told_at(30)), (vec![], vec![(Some(1000), false)]));
    assert_eq!(rig.told_at(99), []);
}

#[test]
fn a_position_that_a_commit_has_told_is_not_told_once_more_for_what_came_before_it() {
    let mut rig = Rig::new();
    let (first, second) = (header("e1", 1, 10), header("e1", 11, 20));
    let generation = rig.offered(0, &first);
    rig.answer(generation, 0, &first, Outcome::Committed(Some(10)), 0);
    rig.intake.message(0, 1, &first, at(1));
    rig.offered(2, &second);
    rig.answer(generation, 2, &second, Outcome::Committed(Some(20)), 5);
    assert_eq!(rig.told_at(5), [(Some(20), false)]);
    assert_eq!(rig.told_at(12), []);
    // And what comes after it is answered.
    rig.intake.message(0, 3, &first, at(20));
    assert_eq!(rig.told_at(20), [(Some(20), false)]);
}

#[test]
fn what_is_asked_for_is_not_hidden_by_a_message_that_the_lake_has() {
    let mut rig = Rig::new();
    let (first, beyond) = (header("e1", 1, 10), header("e1", 99, 110));
    let generation = rig.offered(0, &first);
    rig.answer(generation, 0, &first, Outcome::Committed(Some(10)), 0);
    rig.told();
    rig.stays_beyond(50, &beyond, 11);
    rig.intake.message(0, 51, &first, at(30));
    assert_eq!(rig.told_at(30), [(Some(10), true)]);
}

#[test]
fn a_hole_makes_the_partition_be_read_once_from_its_beginning() {
    let mut rig = Rig::new();
    let beyond = header("e1", 11, 20);
    let generation = rig.offered(50, &beyond);
    rig.answer(generation, 50, &beyond, hole(1), 0);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Beginning)]));
    assert_eq!((rig.told(), rig.intake.stored()), (vec![], vec![]), "nothing is asked for yet");
    // What was missing stands at the beginning.
    let missing = header("e1", 1, 10);
    let generation = rig.offered(3, &missing);
    rig.answer(generation, 3, &missing, Outcome::Committed(Some(10)), 1);
    let generation = rig.offered(50, &beyond);
    rig.answer(generation, 50, &beyond, Outcome::Committed(Some(20)), 1);
    assert_eq!(rig.told(), [(Some(20), false)]);
}

#[test]
fn a_hole_that_the_topic_can_not_fill_is_asked_for_and_holds_up_nobody() {
    let mut rig = Rig::new();
    let (beyond, other) = (header("e1", 11, 20), header("e2", 1, 5));
    rig.stays_beyond(50, &beyond, 1);
    assert_eq!(rig.told(), [(None, true)]);
    let generation = rig.offered(51, &other);
    rig.answer(generation, 51, &other, Outcome::Committed(Some(5)), 0);
    assert_eq!((rig.intake.stored(), rig.told()), (vec![(0, 52)], vec![(Some(5), false)]));
    // Further segments beyond it don't make the edge be asked again at once.
    for (offset, second, told) in [(52, 1, vec![]), (53, 20, vec![(None::<u64>, true)])] {
        let beyond = header("e1", 21, 30);
        let generation = rig.offered(offset, &beyond);
        rig.answer(generation, offset, &beyond, hole(1), second);
        assert_eq!(rig.told(), told);
    }
    assert_eq!((rig.intake.figures().holes, rig.intake.figures().searches), (3, 1));
}

#[test]
fn what_stands_beyond_a_hole_is_read_once_that_is_filled() {
    let mut rig = Rig::new();
    let beyond = header("e1", 99, 110);
    rig.stays_beyond(50, &beyond, 11);
    let further = header("e1", 111, 120);
    let generation = rig.offered(51, &further);
    let refusal = Refusal::Hole { from: 111, next: 11 };
    rig.answer(generation, 51, &further, Outcome::Refused(Some(10), refusal), 0);
    assert_eq!(rig.intake.beyond(&Journal::of(&beyond)), Some(99));
    for (from, to, seeks) in [(11, 50, None), (51, 98, Some(ReadFrom::Offset(50))), (99, 110, None)] {
        let filling = header("e1", from, to);
        let generation = rig.offered(from as i64 + 100, &filling);
        rig.answer(generation, from as i64 + 100, &filling, Outcome::Committed(Some(to)), 1);
        assert_eq!(rig.intake.seeks().remove(&0), seeks, "after {to}");
    }
}

#[test]
fn a_hole_that_stays_is_searched_for_once_however_long_the_partition_takes_to_read() {
    let mut rig = Rig::new();
    let beyond = header("e1", 99, 110);
    let generation = rig.offered(50, &beyond);
    rig.answer(generation, 50, &beyond, hole(11), 0);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Beginning)]));
    // On the way, after more than ten minutes, another one: what is before it was read.
    let other = header("e2", 99, 110);
    let generation = rig.offered_at(40, &other, 700);
    rig.answer(generation, 40, &other, hole(11), 700);
    let generation = rig.offered_at(50, &beyond, 1400);
    rig.answer(generation, 50, &beyond, hole(11), 1401);
    assert_eq!((rig.intake.seeks(), rig.intake.stored()), (BTreeMap::new(), vec![(0, 51)]));
    assert_eq!(rig.told_at(1401), [(Some(10), true), (Some(10), true)]);
    // Ten minutes after it was read it may be read again.
    for (offset, second, searches) in [(51, 1999, 1), (52, 2000, 2)] {
        let generation = rig.offered_at(offset, &beyond, second);
        rig.answer(generation, offset, &beyond, hole(11), second);
        assert_eq!(rig.intake.figures().searches, searches, "after {second} s");
    }
}

#[test]
fn a_search_whose_first_message_is_gone_is_over_with_what_came_after_it() {
    let mut rig = Rig::new();
    let beyond = header("e1", 99, 110);
    let generation = rig.offered(50, &beyond);
    rig.answer(generation, 50, &beyond, hole(11), 0);
    rig.offered_at(57, &header("e2", 1, 10), 10);
    let generation = rig.offered_at(58, &beyond, 610);
    rig.answer(generation, 58, &beyond, hole(11), 610);
    assert_eq!(rig.intake.figures().searches, 2);
}

#[test]
fn a_gap_over_what_was_freed_is_taken_once_the_partition_was_looked_through() {
    let mut rig = Rig::new();
    let gap = header("e1", 11, 30);
    let journal = Journal::of(&gap);
    rig.offered(60, &gap);
    assert!(!rig.intake.may_take_freed(0, 60, &journal));
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Beginning)]));
    assert_eq!((rig.intake.under_way(), rig.intake.stored()), (0, vec![]));
    // What a node before this one had let go stands before it.
    let beyond = header("e1", 21, 30);
    let generation = rig.offered(50, &beyond);
    let refusal = Refusal::Hole { from: 21, next: 11 };
    rig.answer(generation, 50, &beyond, Outcome::Refused(Some(10), refusal), 0);
    assert_eq!(rig.intake.beyond(&journal), Some(21));
    let generation = rig.offered(60, &gap);
    assert!(rig.intake.may_take_freed(0, 60, &journal));
    rig.answer(generation, 60, &gap, Outcome::Committed(Some(20)), 1);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Offset(50))]));
    // Another one, of a journal of which nothing stands there, is taken at once.
    let other = header("e2", 1, 10);
    rig.offered(61, &other);
    assert!(rig.intake.may_take_freed(0, 61, &Journal::of(&other)));
    // And whoever gets the partition looks for itself.
    rig.intake.revoked(0);
    rig.intake.assigned(0);
    rig.offered(62, &other);
    assert!(!rig.intake.may_take_freed(0, 62, &Journal::of(&other)));
}

#[test]
fn a_gap_over_what_was_freed_waits_for_the_rows_before_it() {
    let mut rig = Rig::new();
    rig.stays_beyond(40, &header("e2", 99, 110), 1);
    let (rows, gap) = (header("e1", 21, 30), header("e1", 11, 30));
    let generation = rig.offered(50, &rows);
    rig.offered(60, &gap);
    assert!(!rig.intake.may_take_freed(0, 60, &Journal::of(&gap)), "they would go into one commit");
    assert_eq!(rig.intake.seeks(), BTreeMap::new());
    rig.answer(generation, 50, &rows, Outcome::Committed(Some(30)), 1);
    assert!(rig.intake.may_take_freed(0, 60, &Journal::of(&gap)));
    rig.intake.revoked(0);
    assert!(!rig.intake.may_take_freed(0, 60, &Journal::of(&gap)), "it is another's");
}

#[test]
fn what_stands_beyond_a_hole_is_never_gone_on_from_over_what_was_not_read_yet() {
    let mut rig = Rig::new();
    let (beyond, other) = (header("e1", 99, 110), header("e2", 1, 10));
    rig.stays_beyond(50, &beyond, 11);
    // Ten minutes later another hole has the partition read from its beginning.
    let generation = rig.offered_at(70, &header("e3", 9, 10), 600);
    rig.answer(generation, 70, &header("e3", 9, 10), hole(1), 600);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Beginning)]));
    let filling = header("e1", 11, 98);
    let generation = rig.offered_at(40, &filling, 601);
    rig.answer(generation, 40, &filling, Outcome::Committed(Some(98)), 601);
    assert_eq!(rig.intake.seeks(), BTreeMap::new(), "41 to 49 come first");
    // What is under way before it is not passed over either.
    let mut rig = Rig::new();
    rig.stays_beyond(50, &beyond, 11);
    rig.offered(45, &other);
    let generation = rig.offered(60, &filling);
    rig.answer(generation, 60, &filling, Outcome::Committed(Some(98)), 1);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Offset(45))]));
}

#[test]
fn what_stands_beyond_a_hole_is_another_nodes_when_the_partition_is() {
    let mut rig = Rig::new();
    let beyond = header("e1", 99, 110);
    rig.stays_beyond(50, &beyond, 11);
    rig.intake.revoked(0);
    assert_eq!(rig.intake.beyond(&Journal::of(&beyond)), None);
}

#[test]
fn what_was_taken_before_a_revocation_is_neither_committed_nor_counted() {
    let mut rig = Rig::new();
    let segment = header("e1", 1, 10);
    let generation = rig.offered(0, &segment);
    let fence = crate::sources::Fence { fences: rig.fences.clone(), partition: 0, generation };
    assert!(fence.holds());
    rig.intake.revoked(0);
    assert!(!fence.holds());
    rig.intake.assigned(0);
    assert!(!fence.holds(), "a new assignment is another generation");
    rig.answer(generation, 0, &segment, Outcome::Committed(Some(10)), 0);
    assert_eq!((rig.intake.stored(), rig.told()), (vec![], vec![]));
    rig.intake.revoked(0);
    assert_eq!(rig.intake.message(0, 1, &segment, at(0)), Take::Foreign);
}

#[test]
fn a_lake_that_can_not_be_written_makes_it_wait_and_read_again() {
    let mut rig = Rig::new();
    let segments = [header("e1", 1, 10), header("e1", 11, 20)];
    let generation = rig.offered(7, &segments[0]);
    rig.offered(8, &segments[1]);
    let failed = || Outcome::Failed(None, "the disk is full".into());
    rig.answer(generation, 7, &segments[0], failed(), 10);
    rig.answer(generation, 8, &segments[1], failed(), 10);
    assert_eq!(rig.intake.seeks(), BTreeMap::from([(0, ReadFrom::Offset(7))]));
    assert_eq!(rig.intake.wait_until(), at(12));
    assert_eq!((rig.intake.under_way(), rig.intake.stored()), (0, vec![]));
    let generation = rig.offered(7, &segments[0]);
    rig.answer(generation, 7, &segments[0], Outcome::Committed(Some(10)), 12);
    assert_eq!(rig.intake.stored(), [(0, 8)]);
}

#[test]
fn a_message_that_is_no_segment_is_let_go() {
    let mut rig = Rig::new();
    rig.intake.malformed(0, 4);
    assert_eq!(rig.intake.stored(), [(0, 5)]);
    let untrue = header("e1", 1, 10);
    let generation = rig.offered(5, &untrue);
    let refusal = Refusal::Untrue { from: 1, to: 10, what: "numbers" };
    rig.answer(generation, 5, &untrue, Outcome::Refused(None, refusal), 0);
    assert_eq!((rig.intake.stored(), rig.intake.figures().malformed), (vec![(0, 6)], 2));
}
