//! Policies at a site: real guests, a real machine, virtual time. The site has one charger of 32 A whose vehicle always
//! asks; the hostile guest's good ways give it 10 A, the equal share all of it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use wattle_edge_core::{Heard, Part, SiteInput, SiteMachine};
use wattle_policy_host::{Host, Limits, Loads};
use wattle_site::{Control, SiteFile};
use wattle_wire::message::{ChargerState, Phases};
use wattle_wire::row::{Cause, Decision, EventKind, Row};
use wattle_wire::{Micros, Milliamps};

use super::keep::Place;
use super::{Placed, Role, SitePolicy};

pub(super) const V1: &str = "1.0.0-hostile";
pub(super) const V2: &str = "2.0.0-hostile";

/// The bytes of a component that `make policies` has built.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os(super::FOLDER_VARIABLE).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target/policies").into());
    let path = folder.join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `make policies`", path.display()))
}

/// The hostile guest of another version.
pub(crate) fn hostile(version: &str) -> Vec<u8> {
    let mut bytes = component("hostile");
    let at = bytes.windows(V1.len()).position(|window| window == V1.as_bytes()).expect("its version");
    bytes[at..at + V1.len()].copy_from_slice(version.as_bytes());
    bytes
}

/// The hostile guest with the stamp of an interface that isn't there yet.
fn of_the_next_interface() -> Vec<u8> {
    let mut bytes = component("hostile");
    let stamp = b"wattle:load-policy1";
    // The last one is the component's own; there is one on the module inside too.
    let at = bytes.windows(stamp.len()).rposition(|window| window == stamp).expect("its stamp");
    bytes[at + stamp.len() - 1] = b'2';
    bytes
}

pub(crate) fn host() -> Host {
    Host::new(limits()).expect("runs")
}

/// With a generous deadline, so that fuel binds on a machine under load too.
fn limits() -> Limits {
    Limits { deadline: Duration::from_secs(20), ..Limits::default() }
}

/// A site as its actor runs it, and the charger as it really is.
pub(crate) struct Rig {
    folder: TempDir,
    pub(crate) host: Host,
    machine: SiteMachine,
    pub(crate) policy: SitePolicy,
    now: Micros,
    obeys: (u64, Milliamps),
    /// What the charger says of itself.
    pub(super) state: ChargerState,
    rows: Vec<Row>,
}

impl Rig {
    /// A site whose `[control]` has these lines, and whose policy `site` is this component.
    pub(super) fn new(control: &str, policy: &[u8]) -> Self {
        Self::on(host(), control, policy, None)
    }

    /// The same, with the last version that proved itself kept at a place.
    pub(crate) fn on(host: Host, control: &str, policy: &[u8], place: Option<Place>) -> Self {
        Self::signed(host, control, (policy, ""), place)
    }

    /// The same, with what stands beside the component as its signature.
    pub(super) fn signed(
        host: Host,
        control: &str,
        (policy, signature): (&[u8], &str),
        place: Option<Place>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("site.wasm"), policy).expect("written");
        std::fs::write(folder.path().join("site.wasm.sig"), signature).expect("written");
        let file = site(control);
        let now = Micros::from_secs(1_000);
        let machine = SiteMachine::new(crate::site_model(&file), 1, now).expect("sound");
        let policy = SitePolicy::load_with(&host, folder.path(), &file.control, place, None);
        Self {
            folder,
            host,
            machine,
            policy,
            now,
            obeys: (0, Milliamps::ZERO),
            state: ChargerState::Charging,
            rows: Vec::new(),
        }
    }

    /// The file of the policy is replaced, and the site is offered what it holds.
    pub(super) fn replace(&mut self, policy: &[u8]) {
        std::fs::write(self.folder.path().join("site.wasm"), policy).expect("written");
        let (role, source) = self.policy.sources().next().expect("it is on");
        let found = source.load(&self.host);
        self.policy.offer(role, found, self.machine.policy_state());
    }

    /// The folder of policies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What somebody has deployed, or taken back.
    pub(crate) fn place(&mut self, placed: Placed) {
        self.policy.place(placed, self.machine.policy_state());
    }

    /// A second with a reading of the charger and a decision; who has proposed it.
    pub(crate) fn step(&mut self) -> String {
        self.now += Micros::from_secs(1);
        let (number, limit) = self.obeys;
        let heard = Heard::Reading {
            state: Some(self.state),
            setpoint: Some(number),
            current_ma: Some(Phases::new(&[limit])),
            register_wh: None,
            soc_percent: None,
            temperature_mc: None,
            voltage_mv: None,
        };
        self.machine.handle(SiteInput { part: Part::Charger(0), seen: None, heard }, self.now);
        let snapshot = self.machine.begin_decision(self.now, Cause::Interval);
        let before = self.machine.clone();
        let proposal = self.policy.propose(&snapshot, self.machine.policy_state());
        let outcome = self.machine.finish_decision(proposal, self.now);
        let is_recorded = outcome.rows.iter().any(|row| matches!(row, Row::Decision(_)));
        if let Some(sent) = outcome.setpoints.last() {
            self.obeys = (sent.setpoint.number, sent.setpoint.limit_ma);
        }
        self.rows.extend(outcome.rows);
        if self.policy.has_shadow() {
            let errand = self.policy.errand(snapshot, before, self.now, is_recorded);
            self.rows.extend(self.policy.imagined(errand.run()));
        }
        self.obeyed().last().expect("decided").policy.clone()
    }

    fn decisions(&self, is_shadow: bool) -> impl Iterator<Item = &Decision> {
        self.rows.iter().filter_map(move |row| match row {
            Row::Decision(decision) if (decision.cause == Cause::Shadow) == is_shadow => Some(decision),
            _ => None,
        })
    }

    fn obeyed(&self) -> impl Iterator<Item = &Decision> {
        self.decisions(false)
    }

    /// The reason of the last decision that was obeyed.
    pub(crate) fn reason(&self) -> &str {
        &self.obeyed().last().expect("decided").chargers[0].reason
    }

    /// What was noted of the policy since the last call, and what the core has journaled of it.
    pub(crate) fn events(&mut self) -> Vec<(&'static str, String)> {
        let mut events = self.policy.take_notes();
        events.extend(self.rows.iter().filter_map(|row| match row {
            Row::Event(event) if event.kind == EventKind::PolicyFailed => {
                Some((event.kind, event.detail.clone()))
            }
            _ => None,
        }));
        events.into_iter().map(|(kind, text)| (kind.as_str(), text)).collect()
    }

    /// Checks kinds of events and parts of their texts.
    pub(super) fn check_events(&mut self, expected: &[(&str, &str)]) {
        let events = self.events();
        assert_eq!(events.len(), expected.len(), "{events:#?}");
        for ((kind, text), (expected, part)) in events.iter().zip(expected) {
            assert!(kind == expected && text.contains(part), "{kind}: {text}\nis not {expected}: {part}");
        }
    }
}

pub(crate) fn site(control: &str) -> SiteFile {
    let text = format!(
        "id = 'depot'\n[control]\npolicy = 'site'\nraise_delay_ms = 0\n{control}\n[[circuits]]\nid = 'grid'\nlimit_a = 32\n\
         [[chargers]]\nid = 'cp-1'\ncircuit = 'grid'\nphases = ['L1']\n"
    );
    SiteFile::parse("site.toml", &text).expect("right")
}

#[test]
fn a_policy_file_is_replaced_while_a_site_runs_and_the_next_decisions_are_by_the_new_version_with_the_migrated_state()
 {
    let mut rig = Rig::new("policy_trial = 0\nsettings = { way = 'remember' }", &hostile(V1));
    for told in 1..4 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
        assert!(rig.reason().starts_with(&format!("call 1 of {told}")), "{}", rig.reason());
    }
    rig.replace(&hostile(V2));
    assert_eq!(rig.step(), "hostile 2.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 104"), "{}", rig.reason());
    assert_eq!(rig.step(), "hostile 2.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 105"), "its own state is not migrated: {}", rig.reason());
    assert_eq!(rig.obeys.1, Milliamps(10_000));
    rig.check_events(&[
        ("policy_loaded", "hostile 1.0.0-hostile from "),
        ("policy_active", "hostile 1.0.0-hostile decides"),
        ("policy_loaded", "hostile 2.0.0-hostile from "),
        ("policy_active", "hostile 2.0.0-hostile decides in place of hostile 1.0.0-hostile"),
    ]);
}

#[test]
fn a_new_version_proves_itself_in_shadow_and_what_it_would_have_done_stands_beside_what_was_done() {
    let mut rig = Rig::new("policy_trial = 3\nsettings = { way = 'remember' }", &hostile(V1));
    (0..3).for_each(|_| drop(rig.step()));
    rig.replace(&hostile(V2));
    for _ in 0..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    let shadows: Vec<_> = rig.decisions(true).collect();
    assert_eq!(shadows.len(), 3);
    for (decision, told) in shadows.iter().zip(104..) {
        assert_eq!((decision.policy.as_str(), decision.chargers[0].number), ("hostile 2.0.0-hostile", 0));
        assert!(decision.chargers[0].reason.starts_with(&format!("call 1 of {told}")));
        assert_eq!(decision.chargers[0].setpoint_ma, Milliamps(10_000));
    }
    // The state that it goes on from is that of the plans that were obeyed, six of them.
    assert_eq!(rig.step(), "hostile 2.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 107"), "{}", rig.reason());
    assert_eq!(rig.decisions(true).count(), 3);
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", V2),
        ("policy_shadow", "hostile 2.0.0-hostile decides beside hostile 1.0.0-hostile for 3 decisions"),
        ("policy_active", "hostile 2.0.0-hostile decides in place of hostile 1.0.0-hostile"),
    ]);
}

#[test]
fn a_decision_for_nobody_proves_nothing() {
    let mut rig = Rig::new("policy_trial = 3\nsettings = { way = 'remember' }", &hostile(V1));
    rig.step();
    rig.replace(&hostile(V2));
    rig.state = ChargerState::Plugged;
    for _ in 0..20 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    rig.state = ChargerState::Waiting;
    for _ in 0..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    assert_eq!(rig.step(), "hostile 2.0.0-hostile");
}

#[test]
fn a_policy_that_only_fails_is_asked_every_60th_decision_and_a_new_version_at_once() {
    let mut rig = Rig::new("settings = { way = 'trap from 2' }", &hostile(V2));
    let mut asked = Vec::new();
    for n in 1..=200 {
        rig.step();
        asked.extend(
            (rig.policy.rests == 0 || rig.policy.rests == super::site::ASKED_ONE_IN - 1).then_some(n),
        );
        assert!(rig.policy.failure().is_some_and(|why| why.contains("on purpose")));
    }
    // Two that may pass, the third that is too many, and from then on the last of a rest and the one that is asked.
    assert_eq!(asked, [1, 2, 3, 62, 63, 122, 123, 182, 183]);
    rig.replace(&hostile(V1));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
}

#[test]
fn a_new_version_that_traps_is_rolled_back_and_the_vehicles_keep_charging() {
    let mut rig = Rig::new("policy_trial = 0\nsettings = { way = 'trap from 2' }", &hostile(V1));
    (0..3).for_each(|_| drop(rig.step()));
    rig.replace(&hostile(V2));
    for _ in 0..3 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile (stands in)");
        assert!(
            rig.reason().starts_with("call 1 of 4"),
            "what a stand-in leaves is dropped: {}",
            rig.reason()
        );
        assert_eq!(rig.obeys.1, Milliamps(10_000));
    }
    for told in 4..20 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
        assert!(rig.reason().starts_with(&format!("call 1 of {told}")), "{}", rig.reason());
        assert_eq!(rig.obeys.1, Milliamps(10_000));
    }
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", V2),
        ("policy_active", V2),
        ("policy_failed", "trapped on purpose; hostile 1.0.0-hostile stands in"),
        ("policy_rolled_back", "hostile 2.0.0-hostile failed 3 of its last 20 decisions"),
    ]);
}

#[test]
fn a_new_version_that_traps_in_shadow_is_refused_and_never_obeyed() {
    let mut rig = Rig::new("policy_trial = 10\nsettings = { way = 'trap from 2' }", &hostile(V1));
    rig.step();
    rig.replace(&hostile(V2));
    for _ in 0..5 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    assert_eq!(rig.decisions(true).count(), 0);
    assert!(rig.policy.shadows().is_empty());
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_loaded", V2),
        ("policy_shadow", V2),
        ("policy_refused", "in shadow, the last time: the policy broke down: "),
    ]);
}

#[test]
fn a_new_version_that_can_not_be_used_is_refused_with_the_reason_and_nothing_changes() {
    let mut rig = Rig::new("settings = { way = 'remember' }", &hostile(V1));
    rig.step();
    rig.replace(b"no policy");
    rig.replace(&of_the_next_interface());
    rig.replace(&hostile("4.0.0-hostile"));
    rig.replace(&hostile("3.0.0-hostile"));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    assert!(rig.reason().starts_with("call 1 of 2"), "{}", rig.reason());
    rig.check_events(&[
        ("policy_loaded", V1),
        ("policy_active", V1),
        ("policy_refused", "this is no whole WebAssembly component"),
        ("policy_refused", "is made for version \"2\" of the policy interface; this host runs 1"),
        ("policy_refused", "this host grants 16777216; see policy_memory_mib; hostile 1.0.0-hostile decides"),
        ("policy_loaded", "3.0.0"),
        (
            "policy_refused",
            "does not take over the state: the policy declines: I know no version 1.0.0-hostile",
        ),
    ]);
}

#[test]
fn a_site_file_grants_memory() {
    let mut rig =
        Rig::new("policy_memory_mib = 32\nsettings = { way = 'hold 20 MiB' }", &hostile("4.0.0-hostile"));
    assert_eq!(rig.step(), "hostile 4.0.0-hostile");
}

#[test]
fn a_site_file_grants_fuel() {
    for (million, expected) in [(20, "20000000 units of fuel"), (30, "30000000 units of fuel")] {
        let control = format!("policy_fuel_million = {million}\nsettings = {{ way = 'spin on' }}");
        let mut rig = Rig::new(&control, &hostile(V1));
        assert_eq!(rig.step(), "built-in equal-share");
        let failure = rig.policy.failure().expect("it failed");
        assert!(failure.contains(expected), "{failure}");
    }
}

#[test]
fn a_file_that_is_put_back_ends_the_trial_of_the_other() {
    let mut rig = Rig::new("settings = { way = 'remember' }", &hostile(V1));
    rig.step();
    rig.replace(&hostile(V2));
    rig.step();
    assert_eq!(rig.policy.shadows(), ["hostile 2.0.0-hostile"]);
    rig.replace(&hostile(V1));
    assert!(rig.policy.shadows().is_empty());
    let (kind, text) = rig.events().pop().expect("noted");
    assert_eq!((kind, text.contains("was taken back")), ("policy_refused", true), "{text}");
}

#[test]
fn whatever_a_policy_does_the_equal_share_decides_at_the_same_decision_and_the_event_says_why() {
    for (way, expected) in [
        ("spin on", "did not finish with 20000000 units of fuel"),
        ("allocate", "wanted more than its 16777216 bytes of memory"),
        ("trap", "broke down"),
        ("recurse", "the policy broke down: wasm trap: out of bounds memory access"),
        ("a flood of allocations", "can't be taken"),
        ("a giant reason", "can't be taken"),
        ("log a giant line", "can't be taken"),
        ("too many allocations", "5 allocations for 1 chargers"),
        ("an unknown charger", "charger 1 of 1"),
        ("a negative limit", "-1 mA"),
        ("a long reason", "300 bytes"),
        ("a long state", "65537 bytes"),
        ("refuse", "declines: not today"),
        ("lie", "is no way to go"),
    ] {
        let mut rig = Rig::new(&format!("settings = {{ way = '{way}' }}"), &hostile(V1));
        assert_eq!(rig.step(), "built-in equal-share", "{way}");
        rig.step();
        assert_eq!(rig.obeys.1, Milliamps(32_000), "{way}");
        let events = rig.events();
        let (kind, text) = events.last().expect("noted");
        assert_eq!(*kind, "policy_failed");
        assert!(text.contains(expected) && text.ends_with("; the built-in equal share decides"), "{text}");
    }
}

#[test]
fn a_policy_that_outlasts_its_deadline_is_replaced_at_the_same_decision() {
    let limits = Limits { deadline: Duration::from_secs(1), fuel: u64::MAX, ..Limits::default() };
    let mut rig =
        Rig::on(Host::new(limits).expect("runs"), "settings = { way = 'spin on' }", &hostile(V1), None);
    assert_eq!(rig.step(), "built-in equal-share");
    let expected = "did not finish within 1s; the built-in equal share decides";
    rig.check_events(&[("policy_loaded", V1), ("policy_active", V1), ("policy_failed", expected)]);
}

#[test]
fn a_policy_that_spins_over_its_settings_is_refused() {
    let mut rig = Rig::new("settings = { way = 'spin' }", &hostile(V1));
    assert_eq!(rig.step(), "built-in equal-share");
    rig.check_events(&[("policy_refused", "20000000 units of fuel"), ("policy_failed", "20000000")]);
}

#[test]
fn a_policy_that_logs_too_much_is_heard_no_further_and_decides() {
    let mut rig = Rig::new("settings = { way = 'log a lot' }", &hostile(V1));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
}

#[test]
fn a_policy_that_lies_about_the_faults_of_its_settings_is_refused() {
    let mut rig = Rig::new("settings = { way = 'a thousand faults' }", &hostile(V1));
    assert_eq!(rig.step(), "built-in equal-share");
    rig.check_events(&[("policy_refused", "1000 faults; at most 100"), ("policy_failed", "1000 faults")]);
}

#[test]
fn a_policy_in_shadow_is_recorded_beside_the_one_that_is_obeyed_and_never_obeyed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("equal-share.wasm");
    std::fs::write(&path, component("equal-share")).expect("written");
    let shadow = format!("settings = {{ way = 'remember' }}\nshadow = {{ policy = '{}' }}", path.display());
    let mut rig = Rig::new(&shadow, &hostile(V1));
    for _ in 0..5 {
        assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    }
    assert_eq!(rig.obeys.1, Milliamps(10_000));
    let (obeyed, beside) = (rig.obeyed().count(), rig.decisions(true).collect::<Vec<_>>());
    assert_eq!((obeyed, beside.len()), (5, 5));
    for decision in beside {
        assert_eq!(decision.policy, "equal-share 0.1.0");
        assert_eq!(decision.chargers[0].proposed_ma, Milliamps(32_000));
    }
}

#[test]
fn a_steady_shadow_is_recorded_as_often_as_what_is_obeyed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("hostile.wasm");
    std::fs::write(&path, component("hostile")).expect("written");
    let control = format!("shadow = {{ policy = '{}', settings = {{ way = 'trap' }} }}", path.display());
    let mut rig = Rig::new(&control, &component("equal-share"));
    (0..5).for_each(|_| drop(rig.step()));
    assert_eq!(rig.decisions(true).count(), 0, "it gives no plan");
    assert!(!rig.policy.has_shadow(), "it is asked no more");
    let said: Vec<_> = rig.events().into_iter().filter(|(_, text)| text.contains("in shadow")).collect();
    assert_eq!(said.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["policy_failed", "policy_refused"]);
    assert!(said[1].1.contains("failed 3 of its last 20 decisions"), "{said:?}");
    let (role, source) = rig.policy.sources().nth(1).expect("there is one");
    let found = source.load(&rig.host);
    rig.policy.offer(role, found, &[]);
    assert!(rig.policy.has_shadow(), "its file has changed");

    let control = format!("settings = {{}}\nshadow = {{ policy = '{}' }}", path.display());
    let mut rig = Rig::new(&control, &component("equal-share"));
    (0..10).for_each(|_| drop(rig.step()));
    let (obeyed, shadows) = (rig.obeyed().count(), rig.decisions(true).count());
    assert_eq!((obeyed, shadows), (1, 1));
}

#[test]
fn where_the_policy_is_off_the_equal_share_decides_and_nothing_fails() {
    let file = site("").control;
    let control = Control { policy: super::OFF.into(), ..file };
    let mut rig = Rig::new("", &component("equal-share"));
    rig.policy = SitePolicy::load(&rig.host, rig.folder.path(), &control);
    assert_eq!(rig.step(), "built-in equal-share");
    assert_eq!(rig.policy.sources().count(), 0);
    rig.check_events(&[]);
}

#[test]
fn a_policy_that_comes_late_decides_at_once() {
    let mut rig = Rig::new("settings = { way = 'remember' }", b"");
    assert_eq!(rig.step(), "built-in equal-share");
    rig.replace(&hostile(V1));
    assert_eq!(rig.step(), "hostile 1.0.0-hostile");
    let kinds: Vec<_> = rig.events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["policy_refused", "policy_loaded", "policy_active", "policy_failed"]);
}

#[test]
fn a_name_is_looked_for_in_the_folder_and_a_path_is_taken_as_it_stands() {
    assert_eq!(super::path(Path::new("/p"), "equal-share"), Path::new("/p/equal-share.wasm"));
    assert_eq!(super::path(Path::new("/p"), "./mine.wasm"), Path::new("./mine.wasm"));
}

#[test]
fn the_configured_folder_goes_first() {
    assert_eq!(super::folder(Some(Path::new("/mine"))), Path::new("/mine"));
}

#[test]
fn a_node_keeps_compiled_code_in_its_data_folder_unless_others_may_write_there() {
    let data = tempfile::tempdir().expect("folder");
    let code = data.path().join(super::CACHE);
    let load = || {
        let host = super::host(data.path(), limits()).expect("runs");
        host.load(&component("equal-share")).expect("sound");
        host.loads().compiled
    };
    assert_eq!((load(), load()), (1, 0));
    std::fs::set_permissions(&code, std::fs::Permissions::from_mode(0o777)).expect("changed");
    assert_eq!((load(), load()), (1, 1));
}

#[test]
fn two_sites_share_one_compiled_policy() {
    let first = Rig::new("", &component("equal-share"));
    let mut second = Rig::on(first.host.clone(), "policy_trial = 0", &component("equal-share"), None);
    assert_eq!(first.host.loads(), Loads { compiled: 1, from_cache: 0, shared: 1 });
    assert_eq!(second.step(), "equal-share 0.1.0");
    let (role, _) = first.policy.sources().next().expect("it is on");
    assert_eq!(role, Role::Active);
}
