//! `wattle simulate` on a small trace with every kind of bad row, under a limit that binds and one that doesn't. The
//! policy is the one that `make policies` builds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use serde_json::{Value, json};
use tempfile::TempDir;
use wattle::source::{Source, SourceArgs};

const TRACE: &str = include_str!("data/trace.csv");
const GOOD_ROWS: u64 = 15;
const REQUESTED_WH: u64 = 262_500;
const DELIVERED_WH: u64 = 170_251;

/// A folder with a site, a trace and, later, lakes.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(limit_a: u32) -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        let site = format!(
            "id = \"park\"\ntime_zone = \"Europe/Berlin\"\n\
             [[circuits]]\nid = \"grid\"\nlimit_a = {limit_a}\n\
             [[meters]]\nid = \"meter\"\ncircuit = \"grid\"\n\
             [tariff]\nstart_fee = \"0.50\"\nprice_per_kwh = \"0.40\"\n"
        );
        bench.write("site.toml", site.as_bytes());
        bench.write("trace.csv", &trace());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("writable");
    }

    fn simulate(&self, trace: &str, lake: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.arg("simulate").arg("--site").arg(self.path("site.toml"));
        command.arg("--trace").arg(self.path(trace)).arg("--lake").arg(self.path(lake)).args(more);
        command.output().expect("the program runs")
    }

    /// The summary of a simulation that succeeds.
    fn summary(&self, trace: &str, lake: &str) -> Value {
        let output = self.simulate(trace, lake, &["--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    }

    async fn lake(&self, lake: &str) -> Source {
        SourceArgs { at: None, lake: Some(self.path(lake)) }.open().await.expect("a lake")
    }

    /// That a simulation is refused with exit code 2 and says why.
    fn refused(&self, trace: &str, lake: &str, more: &[&str], says: &str) {
        let output = self.simulate(trace, lake, more);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(says), "{error}");
        assert!(output.stdout.is_empty());
    }
}

/// The trace with two rows that can't stand in a text file.
fn trace() -> Vec<u8> {
    let mut trace = TRACE.as_bytes().to_vec();
    trace.extend([b"\xff\xfe,,,,,,,,\n", "x".repeat(100_000).as_bytes(), b"\n"].concat());
    trace
}

fn rows(sums: &[arrow::array::RecordBatch]) -> Vec<(String, i64)> {
    let of = |batch: &arrow::array::RecordBatch| {
        let names = cast(batch.column(0), &DataType::Utf8).expect("text");
        let values = cast(batch.column(1), &DataType::Int64).expect("numbers");
        let names = names.as_string::<i32>().iter().map(|name| name.unwrap_or("none").to_owned());
        let values: Vec<_> = values.as_primitive::<Int64Type>().values().to_vec();
        names.zip(values).collect::<Vec<_>>()
    };
    sums.iter().flat_map(of).collect()
}

async fn ask(lake: &mut Source, sql: &str) -> Vec<(String, i64)> {
    rows(&lake.collect(sql).await.expect(sql))
}

fn bad_rows() -> Value {
    json!({
        "bad_arrival": 3, "bad_departure": 1, "departure_not_after_arrival": 2, "stay_too_long": 1,
        "missing_station": 1, "bad_station": 1, "unknown_station": 1, "missing_session": 1, "bad_session": 1,
        "missing_energy": 1, "bad_energy": 1, "negative_energy": 1, "impossible_energy": 1, "bad_requested": 1,
        "negative_requested": 1, "bad_estimated_departure": 1, "bad_user": 1, "duplicate_session": 1, "overlap": 1,
        "wrong_columns": 2, "not_text": 1, "line_too_long": 1,
    })
}

#[test]
fn under_a_limit_that_does_not_bind_each_session_gets_what_the_trace_says() {
    let summary = Bench::new(500).summary("trace.csv", "lake");
    assert_eq!(summary["rows"], GOOD_ROWS + 26);
    assert_eq!(summary["sessions"], GOOD_ROWS);
    assert_eq!(summary["quarantined"], bad_rows());
    assert_eq!(summary["requested_wh"], REQUESTED_WH);
    assert_eq!(summary["delivered_wh"], DELIVERED_WH);
    assert_eq!((&summary["short"], &summary["breaches"]), (&json!(0), &json!(0)));
    assert_eq!(summary["policy_failures"], 0);
    assert!(summary["easy"].as_u64() >= Some(14));
}

#[test]
fn under_a_limit_that_binds_no_limit_is_passed_and_what_there_is_is_used() {
    let summary = Bench::new(20).summary("trace.csv", "lake");
    assert_eq!((&summary["sessions"], &summary["breaches"]), (&json!(GOOD_ROWS), &json!(0)));
    assert!(summary["short"].as_u64() > Some(0), "it binds: {summary}");
    assert_eq!(summary["peak_a"][0], 20.0, "P-01, P-04 and P-07 share L1");
    let delivered = summary["delivered_wh"].as_u64().expect("a number");
    assert!((100_000..DELIVERED_WH).contains(&delivered), "{delivered}");
}

#[tokio::test]
async fn the_highest_quarter_of_the_guide_is_no_more_than_the_meter_showed() {
    let bench = Bench::new(20);
    bench.summary("trace.csv", "lake");
    let mut lake = bench.lake("lake").await;
    let guide =
        include_str!("../../../docs/sql.md").replace("'depot'", "'park'").replace("'meter-1'", "'meter'");
    let question = guide.split("```").find(|part| part.contains("15 minutes")).expect("a question");
    let question = question.trim_start_matches("sql").trim().trim_end_matches(';');
    let watts = format!("SELECT 'kw', CAST(round(mean_kw * 1000) AS BIGINT) FROM ({question})");
    let quarters = ask(&mut lake, &watts).await;
    let shown =
        ask(&mut lake, "SELECT 'w', max(power_w) FROM readings_raw WHERE device = 'meter'").await[0].1;
    assert_eq!(quarters.len(), 10);
    assert!(quarters.iter().all(|(_, watts)| (1..=shown + 10).contains(watts)), "{shown} W: {quarters:?}");
    assert!(quarters[0].1 > shown / 2, "{shown} W: {quarters:?}");
}

#[test]
fn a_site_without_a_meter_and_with_a_raise_delay_keeps_the_limit_too() {
    let bench = Bench::new(1);
    bench.write(
        "site.toml",
        b"id = \"park\"\n[control]\nraise_delay_ms = 5000\n[[circuits]]\nid = \"grid\"\nlimit_a = 100\n\
          [[circuits]]\nid = \"row\"\nparent = \"grid\"\nlimit_a = [24, 12, 40]\n\
          [[chargers]]\nid = \"P-04\"\ncircuit = \"row\"\nphases = [\"L1\"]\n\
          [[chargers]]\nid = \"P-01\"\ncircuit = \"row\"\nphases = [\"L1\"]\n\
          [[chargers]]\nid = \"P-02\"\ncircuit = \"grid\"\n",
    );
    let summary = bench.summary("trace.csv", "lake");
    assert_eq!(summary["breaches"], 0);
    assert_eq!(summary["sessions"], 7, "P-01, P-02 and P-04: {summary}");
    assert_eq!(summary["quarantined"]["unknown_station"], 10);
    assert_eq!(summary["peak_a"][0], 24.0);
}

#[tokio::test]
async fn every_row_is_in_the_sessions_or_in_the_quarantine_once() {
    let bench = Bench::new(500);
    bench.summary("trace.csv", "lake");
    let mut lake = bench.lake("lake").await;
    let sessions = ask(&mut lake, "SELECT session, energy_wh FROM sessions ORDER BY session").await;
    let names: Vec<_> = sessions.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["a1_08:00:00", "a2", "a3", "a4", "a5", "a6", "a7", "b1", "b2", "b3", "b4", "c1", "c2", "c3", "c4"];
    assert_eq!(names, expected);
    let quarantined = ask(&mut lake, "SELECT reason, count(*) FROM quarantine GROUP BY reason").await;
    let quarantined: BTreeMap<_, _> = quarantined.into_iter().collect();
    assert_eq!(serde_json::to_value(quarantined).expect("plain"), bad_rows());
    let details = ask(&mut lake, "SELECT detail, 1 FROM quarantine WHERE reason = 'overlap'").await;
    assert_eq!(details[0].0, "overlap: row 37: station P-01 is taken by row 1 when it begins");
}

#[tokio::test]
async fn stations_intervals_and_bills_add_up_to_the_same_energy() {
    let bench = Bench::new(20);
    let delivered = bench.summary("trace.csv", "lake")["delivered_wh"].as_i64().expect("a number");
    let mut lake = bench.lake("lake").await;
    let month = "to_char(ended_at AT TIME ZONE 'Europe/Berlin', '%Y-%m')";
    let by_station =
        format!("SELECT {month} AS month, device, sum(energy_wh) AS wh FROM sessions GROUP BY 1, 2");
    let by_month =
        format!("SELECT month, CAST(sum(wh) AS BIGINT) FROM ({by_station}) GROUP BY month ORDER BY month");
    let months = ask(&mut lake, &by_month).await;
    assert_eq!(months.len(), 2);
    assert_eq!(months.iter().map(|(_, wh)| wh).sum::<i64>(), delivered);
    let site = "park".parse().expect("name");
    for (month, wh) in months {
        let bill =
            wattle::bill::bill(&mut lake, &site, month.parse().expect("a month")).await.expect("a bill");
        assert_eq!(bill.sum.energy_wh, wh, "{month}");
        assert!(bill.unbilled.is_empty());
        assert!(
            bill.accounts.iter().any(|account| account.user.is_none()),
            "who is not known stands there too"
        );
    }
    let intervals = "SELECT 'all', sum(energy_wh) FROM intervals WHERE device <> 'meter'";
    assert_eq!(ask(&mut lake, intervals).await[0].1, delivered);
    let meter = "SELECT 'all', max(register_wh) - min(register_wh) FROM readings WHERE device = 'meter'";
    let metered = ask(&mut lake, meter).await[0].1;
    // Each register keeps the fraction of a Wh that is not whole yet to itself.
    let stations = ask(&mut lake, "SELECT 'all', count(DISTINCT device) FROM sessions").await[0].1;
    let more = metered - delivered;
    assert!((-1..=stations).contains(&more), "the meter saw {metered} Wh of {delivered} Wh");
}

#[tokio::test]
async fn a_charging_vehicle_sends_a_reading_a_minute_and_at_each_change() {
    let bench = Bench::new(500);
    bench.summary("trace.csv", "lake");
    let mut lake = bench.lake("lake").await;
    let gaps = "SELECT 'longest', CAST(max(gap) AS BIGINT) FROM (\
                SELECT date_part('epoch', at - lag(at) OVER (PARTITION BY session ORDER BY at, sequence)) AS gap \
                FROM readings WHERE session IS NOT NULL AND state IN ('charging', 'waiting'))";
    assert_eq!(ask(&mut lake, gaps).await[0].1, 60);
    let none_late =
        "SELECT 'late', count(*) FROM readings WHERE arrived_at - at <> INTERVAL '20 milliseconds'";
    assert_eq!(ask(&mut lake, none_late).await[0].1, 0);
}

#[test]
fn the_same_trace_gives_the_same_summary_plain_or_gzipped_and_for_people_too() {
    let bench = Bench::new(20);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&trace()).expect("in memory");
    bench.write("trace.csv.gz", &gzip.finish().expect("in memory"));
    let (mut plain, mut zipped) = (bench.summary("trace.csv", "a"), bench.summary("trace.csv.gz", "b"));
    for summary in [&mut plain, &mut zipped] {
        assert!(summary["wall_s"].take().as_f64() > Some(0.0));
    }
    assert_eq!(plain, zipped);
    let text = bench.simulate("trace.csv", "c", &["--policy", "fair-share"]).stdout;
    let text = String::from_utf8(text).expect("text");
    let kwh = plain["delivered_wh"].as_f64().expect("a number") / 1000.0;
    assert!(text.contains(&format!("delivered     {kwh:.3} kWh")), "{text}");
    assert!(text.contains("quarantined   26\n") && text.contains("1 overlap\n"), "{text}");
}

#[test]
fn a_trace_of_nothing_but_bad_rows_or_of_no_rows_ends_in_a_summary() {
    let bench = Bench::new(20);
    let header = TRACE.lines().next().expect("a header");
    bench.write("bad.csv", format!("{header}\na,b,c\n").as_bytes());
    let summary = bench.summary("bad.csv", "bad");
    assert_eq!((&summary["sessions"], &summary["quarantined"]), (&json!(0), &json!({"wrong_columns": 1})));
    bench.write("none.csv", header.as_bytes());
    assert_eq!(bench.summary("none.csv", "none")["rows"], 0);
}

#[test]
fn what_can_not_be_used_is_refused_with_exit_code_2_before_a_lake_is_made() {
    let bench = Bench::new(20);
    bench.write("header.csv", TRACE.replace("station_id", "station").as_bytes());
    bench.refused("header.csv", "lake", &[], "the header lacks station_id");
    bench.refused("missing.csv", "lake", &[], "missing.csv");
    bench.refused("trace.csv", "lake", &["--policy", "no-such-policy"], "no-such-policy");
    bench.write("hollow.wasm", b"\0asm");
    let hollow = bench.path("hollow.wasm");
    bench.refused("trace.csv", "lake", &["--policy", hollow.to_str().expect("a name")], "can't be used");
    bench.write("site.toml", b"id = \"park\"\ncircuits = []\ntime_zone = \"Mars\"\n");
    bench.refused("trace.csv", "lake", &[], "time_zone");
    assert!(!bench.path("lake").exists());
}

#[test]
fn a_policy_is_told_prices_and_surplus_and_what_they_came_to_stands_in_the_summary() {
    let bench = Bench::new(500);
    bench.write("prices.csv", b"from,price_per_kwh\n00:00,0.50\n");
    bench.write("sun.csv", b"from,surplus_w\n00:00,1000000\n");
    bench.write("night.csv", b"from,surplus_w\n00:00,0\n");
    let (prices, path) = (bench.path("prices.csv"), |name: &str| bench.path(name));
    let run = |lake: &str, policy: &str, surplus: &Path| {
        let (prices, surplus) = (prices.to_str().expect("a name"), surplus.to_str().expect("a name"));
        let more = ["--policy", policy, "--prices", prices, "--surplus", surplus, "--json"];
        let output = bench.simulate("trace.csv", lake, &more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("one JSON object")
    };
    let number = |summary: &Value, key: &str| summary[key].as_i64().expect("a number");
    let sunny = run("a", "solar-surplus", &path("sun.csv"));
    let given = number(&sunny, "delivered_wh");
    assert!(given > DELIVERED_WH as i64 / 2, "{sunny}");
    // To a Wh of each session, which a register doesn't show.
    assert!((number(&sunny, "from_surplus_wh") - given).abs() <= 15, "{sunny}");
    assert!((number(&sunny, "cost_micros") - given * 500).abs() <= 15 * 500, "{sunny}");
    assert!(number(&sunny, "full") > 0 && sunny["mean_wait_s"].as_f64() >= Some(60.0), "{sunny}");
    let night = run("b", "solar-surplus", &path("night.csv"));
    assert_eq!((number(&night, "delivered_wh"), number(&night, "cost_micros")), (0, 0));
    assert_eq!(number(&night, "never_charged"), number(&night, "asked"));
    let aware = run("c", "cost-aware", &path("night.csv"));
    assert_eq!((number(&aware, "policy_failures"), number(&aware, "from_surplus_wh")), (0, 0));
    assert!(number(&aware, "delivered_wh") > 0);
    bench.write("prices.csv", b"from,price_per_kwh\n00:07,0.50\n");
    bench.refused(
        "trace.csv",
        "d",
        &["--prices", prices.to_str().expect("a name")],
        "does not begin at 00:00",
    );
}

#[test]
fn waits_and_switches_stand_in_the_summary_where_the_limit_binds() {
    let free = Bench::new(500).summary("trace.csv", "lake");
    let bound = Bench::new(8).summary("trace.csv", "lake");
    assert!(free["mean_wait_s"].as_f64() < Some(10.0) && free["standby_switches"] == 0, "{free}");
    assert!(bound["mean_standby_s"].as_f64() > Some(60.0), "{bound}");
    assert_eq!((&free["full"], &free["cost_micros"]), (&free["sessions"], &json!(null)));
    assert_eq!(free["wanted_wh"], DELIVERED_WH);
}

#[test]
fn the_example_site_charges_the_example_sessions() {
    let bench = Bench::new(1);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let example = |path: &str| std::fs::read(format!("{root}/{path}")).expect(path);
    bench.write("site.toml", &example("docs/site.toml"));
    bench.write("depot.csv", &example("sdk/cli/tests/data/depot.csv"));
    let summary = bench.summary("depot.csv", "lake");
    assert_eq!((&summary["rows"], &summary["sessions"]), (&json!(9), &json!(8)));
    assert_eq!(summary["quarantined"], json!({"departure_not_after_arrival": 1}));
    assert_eq!((&summary["breaches"], &summary["peak_a"][0]), (&json!(0), &json!(30.0)));
}

#[test]
fn a_gzip_file_that_breaks_off_is_an_error_and_no_shorter_trace() {
    let bench = Bench::new(20);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&trace()).expect("in memory");
    let whole = gzip.finish().expect("in memory");
    bench.write("cut.csv.gz", &whole[..whole.len() / 2]);
    let output = bench.simulate("cut.csv.gz", "lake", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("can't be read to its end"));
    assert!(!bench.path("lake").exists());
}

#[test]
fn a_folder_with_something_in_it_is_not_made_a_lake() {
    let bench = Bench::new(20);
    bench.refused("trace.csv", ".", &[], "is not empty");
    assert!(!Path::new(&bench.path("events")).exists());
}

#[test]
fn a_policy_that_gives_nobody_anything_leaves_sessions_without_energy() {
    let bench = Bench::new(500);
    let output = bench.simulate("trace.csv", "lake", &["--policy", "hostile", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&summary["sessions"], &summary["delivered_wh"]), (&json!(GOOD_ROWS), &json!(0)));
    assert_eq!(summary["peak_a"], json!([0.0, 0.0, 0.0]));
}
