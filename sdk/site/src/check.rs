//! What must fit together in a site.

mod chargers;
mod room;

use std::collections::BTreeSet;

use wattle_wire::{Milliamps, Millis};

use crate::currency::is_currency;
use crate::file::{Circuit, Control, SiteFile, Tariff};
use crate::hours::Hours;
use crate::problem::Problems;

/// Adds every mistake of `site`.
pub fn site(file: &str, site: &SiteFile, problems: &mut Problems) {
    time_zone(file, site, problems);
    control(file, &site.control, problems);
    circuits(file, &site.circuits, problems);
    devices(file, site, problems);
    chargers::check(file, site, problems);
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
    range("lend_after_ms", control.lend_after_ms, 0, 3_600_000, "");
    range("least_on_ms", control.least_on_ms, 0, 3_600_000, "");
    range("least_off_ms", control.least_off_ms, 0, 3_600_000, "");
    for (key, value) in
        [("raise_ramp_a_per_s", control.raise_ramp_ma_per_s), ("resume_room_a", control.resume_room_ma)]
    {
        if value < Milliamps::ZERO {
            problems.add(file, format!("control.{key}"), show(value), "is below zero");
        }
    }
    if !(100..=300).contains(&control.nominal_v) {
        let allowed = "give 100 to 300 V, between a phase and neutral";
        problems.add(file, "control.nominal_v", control.nominal_v, allowed);
    }
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
    if !(20..=10_000).contains(&control.policy_fuel_million) {
        problems.add(
            file,
            "control.policy_fuel_million",
            control.policy_fuel_million,
            "give 20 to 10000 million",
        );
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
        parent(file, circuits, index, problems);
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
        schedule(file, circuit, problems);
    }
}

fn parent(file: &str, circuits: &[Circuit], index: usize, problems: &mut Problems) {
    let (before, circuit) = (&circuits[..index], &circuits[index]);
    let mut add = |value: &str, allowed: &str| {
        problems.add(file, format!("circuits.{}.parent", circuit.id), value, allowed);
    };
    let Some(parent) = &circuit.parent else {
        if index > 0 {
            add("", "is missing; only the first circuit has none");
        }
        return;
    };
    let known = before.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ");
    let stands_below = || circuits[index + 1..].iter().any(|c| c.id == *parent);
    match parent.as_str() {
        parent if index == 0 => add(parent, "the first circuit is the grid connection, which has no parent"),
        _ if before.iter().any(|c| c.id == *parent) => {}
        parent if circuit.id.as_str() == parent => {
            add(parent, &format!("is this circuit itself; name the one that feeds it ({known})"));
        }
        parent if stands_below() => add(parent, "stands below this one; list a parent before what it feeds"),
        parent => add(parent, &format!("is no circuit above this one ({known})")),
    }
}

fn schedule(file: &str, circuit: &Circuit, problems: &mut Problems) {
    for (index, entry) in circuit.schedule.iter().enumerate() {
        let key = format!("circuits.{}.schedule[{index}]", circuit.id);
        if entry.limit_ma.is_some() == entry.limit_w.is_some() {
            problems.add(file, &key, "", "give one of limit_a and limit_w");
        }
        if entry.limit_ma.is_some_and(|limit| limit.0.iter().any(|limit| *limit < Milliamps::ZERO)) {
            problems.add(file, format!("{key}.limit_a"), "", "has a value below zero");
        }
        hours(file, &key, &entry.hours(), problems);
    }
}

fn hours(file: &str, key: &str, hours: &Hours, problems: &mut Problems) {
    let distinct: BTreeSet<_> = hours.days.iter().collect();
    if distinct.is_empty() || distinct.len() != hours.days.len() {
        problems.add(file, format!("{key}.days"), "", "must name one to seven days, each once");
    }
    if hours.from.minutes == 24 * 60 {
        problems.add(
            file,
            format!("{key}.from"),
            "24:00",
            "give the midnight at which a day begins, \"00:00\"",
        );
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

/// The most systems of a site.
const MAX_SYSTEMS: usize = 16;

/// Chargers, meters and systems speak MQTT under their names, so they share one list of names.
fn devices(file: &str, site: &SiteFile, problems: &mut Problems) {
    let connectors: Vec<String> = chargers::connectors(site).collect();
    let chargers = site.chargers.iter().map(|c| c.id.as_str());
    let chargers = chargers.chain(connectors.iter().map(String::as_str));
    let meters = site.meters.iter().map(|m| m.id.as_str());
    let systems = site.systems.iter().map(|s| s.id.as_str());
    names(file, "chargers, meters and systems", chargers.chain(meters).chain(systems), problems);
    for system in &site.systems {
        let distinct: BTreeSet<_> = system.may.iter().collect();
        if distinct.is_empty() || distinct.len() != system.may.len() {
            let allowed = "must name one to four of \"limit\", \"price\", \"surplus\", \"manual\", each once";
            problems.add(file, format!("systems.{}.may", system.id), "", allowed);
        }
    }
    if site.systems.len() > MAX_SYSTEMS {
        problems.add(file, "systems", site.systems.len(), format!("give at most {MAX_SYSTEMS}"));
    }
    let mut measured = BTreeSet::new();
    for meter in &site.meters {
        known_circuit(file, site, format!("meters.{}.circuit", meter.id), meter.circuit.as_str(), problems);
        if !measured.insert(&meter.circuit) {
            problems.add(file, format!("meters.{}.circuit", meter.id), &meter.circuit, "has a meter already");
        }
        let most = site.control.interval_ms.0.max(0).saturating_mul(MOST_LAG_INTERVALS);
        if !(0..=most).contains(&meter.lag_ms.0) {
            let allowed = format!("give 0 to {most} ms: at most five intervals");
            problems.add(file, format!("meters.{}.lag_ms", meter.id), meter.lag_ms.0, allowed);
        }
    }
}

/// A meter may lag by so many intervals: so far back it is known for sure what chargers drew.
const MOST_LAG_INTERVALS: i64 = 5;

fn known_circuit(file: &str, site: &SiteFile, key: String, circuit: &str, problems: &mut Problems) {
    if !site.circuits.iter().any(|c| c.id.as_str() == circuit) {
        let known = site.circuits.iter().map(|c| c.id.as_str()).collect::<Vec<_>>().join(", ");
        problems.add(file, key, circuit, format!("is no circuit of this site ({known})"));
    }
}

fn tariff(file: &str, tariff: &Tariff, problems: &mut Problems) {
    if !is_currency(&tariff.currency) {
        let allowed = "is no currency; give the three letters of ISO 4217, such as \"EUR\"";
        problems.add(file, "tariff.currency", &tariff.currency, allowed);
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
