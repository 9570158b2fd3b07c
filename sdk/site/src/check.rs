//! What must fit together in a site.

use std::collections::BTreeSet;

use wattle_wire::{Milliamps, Millis, Phase};

use crate::file::{Charger, Circuit, Control, SiteFile, Tariff};
use crate::problem::Problems;

/// Adds every mistake of `site`.
pub fn site(file: &str, site: &SiteFile, problems: &mut Problems) {
    time_zone(file, site, problems);
    control(file, &site.control, problems);
    circuits(file, &site.circuits, problems);
    devices(file, site, problems);
    for charger in &site.chargers {
        self::charger(file, charger, site, problems);
    }
    safe_currents(file, site, problems);
    names(file, "users", site.users.iter().map(|u| u.id.as_str()), problems);
    tariff(file, &site.tariff, problems);
}

fn time_zone(file: &str, site: &SiteFile, problems: &mut Problems) {
    if jiff::tz::TimeZone::get(&site.time_zone).is_err() {
        problems.add(
            file,
            "time_zone",
            &site.time_zone,
            "is no IANA time zone; give one such as \"Europe/Berlin\" or \"UTC\"",
        );
    }
}

fn control(file: &str, control: &Control, problems: &mut Problems) {
    let mut range = |key: &str, value: Millis, low: i64, high: i64, why: &str| {
        if !(low..=high).contains(&value.0) {
            problems.add(file, format!("control.{key}"), value.0, format!("give {low} to {high} ms{why}"));
        }
    };
    let interval = control.interval_ms.0;
    range("interval_ms", control.interval_ms, 50, 60_000, "");
    range(
        "validity_ms",
        control.validity_ms,
        interval.saturating_mul(4),
        3_600_000,
        ": at least four intervals, so that a lost setpoint doesn't stop a charge",
    );
    range("raise_delay_ms", control.raise_delay_ms, 0, 600_000, "");
    range(
        "meter_stale_ms",
        control.meter_stale_ms,
        interval.saturating_mul(2),
        3_600_000,
        ": at least two intervals",
    );
    if control.policy.is_empty() {
        problems.add(file, "control.policy", "", "is empty; name a policy such as \"fair-share\"");
    }
    let shadow = control.shadow.as_ref().map(|shadow| shadow.policy.as_str());
    if let Some(shadow) = shadow.filter(|name| name.is_empty() || *name == "off") {
        problems.add(file, "control.shadow.policy", shadow, "is no policy; name one, or take the table out");
    }
    if control.policy_trial > 100_000 {
        problems.add(file, "control.policy_trial", control.policy_trial, "give 0 to 100000 decisions");
    }
    if !(1..=256).contains(&control.policy_memory_mib) {
        problems.add(file, "control.policy_memory_mib", control.policy_memory_mib, "give 1 to 256 MiB");
    }
}

fn names<'a>(file: &str, list: &str, ids: impl Iterator<Item = &'a str>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            problems.add(file, list, id, "stands twice; give each a name of its own");
        }
    }
}

fn circuits(file: &str, circuits: &[Circuit], problems: &mut Problems) {
    names(file, "circuits", circuits.iter().map(|c| c.id.as_str()), problems);
    if circuits.is_empty() {
        problems.add(file, "circuits", "", "is empty; give at least the grid connection");
    }
    for (index, circuit) in circuits.iter().enumerate() {
        let key = |field: &str| format!("circuits.{}.{field}", circuit.id);
        let earlier = || circuits[..index].iter().map(|c| c.id.as_str());
        match &circuit.parent {
            None if index > 0 => {
                problems.add(file, key("parent"), "", "is missing; only the first circuit has none");
            }
            Some(parent) if !earlier().any(|id| id == parent.as_str()) => {
                let known = earlier().collect::<Vec<_>>().join(", ");
                problems.add(file, key("parent"), parent, format!("is no circuit above this one ({known})"));
            }
            _ => {}
        }
        for (field, value) in [
            ("margin_a", circuit.margin_ma),
            ("fallback_a", circuit.fallback_ma),
            ("max_load_a", circuit.max_load_ma),
        ] {
            if value < Milliamps::ZERO {
                problems.add(file, key(field), show(value), "is below zero");
            }
        }
        limits(file, circuit, problems);
    }
}

fn limits(file: &str, circuit: &Circuit, problems: &mut Problems) {
    let limits = circuit.limit_ma.0;
    let key = format!("circuits.{}.limit_a", circuit.id);
    if limits.iter().any(|limit| *limit < Milliamps::ZERO) {
        problems.add(file, &key, "", "has a value below zero");
    }
    if limits.iter().all(|limit| *limit <= circuit.margin_ma) {
        problems.add(file, &key, "", "leaves nothing on any phase after the margin");
    }
}

/// Chargers and meters speak MQTT under their names, so they share one list of names.
fn devices(file: &str, site: &SiteFile, problems: &mut Problems) {
    let chargers = site.chargers.iter().map(|c| c.id.as_str());
    let meters = site.meters.iter().map(|m| m.id.as_str());
    names(file, "chargers and meters", chargers.chain(meters), problems);
    let mut measured = BTreeSet::new();
    for meter in &site.meters {
        known_circuit(file, site, format!("meters.{}.circuit", meter.id), meter.circuit.as_str(), problems);
        if !measured.insert(&meter.circuit) {
            problems.add(file, format!("meters.{}.circuit", meter.id), &meter.circuit, "has a meter already");
        }
    }
}

fn known_circuit(file: &str, site: &SiteFile, key: String, circuit: &str, problems: &mut Problems) {
    if !site.circuits.iter().any(|c| c.id.as_str() == circuit) {
        let known = site.circuits.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ");
        problems.add(file, key, circuit, format!("is no circuit of this site ({known})"));
    }
}

fn charger(file: &str, charger: &Charger, site: &SiteFile, problems: &mut Problems) {
    let key = |field: &str| format!("chargers.{}.{field}", charger.id);
    known_circuit(file, site, key("circuit"), charger.circuit.as_str(), problems);
    let zero = Milliamps::ZERO;
    if charger.min_ma <= zero {
        problems.add(file, key("min_a"), show(charger.min_ma), "must be above 0 A");
    }
    if charger.max_ma < charger.min_ma {
        problems.add(file, key("max_a"), show(charger.max_ma), "is below min_a");
    }
    if charger.step_ma <= zero {
        problems.add(file, key("step_a"), show(charger.step_ma), "must be above 0 A");
    }
    if charger.safe_ma < zero || charger.safe_ma > charger.max_ma {
        problems.add(file, key("safe_a"), show(charger.safe_ma), "must be from 0 A to max_a");
    }
    if charger.cable_ma.is_some_and(|cable| cable < charger.min_ma) {
        problems.add(file, key("cable_a"), "", "is below min_a");
    }
    if let Some(phases) = &charger.phases {
        let distinct: BTreeSet<_> = phases.iter().collect();
        if phases.is_empty() || distinct.len() != phases.len() {
            problems.add(file, key("phases"), "", "must name one to three phases, each once");
        }
        wired_phases(file, charger, phases, site, problems);
    }
}

/// A phase without a limit above zero is not there, so nothing can hang on it.
fn wired_phases(file: &str, charger: &Charger, phases: &[Phase], site: &SiteFile, problems: &mut Problems) {
    let Some(circuit) = site.circuits.iter().find(|c| c.id == charger.circuit) else { return };
    for phase in phases {
        if circuit.limit_ma[*phase] <= Milliamps::ZERO {
            let key = format!("chargers.{}.phases", charger.id);
            problems.add(
                file,
                key,
                format!("{phase:?}"),
                format!("circuit {} has no such phase", circuit.id),
            );
        }
    }
}

/// What chargers fall back to by themselves must fit, for nothing can lower it.
fn safe_currents(file: &str, site: &SiteFile, problems: &mut Problems) {
    for circuit in &site.circuits {
        for phase in Phase::ALL {
            let safe: Milliamps = site
                .chargers
                .iter()
                .filter(|charger| hangs_below(site, charger, circuit))
                .filter(|charger| charger.phases.as_ref().is_none_or(|phases| phases.contains(&phase)))
                .map(|charger| charger.safe_ma)
                .sum();
            let room = circuit.limit_ma[phase] - circuit.margin_ma - circuit.max_load_ma;
            if safe > Milliamps::ZERO && safe > room {
                problems.add(
                    file,
                    format!("circuits.{}", circuit.id),
                    format!("safe currents on {phase:?} come to {}", show(safe)),
                    format!(
                        "at most {} fit beside max_load_a and margin_a; lower the chargers' safe_a",
                        show(room)
                    ),
                );
            }
        }
    }
}

fn hangs_below(site: &SiteFile, charger: &Charger, circuit: &Circuit) -> bool {
    let mut place = Some(&charger.circuit);
    // A tree can't be deeper than it has circuits: a loop ends here, and is reported as a bad parent.
    for _ in 0..site.circuits.len() {
        match place {
            Some(id) if *id == circuit.id => return true,
            Some(id) => place = site.circuits.iter().find(|c| c.id == *id).and_then(|c| c.parent.as_ref()),
            None => return false,
        }
    }
    false
}

fn tariff(file: &str, tariff: &Tariff, problems: &mut Problems) {
    if tariff.currency.len() != 3 || !tariff.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        problems.add(
            file,
            "tariff.currency",
            &tariff.currency,
            "give the three letters of ISO 4217, \"EUR\"",
        );
    }
    if tariff.version.is_empty() {
        problems.add(file, "tariff.version", "", "is empty; it names the tariff on each bill");
    }
    for (key, price) in [("start_fee", tariff.start_fee), ("price_per_kwh", tariff.price_per_kwh)] {
        if price.is_sign_negative() && !price.is_zero() {
            problems.add(file, format!("tariff.{key}"), price, "is below zero");
        }
    }
}

fn show(current: Milliamps) -> String {
    format!("{} A", f64::from(current.0) / 1000.0)
}
