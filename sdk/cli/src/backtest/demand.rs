//! What vehicles would have taken, which no history tells: assumed, and said.
//!
//! A history tells what a vehicle took, and whether it was done: one that ended before it was unplugged took all that it would
//! have taken. One that still asked as it left would have taken more, and nobody knows how much.

use wattle_edge_core::SiteModel;
use wattle_site::{ChargerKind, SiteFile};
use wattle_wire::{DeviceId, Micros, Milliamps, SessionId, UserId, WattHours};

use super::facts::Facts;
use crate::simulate::guest::{Guest, LEAST_MA};

/// What a vehicle takes beyond what it drew, Wh, if it still asked as it left and its user asked for no more: so that it still asks as
/// it leaves. Registers tell whole Wh.
pub const BEYOND_WH: i64 = 2;

/// Where the energy comes from that a vehicle takes, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// What it drew, if it ended by itself; else what its user asked for, and at least a little more than it drew
    Known,
    /// What it drew, and nothing more
    Drawn,
    /// What its user asked for; as `known` where nobody did
    Requested,
}

/// The assumptions of a backtest.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args, serde::Serialize)]
pub struct Assumed {
    /// What a vehicle takes, at most
    #[arg(long, value_enum, default_value = "known")]
    pub demand: Demand,
    /// That, times this: 0 to 100
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor, allow_negative_numbers = true)]
    pub factor: f64,
    /// The most that a vehicle draws on a phase where history doesn't tell, A; DC chargers give what they can
    #[arg(long, value_name = "A", default_value_t = 32, value_parser = clap::value_parser!(i32).range(6..=500))]
    pub vehicle_a: i32,
}

/// A stay as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Where.
    pub station: DeviceId,
    /// Its name.
    pub session: SessionId,
    /// Who charged.
    pub user: Option<UserId>,
    /// When it was plugged in.
    pub arrival: Micros,
    /// When its user started the charge.
    pub start: Micros,
    /// When it left.
    pub departure: Micros,
    /// Whether the charge ended before it left.
    pub ended_by_itself: bool,
    /// What it drew.
    pub drawn: WattHours,
    /// What its user asked for.
    pub requested: Option<WattHours>,
    /// When its user meant to leave.
    pub estimated_departure: Option<Micros>,
}

impl Assumed {
    /// What the vehicle of a stay takes, at most.
    pub fn need(&self, past: &Past) -> WattHours {
        let drawn = past.drawn.0.max(0);
        let known = match past.requested {
            _ if past.ended_by_itself => drawn,
            requested => requested.unwrap_or_default().0.max(drawn + BEYOND_WH),
        };
        let base = match self.demand {
            Demand::Known => known,
            Demand::Drawn => drawn,
            Demand::Requested => past.requested.map_or(known, |requested| requested.0.max(0)),
        };
        if self.factor == 1.0 {
            return WattHours(base);
        }
        WattHours((base as f64 * self.factor).round() as i64)
    }

    /// The vehicle of a stay, at a site with this file and model.
    pub fn guest(&self, past: &Past, facts: &Facts<'_>, site: &SiteFile, model: &SiteModel) -> Guest {
        let charger = model.chargers.iter().find(|charger| charger.id == past.station);
        let (least, most) = charger.map_or((LEAST_MA, Milliamps::ZERO), |c| (c.min_ma, c.max_ma));
        let drawn = facts.vehicle(&past.station, &past.session);
        let assumed = if is_dc(site, &past.station) { most } else { Milliamps::from_amps(self.vehicle_a) };
        Guest {
            station: past.station.clone(),
            session: past.session.clone(),
            arrival: past.arrival,
            start: past.start,
            departure: past.departure,
            need: self.need(past),
            min_ma: least.min(LEAST_MA),
            max_ma: drawn.own_most().unwrap_or_else(|| assumed.max(drawn.most_ma)),
            phases: if drawn.phases == 0 { facts.usual_phases() } else { drawn.phases },
            user: past.user.clone(),
            requested: past.requested,
            estimated_departure: past.estimated_departure,
        }
    }
}

fn is_dc(site: &SiteFile, station: &DeviceId) -> bool {
    let evses = site.outlets().map(|outlets| outlets.evses).unwrap_or_default();
    evses.iter().any(|evse| evse.charger.id == *station && evse.charger.kind == ChargerKind::Dc)
}

fn factor(text: &str) -> Result<f64, String> {
    let read = text.parse::<f64>().ok().filter(|factor| (0.0..=100.0).contains(factor));
    read.ok_or_else(|| format!("{text:?} is no factor from 0 to 100"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(demand: Demand, factor: f64, by_itself: bool, requested: Option<i64>, expected: i64) {
        let past = Past {
            station: "A".parse().expect("name"),
            session: "s".parse().expect("name"),
            user: None,
            arrival: Micros(0),
            start: Micros(0),
            departure: Micros(1),
            ended_by_itself: by_itself,
            drawn: WattHours(5_000),
            requested: requested.map(WattHours),
            estimated_departure: None,
        };
        let assumed = Assumed { demand, factor, vehicle_a: 32 };
        assert_eq!(assumed.need(&past).0, expected, "{demand:?} {factor} {by_itself} {requested:?}");
    }

    #[test]
    fn who_ended_by_itself_takes_what_it_drew_and_others_what_they_asked_for() {
        check(Demand::Known, 1.0, true, Some(9_000), 5_000);
        check(Demand::Known, 1.0, false, Some(9_000), 9_000);
        check(Demand::Known, 1.0, false, Some(4_000), 5_002);
        check(Demand::Known, 1.0, false, None, 5_002);
    }

    #[test]
    fn demand_can_be_set_and_multiplied() {
        check(Demand::Drawn, 1.0, false, Some(9_000), 5_000);
        check(Demand::Requested, 1.0, true, Some(9_000), 9_000);
        check(Demand::Requested, 1.0, false, None, 5_002);
        check(Demand::Known, 1.2, true, Some(9_000), 6_000);
        check(Demand::Drawn, 0.0, true, None, 0);
    }

    #[test]
    fn a_factor_is_a_number_from_0_to_100() {
        assert_eq!(factor("1.5"), Ok(1.5));
        for text in ["-1", "101", "NaN", "much"] {
            assert!(factor(text).is_err(), "{text}");
        }
    }
}
