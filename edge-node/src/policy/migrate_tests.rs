//! A version that is to go on from the state of the one before, and fails at that. The site is that of [`tests`](super::tests); the
//! hostile guest's generations name the way.

use std::time::Duration;

use wattle_policy_host::{Host, Limits};

use super::tests::{Rig, V1, V2, hostile};

const ONE: &str = "hostile 1.0.0-hostile";
const TWO: &str = "hostile 2.0.0-hostile";

/// Generations that fail at taking over a state, and why.
pub(crate) const FAILING: [(&str, &str); 3] = [
    ("7.0.0-hostile", "the policy broke down: wasm trap: wasm `unreachable` instruction executed"),
    ("8.0.0-hostile", "did not finish with 20000000 units of fuel"),
    ("9.0.0-hostile", "65537 bytes"),
];
/// The one that makes of the state what it traps at.
pub(crate) const RUBBISH: &str = "0.0.0-hostile";
/// The one that never comes back.
pub(crate) const SPINS: &str = "8.0.0-hostile";

/// A host whose deadline binds and whose fuel doesn't.
pub(crate) fn impatient() -> Host {
    let deadline = Duration::from_secs(2);
    Host::new(Limits { deadline, fuel: u64::MAX, ..Limits::default() }).expect("runs")
}

/// Decisions by the first version, each beginning where the one before has ended.
fn goes_on(rig: &mut Rig, calls: std::ops::RangeInclusive<u32>) {
    for told in calls {
        assert_eq!(rig.step(), ONE);
        assert!(rig.reason().starts_with(&format!("call 1 of {told}")), "{told}: {}", rig.reason());
    }
}

#[test]
fn at_a_hot_reload_a_version_that_fails_at_taking_over_the_state_is_refused_and_the_one_before_goes_on() {
    for trial in [0, 3] {
        let control = format!("policy_trial = {trial}\nsettings = {{ way = 'remember' }}");
        let mut rig = Rig::new(&control, &hostile(V1));
        goes_on(&mut rig, 1..=2);
        for (version, _) in FAILING {
            rig.replace(&hostile(version));
            assert!(rig.policy.shadows().is_empty(), "{version} is not on trial");
        }
        goes_on(&mut rig, 3..=30);
        let mut expected = vec![("policy_loaded", V1), ("policy_active", V1)];
        for (version, why) in FAILING {
            expected.extend([("policy_loaded", version), ("policy_refused", why)]);
        }
        rig.check_events(&expected);
        // One that can, does.
        rig.replace(&hostile(V2));
        (0..trial).for_each(|_| drop(rig.step()));
        assert_eq!(rig.step(), TWO);
        assert!(rig.reason().starts_with(&format!("call 1 of {}", 131 + trial)), "{}", rig.reason());
    }
}

#[test]
fn a_version_that_makes_rubbish_of_the_state_is_rolled_back_and_the_one_before_has_its_own_still() {
    let mut rig = Rig::new("policy_trial = 0\nsettings = { way = 'remember' }", &hostile(V1));
    goes_on(&mut rig, 1..=2);
    rig.replace(&hostile(RUBBISH));
    for _ in 0..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile (stands in)");
        assert!(rig.reason().starts_with("call 1 of 3"), "{}", rig.reason());
    }
    goes_on(&mut rig, 3..=9);
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", RUBBISH),
        ("policy_active", RUBBISH),
        ("policy_failed", "hostile 1.0.0-hostile stands in"),
        ("policy_rolled_back", "hostile 0.0.0-hostile failed 3 of its last 20 decisions"),
    ]);
}

#[test]
fn a_version_that_makes_rubbish_of_the_state_does_not_get_through_its_trial() {
    let mut rig = Rig::new("policy_trial = 5\nsettings = { way = 'remember' }", &hostile(V1));
    goes_on(&mut rig, 1..=2);
    rig.replace(&hostile(RUBBISH));
    assert_eq!(rig.policy.shadows(), ["hostile 0.0.0-hostile"]);
    goes_on(&mut rig, 3..=20);
    assert!(rig.policy.shadows().is_empty());
}

#[test]
fn a_version_that_is_late_at_taking_over_the_state_is_asked_again_until_another_takes_its_place() {
    let control = "policy_trial = 0\nsettings = { way = 'remember' }";
    let mut rig = Rig::on(impatient(), control, &hostile(V1), None);
    goes_on(&mut rig, 1..=1);
    rig.replace(&hostile(SPINS));
    goes_on(&mut rig, 2..=7);
    rig.replace(&hostile(V2));
    for told in 108..140 {
        assert_eq!(rig.step(), TWO);
        assert!(rig.reason().starts_with(&format!("call 1 of {told}")), "{}", rig.reason());
    }
    let late = ("policy_refused", "does not take over the state: the policy did not finish within 2s");
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", SPINS),
        late,
        ("policy_loaded", SPINS),
        late,
        ("policy_loaded", V2),
        ("policy_active", V2),
    ]);
}
