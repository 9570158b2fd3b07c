//! What is known of one charger, as it is written.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wattle_wire::message::{ChargerState, Number};
use wattle_wire::{Micros, Milliamps, WattHours};

use super::Since;
use super::track::{SavedTrack, Tracked};
use crate::replay::input::SavedStay;
use crate::site::anomaly::Anomalies;
use crate::site::ledger::{Ledger, Sent};
use crate::site::lend::{Lending, MOST_DOUBLINGS, Watched};
use crate::site::station::Station;

#[derive(Serialize, Deserialize)]
pub(super) struct SavedStation<T> {
    state: Option<ChargerState>,
    online: bool,
    heard: Option<i64>,
    seen: Option<Number>,
    stay: Option<SavedStay>,
    register: Option<WattHours>,
    soc_percent: Option<i32>,
    temperature_mc: Option<i32>,
    manual: Option<Milliamps>,
    manual_until: Option<Micros>,
    ledger: SavedLedger,
    track: T,
    commands: Vec<(i64, Milliamps)>,
    held: Vec<(Milliamps, i64)>,
    raise: Option<i64>,
    over: Option<i64>,
    over_reported: bool,
    anomalies: Vec<Option<(i64, bool)>>,
    lending: SavedLending,
    resumed: Option<i64>,
    paused: Option<i64>,
    rise: Milliamps,
}

#[derive(Serialize, Deserialize)]
struct SavedLedger {
    sent: Vec<SavedSent>,
    older: Vec<SavedSent>,
    inherited: Option<(Milliamps, i64)>,
    confirmed: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedSent {
    number: u64,
    limit: Milliamps,
    sent: i64,
    /// Counted on the time by which reservations end.
    expires: i64,
}

#[derive(Serialize, Deserialize)]
struct SavedLending {
    ceiling: Option<Milliamps>,
    watched: Option<(i64, [Milliamps; 3])>,
    doublings: u32,
}

impl SavedStation<SavedTrack> {
    pub(super) fn of(station: &Station, since: Since, sure: Micros) -> Self {
        let Station {
            state,
            online,
            heard_at,
            seen,
            stay,
            register,
            soc_percent,
            temperature_mc,
            manual,
            manual_until,
            ledger,
            track,
            commands,
            held,
            raise_since,
            over_since,
            over_reported,
            anomalies: Anomalies(anomalies),
            lending,
            // Found anew when a decision begins.
            held_off: _,
            resumed_at,
            paused_at,
            rise,
        } = station;
        let ago = |moment: &Option<Micros>| moment.map(|moment| since.ago(moment));
        Self {
            state: *state,
            online: *online,
            heard: ago(heard_at),
            seen: *seen,
            stay: stay.as_ref().map(SavedStay::of),
            register: *register,
            soc_percent: *soc_percent,
            temperature_mc: *temperature_mc,
            manual: *manual,
            manual_until: *manual_until,
            ledger: SavedLedger::of(ledger, since, sure),
            track: SavedTrack::of(track, since),
            commands: commands.iter().map(|(at, before)| (since.ago(*at), *before)).collect(),
            held: held.iter().map(|(held, until)| (*held, since.ago(*until))).collect(),
            raise: ago(raise_since),
            over: ago(over_since),
            over_reported: *over_reported,
            anomalies: save_anomalies(anomalies, since),
            lending: SavedLending::of(lending, since),
            resumed: ago(resumed_at),
            paused: ago(paused_at),
            rise: *rise,
        }
    }
}

/// Anomalies that a state has always had. Those behind them stand there only while they show, so that a state without them has the
/// bytes that it had before.
const FIRST_ANOMALIES: usize = 5;

fn save_anomalies(all: &[Option<(Micros, bool)>], since: Since) -> Vec<Option<(i64, bool)>> {
    let shown = all.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let saved = all.iter().take(shown.max(FIRST_ANOMALIES));
    saved.map(|one| one.map(|(at, told)| (since.ago(at), told))).collect()
}

impl<T: Tracked> SavedStation<T> {
    pub(super) fn load(self, since: Since, sure: Micros) -> Station {
        let at = |ago: Option<i64>| ago.map(|ago| since.at(ago));
        let mut anomalies = Anomalies::default();
        for (anomaly, saved) in anomalies.0.iter_mut().zip(self.anomalies) {
            *anomaly = saved.map(|(ago, told)| (since.at(ago), told));
        }
        Station {
            state: self.state,
            online: self.online,
            heard_at: at(self.heard),
            seen: self.seen,
            stay: self.stay.map(SavedStay::load),
            register: self.register,
            soc_percent: self.soc_percent,
            temperature_mc: self.temperature_mc,
            manual: self.manual,
            manual_until: self.manual_until,
            ledger: self.ledger.load(since, sure),
            track: self.track.load(since),
            commands: self.commands.into_iter().map(|(ago, before)| (since.at(ago), before)).collect(),
            held: self.held.into_iter().map(|(held, ago)| (held, since.at(ago))).collect(),
            raise_since: at(self.raise),
            over_since: at(self.over),
            over_reported: self.over_reported,
            anomalies,
            lending: self.lending.load(since),
            held_off: None,
            resumed_at: at(self.resumed),
            paused_at: at(self.paused),
            rise: self.rise,
        }
    }
}

impl SavedLedger {
    fn of(ledger: &Ledger, since: Since, sure: Micros) -> Self {
        let Ledger { sent, older, inherited, confirmed } = ledger;
        let save = |sent: &Sent| {
            let Sent { number, limit, sent_at, expires_at } = *sent;
            SavedSent { number, limit, sent: since.ago(sent_at), expires: Since(sure).ago(expires_at) }
        };
        Self {
            sent: sent.iter().map(save).collect(),
            older: older.iter().map(save).collect(),
            inherited: inherited.map(|(limit, expires_at)| (limit, Since(sure).ago(expires_at))),
            confirmed: *confirmed,
        }
    }

    fn load(self, since: Since, sure: Micros) -> Ledger {
        let load = |saved: SavedSent| Sent {
            number: saved.number,
            limit: saved.limit,
            sent_at: since.at(saved.sent),
            expires_at: Since(sure).at(saved.expires),
        };
        Ledger {
            sent: self.sent.into_iter().map(load).collect::<VecDeque<_>>(),
            older: self.older.into_iter().map(load).collect(),
            inherited: self.inherited.map(|(limit, ago)| (limit, Since(sure).at(ago))),
            confirmed: self.confirmed,
        }
    }
}

impl SavedLending {
    fn of(lending: &Lending, since: Since) -> Self {
        let Lending { ceiling, watched, doublings } = *lending;
        let watched = watched.map(|watched| {
            let Watched { since: from, limit, first, most } = watched;
            (since.ago(from), [limit, first, most])
        });
        Self { ceiling, watched, doublings }
    }

    fn load(self, since: Since) -> Lending {
        let watched = self.watched.map(|(ago, [limit, first, most])| Watched {
            since: since.at(ago),
            limit,
            first,
            most,
        });
        Lending { ceiling: self.ceiling, watched, doublings: self.doublings.min(MOST_DOUBLINGS) }
    }
}
