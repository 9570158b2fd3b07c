//! `wattle policy backtest` on the lake of a simulation. The policies are those that `make policies` builds.

mod lake;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use wattle::backtest::books::Frame;
use wattle::backtest::course::Steps;
use wattle::backtest::play;
use wattle::simulate::cost::Outside;
use wattle::simulate::guest::Guest;
use wattle::simulate::site::Site;
use wattle::simulate::trace::Stay;
use wattle::simulate::world::{Load, Scene};
use wattle_fog::lake::Lake;
use wattle_wire::{DeviceId, Micros, Milliamps, PerPhase, WattHours};

const SITE: &str = "id = \"park\"\ntime_zone = \"Europe/Berlin\"\n[control]\npolicy = \"fair-share\"\n\
                    [[circuits]]\nid = \"grid\"\nlimit_a = 20\n[[meters]]\nid = \"meter\"\ncircuit = \"grid\"\n";

struct Bench(TempDir);

impl Bench {
    /// A lake that holds a simulation under a limit that binds.
    fn new(policy: &str) -> Self {
        let bench = Self(tempfile::tempdir().expect("a folder"));
        bench.write("site.toml", SITE);
        bench.write("trace.csv", include_str!("data/trace.csv"));
        bench.simulate("lake", &["--policy", policy]);
        bench
    }

    /// Makes a lake of a simulation; its folder.
    fn simulate(&self, lake: &str, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.arg("simulate").args(words).arg("--site").arg(self.path("site.toml"));
        command.arg("--trace").arg(self.path("trace.csv")).arg("--lake").arg(self.path(lake));
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.path(lake).to_str().expect("a name").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("writable");
        self.path(name).to_str().expect("a name").to_owned()
    }

    fn run(&self, words: &[&str]) -> Output {
        let lake = self.path("lake");
        let lake = lake.to_str().expect("a name");
        run(&[&["--lake", lake, "--site", "park"], words].concat())
    }

    /// The report of a backtest that succeeds.
    fn report(&self, words: &[&str]) -> Value {
        json_of(&self.run(&[words, &["--json"]].concat()))
    }
}

#[test]
fn the_policy_that_was_recorded_gives_every_recorded_setpoint_and_figure_again() {
    for policy in ["fair-share", "first-come", "deadline"] {
        let report = Bench::new(policy).report(&["--policy", policy]);
        let again = &report["again"];
        assert!(again["recorded"].as_u64() > Some(300), "{policy}: {again}");
        assert_eq!((&again["same"], &again["first_us"]), (&again["recorded"], &json!(null)), "{policy}");
        let [recorded, run] = columns(&report) else { panic!("{report}") };
        assert_eq!((&run["breaches"], &run["policy_failures"]), (&json!(0), &json!(0)));
        for (key, value) in recorded.as_object().expect("figures") {
            if !["name", "breaches", "policy_failures"].contains(&key.as_str()) {
                assert_eq!(&run[key], value, "{policy}: {key}");
            }
        }
        assert_eq!((&report["differences"], &report["notes"]), (&json!([]), &json!([])));
        assert_eq!(report["course"]["power_w"][0], report["course"]["power_w"][1]);
    }
}

#[test]
fn another_policy_stands_beside_what_was_recorded_and_what_decided_then() {
    let bench = Bench::new("fair-share");
    let svg = bench.path("chart.svg");
    let report = bench.report(&["--policy", "first-come", "--svg", svg.to_str().expect("a name")]);
    let names: Vec<_> =
        columns(&report).iter().map(|column| column["name"].as_str().expect("a name")).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(names, ["recorded".into(), format!("fair-share {version}"), format!("first-come {version}")]);
    assert_eq!(report["again"]["same"], report["again"]["recorded"]);
    let [recorded, again, tried] = columns(&report) else { panic!("three columns") };
    assert_eq!(recorded["energy_wh"], again["energy_wh"]);
    assert_ne!(tried["energy_wh"], again["energy_wh"]);
    assert!(tried["never_charged"].as_u64() > again["never_charged"].as_u64(), "{tried}");
    assert_eq!(tried["breaches"], 0);
    let most = &report["differences"][0];
    assert!(most["energy_wh"][2].as_i64() > most["energy_wh"][1].as_i64(), "{most}");
    let chart = std::fs::read_to_string(svg).expect("a chart");
    assert!(chart.starts_with("<svg") && chart.ends_with("</svg>\n"));
    assert_eq!(chart.matches("<polyline").count(), 9);
    let text = bench.run(&["--policy", "first-come"]).stdout;
    let text = String::from_utf8(text).expect("text");
    for says in ["Recorded setpoints that come out again: 464 of 464", "breaches", "still asked as they left"]
    {
        assert!(text.contains(says), "{says} in\n{text}");
    }
    let guide = names_of_rows(include_str!("../../../docs/policies/backtest.md"));
    assert!(guide.len() > 10 && names_of_rows(&text) == guide, "the guide shows another table:\n{text}");
    let against = bench.report(&["--policy", "first-come", "--against", "equal-share"]);
    assert_eq!(
        (&against["columns"][1]["name"], &against["again"]),
        (&json!(format!("equal-share {version}")), &json!(null))
    );
}

#[tokio::test]
async fn a_vehicle_that_is_still_there_has_drawn_what_its_last_register_tells() {
    let bench = Bench::new("fair-share");
    let mut records = lake::entries(&bench.path("lake")).await;
    // Five stand there then.
    let noon = "2026-03-30T09:00:00Z".parse::<jiff::Timestamp>().expect("a time").as_microsecond();
    records.truncate(records.partition_point(|record| record.at_us.0 < noon));
    let cut = bench.path("cut");
    lake::of(&cut, &records).await;
    let words =
        ["--lake", cut.to_str().expect("a name"), "--site", "park", "--policy", "fair-share", "--json"];
    let reports =
        ["known", "drawn"].map(|demand| json_of(&run(&[&words[..], &["--demand", demand]].concat())));
    let [known, drawn] = &reports;
    let recorded = |report: &Value| columns(report)[0]["energy_wh"].as_i64().expect("a number");
    assert!(recorded(known) > 10_000, "{known}");
    assert_eq!(drawn["demand_wh"].as_i64(), Some(recorded(drawn)), "{drawn}");
    assert!(known["demand_wh"].as_i64() >= Some(recorded(known) + 2), "{known}");
    assert_eq!((&known["stays"], &known["notes"]), (&json!(6), &json!([])), "{known}");
    assert!(known["unknown_demand"].as_u64() >= Some(4), "{known}");
}

#[test]
fn demand_can_be_assumed_otherwise() {
    let bench = Bench::new("fair-share");
    let demand = |words: &[&str]| {
        let report = bench.report(&[&["--policy", "fair-share"], words].concat());
        let energy = |column: usize| report["columns"][column]["energy_wh"].as_i64().expect("a number");
        (report["demand_wh"].as_i64().expect("a number"), energy(0), energy(1))
    };
    let (known, recorded, _) = demand(&[]);
    let (drawn, _, given) = demand(&["--demand", "drawn"]);
    assert!(drawn == recorded && known > drawn, "{drawn} {recorded} {known}");
    // Each ends at a moment of its own; none takes more.
    assert!(given <= drawn && given > drawn * 99 / 100, "{given} of {drawn}");
    let (twice, _, more) = demand(&["--demand", "drawn", "--factor", "2"]);
    assert!(twice == 2 * drawn && more > given);
    let (requested, _, _) = demand(&["--demand", "requested"]);
    assert!(requested > known);
}

#[test]
fn stays_that_begin_in_the_range_are_counted_and_come_out_as_they_were() {
    let bench = Bench::new("fair-share");
    let report = bench.report(&["--policy", "fair-share", "--from", "2026-03-31", "--to", "2026-04-01"]);
    assert_eq!((&report["stays"], &report["from"]), (&json!(4), &json!("2026-03-31T20:00:00.000Z")));
    let [recorded, run] = columns(&report) else { panic!("{report}") };
    let energy = |column: &Value| column["energy_wh"].as_i64().expect("a number");
    assert_eq!(energy(recorded), 36_622);
    // A register that began before has a fraction of a Wh that one which begins with the run has not.
    assert!((energy(run) - 36_622).abs() <= 4, "{run}");
    assert_eq!(report["again"]["same"], report["again"]["recorded"]);
}

#[test]
fn energy_is_paid_at_the_price_of_its_moment_in_each_column() {
    let bench = Bench::new("fair-share");
    let prices = bench.write("prices.csv", "from,price_per_kwh\n00:00,0.50\n");
    let report = bench.report(&["--policy", "cost-aware", "--prices", &prices]);
    for column in columns(&report) {
        let (cost, energy) = (column["cost_micros"].as_i64(), column["energy_wh"].as_i64());
        let (cost, energy) = (cost.expect("a cost"), energy.expect("a number"));
        // Registers tell whole Wh, readings a power for each step.
        assert!((cost - energy * 500).abs() <= 20 * 500, "{column}");
    }
    let priced = bench.simulate("priced", &["--policy", "cost-aware", "--prices", &prices]);
    let words =
        ["--lake", &priced, "--site", "park", "--policy", "cost-aware", "--prices", &prices, "--json"];
    let again = &json_of(&run(&words))["again"];
    assert_eq!(
        (&again["same"], again["recorded"].as_u64() > Some(100)),
        (&again["recorded"], true),
        "{again}"
    );
    let wrong = bench.write("wrong.csv", "from,price_per_kwh\n00:07,0.50\n");
    refused(&bench.run(&["--policy", "cost-aware", "--prices", &wrong]), "does not begin at 00:00");
}

/// 8 A of other load for the first hour, 14 A from then on.
#[test]
fn other_load_leaves_less_for_vehicles_and_its_rise_breaks_no_limit() {
    let site = Site::of("site.toml".into(), SITE.into()).expect("right");
    let station: DeviceId = "A".parse().expect("a name");
    let site = site.equipped(&[station.clone()].into()).expect("it fits");
    let (arrival, departure) = (Micros::from_secs(1_000_000), Micros::from_secs(1_007_200));
    let stay = Stay {
        row: 1,
        arrival,
        departure,
        requested: None,
        delivered: WattHours(100_000),
        station: station.clone(),
        session: "stay".parse().expect("a name"),
        estimated_departure: None,
        user: None,
    };
    let load = |at_s: u64, amps: i32| {
        let current = PerPhase([Milliamps::from_amps(amps), Milliamps(0), Milliamps(0)]);
        Load { at_ms: at_s * 1000, circuit: 0, current }
    };
    let scene = Scene { loads: vec![load(1_000_000, 8), load(1_003_600, 14)], ..Scene::default() };
    let frame = Frame {
        chargers: [(station, 0)].into(),
        meter: Some("meter".parse().expect("a name")),
        counted: vec![[("stay".parse().expect("a name"), 0)].into()],
        stays: 1,
        outside: Outside::default(),
        steps: Steps::over(999_999_000, 1_007_201_000),
        from_ms: 999_999_000,
        until_ms: 1_007_201_000,
    };
    let settings = site.file.control.settings.clone();
    let player = play::load(&site.file.control, &policies(), "fair-share", settings).expect("a policy");
    let (guests, from_ms) = (vec![Guest::from(&stay)], 999_999_000);
    let stage = play::Stage { site, guests, scene, frame: Arc::new(frame), from_ms };
    let run = play::run(&stage, player, |_| {}).expect("it runs");
    assert_eq!((run.ran.breaches, run.ran.failures), (0, 0));
    // An hour at 12 A and an hour at 6 A.
    let given = run.column.energy_wh[0].expect("registers");
    assert!((4_000..=230 * 18).contains(&given), "{given} Wh");
    let peak = run.column.peak_ma.expect("a meter").0[0];
    assert!(
        (Milliamps(20_000)..=Milliamps(26_000)).contains(&peak),
        "{peak} until the edge has seen the rise"
    );
}

#[tokio::test]
async fn a_fog_node_answers_what_its_lake_does() {
    let bench = Bench::new("fair-share");
    let folder = bench.report(&["--policy", "first-come"]);
    let lake = Lake::open(&bench.path("lake")).await.expect("a lake");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(wattle_fog::query::serve(Arc::new(lake), listener, std::future::pending()));
    let words = ["--lake", &url, "--site", "park", "--policy", "first-come", "--json"].map(str::to_owned);
    let asked = tokio::task::spawn_blocking(move || run(&words.each_ref().map(String::as_str)));
    assert_eq!(json_of(&asked.await.expect("it runs")), folder);
    serving.abort();
}

#[test]
fn what_can_not_be_used_is_refused_with_a_sentence() {
    let bench = Bench::new("fair-share");
    let check = |words: &[&str], says: &str| refused(&bench.run(words), says);
    check(&["--policy", "no-such-policy"], "no-such-policy");
    let hollow = bench.write("hollow.wasm", "\0asm");
    check(&["--policy", &hollow], "can't be used");
    check(&["--policy", "fair-share", "--against", &hollow], "can't be used");
    let settings = bench.write("settings.json", "{\"slots\": \"many\"}");
    check(&["--policy", "first-come", "--settings", &settings], "slots");
    let list = bench.write("list.json", "[]");
    check(&["--policy", "first-come", "--settings", &list], "give a JSON object");
    check(
        &["--policy", "fair-share", "--from", "2027-01-01"],
        "no vehicle came to site park in that time; the lake has",
    );
    check(&["--policy", "fair-share", "--from", "soon"], "or a day such as");
    check(&["--policy", "fair-share", "--factor=-1"], "is no factor from 0 to 100");
    let lake = bench.path("lake");
    let elsewhere =
        ["--lake", lake.to_str().expect("a name"), "--site", "elsewhere", "--policy", "fair-share"];
    refused(&run(&elsewhere), "the lake knows no site elsewhere; it knows park");
    refused(&run(&["--lake", "/nowhere", "--site", "park", "--policy", "fair-share"]), "is no lake folder");
}

#[test]
fn a_lake_that_another_version_wrote_with_fewer_columns_is_refused_by_name() {
    for (table, column) in [("decisions", "circuits"), ("events", "register_wh")] {
        let bench = Bench::new("fair-share");
        without_column(&bench.path("lake").join(table), column);
        let told = format!(
            "{table} has no column {column}; use the program that goes with the fog node that wrote it"
        );
        refused(&bench.run(&["--policy", "fair-share"]), &told);
    }
}

#[test]
fn a_lake_whose_views_lack_a_column_is_told_in_a_line_that_names_it() {
    let bench = Bench::new("fair-share");
    without_column(&bench.path("lake/readings_raw"), "power_w");
    let done = bench.run(&["--policy", "fair-share"]);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!((done.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    assert!(
        told.contains("the lake is of another version than this program") && told.contains("power_w"),
        "{told}"
    );
}

/// Takes a column out of a table's schema, as a version that didn't know it would have made the table.
fn without_column(table: &std::path::Path, column: &str) {
    let log = table.join("_delta_log");
    let mut changed = 0;
    for entry in std::fs::read_dir(log).expect("a table") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines = text.lines().map(|line| {
            let mut action: Value = serde_json::from_str(line).expect("JSON");
            if let Some(schema) = action.pointer_mut("/metaData/schemaString") {
                let mut fields: Value = serde_json::from_str(schema.as_str().expect("text")).expect("JSON");
                fields["fields"].as_array_mut().expect("fields").retain(|field| field["name"] != column);
                *schema = fields.to_string().into();
                changed += 1;
            }
            action.to_string() + "\n"
        });
        let lines: String = lines.collect();
        std::fs::write(&path, lines).expect("written");
    }
    assert_eq!(changed, 1, "{}", table.display());
}

#[test]
fn where_the_component_that_decided_is_gone_what_was_recorded_stands_alone() {
    let bench = Bench::new("fair-share");
    let folder = bench.path("policies");
    std::fs::create_dir(&folder).expect("made");
    std::fs::copy(policies().join("first-come.wasm"), folder.join("first-come.wasm"))
        .expect("`make policies` has built it");
    let report = bench.report(&["--policy", "first-come", "--policies", folder.to_str().expect("a name")]);
    assert_eq!((columns(&report).len(), &report["again"]), (2, &json!(null)));
    let note = report["notes"][0].as_str().expect("a note");
    assert!(note.contains("fair-share") && note.contains("put that component there"), "{note}");
}

#[test]
fn a_policy_that_gives_no_plan_is_told() {
    let bench = Bench::new("fair-share");
    let settings = bench.write("refuse.json", "{\"way\": \"refuse\"}");
    let output = bench.run(&["--policy", "hostile", "--settings", &settings, "--json"]);
    let report = json_of(&output);
    let [_, _, hostile] = columns(&report) else { panic!("{report}") };
    assert_eq!(hostile["breaches"], 0);
    assert!(hostile["policy_failures"].as_u64() > Some(0), "{hostile}");
    assert!(report["notes"][0].as_str().is_some_and(|note| note.contains("gave no plan")), "{report}");
}

/// The names of a printed table's rows, without limits, which are those of a site.
fn names_of_rows(text: &str) -> Vec<String> {
    let rows = text.lines().skip_while(|line| !line.starts_with("energy, kWh"));
    let rows =
        rows.take_while(|line| !line.is_empty()).map(|line| line.split("   ").next().unwrap_or_default());
    let mut names: Vec<String> =
        rows.map(|name| name.chars().filter(|c| !c.is_ascii_digit()).collect()).collect();
    // A row for each phase.
    names.dedup();
    names
}

/// The folder that `make policies` fills.
fn policies() -> PathBuf {
    let policies = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    policies.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into())
}

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
    command.args(["policy", "backtest"]).args(words).output().expect("the program runs")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn columns(report: &Value) -> &[Value] {
    report["columns"].as_array().expect("a list")
}

/// That a command line is refused with exit code 2 and says why.
fn refused(output: &Output, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(says), "{error}");
    assert!(output.stdout.is_empty());
}
