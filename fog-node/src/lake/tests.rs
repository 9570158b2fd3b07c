//! What is in the tables after commits, crashes and derivations.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use tempfile::TempDir;
use wattle_columns::Segment;
use wattle_wire::row::EventKind;
use wattle_wire::uplink::Incarnation;

use super::raw::Raw;
use super::*;

#[path = "../../tests/rows/mod.rs"]
pub(crate) mod rows;
use rows::{Journal as Rows, NOON, edge};

pub(super) async fn lake() -> (TempDir, Lake) {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(folder.path()).await.expect("a new lake");
    (folder, lake)
}

/// The rows of a query, as texts.
pub(super) async fn ask(lake: &Lake, sql: &str) -> Vec<Vec<String>> {
    let context = lake.session_context().await.expect("a context");
    let batches = context.sql(sql).await.expect("a plan").collect().await.expect("rows");
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::array_value_to_string(column, row).expect("printable"));
            rows.push(cells.collect());
        }
    }
    rows
}

pub(super) async fn one(lake: &Lake, sql: &str) -> i64 {
    let context = lake.session_context().await.expect("a context");
    let batches = context.sql(sql).await.expect("a plan").collect().await.expect("rows");
    let column = batches[0].column(0).as_primitive::<Int64Type>().clone();
    if column.is_null(0) { 0 } else { column.value(0) }
}

pub(super) async fn commit(lake: &Lake, segments: Vec<Segment>) -> CommitReport {
    lake.commit(segments).await.expect("a commit")
}

pub(super) async fn position(lake: &Lake, incarnation: u128) -> Option<u64> {
    lake.positions(&edge(), Incarnation(incarnation)).await.expect("positions")
}

/// Ten readings, two decisions and an event.
pub(super) fn some(journal: &mut Rows, from: i64) -> Segment {
    for second in from..from + 10 {
        journal.reading("cp-1", second, 3680, second - NOON);
    }
    journal.decision(from + 10).decision(from + 10).event(from + 10, EventKind::MeterStale, "");
    journal.cut()
}

#[tokio::test]
async fn a_segment_that_comes_again_adds_nothing() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    let segment = some(&mut journal, NOON);
    let first = commit(&lake, vec![segment.clone()]).await;
    assert_eq!((first.rows, first.readings), (13, 10));
    assert_eq!(position(&lake, 7).await, Some(13));
    let again = commit(&lake, vec![segment.clone(), segment]).await;
    assert_eq!((again.rows, again.refused.len()), (0, 0));
    assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 10);
    assert_eq!(one(&lake, "SELECT count(*) FROM decisions").await, 2);
    assert_eq!(one(&lake, "SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn of_a_segment_that_overlaps_only_the_new_rows_are_taken() {
    let (_folder, lake) = lake().await;
    let mut short = Rows::new(7);
    let mut long = Rows::new(7);
    for second in 0..5 {
        short.reading("cp-1", NOON + second, 100, second);
    }
    for second in 0..8 {
        long.reading("cp-1", NOON + second, 100, second);
    }
    commit(&lake, vec![short.cut()]).await;
    assert_eq!(commit(&lake, vec![long.cut()]).await.rows, 3);
    let sequences = "SELECT count(DISTINCT sequence) FROM readings_raw";
    assert_eq!(one(&lake, sequences).await, one(&lake, "SELECT count(*) FROM readings_raw").await);
    assert_eq!(position(&lake, 7).await, Some(8));
}

#[tokio::test]
async fn a_segment_beyond_a_hole_is_refused_and_taken_once_the_hole_is_filled() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    let (first, second, third) =
        (some(&mut journal, NOON), some(&mut journal, NOON + 20), some(&mut journal, NOON + 40));
    let report = commit(&lake, vec![third.clone(), first]).await;
    assert_eq!(report.refused.len(), 1);
    assert!(report.refused[0].1.to_string().contains("needs 14 next"), "{}", report.refused[0].1);
    assert_eq!(position(&lake, 7).await, Some(13));
    let report = commit(&lake, vec![third, second]).await;
    assert_eq!((report.rows, report.refused.len()), (26, 0));
    assert_eq!(position(&lake, 7).await, Some(39));
}

#[tokio::test]
async fn a_journal_that_begins_late_is_refused_from_the_start() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::starting_at(7, 2);
    let report = commit(&lake, vec![some(&mut journal, NOON)]).await;
    assert_eq!((report.rows, report.refused.len()), (0, 1));
    assert_eq!(position(&lake, 7).await, None);
}

#[tokio::test]
async fn a_gap_moves_the_position_to_its_end() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.gap(NOON, 500).reading("cp-1", NOON, 0, 0);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(position(&lake, 7).await, Some(501));
    let gaps = ask(&lake, "SELECT kind, detail FROM events").await;
    assert_eq!(gaps, [["gap", "1..=500: budget"]]);
}

#[tokio::test]
async fn two_lives_of_a_journal_have_positions_of_their_own() {
    let (_folder, lake) = lake().await;
    let (mut old, mut new) = (Rows::new(1), Rows::new(2));
    let segments = vec![some(&mut old, NOON), some(&mut new, NOON), some(&mut new, NOON + 20)];
    commit(&lake, segments).await;
    assert_eq!((position(&lake, 1).await, position(&lake, 2).await), (Some(13), Some(26)));
    assert_eq!(position(&lake, 3).await, None);
    assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 30);
}

#[tokio::test]
async fn after_a_crash_between_two_tables_each_takes_what_it_lacks() {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    let (first, second) = (some(&mut journal, NOON), some(&mut journal, NOON + 20));
    commit(&lake, vec![first.clone()]).await;
    let (admitted, _) = admit::admit(vec![second.clone()], |_| Some(13));
    readings_only(&lake, &admitted).await;
    drop(lake);

    let lake = Lake::open(folder.path()).await.expect("the lake");
    assert_eq!(position(&lake, 7).await, Some(13), "the lowest of all tables");
    let report = commit(&lake, vec![first, second]).await;
    assert_eq!((report.rows, report.readings), (3, 0), "only what events and decisions lack");
    assert_eq!(position(&lake, 7).await, Some(26));
    assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 20);
    assert_eq!(one(&lake, "SELECT count(*) FROM decisions").await, 4);
}

/// A commit that is cut off after its readings.
async fn readings_only(lake: &Lake, admitted: &admit::Admitted) {
    let tables = lake.raw_tables();
    let written =
        tables.commit_table(&lake.readings, Raw::Readings, admitted, &Default::default(), &|_| true).await;
    written.expect("one table");
}

/// As [`some`], after its edge has run out of room.
fn thinned(journal: &mut Rows) -> Segment {
    let at = NOON + 10;
    journal.gap(at, 10).decision(at).decision(at).event(at, EventKind::MeterStale, "").cut()
}

#[tokio::test]
async fn what_was_cut_off_and_comes_again_without_its_readings_has_each_number_once() {
    let (full, thin) = (some(&mut Rows::new(7), NOON), thinned(&mut Rows::new(7)));
    for (first, then, readings, gaps) in
        [(&full, &thin, 10, vec![]), (&thin, &full, 0, vec![["1..=10: budget"]])]
    {
        let (_folder, lake) = lake().await;
        let (admitted, _) = admit::admit(vec![first.clone()], |_| None);
        readings_only(&lake, &admitted).await;
        commit(&lake, vec![then.clone()]).await;
        assert_eq!(position(&lake, 7).await, Some(13));
        assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, readings);
        assert_eq!(ask(&lake, "SELECT detail FROM events WHERE kind = 'gap'").await, gaps);
        assert_eq!(one(&lake, "SELECT count(*) FROM events WHERE kind <> 'gap'").await, 1);
    }
}

#[tokio::test]
async fn of_a_gap_that_has_grown_the_part_that_the_lake_lacks_is_taken() {
    let (_folder, lake) = lake().await;
    commit(&lake, vec![Rows::new(7).gap(NOON, 10).cut()]).await;
    commit(&lake, vec![Rows::new(7).gap(NOON, 30).cut()]).await;
    let gaps = ask(&lake, "SELECT sequence, detail FROM events ORDER BY sequence").await;
    assert_eq!(gaps, [["1", "1..=10: budget"], ["11", "11..=30: budget"]]);
    assert_eq!(position(&lake, 7).await, Some(30));
}

#[tokio::test]
async fn a_gap_beyond_its_segment_is_refused() {
    let (_folder, lake) = lake().await;
    let mut segment = Rows::new(7).gap(NOON, 10).cut();
    segment.header.to = 5;
    let report = commit(&lake, vec![segment]).await;
    let why: Vec<_> = report.refused.iter().map(|(_, why)| why.to_string()).collect();
    assert_eq!(why, ["segment 1..=5 holds a gap that its header doesn't announce; it was not taken"]);
}

#[tokio::test]
async fn two_writers_of_one_lake_bring_each_row_once() {
    let (folder, ours) = lake().await;
    let theirs = Lake::open(folder.path()).await.expect("the same lake");
    let mut journal = Rows::new(7);
    let segments: Vec<_> = (0..6).map(|i| some(&mut journal, NOON + i * 20)).collect();
    for (index, segment) in segments.iter().enumerate() {
        let both = futures::future::join(
            ours.commit(segments[..=index].to_vec()),
            theirs.commit(vec![segment.clone()]),
        );
        let (ours, theirs) = both.await;
        ours.expect("a commit");
        theirs.expect("a commit");
    }
    // Where each has held up the other in some table, an edge sends again; the first time ours may still hold an older log.
    for _ in 0..2 {
        commit(&ours, segments.clone()).await;
    }
    assert_eq!(one(&ours, "SELECT count(*) FROM readings_raw").await, 60);
    assert_eq!(one(&ours, "SELECT count(DISTINCT sequence) FROM readings_raw").await, 60);
    assert_eq!(position(&theirs, 7).await, Some(78));
}

#[tokio::test]
async fn rows_that_a_header_does_not_announce_are_refused() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    let mut lies = some(&mut journal, NOON);
    lies.header.to = 12;
    let mut foreign = some(&mut Rows::new(7), NOON);
    foreign.header.incarnation = Incarnation(8);
    let report = commit(&lake, vec![lies, foreign]).await;
    assert_eq!((report.rows, report.refused.len()), (0, 2));
}

#[tokio::test]
async fn the_views_part_good_readings_from_what_is_in_quarantine() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.reading("cp-1", NOON, 3680, 10);
    journal.reading("cp-1", NOON + 1, 3680, -1);
    journal.arrived("cp-1", 0, NOON + 2, 3680, 12);
    journal.event(NOON + 3, EventKind::Malformed, "not_json: expected value at line 1");
    journal.event(NOON + 3, EventKind::MeterStale, "");
    journal.event(NOON + 4, EventKind::Configured, "id = \"depot\"");
    commit(&lake, vec![journal.cut()]).await;
    let good = ask(&lake, "SELECT device, current_1_a, voltage_1_v, register_wh FROM readings").await;
    assert_eq!(good, [["cp-1", "16.0", "230.0", "10"]]);
    let bad = ask(&lake, "SELECT source, reason FROM quarantine ORDER BY sequence").await;
    assert_eq!(bad, [["reading", "register_negative"], ["reading", "too_late"], ["event", "not_json"]]);
    let sites = ask(&lake, "SELECT site, version, text FROM sites").await;
    assert_eq!(sites, [["depot", "6", "id = \"depot\""]]);
}

#[tokio::test]
async fn intervals_sum_up_to_the_registers_and_are_not_written_twice() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    for second in 0..300 {
        journal.reading("cp-1", NOON + second, 3600, second).reading("cp-2", NOON + second, 7200, 2 * second);
    }
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").intervals, 10);
    assert_eq!(lake.derive().await.expect("derived"), DeriveReport::default());
    let sums =
        ask(&lake, "SELECT device, sum(energy_wh), count(*) FROM intervals GROUP BY device ORDER BY device")
            .await;
    assert_eq!(sums, [["cp-1", "299", "5"], ["cp-2", "598", "5"]]);
}

#[tokio::test]
async fn intervals_are_the_same_however_they_were_batched() {
    let seconds: Vec<i64> = (0..40).map(|i| i * 17 + (i % 3) * 7).collect();
    let (_whole_folder, whole) = lake().await;
    let (_parts_folder, parts) = lake().await;
    let (mut all, mut some) = (Rows::new(7), Rows::new(7));
    // Two readings come hours late, into the middle of what is derived by then.
    let late = [333, 95];
    for (index, second) in seconds.iter().enumerate() {
        all.reading("cp-1", NOON + second, 1000 + index as i32, second / 3);
        some.reading("cp-1", NOON + second, 1000 + index as i32, second / 3);
        if index % 7 == 6 {
            commit(&parts, vec![some.cut()]).await;
            parts.derive().await.expect("derived");
        }
    }
    for second in late {
        all.arrived("cp-1", NOON + second, NOON + 9000, 500, second / 3);
        some.arrived("cp-1", NOON + second, NOON + 9000, 500, second / 3);
        commit(&parts, vec![some.cut()]).await;
        parts.derive().await.expect("derived");
    }
    commit(&whole, vec![all.cut()]).await;
    whole.derive().await.expect("derived");
    let sql = "SELECT start, readings, energy_wh, energy_span_ms, power_mean_w, power_min_w, power_max_w, covered_ms, resets FROM intervals ORDER BY start";
    let expected = ask(&whole, sql).await;
    assert_eq!(expected.len(), 12);
    assert_eq!(ask(&parts, sql).await, expected);
    let twice = "SELECT count(*) FROM (SELECT start, readings, energy_wh, covered_ms, power_mean_w, energy_span_ms FROM intervals_revisions GROUP BY ALL HAVING count(*) > 1)";
    assert_eq!(
        one(
            &parts,
            &twice.replace(
                "GROUP BY ALL",
                "GROUP BY start, readings, energy_wh, covered_ms, power_mean_w, energy_span_ms"
            )
        )
        .await,
        0
    );
}

#[tokio::test]
async fn a_device_that_comes_back_after_days_is_joined_to_its_last_register() {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.reading("cp-1", NOON - 60, 100, 5).reading("cp-1", NOON, 100, 10);
    commit(&lake, vec![journal.cut()]).await;
    lake.derive().await.expect("derived");
    drop(lake);
    let lake = Lake::open(folder.path()).await.expect("the lake");
    journal.reading("cp-1", NOON + 5 * 86_400, 100, 25);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").intervals, 1);
    assert_eq!(one(&lake, "SELECT sum(energy_wh) FROM intervals").await, 20);
}

#[tokio::test]
async fn a_session_grows_by_revisions_and_ends_with_its_energy() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.step("cp-1", "s1", EventKind::Plugged, NOON, 100);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").sessions, 1);
    journal.step("cp-1", "s1", EventKind::Started, NOON + 5, 100);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").sessions, 1);
    journal.reading("cp-1", NOON + 6, 7000, 5000);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").sessions, 0);
    journal.step("cp-1", "s1", EventKind::Ended, NOON + 50, 5100);
    journal.step("cp-1", "s1", EventKind::Unplugged, NOON + 60, 5100);
    commit(&lake, vec![journal.cut()]).await;
    assert_eq!(lake.derive().await.expect("derived").sessions, 1);
    assert_eq!(lake.derive().await.expect("derived"), DeriveReport::default());
    let found = ask(&lake, "SELECT session, \"user\", energy_wh, state, end_estimated FROM sessions").await;
    assert_eq!(found, [["s1", "u1", "5000", "closed", "false"]]);
    assert_eq!(one(&lake, "SELECT count(*) FROM sessions_revisions").await, 3);
}

#[tokio::test]
async fn a_lost_end_is_estimated_from_the_last_reading_even_if_that_comes_later() {
    let (_folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    journal.step("cp-1", "cp-1-s", EventKind::Plugged, NOON, 100);
    journal.step("cp-1", "cp-1-s", EventKind::Started, NOON, 100);
    journal.reading("cp-1", NOON + 30, 7000, 600);
    commit(&lake, vec![journal.cut()]).await;
    lake.derive().await.expect("derived");
    journal.step("cp-1", "next", EventKind::Plugged, NOON + 100, 900);
    commit(&lake, vec![journal.cut()]).await;
    lake.derive().await.expect("derived");
    let sql = "SELECT session, energy_wh, state, end_estimated FROM sessions ORDER BY plugged_at";
    let found = ask(&lake, sql).await;
    assert_eq!(found[0], ["cp-1-s", "500", "closed", "true"]);
    assert_eq!(found[1][2], "open");
    journal.arrived("cp-1", NOON + 60, NOON + 200, 7000, 800);
    commit(&lake, vec![journal.cut()]).await;
    lake.derive().await.expect("derived");
    assert_eq!(ask(&lake, sql).await[0], ["cp-1-s", "700", "closed", "true"]);
}

#[tokio::test]
async fn a_lake_that_another_process_reads_is_seen_as_it_grows() {
    let (folder, writer) = lake().await;
    let reader = Lake::open(folder.path()).await.expect("the same lake");
    let mut journal = Rows::new(7);
    for round in 1..=3 {
        commit(&writer, vec![some(&mut journal, NOON + round * 20)]).await;
        assert_eq!(one(&reader, "SELECT count(*) FROM readings_raw").await, round * 10);
    }
}

#[tokio::test]
async fn a_file_where_the_folder_should_be_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lake");
    std::fs::write(&path, "not a lake").expect("a file");
    let error = Lake::open(&path).await.err().expect("an error").to_string();
    assert!(error.contains("lake") && error.contains("can't be used"), "{error}");
}

#[tokio::test]
async fn a_table_whose_log_is_damaged_fails_the_queries_that_need_it_and_no_other() {
    let (folder, lake) = lake().await;
    let mut journal = Rows::new(7);
    commit(&lake, vec![some(&mut journal, NOON)]).await;
    let next = lake.events.head().version() + 1;
    let entry = folder.path().join(format!("events/_delta_log/{next:020}.json"));
    std::fs::write(&entry, "no entry").expect("written");
    assert_eq!(one(&lake, "SELECT count(*) FROM readings_raw").await, 10);
    let context = lake.session_context().await.expect("a context");
    let asked = context.sql("SELECT count(*) FROM events").await.expect("a plan").collect().await;
    let error = asked.expect_err("its log is damaged").to_string();
    assert!(error.contains("table events can't be"), "{error}");
    std::fs::remove_file(entry).expect("removed");
    assert_eq!(one(&lake, "SELECT count(*) FROM events").await, 1);
}
