//! The entries of one journal, of one site, in order: decisions made again and compared.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use wattle_edge_core::replay::{Keyframe, Moment, PlayError, Player, Stage};
use wattle_edge_core::{Outcome, Proposal};
use wattle_site::SiteFile;
use wattle_wire::policy::Plan;
use wattle_wire::row::{Cause, Decision, Event, EventKind, Record, Row};
use wattle_wire::{Micros, SiteId};

use super::pack;
use super::shelf::{Shelf, Unavailable};
use super::tally::{Difference, MOST_KEPT, Stretch, Tally};
use crate::policy::shadow;
use crate::{down, site_model};

/// Hears of each decision that is made again, recorded or not.
pub trait Audience {
    /// It is being decided by this; `site` is the configuration.
    fn deciding(&mut self, _moment: Moment<'_>, _proposal: &Proposal, _site: &SiteFile) {}
    /// It was decided.
    fn decided(&mut self, _at: Micros, _outcome: &Outcome) {}
    /// A recorded decision was found again, the same or not.
    fn recorded(&mut self, _record: &Record, _is_same: bool) {}
}

/// Hears nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Audience for Silent {}

/// Decisions of policies in shadow that wait for their rows; of most there are none.
const MOST_IMAGINED: usize = 1_000;

/// A replay. Feed it with [`Replay::take`], and end it with [`Replay::end`].
pub struct Replay<A> {
    site: SiteId,
    shelf: Shelf,
    range: RangeInclusive<Micros>,
    audience: A,
    playing: Option<Playing>,
    /// What can't be replayed, as far as it goes by now.
    lost: Option<Stretch>,
    /// Entries that are no more before anything is played: they take nothing away unless a decision follows before a keyframe.
    missing: Option<Stretch>,
    /// The last entry that was taken.
    last: (u64, Micros),
    /// Decisions that had been made when the last stretch ended.
    made_before: u64,
    tally: Tally,
}

struct Playing {
    player: Player,
    site: SiteFile,
    /// The program that has written the keyframe.
    program: String,
    /// Decisions and events that were made again and whose rows are to come.
    made: VecDeque<(Micros, Row)>,
    /// What policies in shadow would have decided and is not found among the rows yet, the oldest first.
    imagined: VecDeque<(Micros, Decision)>,
    /// Events that may be of the machine's making and stand before the ticks that make them.
    heard: VecDeque<(u64, Micros, Row)>,
}

impl<A: Audience> Replay<A> {
    /// A replay of a site's decisions whose moments are in `range`. Policies are found on `shelf`.
    pub fn new(site: SiteId, shelf: Shelf, range: RangeInclusive<Micros>, audience: A) -> Self {
        let (tally, last) = (Tally::default(), (0, Micros::ZERO));
        let (playing, lost, missing) = (None, None, None);
        Self { site, shelf, range, audience, playing, lost, missing, last, made_before: 0, tally }
    }

    /// Who hears of it.
    pub fn audience(&self) -> &A {
        &self.audience
    }

    /// Takes the next entry of the journal. Entries of other sites are passed over.
    pub fn take(&mut self, record: &Record) {
        match &record.row {
            Row::Gap(gap) => {
                let text =
                    format!("the entries {} to {} are no more ({})", gap.from, gap.to, gap.reason.as_str());
                self.lose(record, text);
            }
            Row::Event(event) if event.site == self.site => self.event(record, event),
            Row::Decision(decision) if decision.site == self.site => self.decision(record, decision),
            Row::Reading(reading) if reading.site == self.site => {
                if let Some(playing) = &mut self.playing {
                    playing.player.row(record.at_us, &record.row);
                }
            }
            _ => return,
        }
        self.last = (record.sequence, record.at_us);
    }

    /// Ends it: what it has come to, and who has heard of it.
    pub fn end(mut self) -> (Tally, A) {
        self.close_stretch(self.last);
        (self.tally, self.audience)
    }

    fn event(&mut self, record: &Record, event: &Event) {
        match event.kind {
            EventKind::Keyframe => self.keyframe(record, event),
            EventKind::Ticks => self.ticks(record, event),
            // What the run before has not written any more nobody can know; its recorded decisions stand before.
            EventKind::NodeStarted => self.playing = None,
            kind => {
                let Some(playing) = &mut self.playing else { return };
                playing.player.row(record.at_us, &record.row);
                if is_machine_made(kind) {
                    playing.heard.push_back((record.sequence, record.at_us, record.row.clone()));
                    self.match_up();
                }
            }
        }
    }

    fn keyframe(&mut self, record: &Record, event: &Event) {
        let keyframe = pack::bytes(event).and_then(|bytes| Keyframe::decode(&bytes));
        let keyframe = match keyframe {
            Ok(keyframe) => keyframe,
            Err(error) => return self.lose(record, error.to_string()),
        };
        down::settings_in(&keyframe.configuration).for_each(|settings| self.shelf.learn(settings));
        let mut imagined = VecDeque::new();
        match self.playing.take() {
            Some(mut playing) if playing.player.is_at(&keyframe) => {
                self.compare(record, &playing, &keyframe);
                // Their rows may be on their way.
                imagined = std::mem::take(&mut playing.imagined);
            }
            Some(_) => {
                self.lose(record, "rows or ticks before this keyframe were not journaled".to_owned());
                self.tally.begun += 1;
            }
            None => self.tally.begun += 1,
        }
        match begin(keyframe) {
            Ok(playing) => {
                self.close_stretch(self.last);
                self.missing = None;
                self.playing = Some(Playing { imagined, ..playing });
            }
            Err(reason) => self.lose(record, reason),
        }
    }

    /// Compares the state that the replay has come to with a keyframe of the same moment.
    fn compare(&mut self, record: &Record, playing: &Playing, keyframe: &Keyframe) {
        if !self.range.contains(&record.at_us) {
            return;
        }
        if playing.player.agrees_with(keyframe) && playing.made.is_empty() {
            self.tally.keyframes_same += 1;
            return;
        }
        self.tally.keyframes_different += 1;
        let text = match playing.made.front() {
            Some((at, _)) => format!("a row that was made at {} us was not recorded", at.0),
            None => "the state of the site's machine is another than the one that was written".to_owned(),
        };
        let made = playing.made.front().map(|(_, row)| Box::new(row.clone()));
        self.differs(Difference { sequence: record.sequence, at: record.at_us, recorded: None, made, text });
    }

    fn ticks(&mut self, record: &Record, event: &Event) {
        let Some(playing) = &mut self.playing else { return };
        let bytes = match pack::bytes(event) {
            Ok(bytes) => bytes,
            Err(error) => return self.lose(record, error.to_string()),
        };
        let mut conductor = Conductor {
            shelf: &mut self.shelf,
            site: &playing.site,
            audience: &mut self.audience,
            made: &mut playing.made,
            imagined: &mut playing.imagined,
            count: 0,
        };
        let played = playing.player.play(&bytes, &mut conductor);
        self.tally.made += conductor.count;
        match played {
            Ok(()) => self.match_up(),
            Err(PlayError::Stage(unavailable @ Unavailable::Fails(_))) => {
                let (sequence, at) = (record.sequence, record.at_us);
                let text = unavailable.to_string();
                self.differs(Difference { sequence, at, recorded: None, made: None, text: text.clone() });
                self.tally.different += 1;
                self.lose(record, text);
            }
            // It goes on all the same, to show what comes of it.
            Err(error @ PlayError::Told) => {
                self.tally.different += 1;
                let (sequence, at, text) = (record.sequence, record.at_us, error.to_string());
                self.differs(Difference { sequence, at, recorded: None, made: None, text });
                self.match_up();
            }
            Err(error) => self.lose(record, error.to_string()),
        }
    }

    /// Sets the machine's events that were recorded against those that were made again.
    fn match_up(&mut self) {
        let Some(playing) = &mut self.playing else { return };
        while let Some((sequence, at, recorded)) = playing.heard.pop_front() {
            match playing.made.front() {
                Some((made_at, made)) if *made_at == at && *made == recorded => {
                    playing.made.pop_front();
                }
                // Not made yet.
                None => {
                    playing.heard.push_front((sequence, at, recorded));
                    return;
                }
                // Noted by who runs the policies.
                _ if is_noted_elsewhere(&recorded) => {}
                Some((_, made)) => {
                    let made = Some(Box::new(made.clone()));
                    let text = "the site's machine says something else".to_owned();
                    playing.made.pop_front();
                    let recorded = Some(Box::new(recorded));
                    self.tally.different += 1;
                    return self.differs(Difference { sequence, at, recorded, made, text });
                }
            }
        }
    }

    fn decision(&mut self, record: &Record, decision: &Decision) {
        let is_in_range = self.range.contains(&record.at_us);
        if decision.cause == Cause::Shadow {
            return self.shadow(record, decision, is_in_range);
        }
        let Some(playing) = &mut self.playing else {
            self.tally.not_replayed += u64::from(is_in_range);
            self.lose(record, "no keyframe stands before it".to_owned());
            return;
        };
        let made = playing.made.pop_front();
        let is_same = made.as_ref().is_some_and(|(at, made)| *at == record.at_us && is_same(made, decision));
        if is_in_range {
            self.audience.recorded(record, is_same);
            self.tally.same += u64::from(is_same);
        }
        if is_same || !is_in_range {
            return;
        }
        self.tally.different += 1;
        let text = made.as_ref().map_or("no decision comes out".to_owned(), |(at, made)| {
            if *at == record.at_us {
                differing(decision, made)
            } else {
                format!("it comes out at {} us", at.0)
            }
        });
        let made = made.map(|(_, row)| Box::new(row));
        let (sequence, at) = (record.sequence, record.at_us);
        self.differs(Difference { sequence, at, recorded: Some(Box::new(record.row.clone())), made, text });
    }

    /// Compares what a policy in shadow would have decided, as recorded, with what it would by now.
    fn shadow(&mut self, record: &Record, decision: &Decision, is_in_range: bool) {
        let at = record.at_us;
        let made = self.playing.as_mut().and_then(|playing| {
            let imagined = &mut playing.imagined;
            while imagined.front().is_some_and(|(made_at, _)| *made_at < at) {
                imagined.pop_front();
            }
            let is_of_it = |(made_at, made): &(Micros, Decision)| {
                let who = |decision: &Decision| (decision.policy_digest, decision.settings_digest);
                *made_at == at && who(made) == who(decision)
            };
            imagined.iter().position(is_of_it).and_then(|place| imagined.remove(place))
        });
        if !is_in_range {
            return;
        }
        let Some((_, made)) = made else {
            self.tally.shadows.not_replayed += 1;
            return;
        };
        let made = Row::Decision(made);
        if is_same(&made, decision) {
            self.tally.shadows.same += 1;
            return;
        }
        self.tally.shadows.different += 1;
        let text = format!("in shadow; {}", differing(decision, &made));
        let (sequence, made) = (record.sequence, Some(Box::new(made)));
        self.differs(Difference { sequence, at, recorded: Some(Box::new(record.row.clone())), made, text });
    }

    fn differs(&mut self, mut difference: Difference) {
        if let Some(playing) = self.playing.as_ref().filter(|playing| playing.program != super::PROGRAM) {
            difference.text +=
                &format!("\nit was decided by {}, this is {}", playing.program, super::PROGRAM);
        }
        if self.tally.differences.len() < MOST_KEPT {
            self.tally.differences.push(difference);
        }
    }

    /// Nothing can be replayed from this entry on.
    fn lose(&mut self, record: &Record, reason: String) {
        let was_playing = self.playing.take().is_some();
        if self.lost.is_some() {
            return;
        }
        let (from, from_at) = (record.sequence, record.at_us);
        let stretch = Stretch { from, to: from, from_at, to_at: from_at, reason };
        if !was_playing && matches!(record.row, Row::Gap(_)) {
            self.missing.get_or_insert(stretch);
            return;
        }
        self.lost = Some(match self.missing.take() {
            Some(missing) => Stretch { reason: format!("{}; {}", missing.reason, stretch.reason), ..missing },
            None => stretch,
        });
    }

    fn close_stretch(&mut self, (to, to_at): (u64, Micros)) {
        let Some(mut lost) = self.lost.take() else { return };
        (lost.to, lost.to_at) = (to.max(lost.from), to_at.max(lost.from_at));
        let is_in_range = lost.from_at <= *self.range.end() && lost.to_at >= *self.range.start();
        let made = std::mem::replace(&mut self.made_before, self.tally.made);
        let has_room = self.tally.stretches.len() < MOST_KEPT;
        match self.tally.stretches.last_mut() {
            _ if !is_in_range => {}
            // Nothing could be made in between.
            Some(last) if made == self.tally.made && last.reason == lost.reason => {
                (last.to, last.to_at) = (lost.to, lost.to_at);
            }
            _ if has_room => self.tally.stretches.push(lost),
            _ => {}
        }
    }
}

fn begin(keyframe: Keyframe) -> Result<Playing, String> {
    let site = SiteFile::recorded("the keyframe's configuration", &keyframe.configuration)
        .map_err(|problems| problems.to_string())?;
    let player = Player::new(site_model(&site), &keyframe)
        .map_err(|error| format!("{error}; it was written by {}", keyframe.program))?;
    let program = keyframe.program;
    let (made, heard, imagined) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
    Ok(Playing { player, site, program, made, imagined, heard })
}

/// Events that a site's machine makes.
fn is_machine_made(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::MeterStale
            | EventKind::MeterBack
            | EventKind::OverDraw
            | EventKind::OverLimit
            | EventKind::Anomaly
            | EventKind::PolicyFailed
    )
}

fn is_noted_elsewhere(row: &Row) -> bool {
    matches!(row, Row::Event(event) if event.kind == EventKind::PolicyFailed)
}

/// A lake gives the chargers of a decision in any order.
fn is_same(made: &Row, recorded: &Decision) -> bool {
    matches!(made, Row::Decision(made) if made == recorded)
}

/// What of a decision comes out otherwise, for people.
fn differing(recorded: &Decision, made: &Row) -> String {
    let Row::Decision(made) = made else { return "an event comes out".to_owned() };
    let mut all = Vec::new();
    let mut look = |what: &str, a: String, b: String| {
        if a != b {
            all.push(format!("{what}: recorded {a}, made {b}"));
        }
    };
    look("cause", recorded.cause.as_str().into(), made.cause.as_str().into());
    look("policy", recorded.policy.clone(), made.policy.clone());
    look("component", format!("{:016x}", recorded.policy_digest), format!("{:016x}", made.policy_digest));
    look("settings", format!("{:016x}", recorded.settings_digest), format!("{:016x}", made.settings_digest));
    look("fuel", recorded.fuel.to_string(), made.fuel.to_string());
    look("state", format!("{:02x?}", recorded.state), format!("{:02x?}", made.state));
    look("chargers", recorded.chargers.len().to_string(), made.chargers.len().to_string());
    for (a, b) in recorded.circuits.iter().zip(&made.circuits) {
        let of =
            |phases: wattle_wire::PerPhase<wattle_wire::Milliamps>| format!("{:?}", phases.0.map(|i| i.0));
        let name = &a.circuit;
        look(&format!("{name} limit_ma"), of(a.limit_ma), of(b.limit_ma));
        look(&format!("{name} uncontrolled_ma"), of(a.uncontrolled_ma), of(b.uncontrolled_ma));
        look(&format!("{name} reserved_ma"), of(a.reserved_ma), of(b.reserved_ma));
    }
    for (a, b) in recorded.chargers.iter().zip(&made.chargers) {
        let name = &a.charger;
        look(&format!("{name} proposed"), a.proposed_ma.to_string(), b.proposed_ma.to_string());
        look(&format!("{name} setpoint"), a.setpoint_ma.to_string(), b.setpoint_ma.to_string());
        look(&format!("{name} number"), a.number.to_string(), b.number.to_string());
        look(&format!("{name} reason"), format!("{:?}", a.reason), format!("{:?}", b.reason));
    }
    if all.is_empty() { "they differ".to_owned() } else { all.join("\n") }
}

/// Plays the policies.
struct Conductor<'a, A> {
    shelf: &'a mut Shelf,
    site: &'a SiteFile,
    audience: &'a mut A,
    made: &'a mut VecDeque<(Micros, Row)>,
    imagined: &'a mut VecDeque<(Micros, Decision)>,
    count: u64,
}

impl<A: Audience> Stage for Conductor<'_, A> {
    type Error = Unavailable;

    fn plan(&mut self, moment: Moment<'_>) -> Result<(Plan, u64), Unavailable> {
        let version = self.shelf.version(moment.asked, self.site)?;
        let decided = version.decide(moment.snapshot, moment.state).map_err(|error| {
            let name = version.name();
            Unavailable::Fails(format!("{name} gives no plan now, although it gave one then: {error}"))
        })?;
        Ok((decided.plan, decided.fuel))
    }

    fn deciding(&mut self, moment: Moment<'_>, proposal: &Proposal) {
        self.audience.deciding(moment, proposal, self.site);
    }

    fn beside(&mut self, moment: Moment<'_>) -> Option<Vec<u8>> {
        let version = self.shelf.version(moment.asked, self.site).ok()?;
        let Ok(decided) = version.decide(moment.snapshot, moment.state) else {
            return Some(moment.state.to_vec());
        };
        let left = decided.plan.state.clone();
        if let Some(decision) = shadow::imagined(version, decided, moment.machine, moment.at) {
            if self.imagined.len() == MOST_IMAGINED {
                self.imagined.pop_front();
            }
            self.imagined.push_back((moment.at, decision));
        }
        Some(left)
    }

    fn decided(&mut self, at: Micros, outcome: Outcome) {
        self.count += 1;
        self.audience.decided(at, &outcome);
        self.made.extend(outcome.rows.into_iter().map(|row| (at, row)));
    }
}
