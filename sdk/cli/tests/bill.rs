//! From journal records to a bill: through a lake folder, and through a fog node's Flight SQL over it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpListener;
use wattle_columns::SegmentBuilder;
use wattle_fog::lake::Lake;
use wattle_wire::row::{Event, EventKind, Record, Row};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{DeviceId, EdgeId, Micros, SessionId, SiteId, UserId, WattHours};

const SITE: &str = r#"
id = "depot"
time_zone = "Europe/Berlin"
[[circuits]]
id = "grid"
limit_a = 30
[[users]]
id = "u-1"
name = "Anna"
[tariff]
version = "t1"
currency = "EUR"
start_fee = "0.50"
price_per_kwh = "0.35"
"#;

/// 2026-03-31T21:00:00Z: the last hour of March in Berlin begins.
const LAST_HOUR: i64 = 1_774_990_800;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_fog_node_give_the_same_bill_to_the_byte() {
    let (folder, lake) = depot().await;
    let march = bill(&["--lake", path(&folder), "--site", "depot", "--month", "2026-03"]);
    assert_eq!(text(&march.stdout), include_str!("golden/march.txt"));

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(wattle_fog::query::serve(Arc::new(lake), listener, std::future::pending()));
    for format in [&[][..], &["--json"]] {
        let at = |source: [&str; 2]| {
            let asked = [&source[..], &["--site", "depot", "--month", "2026-03"], format].concat();
            tokio::task::block_in_place(|| bill(&asked))
        };
        let (there, here) = (at(["--at", &url]), at(["--lake", path(&folder)]));
        assert!(there.status.success(), "{}", text(&there.stderr));
        assert_eq!(text(&there.stdout), text(&here.stdout));
    }
}

#[tokio::test]
async fn the_bills_of_all_months_add_up_to_the_energy_of_the_sessions() {
    let (folder, _lake) = depot().await;
    let billed: i64 = ["2026-03", "2026-04"].iter().map(|month| energy_wh(&folder, month)).sum();
    let sql = "SELECT sum(energy_wh) AS wh FROM sessions WHERE NOT end_estimated";
    let asked = wattle(&["sql", sql, "--lake", path(&folder), "--format", "csv"]);
    assert_eq!(text(&asked.stdout), format!("wh\n{billed}\n"));
}

#[tokio::test]
async fn a_receipt_is_printed_for_a_session_and_refused_for_what_is_none() {
    let (folder, _lake) = depot().await;
    let receipt = |session| wattle(&["receipt", "--lake", path(&folder), "--session", session]);
    let printed = receipt("a");
    assert!(text(&printed.stdout).ends_with("energy cost  3.50 EUR\ntotal        4.00 EUR\n"), "{printed:?}");
    check_failure(&receipt("none"), 1, "wattle: the lake has no session none\n");
    check_failure(&receipt("open"), 1, "wattle: session open is not billed: it has not ended\n");
}

#[tokio::test]
async fn a_site_that_the_lake_does_not_know_is_named_with_those_that_it_does() {
    let (folder, _lake) = depot().await;
    check_failure(
        &bill(&["--lake", path(&folder), "--site", "dept", "--month", "2026-03"]),
        1,
        "wattle: the lake has no configuration of site dept, so no tariff; sites that it knows: depot\n",
    );
}

#[test]
fn a_command_line_that_can_not_be_used_ends_with_2() {
    let month = bill(&["--site", "depot", "--month", "March"]);
    assert_eq!(month.status.code(), Some(2));
    assert!(text(&month.stderr).contains("give YYYY-MM, for example 2026-03"), "{month:?}");
    check_failure(
        &wattle(&["sql", "SELECT 1", "--lake", "/nowhere"]),
        2,
        "wattle: /nowhere is no lake folder; give the one that wattle-fog writes to\n",
    );
    let both = wattle(&["sql", "SELECT 1", "--lake", "/nowhere", "--at", "http://127.0.0.1:1"]);
    assert_eq!(both.status.code(), Some(2));
}

#[tokio::test]
async fn a_query_that_is_refused_ends_with_1_and_leaves_no_file() {
    let (folder, _lake) = depot().await;
    let file = folder.path().join("out.csv");
    let file_name = file.to_str().expect("text");
    let refused = wattle(&["sql", "DROP TABLE events", "--lake", path(&folder), "-o", file_name]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("wattle: the lake is only read here: "), "{refused:?}");
    assert!(!file.exists());
}

#[tokio::test]
async fn every_question_of_the_guide_is_answered() {
    let (folder, _lake) = depot().await;
    let guide = include_str!("../../../docs/sql.md");
    let questions: Vec<&str> =
        guide.split("```sql\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(questions.len() > 3);
    for question in questions {
        let answer = wattle(&["sql", question, "--lake", path(&folder), "--format", "json"]);
        assert!(answer.status.success(), "{question}{}", text(&answer.stderr));
    }
    let per_month = wattle(&["sql", STATIONS_PER_MONTH, "--lake", path(&folder), "--format", "csv"]);
    let expected = "device,month,kwh\ncp-1,2026-03,10.0\ncp-2,2026-04,20.0\ncp-3,2026-03,1.234\n";
    assert_eq!(text(&per_month.stdout), expected);
}

/// As in the guide, with the month as text.
const STATIONS_PER_MONTH: &str = "SELECT device, to_char(date_trunc('month', ended_at AT TIME ZONE 'Europe/Berlin'), \
     '%Y-%m') AS month, sum(energy_wh) / 1000.0 AS kwh \
     FROM sessions WHERE NOT end_estimated AND ended_at IS NOT NULL GROUP BY device, month ORDER BY device, month";

/// A lake with a site and four stays: two that end a second apart on either side of the end of March in Berlin, one
/// without a user, and one that is still open.
async fn depot() -> (TempDir, Lake) {
    let mut rows = Rows::new();
    let mut configured = Event::new(site(), None, EventKind::Configured, "");
    configured.detail = SITE.to_string();
    rows.push(LAST_HOUR - 90_000, configured);
    rows.stay("cp-1", "a", Some("u-1"), LAST_HOUR - 7_200, LAST_HOUR + 3_599, 10_000);
    rows.stay("cp-2", "b", Some("u-1"), LAST_HOUR - 7_000, LAST_HOUR + 3_600, 20_000);
    rows.stay("cp-3", "c", None, LAST_HOUR - 6_000, LAST_HOUR, 1_234);
    rows.step("cp-1", "open", EventKind::Plugged, LAST_HOUR + 3_599, 10_000, None);
    rows.step("cp-1", "open", EventKind::Started, LAST_HOUR + 3_599, 10_000, Some("u-1"));
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(folder.path()).await.expect("a new lake");
    lake.commit(vec![rows.builder.finish().expect("rows")]).await.expect("committed");
    lake.derive().await.expect("derived");
    (folder, lake)
}

struct Rows {
    builder: SegmentBuilder,
    next: u64,
}

impl Rows {
    fn new() -> Self {
        let edge = EdgeId::new("edge-1").expect("a name");
        Self { builder: SegmentBuilder::new(edge, Incarnation(7)), next: 1 }
    }

    fn push(&mut self, second: i64, event: Event) {
        let record = Record { sequence: self.next, at_us: Micros::from_secs(second), row: Row::Event(event) };
        self.builder.push(&record).expect("contiguous");
        self.next += 1;
    }

    fn step(&mut self, device: &str, name: &str, kind: EventKind, at: i64, wh: i64, user: Option<&str>) {
        let device = DeviceId::new(device).expect("a name");
        let mut event = Event::new(site(), Some(device), kind, "");
        event.session = Some(SessionId::new(name).expect("a name"));
        event.measured_us = Some(Micros::from_secs(at));
        event.register_wh = Some(WattHours(wh));
        event.user = user.map(|user| UserId::new(user).expect("a name"));
        self.push(at, event);
    }

    fn stay(&mut self, device: &str, name: &str, user: Option<&str>, from: i64, to: i64, wh: i64) {
        self.step(device, name, EventKind::Plugged, from, 0, None);
        self.step(device, name, EventKind::Started, from, 0, user);
        self.step(device, name, EventKind::Ended, to, wh, None);
        self.step(device, name, EventKind::Unplugged, to + 60, wh, None);
    }
}

fn site() -> SiteId {
    SiteId::new("depot").expect("a name")
}

fn energy_wh(folder: &TempDir, month: &str) -> i64 {
    let printed = bill(&["--lake", path(folder), "--site", "depot", "--month", month, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    json["energy_wh"].as_i64().expect("a number")
}

fn bill(args: &[&str]) -> Output {
    wattle(&[&["bill"], args].concat())
}

fn wattle(args: &[&str]) -> Output {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_wattle"));
    Command::new(program).args(args).output().expect("the command starts")
}

fn check_failure(output: &Output, code: i32, expected: &str) {
    assert_eq!(text(&output.stderr), expected);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""));
}

fn path(folder: &TempDir) -> &str {
    let path: &Path = folder.path();
    path.to_str().expect("text")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}
