//! The stays of vehicles, from a device's session events.
//!
//! - Events of one session are joined by its id; the first event of a kind counts, later ones change nothing.
//! - Energy is the difference of the registers at start and end. A start without a register takes that of the
//!   plug, an end without one that of the unplug.
//! - A session ends with `ended`, else with `unplugged`. If neither came and the same device has begun another
//!   session, it ended unseen: the last good reading of it stands for its end and `end_estimated` is set. The same holds for
//!   an end that came without any register. An estimated end is never billed silently.
//! - Where the energy can't be told (no register at the start, a register that fell), it is none, and `note` says
//!   why.

use std::collections::BTreeMap;

use wattle_wire::{Micros, WattHours};

/// The steps of a stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The vehicle was plugged in.
    Plugged,
    /// A user started the charge.
    Started,
    /// The charge has ended.
    Ended,
    /// The vehicle was unplugged.
    Unplugged,
}

impl Step {
    /// The step that an event of this kind is, if it is one.
    pub fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            "plugged" => Some(Self::Plugged),
            "started" => Some(Self::Started),
            "ended" => Some(Self::Ended),
            "unplugged" => Some(Self::Unplugged),
            _ => None,
        }
    }
}

/// A session event of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEvent {
    /// The session that it names.
    pub session: String,
    /// Which step.
    pub step: Step,
    /// Its moment.
    pub at: Micros,
    /// The energy register at that moment.
    pub register: Option<WattHours>,
    /// With a start: who.
    pub user: Option<String>,
    /// With a start: the energy asked for.
    pub requested: Option<WattHours>,
    /// With a start: when the user means to leave.
    pub departure: Option<Micros>,
}

/// The last good reading of a session that has a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReading {
    /// Its moment.
    pub at: Micros,
    /// Its register.
    pub register: WattHours,
}

/// One stay of one vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// Who charged; none when nobody started.
    pub user: Option<String>,
    /// When the vehicle was plugged in.
    pub plugged_at: Option<Micros>,
    /// When the charge was started.
    pub started_at: Option<Micros>,
    /// When it ended.
    pub ended_at: Option<Micros>,
    /// When the vehicle was unplugged.
    pub unplugged_at: Option<Micros>,
    /// The register at the start.
    pub register_start: Option<WattHours>,
    /// The register at the end.
    pub register_end: Option<WattHours>,
    /// What was drawn; none while the session is open, and where it can't be told.
    pub energy: Option<WattHours>,
    /// What the user asked for.
    pub requested: Option<WattHours>,
    /// When the user meant to leave.
    pub departure: Option<Micros>,
    /// Whether it has ended.
    pub closed: bool,
    /// Whether its end or its last register was taken from the last reading.
    pub end_estimated: bool,
    /// Why there is no energy though it is closed: `no_start_register`, `no_end_register`, `register_fell`.
    pub note: Option<&'static str>,
}

impl Session {
    /// The earliest moment that is known of it.
    pub fn first_at(&self) -> Option<Micros> {
        [self.plugged_at, self.started_at, self.ended_at, self.unplugged_at].into_iter().flatten().min()
    }
}

/// The sessions of one device in order of their first event, from its session events in order of time.
///
/// `last_reading` gives the last good reading of a session; it is asked only where an end is missing.
pub fn sessions(events: &[StepEvent], last_reading: impl Fn(&str) -> Option<LastReading>) -> Vec<Session> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut stays: Vec<(&str, Steps<'_>)> = Vec::new();
    for event in events {
        let id = event.session.as_str();
        let place = *places.entry(id).or_insert_with(|| {
            stays.push((id, Steps::default()));
            stays.len() - 1
        });
        if let Some((_, steps)) = stays.get_mut(place) {
            steps.take(event);
        }
    }
    let count = stays.len();
    let built = stays.into_iter().enumerate();
    built.map(|(index, (id, steps))| steps.session(id, index + 1 < count, &last_reading)).collect()
}

/// The first event of each step of one session.
#[derive(Default)]
struct Steps<'a> {
    plugged: Option<&'a StepEvent>,
    started: Option<&'a StepEvent>,
    ended: Option<&'a StepEvent>,
    unplugged: Option<&'a StepEvent>,
}

impl<'a> Steps<'a> {
    fn take(&mut self, event: &'a StepEvent) {
        let slot = match event.step {
            Step::Plugged => &mut self.plugged,
            Step::Started => &mut self.started,
            Step::Ended => &mut self.ended,
            Step::Unplugged => &mut self.unplugged,
        };
        slot.get_or_insert(event);
    }

    fn session(
        &self,
        id: &str,
        followed: bool,
        last_reading: &impl Fn(&str) -> Option<LastReading>,
    ) -> Session {
        let register_start = register(self.started).or(register(self.plugged));
        let end = self.ended.or(self.unplugged);
        let measured_end = register(self.ended).or(register(self.unplugged));
        let closed = end.is_some() || followed;
        let guess = if closed && measured_end.is_none() { last_reading(id) } else { None };
        let register_end = measured_end.or(guess.map(|reading| reading.register));
        let (energy, note) = if closed { energy(register_start, register_end) } else { (None, None) };
        Session {
            id: id.to_owned(),
            user: self.started.and_then(|event| event.user.clone()),
            plugged_at: self.plugged.map(|event| event.at),
            started_at: self.started.map(|event| event.at),
            ended_at: end.map(|event| event.at).or(guess.map(|reading| reading.at)),
            unplugged_at: self.unplugged.map(|event| event.at),
            register_start,
            register_end,
            energy,
            requested: self.started.and_then(|event| event.requested),
            departure: self.started.and_then(|event| event.departure),
            closed,
            end_estimated: closed && measured_end.is_none(),
            note,
        }
    }
}

fn register(event: Option<&StepEvent>) -> Option<WattHours> {
    event.and_then(|event| event.register).filter(|register| register.0 >= 0)
}

fn energy(start: Option<WattHours>, end: Option<WattHours>) -> (Option<WattHours>, Option<&'static str>) {
    match (start, end) {
        (None, _) => (None, Some("no_start_register")),
        (_, None) => (None, Some("no_end_register")),
        (Some(start), Some(end)) if end < start => (None, Some("register_fell")),
        (Some(start), Some(end)) => (Some(end - start), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(session: &str, step: Step, at: i64, register: Option<i64>) -> StepEvent {
        let started = step == Step::Started;
        StepEvent {
            session: session.to_owned(),
            step,
            at: Micros::from_secs(at),
            register: register.map(WattHours),
            user: started.then(|| "u1".to_owned()),
            requested: started.then_some(WattHours(9000)),
            departure: started.then_some(Micros::from_secs(99)),
        }
    }

    fn whole(session: &str, from: i64, registers: (i64, i64)) -> Vec<StepEvent> {
        vec![
            event(session, Step::Plugged, from, Some(registers.0)),
            event(session, Step::Started, from + 1, Some(registers.0)),
            event(session, Step::Ended, from + 2, Some(registers.1)),
            event(session, Step::Unplugged, from + 3, Some(registers.1)),
        ]
    }

    fn none(_: &str) -> Option<LastReading> {
        None
    }

    fn last(_: &str) -> Option<LastReading> {
        Some(LastReading { at: Micros::from_secs(50), register: WattHours(700) })
    }

    #[test]
    fn a_whole_stay_has_its_times_its_user_and_its_energy() {
        let found = sessions(&whole("s", 10, (100, 5100)), none);
        assert_eq!(found.len(), 1);
        let session = &found[0];
        assert_eq!(session.energy, Some(WattHours(5000)));
        assert_eq!(session.user.as_deref(), Some("u1"));
        assert_eq!(session.requested, Some(WattHours(9000)));
        assert_eq!(
            [session.plugged_at, session.started_at, session.ended_at, session.unplugged_at],
            [10, 11, 12, 13].map(|s| Some(Micros::from_secs(s)))
        );
        assert!(session.closed && !session.end_estimated && session.note.is_none());
    }

    #[test]
    fn a_stay_without_an_end_is_open_and_has_no_energy() {
        let found = sessions(&whole("s", 10, (100, 5100))[..2], last);
        assert!(!found[0].closed && !found[0].end_estimated);
        assert_eq!((found[0].energy, found[0].ended_at), (None, None));
    }

    #[test]
    fn an_unplug_ends_a_charge_that_nobody_ended() {
        let mut events = whole("s", 10, (100, 5100));
        events.remove(2);
        let found = sessions(&events, last);
        assert_eq!(
            (found[0].energy, found[0].ended_at),
            (Some(WattHours(5000)), Some(Micros::from_secs(13)))
        );
        assert!(!found[0].end_estimated);
    }

    #[test]
    fn the_next_stay_closes_one_whose_end_was_lost_and_marks_it() {
        let mut events = whole("lost", 10, (100, 0))[..2].to_vec();
        events.extend(whole("next", 60, (800, 900)));
        let found = sessions(&events, last);
        assert!(found[0].closed && found[0].end_estimated);
        assert_eq!(found[0].energy, Some(WattHours(600)));
        assert_eq!(found[0].ended_at, Some(Micros::from_secs(50)));
        assert_eq!(found[1].energy, Some(WattHours(100)));
        assert!(!found[1].end_estimated);
    }

    #[test]
    fn a_lost_end_without_any_reading_has_no_energy() {
        let mut events = whole("lost", 10, (100, 0))[..2].to_vec();
        events.extend(whole("next", 60, (800, 900)));
        let found = sessions(&events, none);
        assert_eq!((found[0].energy, found[0].note), (None, Some("no_end_register")));
        assert!(found[0].end_estimated);
    }

    #[test]
    fn registers_that_make_no_sense_give_no_energy_and_say_why() {
        let fell = sessions(&whole("s", 0, (500, 400)), none);
        assert_eq!((fell[0].energy, fell[0].note), (None, Some("register_fell")));
        let mut events = whole("s", 0, (500, 600));
        events[0].register = None;
        events[1].register = Some(WattHours(-1));
        let unknown = sessions(&events, none);
        assert_eq!((unknown[0].energy, unknown[0].note), (None, Some("no_start_register")));
    }

    #[test]
    fn a_step_that_comes_again_changes_nothing() {
        let mut events = whole("s", 10, (100, 5100));
        let once = sessions(&events, none);
        events.push(event("s", Step::Ended, 90, Some(9999)));
        assert_eq!(sessions(&events, none), once);
        assert!(sessions(&[], none).is_empty());
    }

    #[test]
    fn only_the_four_steps_are_steps() {
        assert_eq!(Step::of_kind("ended"), Some(Step::Ended));
        assert_eq!(Step::of_kind("online"), None);
    }
}
