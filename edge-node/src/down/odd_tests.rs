//! Documents that come late, twice, from another program or not at all, and a disk that can't be read.

use wattle_wire::document::MAX_VERSION;

use super::*;

#[test]
fn what_a_person_at_the_node_has_sent_since_the_fog_node_knew_it_holds_whatever_the_clocks_say() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let far = 1 << 60;
    let of_fog = |version, after, body: &[u8]| {
        let mut document = handed(version, body);
        document.head.after = Some(after);
        document
    };
    assert_eq!(rig.send(&of_fog(far, 0, &hostile(V1)), &From::Fog).outcome, Outcome::Applied);
    let local = rig.says(Action::Activate, &hostile(V2), None).version;
    assert_eq!(local, far + 1);
    // It waited since before, under a clock that is ahead.
    let late = rig.send(&of_fog(far + 100, far, &hostile(V1)), &From::Fog);
    assert!(late.outcome == Outcome::Refused && late.text.contains("to this node itself"), "{late:?}");
    assert_eq!((rig.kept().newest, rig.kept().local), (far + 100, local), "it needn't come again");
    rig.restart();
    assert_eq!(rig.standing(), [("hostile 2.0.0-hostile".into(), "active")]);
    // A rollback says what it takes back, so it takes from the person nothing that isn't meant.
    let mut back = of_fog(far + 101, far, b"");
    back.head.policy = Some(PolicyOrder {
        action: Action::Rollback,
        settings: None,
        signature: String::new(),
        takes_back: Some(far),
    });
    let refused = rig.send(&back, &From::Fog);
    assert!(refused.text.contains("does not stand"), "on trial it was replaced: {refused:?}");
    // Whoever knew of it may replace it.
    assert_eq!(rig.send(&of_fog(far + 102, far + 100, &hostile(V1)), &From::Fog).outcome, Outcome::Applied);
}

#[test]
fn a_rollback_from_a_fog_node_that_names_nothing_takes_back_nothing() {
    let mut rig = Rig::new("");
    rig.says(Action::Activate, &component("equal-share"), None);
    let mut back = document(Action::Rollback, b"", None);
    back.head.version = u64::pow(2, 60);
    let refused = rig.send(&back, &From::Fog);
    assert!(refused.text.contains("doesn't say which version it takes back"), "{refused:?}");
    assert_eq!(rig.standing().len(), 1);
}

#[test]
fn a_policy_that_a_later_program_would_read_is_refused_once_and_after_a_restart_too() {
    let mut rig = Rig::new("");
    rig.send(&handed(20, &component("equal-share")), &From::Fog);
    let later = br#"{"document":2,"kind":"policy","site":"depot","version":30}"#;
    let later = [&later[..], b"\n"].concat();
    let answer = rig.worker.document(&later, &From::Fog);
    assert!(answer.outcome == Outcome::Refused && answer.text.contains("the layout 2"), "{answer:?}");
    let has = |rig: &Rig| rig.worker.board.has();
    assert_eq!(has(&rig).iter().map(|has| has.version).collect::<Vec<_>>(), [30], "one entry");
    rig.restart();
    assert_eq!((rig.kept().newest, rig.standing().len()), (30, 1));
    assert_eq!(rig.worker.document(&later, &From::Fog).outcome, Outcome::Older);
    assert_eq!(rig.send(&handed(40, &component("equal-share")), &From::Fog).outcome, Outcome::Applied);
    assert_eq!(has(&rig)[0].version, 40, "what was refused hides nothing");
    // A version that nobody can count beyond is not taken over.
    for document in [
        br#"{"document":2,"kind":"policy","site":"depot","version":18446744073709551615}"#.as_slice(),
        br#"{"document":1,"kind":"policy","site":"depot","version":18446744073709551615,"sha256":"","policy":{"action":"rollback"}}"#,
    ] {
        let answer = rig.worker.document(&[document, b"\n"].concat(), &From::Fog);
        assert_eq!((answer.outcome, answer.version, rig.kept().newest), (Outcome::Refused, 0, 40));
    }
    assert!(rig.says(Action::Activate, &component("equal-share"), None).version > 40);
}

#[test]
fn what_is_none_of_ours_is_remembered_over_a_restart_and_up_to_a_bound() {
    let mut rig = Rig::new("");
    let unknown = |kind: usize, version: u64| {
        let head = json!({ "document": 1, "kind": format!("k{kind}"), "site": "depot", "version": version });
        [head.to_string().as_bytes(), b"\n"].concat()
    };
    let refused: Vec<_> = (1..1_000)
        .map(|kind| wattle_wire::document::HasOf { site: site(), kind: format!("k{kind}"), version: 1 })
        .collect();
    rig.worker.folder.write_strangers(&refused).expect("written");
    rig.restart();
    let mut say = |kind, version| rig.worker.document(&unknown(kind, version), &From::Fog).outcome;
    assert_eq!(say(5, 1), Outcome::Older);
    assert_eq!(say(0, 1), Outcome::Refused);
    assert_eq!(say(5, 2), Outcome::Refused, "what is known is counted on");
    // One more, older than all others, holds up nothing behind it.
    for version in 1..4 {
        assert_eq!(say(1_000, version), Outcome::Refused);
    }
    rig.restart();
    let has = rig.worker.board.has();
    let newer = |kind: &str| has.iter().find(|has| has.kind == kind).map(|has| has.version);
    assert_eq!(
        (has.len(), newer("k5"), newer("k1000")),
        (1_001, Some(2), Some(3)),
        "the oldest is forgotten"
    );
}

#[test]
fn what_is_remembered_of_strangers_is_never_more_than_a_fog_node_takes() {
    let mut rig = Rig::new("");
    let head = |kind: &str| json!({ "document": 1, "kind": kind, "site": "depot", "version": 30 });
    let unknown = |kind: &str| [head(kind).to_string().as_bytes(), b"\n"].concat();
    let long = rig.worker.document(&unknown(&"k".repeat(250_000)), &From::Fog);
    assert_eq!((long.outcome, long.version), (Outcome::Refused, 0), "it is not remembered");
    assert_eq!(rig.worker.board.has().len(), 1);
    // As long as a kind may be, of signs that JSON writes as six.
    let kind = |n: usize| format!("{n:0>24}{}", "\u{1}".repeat(1_000));
    let refused =
        (0..900).map(|n| wattle_wire::document::HasOf { site: site(), kind: kind(n), version: n as u64 + 1 });
    let kept = rig.worker.board.refused(refused);
    let told = serde_json::to_vec(&rig.worker.board.has()).expect("JSON").len();
    assert!(
        kept.len() > 100 && told < crate::down::board::MOST_STRANGERS_BYTES + 200,
        "{} {told}",
        kept.len()
    );
    assert!(kept.iter().all(|has| has.version > 700), "the newest ones");
    assert_eq!(rig.worker.document(&unknown(&kind(0)), &From::Fog).outcome, Outcome::Refused);
    assert!(rig.worker.board.has().iter().any(|has| has.kind == kind(0) && has.version == 30));
}

#[test]
fn a_version_that_leaves_no_room_is_refused_and_blocks_nobody() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let own = document(Action::Activate, &hostile(V1), None);
    let said = |text: &str| [text.as_bytes(), b"\n"].concat();
    for version in [MAX_VERSION, MAX_VERSION - 1, MAX_VERSION - 5_000_000_000] {
        let answer = rig.send(&handed(version, &hostile(V1)), &From::Fog);
        assert_eq!(
            (answer.outcome, answer.version, rig.kept().newest),
            (Outcome::Refused, 0, 0),
            "{version}"
        );
        for (site, layout) in [("depot", 2), ("elsewhere", 1), ("elsewhere", 2)] {
            let text = json!({"document": layout, "kind": "policy", "site": site, "version": version, "sha256": "", "policy": {"action": "rollback"}});
            let answer = rig.worker.document(&said(&text.to_string()), &From::Fog);
            assert_eq!((answer.outcome, answer.version), (Outcome::Refused, 0), "{text}");
        }
    }
    assert_eq!(
        (rig.worker.board.has().len(), rig.told.try_iter().count()),
        (1, 0),
        "nothing is remembered or said"
    );
    assert_eq!(rig.send(&own, &anna()).outcome, Outcome::Applied);
    // A clock may be wrong beyond measure.
    let far = MAX_VERSION / 2;
    assert_eq!(rig.send(&handed(far, &hostile(V2)), &From::Fog).version, far);
    assert_eq!(rig.send(&own, &anna()).version, far + 1);
}

#[test]
fn where_the_highest_version_was_refused_before_a_person_counts_on_from_what_was_applied() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let first = rig.says(Action::Activate, &hostile(V1), None).version;
    let blocked = Kept { newest: MAX_VERSION, ..rig.kept().clone() };
    rig.worker.folder.write(&site(), &blocked).expect("written");
    rig.restart();
    let next = rig.says(Action::Activate, &hostile(V2), None);
    assert_eq!(next.outcome, Outcome::Applied, "{}", next.text);
    assert!((first + 1..MAX_VERSION / 2).contains(&next.version));
    assert_eq!(rig.kept().newest, next.version);
}

#[test]
fn of_what_was_numbered_again_a_rollback_is_obeyed_and_what_was_overtaken_or_came_before_is_refused() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    let again = |version: u64, (was, after): (u64, u64), mut document: Document| {
        let head = &mut document.head;
        (head.version, head.was, head.after) = (version, Some(was), Some(after));
        document
    };
    assert_eq!(rig.send(&handed(20, &hostile(V1)), &From::Fog).outcome, Outcome::Applied);
    // A person sends a shadow to this node itself; the rollback waited since before.
    let local = rig.says(Action::Shadow, &hostile(V2), None).version;
    let mut back = document(Action::Rollback, b"", None);
    back.head.policy.as_mut().expect("an order").takes_back = Some(20);
    let answer = rig.send(&again(local + 1, (30, 20), back), &From::Fog);
    assert_eq!(answer.outcome, Outcome::Applied, "{}", answer.text);
    assert_eq!(rig.standing().len(), 1, "the shadow stands");
    // So did another version, which the person knew nothing of.
    let refuses = |rig: &mut Rig, document: &Document, why: &str| {
        let answer = rig.send(document, &From::Fog);
        assert!(answer.outcome == Outcome::Refused && answer.text.contains(why), "{answer:?}");
    };
    refuses(&mut rig, &again(local + 2, (31, 20), handed(0, &hostile(V2))), "to this node itself");
    // The fog node hasn't heard that it came, or another one has handed something newer.
    assert_eq!(rig.send(&handed(local + 10, &hostile(V2)), &From::Fog).outcome, Outcome::Applied);
    refuses(&mut rig, &again(local + 20, (local + 10, local), handed(0, &hostile(V2))), "came here since");
    refuses(&mut rig, &again(local + 21, (local + 9, local), handed(0, &hostile(V1))), "came here since");
    assert_eq!(rig.standing()[1].0, "hostile 2.0.0-hostile");
    let newer = again(local + 22, (local + 11, local), handed(0, &hostile(V1)));
    assert_eq!(rig.send(&newer, &From::Fog).outcome, Outcome::Applied, "it was sent after all that stands");
}

#[test]
fn what_the_machine_can_not_read_is_not_damaged_and_is_read_again() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    rig.says(Action::Activate, &hostile(V1), None);
    let path = rig.data.path().join("deployed/site-depot");
    let away = path.with_added_extension("away");
    std::fs::rename(&path, &away).expect("moved");
    // A folder can't be read, whoever asks.
    std::fs::create_dir(&path).expect("made");
    rig.restart();
    assert_eq!((rig.kept(), rig.worker.misses()), (&Kept::default(), true));
    let answer = rig.says(Action::Activate, &hostile(V2), None);
    assert!(answer.outcome == Outcome::Failed && answer.text.contains("can't be read"), "{answer:?}");
    assert_eq!(rig.files(), 2, "the component is still there: {:?}", rig.data.path());
    std::fs::remove_dir(&path).expect("removed");
    std::fs::rename(&away, &path).expect("moved");
    (0..10).for_each(|_| rig.worker.look());
    assert_eq!(
        (rig.standing(), rig.worker.misses()),
        (vec![("hostile 1.0.0-hostile".into(), "active")], false)
    );
    let placed = rig.told.try_iter().last().and_then(|order| order.placed).expect("the site is told");
    assert!(placed.version.is_some_and(|version| version.version() == V1) && placed.at_once);
    assert_eq!(rig.says(Action::Activate, &hostile(V2), None).outcome, Outcome::Applied);
}

#[test]
fn sites_whose_names_end_like_other_files_keep_what_is_theirs() {
    let data = tempfile::tempdir().expect("folder");
    let folder = Folder::open(data.path()).expect("made");
    let names = ["a", "a.new", "a.sig", "a.wasm", "a.damaged", "a.wasm.new"];
    let named = |name: &str| SiteId::new(name).expect("a name");
    for (newest, name) in (1..).zip(names) {
        folder.write(&named(name), &Kept { newest, ..Kept::default() }).expect("written");
    }
    folder.write(&named("a"), &Kept { newest: 1, ..Kept::default() }).expect("written");
    std::fs::write(data.path().join("deployed/half.new"), "half").expect("written");
    folder.tidy([].iter());
    let newest = names.map(|name| folder.read(&named(name)).expect("read").newest);
    assert_eq!(newest, [1, 2, 3, 4, 5, 6]);
    assert!(!data.path().join("deployed/half.new").exists());
}

#[test]
fn of_what_stands_no_more_so_many_bytes_are_kept_for_a_replay() {
    let mut rig = Rig::new("settings = { way = 'remember' }");
    for way in 0..crate::down::kept::MOST_WITHDRAWN + 6 {
        rig.says(Action::Activate, &hostile(V1), Some(json!({ "way": way.to_string() })));
    }
    assert_eq!(rig.kept().withdrawn.len(), crate::down::kept::MOST_WITHDRAWN);
    let large = |name: &str, bytes: u64, since: i64| {
        let path = rig.worker.folder.component(name);
        std::fs::File::create(&path).and_then(|file| file.set_len(bytes)).expect("made");
        let deployment = rig.kept().standing[0].clone();
        let since_us = wattle_wire::Micros(since);
        crate::down::kept::Deployment { sha256: name.into(), since_us, ..deployment }
    };
    let most = crate::down::folder::MOST_WITHDRAWN_BYTES;
    let withdrawn = vec![large("old", 2, 1), large("new", most - 1, 2)];
    let kept = Kept { withdrawn, ..Kept::default() };
    rig.worker.folder.tidy([kept].iter());
    let there = ["old", "new"].map(|name| rig.worker.folder.component(name).exists());
    assert_eq!(there, [false, true], "the last one first");
}
