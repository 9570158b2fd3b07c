use super::*;
use crate::kit::{Site, charger};

/// Admits all in order and gives the positions of those who got in.
fn admit_all(room: &mut Room<'_>, count: usize) -> Vec<usize> {
    (0..count).filter(|position| room.admit(*position)).collect()
}

fn evenly(snapshot: &Snapshot) -> Vec<i32> {
    let order = asking(snapshot).expect("a tree");
    let mut room = Room::new(snapshot, &order);
    let admitted = admit_all(&mut room, order.len());
    room.fill_evenly(&admitted);
    (0..order.len()).map(|position| room.amount(position)).collect()
}

#[test]
fn what_one_cannot_take_goes_to_the_others() {
    let site = Site::new([32_000, 0, 0]).asking("a");
    let site = site.charger(charger("small").range(6_000, 10_000, 1_000)).asking("b");
    assert_eq!(evenly(&site.snapshot()), [11_000, 10_000, 11_000]);
}

#[test]
fn a_place_that_runs_out_stops_only_those_below_it() {
    let site = Site::new([60_000, 0, 0])
        .circuit("cellar", "grid", [15_000, 0, 0])
        .charger(charger("a").on("cellar"))
        .charger(charger("b").on("cellar"))
        .asking("c")
        .asking("d");
    assert_eq!(evenly(&site.snapshot()), [8_000, 7_000, 23_000, 22_000]);
}

#[test]
fn steps_of_different_sizes_are_raised_from_below() {
    let site = Site::new([30_000, 0, 0])
        .charger(charger("coarse").range(8_000, 32_000, 4_000))
        .charger(charger("fine").range(6_000, 32_000, 100));
    assert_eq!(evenly(&site.snapshot()), [16_000, 14_000]);
}

#[test]
fn a_higher_minimum_is_raised_when_the_others_have_come_up() {
    let site = |limit| {
        let site = Site::new([limit, 0, 0]).asking("a").asking("b");
        evenly(&site.charger(charger("high").range(20_000, 32_000, 1_000)).snapshot())
    };
    assert_eq!(site(50_000), [15_000, 15_000, 20_000]);
    assert_eq!(site(64_000), [22_000, 21_000, 21_000]);
}

#[test]
fn a_bound_on_all_together_counts_every_phase() {
    let snapshot = Site::new([40_000; 3])
        .charger(charger("three").phases(&Phase::ALL))
        .charger(charger("one").phases(&[Phase::L2]))
        .snapshot();
    let order = asking(&snapshot).expect("a tree");
    let mut room = Room::new(&snapshot, &order);
    room.limit_total(33_000, "the surplus");
    assert_eq!(admit_all(&mut room, 2), [0, 1]);
    assert_eq!(room.given(), 24_000);
    room.fill_evenly(&[0, 1]);
    assert_eq!([room.amount(0), room.amount(1)], [8_000, 9_000]);
    assert_eq!((room.given(), room.stop(1)), (33_000, Some(Stop::Total)));
    assert_eq!(room.reason(0), "8 A: shares the surplus with 1 other");
    let mut room = Room::new(&snapshot, &order);
    room.limit_total(17_999, "the surplus");
    assert_eq!(admit_all(&mut room, 2), [1]);
    assert_eq!(room.reason(0), "standby: 5.999 A is left on the surplus, it needs 6 A");
    room.fill(1);
    assert_eq!(room.reason(1), "17 A: alone has the surplus");
}

#[test]
fn who_was_not_admitted_gets_nothing_more() {
    let snapshot = Site::new([40_000, 0, 0]).asking("a").snapshot();
    let order = asking(&snapshot).expect("a tree");
    let mut room = Room::new(&snapshot, &order);
    room.fill(0);
    room.fill_evenly(&[0]);
    assert_eq!((room.amount(0), room.reason(0)), (0, "standby".into()));
}

#[test]
fn a_reason_names_what_keeps_a_charger_from_more() {
    let snapshot = Site::new([50_000, 0, 0])
        .circuit("cellar", "grid", [13_000, 0, 0])
        .charger(charger("a").on("cellar"))
        .charger(charger("b").on("cellar"))
        .charger(charger("c").on("cellar"))
        .charger(charger("small").range(6_000, 10_500, 1_000))
        .charger(charger("odd").range(7_000, 7_500, 4_000))
        .asking("big")
        .snapshot();
    let order = asking(&snapshot).expect("a tree");
    let mut room = Room::new(&snapshot, &order);
    let admitted = admit_all(&mut room, order.len());
    room.fill_evenly(&admitted);
    let reasons: Vec<_> =
        room.allocations(|position| room.reason(position)).into_iter().map(|a| a.reason).collect();
    assert_eq!(
        reasons,
        [
            "7 A: shares 13 A on cellar L1 with 1 other",
            "6 A: shares 13 A on cellar L1 with 1 other",
            "standby: 1 A is left on cellar L1, it needs 6 A",
            "10 A: its maximum",
            "standby: its range has no whole step",
            "27 A: shares 50 A on grid L1 with 3 others",
        ]
    );
}

#[test]
fn the_least_is_a_whole_step_above_nothing() {
    let least = |minimum, maximum, step| {
        let snapshot = Site::new([0; 3]).charger(charger("a").range(minimum, maximum, step)).snapshot();
        asking(&snapshot).expect("a tree")[0].least
    };
    assert_eq!(least(6_000, 32_000, 1_000), Some(6_000));
    assert_eq!(least(6_000, 32_000, 4_000), Some(8_000));
    assert_eq!(least(7_000, 7_500, 4_000), None);
    assert_eq!(least(0, 16_000, 500), Some(500));
    assert_eq!(least(i32::MIN, i32::MAX, i32::MIN), Some(1));
    assert_eq!(least(i32::MAX, i32::MAX, i32::MAX), Some(i32::MAX));
    assert_eq!(least(10_000, 6_000, 1_000), None);
    let nowhere = Site::new([9_000; 3]).charger(charger("a").phases(&[])).snapshot();
    assert_eq!(asking(&nowhere).expect("a tree")[0].least, None);
}

#[test]
fn alone_a_charger_has_what_the_limits_above_it_allow() {
    let alone = |cable: i32| {
        let site = Site::new([25_000; 3]).circuit("cable", "grid", [cable, 40_000, 0]);
        let snapshot = site.load("grid", [20_000; 3]).charger(charger("a").on("cable")).snapshot();
        asking(&snapshot).expect("a tree")[0].alone(&snapshot)
    };
    assert_eq!([40_000, 8_700, 3_000].map(alone), [25_000, 8_000, 6_000]);
}

#[test]
fn the_line_is_by_priority_then_arrival_then_registration() {
    let arrives = |id: &str, priority, arrived| {
        charger(id).priority(priority).with(|charger| match arrived {
            Some(arrived) => charger.session.as_mut().expect("it asks").arrived = arrived,
            None => charger.session = None,
        })
    };
    let snapshot = Site::new([0; 3])
        .charger(arrives("unknown", 0, None))
        .charger(arrives("late", 0, Some(20)))
        .charger(arrives("early", 0, Some(10)))
        .charger(arrives("as early", 0, Some(10)))
        .charger(arrives("first", 1, Some(30)))
        .snapshot();
    let mut order = asking(&snapshot).expect("a tree");
    order.sort_by_key(Asking::by_arrival);
    let names: Vec<_> = order.iter().map(|one| one.charger.id.as_str()).collect();
    assert_eq!(names, ["first", "early", "as early", "late", "unknown"]);
}

#[test]
fn currents_at_the_ends_of_their_range_do_not_overflow() {
    let site = Site::new([i32::MAX, i32::MIN, i32::MAX])
        .charger(charger("max").range(i32::MIN, i32::MAX, 1))
        .charger(charger("step").range(0, i32::MAX, i32::MAX))
        .charger(charger("three").phases(&Phase::ALL).range(0, i32::MAX, 1));
    assert_eq!(evenly(&site.snapshot()), [i32::MAX, 0, 0]);
}

#[test]
fn a_snapshot_that_is_no_tree_is_refused() {
    let mut snapshot = Site::new([20_000, 0, 0]).asking("a").snapshot();
    snapshot.chargers[0].circuit = 9;
    let refusal = asking(&snapshot).expect_err("no such circuit");
    assert_eq!(refusal, "charger a hangs below circuit 9, which the snapshot doesn't have");
    snapshot.chargers[0].circuit = 0;
    snapshot.circuits[0].parent = Some(0);
    let refusal = asking(&snapshot).expect_err("a loop");
    assert_eq!(refusal, "circuit grid doesn't stand behind the circuit that feeds it");
}
