//! The torture itself, short: every process of each way is killed.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use wattle_torture::plan::{Way, plan};

/// By this plan every process of both ways is killed.
const SEED: u64 = 4;

fn torture(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-torture"));
    command.args(arguments).arg("--dir").arg(folder.join("run")).output().expect("it runs")
}

fn eight_kills(way: Way) {
    for target in way.targets() {
        let kills: usize = plan(SEED, 8, way).iter().map(|blow| blow.what.kills_of(target)).sum();
        assert!(kills > 0, "another seed is needed, by which {target:?} is killed");
    }
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let arguments = ["--kills", "8", "--seed", &SEED.to_string(), "--way", way.as_str()];
    let output = torture(folder.path(), &arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    if !output.status.success() {
        let kept = folder.keep();
        panic!("{}\nsee {}", String::from_utf8_lossy(&output.stderr), kept.display());
    }
    assert!(said.contains("missing 0, duplicates 0, changed 0, strange 0"), "{said}");
    assert!(!folder.path().join("run").exists(), "what is sound is cleared away");
}

#[test]
fn eight_kills_on_the_direct_way_lose_nothing_and_repeat_nothing() {
    eight_kills(Way::Direct);
}

#[test]
fn eight_kills_on_the_way_through_kafka_lose_nothing_and_repeat_nothing() {
    eight_kills(Way::Kafka);
}

#[test]
fn a_folder_of_something_else_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    std::fs::create_dir(folder.path().join("run")).expect("made");
    std::fs::write(folder.path().join("run/letter"), "dear").expect("written");
    let output = torture(folder.path(), &["--kills", "1", "--way", "direct"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not of a run like this; give another --dir"), "{said}");
    assert!(folder.path().join("run/letter").exists());
}
