//! The site that is simulated: the site file, with a charger for each station of the trace where it names none.
//!
//! Devices send a reading a minute here, so timings that were chosen for a reading a second would make every setpoint
//! expire: the interval is [`READING_MS`], and validity and the patience with a silent meter are lengthened to
//! [`LEAST_VALIDITY_MS`] and [`LEAST_STALE_MS`] where the file has less. The raise delay is the file's.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use wattle_edge_core::SiteModel;
use wattle_site::SiteFile;
use wattle_wire::{DeviceId, Milliamps, Millis, Phase};

use crate::Usage;

/// The time between two readings of a device.
pub const READING_MS: u64 = 60_000;
/// The shortest validity: setpoints are renewed at half of it, and name a message that may be one reading old.
pub const LEAST_VALIDITY_MS: i64 = 300_000;
/// A meter is silent when two of its readings are missing.
pub const LEAST_STALE_MS: i64 = 180_000;

/// A site file as it was read.
pub struct Site {
    /// What it says.
    pub file: SiteFile,
    /// How messages name it.
    name: String,
    text: String,
    /// The chargers and connectors that the file names.
    stations: BTreeSet<DeviceId>,
}

/// A site with its chargers.
pub struct Equipped {
    /// What it says, chargers and timings as they are simulated.
    pub file: SiteFile,
    /// The text that says it, chargers included; timings as in the site file.
    pub text: String,
    /// What the edge runs on.
    pub model: SiteModel,
    /// The phase that each charger's vehicles load, in the order of the model.
    pub phases: Vec<Phase>,
}

impl Site {
    /// Reads a site file.
    ///
    /// # Errors
    /// [`Usage`] with every mistake.
    pub fn read(path: &Path) -> Result<Self, Usage> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("{name}: {error}")))?;
        Self::of(name, text)
    }

    /// A site file with this text; `name` is how messages name it.
    ///
    /// # Errors
    /// [`Usage`] with every mistake.
    pub fn of(name: String, text: String) -> Result<Self, Usage> {
        let file = SiteFile::parse(&name, &text).map_err(|problems| Usage(problems.to_string()))?;
        Ok(Self::new(file, name, text))
    }

    fn new(file: SiteFile, name: String, text: String) -> Self {
        let evses = file.outlets().map(|outlets| outlets.evses).unwrap_or_default();
        let stations = evses.into_iter().map(|evse| evse.charger.id).collect();
        Self { file, name, text, stations }
    }

    /// Whether a vehicle can charge at this station: any one where the file names no chargers.
    pub fn has(&self, station: &DeviceId) -> bool {
        let is_meter = self.file.meters.iter().any(|meter| meter.id == *station);
        !is_meter && (self.stations.is_empty() || self.stations.contains(station))
    }

    /// The site with a charger on its first circuit for each station, wired to L1, L2 and L3 (those that it has) in
    /// turn in the order of their names, if the file names none.
    ///
    /// # Errors
    /// [`Usage`] where such a charger doesn't fit into the site.
    pub fn equipped(self, stations: &BTreeSet<DeviceId>) -> Result<Equipped, Usage> {
        let mut text = self.text;
        if self.file.chargers.is_empty() {
            let grid = &self.file.circuits[0];
            let circuit = &grid.id;
            let phases = Phase::ALL.iter().filter(|phase| grid.limit_ma[**phase] > Milliamps::ZERO);
            for (station, phase) in stations.iter().zip(phases.cycle()) {
                let _ = write!(
                    text,
                    "\n[[chargers]]\nid = \"{station}\"\ncircuit = \"{circuit}\"\nphases = [\"{phase:?}\"]\n"
                );
            }
        }
        let mut file = SiteFile::parse(&self.name, &text).map_err(|problems| Usage(problems.to_string()))?;
        let control = &mut file.control;
        control.interval_ms = Millis(READING_MS as i64);
        control.validity_ms = control.validity_ms.max(Millis(LEAST_VALIDITY_MS));
        control.meter_stale_ms = control.meter_stale_ms.max(Millis(LEAST_STALE_MS));
        let model = wattle_edge::site_model(&file);
        let phases = wired(&file);
        Ok(Equipped { file, text, model, phases })
    }
}

/// The first phase of each charger; where the file doesn't say, L1, L2 and L3 in turn in the order of their names.
fn wired(file: &SiteFile) -> Vec<Phase> {
    let outlets = file.outlets().map(|outlets| outlets.evses).unwrap_or_default();
    let names: BTreeSet<_> = outlets.iter().map(|evse| &evse.charger.id).collect();
    let in_turn = |id: &DeviceId| Phase::ALL[names.iter().position(|name| *name == id).unwrap_or(0) % 3];
    let first = |phases: &Vec<Phase>| phases.first().copied();
    outlets
        .iter()
        .map(|evse| &evse.charger)
        .map(|charger| charger.phases.as_ref().and_then(first).unwrap_or_else(|| in_turn(&charger.id)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(text: &str) -> Site {
        let file = SiteFile::parse("site.toml", text).expect("right");
        Site::new(file, "site.toml".into(), text.into())
    }

    fn stations(names: &[&str]) -> BTreeSet<DeviceId> {
        names.iter().map(|name| name.parse().expect("name")).collect()
    }

    const BARE: &str =
        "id = \"s\"\n[[circuits]]\nid = \"grid\"\nlimit_a = 100\n[[meters]]\nid = \"m\"\ncircuit = \"grid\"";

    #[test]
    fn stations_become_chargers_on_phases_in_turn_by_name() {
        let equipped = site(BARE).equipped(&stations(&["D", "B", "C", "A"])).expect("fits");
        let names: Vec<_> = equipped.model.chargers.iter().map(|charger| charger.id.as_str()).collect();
        assert_eq!(names, ["A", "B", "C", "D"]);
        assert_eq!(equipped.phases, [Phase::L1, Phase::L2, Phase::L3, Phase::L1]);
        assert_eq!(equipped.model.chargers[1].phases, Some(vec![Phase::L2]));
        assert_eq!(SiteFile::parse("again", &equipped.text).expect("right").chargers.len(), 4);
    }

    #[test]
    fn a_phase_that_the_site_does_not_have_gets_no_charger() {
        let text = BARE.replace("limit_a = 100", "limit_a = [63, 0, 63]");
        let equipped = site(&text).equipped(&stations(&["A", "B", "C"])).expect("fits");
        assert_eq!(equipped.phases, [Phase::L1, Phase::L3, Phase::L1]);
    }

    #[test]
    fn chargers_of_the_file_stand_and_others_are_unknown() {
        let text = format!(
            "{BARE}\n[[chargers]]\nid = \"B\"\ncircuit = \"grid\"\n[[chargers]]\nid = \"A\"\ncircuit = \"grid\""
        );
        let site = site(&text);
        assert!(site.has(&"A".parse().expect("name")) && !site.has(&"C".parse().expect("name")));
        let equipped = site.equipped(&stations(&["A"])).expect("fits");
        assert_eq!(equipped.phases, [Phase::L2, Phase::L1]);
        assert_eq!(equipped.model.chargers[0].phases, None, "the edge knows no more than the file");
    }

    #[test]
    fn a_meter_is_no_station() {
        assert!(!site(BARE).has(&"m".parse().expect("name")));
    }

    #[test]
    fn timings_for_a_reading_a_second_are_lengthened_for_one_a_minute() {
        let control = site(BARE).equipped(&stations(&["A"])).expect("fits").model.control;
        assert_eq!((control.interval_ms.0, control.validity_ms.0), (60_000, LEAST_VALIDITY_MS));
        assert_eq!((control.meter_stale_ms.0, control.raise_delay_ms.0), (LEAST_STALE_MS, 5000));
    }
}
