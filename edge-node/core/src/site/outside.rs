//! What a site is told from outside: limits of circuits and of the whole for a time, prices, surplus.
//!
//! - Each of the site's systems ([`SiteModel::systems`](super::SiteModel)) has limits of its own, so that none lifts another's;
//!   the lowest of those that hold counts. A new one of the same system for the same circuit takes the place of the old.
//! - Of prices and surplus the last that was told counts, whoever said it.
//! - A series that begins later leaves those before it the time until then ([`super::succession`]): a limit for tomorrow lifts none
//!   of today.
//! - All of it ends by the clock: a limit with its moment, a series behind its last value.
//! - Bounds: [`MAX_SYSTEMS`] systems, [`MAX_VALUES`] values in a series, what is beyond is cut off, and a few series of a kind.

use std::collections::BTreeMap;

use wattle_wire::policy::{Series, Signals};
use wattle_wire::row::Cause;
use wattle_wire::{Micros, Millis, Watts};

use super::limits::Limit;
use super::{Due, Heard, MAX_SYSTEMS, Part, SiteMachine, succession};

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
    pub(super) grid: BTreeMap<usize, Vec<Series>>,
    pub(super) price: Vec<Series>,
    pub(super) surplus_w: Vec<Series>,
}

impl Outside {
    pub(super) fn new(circuits: usize) -> Self {
        let circuits = vec![BTreeMap::new(); circuits];
        Self { circuits, grid: BTreeMap::new(), price: Vec::new(), surplus_w: Vec::new() }
    }

    /// The limits that hold for a circuit now.
    pub(super) fn limits(
        &self,
        circuit: usize,
        now: Micros,
    ) -> impl Iterator<Item = (&'static str, Limit)> + '_ {
        let own = self.circuits[circuit].values().filter(move |signalled| signalled.until_us > now);
        let grid = self.grid.values().filter(move |_| circuit == 0);
        let grid = grid.filter_map(move |line| succession::at(line, now));
        let grid = grid.map(|watts| ("grid operator", power(watts)));
        own.map(|signalled| ("signal", signalled.limit)).chain(grid)
    }

    /// What a policy sees. A limit in W that was signalled for the grid connection is one for the site.
    fn shown(&self, now: Micros) -> Signals {
        let grid = self.grid.values().filter_map(|line| succession::shown(line, now));
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
        let [price, surplus_w] = [&self.price, &self.surplus_w].map(|line| succession::shown(line, now));
        Signals { price, surplus_w, grid_limit_w }
    }
}

impl SiteMachine {
    /// Takes what a system says. What is for nothing that the site has, or of nobody that it knows, is passed over.
    pub(super) fn hear_from_outside(&mut self, part: Part, heard: Heard, now: Micros) -> Due {
        let (outside, clock) = (&mut self.outside, self.passing.clock());
        match (part, heard) {
            (Part::Circuit(circuit), Heard::Limit { by, limit })
                if circuit < outside.circuits.len() && by < MAX_SYSTEMS =>
            {
                match limit {
                    Some(limit) => drop(outside.circuits[circuit].insert(by, limit)),
                    None => drop(outside.circuits[circuit].remove(&by)),
                }
                return self.breach(now);
            }
            (Part::Site, Heard::GridLimit { by, limit }) if by < MAX_SYSTEMS => {
                take(outside.grid.entry(by).or_default(), limit, clock);
            }
            (Part::Site, Heard::Price(price)) => take(&mut outside.price, price, clock),
            (Part::Site, Heard::Surplus(surplus)) => take(&mut outside.surplus_w, surplus, clock),
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

/// Takes a series, or that there is none any more.
fn take(line: &mut Vec<Series>, new: Option<Series>, clock: Micros) {
    let Some(mut new) = new else { return line.clear() };
    new.values.truncate(MAX_VALUES);
    succession::take_over(line, new, |series| series.start_us, clock);
}

fn power(watts: i64) -> Limit {
    Limit::Power(Watts(i32::try_from(watts.max(0)).unwrap_or(i32::MAX)))
}
