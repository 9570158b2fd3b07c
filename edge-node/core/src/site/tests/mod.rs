//! A site on virtual time, and what must hold of it.

mod anomalies;
mod holding;
mod lending;
mod limits;
mod parts;
mod properties;
mod reference;
mod rig;
mod scenarios;
mod time;
mod trees;
mod watch;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// How random tests run: the same cases each time, `times` as many as `PROPTEST_CASES` says (256); others with
/// `PROPTEST_RNG_SEED`.
fn random(times: u32) -> ProptestConfig {
    let told = ProptestConfig::default();
    let rng_seed = match told.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed => fixed,
    };
    ProptestConfig { cases: times * told.cases, rng_seed, failure_persistence: None, ..told }
}
