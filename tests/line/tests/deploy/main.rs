//! Policies deployed by `wattle policy deploy` through a fog node, with real processes that are killed; and a policy that runs beside a
//! live edge node.

mod beside;
mod compat;
mod ways;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wattle_testkit::{Process, free_port, program, wait_for};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The SHA-256 of "secret".
const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
const SITE: &str = "id = 'depot'
[control]
interval_ms = 100
validity_ms = 4000
policy_trial = 0
[[circuits]]
id = 'grid'
limit_a = 30
[[chargers]]
id = 'cp-1'
circuit = 'grid'
";

/// A fog node and an edge node, each with a folder and ports of its own. Neither runs at first.
struct Rig {
    folder: TempDir,
    fog_http: u16,
    edge_http: u16,
    mqtt: u16,
    fog: Option<Process>,
    edge: Option<Process>,
}

/// The lines by which the nodes differ from the usual.
#[derive(Default)]
struct Lines {
    /// Of the edge node, above its tables.
    edge: String,
    /// Below `[uplink]` instead of the fog node's address, and tables behind it.
    uplink: Option<String>,
    /// Of the fog node, tables.
    fog: String,
}

impl Rig {
    fn new(edge_lines: &str) -> Self {
        Self::with(|_, _| Lines { edge: edge_lines.to_owned(), ..Lines::default() })
    }

    /// With the lines that these make of the port to which edges dial, and the folder.
    fn with(lines: impl FnOnce(u16, &Path) -> Lines) -> Self {
        let folder = TempDir::new().expect("a folder");
        let port = || free_port().expect("a port");
        let (uplink, sql, fog_http, edge_http, mqtt) = (port(), port(), port(), port(), port());
        let at = |name: &str| folder.path().join(name);
        let Lines { edge: edge_lines, uplink: uplink_lines, fog: fog_lines } = lines(uplink, folder.path());
        let uplink_lines = uplink_lines.unwrap_or_else(|| format!("address = 'http://127.0.0.1:{uplink}'"));
        let fog = format!(
            "lake = {:?}\nuplink = '127.0.0.1:{uplink}'\nsql = '127.0.0.1:{sql}'\nhttp = '127.0.0.1:{fog_http}'\n\
             commit_interval_ms = 100\n[deploy]\ntokens = {{ anna = '{DIGEST}' }}\n{fog_lines}",
            at("lake")
        );
        let edge = format!(
            "data = {:?}\n{edge_lines}\n[broker]\nlisten = '127.0.0.1:{mqtt}'\n[journal]\nseal_after_ms = 300\n\
             [http]\nlisten = '127.0.0.1:{edge_http}'\n[uplink]\n{uplink_lines}\n",
            at("edge"),
        );
        for (name, text) in
            [("site.toml", SITE), ("fog.toml", &fog), ("edge.toml", &edge), ("token", "secret\n")]
        {
            fs::write(at(name), text).expect("written");
        }
        Self { folder, fog_http, edge_http, mqtt, fog: None, edge: None }
    }

    fn run(&self, name: &str, arguments: &[&str], http: u16) -> Process {
        let mut command = Command::new(program(name).expect("is built"));
        command.args(arguments).current_dir(self.folder.path()).env("WATTLE_POLICIES", policies());
        let mut process = Process::start(command).expect("starts");
        process.wait_healthy(http, LIMIT).expect("becomes healthy");
        process
    }

    fn start_fog(&mut self) {
        self.fog = Some(self.run("wattle-fog", &["--config", "fog.toml"], self.fog_http));
    }

    fn start_edge(&mut self) {
        self.edge = Some(self.run("wattle-edge", &["--config", "edge.toml", "site.toml"], self.edge_http));
    }

    fn kill_fog(&mut self) {
        self.fog.take().expect("it runs").kill().expect("killed");
    }

    fn kill_edge(&mut self) {
        self.edge.take().expect("it runs").kill().expect("killed");
    }

    /// `wattle policy ...`, which may fail.
    fn policy(&self, line: &str) -> Output {
        let mut command = Command::new(program("wattle").expect("is built"));
        command.arg("policy").args(line.split(' ')).current_dir(self.folder.path());
        command.env("WATTLE_POLICIES", policies()).output().expect("it runs")
    }

    /// A charger that does what it is told on standard input.
    fn charger(&self, id: &str) -> Process {
        let mut command = Command::new(program("wattle-device").expect("is built"));
        let broker = format!("127.0.0.1:{}", self.mqtt);
        command.args([
            "charger",
            "--site",
            "depot",
            "--id",
            id,
            "--interval-ms",
            "100",
            "--noise-ma",
            "0",
            "--broker",
            &broker,
        ]);
        command.arg("--password-file").arg(self.folder.path().join("edge/passwords"));
        Process::start(command).expect("starts")
    }

    /// Deploys through the fog node; its answer.
    fn deploy(&self, line: &str) -> Value {
        let fog = format!("http://127.0.0.1:{}", self.fog_http);
        let line = format!("deploy {line} --site depot --edge-id edge-1 --fog {fog} --token token --json");
        let done = self.policy(&line);
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).expect("JSON")
    }

    fn page(&self, http: u16) -> Option<Value> {
        serde_json::from_str(&Process::get(http, "/status").ok()?).ok()
    }

    /// Waits until the edge's page for the site is as wanted.
    fn site(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = wait_for(what, LIMIT, || {
            last = self.page(self.edge_http)?["sites"][0].clone();
            is_so(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|error| panic!("{error}: {last:#}"))
    }

    fn decides(&self, policy: &str) -> Value {
        self.site(&format!("a decision by {policy}"), |site| site["policies"][0]["policy"] == policy)
    }
}

fn policies() -> PathBuf {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/policies").into())
}

fn component(name: &str) -> String {
    policies().join(name).with_extension("wasm").display().to_string()
}

#[test]
fn an_edge_that_was_away_applies_the_newest_document_though_the_fog_node_was_killed_right_behind_it() {
    let mut rig = Rig::new("");
    rig.start_edge();
    rig.decides("fair-share 0.1.0");
    rig.kill_edge();
    rig.start_fog();
    let older = rig.deploy(&format!("{} --activate", component("first-come")));
    let newest = rig.deploy(&format!("{} --activate", component("equal-share")));
    rig.kill_fog();
    assert_eq!(newest["outcome"], "kept");
    assert!(newest["version"].as_u64() > older["version"].as_u64());
    rig.start_fog();
    rig.start_edge();
    let site = rig.decides("equal-share 0.1.0");
    assert_eq!(site["deployed"]["newest"]["version"], newest["version"]);
    assert_eq!(site["deployed"]["standing"].as_array().map(Vec::len), Some(1), "the older one never came");
    wait_for("the fog node to hear of it", LIMIT, || {
        (rig.page(rig.fog_http)?["documents"][0]["state"] == "dealt with").then_some(())
    })
    .expect("heard");

    // What was deployed is taken back, and that is known from the lake too, when the edge is away.
    let other = rig.deploy(&format!("{} --activate", component("first-come")));
    rig.decides("first-come 0.1.0");
    rig.site("the next", |site| site["deployed"]["newest"]["version"] == other["version"]);
    rig.deploy("--rollback");
    rig.decides("equal-share 0.1.0");
    let lake = rig.folder.path().join("lake");
    let told = wait_for("the lake to know", LIMIT, || {
        let told = rig.policy(&format!("status --lake {} --json", lake.display()));
        let told: Value = serde_json::from_slice(&told.stdout).ok()?;
        (told[0]["newest"]["action"] == "rollback").then_some(told)
    })
    .expect("in the lake");
    assert_eq!(
        (&told[0]["site"], &told[0]["newest"]["outcome"]),
        (&"depot".into(), &"applied".into()),
        "{told:#}"
    );
}

#[test]
fn whatever_is_killed_between_taking_and_applying_the_newest_document_holds_in_the_end() {
    let mut rig = Rig::new("");
    rig.start_fog();
    rig.start_edge();
    let all = ["first-come", "equal-share", "fair-share"];
    for round in 0..9 {
        let name = all[round % all.len()];
        let kept = || fs::read(rig.folder.path().join("edge/deployed/site-depot")).ok();
        let before = kept();
        let told = rig.deploy(&format!("{} --activate", component(name)));
        // At another moment of its way each time: waiting; on the disk, and hardly told to anybody; applied.
        match round % 3 {
            0 => {}
            1 => {
                wait_for("it to be on the disk", LIMIT, || (kept() != before).then_some(())).expect("written")
            }
            _ => {
                let wanted = told["version"].clone();
                rig.site("it to come", |site| site["deployed"]["newest"]["version"] == wanted);
            }
        }
        if round % 2 == 0 {
            rig.kill_edge();
            rig.start_edge();
        } else {
            rig.kill_fog();
            rig.start_fog();
        }
        let site = rig.decides(&format!("{name} 0.1.0"));
        rig.site("the newest", |site| site["deployed"]["newest"]["version"] == told["version"]);
        assert_eq!(site["deployed"]["newest"]["outcome"], "applied");
    }
}

#[test]
fn what_waits_and_is_taken_back_never_comes_and_takes_nothing_else_with_it_and_a_shadow_comes() {
    let mut rig = Rig::new("");
    rig.start_fog();
    rig.start_edge();
    let first = rig.deploy(&format!("{} --activate", component("equal-share")));
    rig.decides("equal-share 0.1.0");
    rig.site("the first", |site| site["deployed"]["newest"]["version"] == first["version"]);
    rig.kill_edge();
    let shadow = rig.deploy(&format!("{} --shadow", component("fair-share")));
    let waits = rig.deploy(&format!("{} --activate", component("first-come")));
    let back = rig.deploy("--rollback");
    assert_eq!(back["replaced"], waits["version"]);
    rig.kill_fog();
    rig.start_fog();
    rig.start_edge();
    let site = rig.site("the rollback", |site| site["deployed"]["newest"]["version"] == back["version"]);
    let why = site["deployed"]["newest"]["reason"].as_str().unwrap_or_default();
    assert!(why.contains("does not stand at this site"), "{site:#}");
    let standing = site["deployed"]["standing"].as_array().expect("what stands");
    let versions: Vec<_> = standing.iter().map(|one| &one["version"]).collect();
    assert_eq!(versions, [&first["version"], &shadow["version"]]);
    rig.decides("equal-share 0.1.0");
    // Now the one that is there.
    let first = &first["version"];
    rig.deploy(&format!("--rollback={first}"));
    rig.decides("fair-share 0.1.0");
}

#[test]
fn a_rollback_that_waits_takes_back_what_it_names_though_a_person_has_sent_something_to_the_edge_itself_meanwhile()
 {
    let mut rig = Rig::new(&format!("[deploy]\ntokens = {{ ben = '{DIGEST}' }}"));
    rig.start_fog();
    rig.start_edge();
    let first = rig.deploy(&format!("{} --activate", component("equal-share")));
    rig.decides("equal-share 0.1.0");
    rig.site("the first", |site| site["deployed"]["newest"]["version"] == first["version"]);
    rig.kill_edge();
    let back = rig.deploy(&format!("--rollback={}", first["version"]));
    rig.kill_fog();
    rig.start_edge();
    let line = format!("deploy {} --shadow --site depot --token token", component("first-come"));
    let done = rig.policy(&format!("{line} --edge http://127.0.0.1:{}", rig.edge_http));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    rig.decides("equal-share 0.1.0");
    rig.start_fog();
    let site = rig.decides("fair-share 0.1.0");
    let newest = &site["deployed"]["newest"];
    assert_eq!((&newest["action"], &newest["outcome"]), (&"rollback".into(), &"applied".into()), "{site:#}");
    assert!(newest["version"].as_u64() > back["version"].as_u64(), "it was numbered again");
    assert_eq!(site["deployed"]["standing"].as_array().map(Vec::len), Some(1), "{site:#}");
}

#[test]
fn an_edge_with_keys_refuses_what_nobody_has_signed_and_says_so() {
    let keys = TempDir::new().expect("a folder");
    let mut rig = Rig::new(&format!("policy_keys = {:?}\npolicy_unsigned = false", keys.path()));
    let made = rig.policy("keygen anna");
    assert!(made.status.success());
    fs::rename(rig.folder.path().join("anna.pub"), keys.path().join("anna.pub")).expect("moved");
    rig.start_fog();
    rig.start_edge();
    rig.deploy(&format!("{} --activate", component("equal-share")));
    let site = rig.site("a refusal", |site| site["deployed"]["newest"]["outcome"] == "refused");
    let why = site["deployed"]["newest"]["reason"].as_str().unwrap_or_default();
    assert!(why.contains("not signed; sign it with `wattle policy sign`"), "{why}");
    fs::copy(component("equal-share"), rig.folder.path().join("mine.wasm")).expect("copied");
    assert!(rig.policy("sign mine.wasm --key anna.key").status.success());
    rig.deploy("mine.wasm --activate");
    let site = rig.decides("equal-share 0.1.0");
    assert!(site["deployed"]["standing"][0]["signed_by"].is_string(), "{site:#}");
}

#[test]
fn a_wrong_token_and_a_node_that_takes_nothing_are_told_with_exit_code_1() {
    let mut rig = Rig::new("");
    rig.start_fog();
    rig.start_edge();
    fs::write(rig.folder.path().join("other"), "another\n").expect("written");
    let (fog, edge) = (rig.fog_http, rig.edge_http);
    for (line, expected) in [
        (format!("--fog http://127.0.0.1:{fog} --token other"), "the token is nobody's here"),
        (format!("--edge http://127.0.0.1:{edge} --token token"), "this node takes no documents"),
    ] {
        let done = rig.policy(&format!("deploy --rollback --site depot {line}"));
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{told}");
        assert!(told.contains(expected), "{told}");
    }
}
