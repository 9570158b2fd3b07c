//! What must fit in a circuit beside the largest expected load: its fallback budget, and what chargers fall back to by themselves.

use wattle_wire::{Milliamps, Phase, Watts};

use super::chargers::{counts_on, way};
use super::show;
use crate::file::{Circuit, SiteFile};
use crate::problem::Problems;

/// Adds every circuit in which something doesn't fit; `site` has each connector as a charger by itself.
pub fn check(file: &str, site: &SiteFile, problems: &mut Problems) {
    for circuit in &site.circuits {
        if largest_load(file, circuit, problems) {
            fallback(file, circuit, problems);
            safe_currents(file, site, circuit, problems);
        }
    }
}

/// Whether the largest load fits by itself.
fn largest_load(file: &str, circuit: &Circuit, problems: &mut Problems) -> bool {
    let Some((phase, free)) = least_free(circuit) else { return true };
    let fits = circuit.max_load_ma <= free;
    if !fits {
        let key = format!("circuits.{}.max_load_a", circuit.id);
        let allowed = format!("{phase:?} carries at most {}, limit_a less margin_a", show(free));
        problems.add(file, key, show(circuit.max_load_ma), allowed);
    }
    fits
}

/// While nobody knows of the load, it may be the largest.
fn fallback(file: &str, circuit: &Circuit, problems: &mut Problems) {
    let Some((phase, free)) = least_free(circuit) else { return };
    let room = free - circuit.max_load_ma;
    if circuit.fallback_ma > room {
        let key = format!("circuits.{}.fallback_a", circuit.id);
        let allowed = format!("at most {} fit beside max_load_a and margin_a on {phase:?}", show(room));
        problems.add(file, key, show(circuit.fallback_ma), allowed);
    }
}

/// The phase of those that are there on which a circuit has least, and how much that is without any load.
fn least_free(circuit: &Circuit) -> Option<(Phase, Milliamps)> {
    let phases = Phase::ALL.into_iter().filter(|phase| circuit.has(*phase));
    let free = |phase: Phase| (phase, (circuit.limit_ma[phase] - circuit.margin_ma).max(Milliamps::ZERO));
    phases.map(free).min_by_key(|(_, free)| *free)
}

/// What chargers fall back to by themselves must fit at all hours, for nothing can lower it.
fn safe_currents(file: &str, site: &SiteFile, circuit: &Circuit, problems: &mut Problems) {
    let below: Vec<_> = site
        .chargers
        .iter()
        .filter(|charger| way(site, charger).any(|on_it| on_it.id == circuit.id))
        .collect();
    for phase in Phase::ALL.into_iter().filter(|phase| circuit.has(*phase)) {
        let counted = below.iter().filter(|charger| counts_on(site, charger).contains(&phase));
        let safe: Milliamps = counted.map(|charger| charger.safe_ma).sum();
        let limits = limits(site, circuit, phase);
        let room = |limit: Milliamps| (limit - circuit.margin_ma - circuit.max_load_ma).max(Milliamps::ZERO);
        for (key, room) in limits.into_iter().map(|(key, limit)| (key, room(limit))) {
            if safe > room {
                let found = format!("safe currents on {phase:?} come to {}", show(safe));
                let fits = show(room);
                let allowed =
                    format!("at most {fits} fit beside max_load_a and margin_a; lower the chargers' safe_a");
                problems.add(file, key, found, allowed);
            }
        }
    }
}

/// Every limit of a phase, with its key: the breaker's and the scheduled ones.
fn limits(site: &SiteFile, circuit: &Circuit, phase: Phase) -> Vec<(String, Milliamps)> {
    let key = format!("circuits.{}", circuit.id);
    let phases = Phase::ALL.into_iter().filter(|phase| circuit.has(*phase)).count() as i64;
    let scheduled = circuit.schedule.iter().enumerate().filter_map(|(index, entry)| {
        let by_power = || entry.limit_w.map(|power| on_each(power, phases, site.control.nominal_v));
        let limit = entry.limit_ma.map(|limit| limit[phase]).or_else(by_power)?;
        Some((format!("{key}.schedule[{index}]"), limit))
    });
    std::iter::once((key.clone(), circuit.limit_ma[phase])).chain(scheduled).collect()
}

/// What a limit in W allows on each phase where the voltage is a tenth above the nominal one, the most that a supply may have for long.
fn on_each(power: Watts, phases: i64, nominal_v: i32) -> Milliamps {
    let milliamps = i64::from(power.0) * 10_000 / (phases * i64::from(nominal_v.max(1)) * 11);
    Milliamps(i32::try_from(milliamps).unwrap_or(i32::MAX))
}
