//! What becomes of a policy over a restart of the node, and of its state where a version declines to take it over. The
//! site is that of [`tests`](super::tests).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wattle_policy_host::sign::PrivateKey;
use wattle_testkit::wait_for;
use wattle_wire::SiteId;
use wattle_wire::message::ChargerState;

use super::keep::{Keeper, Place};
use super::tests::{Rig, V1, V2, component, host, hostile};
use super::trusting;

use crate::config::Config;

const V3: &str = "3.0.0-hostile";
const LIMIT: Duration = Duration::from_secs(30);

/// A data folder and the place of the site in it.
fn data() -> (TempDir, Place) {
    let data = tempfile::tempdir().expect("folder");
    let keeper = Keeper::start(data.path()).expect("started");
    let place = keeper.place(&SiteId::new("depot").expect("a name"), "site");
    (data, place)
}

fn started(control: &str, file: &[u8], place: &Place) -> Rig {
    Rig::on(host(), control, file, Some(place.clone()))
}

/// Waits until this component is the one that is kept.
fn is_kept(place: &Place, bytes: &[u8]) {
    wait_for("the version to be kept", LIMIT, || place.read().filter(|kept| kept.bytes == bytes))
        .expect("kept");
}

/// Whether nothing is kept for the site, though whatever was to be written before is.
fn nothing_is_kept(place: &Place) -> bool {
    let barrier = place.of("barrier");
    let bytes: Arc<[u8]> = format!("{:?}", Instant::now()).into_bytes().into();
    assert!(barrier.keep(&bytes, None));
    is_kept(&barrier, &bytes);
    place.read().is_none()
}

#[test]
fn after_a_restart_with_a_broken_file_the_last_version_that_proved_itself_decides() {
    let (_data, place) = data();
    let control = "policy_trial = 3\nsettings = { way = 'remember' }";
    let mut rig = started(control, &hostile(V1), &place);
    for _ in 0..2 {
        rig.step();
    }
    assert!(nothing_is_kept(&place), "two good decisions prove nothing");
    rig.step();
    is_kept(&place, &hostile(V1));
    drop(rig);

    let mut rig = started(control, b"no policy", &place);
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    rig.check_events(&[
        ("policy_loaded", "hostile 1.0.0-hostile, kept as the last that proved itself, SHA-256 "),
        ("policy_active", "hostile 1.0.0-hostile decides"),
        (
            "policy_refused",
            "no whole WebAssembly component: it does not begin like one; hostile 1.0.0-hostile decides",
        ),
    ]);
    rig.replace(&hostile(V2));
    assert_eq!(rig.policy.shadows(), ["hostile 2.0.0-hostile"]);
    (0..4).for_each(|_| drop(rig.step()));
    assert_eq!(rig.step(), "hostile 2.0.0-hostile");
    is_kept(&place, &hostile(V2));
}

#[test]
fn a_file_that_was_replaced_while_the_node_was_down_goes_on_trial_beside_what_proved_itself() {
    let (_data, place) = data();
    let control = "policy_trial = 2\nsettings = { way = 'trap from 2' }";
    let mut rig = started(control, &hostile(V1), &place);
    (0..2).for_each(|_| drop(rig.step()));
    is_kept(&place, &hostile(V1));
    let mut rig = started(control, &hostile(V2), &place);
    for _ in 0..5 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    let (kind, text) = rig.events().pop().expect("noted");
    assert!(kind == "policy_refused" && text.contains("in shadow"), "{kind}: {text}");
}

#[test]
fn without_a_trial_what_proved_itself_stands_in_for_a_file_that_fails_after_a_restart() {
    let (_data, place) = data();
    let control = "policy_trial = 0\nsettings = { way = 'trap from 2' }";
    let mut rig = started(control, &hostile(V1), &place);
    rig.step();
    is_kept(&place, &hostile(V1));
    let mut rig = started(control, &hostile(V2), &place);
    assert_eq!(rig.step(), "hostile 1.0.0-hostile (stands in)");
    (0..2).for_each(|_| drop(rig.step()));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    is_kept(&place, &hostile(V1));
}

#[test]
fn a_version_that_is_kept_and_refuses_the_settings_of_today_decides_nothing() {
    let (_data, place) = data();
    let mut rig = started("policy_trial = 1", &hostile(V1), &place);
    rig.step();
    is_kept(&place, &hostile(V1));
    let mut rig = started("settings = { way = 'a thousand faults' }", &component("equal-share"), &place);
    assert_eq!(rig.step(), "built-in equal-share");
    let (kind, text) = rig.events().remove(0);
    assert!(
        kind == "policy_refused" && text.contains("of the version that was kept last: "),
        "{kind}: {text}"
    );
}

#[test]
fn what_proved_itself_is_trusted_after_a_restart_by_its_own_signature_and_by_the_keys_of_today() {
    let (_data, place) = data();
    let folder = tempfile::tempdir().expect("folder");
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).expect("made");
    let key = PrivateKey::generate().expect("a key");
    key.write(&folder.path().join("a.key"), &keys.join("anna.pub")).expect("written");
    let config = Config { policy_keys: Some(keys.clone()), ..Config::default() };
    let control = "policy_trial = 1\nsettings = { way = 'remember' }";
    let start = |file: &[u8], signature: &str| {
        Rig::signed(trusting(host(), &config), control, (file, signature), Some(place.clone()))
    };
    let mut rig = start(&hostile(V1), &key.sign(&hostile(V1)));
    rig.step();
    is_kept(&place, &hostile(V1));
    // The file holds what nobody has signed.
    let mut rig = start(&hostile(V2), &key.sign(&hostile(V1)));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    // A key that is trusted no more takes what it has signed with it.
    std::fs::remove_file(keys.join("anna.pub")).expect("removed");
    let mut rig = start(&hostile(V1), &key.sign(&hostile(V1)));
    assert_eq!(rig.step(), "built-in equal-share");
    let events = rig.events();
    assert!(
        events.iter().any(|(_, text)| text.contains("of the version that was kept last: ")),
        "{events:#?}"
    );
}

#[test]
fn a_decision_for_nobody_and_one_that_fails_prove_nothing() {
    let (_data, place) = data();
    let mut rig = started("policy_trial = 1\nsettings = { way = 'trap' }", &hostile(V1), &place);
    (0..5).for_each(|_| drop(rig.step()));
    assert!(nothing_is_kept(&place));
    let mut rig = started("policy_trial = 1\nsettings = { way = 'remember' }", &hostile(V1), &place);
    rig.state = ChargerState::Plugged;
    (0..5).for_each(|_| assert_eq!(rig.step(), "hostile 1.0.0-hostile"));
    assert!(nothing_is_kept(&place));
    rig.state = ChargerState::Waiting;
    rig.step();
    is_kept(&place, &hostile(V1));
}

#[test]
fn a_version_that_takes_over_no_state_when_it_becomes_active_loses_none() {
    let mut rig = Rig::new("policy_trial = 2\nsettings = { way = 'remember' }", &hostile(V1));
    // There is no state yet, so there is nothing that it could decline.
    rig.replace(&hostile(V3));
    for told in 1..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
        assert!(rig.reason().starts_with(&format!("call 1 of {told}")), "{}", rig.reason());
    }
    for _ in 0..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile (stands in)");
    }
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 3"), "{}", rig.reason());
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", V3),
        ("policy_shadow", V3),
        ("policy_active", V3),
        (
            "policy_failed",
            "does not take over the state: the policy declines: I know no version 1.0.0-hostile",
        ),
        ("policy_rolled_back", "hostile 1.0.0-hostile decides again"),
    ]);
}

#[test]
fn where_nobody_can_stand_in_the_state_is_given_up_and_that_is_an_event() {
    let mut rig = Rig::new("policy_trial = 6\nsettings = { way = 'trap after 3' }", &hostile(V1));
    rig.replace(&hostile(V3));
    for _ in 0..6 {
        rig.step();
    }
    assert_eq!(rig.step(), "hostile 3.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 1"), "{}", rig.reason());
    assert_eq!(rig.step(), "hostile 3.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 2"), "{}", rig.reason());
    let expected = "hostile 3.0.0-hostile begins with nothing, as it does not take over the 1 bytes of state that hostile 1.0.0-hostile has left";
    let events = rig.events();
    assert_eq!(events.iter().filter(|(_, text)| text.contains(expected)).count(), 1, "{events:#?}");
}
