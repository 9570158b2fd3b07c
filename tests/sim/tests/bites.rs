//! That the simulation would notice: each rule that is taken away is missed within so many seeds.

use std::ops::Range;

use wattle_sim::{Invariant, Switch, run_without};

#[test]
fn fsyncs_of_an_edge_are_missed() {
    use Invariant::{CommittedLasts, DurableLasts, NoDamageOfItsOwn};
    check(Switch::LogBytes, 20, &[DurableLasts]);
    check(Switch::LogName, 100, &[DurableLasts]);
    check(Switch::SegmentBytes, 200, &[NoDamageOfItsOwn, DurableLasts]);
    check(Switch::CommittedBytes, 100, &[CommittedLasts, NoDamageOfItsOwn]);
    check(Switch::HandedBytes, 20, &[NoDamageOfItsOwn, Invariant::ComesToRest]);
    check(Switch::CheckpointBytes, 100, &[NoDamageOfItsOwn]);
    check(Switch::IdentityBytes, 100, &[NoDamageOfItsOwn]);
    check(Switch::LogRead, 20, &[Invariant::NothingLost]);
    // Seldom missed: seeds in which they are.
    check_in(Switch::SegmentName, 1631..1632, &[Invariant::NothingLost]);
    check_in(Switch::LogAtOnce, 5043..5044, &[Invariant::RowsAreTrue]);
    check_in(Switch::FoundBytes, 741..742, &[CommittedLasts]);
    check_in(Switch::CheckpointName, 656..657, &[Invariant::NothingTwice]);
    check(Switch::PositionName, 100, &[CommittedLasts]);
}

#[test]
fn fsyncs_of_a_copy_that_begins_a_new_life_are_missed() {
    check(Switch::RestoredBytes, 200, &[Invariant::NoDamageOfItsOwn, Invariant::RowsAreTrue]);
    check(Switch::FormerName, 100, &[Invariant::NoDamageOfItsOwn]);
    check_in(Switch::IdentityName, 2948..2949, &[Invariant::AlwaysStarts]);
}

#[test]
fn every_fsync_of_a_lake_is_missed() {
    check(Switch::LakeFiles, 100, &[Invariant::NoHole]);
    check(Switch::LakeEntry, 100, &[Invariant::NothingLost, Invariant::NoHole, Invariant::GapHasReason]);
    check_in(Switch::LakeEntryOfOthers, 505..506, &[Invariant::NothingLost, Invariant::NoHole]);
}

#[test]
fn the_order_of_sync_and_acknowledgement_is_missed() {
    check(Switch::SyncBeforeAck, 20, &[Invariant::NothingLost, Invariant::ComesToRest]);
    check_in(Switch::ConnectionOfAck, 1142..1143, &[Invariant::NothingLost]);
    check(Switch::CommitBeforeAnswer, 100, &[Invariant::NothingLost, Invariant::GapHasReason]);
}

#[test]
fn every_check_for_duplicates_is_missed() {
    check(Switch::DuplicateCheck, 20, &[Invariant::NothingTwice]);
    check(Switch::DuplicateMemory, 20, &[Invariant::NothingTwice]);
    check(Switch::DeviceStore, 100, &[Invariant::AckedWasSent]);
}

#[test]
fn every_check_of_positions_is_missed() {
    check(Switch::Positions, 20, &[Invariant::NothingTwice, Invariant::ComesToRest]);
    check(Switch::PositionCheck, 100, &[Invariant::NothingTwice]);
    check(Switch::ConflictCheck, 100, &[Invariant::NothingTwice]);
    check(Switch::Settling, 50, &[Invariant::NothingTwice]);
}

#[test]
fn that_a_copy_of_a_journal_is_another_life_is_missed() {
    check(Switch::NewLife, 50, &[Invariant::DurableLasts, Invariant::OneLife]);
    check(Switch::FormerLife, 200, &[Invariant::NothingLost]);
    check(Switch::AheadCheck, 200, &[Invariant::NothingLost]);
}

/// Without `switch` one of these is violated in one of so many seeds.
fn check(switch: Switch, within: u64, invariants: &[Invariant]) {
    check_in(switch, 0..within, invariants);
}

fn check_in(switch: Switch, seeds: Range<u64>, invariants: &[Invariant]) {
    let mut found = Vec::new();
    for seed in seeds.clone() {
        match run_without(switch, seed) {
            Err(violation) if invariants.contains(&violation.invariant) => return,
            Err(violation) => found.push(format!("{seed}: {violation}")),
            Ok(_) => {}
        }
    }
    panic!("without {switch:?} nobody misses {invariants:?} in seeds {seeds:?}, but {found:?}");
}
