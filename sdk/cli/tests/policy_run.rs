//! `wattle policy run` on the example of the guide and on what can't be used.

mod built;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/snapshot.json");

#[test]
fn the_example_of_the_guide_gives_a_plan_and_the_setpoints_that_fit_now() {
    let printed = json_of(&run(&["equal-share", "--snapshot", EXAMPLE, "--envelope"]));
    let limits = |list: &str, key: &str| -> Vec<(String, i64)> {
        let entry = |entry: &Value| {
            (entry["charger"].as_str().expect("a name").into(), entry[key].as_i64().expect("a current"))
        };
        printed[list].as_array().expect("a list").iter().map(entry).collect()
    };
    let each = vec![("cp-1".to_owned(), 10_000), ("cp-2".to_owned(), 10_000)];
    assert_eq!(limits("plan", "limit_ma"), each);
    assert_eq!(limits("setpoints", "setpoint_ma"), each);
    assert_eq!(printed["policy"], json!(format!("equal-share {}", env!("CARGO_PKG_VERSION"))));
    assert!(printed["fuel"].as_u64() > Some(0));
}

#[test]
fn a_raise_waits_for_the_charger_that_may_still_draw() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = changed(folder.path(), |snapshot| snapshot["chargers"][0]["setpoint_ma"] = json!(20_000));
    let printed = json_of(&run(&["equal-share", "--snapshot", text(&file), "--envelope"]));
    let second = &printed["setpoints"][1];
    assert_eq!((second["setpoint_ma"].as_i64(), second["target_ma"].as_i64()), (Some(0), Some(10_000)));
    assert_eq!(second["reason"], "waits for a reduction to be confirmed and measured");
}

#[test]
fn without_the_envelope_there_is_a_plan_alone_and_the_state_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let printed = json_of(&run(&["equal-share", "--snapshot", EXAMPLE, "--state", text(&state)]));
    assert_eq!((printed.get("setpoints"), &printed["state"]), (None, &json!("")));
    assert_eq!(std::fs::read(&state).expect("left by the run"), b"");
}

#[test]
fn the_state_that_a_run_leaves_is_what_the_next_one_begins_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (settings, state) = (folder.path().join("settings.json"), folder.path().join("state"));
    let decide = |way: &str| {
        std::fs::write(&settings, json!({ "way": way }).to_string()).expect("writable");
        run(&["hostile", "--snapshot", EXAMPLE, "--settings", text(&settings), "--state", text(&state)])
    };
    for told in 1..=3 {
        let printed = json_of(&decide("remember"));
        let expected =
            json!({ "charger": "cp-1", "limit_ma": 10_000, "reason": format!("call 1 of {told}") });
        assert_eq!((&printed["plan"], &printed["state"]), (&json!([expected]), &json!(format!("0{told}"))));
        assert_eq!(std::fs::read(&state).expect("left by the run"), [told]);
    }
    for way in ["refuse", "trap", "spin", "a long state"] {
        assert_eq!(decide(way).status.code(), Some(1), "{way}");
        assert_eq!(std::fs::read(&state).expect("as it was"), [3], "{way}: a run without a plan leaves none");
    }
    let without = json_of(&run(&["hostile", "--snapshot", EXAMPLE, "--state", text(&state)]));
    assert_eq!((&without["plan"], &without["state"]), (&json!([]), &json!("")), "no settings name a way");
    assert_eq!(std::fs::read(&state).expect("left by the run"), b"");
}

#[test]
fn a_policy_that_wants_more_memory_is_told_how_to_get_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.wasm");
    let mut bytes = built::component("hostile");
    let version = b"1.0.0-hostile";
    let at = bytes.windows(version.len()).position(|window| window == version).expect("its version");
    // The generation that asks for 32 MiB.
    bytes[at] = b'4';
    std::fs::write(&file, bytes).expect("written");
    refused(&[text(&file), "--snapshot", EXAMPLE], "give it more memory with --memory-mib");
    let printed = json_of(&run(&[text(&file), "--snapshot", EXAMPLE, "--memory-mib", "32"]));
    assert_eq!(printed["policy"], "hostile 4.0.0-hostile");
}

#[test]
fn what_is_wrong_with_a_snapshot_is_named_with_its_place() {
    let check = |change: fn(&mut Value), expected: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = changed(folder.path(), change);
        refused(&["equal-share", "--snapshot", text(&file)], expected);
    };
    check(|s| s["chargers"][1]["max_ma"] = json!("16"), "chargers[1].max_ma: invalid type: string \"16\"");
    check(|s| s["chargers"][1]["amps"] = json!(16), "chargers[1].amps: unknown field `amps`");
    check(|s| s["circuits"] = json!([]), "`circuits` is empty");
    check(|s| s["circuits"][1]["parent"] = json!(1), "`circuits[1].parent` must be an index below 1");
    check(|s| s["circuits"][1]["parent"] = json!(null), "`circuits[1].parent` must be an index below 1");
    check(|s| s["chargers"][2]["circuit"] = json!(2), "`chargers[2].circuit` is no index of `circuits`");
    check(|s| s["chargers"][2]["phases"] = json!([]), "`chargers[2].phases` has to name one to three phases");
    check(|s| s["chargers"][2]["phases"] = json!(["L1", "L1"]), "`chargers[2].phases` has to name");
}

/// As the page says.
#[test]
fn what_is_out_of_its_bounds_in_a_snapshot_is_named_with_its_place() {
    let takes = |change: fn(&mut Value)| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = changed(folder.path(), change);
        json_of(&run(&["hostile", "--snapshot", text(&file)]));
    };
    let check = |change: fn(&mut Value), expected: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = changed(folder.path(), change);
        refused(&["hostile", "--snapshot", text(&file)], expected);
    };
    takes(|s| s["site"] = json!("Az09._:-".repeat(8)));
    check(|s| s["site"] = json!("x".repeat(65)), "site: a name has 65 bytes; use at most 64");
    check(|s| s["circuits"][1]["id"] = json!(""), "circuits[1].id: a name is empty");
    check(|s| s["chargers"][0]["id"] = json!("cp 1"), "chargers[0].id: a name holds ' '");
    check(|s| s["chargers"][0]["session"]["id"] = json!("é"), "chargers[0].session.id: a name holds 'é'");
    check(
        |s| s["chargers"][0]["session"]["user"] = json!("a/b"),
        "chargers[0].session.user: a name holds '/'",
    );
    takes(|s| s["circuits"][0]["limit_ma"] = json!([i32::MIN, 0, i32::MAX]));
    check(
        |s| s["circuits"][0]["limit_ma"][2] = json!(2_147_483_648_u32),
        "circuits[0].limit_ma[2]: invalid value",
    );
    check(|s| s["circuits"][0]["limit_ma"] = json!([1, 2]), "circuits[0].limit_ma: invalid length 2");
    check(
        |s| s["chargers"][0]["max_ma"] = json!(16_000.5),
        "chargers[0].max_ma: invalid type: floating point",
    );
    check(|s| s["chargers"][0]["priority"] = json!(2_147_483_648_u32), "chargers[0].priority: invalid value");
    check(
        |s| s["chargers"][0]["session"]["soc_percent"] = json!(-2_147_483_649_i64),
        "chargers[0].session.soc_percent: invalid value",
    );
    takes(|s| s["chargers"][0]["session"]["delivered_wh"] = json!(i64::MAX));
    check(|s| s["now_us"] = json!(u64::MAX), "now_us: invalid value");
    check(|s| s["chargers"][0]["circuit"] = json!(-1), "chargers[0].circuit: invalid value");
    check(
        |s| s["chargers"][2]["phases"] = json!(["L1", "L2", "L3", "L1"]),
        "`chargers[2].phases` has to name",
    );
    check(|s| s["chargers"][2]["state"] = json!("asleep"), "chargers[2].state: unknown variant `asleep`");
    takes(|s| {
        let mut circuits = vec![s["circuits"][1].clone(); 1_000];
        circuits[0] = s["circuits"][0].clone();
        s["circuits"] = json!(circuits);
    });
    check(
        |s| s["circuits"] = json!(vec![s["circuits"][0].clone(); 1_001]),
        "`circuits` has more than 1000 entries",
    );
    takes(|s| s["chargers"] = json!(vec![s["chargers"][2].clone(); 10_000]));
    check(
        |s| s["chargers"] = json!(vec![s["chargers"][2].clone(); 10_001]),
        "`chargers` has more than 10000 entries",
    );
}

#[test]
fn a_policy_or_settings_that_can_not_be_used_end_with_2() {
    refused(&["/nowhere/p.wasm", "--snapshot", EXAMPLE], "/nowhere/p.wasm: No such file");
    refused(&[EXAMPLE, "--snapshot", EXAMPLE], "No such file");
    refused(&["equal-share", "--snapshot", "/nowhere/s.json"], "/nowhere/s.json: No such file");
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("settings.json");
    std::fs::write(&settings, "{\"amps\": 3}").expect("writable");
    refused(&["equal-share", "--snapshot", EXAMPLE, "--settings", text(&settings)], "settings.json: ");
    let longer = folder.path().join("longer.json");
    let example = std::fs::read_to_string(EXAMPLE).expect("there");
    std::fs::write(&longer, example + "and more").expect("writable");
    refused(&["equal-share", "--snapshot", text(&longer)], "longer.json: trailing characters");
}

fn run(arguments: &[&str]) -> Output {
    let policies = std::env::var("WATTLE_POLICIES")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into());
    assert!(
        Path::new(&policies).join("equal-share.wasm").exists(),
        "no policies in {policies}; run `make policies`"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
    command.args(["policy", "run"]).args(arguments).env("WATTLE_POLICIES", policies);
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().expect("wattle starts")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    assert!(told.contains(expected), "{arguments:?}: {told}");
}

fn changed(folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut snapshot: Value =
        serde_json::from_str(&std::fs::read_to_string(EXAMPLE).expect("the example")).expect("JSON");
    change(&mut snapshot);
    let file = folder.join("snapshot.json");
    std::fs::write(&file, snapshot.to_string()).expect("writable");
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
