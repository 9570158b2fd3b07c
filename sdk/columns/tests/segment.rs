//! Records become columns and bytes, come back the same, and damage is told from health.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use wattle_columns::{Segment, SegmentBuilder, SegmentError, ToldGap};
use wattle_wire::message::{ChargerState, Number, Phases, Values};
use wattle_wire::row::{
    Cause, DecidedCharger, DecidedCircuit, Decision, Event, EventKind, Gap, GapReason, Reading, Record, Row,
};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{CircuitId, DeviceId, EdgeId, Micros, Milliamps, PerPhase, SiteId, WattHours};

fn site() -> SiteId {
    SiteId::new("depot").expect("name")
}

fn device() -> DeviceId {
    DeviceId::new("cp-1").expect("name")
}

fn reading(seq: u64) -> Row {
    Row::Reading(Reading {
        site: site(),
        device: device(),
        number: Some(Number { boot: 7, seq }),
        measured_us: None,
        state: Some(ChargerState::Charging),
        setpoint: Some(3),
        session: None,
        values: Values {
            current_ma: Some(Phases::new(&[Milliamps(15_998)])),
            register_wh: Some(WattHours(1234)),
            ..Values::default()
        },
    })
}

fn decision() -> Row {
    let charger = |setpoint| DecidedCharger {
        charger: device(),
        proposed_ma: Milliamps(8000),
        setpoint_ma: Milliamps(setpoint),
        number: 9,
        reason: "a third".into(),
    };
    Row::Decision(Decision {
        site: site(),
        cause: Cause::Breach,
        policy: "equal-share 1.0.0".into(),
        policy_digest: 0xabcd,
        settings_digest: 0,
        fuel: 1000,
        circuits: vec![DecidedCircuit {
            circuit: CircuitId::new("grid").expect("name"),
            limit_ma: PerPhase::all(Milliamps(30_000)),
            uncontrolled_ma: PerPhase::all(Milliamps(5000)),
            reserved_ma: PerPhase::all(Milliamps(24_000)),
        }],
        chargers: vec![charger(8000), charger(0)],
        state: vec![1, 2],
    })
}

fn rows() -> Vec<(u64, Row)> {
    vec![
        (10, reading(1)),
        (11, Row::Event(Event::new(site(), Some(device()), EventKind::Malformed, "not_json: x"))),
        (12, decision()),
        (13, Row::Gap(Gap { from: 13, to: 20, reason: GapReason::Budget })),
        (21, reading(2)),
    ]
}

fn builder() -> SegmentBuilder {
    SegmentBuilder::new(EdgeId::new("edge-1").expect("name"), Incarnation(0xf00d))
}

fn segment() -> Segment {
    let mut builder = builder();
    for (sequence, row) in rows() {
        builder.push(&Record { sequence, at_us: Micros(5), row }).expect("contiguous");
    }
    builder.finish().expect("not empty")
}

#[test]
fn records_come_back_from_the_columns() {
    let records = segment().records().expect("readable");
    let found: Vec<_> = records.into_iter().map(|record| (record.sequence, record.row)).collect();
    assert_eq!(found, rows());
}

#[test]
fn a_gap_of_a_reason_that_only_a_newer_edge_knows_comes_back_as_another_and_as_it_was_told() {
    let gap = ToldGap { at_us: Micros(5), from: 3, to: 9, reason: "stolen".into() };
    let mut builder = builder();
    let row = Row::Gap(Gap { from: 3, to: 9, reason: GapReason::Damage });
    builder.push(&Record { sequence: 3, at_us: Micros(5), row }).expect("first");
    let mut segment = builder.finish().expect("not empty");
    segment.events =
        wattle_columns::gap_rows(&segment.header.edge, segment.header.incarnation, [gap.clone()]);
    let segment = Segment::decode(&segment.encode().expect("encodes")).expect("whole");
    let other = Row::Gap(Gap { from: 3, to: 9, reason: GapReason::Other });
    assert_eq!(segment.records().expect("readable")[0].row, other);
    assert_eq!(wattle_columns::told_gaps(&segment.events).expect("readable"), [gap]);
}

#[test]
fn values_that_no_edge_writes_are_named() {
    let segment = segment();
    let empty = arrow::array::RecordBatch::new_empty(segment.decisions.schema());
    assert_eq!(wattle_columns::read::decisions(&empty).expect("nothing").len(), 0);
    let error = wattle_columns::read::events(&segment.readings).expect_err("other columns");
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn each_kind_of_row_has_its_table_and_a_gap_spans_what_it_stands_for() {
    let segment = segment();
    assert_eq!((segment.header.from, segment.header.to), (10, 21));
    assert_eq!(segment.readings.num_rows(), 2);
    assert_eq!(segment.events.num_rows(), 2);
    assert_eq!(segment.decisions.num_rows(), 2);
    let current = segment.readings["current_1_ma"].as_primitive::<Int32Type>();
    assert_eq!(current.value(0), 15_998);
    assert!(segment.readings["current_2_ma"].is_null(0));
    let sequence = segment.readings["sequence"].as_primitive::<Int64Type>();
    assert_eq!(sequence.values(), &[10, 21]);
    let detail = segment.events["detail"].as_string::<i32>();
    assert_eq!((detail.value(0), detail.value(1)), ("not_json: x", "13..=20: budget"));
    assert!(segment.decisions["circuits"].is_valid(0) && segment.decisions["circuits"].is_null(1));
}

#[test]
fn a_segment_comes_back_as_it_was_written() {
    let segment = segment();
    let bytes = segment.encode().expect("encodes");
    assert_eq!(Segment::header_of(&bytes).expect("whole"), segment.header);
    assert_eq!(Segment::decode(&bytes).expect("whole"), segment);
}

#[test]
fn a_segment_without_readings_comes_back_too() {
    let mut builder = builder();
    let row = Row::Gap(Gap { from: 1, to: 9, reason: GapReason::Damage });
    builder.push(&Record { sequence: 1, at_us: Micros(5), row }).expect("first");
    let segment = builder.finish().expect("not empty");
    assert_eq!(Segment::decode(&segment.encode().expect("encodes")).expect("whole"), segment);
    assert!(builder.finish().is_none());
}

#[test]
fn two_halves_hold_together_what_the_whole_did() {
    let (whole, mut left, mut pieces) = (segment(), vec![segment()], Vec::new());
    while let Some(piece) = left.pop() {
        match piece.halves() {
            Some((first, second)) => {
                assert_eq!(first.header.to + 1, second.header.from);
                left.extend([second, first]);
            }
            None => pieces.push(piece),
        }
    }
    let ranges: Vec<_> = pieces.iter().map(|piece| (piece.header.from, piece.header.to)).collect();
    assert_eq!(ranges, [(10, 10), (11, 11), (12, 12), (13, 20), (21, 21)]);
    assert_eq!(pieces.iter().map(Segment::rows).sum::<usize>(), whole.rows());
    for piece in pieces {
        let bytes = piece.encode().expect("encodes");
        assert_eq!(Segment::decode(&bytes).expect("whole"), piece);
    }
}

#[test]
fn a_record_that_does_not_follow_is_not_taken() {
    let mut builder = builder();
    builder.push(&Record { sequence: 1, at_us: Micros(0), row: reading(1) }).expect("first");
    let hole = builder.push(&Record { sequence: 3, at_us: Micros(0), row: reading(3) });
    assert!(matches!(hole, Err(SegmentError::Hole { expected: 2, found: 3 })));
    let backwards = Row::Gap(Gap { from: 2, to: 1, reason: GapReason::Damage });
    assert!(builder.push(&Record { sequence: 2, at_us: Micros(0), row: backwards }).is_err());
    assert_eq!(builder.len(), 1);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let bytes = segment().encode().expect("encodes");
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x10;
        assert!(Segment::decode(&damaged).is_err(), "byte {index}");
    }
}

#[test]
fn a_segment_that_was_cut_off_anywhere_is_refused() {
    let bytes = segment().encode().expect("encodes");
    for len in 0..bytes.len() {
        assert!(Segment::decode(&bytes[..len]).is_err(), "{len} bytes");
        let _ = Segment::header_of(&bytes[..len]);
    }
}

#[test]
fn what_is_no_segment_or_a_newer_one_is_said_so() {
    assert!(matches!(Segment::decode(b"PAR1...."), Err(SegmentError::Foreign)));
    let mut newer = segment().encode().expect("encodes");
    newer[4] = 3;
    assert!(matches!(Segment::decode(&newer), Err(SegmentError::Format(3))));
}
