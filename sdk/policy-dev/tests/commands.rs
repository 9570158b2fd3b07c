//! `wattle policy test` and `inspect` on a component: what is told, what is written, what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use wattle_policy_dev::{Usage, bench, build, inspect, keys, test};

/// A command line of one subcommand.
#[derive(Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    args: A,
}

fn args<A: clap::Args>(words: &[&str]) -> A {
    Line::<A>::try_parse_from(std::iter::once(&"x").chain(words))
        .unwrap_or_else(|error| panic!("{error}"))
        .args
}

/// A folder with a case for `equal-share` that expects too much for `a`.
struct Folder(tempfile::TempDir);

const CASE: &str = r#"{
  "about": "two share",
  "snapshot": {
    "circuits": [{"id": "grid", "limit_ma": 20000}],
    "chargers": [{"id": "a"}, {"id": "b"}, {"id": "away", "online": false}]
  },
  "expect": {"plan": {"a": 12000, "b": 10000, "away": 0}, "equal": ["a", "b"], "sum_ma": {"at_most": 20000}}
}"#;

impl Folder {
    fn new(case: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::write(folder.case(), case).expect("written");
        folder
    }

    fn case(&self) -> PathBuf {
        self.0.path().join("one.json")
    }

    /// Runs its cases with more words; what is told when they fail.
    fn test(&self, more: &[&str]) -> Result<(), anyhow::Error> {
        let (policy, cases) = (component("equal-share"), self.0.path().to_str().expect("plain").to_owned());
        let words = [&[policy.to_str().expect("plain"), "--cases", &cases], more].concat();
        test::run(&args(&words))
    }
}

#[test]
fn a_case_that_fails_says_so_in_the_report_and_in_the_exit() {
    let folder = Folder::new(CASE);
    let junit = folder.0.path().join("report.xml");
    let error = folder.test(&["--junit", junit.to_str().expect("plain")]).expect_err("it fails");
    assert_eq!(error.to_string(), "1 of 1 cases are not as expected");
    let report = fs::read_to_string(junit).expect("a report");
    assert!(report.contains("a: expected 12 A, got 10 A (10 A: half of 20 A on grid L1)"), "{report}");
    assert!(!report.contains("b: expected"), "{report}");
}

#[test]
fn update_writes_what_is_given_and_only_that() {
    let folder = Folder::new(CASE);
    folder.test(&["--update"]).expect("as given");
    let written = fs::read_to_string(folder.case()).expect("there");
    assert!(written.contains("\"a\": 10000"), "{written}");
    assert!(written.contains("\"at_most\": 20000"), "{written}");
    folder.test(&[]).expect("as expected now");
    folder.test(&["--update"]).expect("as expected");
    assert_eq!(fs::read_to_string(folder.case()).expect("there"), written, "nothing is left to write");
}

#[test]
fn update_does_not_do_away_with_what_the_author_means() {
    let folder = Folder::new(&CASE.replace("\"at_most\": 20000", "\"at_most\": 1000"));
    let error = folder.test(&["--update"]).expect_err("the sum is still too much");
    assert_eq!(error.to_string(), "1 of 1 cases are not as expected");
}

#[test]
fn a_case_that_can_not_be_used_is_named_with_its_place() {
    refused("", "EOF while parsing");
    refused(
        "{\"about\": \"x\"}",
        "a case has `settings` and `faults`, or `snapshot` and `expect`, or `steps`",
    );
    refused(&CASE.replace("\"equal\"", "\"same\""), "expect.same: unknown field `same`");
    refused(
        &CASE.replace("[\"a\", \"b\"]", "[\"a\", \"z\"]"),
        "expect.equal: the snapshot has no charger `z`",
    );
    refused(&CASE.replace("\"limit_ma\"", "\"limit\""), "snapshot.circuits[0].limit: unknown field `limit`");
    refused(
        "{\"about\": \"x\", \"steps\": [{\"expect\": {}}]}",
        "steps[0].snapshot: the first step has none before",
    );
    refused("{\"about\": \"x\", \"steps\": []}", "`steps` has 1 to 10000 entries");
    let empty = tempfile::tempdir().expect("a folder");
    let words = [component("equal-share").display().to_string(), empty.path().display().to_string()];
    let error = test::run(&args(&[&words[0], "--cases", &words[1]])).expect_err("no case");
    assert!(error.is::<Usage>() && error.to_string().contains("there is no case here"), "{error}");
    let missing = format!("{}/missing", words[1]);
    let error = test::run(&args(&[&words[0], "--cases", &missing])).expect_err("no folder");
    assert!(error.is::<Usage>() && error.to_string().contains("name the cases with --cases"), "{error}");
}

fn refused(case: &str, expected: &str) {
    let error = Folder::new(case).test(&[]).expect_err("can't be used");
    assert!(error.is::<Usage>(), "{error:#}");
    assert!(error.to_string().contains("one.json: ") && error.to_string().contains(expected), "{error}");
}

#[test]
fn a_component_is_inspected_and_measured_and_rubbish_is_not() {
    let policy = component("equal-share").display().to_string();
    inspect::run(&args(&[&policy, "--json"])).expect("sound");
    bench::run(&args(&[&policy, "--chargers", "1,20", "--json"])).expect("it decides");
    let error = bench::run(&args(&[&policy, "--chargers", "0"])).expect_err("no charger");
    assert!(error.is::<Usage>(), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.wasm");
    fs::write(&file, b"\0asm\x01\0\0\0").expect("written");
    let error = inspect::run(&args(&[file.to_str().expect("plain")])).expect_err("a core module");
    assert!(error.is::<Usage>() && error.to_string().contains("x.wasm: this is a core module"), "{error}");
}

#[test]
fn a_component_is_signed_and_verified_by_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::copy(component("equal-share"), at("p.wasm")).expect("copied");
    for name in ["anna", "berta"] {
        keys::keygen(&args(&[&at(name)])).expect("made");
    }
    let verify = |keys: &str| keys::verify(&args(&[&at("p.wasm"), "--keys", &at(keys)]));
    let told = verify("anna.pub").expect_err("not signed").to_string();
    assert!(told.contains("p.wasm is not signed: there is no "), "{told}");
    keys::sign(&args(&[&at("p.wasm"), "--key", &at("anna.key")])).expect("signed");
    verify("anna.pub").expect("by anna");
    verify("").expect("by one of the folder's keys");
    let told = verify("berta.pub").expect_err("not by berta").to_string();
    assert!(told.contains("which this ring doesn't hold (berta "), "{told}");
    let error = keys::keygen(&args(&[&at("anna")])).expect_err("there already");
    let told = "anna.pub: there is a key already, which is not written over; give another name";
    assert!(error.is::<Usage>() && error.to_string().ends_with(told), "{error}");
    let error = keys::sign(&args(&[&at("p.wasm"), "--key", &at("anna.pub")])).expect_err("a public key");
    assert!(error.is::<Usage>() && error.to_string().contains("anna.pub: this is no private key"), "{error}");
    let error = keys::sign(&args(&[&at("anna.pub"), "--key", &at("anna.key")])).expect_err("no component");
    assert!(error.is::<Usage>(), "{error}");
}

#[test]
fn a_folder_without_a_policy_is_not_built() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = build::run(&args(&[folder.path().to_str().expect("plain")])).expect_err("empty");
    assert!(
        error.is::<Usage>() && error.to_string().contains("`wattle policy new` makes a project"),
        "{error}"
    );
}

fn component(name: &str) -> PathBuf {
    let folder = std::env::var_os("WATTLE_POLICIES").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies"));
    let file = folder.join(format!("{name}.wasm"));
    assert!(file.exists(), "no {}; run `make policies`", file.display());
    file
}
