//! Documents at the worker: real components, a real folder, no actor.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wattle_policy_host::sign::PrivateKey;
use wattle_process::sealed::hex;
use wattle_site::Control;
use wattle_wire::document::{Action, Document, Head, LAYOUT, POLICY, PolicyOrder};
use wattle_wire::row::EventKind;
use wattle_wire::{EdgeId, SiteId};

use super::folder::Folder;
use super::kept::Kept;
use super::place::{Order, Place};
use super::worker::{From, Outcome, Worker};
use super::{Answer, Board, settings_in, with_settings};
use crate::clock::Clock;
use crate::config::Config;
use crate::policy::tests::{component, host, hostile};
use crate::policy::{Role, Source, Standing, Stands, mark, trusting};

const V1: &str = "1.0.0-hostile";
const V2: &str = "2.0.0-hostile";

#[path = "odd_tests.rs"]
mod odd;
#[path = "together_tests.rs"]
mod together;

/// A worker with the site `depot`, and what it tells the site.
struct Rig {
    data: TempDir,
    control: Control,
    config: Config,
    worker: Worker,
    told: Receiver<Order>,
}

impl Rig {
    fn new(control: &str) -> Self {
        Self::with(control, Config::default())
    }

    fn with(control: &str, config: Config) -> Self {
        let data = tempfile::tempdir().expect("folder");
        std::fs::create_dir(data.path().join("policies")).expect("made");
        let own = component("fair-share");
        std::fs::write(data.path().join("policies/fair-share.wasm"), own).expect("written");
        let control: Control = toml::from_str(control).expect("right");
        let (worker, told) = start(data.path(), &control, &config);
        Self { data, control, config, worker, told }
    }

    /// The worker of the next start.
    fn restart(&mut self) {
        (self.worker, self.told) = start(self.data.path(), &self.control, &self.config);
    }

    fn kept(&self) -> &Kept {
        &self.worker.places[&site()].kept
    }

    fn send(&mut self, document: &Document, from: &From) -> Answer {
        self.worker.document(&document.encode(), from)
    }

    fn says(&mut self, action: Action, body: &[u8], settings: Option<Value>) -> Answer {
        self.send(&document(action, body, settings), &anna())
    }

    fn refuses(&mut self, document: &Document, expected: &str) {
        let before = self.kept().standing.clone();
        let answer = self.send(document, &anna());
        assert_eq!(answer.outcome, Outcome::Refused, "{}", answer.text);
        assert!(answer.text.contains(expected), "{}", answer.text);
        assert_eq!(self.kept().standing, before, "nothing else has changed");
        let order = self.told.try_recv().expect("the site is told");
        let event = order.event.expect("it is journaled");
        assert_eq!((order.placed.is_none(), event.kind), (true, EventKind::DocumentRefused));
        let detail: Value = serde_json::from_str(&event.detail).expect("JSON");
        assert_eq!(
            (detail["reason"].as_str(), detail["sent_by"].as_str()),
            (Some(&*answer.text), Some("anna"))
        );
    }

    /// What the site's actor says of a version.
    fn stands(&mut self, body: &[u8], settings: &str, stands: Stands) {
        let mark = mark(&Sha256::digest(body).into(), settings);
        let (role, heard) = (Role::Active, u64::MAX);
        self.worker.standing(&site(), &Standing { role, mark, heard, stands, reason: "it trapped".into() });
    }

    /// What stands, and as what.
    fn standing(&self) -> Vec<(String, &'static str)> {
        let standing = self.kept().standing.iter();
        standing.map(|d| (d.policy.clone(), d.stands.as_str())).collect()
    }

    /// Components and signatures on the disk.
    fn files(&self) -> usize {
        let files = std::fs::read_dir(self.data.path().join("deployed")).expect("there").flatten();
        files.filter(|file| file.path().extension().is_some()).count()
    }
}

fn start(data: &Path, control: &Control, config: &Config) -> (Worker, Receiver<Order>) {
    start_on(data, &data.join("policies"), control, config)
}

fn start_on(data: &Path, policies: &Path, control: &Control, config: &Config) -> (Worker, Receiver<Order>) {
    let folder = Folder::open(data).expect("made");
    let (tell, told) = channel();
    let sources = (Source::active(policies, control), Source::shadow(policies, control));
    let (kept, missed) = super::start::read(&folder, &site());
    let place = Place {
        control: control.clone(),
        text: "id = 'depot'\n".into(),
        sources,
        kept,
        missed,
        tell: Box::new(move |order| tell.send(order).expect("it listens")),
    };
    let board = Board::default();
    board.keep(&site(), &place.kept, place.unloaded());
    board.refused(folder.strangers());
    let worker = Worker {
        edge: EdgeId::new("edge-1").expect("name"),
        host: trusting(host(), config),
        folder,
        clock: Arc::new(Clock::start()),
        places: [(site(), place)].into(),
        board,
    };
    (worker, told)
}

fn site() -> SiteId {
    SiteId::new("depot").expect("name")
}

fn anna() -> From {
    From::Person("anna".into())
}

fn document(action: Action, body: &[u8], settings: Option<Value>) -> Document {
    let head = Head {
        document: LAYOUT,
        kind: POLICY.into(),
        edge: None,
        site: site(),
        version: 0,
        after: None,
        was: None,
        sent_by: String::new(),
        sha256: hex(&Sha256::digest(body)),
        policy: Some(PolicyOrder { action, settings, signature: String::new(), takes_back: None }),
    };
    Document { head, body: body.to_vec() }
}

/// One from the fog node.
fn handed(version: u64, body: &[u8]) -> Document {
    let mut document = document(Action::Trial, body, None);
    (document.head.version, document.head.sent_by) = (version, "ben".into());
    document
}

#[test]
fn what_is_applied_is_on_the_disk_before_the_site_is_told_and_stands_after_a_restart() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let own = json!({ "way": "forget" });
    let answer = rig.says(Action::Trial, &hostile(V1), Some(own.clone()));
    assert_eq!(
        (answer.outcome, &*answer.text),
        (Outcome::Applied, "hostile 1.0.0-hostile is applied (trial)")
    );
    let order = rig.told.try_recv().expect("told");
    let placed = order.placed.expect("it has a place");
    assert_eq!((placed.role, placed.at_once), (Role::Active, false));
    assert_eq!(settings_in(&order.configuration).collect::<Vec<_>>(), [own.to_string()]);
    let detail: Value = serde_json::from_str(&order.event.expect("journaled").detail).expect("JSON");
    assert_eq!((&detail["settings"], &detail["version"]), (&own, &json!(answer.version)));
    rig.restart();
    assert_eq!(rig.standing(), [("hostile 1.0.0-hostile".into(), "trial")]);
    assert_eq!((rig.kept().newest, rig.kept().standing[0].sent_by.as_str()), (answer.version, "anna"));
    rig.stands(&hostile(V1), &own.to_string(), Stands::Active);
    rig.restart();
    assert_eq!(rig.standing(), [("hostile 1.0.0-hostile".into(), "active")]);
}

#[test]
fn of_two_documents_the_newer_one_holds_in_whatever_order_they_come() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    assert_eq!(rig.send(&handed(20, &hostile(V2)), &From::Fog).outcome, Outcome::Applied);
    let late = rig.send(&handed(10, &hostile(V1)), &From::Fog);
    assert_eq!((late.outcome, &*late.text), (Outcome::Older, "version 10 came after 20, which is newer"));
    assert_eq!(rig.send(&handed(20, &hostile(V1)), &From::Fog).outcome, Outcome::Older);
    rig.restart();
    assert_eq!(rig.send(&handed(19, &hostile(V1)), &From::Fog).outcome, Outcome::Older);
    assert_eq!(rig.standing(), [("hostile 2.0.0-hostile".into(), "trial")]);
    let local = rig.says(Action::Trial, &hostile(V1), None);
    assert!(local.outcome == Outcome::Applied && local.version > 20);
    assert_eq!(
        rig.send(&handed(21, &hostile(V2)), &From::Fog).outcome,
        Outcome::Older,
        "what a person sent is newer"
    );
}

#[test]
fn what_can_not_be_applied_is_refused_with_its_reason_and_the_old_one_goes_on() {
    let mut rig = Rig::new("");
    assert_eq!(rig.says(Action::Activate, &component("fair-share"), None).outcome, Outcome::Applied);
    rig.told.try_recv().expect("told");
    rig.refuses(&document(Action::Trial, b"no policy", None), "this is no whole WebAssembly component");
    let half = &component("first-come")[..1_000];
    rig.refuses(&document(Action::Trial, half, None), "this is no whole WebAssembly component");
    let mut changed = document(Action::Trial, &component("first-come"), None);
    changed.body[500] ^= 1;
    rig.refuses(&changed, "it was changed on its way");
    let broken = hostile("6.0.0-hostile");
    rig.refuses(
        &document(Action::Trial, &broken, None),
        "its settings schema breaks itself: way: the default `7` is no string",
    );
    let spins = document(Action::Trial, &hostile(V1), Some(json!({ "way": "spin" })));
    rig.refuses(&spins, "did not finish with");
    assert_eq!(rig.files(), 1, "the component that stands");
    rig.restart();
    let told = rig.kept().told.clone().expect("it is kept why");
    assert!(told.refused.contains("did not finish with"), "{told:?}");
    let mut off = Rig::new("policy = 'off'");
    off.refuses(
        &document(Action::Shadow, &component("fair-share"), None),
        "the site file says `policy = \"off\"`",
    );
}

#[test]
fn wrong_settings_are_refused_with_path_value_and_reason() {
    let mut rig = Rig::new("");
    let first_come = component("first-come");
    let wrong = |settings| document(Action::Trial, &first_come, Some(settings));
    rig.refuses(&wrong(json!({ "slots": 0 })), "slots: `0` is not a whole number from 1 to");
    rig.refuses(&wrong(json!({ "mode": "both" })), "mode: `\"both\"` is not one of");
    rig.refuses(&wrong(json!({ "slot": 1 })), "slot: there is no such setting");
    // The policy itself finds nothing here.
    let hostile = document(Action::Trial, &hostile(V1), Some(json!({ "way": 7, "more": true })));
    rig.refuses(
        &hostile,
        "more: `true` is given to a setting that isn't there; there are: way; way: `7` is no string",
    );
    let mut rig = Rig::new("settings = { slots = 0 }");
    rig.refuses(&document(Action::Trial, &first_come, None), "slots: `0` is not a whole number");
}

#[test]
fn with_a_ring_only_what_was_signed_is_applied_and_a_bad_signature_spoils_no_good_one() {
    let keys = tempfile::tempdir().expect("folder");
    let (key, stranger) = (PrivateKey::generate().expect("a key"), PrivateKey::generate().expect("a key"));
    key.write(&keys.path().join("a.key"), &keys.path().join("anna.pub")).expect("written");
    let config = Config { policy_keys: Some(keys.path().into()), ..Config::default() };
    let mut rig = Rig::with("", config);
    let body = component("fair-share");
    let signed = |signature: String| {
        let mut document = document(Action::Activate, &body, None);
        document.head.policy.as_mut().expect("an order").signature = signature;
        document
    };
    rig.refuses(&signed(String::new()), "the component is not signed; sign it with `wattle policy sign`");
    rig.refuses(&signed(stranger.sign(&body)), "which this ring doesn't hold (anna");
    assert_eq!(rig.send(&signed(key.sign(&body)), &anna()).outcome, Outcome::Applied);
    rig.told.try_recv().expect("told");
    assert_eq!(rig.kept().standing[0].signed_by, Some(key.id().to_string()));
    rig.refuses(&signed(key.sign(b"something else")), "doesn't fit these bytes");
    rig.refuses(&signed("no signature".into()), "this is no signature");
    assert_eq!(rig.files(), 2, "the component that stands, and its signature");
    rig.restart();
    let deployment = rig.kept().standing[0].clone();
    let (host, folder, control) = (&rig.worker.host, &rig.worker.folder, &rig.control);
    let judge = super::judge::Judge { host, folder, control };
    assert!(judge.standing(&deployment).is_ok(), "it is trusted at the next start too");
}

#[test]
fn a_document_for_another_edge_or_site_is_refused_and_need_not_come_again() {
    let mut rig = Rig::new("");
    let mut other = handed(7, &component("fair-share"));
    other.head.edge = Some(EdgeId::new("edge-2").expect("name"));
    let answer = rig.send(&other, &From::Fog);
    assert!(
        answer.outcome == Outcome::Refused && answer.text.contains("of the edge edge-2; this is"),
        "{answer:?}"
    );
    other.head.edge = None;
    other.head.site = SiteId::new("roof").expect("name");
    assert_eq!(rig.send(&other, &From::Fog).outcome, Outcome::Refused);
    let unknown = br#"{"document":1,"kind":"allowance","site":"depot","version":9}"#;
    let answer = rig.worker.document(&[&unknown[..], b"\n"].concat(), &From::Fog);
    assert!(answer.text.contains("update the node"), "{answer:?}");
    let has: Vec<_> =
        rig.worker.board.has().into_iter().map(|has| (has.site.to_string(), has.version)).collect();
    for known in [("roof".into(), 7), ("depot".into(), 9)] {
        assert!(has.contains(&known), "{has:?}");
    }
    let events: Vec<_> =
        rig.told.try_iter().filter_map(|order| order.event).map(|event| event.kind).collect();
    assert_eq!(events, [EventKind::DocumentRefused; 3]);
}

#[test]
fn a_rollback_goes_back_to_what_decided_before_and_at_last_to_the_site_file() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let settings = json!({ "way": "remember" }).to_string();
    let back = |rig: &mut Rig| {
        let answer = rig.says(Action::Rollback, b"", None);
        (answer.outcome, answer.text)
    };
    rig.says(Action::Activate, &hostile(V1), None);
    rig.says(Action::Trial, &hostile(V2), None);
    // It never decided, so nobody goes back to it.
    rig.says(Action::Trial, &hostile("3.0.0-hostile"), None);
    rig.stands(&hostile("3.0.0-hostile"), &settings, Stands::Active);
    rig.says(Action::Shadow, &component("equal-share"), Some(json!({})));
    assert_eq!(rig.standing().len(), 3);
    assert_eq!(
        back(&mut rig),
        (Outcome::Applied, "equal-share 0.1.0 is taken back; nothing is in shadow".into())
    );
    let text = "hostile 3.0.0-hostile is taken back; hostile 1.0.0-hostile";
    assert_eq!(back(&mut rig), (Outcome::Applied, text.into()));
    let placed = rig.told.try_iter().last().and_then(|order| order.placed).expect("it has a place");
    assert!(placed.at_once && placed.version.is_some_and(|version| version.version() == V1));
    // The site file's own policy takes no such settings.
    let (outcome, text) = back(&mut rig);
    assert!(
        outcome == Outcome::Applied && text.contains("or the built-in equal share; what would can't be"),
        "{text}"
    );
    let order = rig.told.try_iter().last().expect("told");
    let (placed, back_to) = order
        .placed
        .and_then(|placed| Some((placed.version.is_none(), placed.back?)))
        .expect("it has a place");
    assert!(placed && back_to.missing.contains("refuses its settings"), "{back_to:?}");
    assert_eq!(rig.standing(), []);
    let mut rig = Rig::new("");
    rig.says(Action::Activate, &component("equal-share"), None);
    let text = "equal-share 0.1.0 is taken back; fair-share 0.1.0 of the site file";
    assert_eq!(back(&mut rig), (Outcome::Applied, text.into()));
    let (outcome, text) = back(&mut rig);
    assert!(outcome == Outcome::Refused && text.contains("nothing is deployed"), "{text}");
}

#[test]
fn what_fails_at_its_site_is_taken_out_so_that_it_does_not_come_back_with_a_restart() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let settings = json!({ "way": "remember" }).to_string();
    rig.says(Action::Activate, &hostile(V1), None);
    rig.says(Action::Trial, &hostile(V2), None);
    rig.told.try_iter().for_each(drop);
    rig.stands(&hostile(V2), &settings, Stands::Refused);
    assert_eq!(rig.standing(), [("hostile 1.0.0-hostile".into(), "active")]);
    let order = rig.told.try_recv().expect("told");
    assert!(order.placed.is_some_and(|placed| placed.version.is_none()), "what decides goes on");
    let detail: Value = serde_json::from_str(&order.event.expect("journaled").detail).expect("JSON");
    assert_eq!(
        (&detail["reason"], &detail["policy"]),
        (&json!("it trapped"), &json!("hostile 2.0.0-hostile"))
    );
    rig.stands(&hostile(V2), &settings, Stands::Refused);
    assert!(rig.told.try_recv().is_err(), "it is told once");
    rig.restart();
    assert_eq!(rig.standing().len(), 1);
    assert_eq!(rig.kept().told.as_ref().map(|told| told.refused.as_str()), Some("it trapped"));
}

#[test]
fn what_is_kept_of_a_site_and_is_damaged_is_set_aside_and_the_fog_node_may_hand_it_again() {
    let mut rig = Rig::new("");
    rig.send(&handed(20, &component("equal-share")), &From::Fog);
    let path = rig.data.path().join("deployed/site-depot");
    let mut bytes = std::fs::read(&path).expect("there");
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    rig.restart();
    assert_eq!(rig.kept(), &Kept::default());
    assert!(path.with_added_extension("damaged").exists());
    assert_eq!(rig.send(&handed(20, &component("equal-share")), &From::Fog).outcome, Outcome::Applied);
}

#[test]
fn a_disk_that_takes_nothing_is_neither_applied_nor_refused() {
    let mut rig = Rig::new("");
    let folder = rig.data.path().join("deployed");
    std::fs::remove_dir_all(&folder).expect("removed");
    std::fs::write(&folder, "a file").expect("written");
    let answer = rig.send(&handed(20, &component("equal-share")), &From::Fog);
    assert_eq!((answer.outcome, rig.kept().newest), (Outcome::Failed, 0), "{}", answer.text);
    assert!(rig.told.try_recv().is_err());
    std::fs::remove_file(&folder).expect("removed");
    std::fs::create_dir(&folder).expect("made");
    assert_eq!(rig.send(&handed(20, &component("equal-share")), &From::Fog).outcome, Outcome::Applied);
}

#[test]
fn no_more_stands_than_the_bound_and_the_newest_of_each_role_always_does() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    rig.says(Action::Shadow, &component("equal-share"), Some(json!({})));
    for way in 0..10 {
        rig.says(Action::Activate, &hostile(V1), Some(json!({ "way": way.to_string() })));
    }
    let kept = rig.kept();
    assert_eq!((kept.standing.len(), kept.standing[0].role()), (super::kept::MOST_STANDING, Role::Shadow));
    let newest = kept.newest_of(Role::Active).and_then(|newest| newest.settings.as_deref());
    assert_eq!(newest, Some(r#"{"way":"9"}"#));
}

#[test]
fn settings_that_a_keyframe_holds_come_back_and_leave_a_site_file_as_it_is() {
    let text = "id = 'depot'\n[[circuits]]\nid = 'grid'\nlimit_a = 30\n";
    let with = with_settings(text, [r#"{"a":"b\n"}"#, "{}"]);
    assert_eq!(settings_in(&with).collect::<Vec<_>>(), [r#"{"a":"b\n"}"#, "{}"]);
    let read = |text: &str| wattle_site::SiteFile::parse("site.toml", text).expect("right");
    assert_eq!(read(&with), read(text));
    assert_eq!(settings_in(text).count(), 0);
}
