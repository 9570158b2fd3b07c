//! A charger and a meter, driven by hand over virtual time.

use wattle_device_core::register::Energy;
use wattle_device_core::*;
use wattle_wire::message::{self, *};
use wattle_wire::topic::Channel;
use wattle_wire::{Micros, Milliamps, Millis, Millivolts, UserId, WattHours};

/// A charger on a bench: takes every output, keeps what was published and stored.
struct Bench {
    charger: Charger,
    now_ms: u64,
    stored: Vec<u8>,
    sent: Vec<Publish>,
    limit_ma: Milliamps,
}

fn now(mono_ms: u64) -> Now {
    Now { mono_ms, utc_us: Some(Micros::from_millis(1_800_000_000_000 + mono_ms as i64)) }
}

impl Bench {
    fn new(config: ChargerConfig) -> Self {
        Self::restarted(config, None, 0)
    }

    fn restarted(config: ChargerConfig, saved: Option<&[u8]>, now_ms: u64) -> Self {
        let charger = Charger::new(config, saved, now(now_ms)).expect("storage is sound");
        let limit_ma = Milliamps::ZERO;
        let mut bench = Self { charger, now_ms, stored: Vec::new(), sent: Vec::new(), limit_ma };
        bench.take();
        bench
    }

    /// Connected, measured once, a vehicle started by a user.
    fn charging(config: ChargerConfig) -> Self {
        let mut bench = Self::new(config);
        bench.input(Input::Connected);
        bench.draw(0);
        bench.input(Input::Plugged);
        let user = Some(UserId::new("alice").expect("name"));
        bench.input(Input::Started(Start { user, ..Start::default() }));
        bench
    }

    fn take(&mut self) {
        while let Some(output) = self.charger.poll() {
            match output {
                Output::Store { key, bytes } => {
                    assert_eq!(key, STATE_KEY);
                    self.stored = bytes;
                }
                Output::Publish(publish) => self.sent.push(publish),
                Output::Limit(limit_ma) => self.limit_ma = limit_ma,
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.charger.handle(now(self.now_ms), input);
        self.take();
    }

    fn tick_at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.input(Input::Tick);
    }

    fn draw(&mut self, current_ma: i32) {
        self.input(Input::Measured(Measurement {
            current_ma: Some(Phases::new(&[Milliamps(current_ma)])),
            voltage_mv: Some(Phases::new(&[Millivolts(230_000)])),
            power_mw: i64::from(current_ma) * 230,
            ..Measurement::default()
        }));
    }

    fn setpoint(&mut self, number: u64, limit_ma: i32, validity_ms: i64) -> Option<Refusal> {
        let seen = Number { boot: self.charger.boot(), seq: self.last_seq() };
        let setpoint = Setpoint {
            number,
            limit_ma: Milliamps(limit_ma),
            validity_ms: Millis(validity_ms),
            seen: Some(seen),
        };
        self.sent.retain(|p| p.channel != Channel::Confirm);
        self.input(Input::Message { channel: Channel::Setpoint, payload: &message::encode(&setpoint) });
        let confirm: Confirm = self.all(Channel::Confirm).pop().expect("every setpoint is answered");
        assert_eq!(confirm.setpoint, number);
        confirm.refused
    }

    fn acknowledge(&mut self, from: u64, to: u64) {
        let ack = Ack { boot: self.charger.boot(), from, to };
        self.input(Input::Message { channel: Channel::Ack, payload: &message::encode(&ack) });
    }

    fn all<T: serde::de::DeserializeOwned>(&self, channel: Channel) -> Vec<T> {
        let on_it = self.sent.iter().filter(|p| p.channel == channel);
        on_it.map(|p| message::decode(&p.payload).expect("our own payloads can be read")).collect()
    }

    fn readings(&self) -> Vec<Reading> {
        self.all(Channel::Reading)
    }

    fn steps(&self) -> Vec<Session> {
        self.all(Channel::Session)
    }

    fn last_seq(&self) -> u64 {
        let readings = self.readings().into_iter().filter_map(|r| r.seq);
        readings.chain(self.steps().into_iter().filter_map(|s| s.seq)).max().expect("something was sent")
    }
}

fn seqs(bench: &Bench) -> Vec<u64> {
    let number = |p: &Publish| match p.channel {
        Channel::Reading => message::decode::<Reading>(&p.payload).expect("ours").seq,
        Channel::Session => message::decode::<Session>(&p.payload).expect("ours").seq,
        _ => None,
    };
    bench.sent.iter().filter_map(number).collect()
}

#[test]
fn a_connection_begins_with_the_announcement_and_the_status_both_retained() {
    let mut bench = Bench::new(ChargerConfig::default());
    bench.input(Input::Connected);
    let channels: Vec<_> = bench.sent.iter().map(|p| (p.channel, p.retained)).collect();
    assert_eq!(channels, [(Channel::Announce, true), (Channel::Status, true)]);
    assert_eq!(bench.all::<Announce>(Channel::Announce)[0].boot, Some(1));
    assert!(bench.all::<Status>(Channel::Status)[0].online);
    let will: Status = message::decode(&bench.charger.will().payload).expect("ours");
    assert_eq!(will, Status { online: false, boot: Some(1) });
}

#[test]
fn a_setpoint_moves_the_relay_and_is_confirmed_and_told_in_the_next_reading() {
    let mut bench = Bench::charging(ChargerConfig::default());
    assert_eq!(bench.charger.state(), ChargerState::Waiting);
    assert_eq!(bench.setpoint(5, 16_000, 10_000), None);
    assert_eq!((bench.limit_ma, bench.charger.state()), (Milliamps(16_000), ChargerState::Charging));
    let last = bench.readings().pop().expect("a change of state is told at once");
    assert_eq!((last.setpoint, last.state), (Some(5), Some(ChargerState::Charging)));
}

#[test]
fn a_setpoint_beyond_the_maximum_is_cut_and_one_below_the_minimum_is_standby() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.setpoint(1, 99_000, 10_000);
    assert_eq!(bench.limit_ma, Milliamps(32_000));
    bench.setpoint(2, 5_999, 10_000);
    assert_eq!((bench.limit_ma, bench.charger.state()), (Milliamps(0), ChargerState::Waiting));
}

#[test]
fn when_the_setpoint_expires_the_safe_current_holds_and_a_reading_says_so() {
    let safe_ma = Milliamps(6_000);
    let mut bench = Bench::charging(ChargerConfig { safe_ma, ..ChargerConfig::default() });
    assert_eq!(bench.limit_ma, safe_ma);
    bench.setpoint(5, 16_000, 10_000);
    bench.tick_at(9_999);
    assert_eq!(bench.limit_ma, Milliamps(16_000));
    let due = bench.charger.next_wakeup().expect("the expiry is awaited");
    assert!(due <= 10_000, "{due}");
    bench.tick_at(10_000);
    assert_eq!(bench.limit_ma, safe_ma);
    assert_eq!(bench.readings().pop().expect("told").setpoint, Some(0));
}

#[test]
fn a_setpoint_is_refused_with_the_reason_and_the_relay_stays() {
    let mut bench = Bench::charging(ChargerConfig::default());
    assert_eq!(bench.setpoint(5, 16_000, 10_000), None);
    assert_eq!(bench.setpoint(5, 20_000, 10_000), Some(Refusal::Superseded));
    assert_eq!(bench.setpoint(6, -1, 10_000), Some(Refusal::OutOfRange));
    assert_eq!(bench.limit_ma, Milliamps(16_000));
    assert_eq!(bench.charger.counters().refused, 2);
}

#[test]
fn a_setpoint_that_cannot_be_read_is_counted_and_not_answered() {
    let mut bench = Bench::charging(ChargerConfig::default());
    let giant = vec![b'['; 5000];
    let payloads: [&[u8]; 4] = [b"", b"{\"number\":1}", b"{\"number\":1,\"limit_a\":16}", &giant];
    for payload in payloads {
        bench.input(Input::Message { channel: Channel::Setpoint, payload });
        bench.input(Input::Message { channel: Channel::Ack, payload });
    }
    assert_eq!(bench.charger.counters().malformed, 8);
    assert!(bench.all::<Confirm>(Channel::Confirm).is_empty());
    assert_eq!(bench.limit_ma, Milliamps(0));
}

#[test]
fn a_setpoint_from_before_a_restart_is_not_obeyed_after_it() {
    let mut before = Bench::charging(ChargerConfig::default());
    before.setpoint(5, 16_000, 10_000);
    let seen = Some(Number { boot: before.charger.boot(), seq: before.last_seq() });
    let late = Setpoint { number: 6, limit_ma: Milliamps(16_000), validity_ms: Millis(10_000), seen };
    let mut after = Bench::restarted(ChargerConfig::default(), Some(&before.stored), 0);
    after.input(Input::Connected);
    after.draw(0);
    assert_eq!(after.charger.setpoint_in_force(), None);
    after.input(Input::Message { channel: Channel::Setpoint, payload: &message::encode(&late) });
    let confirm: Confirm = after.all(Channel::Confirm).pop().expect("answered");
    assert_eq!(confirm.refused, Some(Refusal::UnknownSeen));
    assert_eq!(after.setpoint(1, 16_000, 10_000), None, "any number will do in a new start");
}

#[test]
fn a_stay_is_told_step_by_step_with_the_register() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.setpoint(1, 16_000, 3_600_000);
    bench.draw(16_000);
    bench.acknowledge(1, bench.last_seq());
    bench.now_ms = 1_800_000;
    bench.input(Input::Ended);
    bench.draw(0);
    bench.input(Input::Unplugged);
    let steps: Vec<_> = bench.steps().iter().map(|s| (s.step, s.register_wh)).collect();
    let (zero, end) = (Some(WattHours(0)), Some(WattHours(1840)));
    let expected = [
        (SessionStep::Plug, zero),
        (SessionStep::Start, zero),
        (SessionStep::End, end),
        (SessionStep::Unplug, end),
    ];
    assert_eq!(steps, expected);
    assert_eq!(bench.steps()[1].user, Some(UserId::new("alice").expect("name")));
    assert_eq!((bench.limit_ma, bench.charger.state()), (Milliamps(0), ChargerState::Available));
}

#[test]
fn an_unplug_under_way_ends_the_charge_first_and_steps_out_of_order_are_ignored() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.input(Input::Plugged);
    bench.input(Input::Started(Start::default()));
    bench.input(Input::Unplugged);
    bench.input(Input::Unplugged);
    bench.input(Input::Ended);
    bench.input(Input::Started(Start::default()));
    let steps: Vec<_> = bench.steps().iter().map(|s| s.step).collect();
    use SessionStep as S;
    assert_eq!(steps, [S::Plug, S::Start, S::End, S::Unplug]);
}

#[test]
fn a_stay_that_a_power_cut_interrupted_is_closed_after_the_restart_with_the_stored_register() {
    let mut before = Bench::charging(ChargerConfig::default());
    before.setpoint(1, 16_000, 3_600_000);
    before.draw(16_000);
    before.tick_at(100_000);
    let shown = before.readings().pop().expect("sent").values().register_wh;
    let mut after = Bench::restarted(ChargerConfig::default(), Some(&before.stored), 0);
    after.input(Input::Connected);
    let steps: Vec<_> = after.steps().iter().map(|s| (s.boot, s.step, s.register_wh)).collect();
    assert_eq!(steps, [(Some(2), SessionStep::End, shown), (Some(2), SessionStep::Unplug, shown)]);
}

#[test]
fn a_stay_is_closed_again_after_a_restart_until_its_last_step_is_acknowledged() {
    let mut before = Bench::charging(ChargerConfig::default());
    before.input(Input::Unplugged);
    let again = |stored: &[u8]| {
        let mut after = Bench::restarted(ChargerConfig::default(), Some(stored), 0);
        after.input(Input::Connected);
        after.steps().len()
    };
    assert_eq!(again(&before.stored), 1, "the charge was ended, the unplug not acknowledged");
    before.acknowledge(1, before.last_seq());
    assert_eq!(again(&before.stored), 0);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_order_after_a_reconnect() {
    let mut bench = Bench::charging(ChargerConfig::default());
    let first = seqs(&bench);
    assert_eq!(first, [1, 2, 3, 4, 5]);
    bench.acknowledge(2, 3);
    bench.input(Input::Disconnected);
    bench.sent.clear();
    bench.tick_at(60_000);
    assert!(bench.sent.is_empty(), "nothing goes out without a connection");
    bench.input(Input::Connected);
    assert_eq!(seqs(&bench), [1, 4, 5, 6]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_later_and_later_while_the_edge_is_silent() {
    let mut config = ChargerConfig::default();
    config.pace.interval_ms = 1_000_000;
    config.pace.idle_interval_ms = None;
    let mut bench = Bench::new(config);
    bench.input(Input::Connected);
    bench.draw(0);
    let mut times = Vec::new();
    while bench.now_ms < 100_000 {
        bench.sent.clear();
        let next = bench.charger.next_wakeup().expect("a message waits");
        bench.tick_at(next);
        assert_eq!(seqs(&bench), [1]);
        times.push(next);
    }
    assert_eq!(times, [3_000, 9_000, 21_000, 45_000, 69_000, 93_000, 117_000]);
    bench.acknowledge(1, 1);
    assert_eq!(bench.charger.next_wakeup(), None);
    assert_eq!(bench.charger.unacknowledged(), 0);
}

#[test]
fn no_more_is_under_way_than_the_window_holds() {
    let mut config = ChargerConfig::default();
    config.line.in_flight = 3;
    let mut bench = Bench::new(config);
    bench.draw(0);
    (1..=9).for_each(|s| bench.tick_at(s * 1000));
    bench.input(Input::Connected);
    assert_eq!(seqs(&bench), [1, 2, 3]);
    bench.acknowledge(1, 2);
    assert_eq!(seqs(&bench), [1, 2, 3, 4, 5]);
}

#[test]
fn a_full_ring_drops_the_oldest_reading_and_keeps_the_steps() {
    let mut config = ChargerConfig::default();
    config.line.ring = 4;
    let mut bench = Bench::new(config);
    bench.draw(0);
    bench.input(Input::Plugged);
    (1..=9).for_each(|s| bench.tick_at(s * 1000));
    bench.input(Input::Connected);
    assert_eq!(bench.steps().len(), 1);
    assert_eq!(bench.readings().len(), 3);
    assert_eq!(bench.charger.counters().dropped_readings, 8);
}

#[test]
fn a_ring_full_of_steps_drops_a_new_reading_before_a_step() {
    let mut config = ChargerConfig::default();
    config.line.ring = 2;
    let mut bench = Bench::new(config);
    bench.input(Input::Plugged);
    bench.input(Input::Started(Start::default()));
    bench.draw(0);
    let counters = bench.charger.counters();
    assert_eq!((counters.dropped_readings, counters.dropped_steps), (1, 0));
    bench.input(Input::Unplugged);
    assert_eq!(bench.charger.counters().dropped_steps, 2);
}

#[test]
fn acknowledgements_of_another_start_or_of_nothing_free_nothing() {
    let mut bench = Bench::charging(ChargerConfig::default());
    let waiting = bench.charger.unacknowledged();
    let other = Ack { boot: 9, from: 0, to: u64::MAX };
    bench.input(Input::Message { channel: Channel::Ack, payload: &message::encode(&other) });
    bench.acknowledge(4, 2);
    bench.acknowledge(100, u64::MAX);
    assert_eq!(bench.charger.unacknowledged(), waiting);
}

#[test]
fn a_changed_current_is_told_before_the_interval_is_over_but_not_in_a_flood() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.setpoint(1, 16_000, 10_000);
    let before = bench.readings().len();
    bench.now_ms = 10;
    bench.draw(15_990);
    assert_eq!(bench.readings().len(), before, "too soon after the last");
    assert_eq!(bench.charger.next_wakeup(), Some(50));
    bench.tick_at(50);
    assert_eq!(bench.readings().len(), before + 1);
    bench.now_ms = 200;
    bench.draw(15_700);
    assert_eq!(bench.readings().len(), before + 1, "noise is not a change");
}

#[test]
fn an_idle_charger_is_silent_when_it_is_told_to_be() {
    let mut config = ChargerConfig::default();
    config.pace.interval_ms = 60_000;
    config.pace.idle_interval_ms = None;
    let mut bench = Bench::charging(config);
    assert_eq!(bench.charger.next_wakeup(), Some(3_000), "the resend of what waits");
    bench.acknowledge(1, bench.last_seq());
    assert_eq!(bench.charger.next_wakeup(), Some(60_000));
    bench.input(Input::Unplugged);
    bench.acknowledge(1, bench.last_seq());
    assert_eq!(bench.charger.next_wakeup(), None);
}

#[test]
fn a_stop_stores_the_register_to_the_last_digit_and_says_goodbye() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.setpoint(1, 16_000, 10_000);
    bench.draw(16_000);
    bench.now_ms = 1_500;
    bench.input(Input::Stop);
    assert_eq!(bench.all::<Status>(Channel::Status).pop(), Some(Status { online: false, boot: Some(1) }));
    let after = Bench::restarted(ChargerConfig::default(), Some(&bench.stored), 0);
    assert_eq!(after.charger.energy(), bench.charger.energy());
    assert_eq!(after.charger.energy(), Energy { wh: WattHours(1), rest_uj: 1_920_000_000 });
}

#[test]
fn damaged_storage_is_refused_and_not_taken_as_a_new_device() {
    let bench = Bench::new(ChargerConfig::default());
    let mut bad = bench.stored.clone();
    bad[8] ^= 1;
    let refused = Charger::new(ChargerConfig::default(), Some(&bad), now(0)).map(|_| ());
    assert_eq!(refused, Err(SavedError::Damaged));
}

#[test]
fn a_device_that_does_not_number_sends_once_and_counts_setpoints_from_arrival() {
    let mut config = ChargerConfig::default();
    config.line.numbered = false;
    let mut bench = Bench::charging(config);
    let reading = bench.readings().pop().expect("sent");
    assert_eq!((reading.boot, reading.seq), (None, None));
    assert_eq!(bench.charger.unacknowledged(), 0);
    let setpoint =
        Setpoint { number: 1, limit_ma: Milliamps(16_000), validity_ms: Millis(10_000), seen: None };
    bench.now_ms = 500;
    bench.input(Input::Message { channel: Channel::Setpoint, payload: &message::encode(&setpoint) });
    assert_eq!(bench.charger.setpoint_in_force().map(|s| s.expires_ms), Some(10_500));
}

#[test]
fn a_clock_that_runs_back_neither_expires_nor_revives_anything() {
    let mut bench = Bench::charging(ChargerConfig::default());
    bench.setpoint(1, 16_000, 10_000);
    bench.tick_at(10_000);
    bench.tick_at(5_000);
    assert_eq!(bench.charger.setpoint_in_force(), None);
    assert_eq!(bench.limit_ma, Milliamps(0));
}

#[test]
fn a_meter_tells_what_it_measures_with_sign_and_passes_setpoints_over() {
    let mut meter = Meter::new(MeterConfig::default(), None, now(0)).expect("new");
    meter.handle(now(0), Input::Connected);
    let export = Measurement {
        current_ma: Some(Phases::new(&[Milliamps(-4_000), Milliamps(1_000), Milliamps(0)])),
        power_mw: -690_400,
        ..Measurement::default()
    };
    meter.handle(now(0), Input::Measured(export));
    meter.handle(now(10), Input::Message { channel: Channel::Setpoint, payload: b"{}" });
    let outputs: Vec<_> = std::iter::from_fn(|| meter.poll()).collect();
    let Some(Output::Publish(publish)) = outputs.last() else { panic!("{outputs:?}") };
    let reading: Reading = message::decode(&publish.payload).expect("ours");
    assert_eq!(reading.values().power_w.map(|w| w.0), Some(-690));
    assert_eq!((reading.state, reading.setpoint), (None, None));
    assert_eq!(meter.next_wakeup(), Some(1000));
}

#[test]
fn a_name_that_is_given_at_the_plug_holds_for_the_whole_stay() {
    let mut bench = Bench::new(ChargerConfig::default());
    bench.input(Input::Connected);
    let name = wattle_wire::SessionId::new("stay-7").expect("name");
    bench.input(Input::PluggedAs(name.clone()));
    bench.input(Input::Started(Start::default()));
    bench.input(Input::Unplugged);
    bench.input(Input::Plugged);
    let names: Vec<_> = bench.steps().into_iter().map(|step| step.session).collect();
    assert_eq!(names, [Some(name.clone()), Some(name.clone()), Some(name.clone()), Some(name), None]);
}
