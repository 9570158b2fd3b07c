//! What must fit of chargers.

use std::collections::BTreeSet;

use wattle_wire::{CircuitId, Milliamps, Phase};

use super::{known_circuit, show};
use crate::file::{Charger, ChargerKind, Circuit, DEFAULT_MAX, DEFAULT_MIN, SiteFile};
use crate::problem::Problems;

/// Adds every mistake of the chargers of `site`.
pub fn check(file: &str, site: &SiteFile, problems: &mut Problems) {
    for charger in site.chargers.iter().filter(|charger| !charger.connectors.is_empty()) {
        known_circuit(
            file,
            site,
            format!("chargers.{}.circuit", charger.id),
            charger.circuit.as_str(),
            problems,
        );
        let is_taken = site.circuits.iter().any(|circuit| circuit.id.as_str() == charger.id.as_str());
        if is_taken {
            let allowed = "is the name of a circuit too; a charger with connectors is one, so give another";
            problems.add(file, format!("chargers.{}.id", charger.id), &charger.id, allowed);
        }
    }
    // Each connector as a charger by itself, behind a circuit for its charger.
    match site.outlets() {
        Ok(outlets) => {
            let chargers = outlets.evses.into_iter().map(|evse| evse.charger).collect();
            let site = SiteFile { circuits: outlets.circuits, chargers, ..site.clone() };
            for charger in &site.chargers {
                self::charger(file, charger, &site, problems);
            }
            super::room::check(file, &site, problems);
        }
        Err(error) => {
            problems.add(file, "chargers", "", format!("{error}; a connector's is its charger's and its own"))
        }
    }
}

/// The names of all connectors, `charger:connector`.
pub fn connectors(site: &SiteFile) -> impl Iterator<Item = String> + '_ {
    let of = |charger: &'_ Charger| {
        let names: Vec<String> =
            charger.connectors.iter().map(|connector| format!("{}:{}", charger.id, connector.id)).collect();
        names
    };
    site.chargers.iter().flat_map(of)
}

fn charger(file: &str, charger: &Charger, site: &SiteFile, problems: &mut Problems) {
    let key = |field: &str| format!("chargers.{}.{field}", charger.id);
    known_circuit(file, site, key("circuit"), charger.circuit.as_str(), problems);
    let zero = Milliamps::ZERO;
    limits_of_kind(file, charger, site.control.nominal_v, problems);
    for (index, hours) in charger.timer.iter().enumerate() {
        super::hours(file, &key(&format!("timer[{index}]")), hours, problems);
    }
    if charger.manual_ma.is_some_and(|manual| manual < zero) {
        problems.add(file, key("manual_a"), "", "is below zero");
    }
    if charger.min_ma <= zero {
        problems.add(file, key("min_a"), show(charger.min_ma), "must be above 0 A");
    }
    if charger.max_ma < charger.min_ma {
        problems.add(file, key("max_a"), show(charger.max_ma), "is below min_a");
    } else if charger.kind == ChargerKind::Ac && charger.max_ma < charger.min_on_a_phase(0) {
        let allowed = "is below min_a in whole steps of step_a";
        problems.add(file, key("max_a"), show(charger.max_ma), allowed);
    }
    if charger.step_ma <= zero {
        problems.add(file, key("step_a"), show(charger.step_ma), "must be above 0 A");
    }
    let most = charger.max_on_a_phase(site.control.nominal_v);
    if charger.safe_ma < zero || charger.safe_ma > most {
        let allowed = format!("must be from 0 A to what it takes at most, {}", show(most));
        problems.add(file, key("safe_a"), show(charger.safe_ma), allowed);
    }
    if charger.cable_ma.is_some_and(|cable| cable < charger.min_on_a_phase(site.control.nominal_v)) {
        problems.add(file, key("cable_a"), "", "is below min_a");
    }
    if let Some(phases) = &charger.phases {
        let distinct: BTreeSet<_> = phases.iter().collect();
        if phases.is_empty() || distinct.len() != phases.len() {
            problems.add(file, key("phases"), "", "must name one to three phases, each once");
        }
    }
    wired_phases(file, charger, site, problems);
}

/// A limit in A means something for an ac charger only, one in W for a dc charger only.
fn limits_of_kind(file: &str, charger: &Charger, nominal_v: i32, problems: &mut Problems) {
    let mut add = |field: &str, allowed: &str| {
        problems.add(file, format!("chargers.{}.{field}", charger.id), "", allowed);
    };
    let in_watts = [("min_w", charger.min_w.is_some()), ("max_w", charger.max_w.is_some())];
    if charger.kind == ChargerKind::Ac {
        for (field, _) in in_watts.into_iter().filter(|(_, is_given)| *is_given) {
            add(field, "is for kind = \"dc\" only; give amperes");
        }
        return;
    }
    if charger.max_w.is_none() {
        add("max_w", "is missing; a dc charger's limits are in W");
    } else if charger.max_on_a_phase(nominal_v) < charger.min_on_a_phase(nominal_v) {
        add("max_w", "is below min_w in whole steps of step_a on each phase");
    }
    for (field, is_given) in
        [("min_a", charger.min_ma != DEFAULT_MIN), ("max_a", charger.max_ma != DEFAULT_MAX)]
    {
        if is_given {
            add(field, "is for kind = \"ac\" only; give watts");
        }
    }
}

/// A phase without a limit above zero is not there, so nothing can hang on it, nor below it.
fn wired_phases(file: &str, charger: &Charger, site: &SiteFile, problems: &mut Problems) {
    let key = |field: &str| format!("chargers.{}.{field}", charger.id);
    for phase in charger.phases.iter().flatten() {
        if let Some(circuit) = way(site, charger).find(|circuit| !circuit.has(*phase)) {
            let allowed = format!("circuit {} has no such phase", circuit.id);
            problems.add(file, key("phases"), format!("{phase:?}"), allowed);
        }
    }
    if charger.phases.is_none() && counts_on(site, charger).is_empty() {
        problems.add(
            file,
            key("circuit"),
            &charger.circuit,
            "is reached by no phase that all circuits above have",
        );
    }
}

/// The phases that a charger counts on: its own, or if these are not known those that all circuits on its way have.
pub fn counts_on(site: &SiteFile, charger: &Charger) -> Vec<Phase> {
    let reaches = |phase: &Phase| way(site, charger).all(|circuit| circuit.has(*phase));
    charger.phases.clone().unwrap_or_else(|| Phase::ALL.into_iter().filter(reaches).collect())
}

/// The circuits from a charger's own up to the grid connection.
pub fn way<'a>(site: &'a SiteFile, charger: &Charger) -> impl Iterator<Item = &'a Circuit> {
    let find = |id: &CircuitId| site.circuits.iter().find(|circuit| circuit.id == *id);
    let above = move |circuit: &&'a Circuit| circuit.parent.as_ref().and_then(find);
    // A tree can't be deeper than it has circuits: a loop ends here, and is reported as a bad parent.
    std::iter::successors(find(&charger.circuit), above).take(site.circuits.len())
}
