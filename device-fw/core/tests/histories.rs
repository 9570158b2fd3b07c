//! Random histories, against what must hold in every one of them.

use proptest::prelude::*;
use std::collections::BTreeSet;
use wattle_device_core::outbox::{Kind, Outbox};
use wattle_device_core::*;
use wattle_wire::message::{self, *};
use wattle_wire::topic::Channel;
use wattle_wire::{Milliamps, Millis, WattHours};

fn now(mono_ms: u64) -> Now {
    Now { mono_ms, utc_us: None }
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Acknowledge(u64, u64),
    Pass(u64),
    Reconnect,
}

fn outbox_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        3 => (0..80_u64, 0..20_u64).prop_map(|(from, length)| Step::Acknowledge(from, from + length)),
        2 => (0..8_000_u64).prop_map(Step::Pass),
        1 => Just(Step::Reconnect),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_stays_and_nothing_else_is_lost_while_there_is_room(steps in outbox_steps()) {
        let config = LineConfig { ring: 200, in_flight: 5, ..LineConfig::default() };
        let (mut outbox, mut model) = (Outbox::new(&config), BTreeSet::new());
        let (mut now_ms, mut next) = (0, 1);
        for step in steps {
            match step {
                Step::Push => {
                    outbox.push(next, Kind::Reading, next.to_be_bytes().to_vec());
                    model.insert(next);
                    next += 1;
                }
                Step::Acknowledge(from, to) => {
                    outbox.acknowledge(from, to);
                    model.retain(|seq| !(from..=to).contains(seq));
                }
                Step::Pass(ms) => now_ms += ms,
                Step::Reconnect => outbox.reconnected(),
            }
            outbox.expire(now_ms);
            let mut before = 0;
            while let Some((seq, _, payload)) = outbox.send_next(now_ms) {
                prop_assert!(seq > before, "in order within one round");
                prop_assert!(model.contains(&seq), "{} was acknowledged", seq);
                prop_assert_eq!(payload, seq.to_be_bytes());
                before = seq;
            }
            prop_assert_eq!(outbox.len(), model.len());
        }
        prop_assert_eq!(outbox.dropped(), Default::default());
        // Whatever is left comes out, in order, when every message is acknowledged as it is sent.
        outbox.reconnected();
        let mut rest = Vec::new();
        while let Some((seq, _, _)) = outbox.send_next(now_ms) {
            rest.push(seq);
            outbox.acknowledge(seq, seq);
        }
        prop_assert_eq!(rest, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_ring_that_overflows_drops_no_step_while_it_holds_a_reading(kinds in prop::collection::vec(any::<bool>(), 1..120)) {
        let config = LineConfig { ring: 16, ..LineConfig::default() };
        let mut outbox = Outbox::new(&config);
        let (mut steps, mut readings) = (0_u64, 0_u64);
        for (seq, step) in kinds.iter().enumerate() {
            let kind = if *step { Kind::Step } else { Kind::Reading };
            outbox.push(seq as u64 + 1, kind, Vec::new());
            if *step { steps += 1 } else { readings += 1 }
        }
        let dropped = outbox.dropped();
        prop_assert!(outbox.len() <= 16);
        prop_assert_eq!(outbox.len() as u64 + dropped.steps + dropped.readings, steps + readings);
        prop_assert_eq!(dropped.steps, steps.saturating_sub(16));
    }

    #[test]
    fn no_setpoint_is_obeyed_past_its_validity_whatever_delays_it(
        sends in prop::collection::vec((1..5_000_u64, 0..30_000_u64, 0..400_u64, 1..20_000_i64), 1..60),
    ) {
        let mut config = ChargerConfig { remembered_sends: 16, ..ChargerConfig::default() };
        config.pace.interval_ms = 700;
        config.line.ring = 64;
        let mut charger = Charger::new(config, None, now(0)).expect("new");
        let mut sent_at: Vec<(u64, u64)> = Vec::new();
        let mut deadline = 0;
        let mut now_ms = 0;
        charger.handle(now(0), Input::Connected);
        charger.handle(now(0), Input::Plugged);
        charger.handle(now(0), Input::Started(Start::default()));
        charger.handle(now(0), Input::Measured(Measurement::default()));
        for (number, (wait, delay, back, validity)) in sends.into_iter().enumerate() {
            // The edge answers an earlier message, and what it sends is queued somewhere.
            let answered = sent_at.len().saturating_sub(back as usize + 1);
            let seen = sent_at.get(answered).map(|(seq, at)| (*seq, *at));
            let until = now_ms + wait + delay;
            while let Some(at) = charger.next_wakeup().filter(|at| *at <= until) {
                now_ms = now_ms.max(at);
                charger.handle(now(now_ms), Input::Tick);
                note(&mut charger, now_ms, &mut sent_at);
                prop_assert!(now_ms < deadline || charger.limit_ma() == Milliamps::ZERO);
            }
            now_ms = until;
            let Some((seq, at)) = seen else { continue };
            let setpoint = Setpoint {
                number: number as u64 + 1,
                limit_ma: Milliamps(16_000),
                validity_ms: Millis(validity),
                seen: Some(Number { boot: 1, seq }),
            };
            let before = charger.setpoint_in_force();
            let payload = message::encode(&setpoint);
            charger.handle(now(now_ms), Input::Message { channel: Channel::Setpoint, payload: &payload });
            note(&mut charger, now_ms, &mut sent_at);
            if charger.setpoint_in_force() != before && charger.setpoint_in_force().is_some() {
                deadline = at + validity as u64;
            }
            prop_assert!(now_ms < deadline || charger.limit_ma() == Milliamps::ZERO);
        }
        // Expiry is always reached, by the machine's own wish to be woken.
        while let Some(in_force) = charger.setpoint_in_force() {
            now_ms = now_ms.max(charger.next_wakeup().expect("the expiry is awaited"));
            charger.handle(now(now_ms), Input::Tick);
            while charger.poll().is_some() {}
            prop_assert!(now_ms <= in_force.expires_ms);
        }
        prop_assert_eq!(charger.limit_ma(), Milliamps::ZERO);
    }

    #[test]
    fn the_register_never_falls_and_counts_nothing_twice_over_random_power_cuts(
        lives in prop::collection::vec(prop::collection::vec((0..22_000_000_i64, 1..20_000_u64), 1..30), 1..8),
        step_wh in 1..20_i64,
        cut_after in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let mut config = ChargerConfig::default();
        config.line.store_step_wh = step_wh;
        let (mut stored, mut shown, mut drawn_uj, mut lost_uj) = (None::<Vec<u8>>, WattHours(0), 0_u128, 0_u128);
        for (life, cut) in lives.iter().zip(cut_after) {
            let mut charger = Charger::new(config.clone(), stored.as_deref(), now(0)).expect("sound");
            let mut now_ms = 0;
            charger.handle(now(0), Input::Connected);
            take(&mut charger, usize::MAX, &mut stored, &mut shown)?;
            let last = life.len() - 1;
            for (index, (power_mw, length_ms)) in life.iter().enumerate() {
                let measurement = Measurement { power_mw: *power_mw, ..Measurement::default() };
                charger.handle(now(now_ms), Input::Measured(measurement));
                take(&mut charger, usize::MAX, &mut stored, &mut shown)?;
                now_ms += length_ms;
                drawn_uj += *power_mw as u128 * u128::from(*length_ms);
                charger.handle(now(now_ms), Input::Tick);
                // The power may go between any two outputs.
                let outputs = if index == last { cut.index(4) } else { usize::MAX };
                take(&mut charger, outputs, &mut stored, &mut shown)?;
            }
            let after = Charger::new(config.clone(), stored.as_deref(), now(0)).expect("sound").energy();
            let live = charger.energy();
            prop_assert!(after.wh >= shown && after <= live);
            let total = |e: register::Energy| e.wh.0 as u128 * 3_600_000_000 + u128::from(e.rest_uj);
            lost_uj += total(live) - total(after);
            prop_assert_eq!(total(after), drawn_uj - lost_uj);
        }
    }
}

/// Takes every output and notes when each message was sent for the first time.
fn note(charger: &mut Charger, now_ms: u64, sent_at: &mut Vec<(u64, u64)>) {
    while let Some(output) = charger.poll() {
        let Output::Publish(publish) = output else { continue };
        if publish.channel != Channel::Reading {
            continue;
        }
        let seq = message::decode::<Reading>(&publish.payload).expect("ours").seq.expect("numbered");
        if sent_at.last().is_none_or(|(last, _)| *last < seq) {
            sent_at.push((seq, now_ms));
        }
    }
}

/// Takes at most `most` outputs: stores, and checks that no reading shows a register that is lower than one before
/// it or higher than what is stored.
fn take(
    charger: &mut Charger,
    most: usize,
    stored: &mut Option<Vec<u8>>,
    shown: &mut WattHours,
) -> Result<(), TestCaseError> {
    for _ in 0..most {
        match charger.poll() {
            None => break,
            Some(Output::Store { bytes, .. }) => *stored = Some(bytes),
            Some(Output::Publish(publish)) if publish.channel == Channel::Reading => {
                let reading: Reading = message::decode(&publish.payload).expect("ours");
                let register = reading.values().register_wh.expect("always told");
                let restarted =
                    Charger::new(ChargerConfig::default(), stored.as_deref(), now(0)).expect("sound");
                prop_assert!(register <= restarted.energy().wh);
                *shown = (*shown).max(register);
            }
            Some(_) => {}
        }
    }
    Ok(())
}
