//! Gaps of a reason that an edge knows and this node doesn't.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray as _, RecordBatch, StringArray};
use wattle_columns::Segment;

use super::tests::rows::{Journal as Rows, NOON};
use super::tests::{ask, commit, lake, one, position};

const GAPS: &str = "SELECT detail FROM events WHERE kind = 'gap' ORDER BY sequence";

/// The segment as an edge would have sent it that gives its gaps another reason.
fn for_reason(mut segment: Segment, reason: &str) -> Segment {
    let events = &segment.events;
    let index = events.schema().index_of("detail").expect("a column");
    let details = events.column(index).as_string::<i32>().iter();
    let details: StringArray = details.map(|text| text.map(|text| text.replace("budget", reason))).collect();
    let mut columns = events.columns().to_vec();
    columns[index] = Arc::new(details) as ArrayRef;
    segment.events = RecordBatch::try_new(events.schema(), columns).expect("the same columns");
    // As it comes over the way up.
    Segment::decode(&segment.encode().expect("encodes")).expect("whole")
}

#[tokio::test]
async fn a_gap_of_a_reason_that_is_not_known_here_is_taken_and_kept_as_it_was_told() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.reading("cp-1", NOON, 0, 0).gap(NOON, 500).reading("cp-1", NOON + 1, 0, 0);
    let report = commit(&lake, vec![for_reason(journal.cut(), "stolen_2")]).await;
    assert_eq!((report.readings, report.refused.len()), (2, 0));
    assert_eq!(position(&lake, 7).await, Some(502));
    assert_eq!(ask(&lake, GAPS).await, [["2..=501: stolen_2"]]);
    journal.gap(NOON + 2, 3);
    assert_eq!(commit(&lake, vec![for_reason(journal.cut(), "stolen_3")]).await.refused, []);
    assert_eq!(ask(&lake, GAPS).await, [["2..=501: stolen_2"], ["503..=505: stolen_3"]]);
}

#[tokio::test]
async fn what_is_left_of_such_a_gap_after_rows_have_come_keeps_its_reason() {
    let (_folder, lake) = lake().await;
    let (mut first, mut then) = (Rows::new(7), Rows::new(7));
    for second in 0..5 {
        first.reading("cp-1", NOON + second, 0, second);
    }
    commit(&lake, vec![first.cut()]).await;
    then.gap(NOON, 9);
    commit(&lake, vec![for_reason(then.cut(), "stolen")]).await;
    assert_eq!(ask(&lake, GAPS).await, [["6..=9: stolen"]]);
    assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 5);
}

#[tokio::test]
async fn what_is_no_reason_at_all_is_still_refused() {
    let (_folder, lake) = lake().await;
    for (incarnation, reason) in [(1, ""), (2, "Some words"), (3, "x".repeat(65).as_str())].into_iter() {
        let mut journal = Rows::new(incarnation);
        journal.gap(NOON, 5);
        let report = commit(&lake, vec![for_reason(journal.cut(), reason)]).await;
        assert_eq!(report.refused.len(), 1, "{reason:?}");
        assert!(report.refused[0].1.to_string().contains("a gap that can't be read"), "{reason:?}");
    }
    assert_eq!(one(&lake, "SELECT count(*) FROM events").await, 0);
}
