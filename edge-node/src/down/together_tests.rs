//! Documents at the worker with the site that they are for: real guests, a real machine, virtual time.

use super::*;
use crate::down::start;
use crate::policy::keep::{Keeper, kept};
use crate::policy::migrate_tests::{FAILING, RUBBISH, SPINS, impatient};
use crate::policy::tests::{Rig as Site, site as site_file};

const EQUAL: &str = "equal-share 0.1.0";
const ONE: &str = "hostile 1.0.0-hostile";
const TWO: &str = "hostile 2.0.0-hostile";

/// A site whose file names `site.wasm`, and the worker; what one says the other hears.
struct Together {
    data: TempDir,
    control: String,
    file: Vec<u8>,
    site: Site,
    worker: Worker,
    told: Receiver<Order>,
    configuration: String,
}

impl Together {
    fn new(control: &str, file: &[u8]) -> Self {
        let data = tempfile::tempdir().expect("folder");
        let (site, worker, told) = begin(data.path(), control, file);
        Self {
            data,
            control: control.into(),
            file: file.into(),
            site,
            worker,
            told,
            configuration: String::new(),
        }
    }

    /// The node ends and starts again.
    fn restart(&mut self) {
        (self.site, self.worker, self.told) = begin(self.data.path(), &self.control, &self.file);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let standings = self.site.policy.take_standings();
            let orders: Vec<_> = self.told.try_iter().collect();
            if standings.is_empty() && orders.is_empty() {
                return;
            }
            standings.iter().for_each(|standing| self.worker.standing(&site(), standing));
            for order in orders {
                self.configuration = order.configuration;
                if let Some(placed) = order.placed {
                    self.site.place(placed);
                }
            }
        }
    }

    /// What a person has sent; its version.
    fn says(&mut self, action: Action, body: &[u8], way: Option<&str>) -> u64 {
        let settings = way.map(|way| json!({ "way": way })).unwrap_or(json!({}));
        let answer = self.worker.document(&document(action, body, Some(settings)).encode(), &anna());
        assert_eq!(answer.outcome, Outcome::Applied, "{}", answer.text);
        self.settle();
        answer.version
    }

    fn takes_back(&mut self, version: u64) -> Answer {
        let mut document = document(Action::Rollback, b"", None);
        document.head.policy.as_mut().expect("an order").takes_back = Some(version);
        let answer = self.worker.document(&document.encode(), &anna());
        self.settle();
        answer
    }

    /// So many decisions; who has made the last one.
    fn decide(&mut self, times: usize) -> String {
        let mut last = String::new();
        for _ in 0..times {
            last = self.site.step();
            self.settle();
        }
        last
    }

    fn standing(&self) -> Vec<(String, &'static str)> {
        let standing = self.worker.places[&site()].kept.standing.iter();
        standing.map(|d| (d.policy.clone(), d.stands.as_str())).collect()
    }

    fn says_of(&mut self, part: &str) -> usize {
        self.site.events().iter().filter(|(_, text)| text.contains(part)).count()
    }
}

fn begin(data: &Path, control: &str, file: &[u8]) -> (Site, Worker, Receiver<Order>) {
    let keeper = Keeper::start(data).expect("started").place(&site(), "site");
    let mut of_the_site = Site::on(host(), control, file, Some(keeper));
    let control = site_file(control).control;
    let (mut worker, told) = start_on(data, of_the_site.folder(), &control, &Config::default());
    let place = worker.places.get_mut(&site()).expect("there");
    let (of, standing) = ((&site(), &control), (&place.kept, &mut place.missed));
    start::place(&worker.host, &worker.folder, of, standing, &mut of_the_site.policy);
    worker.board.keep(&site(), &place.kept, place.unloaded());
    (of_the_site, worker, told)
}

#[test]
fn what_is_taken_back_decides_no_more_though_what_decides_again_declines_its_state() {
    let mut node = Together::new("policy_trial = 1", &component("equal-share"));
    node.says(Action::Activate, &hostile(V1), Some("remember"));
    assert_eq!(node.decide(3), ONE);
    let two = node.says(Action::Activate, &hostile(V2), Some("remember"));
    assert_eq!(node.decide(3), TWO);
    let answer = node.takes_back(two);
    let text = format!("{TWO} is taken back; {ONE}");
    assert_eq!((answer.outcome, answer.text), (Outcome::Applied, text));
    assert_eq!(node.decide(1), ONE);
    assert!(node.site.reason().starts_with("call 1 of 1"), "from nothing: {}", node.site.reason());
    assert_eq!(node.decide(1), ONE);
    assert!(node.site.reason().starts_with("call 1 of 2"), "from its own: {}", node.site.reason());
    assert_eq!(node.standing(), [(ONE.into(), "active")]);
    assert_eq!(node.says_of("begins with nothing, as it does not take over the 1 bytes of state that"), 1);
    assert!(node.configuration.contains("remember"), "a replay knows the settings of who decides");
    node.restart();
    assert_eq!(node.decide(30), ONE);
    assert_eq!(kept(node.data.path(), &site(), "site"), None, "nothing of the file ever decided");
}

#[test]
fn what_was_taken_back_neither_stands_in_nor_comes_back_when_what_decides_fails() {
    let mut node = Together::new("policy_trial = 1", &component("equal-share"));
    node.decide(1);
    node.says(Action::Activate, &hostile(V1), Some("trap after 3"));
    node.decide(2);
    let two = node.says(Action::Activate, &hostile(V2), Some("trap after 3"));
    assert_eq!(node.decide(2), TWO);
    assert_eq!(node.takes_back(two).outcome, Outcome::Applied);
    let by: Vec<_> = (0..8).map(|_| node.decide(1)).collect();
    assert_eq!(by[..3], [ONE; 3]);
    assert_eq!(by[3..5], ["equal-share 0.1.0 (stands in)"; 2]);
    assert!(by.iter().all(|by| !by.contains("2.0.0")), "{by:?}");
    assert_eq!((by[7].as_str(), node.standing()), (EQUAL, vec![]));
}

#[test]
fn a_rollback_names_what_it_takes_back_and_takes_back_nothing_else() {
    let mut node = Together::new("policy_trial = 1", &component("equal-share"));
    let one = node.says(Action::Activate, &hostile(V1), Some("remember"));
    node.decide(1);
    let two = node.says(Action::Activate, &hostile(V2), Some("remember"));
    // The older one goes, and what decides goes on with its state.
    assert_eq!(node.takes_back(one).outcome, Outcome::Applied);
    assert_eq!(node.decide(1), TWO);
    assert!(node.site.reason().starts_with("call 1 of 102"), "{}", node.site.reason());
    for gone in [one, two + 1_000] {
        let answer = node.takes_back(gone);
        assert!(answer.outcome == Outcome::Refused && answer.text.contains("does not stand"), "{answer:?}");
        assert_eq!((node.decide(1).as_str(), node.standing().len()), (TWO, 1));
    }
    assert_eq!(node.takes_back(two).outcome, Outcome::Applied);
    assert_eq!(node.takes_back(two).outcome, Outcome::Refused, "once");
    assert_eq!(node.decide(1), EQUAL);
}

#[test]
fn a_trial_that_is_taken_back_ends_and_one_goes_on_when_what_stood_before_is() {
    let mut node = Together::new("policy_trial = 50", &component("equal-share"));
    let one = node.says(Action::Activate, &hostile(V1), Some("remember"));
    let two = node.says(Action::Trial, &hostile(V2), Some("remember"));
    node.decide(3);
    assert_eq!(node.takes_back(one).outcome, Outcome::Applied);
    assert_eq!((node.decide(1).as_str(), node.site.policy.shadows()), (EQUAL, vec![TWO.to_owned()]));
    assert_eq!(node.takes_back(two).outcome, Outcome::Applied);
    assert_eq!((node.decide(1).as_str(), node.site.policy.shadows()), (EQUAL, vec![]));
}

#[test]
fn where_nothing_below_can_be_used_what_is_taken_back_is_so_all_the_same() {
    let mut node = Together::new("policy_trial = 1", b"no policy");
    let one = node.says(Action::Activate, &hostile(V1), Some("remember"));
    assert_eq!(node.decide(3), ONE);
    let answer = node.takes_back(one);
    assert!(answer.outcome == Outcome::Applied && answer.text.contains("no whole WebAssembly"), "{answer:?}");
    assert_eq!(node.decide(1), "built-in equal-share", "not its last plan");
    assert_eq!(node.decide(6), "built-in equal-share");
    // The file holds a policy again: it is loaded without anybody's doing.
    std::fs::write(node.site.folder().join("site.wasm"), component("equal-share")).expect("written");
    assert!(node.worker.misses());
    (0..10).for_each(|_| node.worker.look());
    node.settle();
    assert_eq!((node.decide(1).as_str(), node.worker.misses()), (EQUAL, false));
    assert_eq!(node.decide(3), EQUAL);
}

#[test]
fn a_file_that_was_replaced_meanwhile_is_tried_before_it_is_obeyed() {
    let mut node = Together::new("policy_trial = 5", &component("equal-share"));
    node.decide(2);
    let one = node.says(Action::Activate, &hostile(V1), Some("remember"));
    node.decide(2);
    let path = node.site.folder().join("site.wasm");
    std::fs::write(&path, component("fair-share")).expect("written");
    assert_eq!(node.takes_back(one).outcome, Outcome::Applied);
    assert_eq!(
        (node.decide(1).as_str(), node.site.policy.shadows()),
        (EQUAL, vec!["fair-share 0.1.0".into()])
    );
    assert_eq!(node.decide(5), "fair-share 0.1.0");
    // The same where what was deployed has failed.
    node.says(Action::Activate, &hostile(V1), Some("trap"));
    std::fs::write(&path, component("equal-share")).expect("written");
    assert_eq!(node.decide(4), "fair-share 0.1.0");
    assert_eq!((node.standing(), node.site.policy.shadows()), (vec![], vec![EQUAL.to_owned()]));
    assert_eq!(node.decide(5), EQUAL);
}

#[test]
fn a_deployed_policy_that_fails_is_rolled_back_stays_so_and_can_be_replayed() {
    let mut node = Together::new("policy_trial = 0", &component("equal-share"));
    node.decide(1);
    node.says(Action::Activate, &hostile(V1), Some("remember"));
    node.decide(1);
    node.says(Action::Activate, &hostile(V2), Some("trap from 2"));
    let by: Vec<_> = (0..5).map(|_| node.decide(1)).collect();
    let stood_in = format!("{ONE} (stands in)");
    assert_eq!(by, [&stood_in, &stood_in, &stood_in, ONE, ONE]);
    assert_eq!(node.standing(), [(ONE.into(), "active")]);
    let page = node.worker.board.page(&site());
    assert_eq!(
        (&page["newest"]["outcome"], &page["standing"][0]["state"]),
        (&json!("refused"), &json!("active"))
    );
    assert!(
        page["newest"]["reason"].as_str().is_some_and(|why| why.contains("3 of its last 20")),
        "{page:#}"
    );
    node.restart();
    assert_eq!((node.decide(1).as_str(), node.standing().len()), (ONE, 1));
    let failed = &node.worker.places[&site()].kept.withdrawn[0];
    assert_eq!((failed.policy.as_str(), failed.settings.as_deref()), (TWO, Some(r#"{"way":"trap from 2"}"#)));
    let component = std::fs::read(node.worker.folder.component(&failed.sha256)).expect("it is kept");
    assert_eq!(component, hostile(V2));
}

#[test]
fn a_deployed_policy_that_fails_at_taking_over_the_state_is_refused_and_does_not_come_back() {
    let mut node = Together::new("policy_trial = 3", &component("equal-share"));
    node.says(Action::Activate, &hostile(V1), Some("remember"));
    assert_eq!(node.decide(2), ONE);
    for (action, (version, why)) in [Action::Trial, Action::Activate, Action::Trial].into_iter().zip(FAILING)
    {
        let deployed = node.says(action, &hostile(version), Some("remember"));
        let page = node.worker.board.page(&site());
        let newest = &page["newest"];
        assert_eq!((&newest["version"], &newest["outcome"]), (&json!(deployed), &json!("refused")));
        let reason = newest["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("does not take over the state") && reason.contains(why), "{reason}");
        assert_eq!((node.standing(), node.site.policy.shadows()), (vec![(ONE.into(), "active")], vec![]));
    }
    assert_eq!(node.decide(3), ONE);
    assert!(node.site.reason().starts_with("call 1 of 5"), "its state is its own: {}", node.site.reason());
    node.says(Action::Activate, &hostile(RUBBISH), Some("remember"));
    let by: Vec<_> = (0..4).map(|_| node.decide(1)).collect();
    let stood_in = format!("{ONE} (stands in)");
    assert_eq!(by, [&stood_in, &stood_in, &stood_in, ONE]);
    assert!(node.site.reason().starts_with("call 1 of 6"), "{}", node.site.reason());
    node.restart();
    assert_eq!((node.decide(5).as_str(), node.standing()), (ONE, vec![(ONE.into(), "active")]));
}

#[test]
fn a_deployed_policy_that_is_late_at_taking_over_the_state_is_not_said_to_decide_and_can_be_taken_back() {
    let mut node = Together::new("policy_trial = 0", &component("equal-share"));
    node.says(Action::Activate, &hostile(V1), Some("remember"));
    assert_eq!(node.decide(2), ONE);
    node.worker.host = impatient();
    let late = node.says(Action::Activate, &hostile(SPINS), Some("remember"));
    assert_eq!(node.decide(7), ONE);
    let spins = format!("hostile {SPINS}");
    assert_eq!(node.standing(), [(ONE.into(), "active"), (spins, "trial")]);
    assert_eq!(node.says_of("does not take over the state: the policy did not finish within 2s"), 2);
    assert_eq!(node.takes_back(late).outcome, Outcome::Applied);
    assert_eq!(node.decide(30), ONE);
    assert_eq!(node.says_of("did not finish within 2s"), 0, "it is asked no more");
}

#[test]
fn what_fails_in_shadow_takes_nothing_from_the_same_that_is_obeyed() {
    let mut node = Together::new("policy_trial = 1", &component("equal-share"));
    for order in [[Action::Shadow, Action::Activate], [Action::Activate, Action::Shadow]] {
        for action in order {
            node.says(action, &hostile(V1), Some("remember"));
        }
        let mark = mark(&Sha256::digest(hostile(V1)).into(), r#"{"way":"remember"}"#);
        let (role, stands) = (Role::Shadow, Stands::Refused);
        let late = Standing { role, mark, heard: u64::MAX, stands, reason: "it was late".into() };
        node.restart();
        let mut standing = node.standing();
        standing.sort();
        assert_eq!(standing, [(ONE.into(), "active"), (ONE.into(), "shadow")]);
        node.worker.standing(&site(), &late);
        assert_eq!(node.standing(), [(ONE.into(), "active")]);
        node.restart();
        assert_eq!(node.decide(2), ONE);
    }
}

#[test]
fn what_was_said_of_a_version_before_it_was_deployed_again_does_not_count() {
    let mut node = Together::new("policy_trial = 9", &component("equal-share"));
    let first = node.says(Action::Trial, &hostile(V1), Some("remember"));
    let again = node.says(Action::Trial, &hostile(V1), Some("remember"));
    let mark = mark(&Sha256::digest(hostile(V1)).into(), r#"{"way":"remember"}"#);
    let (role, stands) = (Role::Active, Stands::Refused);
    let mut said = Standing { role, mark, heard: first, stands, reason: "it trapped".into() };
    node.worker.standing(&site(), &said);
    assert_eq!(node.standing(), [(ONE.into(), "trial")]);
    said.heard = again;
    node.worker.standing(&site(), &said);
    assert_eq!(node.standing(), []);
}

#[test]
fn what_can_not_be_loaded_at_a_start_is_said_to_be_so_and_is_tried_again() {
    let mut node = Together::new("policy_trial = 1", &component("equal-share"));
    let one = node.says(Action::Activate, &hostile(V1), Some("remember"));
    let path = node.worker.folder.component(&hex(&Sha256::digest(hostile(V1))));
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).expect("moved");
    node.restart();
    assert_eq!(node.decide(2), EQUAL);
    let page = node.worker.board.page(&site());
    let standing = &page["standing"][0];
    assert_eq!((&standing["state"], standing["version"].as_u64()), (&json!("not loaded"), Some(one)));
    assert!(standing["reason"].as_str().is_some_and(|why| why.contains("No such file")), "{page:#}");
    std::fs::rename(&away, &path).expect("moved");
    (0..10).for_each(|_| node.worker.look());
    node.settle();
    assert_eq!((node.decide(1).as_str(), node.worker.misses()), (ONE, false));
    assert_eq!(node.worker.board.page(&site())["standing"][0]["state"], "active");
}
