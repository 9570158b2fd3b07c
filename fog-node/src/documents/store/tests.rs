use std::io::Read as _;

use wattle_wire::document::{Action, HasOf, LAYOUT, MAX_VERSION, POLICY, PolicyOrder};

use serde_json::json;

use super::*;

fn site() -> SiteId {
    SiteId::new("depot").expect("name")
}

fn edge(name: &str) -> EdgeId {
    EdgeId::new(name).expect("name")
}

fn document(of: Option<&str>, body: &[u8]) -> Document {
    let order =
        PolicyOrder { action: Action::Trial, settings: None, signature: String::new(), takes_back: None };
    let head = Head {
        document: LAYOUT,
        kind: POLICY.into(),
        edge: of.map(edge),
        site: site(),
        version: 0,
        after: None,
        was: None,
        sent_by: String::new(),
        sha256: "x".into(),
        policy: Some(order),
    };
    Document { head, body: body.to_vec() }
}

fn has(of: &str, version: u64) -> Has {
    Has { edge: edge(of), has: vec![HasOf { site: site(), kind: POLICY.into(), version }] }
}

fn hears(store: &Store, of: &str, version: u64) {
    store.hears(&has(of, version)).expect("heard");
}

fn body(store: &Store, head: &Head) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.bytes(head).expect("read").expect("there").read_to_end(&mut bytes).expect("read");
    Document::decode(&bytes).expect("a document").body
}

#[test]
fn the_newest_is_kept_over_a_restart_and_is_lacking_until_the_edge_has_dealt_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let first = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head;
    let second = store.keep(document(Some("e-1"), b"2"), "ben").expect("kept").head;
    store.keep(document(Some("e-2"), b"3"), "anna").expect("kept");
    assert!(second.version > first.version);
    drop(store);
    let store = Store::open(folder.path()).expect("opened");
    let lacking = store.lacking(&edge("e-1")).expect("it has nothing");
    assert_eq!((lacking.sent_by.as_str(), body(&store, &lacking)), ("ben", b"2".to_vec()));
    hears(&store, "e-1", first.version);
    assert_eq!(store.lacking(&edge("e-1")), Some(second.clone()));
    hears(&store, "e-1", second.version);
    assert_eq!(store.lacking(&edge("e-1")), None);
    assert_eq!(store.page()[0]["state"], "dealt with");
    assert!(store.lacking(&edge("e-2")).is_some());
}

#[test]
fn a_version_is_above_what_the_edge_has_whatever_the_clocks_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", MAX_VERSION / 2);
    let head = store.keep(document(None, b"1"), "anna").expect("kept").head;
    assert_eq!((head.version, head.edge), (MAX_VERSION / 2 + 1, Some(edge("e-1"))));
}

#[test]
fn a_document_for_an_edge_that_has_never_dialled_in_is_kept_and_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", 0);
    for (name, has_dialled_in) in [("e-1", true), ("e-9", false)] {
        let kept = store.keep(document(Some(name), b"1"), "anna").expect("kept");
        assert_eq!(kept.has_dialled_in, has_dialled_in, "{name}");
    }
    let page = store.page();
    assert_eq!((&page[0]["has_dialled_in"], &page[1]["has_dialled_in"]), (&json!(true), &json!(false)));
}

#[test]
fn what_a_newer_edge_tells_of_kinds_that_are_not_known_here_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let head = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head;
    let has = r#"{"edge":"e-1","since":5,"has":[{"site":"depot","kind":"allowance","version":9000000000000,"of":2},
        {"site":"depot","kind":"policy","version":0}]}"#;
    store.hears(&serde_json::from_str(has).expect("understood")).expect("heard");
    assert_eq!(store.lacking(&edge("e-1")), Some(head), "its policy is still to be fetched");
    assert_eq!(store.page()[0]["state"], "waiting");
}

#[test]
fn which_edge_runs_a_site_is_what_the_edges_say_or_has_to_be_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let told = |store: &Store| store.keep(document(None, b"1"), "anna").expect_err("unknown").to_string();
    assert!(told(&store).contains("name the edge with --edge-id. Known: none"));
    hears(&store, "e-1", 0);
    hears(&store, "e-2", 0);
    assert!(told(&store).contains("several edges run a site depot: e-1, e-2"));
}

#[test]
fn a_file_that_is_damaged_is_set_aside_and_half_of_one_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let head = store.keep(document(Some(".."), b"1"), "anna").expect("kept").head;
    let path = folder.path().join("..@depot@policy");
    let mut bytes = std::fs::read(&path).expect("there");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    assert!(store.bytes(&head).expect("read").is_none());
    assert_eq!(store.lacking(&edge("..")), None);
    std::fs::write(&path, &bytes[..20]).expect("written");
    std::fs::write(path.with_added_extension("new"), "half").expect("written");
    let store = Store::open(folder.path()).expect("opened");
    assert_eq!((store.lacking(&edge("..")), store.page()), (None, json!([])));
    assert!(path.with_added_extension("damaged").exists());
    store.keep(document(Some(".."), b"2"), "anna").expect("kept");
    assert!(store.lacking(&edge("..")).is_some());
}

fn rollback(of: Option<&str>, takes_back: Option<u64>) -> Document {
    let mut document = document(of, b"");
    let order = document.head.policy.as_mut().expect("an order");
    (order.action, order.takes_back) = (Action::Rollback, takes_back);
    document
}

fn shadow(of: Option<&str>, body: &[u8]) -> Document {
    let mut document = document(of, body);
    document.head.policy.as_mut().expect("an order").action = Action::Shadow;
    document
}

/// What an edge gets, one after the other, as bodies and what each takes back.
fn handed(store: &Store, of: &str) -> Vec<(Vec<u8>, Option<u64>)> {
    let mut all = Vec::new();
    while let Some(head) = store.lacking(&edge(of)) {
        all.push((body(store, &head), head.policy.and_then(|order| order.takes_back)));
        hears(store, of, head.version);
    }
    all
}

#[test]
fn each_order_that_holds_comes_down_the_oldest_first_and_what_waits_and_is_replaced_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let keep = |document| store.keep(document, "anna").expect("kept");
    let a = keep(document(Some("e-1"), b"a"));
    hears(&store, "e-1", a.head.version);
    // The edge is away.
    let s = keep(shadow(Some("e-1"), b"s"));
    let b = keep(document(Some("e-1"), b"b"));
    assert_eq!((s.replaced, b.replaced), (None, None), "what the edge has is replaced by nobody");
    let back = keep(rollback(Some("e-1"), Some(b.head.version)));
    assert_eq!(back.replaced, Some(b.head.version));
    let other = keep(rollback(Some("e-1"), Some(a.head.version)));
    let c = keep(document(Some("e-1"), b"c"));
    assert_eq!((other.replaced, c.replaced), (None, None));
    assert_eq!(keep(document(Some("e-1"), b"d")).replaced, Some(c.head.version));
    drop(store);
    let store = Store::open(folder.path()).expect("opened");
    let (a, b) = (a.head.version, b.head.version);
    let expected = [(&b"s"[..], None), (b"", Some(b)), (b"", Some(a)), (b"d", None)];
    assert_eq!(handed(&store, "e-1"), expected.map(|(body, back)| (body.to_vec(), back)));
    // Rollbacks that are dealt with go when the next document comes.
    let e = store.keep(document(Some("e-1"), b"e"), "anna").expect("kept").head.version;
    assert_eq!(store.page().as_array().map(Vec::len), Some(2));
    hears(&store, "e-1", e);
    let back = store.keep(rollback(Some("e-1"), Some(e)), "anna").expect("kept").head.version;
    hears(&store, "e-1", back);
    store.keep(shadow(Some("e-1"), b"f"), "anna").expect("kept");
    // A node whose disk was replaced gets nothing that was taken back.
    hears(&store, "e-1", 0);
    assert_eq!(handed(&store, "e-1"), [(b"f".to_vec(), None)]);
}

#[test]
fn a_rollback_names_what_it_takes_back_and_only_so_many_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let told = |document| store.keep(document, "anna").expect_err("refused").to_string();
    assert!(told(rollback(Some("e-1"), None)).contains("says which version it takes back"));
    for version in 1..=MOST_ROLLBACKS as u64 {
        store.keep(rollback(Some("e-1"), Some(version)), "anna").expect("kept");
    }
    assert!(told(rollback(Some("e-1"), Some(99))).contains("16 rollbacks wait for this site"));
    assert!(store.keep(rollback(Some("e-1"), Some(3)), "anna").is_ok(), "the same again");
    assert!(store.keep(rollback(Some("e-2"), Some(99)), "anna").is_ok(), "another's");
}

#[test]
fn what_was_kept_before_an_edge_was_ever_heard_of_gets_a_version_above_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    store.keep(shadow(Some("e-1"), b"s"), "anna").expect("kept");
    let head = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head;
    assert_eq!(head.after, Some(0));
    // The edge's clock is ahead.
    let ahead = head.version + 1_000_000_000;
    hears(&store, "e-1", ahead);
    let lacking = store.lacking(&edge("e-1")).expect("it lacks both");
    assert!(lacking.version > ahead && body(&store, &lacking) == b"s", "the older one first");
    assert_eq!(handed(&store, "e-1").len(), 2);
    assert_eq!(store.lacking(&edge("e-1")), None, "once");
    let next = store.keep(document(Some("e-1"), b"2"), "anna").expect("kept").head;
    assert!(next.after >= Some(ahead), "{next:?}");
}

#[test]
fn what_an_edge_has_is_known_over_a_restart_and_the_newest_of_an_entry_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let mut twice = has("e-1", 9);
    twice.has.push(HasOf { site: site(), kind: POLICY.into(), version: 3 });
    store.hears(&twice).expect("heard");
    drop(store);
    let store = Store::open(folder.path()).expect("opened");
    let head = store.keep(document(None, b"1"), "anna").expect("the edge is known").head;
    assert_eq!((head.edge, head.after), (Some(edge("e-1")), Some(9)));
}

#[test]
fn an_edge_that_says_the_highest_version_gets_no_document_and_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", MAX_VERSION);
    let told = store.keep(document(None, b"1"), "anna").expect_err("none is above").to_string();
    assert!(told.contains("says that it has dealt with version 4611686018427387904"), "{told}");
    assert!(has("e-1", u64::MAX).check().is_err(), "and what is above that is not even heard");
}

#[test]
fn what_edges_have_is_remembered_up_to_a_bound_of_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let much = |edge_name: &str| Has {
        edge: edge(edge_name),
        has: (0..20_000).map(|n| HasOf { site: site(), kind: format!("{n:0>1000}"), version: 1 }).collect(),
    };
    let heard = (0..5).map(|n| store.hears(&much(&format!("e-{n}"))).is_ok()).collect::<Vec<_>>();
    assert_eq!(heard, [true, true, true, false, false]);
    hears(&store, "e-0", 1);
    assert!(store.hears(&much("e-9")).is_ok(), "there is room again");
}

#[test]
fn what_the_machine_can_not_read_is_neither_damaged_nor_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let head = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head;
    let path = folder.path().join("e-1@depot@policy");
    let away = folder.path().join("away.new");
    // A folder in its place can't be read, whoever asks.
    std::fs::rename(&path, &away).expect("moved");
    std::fs::create_dir(&path).expect("made");
    assert!(store.bytes(&head).is_err());
    assert_eq!(store.lacking(&edge("e-1")), Some(head.clone()), "it is still owed");
    std::fs::remove_dir(&path).expect("removed");
    std::fs::rename(&away, &path).expect("moved");
    assert_eq!(body(&store, &head), b"1");
    // What can't be read at the start is read when an edge dials in.
    std::fs::rename(&path, &away).expect("moved");
    std::os::unix::fs::symlink(&path, &path).expect("linked");
    let store = Store::open(folder.path()).expect("opened");
    assert_eq!(store.lacking(&edge("e-1")), None);
    std::fs::remove_file(&path).expect("removed");
    std::fs::rename(&away, &path).expect("moved");
    hears(&store, "e-1", 0);
    assert_eq!(store.lacking(&edge("e-1")), Some(head));
}

#[test]
fn what_an_edge_has_gone_past_without_having_been_handed_it_is_numbered_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let keep = |document| store.keep(document, "anna").expect("kept").head.version;
    let active = keep(document(Some("e-1"), b"0"));
    hears(&store, "e-1", active);
    // The edge is away; meanwhile a person sends it something itself.
    let back = keep(rollback(Some("e-1"), Some(active)));
    let shadowed = keep(shadow(Some("e-1"), b"s"));
    let local = shadowed + 1_000_000_000;
    hears(&store, "e-1", local);
    assert_eq!(store.page()[2]["state"], "waiting", "{}", store.page());
    let first = store.lacking(&edge("e-1")).expect("the rollback is lacking");
    assert_eq!((first.was, first.after), (Some(back), Some(active)), "as what it was taken, and when");
    assert!(first.version > local && first.policy.is_some_and(|order| order.takes_back == Some(active)));
    drop(store);
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", first.version);
    let second = store.lacking(&edge("e-1")).expect("and the other one");
    assert_eq!((second.was, body(&store, &second)), (Some(shadowed), b"s".to_vec()));
    // Past it again: it keeps the version under which it was taken.
    hears(&store, "e-1", second.version + 1_000);
    let third = store.lacking(&edge("e-1")).expect("still lacking");
    assert_eq!((third.was, third.version > second.version), (Some(shadowed), true));
    hears(&store, "e-1", third.version);
    assert_eq!(store.lacking(&edge("e-1")), None);
    hears(&store, "e-1", third.version + 1_000);
    assert_eq!(store.lacking(&edge("e-1")), None, "what was dealt with is not numbered again");
}

#[test]
fn what_an_edge_has_is_known_only_once_what_it_has_gone_past_is_numbered_again_on_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let kept = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head.version;
    // Where the new version would be written nothing can be.
    let full = folder.path().join("e-1@depot@policy.new");
    std::fs::create_dir(&full).expect("made");
    let local = kept + 1_000_000_000;
    for _ in 0..2 {
        assert!(store.hears(&has("e-1", local)).is_err());
        assert!(!folder.path().join("e-1@has").exists());
    }
    // Killed here, and there is room again.
    drop(store);
    std::fs::remove_dir(&full).expect("removed");
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", local);
    assert_eq!(store.lacking(&edge("e-1")).map(|head| head.was), Some(Some(kept)));
}

#[test]
fn what_is_taken_back_before_it_was_handed_down_is_not_numbered_again_and_one_that_was_can_be_taken_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    hears(&store, "e-1", 1);
    let waiting = store.keep(document(Some("e-1"), b"1"), "anna").expect("kept").head;
    hears(&store, "e-1", waiting.version + 1_000_000_000);
    let again = store.lacking(&edge("e-1")).expect("lacking").version;
    // Whoever sent it knows it by its first version.
    let back = store.keep(rollback(Some("e-1"), Some(waiting.version)), "anna").expect("kept");
    assert_eq!(back.replaced, Some(again));
    assert_eq!(handed(&store, "e-1"), [(Vec::new(), Some(waiting.version))]);
}

#[test]
fn documents_are_for_so_many_sites_of_an_edge_and_the_others_have_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("opened");
    let at = |name: String, of: &str| {
        let mut document = rollback(Some(of), Some(1));
        document.head.site = SiteId::new(&*name).expect("a name");
        store.keep(document, "anna")
    };
    for site in 0..MOST_OF_EDGE {
        at(format!("site-{site}"), "e-1").expect("kept");
    }
    let told = at("another".into(), "e-1").expect_err("too many").to_string();
    assert!(told.contains("500 other sites of this edge"), "{told}");
    assert!(at("site-7".into(), "e-1").is_ok() && at("another".into(), "e-2").is_ok());
}
