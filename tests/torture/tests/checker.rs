//! The checker bites: a real lake and a book that agree are found sound, and each way in which they can disagree is found and
//! said.

use std::collections::BTreeMap;

use tempfile::TempDir;
use wattle_columns::SegmentBuilder;
use wattle_fog::lake::Lake;
use wattle_torture::book::{Book, Writer};
use wattle_torture::check::{Findings, compare};
use wattle_torture::lake::{self, Entry, Rows};
use wattle_wire::message::{self, Ack, Number, Phases, Session, SessionStep, Values};
use wattle_wire::row::{Event, EventKind, Gap, GapReason, Reading, Record, Row};
use wattle_wire::topic::Channel;
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, Milliamps, SiteId, UserId, WattHours, Watts};

const JOURNAL: &str = "edge-1/00000000000000000000000000000007";
const AT: Micros = Micros::from_secs(1_772_366_400);

fn values(seq: u64) -> Values {
    Values {
        current_ma: Some(Phases::new(&[Milliamps(-20 * seq as i32)])),
        power_w: Some(Watts(400)),
        register_wh: Some(WattHours(seq as i64)),
        ..Values::default()
    }
}

fn device() -> DeviceId {
    DeviceId::new("cp-1").expect("a name")
}

fn reading(seq: u64) -> Row {
    Row::Reading(Reading {
        site: SiteId::new("depot").expect("a name"),
        device: device(),
        number: Some(Number { boot: 1, seq }),
        measured_us: Some(AT),
        state: None,
        setpoint: Some(4),
        session: None,
        values: values(seq),
    })
}

fn step(seq: u64) -> Row {
    let mut event = Event::new(SiteId::new("depot").expect("a name"), Some(device()), EventKind::Started, "");
    event.number = Some(Number { boot: 1, seq });
    event.measured_us = Some(AT);
    event.register_wh = Some(WattHours(7));
    event.user = Some(UserId::new("ann").expect("a name"));
    Row::Event(event)
}

fn gap(from: u64, to: u64) -> Row {
    Row::Gap(Gap { from, to, reason: GapReason::Budget })
}

/// What an edge has journaled, committed to a lake as a fog node does.
async fn lake_of(rows: impl IntoIterator<Item = Row>) -> Rows {
    let folder = TempDir::new().expect("a folder");
    let mut builder = SegmentBuilder::new(EdgeId::new("edge-1").expect("a name"), Incarnation(7));
    let mut sequence = 1;
    for row in rows {
        let next = if let Row::Gap(gap) = &row { gap.to + 1 } else { sequence + 1 };
        builder.push(&Record { sequence, at_us: AT, row }).expect("contiguous");
        sequence = next;
    }
    let segment = builder.finish().expect("rows");
    let lake = Lake::open(folder.path()).await.expect("a lake");
    let report = lake.commit(vec![segment]).await.expect("committed");
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    lake::read(folder.path()).await.expect("readable")
}

/// Readings 1 and 2, step 3 and reading 4 as the device has made them; the first three are acknowledged.
fn book() -> Book {
    let folder = TempDir::new().expect("a folder");
    let mut writer = Writer::begin(folder.path(), 1).expect("begun");
    for seq in [1, 2, 4] {
        let mut made = message::Reading::default();
        (made.boot, made.seq, made.at_us, made.setpoint) = (Some(1), Some(seq), Some(AT), Some(4));
        let payload = message::encode(&made.with_values(values(seq)));
        writer.made("cp-1", Channel::Reading, &payload).expect("written");
    }
    let made = Session {
        boot: Some(1),
        seq: Some(3),
        at_us: Some(AT),
        step: SessionStep::Start,
        register_wh: Some(WattHours(7)),
        session: None,
        user: Some(UserId::new("ann").expect("a name")),
        requested_wh: None,
        departure_us: None,
    };
    writer.made("cp-1", Channel::Session, &message::encode(&made)).expect("written");
    let ack = Ack { boot: 1, from: 1, to: 3 };
    writer.acknowledged("cp-1", &message::encode(&ack)).expect("written");
    Book::read(folder.path(), 1).expect("readable")
}

fn found(book: &Book, lake: &Rows, end: u64) -> Findings {
    compare(book, lake, &BTreeMap::from([(JOURNAL.to_owned(), end)]))
}

/// All that is found, which has to be one thing.
fn one(findings: &Findings) -> &str {
    let all: Vec<&String> = findings.all().collect();
    let [one] = all[..] else { panic!("{all:?}") };
    one
}

#[tokio::test]
async fn a_lake_with_each_acknowledged_message_once_is_sound() {
    let lake = lake_of([reading(1), step(3), reading(2)]).await;
    let findings = found(&book(), &lake, 3);
    assert!(findings.is_sound(), "{findings:?}");
    assert_eq!((findings.readings, findings.steps, lake.readings), (2, 1, 2));
}

#[tokio::test]
async fn what_was_not_acknowledged_may_be_there_once() {
    let findings = found(&book(), &lake_of([reading(1), reading(2), step(3), reading(4)]).await, 4);
    assert!(findings.is_sound(), "{findings:?}");
}

#[tokio::test]
async fn an_acknowledged_reading_that_the_lake_lacks_is_missing() {
    let findings = found(&book(), &lake_of([reading(1), step(3)]).await, 2);
    assert_eq!(findings.missing.len(), 1);
    assert!(one(&findings).starts_with("cp-1 1/2 was acknowledged and isn't in the lake: "), "{findings:?}");
}

#[tokio::test]
async fn an_acknowledged_step_that_the_lake_lacks_is_missing() {
    let findings = found(&book(), &lake_of([reading(1), reading(2)]).await, 2);
    assert!(
        one(&findings).starts_with("cp-1 1/3 was acknowledged and isn't in the lake: started;"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_reading_that_stands_twice_is_a_duplicate_whether_it_was_acknowledged_or_not() {
    for seq in [2, 4] {
        let rows = [reading(1), reading(2), step(3), reading(4), reading(seq)];
        let findings = found(&book(), &lake_of(rows).await, 5);
        assert_eq!(findings.duplicates.len(), 1);
        assert_eq!(one(&findings), format!("cp-1 1/{seq} stands 2 times in the lake"));
    }
}

#[tokio::test]
async fn changed_values_are_found() {
    let Row::Reading(mut other) = reading(2) else { panic!("a reading") };
    other.values.current_ma = Some(Phases::new(&[Milliamps(40)]));
    let findings = found(&book(), &lake_of([reading(1), Row::Reading(other), step(3)]).await, 3);
    assert_eq!(findings.changed.len(), 1);
    let text = one(&findings);
    assert!(text.starts_with("cp-1 1/2 was sent with 1772366400000000;;4;-40;"), "{text}");
    assert!(text.contains(" and stands in readings_raw with 1772366400000000;;4;40;"), "{text}");
}

#[tokio::test]
async fn a_row_that_nobody_has_sent_is_strange() {
    let findings = found(&book(), &lake_of([reading(1), reading(2), step(3), reading(9)]).await, 4);
    assert!(
        one(&findings).starts_with("cp-1 1/9 stands in readings_raw, and nobody has sent it"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_number_that_was_taken_with_other_content_is_found() {
    let mut conflict =
        Event::new(SiteId::new("depot").expect("a name"), Some(device()), EventKind::Conflict, "");
    conflict.number = Some(Number { boot: 1, seq: 2 });
    let findings = found(&book(), &lake_of([reading(1), reading(2), step(3), Row::Event(conflict)]).await, 4);
    assert_eq!((findings.duplicates.len(), findings.changed.len()), (1, 1));
}

#[tokio::test]
async fn a_journal_whose_end_the_lake_has_not_reached_is_missing_something() {
    let findings = found(&book(), &lake_of([reading(1), reading(2), step(3)]).await, 5);
    assert_eq!(one(&findings), format!("journal {JOURNAL}: entries 4 to 5 are nowhere, its last ones"));
}

#[tokio::test]
async fn numbers_in_a_gap_are_accounted_for_but_what_was_acknowledged_is_missing_all_the_same() {
    let lake = lake_of([reading(1), step(3), gap(3, 9), reading(4)]).await;
    assert_eq!(lake.in_gaps, 7);
    let findings = found(&book(), &lake, 10);
    assert!(one(&findings).starts_with("cp-1 1/2 was acknowledged"), "{findings:?}");
}

#[tokio::test]
async fn a_lake_without_a_number_or_with_one_twice_is_found() {
    let mut lake = lake_of([reading(1), reading(2), step(3)]).await;
    let entries = lake.entries.get_mut(JOURNAL).expect("the journal");
    entries.retain(|entry| entry.from != 2);
    assert_eq!(one(&found(&book(), &lake, 3)), format!("journal {JOURNAL}: entries 2 to 2 are nowhere"));
    let entries = lake.entries.get_mut(JOURNAL).expect("the journal");
    entries.extend([2, 3].map(|number| Entry { from: number, to: number, table: "decisions" }));
    let findings = found(&book(), &lake, 3);
    assert!(one(&findings).starts_with(&format!("journal {JOURNAL}: entry 3 stands twice")), "{findings:?}");
}

#[tokio::test]
async fn an_empty_lake_and_a_foreign_journal_are_found() {
    let findings = found(&book(), &Rows::default(), 3);
    assert_eq!(findings.missing.len(), 4, "three messages and the journal: {findings:?}");
    let findings = compare(&book(), &lake_of([reading(1), reading(2), step(3)]).await, &BTreeMap::new());
    assert_eq!(one(&findings), format!("the lake has journal {JOURNAL}, and the edge has another"));
}
