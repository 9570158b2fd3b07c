//! From the site file to what the edge core runs on.

use wattle_edge_core::{Charger, Circuit, Control, Limit, LocalTime, Meter, SiteModel, System, User, Window};
use wattle_site::{Day, Hours, Outlets, ScheduledLimit, SiteFile};
use wattle_wire::{CircuitId, Millivolts, PerPhase};

/// The model of a site. A [`SiteFile`] that was read by [`SiteFile::parse`] always gives one that
/// [`SiteModel::check`] accepts.
pub fn site_model(site: &SiteFile) -> SiteModel {
    let outlets = outlets(site);
    let index = |id: &CircuitId| outlets.circuits.iter().position(|circuit| circuit.id == *id);
    // A name that is nowhere becomes an index that is nowhere, which `SiteModel::check` names.
    let index_or_none = |id: &CircuitId| index(id).unwrap_or(usize::MAX);
    let mut circuits: Vec<Circuit> = outlets
        .circuits
        .iter()
        .map(|circuit| self::circuit(circuit, circuit.parent.as_ref().map(index_or_none)))
        .collect();
    // What is fed in below a circuit may flow out of it too.
    for index in (0..circuits.len()).rev() {
        if let Some(parent) = circuits[index].parent.filter(|parent| *parent < index) {
            circuits[parent].generation |= circuits[index].generation;
        }
    }
    let meters = site.meters.iter().map(|meter| Meter {
        id: meter.id.clone(),
        circuit: index_or_none(&meter.circuit),
        lag_ms: meter.lag_ms,
    });
    let nominal_v = site.control.nominal_v;
    let chargers = outlets.evses.iter().map(|evse| &evse.charger).map(|charger| Charger {
        phases: charger.phases.clone(),
        min_ma: charger.min_on_a_phase(nominal_v),
        max_ma: charger.max_on_a_phase(nominal_v),
        max_power: charger.max_w,
        step_ma: charger.step_ma,
        safe_ma: charger.safe_ma,
        priority: charger.priority,
        timer: charger.timer.iter().map(window).collect(),
        manual_ma: charger.manual_ma,
        ..Charger::new(charger.id.clone(), index_or_none(&charger.circuit))
    });
    let users = site.users.iter().filter(|user| user.max_w.is_some() || user.priority.is_some());
    let users =
        users.map(|user| User { id: user.id.clone(), max_power: user.max_w, priority: user.priority });
    SiteModel {
        id: site.id.clone(),
        control: control(&site.control),
        circuits,
        meters: meters.collect(),
        chargers: chargers.collect(),
        users: users.collect(),
        systems: site.systems.iter().map(|s| System { id: s.id.clone(), may: s.may.clone() }).collect(),
        local_time: LocalTime(site.clock_changes()),
    }
}

/// The outlets of a site. Where names are too long, which the site file's check refuses, there are none.
pub(crate) fn outlets(site: &SiteFile) -> Outlets {
    site.outlets().unwrap_or_else(|_| Outlets { circuits: site.circuits.clone(), evses: Vec::new() })
}

fn control(control: &wattle_site::Control) -> Control {
    Control {
        interval_ms: control.interval_ms,
        validity_ms: control.validity_ms,
        raise_delay_ms: control.raise_delay_ms,
        meter_stale_ms: control.meter_stale_ms,
        lend_after_ms: control.lend_after_ms,
        raise_ramp_ma_per_s: control.raise_ramp_ma_per_s,
        resume_room_ma: control.resume_room_ma,
        least_on_ms: control.least_on_ms,
        least_off_ms: control.least_off_ms,
        nominal_mv: Millivolts(control.nominal_v.saturating_mul(1_000)),
    }
}

fn circuit(circuit: &wattle_site::Circuit, parent: Option<usize>) -> Circuit {
    Circuit {
        id: circuit.id.clone(),
        parent,
        limit_ma: circuit.limit_ma,
        margin_ma: circuit.margin_ma,
        fallback_ma: circuit.fallback_ma,
        generation: circuit.generation,
        schedule: circuit.schedule.iter().map(|entry| (window(&entry.hours()), limit(entry))).collect(),
    }
}

fn window(hours: &Hours) -> Window {
    let days = Day::ALL.map(|day| hours.days.contains(&day));
    Window { days, from_minute: hours.from.minutes, to_minute: hours.to.minutes }
}

/// An entry that names neither current nor power, which the site file's check refuses, allows nothing.
fn limit(entry: &ScheduledLimit) -> Limit {
    match (entry.limit_ma, entry.limit_w) {
        (Some(current), _) => Limit::Current(current),
        (None, Some(power)) => Limit::Power(power),
        (None, None) => Limit::Current(PerPhase::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattle_wire::{Milliamps, PerPhase, Phase};

    const SITE: &str = r#"
        id = "depot"
        [[circuits]]
        id = "grid"
        limit_a = [63, 63, 50]
        margin_a = 3
        fallback_a = 6
        [[circuits]]
        id = "hall"
        parent = "grid"
        limit_a = 32
        [[meters]]
        id = "m-1"
        circuit = "grid"
        lag_ms = 1500
        [[chargers]]
        id = "cp-1"
        circuit = "hall"
        phases = ["L3"]
        priority = 2
    "#;

    #[test]
    fn a_site_file_becomes_a_model_that_the_core_accepts() {
        let site = SiteFile::parse("depot.toml", SITE).expect("right");
        let model = site_model(&site);
        assert_eq!(model.check(), Ok(()));
        assert_eq!(model.circuits[0].limit_ma, PerPhase([63_000, 63_000, 50_000].map(Milliamps)));
        assert_eq!(model.circuits[1].parent, Some(0));
        assert_eq!(model.chargers[0].phases, Some(vec![Phase::L3]));
        assert_eq!(model.meters[0].lag_ms.0, 1_500);
        assert_eq!(
            (model.meters[0].circuit, model.chargers[0].circuit, model.chargers[0].priority),
            (0, 1, 2)
        );
    }

    #[test]
    fn every_rule_of_a_site_file_reaches_the_core() {
        let text = r#"
            id = "depot"
            time_zone = "Europe/Berlin"
            [control]
            lend_after_ms = 1000
            raise_ramp_a_per_s = 0.5
            resume_room_a = 1
            least_on_ms = 2000
            least_off_ms = 3000
            nominal_v = 240
            [[circuits]]
            id = "grid"
            limit_a = 63
            schedule = [{ from = "17:00", to = "21:00", days = ["mon"], limit_w = 4200 }]
            [[circuits]]
            id = "roof"
            parent = "grid"
            limit_a = 32
            generation = true
            [[chargers]]
            id = "cp-1"
            circuit = "roof"
            cable_a = 20
            timer = [{ from = "22:00", to = "06:00" }]
            manual_a = 10
            [[chargers]]
            id = "cp-2"
            circuit = "grid"
            kind = "dc"
            min_w = 5000
            max_w = 20000
            [[users]]
            id = "ann"
            max_w = 3600
            priority = 2
            [[users]]
            id = "ben"
        "#;
        let site = SiteFile::parse("depot.toml", text).expect("right");
        let model = site_model(&site);
        assert_eq!(model.check(), Ok(()));
        let control = model.control;
        assert_eq!((control.lend_after_ms.0, control.raise_ramp_ma_per_s.0), (1_000, 500));
        assert_eq!(
            (control.resume_room_ma.0, control.least_on_ms.0, control.least_off_ms.0),
            (1_000, 2_000, 3_000)
        );
        assert_eq!(control.nominal_mv.0, 240_000);
        assert!(model.circuits[0].generation, "what the roof gives may flow out");
        let monday =
            Window { days: Day::ALL.map(|day| day == Day::Mon), from_minute: 1_020, to_minute: 1_260 };
        assert_eq!(model.circuits[0].schedule, [(monday, Limit::Power(wattle_wire::Watts(4_200)))]);
        let (ac, dc) = (&model.chargers[0], &model.chargers[1]);
        assert_eq!((ac.max_ma.0, ac.manual_ma, ac.timer.len()), (20_000, Some(Milliamps(10_000)), 1));
        // 5 kW and 20 kW on three phases of 240 V, the one rounded up to a whole step and the other down.
        assert_eq!((dc.min_ma.0, dc.max_ma.0), (7_000, 27_777));
        assert_eq!((ac.max_power, dc.max_power), (None, Some(wattle_wire::Watts(20_000))));
        assert_eq!(model.users.len(), 1, "nothing is agreed with ben");
        let summer = wattle_wire::Micros::from_secs(1_782_864_000);
        let offset = model.local_time.0.iter().rev().find(|(from, _)| *from <= summer);
        assert_eq!(offset.map(|(_, offset)| *offset), Some(7_200), "on 2026-07-01");
    }

    #[test]
    fn a_charger_with_connectors_is_a_circuit_with_a_charger_for_each() {
        let text = r#"
            id = "depot"
            [[circuits]]
            id = "grid"
            limit_a = 63
            [[chargers]]
            id = "box-1"
            circuit = "grid"
            phases = ["L1", "L2", "L3"]
            max_a = 32
            cable_a = 25
            connectors = [{ id = "left" }, { id = "right", phases = ["L2", "L3", "L1"], max_a = 16, priority = 1 }]
            [[chargers]]
            id = "cp-2"
            circuit = "grid"
            [[chargers]]
            id = "hpc"
            circuit = "grid"
            kind = "dc"
            max_w = 69000
            connectors = [{ id = "1" }, { id = "2", max_w = 34500 }]
        "#;
        let model = site_model(&SiteFile::parse("depot.toml", text).expect("right"));
        assert_eq!(model.check(), Ok(()));
        let circuits = model.circuits.iter().map(|c| (c.id.as_str(), c.parent, c.limit_ma.0[0].0));
        let expected = [("grid", None, 63_000), ("box-1", Some(0), 25_000), ("hpc", Some(0), 100_000)];
        assert_eq!(circuits.collect::<Vec<_>>(), expected);
        let chargers = model.chargers.iter().map(|c| (c.id.as_str(), c.circuit, c.max_ma.0, c.priority));
        let expected = [
            ("box-1:left", 1, 32_000, 0),
            ("box-1:right", 1, 16_000, 1),
            ("cp-2", 0, 32_000, 0),
            ("hpc:1", 2, 100_000, 0),
            ("hpc:2", 2, 50_000, 0),
        ];
        assert_eq!(chargers.collect::<Vec<_>>(), expected);
        let power = |watts| Some(wattle_wire::Watts(watts));
        assert_eq!(
            [3, 4].map(|index: usize| model.chargers[index].max_power),
            [power(69_000), power(34_500)]
        );
        let always = Window { days: [true; 7], from_minute: 0, to_minute: 1_440 };
        assert_eq!(model.circuits[2].schedule, [(always, Limit::Power(wattle_wire::Watts(69_000)))]);
        assert_eq!(model.chargers[1].phases, Some(vec![Phase::L2, Phase::L3, Phase::L1]));
    }

    #[test]
    fn a_name_that_is_nowhere_is_refused_by_the_core() {
        let mut site = SiteFile::parse("depot.toml", SITE).expect("right");
        site.chargers[0].circuit = CircuitId::new("roof").expect("name");
        assert!(site_model(&site).check().is_err());
    }
}
