//! The cases of the policies that ship, against the components that `make policies` builds; and the interface that they are built for.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wattle_policy_dev::cases::{self, check};
use wattle_policy_dev::files;

/// SHA-256 of `sdk/wit/load-policy-v1/load-policy.wit` as it was released.
const INTERFACE_V1: &str = "05ff534959a7dd225af148a365e90ffee65fcbcea373899955a792308aee27ec";

/// All that stands in `policies/` ships, but for this.
const NOT_SHIPPED: &str = "hostile";

#[test]
fn every_shipped_policy_has_cases_and_passes_them() {
    let mut shipped = 0;
    for entry in std::fs::read_dir(tree().join("policies")).expect("policies") {
        let policy = entry.expect("readable").path();
        if policy.join("Cargo.toml").is_file() && !policy.ends_with(NOT_SHIPPED) {
            assert!(passes(&policy) > 0, "{} has no case", policy.display());
            shipped += 1;
        }
    }
    assert!(shipped >= 6, "{shipped} policies");
}

#[test]
fn the_released_interface_has_not_changed() {
    let text = std::fs::read(tree().join("sdk/wit/load-policy-v1/load-policy.wit")).expect("there");
    let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let told = "policies are built against it everywhere: put it back, and make a folder load-policy-v2 for what is new";
    assert_eq!(digest, INTERFACE_V1, "{told}");
}

/// Runs the cases of a policy; how many there are.
fn passes(policy: &Path) -> usize {
    let name = policy.file_name().expect("a name").to_str().expect("plain");
    let file = components().join(format!("{name}.wasm"));
    let bytes = files::read(&file).unwrap_or_else(|error| panic!("{error}; run `make policies`"));
    let loaded = files::load(&files::host().expect("runs"), &file, &bytes).expect("sound");
    let cases = cases::read(&policy.join("cases")).unwrap_or_else(|why| panic!("{name}: {why}"));
    for case in &cases {
        let outcome = check::run(&loaded, case).unwrap_or_else(|why| panic!("{name}: {}: {why}", case.about));
        assert!(outcome.differences.is_empty(), "{name}: {}: {:#?}", case.about, outcome.differences);
    }
    cases.len()
}

fn components() -> PathBuf {
    std::env::var_os("WATTLE_POLICIES").map_or_else(|| tree().join("target/policies"), PathBuf::from)
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
