//! `--json`: each command prints one JSON document on standard output and nothing else, whatever comes of it.
//!
//! `wattle demo`, `signal` and `policy deploy` need nodes and are in `tests/line`; a unit test holds that no command lacks the option.

mod built;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use wattle_process::{Health, serve_http};

const SITE: &str = "id = 'park'\ntime_zone = 'Europe/Berlin'\n[[circuits]]\nid = 'grid'\nlimit_a = 20\n\
    [[meters]]\nid = 'meter'\ncircuit = 'grid'\n\
    [tariff]\nversion = 't1'\ncurrency = 'EUR'\nstart_fee = '0.50'\nprice_per_kwh = '0.35'\n";
const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trace.csv");
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/snapshot.json");

/// A folder in which commands are run.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// What a command prints, which must be one document and end as told. A `%` stands for a blank within a word.
    fn document(&self, line: &str, code: i32) -> Value {
        let words = line.split(' ').map(|word| word.replace('%', " "));
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle"));
        command.args(words).current_dir(self.0.path()).env("HOME", self.0.path());
        let done = command.env("WATTLE_POLICIES", built::folder()).output().expect("it runs");
        let (printed, said) =
            (String::from_utf8(done.stdout).expect("text"), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), Some(code), "{line}: {said}{printed}");
        assert!(!printed.contains('\x1b') && !said.contains('\x1b'), "{line}: colours in a pipe");
        assert!(code != 0 || said.is_empty(), "{line}: {said}");
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{line}: {error}: {printed}"))
    }
}

#[test]
fn what_an_author_does_prints_one_document_each() {
    let desk = Desk::new();
    let made = desk.document("policy new mine --lang c --json", 0);
    assert_eq!((&made["name"], &made["lang"]), (&json!("mine"), &json!("C")));
    assert!(Path::new(made["folder"].as_str().expect("a folder")).join("policy.c").exists());
    let built = desk.document("policy build mine --json", 0);
    let size = std::fs::metadata(desk.0.path().join("mine/mine.wasm")).expect("built").len();
    assert_eq!((&built["file"], &built["size_bytes"]), (&json!("mine/mine.wasm"), &json!(size)));
    let tested = desk.document("policy test mine --json", 0);
    assert!(
        tested["cases"].as_array().is_some_and(|cases| cases.iter().all(|case| case["ok"] == true)),
        "{tested}"
    );
    let inspected = desk.document("policy inspect mine/mine.wasm --json", 0);
    assert_eq!((&inspected["sha256"], &inspected["signed_by"]), (&built["sha256"], &Value::Null));
    let measured = desk.document("policy bench mine/mine.wasm --chargers 1,2 --json", 0);
    assert_eq!(measured.as_array().map(Vec::len), Some(2));
    let keys = desk.document("policy keygen anna --json", 0);
    let signed = desk.document("policy sign mine/mine.wasm --key anna.key --json", 0);
    let verified = desk.document("policy verify mine/mine.wasm --keys anna.pub --json", 0);
    assert_eq!(
        (&signed["key"], &verified["key"], &verified["signed_by"]),
        (&keys["id"], &keys["id"], &json!("anna"))
    );
    assert_eq!(desk.document("policy inspect mine/mine.wasm --json", 0)["signed_by"], keys["id"]);
    let run = desk.document(&format!("policy run mine/mine.wasm --snapshot {SNAPSHOT} --json"), 0);
    assert_eq!(run["policy"], "mine 0.1.0");
    let token = desk.document("policy token --name anna --file anna.token --json", 0);
    assert_eq!(token["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn what_a_site_has_recorded_is_told_as_one_document_each() {
    let desk = Desk::new();
    std::fs::write(desk.0.path().join("site.toml"), SITE).expect("written");
    let ran = desk.document(&format!("simulate --site site.toml --trace {TRACE} --lake lake --json"), 0);
    assert!(ran["sessions"].as_u64() > Some(0), "{ran}");
    let sessions = "sql --lake lake --json SELECT%session%FROM%sessions%WHERE%state%=%'closed'";
    let sessions = desk.document(sessions, 0);
    let session = sessions[0]["session"].as_str().expect("a session").replace(' ', "%");
    assert_eq!(desk.document("sql --lake lake --format json SELECT%1%AS%one", 0), json!([{ "one": 1 }]));
    let bill = desk.document("bill --lake lake --site park --month 2026-03 --json", 0);
    assert!(bill.is_object(), "{bill}");
    let receipt = desk.document(&format!("receipt --lake lake --session {session} --json"), 0);
    assert!(receipt.is_object(), "{receipt}");
    let why = desk.document("explain --lake lake --site park --json", 0);
    assert_eq!(why["site"], "park");
    let replayed = desk.document("policy replay --lake lake --json", 0);
    assert_eq!((&replayed["site"], &replayed["different"]), (&json!("park"), &json!(0)));
    let backtest = desk.document("policy backtest --lake lake --site park --policy equal-share --json", 0);
    assert_eq!(backtest["site"], "park");
    let status = desk.document("policy status --lake lake --json", 0);
    assert!(status.is_array(), "{status}");
}

#[test]
fn what_nodes_say_is_one_document_also_when_one_is_away() {
    let desk = Desk::new();
    let page = json!({ "edge": "edge-1", "sites": [{ "id": "depot", "policies": [], "deployed": null }] });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = serve_http(any, Health::new(), move || page.clone()).expect("a free port");
    let url = format!("http://{}", server.address());
    let told = desk.document(&format!("status --edge {url} --fog {url} --json"), 0);
    assert_eq!((&told["healthy"], &told["nodes"][1]["node"]), (&json!(true), &json!("fog")));
    let told = desk.document(&format!("status --edge {url} --fog http://127.0.0.1:1 --json"), 1);
    assert_eq!((&told["healthy"], &told["nodes"][0]["healthy"]), (&json!(false), &json!(true)));
    assert!(told["nodes"][1]["error"].is_string(), "{told}");
    let told = desk.document(&format!("policy status --edge {url} --json"), 0);
    assert_eq!(told[0]["site"], "depot");
}
