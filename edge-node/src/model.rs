//! From the site file to what the edge core runs on.

use wattle_edge_core::{Charger, Circuit, Control, Meter, SiteModel};
use wattle_site::SiteFile;
use wattle_wire::CircuitId;

/// The model of a site. A [`SiteFile`] that was read by [`SiteFile::parse`] always gives one that
/// [`SiteModel::check`] accepts.
pub fn site_model(site: &SiteFile) -> SiteModel {
    let control = Control {
        interval_ms: site.control.interval_ms,
        validity_ms: site.control.validity_ms,
        raise_delay_ms: site.control.raise_delay_ms,
        meter_stale_ms: site.control.meter_stale_ms,
    };
    let index = |id: &CircuitId| site.circuits.iter().position(|circuit| circuit.id == *id);
    // A name that is nowhere becomes an index that is nowhere, which `SiteModel::check` names.
    let index_or_none = |id: &CircuitId| index(id).unwrap_or(usize::MAX);
    let circuits = site.circuits.iter().map(|circuit| Circuit {
        id: circuit.id.clone(),
        parent: circuit.parent.as_ref().map(index_or_none),
        limit_ma: circuit.limit_ma,
        margin_ma: circuit.margin_ma,
        fallback_ma: circuit.fallback_ma,
        generation: false,
    });
    let meters = site
        .meters
        .iter()
        .map(|meter| Meter { id: meter.id.clone(), circuit: index_or_none(&meter.circuit) });
    let chargers = site.chargers.iter().map(|charger| Charger {
        id: charger.id.clone(),
        circuit: index_or_none(&charger.circuit),
        phases: charger.phases.clone(),
        min_ma: charger.min_ma,
        max_ma: charger.max_ma,
        step_ma: charger.step_ma,
        safe_ma: charger.safe_ma,
        priority: charger.priority,
    });
    SiteModel {
        id: site.id.clone(),
        control,
        circuits: circuits.collect(),
        meters: meters.collect(),
        chargers: chargers.collect(),
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
        assert_eq!(
            (model.meters[0].circuit, model.chargers[0].circuit, model.chargers[0].priority),
            (0, 1, 2)
        );
    }

    #[test]
    fn a_name_that_is_nowhere_is_refused_by_the_core() {
        let mut site = SiteFile::parse("depot.toml", SITE).expect("right");
        site.chargers[0].circuit = CircuitId::new("roof").expect("name");
        assert!(site_model(&site).check().is_err());
    }
}
