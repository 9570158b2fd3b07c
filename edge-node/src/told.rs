//! What chargers may still obey of earlier starts.
//!
//! At a start the machine reserves for each charger the most that it may have been told before, for as long as that may hold. The
//! site file of this start doesn't say how much that was: it may have been changed. So the file `setpoint-limits.json` in the data folder
//! has of each site the longest validity of its setpoints and each charger's highest maximum, those of this start and of all before
//! whose setpoints may still hold. It is written before the first setpoint goes out, and once more when what was told before
//! this start can't hold any more. When it can't be written, as on a full disk, the node starts all the same and says so.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wattle_edge_core::{SiteMachine, SiteModel};
use wattle_wire::{DeviceId, Milliamps, Millis, SiteId};

use crate::journal::{Disk, replace};

/// Name of the file in the data folder.
pub const FILE_NAME: &str = "setpoint-limits.json";

/// Of ten thousand chargers it has a tenth of that.
const MAX_BYTES: u64 = 16 << 20;

/// The longest that a file is believed to say that a setpoint holds: a day.
const LONGEST: Millis = Millis(86_400_000);

/// What the chargers of each site may have been told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told(BTreeMap<SiteId, OfSite>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct OfSite {
    validity_ms: Millis,
    max_ma: BTreeMap<DeviceId, Milliamps>,
}

impl Told {
    /// What earlier starts may have told, by the data folder.
    pub fn read(disk: &dyn Disk, data: &Path) -> Self {
        let path = data.join(FILE_NAME);
        let text = match disk.read(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "can't be read; earlier setpoints count by the site file of this start");
                return Self::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "is damaged; earlier setpoints count by the site file of this start");
            Self::default()
        })
    }

    /// Adds what a site of this start may tell.
    pub fn add(&mut self, model: &SiteModel) {
        let site = self.0.entry(model.id.clone()).or_default();
        site.validity_ms = site.validity_ms.max(model.control.validity_ms);
        for charger in &model.chargers {
            let most = site.max_ma.entry(charger.id.clone()).or_default();
            *most = charger.max_ma.max(*most);
        }
    }

    /// Lets a machine that has just begun reserve what was told before.
    pub fn reserve(&self, machine: &mut SiteMachine) {
        if let Some(site) = self.0.get(&machine.model().id) {
            let validity = site.validity_ms.clamp(Millis(0), LONGEST);
            machine.inherit(validity, |charger| site.max_ma.get(charger).copied());
        }
    }

    /// After this long nothing that was told before holds any more, by whichever clock: twice the longest validity and a minute.
    pub fn holds_for(&self) -> Duration {
        let longest = self.0.values().map(|site| site.validity_ms.0.clamp(0, LONGEST.0)).max();
        let twice = Duration::from_millis(2 * u64::try_from(longest.unwrap_or_default()).unwrap_or_default());
        twice + Duration::from_secs(60)
    }

    /// Keeps it for the next start.
    pub fn write(&self, disk: &dyn Disk, data: &Path) {
        let mut text = serde_json::to_vec(self).expect("names and numbers");
        text.push(b'\n');
        if let Err(error) = replace(disk, data, FILE_NAME, &text) {
            let path = data.join(FILE_NAME);
            tracing::error!(
                path = %path.display(), %error,
                "can't be written: if the validity or a maximum is lowered before the next start, earlier setpoints may not be reserved"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use wattle_site::SiteFile;
    use wattle_wire::{Micros, Phase};

    use super::*;
    use crate::journal::RealDisk;
    use crate::journal::memory_disk::{Fault, MemoryDisk};

    fn model(validity_ms: i32, max_a: i32) -> SiteModel {
        let text = format!(
            "id = \"depot\"\n[control]\nvalidity_ms = {validity_ms}\n[[circuits]]\nid = \"grid\"\nlimit_a = 63\n\
             [[chargers]]\nid = \"cp-1\"\ncircuit = \"grid\"\nphases = [\"L1\"]\nmax_a = {max_a}\n"
        );
        let file = SiteFile::parse("depot.toml", &text).expect("right");
        crate::site_model(&file)
    }

    /// What a charger may draw at a start with this model, after so many seconds in steps of one.
    fn reserved(data: &Path, model: SiteModel, seconds: i64) -> Milliamps {
        let before = Told::read(&RealDisk, data);
        let mut machine = SiteMachine::new(model, 1, Micros::ZERO).expect("sound");
        before.reserve(&mut machine);
        let at = Micros::from_secs;
        for second in 0..=seconds {
            machine.begin_decision(at(second), wattle_wire::row::Cause::Interval);
        }
        machine.may_draw(0, at(seconds))[Phase::L1]
    }

    #[test]
    fn a_start_with_a_shorter_validity_and_a_lower_maximum_reserves_what_was_told_before() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(reserved(folder.path(), model(10_000, 16), 14), Milliamps::ZERO);
        let mut told = Told::default();
        told.add(&model(600_000, 32));
        told.add(&model(10_000, 16));
        told.write(&RealDisk, folder.path());
        assert_eq!(Told::read(&RealDisk, folder.path()), told);
        assert_eq!(told.holds_for(), Duration::from_secs(1_260));
        assert_eq!(reserved(folder.path(), model(10_000, 16), 600), Milliamps::from_amps(32));
        assert_eq!(reserved(folder.path(), model(10_000, 16), 640), Milliamps::ZERO);
        assert_eq!(reserved(folder.path(), model(900_000, 16), 800), Milliamps::from_amps(32));
    }

    #[test]
    fn a_file_that_is_damaged_or_absurd_does_no_harm() {
        let folder = tempfile::tempdir().expect("folder");
        for text in ["", "{", "[]", "{\"depot\":{\"validity_ms\":-5,\"max_ma\":{\"cp-1\":-1}}}"] {
            std::fs::write(folder.path().join(FILE_NAME), text).expect("written");
            assert_eq!(reserved(folder.path(), model(10_000, 16), 1), Milliamps::from_amps(16), "{text}");
        }
        Told::default().write(&RealDisk, &folder.path().join("not-there"));
    }

    #[test]
    fn what_was_told_is_known_though_the_power_goes_at_any_step_of_the_next_writing() {
        let data = Path::new("/data");
        let (mut first, mut both) = (Told::default(), Told::default());
        first.add(&model(600_000, 32));
        both.add(&model(600_000, 32));
        both.add(&model(900_000, 16));
        for step in 0..8 {
            let disk = MemoryDisk::default();
            first.write(&disk, data);
            disk.lose_power();
            assert_eq!(Told::read(&disk, data), first);
            disk.fail_at(disk.steps() + step, Fault::PowerCut, true);
            both.write(&disk, data);
            disk.lose_power();
            assert!([&first, &both].contains(&&Told::read(&disk, data)), "step {step}");
            both.write(&disk, data);
            disk.lose_power();
            assert_eq!(Told::read(&disk, data), both);
        }
    }
}
