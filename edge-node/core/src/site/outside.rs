//! What a site is told from outside: limits of circuits and of the whole for a time, prices, surplus.
//!
//! - Each of the site's systems ([`SiteModel::systems`](super::SiteModel)) has limits of its own, so that none lifts another's;
//!   the lowest of those that hold counts. A new one of the same system for the same circuit takes the place of the old.
//! - Of prices and surplus the last that was told counts, whoever said it.
//! - All of it ends by the clock: a limit with its moment, a series behind its last value.
//! - Bounds: [`MAX_SYSTEMS`] systems, and [`MAX_VALUES`] values in a series; what is beyond is cut off.

use std::collections::BTreeMap;

use wattle_wire::policy::{Series, Signals};
use wattle_wire::row::Cause;
use wattle_wire::{Micros, Millis, Watts};

use super::limits::Limit;
use super::{Due, Heard, MAX_SYSTEMS, Part, SiteMachine};

/// Values of a series that are kept. A week of five minutes.
pub(crate) const MAX_VALUES: usize = 2_016;

/// A limit that holds for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signalled {
    /// What the circuit may carry, whatever its breaker allows.
    pub limit: Limit,
    /// Until when.
    pub until_us: Micros,
}

#[derive(Debug, Clone)]
pub(super) struct Outside {
    /// Per circuit, and by system.
    pub(super) circuits: Vec<BTreeMap<usize, Signalled>>,
    /// By system: what the site may draw from the grid, W.
    pub(super) grid: BTreeMap<usize, Series>,
    pub(super) price: Option<Series>,
    pub(super) surplus_w: Option<Series>,
}

impl Outside {
    pub(super) fn new(circuits: usize) -> Self {
        let circuits = vec![BTreeMap::new(); circuits];
        Self { circuits, grid: BTreeMap::new(), price: None, surplus_w: None }
    }

    /// The limits that hold for a circuit now.
    pub(super) fn limits(
        &self,
        circuit: usize,
        now: Micros,
    ) -> impl Iterator<Item = (&'static str, Limit)> + '_ {
        let own = self.circuits[circuit].values().filter(move |signalled| signalled.until_us > now);
        let grid = self.grid.values().filter(move |_| circuit == 0);
        let grid = grid.filter_map(move |series| power_at(series, now));
        let grid = grid.map(|limit| ("grid operator", limit));
        own.map(|signalled| ("signal", signalled.limit)).chain(grid)
    }

    /// What a policy sees. A limit in W that was signalled for the grid connection is one for the site.
    fn shown(&self, now: Micros) -> Signals {
        let grid = self.grid.values().cloned();
        let own = self.circuits[0].values().filter(|signalled| signalled.until_us > now);
        let own = own.filter_map(|signalled| match signalled.limit {
            Limit::Power(power) => Some(Series {
                start_us: now,
                step_ms: Millis((signalled.until_us - now).0 / 1_000),
                values: vec![power.0.into()],
            }),
            Limit::Current(_) => None,
        });
        // One that holds goes before one that doesn't, then the lowest.
        let grid_limit_w = own.chain(grid).min_by_key(|series| {
            let value = series.at(now);
            (value.is_none(), value)
        });
        Signals { price: self.price.clone(), surplus_w: self.surplus_w.clone(), grid_limit_w }
    }
}

impl SiteMachine {
    /// Takes what a system says. What is for nothing that the site has, or of nobody that it knows, is passed over.
    pub(super) fn hear_from_outside(&mut self, part: Part, heard: Heard, now: Micros) -> Due {
        let outside = &mut self.outside;
        match (part, heard) {
            (Part::Circuit(circuit), Heard::Limit { by, limit })
                if circuit < outside.circuits.len() && by < MAX_SYSTEMS =>
            {
                replace(&mut outside.circuits[circuit], by, limit);
                return self.breach(now);
            }
            (Part::Site, Heard::GridLimit { by, limit }) if by < MAX_SYSTEMS => {
                replace(&mut outside.grid, by, limit.map(bounded));
            }
            (Part::Site, Heard::Price(price)) => outside.price = price.map(bounded),
            (Part::Site, Heard::Surplus(surplus)) => outside.surplus_w = surplus.map(bounded),
            _ => return Due::No,
        }
        match self.breach(now) {
            Due::No => Due::Now(Cause::Request),
            due => due,
        }
    }

    /// What a policy sees of the world outside.
    pub(super) fn snapshot_signals(&self) -> Signals {
        self.outside.shown(self.passing.clock())
    }
}

fn replace<T>(all: &mut BTreeMap<usize, T>, by: usize, new: Option<T>) {
    match new {
        Some(new) => drop(all.insert(by, new)),
        None => drop(all.remove(&by)),
    }
}

fn bounded(mut series: Series) -> Series {
    series.values.truncate(MAX_VALUES);
    series
}

/// A series of powers at a moment, as a limit.
fn power_at(series: &Series, now: Micros) -> Option<Limit> {
    let power = series.at(now)?.max(0);
    Some(Limit::Power(Watts(i32::try_from(power).unwrap_or(i32::MAX))))
}
