use wattle_wire::message::{Confirm, Phases, Refusal, Values, encode};
use wattle_wire::{Milliamps, SessionId, UserId, WattHours};

use super::*;

const NOW: Micros = Micros::from_secs(1_000);

fn machine(part: Part) -> DeviceMachine {
    let (site, device) = (SiteId::new("depot").expect("name"), DeviceId::new("cp-1").expect("name"));
    DeviceMachine::new(site, device, part)
}

fn charger() -> DeviceMachine {
    machine(Part::Charger(0))
}

fn send(machine: &mut DeviceMachine, channel: Channel, payload: &str) -> DeviceOutput {
    let mut out = DeviceOutput::default();
    machine.handle(channel, payload.as_bytes(), NOW, &mut out);
    out
}

fn numbered(boot: u32, seq: u64) -> Reading {
    let mut reading = Reading::default();
    (reading.boot, reading.seq) = (Some(boot), Some(seq));
    reading
}

fn event(out: &DeviceOutput) -> &Event {
    match out.rows.as_slice() {
        [Row::Event(event)] => event,
        rows => panic!("expected one event, got {rows:?}"),
    }
}

fn kinds(out: &DeviceOutput) -> Vec<EventKind> {
    let kind = |row: &Row| match row {
        Row::Event(event) => event.kind,
        row => panic!("not an event: {row:?}"),
    };
    out.rows.iter().map(kind).collect()
}

fn ack(boot: u32, from: u64, to: u64) -> Ack {
    Ack { boot, from, to }
}

/// A payload that is refused gives one event with the code, nothing for the site, and this acknowledgement.
fn check_refused(channel: Channel, payload: &str, code: &str, acks: &[Ack]) {
    let mut machine = charger();
    let out = send(&mut machine, channel, payload);
    let event = event(&out);
    assert!(
        event.kind.is_refusal() && event.detail.starts_with(&format!("{code}: ")),
        "{payload}: {event:?}"
    );
    assert!(event.detail.len() <= row::MAX_DETAIL_BYTES);
    assert!(out.inputs.is_empty(), "{payload}");
    assert_eq!(out.acks, acks, "{payload}");
}

#[test]
fn a_reading_is_journaled_told_to_the_site_and_acknowledged() {
    let payload =
        r#"{"boot":7,"seq":42,"at_us":999000000,"state":"charging","setpoint":5,"current_ma":[8010]}"#;
    let out = send(&mut charger(), Channel::Reading, payload);
    let [Row::Reading(row)] = out.rows.as_slice() else { panic!("{:?}", out.rows) };
    assert_eq!((row.number, row.setpoint), (Some(Number { boot: 7, seq: 42 }), Some(5)));
    assert_eq!(out.acks, [ack(7, 42, 42)]);
    let [SiteInput { part: Part::Charger(0), seen, heard }] = out.inputs.as_slice() else { panic!() };
    assert_eq!(*seen, Some(Number { boot: 7, seq: 42 }));
    let Heard::Reading { current_ma: Some(current), .. } = heard else { panic!("{heard:?}") };
    assert_eq!(current.get(0), Some(Milliamps(8_010)));
}

#[test]
fn a_batch_of_readings_is_acknowledged_as_ranges() {
    let (mut machine, mut out) = (charger(), DeviceOutput::default());
    for seq in [1, 2, 3, 7, 8, 3] {
        let reading = numbered(1, seq);
        machine.handle_reading(&reading, NOW, &mut out);
    }
    assert_eq!((out.rows.len(), out.acks), (5, vec![ack(1, 1, 3), ack(1, 7, 8), ack(1, 3, 3)]));
}

#[test]
fn what_is_missing_between_many_that_came_is_journaled_when_it_comes_also_after_a_restart() {
    let mut machine = charger();
    let take = |machine: &mut DeviceMachine, seq| {
        let mut out = DeviceOutput::default();
        machine.handle_reading(&numbered(1, seq), NOW, &mut out);
        assert_eq!((out.rows.len(), out.acks), (1, vec![ack(1, seq, seq)]), "{seq}");
        out.rows
    };
    let checkpoint = machine.state();
    let mut again = charger();
    again.restore(&checkpoint).expect("our own");
    for seq in (1..=300).map(|i| 2 * i) {
        take(&mut machine, seq).iter().for_each(|row| again.replay(row, NOW));
    }
    assert_eq!(again.state(), machine.state());
    (1..=600).step_by(2).for_each(|seq| drop(take(&mut again, seq)));
    assert!((1..=600).all(|seq| again.numbers.contains(Number { boot: 1, seq })));
}

#[test]
fn what_can_not_be_read_is_an_event_and_is_acknowledged_if_its_number_can_be() {
    let giant = "[".repeat(5_000);
    for (payload, code, acks) in [
        ("", "malformed", vec![]),
        ("\u{0}\u{1}", "malformed", vec![]),
        (r#"{"boot":7,"se"#, "malformed", vec![]),
        (giant.as_str(), "too_large", vec![]),
        (r#"{"boot":7,"seq":1,"current_a":[16]}"#, "malformed", vec![ack(7, 1, 1)]),
        (r#"{"boot":7,"seq":1,"current_ma":[16.5]}"#, "malformed", vec![ack(7, 1, 1)]),
        (r#"{"boot":7,"seq":1,"current_ma":[NaN]}"#, "malformed", vec![]),
        (r#"{"boot":7,"seq":1,"current_ma":[1,2,3,4]}"#, "malformed", vec![ack(7, 1, 1)]),
        (r#"{"boot":7,"current_ma":[1]}"#, "half_numbered", vec![]),
        (r#"{"seq":7,"current_ma":[1]}"#, "half_numbered", vec![]),
        (r#"{"boot":-1,"seq":7}"#, "malformed", vec![]),
    ] {
        check_refused(Channel::Reading, payload, code, &acks);
    }
    check_refused(Channel::Session, r#"{"boot":7,"seq":1,"step":"dance"}"#, "malformed", &[ack(7, 1, 1)]);
    check_refused(Channel::Session, r#"{"seq":1,"step":"plug"}"#, "half_numbered", &[]);
    check_refused(Channel::Session, r#"{"step":"start","user":"a b"}"#, "malformed", &[]);
    check_refused(Channel::Confirm, r#"{"setpoint":-1}"#, "malformed", &[]);
    check_refused(Channel::Status, r#"{"online":"yes"}"#, "malformed", &[]);
    check_refused(Channel::Announce, r#"{"kind":"toaster"}"#, "malformed", &[]);
    check_refused(Channel::Announce, r#"{"kind":"meter"}"#, "wrong_kind", &[]);
}

#[test]
fn an_absurd_reading_is_journaled_as_it_came_for_the_fog_node_to_judge() {
    for payload in [
        r#"{"boot":7,"seq":1,"register_wh":-5}"#,
        r#"{"boot":7,"seq":1,"at_us":-9223372036854775808,"current_ma":[2147483647]}"#,
    ] {
        let out = send(&mut charger(), Channel::Reading, payload);
        assert!(matches!(out.rows.as_slice(), [Row::Reading(_)]), "{payload}");
    }
}

#[test]
fn a_session_step_of_a_meter_is_refused() {
    let out = send(&mut machine(Part::Meter(0)), Channel::Session, r#"{"boot":1,"seq":1,"step":"plug"}"#);
    assert!(event(&out).detail.starts_with("wrong_kind: "));
    assert_eq!(out.acks, [ack(1, 1, 1)]);
}

#[test]
fn the_channels_that_come_down_are_passed_over() {
    for channel in [Channel::Setpoint, Channel::Ack] {
        assert_eq!(send(&mut charger(), channel, "{"), DeviceOutput::default());
    }
}

#[test]
fn a_repetition_gives_no_row_and_is_acknowledged_and_one_with_other_values_is_a_conflict() {
    let mut machine = charger();
    let payload = r#"{"boot":7,"seq":1,"current_ma":[8000]}"#;
    send(&mut machine, Channel::Reading, payload);
    let again = send(&mut machine, Channel::Reading, payload);
    assert_eq!((again.rows.len(), again.inputs.len(), again.acks), (0, 0, vec![ack(7, 1, 1)]));
    let other = send(&mut machine, Channel::Reading, r#"{"boot":7,"seq":1,"current_ma":[8001]}"#);
    assert_eq!(event(&other).kind, EventKind::Conflict);
    assert!(event(&other).detail.starts_with("other_values: "));
    assert_eq!((other.inputs.len(), other.acks), (0, vec![ack(7, 1, 1)]));
}

#[test]
fn refusals_are_bounded_per_minute_and_the_next_event_counts_the_rest() {
    let (mut machine, mut out) = (charger(), DeviceOutput::default());
    for _ in 0..100 {
        machine.handle(Channel::Reading, b"x", NOW, &mut out);
    }
    assert_eq!((out.rows.len(), machine.suppressed()), (10, 90));
    out.clear();
    machine.handle(Channel::Reading, b"x", NOW + Micros::from_secs(60), &mut out);
    assert!(event(&out).detail.contains("90 more refused"));
    assert_eq!(machine.suppressed(), 0);
}

#[test]
fn what_is_refused_without_an_event_is_not_acknowledged_and_finds_room_later() {
    let (mut machine, mut out) = (charger(), DeviceOutput::default());
    let payload = |seq| format!(r#"{{"boot":7,"seq":{seq},"current_a":[16]}}"#);
    for seq in 1..=12 {
        machine.handle(Channel::Reading, payload(seq).as_bytes(), NOW, &mut out);
    }
    assert_eq!((out.rows.len(), out.acks.as_slice()), (10, &[ack(7, 1, 10)][..]));
    out.clear();
    machine.handle(Channel::Reading, payload(10).as_bytes(), NOW, &mut out);
    assert_eq!((out.rows.len(), out.acks.as_slice()), (0, &[ack(7, 10, 10)][..]), "its event is journaled");
    out.clear();
    machine.handle(Channel::Reading, payload(11).as_bytes(), NOW + Micros::from_secs(60), &mut out);
    assert_eq!(
        (event(&out).number, out.acks.as_slice()),
        (Some(Number { boot: 7, seq: 11 }), &[ack(7, 11, 11)][..])
    );
}

#[test]
fn a_conflict_that_is_not_journaled_is_not_acknowledged() {
    let (mut machine, mut out) = (charger(), DeviceOutput::default());
    machine.handle(Channel::Reading, br#"{"boot":7,"seq":1,"current_ma":[1]}"#, NOW, &mut out);
    for _ in 0..10 {
        machine.handle(Channel::Reading, b"x", NOW, &mut out);
    }
    out.clear();
    machine.handle(Channel::Reading, br#"{"boot":7,"seq":1,"current_ma":[2]}"#, NOW, &mut out);
    assert_eq!(out, DeviceOutput::default());
}

#[test]
fn a_unit_that_was_replaced_and_begins_with_a_low_start_loses_nothing() {
    let mut machine = charger();
    for boot in 20..60 {
        send(&mut machine, Channel::Announce, &format!(r#"{{"kind":"charger","boot":{boot}}}"#));
        send(&mut machine, Channel::Session, &format!(r#"{{"boot":{boot},"seq":1,"step":"plug"}}"#));
        send(&mut machine, Channel::Session, &format!(r#"{{"boot":{boot},"seq":2,"step":"unplug"}}"#));
    }
    let checkpoint = machine.state();
    let announced = send(&mut machine, Channel::Announce, r#"{"kind":"charger","boot":1}"#);
    assert!(event(&announced).detail.contains("below boot 59 before it"), "{announced:?}");
    let reading = r#"{"boot":1,"seq":1,"current_ma":[8000]}"#;
    let first = send(&mut machine, Channel::Reading, reading);
    assert!(matches!(&first.rows[..], [Row::Reading(r)] if r.number == Some(Number { boot: 1, seq: 1 })));
    assert_eq!(first.acks, [ack(1, 1, 1)]);
    assert_eq!(first.inputs[0].seen, Some(Number { boot: 1, seq: 1 }));
    let again = send(&mut machine, Channel::Reading, reading);
    assert_eq!((again.rows.len(), again.acks), (0, vec![ack(1, 1, 1)]));
    let plug = send(&mut machine, Channel::Session, r#"{"boot":1,"seq":2,"step":"plug"}"#);
    assert_eq!(machine.stay().map(|stay| stay.id.as_str()), Some("cp-1-1-2"), "not late");

    let mut restarted = charger();
    restarted.restore(&checkpoint).expect("our own");
    for row in announced.rows.iter().chain(&first.rows).chain(&plug.rows) {
        restarted.replay(row, NOW);
    }
    assert_eq!(restarted.state(), machine.state());
}

#[test]
fn a_backlog_is_journaled_and_told_to_nobody_not_even_first_after_a_restart() {
    let mut machine = machine(Part::Meter(0));
    let reading = |seq, at_us| {
        let mut reading = numbered(1, seq);
        reading.at_us = Some(at_us);
        reading
    };
    let mut out = DeviceOutput::default();
    machine.handle_reading(&reading(1, NOW), NOW, &mut out);
    let mut restarted = super::tests::machine(Part::Meter(0));
    restarted.restore(&machine.state()).expect("our own");
    for mut machine in [machine, restarted] {
        for i in 1..1_200 {
            let now = NOW + Micros::from_secs(60) + Micros::from_millis(i * 100);
            out.clear();
            machine.handle_reading(&reading(1 + i as u64, now - Micros::from_secs(55)), now, &mut out);
            assert_eq!((out.rows.len(), out.acks.len()), (1, 1));
            assert!(out.inputs.is_empty(), "{i}");
            if i == 300 {
                let live = reading(10_000, now);
                machine.handle_reading(&live, now, &mut out);
                assert_eq!(out.inputs.len(), 1);
            }
        }
        assert!(out.inputs.is_empty());
    }
}

#[test]
fn a_start_whose_number_is_used_again_shows_as_a_conflict() {
    let mut machine = charger();
    for seq in 1..=1_000 {
        send(&mut machine, Channel::Reading, &format!(r#"{{"boot":7,"seq":{seq},"current_ma":[8000]}}"#));
    }
    let mut restarted = charger();
    restarted.restore(&machine.state()).expect("our own");
    let again = send(&mut restarted, Channel::Reading, r#"{"boot":7,"seq":1,"current_ma":[8000]}"#);
    assert!(again.rows.is_empty());
    let other = send(&mut restarted, Channel::Reading, r#"{"boot":7,"seq":1,"current_ma":[1]}"#);
    assert_eq!(event(&other).kind, EventKind::Conflict);
}

#[test]
fn a_start_that_is_remembered_stays_known_after_a_lower_one() {
    let mut machine = charger();
    send(&mut machine, Channel::Reading, r#"{"boot":27,"seq":1}"#);
    send(&mut machine, Channel::Announce, r#"{"kind":"charger","boot":1}"#);
    send(&mut machine, Channel::Reading, r#"{"boot":1,"seq":1}"#);
    let old = send(&mut machine, Channel::Reading, r#"{"boot":27,"seq":1}"#);
    assert_eq!((old.rows.len(), old.acks), (0, vec![ack(27, 1, 1)]), "a repetition gives no second row");
}

#[test]
fn a_stay_is_opened_named_and_closed() {
    let mut machine = charger();
    let plug = send(&mut machine, Channel::Session, r#"{"boot":7,"seq":1,"step":"plug","register_wh":100}"#);
    assert_eq!(event(&plug).session, SessionId::new("cp-1-7-1").ok());
    let start = r#"{"boot":7,"seq":2,"step":"start","user":"ann","requested_wh":9000,"register_wh":100}"#;
    let start = send(&mut machine, Channel::Session, start);
    assert_eq!(
        (event(&start).user.clone(), event(&start).session.clone()),
        (UserId::new("ann").ok(), SessionId::new("cp-1-7-1").ok())
    );
    let reading = send(&mut machine, Channel::Reading, r#"{"boot":7,"seq":3,"register_wh":200}"#);
    assert!(matches!(&reading.rows[..], [Row::Reading(r)] if r.session == SessionId::new("cp-1-7-1").ok()));
    let end = send(&mut machine, Channel::Session, r#"{"boot":7,"seq":4,"step":"end","register_wh":300}"#);
    assert_eq!(
        (event(&end).user.clone(), event(&end).register_wh),
        (UserId::new("ann").ok(), Some(WattHours(300)))
    );
    let unplug = send(&mut machine, Channel::Session, r#"{"boot":7,"seq":5,"step":"unplug"}"#);
    assert_eq!(unplug.inputs[0].heard, Heard::Stay(None));
    let after = send(&mut machine, Channel::Reading, r#"{"boot":7,"seq":6}"#);
    assert!(matches!(&after.rows[..], [Row::Reading(r)] if r.session.is_none()));
}

#[test]
fn the_name_that_a_device_gives_its_stay_is_kept() {
    let out = send(&mut charger(), Channel::Session, r#"{"step":"plug","session":"mine"}"#);
    assert_eq!(event(&out).session, SessionId::new("mine").ok());
}

#[test]
fn a_plug_without_the_unplug_before_it_ends_the_earlier_stay_and_says_so() {
    let mut machine = charger();
    send(&mut machine, Channel::Session, r#"{"boot":7,"seq":1,"step":"plug"}"#);
    let out = send(&mut machine, Channel::Session, r#"{"boot":7,"seq":9,"step":"plug"}"#);
    assert_eq!(kinds(&out), [EventKind::Unplugged, EventKind::Plugged]);
    let Row::Event(implied) = &out.rows[0] else { panic!() };
    assert!(
        implied.detail.starts_with("implied") && implied.register_wh.is_none() && implied.number.is_none()
    );
}

#[test]
fn steps_without_a_stay_are_journaled_and_change_nothing() {
    for step in ["end", "unplug"] {
        let mut machine = charger();
        let out = send(&mut machine, Channel::Session, &format!(r#"{{"boot":1,"seq":1,"step":"{step}"}}"#));
        assert_eq!((event(&out).session.clone(), event(&out).detail.as_str()), (None, "no stay was open"));
        assert!(machine.stay().is_none());
    }
}

#[test]
fn a_step_that_comes_late_is_journaled_under_its_stay_and_changes_nothing() {
    let mut machine = charger();
    for (seq, step) in [(1, "plug"), (3, "end"), (4, "unplug"), (6, "plug")] {
        send(&mut machine, Channel::Session, &format!(r#"{{"boot":1,"seq":{seq},"step":"{step}"}}"#));
    }
    let late = send(&mut machine, Channel::Session, r#"{"boot":1,"seq":2,"step":"start","user":"ann"}"#);
    assert_eq!(event(&late).session, SessionId::new("cp-1-1-1").ok());
    assert!(machine.stay().is_some_and(|stay| stay.user.is_none()));
}

#[test]
fn a_negative_register_is_refused_and_its_step_counts_without_it() {
    let out = send(&mut charger(), Channel::Session, r#"{"boot":1,"seq":1,"step":"plug","register_wh":-1}"#);
    assert_eq!(kinds(&out), [EventKind::Plugged, EventKind::Malformed]);
    let Row::Event(plugged) = &out.rows[0] else { panic!() };
    assert_eq!(plugged.register_wh, None);
}

#[test]
fn a_connection_is_journaled_when_it_changes_and_an_old_last_will_switches_nothing_off() {
    let mut machine = charger();
    let online = r#"{"online":true,"boot":2}"#;
    send(&mut machine, Channel::Announce, r#"{"kind":"charger","boot":2}"#);
    assert_eq!(kinds(&send(&mut machine, Channel::Status, online)), [EventKind::Online]);
    assert!(send(&mut machine, Channel::Status, online).rows.is_empty());
    assert!(send(&mut machine, Channel::Status, r#"{"online":false,"boot":1}"#).inputs.is_empty());
    let gone = send(&mut machine, Channel::Status, r#"{"online":false,"boot":2}"#);
    assert_eq!((kinds(&gone), machine.online()), (vec![EventKind::Offline], Some(false)));
}

#[test]
fn an_announcement_is_journaled_when_it_changes_and_a_new_start_begins_what_was_seen_anew() {
    let mut machine = charger();
    send(&mut machine, Channel::Reading, r#"{"boot":1,"seq":9}"#);
    let announce = r#"{"kind":"charger","boot":2,"model":"x"}"#;
    assert_eq!(kinds(&send(&mut machine, Channel::Announce, announce)), [EventKind::Announced]);
    assert!(send(&mut machine, Channel::Announce, announce).rows.is_empty());
    let old = send(&mut machine, Channel::Reading, r#"{"boot":1,"seq":10}"#);
    assert_eq!(old.inputs[0].seen, None, "a setpoint must not answer a message of an earlier start");
    let new = send(&mut machine, Channel::Reading, r#"{"boot":2,"seq":1}"#);
    assert_eq!(new.inputs[0].seen, Some(Number { boot: 2, seq: 1 }));
}

#[test]
fn an_answer_to_a_setpoint_is_journaled_and_told() {
    let mut machine = charger();
    let confirm = Confirm { boot: None, setpoint: 5, refused: Some(Refusal::Expired) };
    let mut out = DeviceOutput::default();
    machine.handle(Channel::Confirm, &encode(&confirm), NOW, &mut out);
    assert_eq!(
        (event(&out).kind, event(&out).setpoint, event(&out).detail.as_str()),
        (EventKind::Refused, Some(5), "expired")
    );
    assert_eq!(out.inputs[0].heard, Heard::Refused { number: 5, reason: Refusal::Expired });
}

#[test]
fn a_checkpoint_and_the_rows_after_it_give_the_state_back() {
    let mut machine = charger();
    let mut rows = Vec::new();
    let mut checkpoint = machine.state();
    let steps = [(1, "plug"), (3, "start"), (8, "end")];
    for seq in 1..=10 {
        let mut out = DeviceOutput::default();
        match steps.iter().find(|(s, _)| *s == seq) {
            Some((_, step)) => {
                out = send(
                    &mut machine,
                    Channel::Session,
                    &format!(r#"{{"boot":1,"seq":{seq},"step":"{step}"}}"#),
                )
            }
            None => {
                let values = Values { current_ma: Some(Phases::new(&[Milliamps(seq)])), ..Values::default() };
                let reading = numbered(1, seq as u64);
                machine.handle_reading(&reading.with_values(values), NOW, &mut out);
            }
        }
        if seq == 4 {
            checkpoint = machine.state();
        }
        // The row of the checkpoint itself comes again: that must do no harm.
        if seq >= 4 {
            rows.extend(out.rows);
        }
    }
    let mut again = charger();
    again.restore(&checkpoint).expect("our own");
    rows.iter().for_each(|row| again.replay(row, NOW));
    assert_eq!(again.state(), machine.state());
    assert_eq!(again.stay(), machine.stay());
    let conflict = send(&mut again, Channel::Reading, r#"{"boot":1,"seq":10,"current_ma":[11]}"#);
    assert_eq!(event(&conflict).kind, EventKind::Conflict);
}

#[test]
fn a_checkpoint_that_is_not_ours_is_refused_and_changes_nothing() {
    let mut machine = charger();
    send(&mut machine, Channel::Session, r#"{"boot":7,"seq":1,"step":"plug"}"#);
    let state = machine.state();
    assert_eq!(machine.restore(&[]), Err(RestoreError::Damaged));
    assert_eq!(machine.restore(&[9, 0, 0]), Err(RestoreError::Version(9)));
    assert_eq!(machine.restore(&state[..state.len() / 2]), Err(RestoreError::Damaged));
    assert_eq!(machine.state(), state);
}
