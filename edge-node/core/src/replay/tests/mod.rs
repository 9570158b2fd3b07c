//! Random histories, played again.

mod live;

use wattle_wire::message::Phases;
use wattle_wire::policy::Plan;
use wattle_wire::row::{Cause, Row};
use wattle_wire::{Micros, Milliamps};

use super::*;
use crate::device::DeviceOutput;
use crate::site::{Outcome, Proposal, SiteModel};
use live::{Entry, Live, model, plan};

#[derive(Default)]
struct Audience(Vec<(Micros, Outcome)>);

impl Stage for Audience {
    type Error = std::convert::Infallible;

    fn plan(&mut self, moment: Moment<'_>) -> Result<(Plan, u64), Self::Error> {
        Ok(plan(moment.asked.policy_digest, moment.snapshot, moment.state))
    }

    fn decided(&mut self, at: Micros, outcome: Outcome) {
        self.0.push((at, outcome));
    }
}

/// Plays a journal from the keyframe at this place to where it can't go on; what was made, and whether every keyframe on the way
/// was found again.
fn play(journal: &[Entry], from: usize) -> (Vec<(Micros, Outcome)>, bool, usize) {
    let Entry::Keyframe(keyframe, _) = &journal[from] else { panic!("no keyframe") };
    let keyframe = Keyframe::decode(&keyframe.encode()).expect("readable");
    let mut player = Player::new(model(), &keyframe).expect("of this site");
    let (mut audience, mut agrees, mut met) = (Audience::default(), true, 0);
    for entry in &journal[from + 1..] {
        match entry {
            Entry::Row(at, row) => player.row(*at, row),
            Entry::Ticks(ticks) => {
                if player.play(ticks, &mut audience).is_err() {
                    break;
                }
            }
            Entry::Keyframe(keyframe, _) if player.is_at(keyframe) => {
                agrees &= player.agrees_with(keyframe);
                met += 1;
            }
            Entry::Keyframe(..) => break,
        }
    }
    (audience.0, agrees, met)
}

fn keyframes(journal: &[Entry]) -> Vec<(usize, usize)> {
    let places = journal.iter().enumerate();
    let keyframe = |(place, entry): (usize, &Entry)| match entry {
        Entry::Keyframe(_, made) => Some((place, *made)),
        _ => None,
    };
    places.filter_map(keyframe).collect()
}

#[test]
fn every_decision_of_a_random_history_comes_out_the_same_from_every_keyframe() {
    let (mut compared, mut met_all) = (0, 0);
    for seed in 1..=12 {
        let mut live = Live::new(seed);
        live.run(2_000);
        for (place, before) in keyframes(&live.journal) {
            let (made, agrees, met) = play(&live.journal, place);
            assert!(made.len() <= live.made.len() - before, "seed {seed}");
            for (index, (made, was)) in made.iter().zip(&live.made[before..]).enumerate() {
                assert_eq!(made, was, "seed {seed}, decision {index} after the keyframe at {place}");
            }
            assert!(agrees, "seed {seed}: a keyframe behind {place} is another");
            (compared, met_all) = (compared + made.len(), met_all + met);
        }
    }
    assert!(compared > 20_000 && met_all > 20, "{compared} decisions, {met_all} keyframes");
}

/// Plays a journal that begins with a keyframe and loses nothing; where it is found to be another.
fn differs_at(journal: &[Entry]) -> Option<usize> {
    let Entry::Keyframe(keyframe, _) = &journal[0] else { panic!("no keyframe") };
    let mut player = Player::new(model(), keyframe).expect("of this site");
    for (place, entry) in journal.iter().enumerate().skip(1) {
        match entry {
            Entry::Row(at, row) => player.row(*at, row),
            Entry::Ticks(ticks) => match player.play(ticks, &mut Audience::default()) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error, PlayError::Told);
                    return Some(place);
                }
            },
            Entry::Keyframe(..) => {}
        }
    }
    None
}

#[test]
fn a_row_with_another_value_or_of_another_moment_is_noticed_at_the_next_ticks() {
    let mut live = Live::new(77);
    live.loses = false;
    live.run(250);
    assert_eq!(differs_at(&live.journal), None);
    let (mut flipped, mut in_full) = (0, 0);
    for place in 1..live.journal.len() {
        let next = live.journal.iter().skip(place).position(|entry| matches!(entry, Entry::Ticks(_)));
        let mut journal = live.journal.clone();
        let Entry::Row(at, row) = &mut journal[place] else { continue };
        let Row::Reading(reading) = &mut **row else { continue };
        let Some(current) = reading.values.current_ma.and_then(|current| current.get(0)) else { continue };
        if reading.measured_us.is_none_or(|measured| (*at - measured).0 > 1_000_000) {
            // Late: it tells the machine nothing.
            continue;
        }
        match place % 2 {
            0 => reading.values.current_ma = Some(Phases::new(&[current + Milliamps(1); 3])),
            _ => *at += Micros(1),
        }
        match differs_at(&journal) {
            // What it tells stands in full among the ticks.
            None => in_full += 1,
            found => assert_eq!(found, next.map(|next| place + next), "the row at {place}"),
        }
        flipped += 1;
    }
    assert!(flipped > 200 && in_full * 2 < flipped, "{in_full} of {flipped}");
}

#[test]
fn a_decision_or_ticks_that_are_missing_end_the_replay_there() {
    let mut live = Live::new(5);
    live.loses = false;
    live.run(300);
    let ticks: Vec<usize> =
        (0..live.journal.len()).filter(|place| matches!(live.journal[*place], Entry::Ticks(_))).collect();
    let whole = play(&live.journal, 0).0.len();
    let mut journal = live.journal.clone();
    journal.remove(ticks[2]);
    let (made, agrees, _) = play(&journal, 0);
    assert!(made.len() < whole && agrees);
    assert_eq!(made, live.made[..made.len()]);
}

#[test]
fn bytes_that_are_no_ticks_or_no_keyframe_are_refused() {
    let mut live = Live::new(3);
    live.run(100);
    for entry in &live.journal {
        match entry {
            Entry::Ticks(ticks) => {
                assert!(ticks::Ticks::decode(&ticks[..ticks.len() - 1]).is_err());
                assert_eq!(
                    ticks::Ticks::decode(&[&[9], &ticks[1..]].concat()),
                    Err(ReadError::Version { what: "ticks", found: 9, known: 2 })
                );
            }
            Entry::Keyframe(keyframe, _) => {
                let bytes = keyframe.encode();
                assert_eq!(
                    Keyframe::decode(&bytes[..bytes.len() - 1]),
                    Err(ReadError::Damaged("a keyframe"))
                );
                assert_eq!(Keyframe::decode(&bytes).as_ref(), Ok(&**keyframe));
            }
            Entry::Row(..) => {}
        }
    }
}

#[test]
fn a_keyframe_of_another_site_is_refused() {
    let live = Live::new(1);
    let Entry::Keyframe(keyframe, _) = &live.journal[0] else { panic!("the first is one") };
    let other = SiteModel { chargers: Vec::new(), ..model() };
    let error = Player::new(other, keyframe).expect_err("other chargers");
    assert_eq!(error.to_string(), "the keyframe is of another site: it has 4 chargers, the configuration 0");
}

#[test]
fn steady_decisions_cost_bytes() {
    let mut live = Live::new(1);
    let mut bytes = 0;
    for _ in 0..6_000 {
        live.now = live.machine.next_wakeup() + Micros(live.dice.roll(2_000) as i64);
        let out = DeviceOutput::default();
        live.scribe.take(&mut live.machine, live.now, &out.rows, out.inputs);
        let cause = Cause::Interval;
        let snapshot = live.scribe.begin_decision(&mut live.machine, live.now, cause);
        let (plan, fuel) = plan(1, &snapshot, &[]);
        let proposal =
            Proposal { plan: Ok(plan), policy: "p".into(), policy_digest: 1, settings_digest: 1, fuel };
        live.scribe.finish_decision(&mut live.machine, proposal, Given::default(), live.now);
        if live.scribe.is_due(false) {
            bytes += live.scribe.ticks().map_or(0, |ticks| ticks.len());
        }
    }
    assert!((6_000..6 * 6_000).contains(&bytes), "{bytes}");
}

#[test]
fn the_bytes_of_ticks_are_as_released() {
    use super::ticks::{SavedAsked, Tick, Ticks, Turn};
    use crate::site::{Heard, Part, SiteInput};

    let asked = Asked {
        policy: "p 1".into(),
        policy_digest: 258,
        settings_digest: 7,
        given: Given { state: Some(vec![9]), keeps_state: true },
    };
    let input = SiteInput { part: Part::Charger(2), seen: None, heard: Heard::Online(false) };
    let tick = Tick { told: 3, cause: Cause::Breach, late_us: -1_000 };
    let turns = vec![
        Turn::Told(300),
        Turn::Untold(1),
        Turn::Heard(500, input::SavedInput::of(&input)),
        Turn::Asked(SavedAsked::of(&asked)),
        Turn::Decided(tick),
        Turn::Failed(Tick { late_us: 1, ..tick }, Some("trap".into())),
        Turn::Beside(1, None),
        Turn::Beside(0, Some(SavedAsked::of(&asked))),
    ];
    let ticks = Ticks { serial: 4, witness: 5, turns };
    let hex: String = ticks.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "0204050802ac02030104e80701020003000503702031820207010109010003 01cf0f01030102010474726170 \
         060100 06000103702031820207 01010901"
            .replace(' ', "")
    );
    assert_eq!(Ticks::decode(&ticks.encode()), Ok(ticks));
}
