//! Setpoint numbers that grow over restarts, whatever the wall clock says.
//!
//! A charger refuses a setpoint whose number isn't above the last one that it has seen. The file `setpoint-numbers` in
//! the data folder says below which number all stand that were ever given out. A start takes the next [`BLOCK`]
//! numbers: it begins at what the file says, or at the wall clock's milliseconds when those are more, and
//! writes the end of its block before the first setpoint goes out. So no number is given out twice, even when the
//! clock is back in 1970.
//!
//! Without the file, when the data folder is new, the wall clock alone decides. When the file can't be
//! written, as on a full disk, the node starts all the same and says so.

use std::io;
use std::path::Path;

use wattle_wire::Micros;

use crate::journal::{Disk, replace};

/// Name of the file in the data folder: one line, a decimal number.
pub const FILE_NAME: &str = "setpoint-numbers";

/// How many numbers one start takes for each site: a thousand setpoints a second for 115 days.
pub const BLOCK: u64 = 10_000_000_000;

const MAX_BYTES: u64 = 1 << 10;

/// The first number of this start.
pub fn take(disk: &dyn Disk, data: &Path, now: Micros) -> u64 {
    let path = data.join(FILE_NAME);
    let clock = u64::try_from(now.0 / 1000).unwrap_or(0).max(1);
    let number = |bytes: Vec<u8>| String::from_utf8(bytes).ok()?.trim().parse::<u64>().ok();
    let used = match disk.read(&path, MAX_BYTES).map(number) {
        Ok(Some(used)) => used,
        Ok(None) => {
            tracing::error!(path = %path.display(), "holds no number; setpoints are numbered by the wall clock");
            0
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "can't be read; setpoints are numbered by the wall clock");
            0
        }
    };
    let first = clock.max(used);
    let used = format!("{}\n", first.saturating_add(BLOCK));
    if let Err(error) = replace(disk, data, FILE_NAME, used.as_bytes()) {
        tracing::error!(
            path = %path.display(), %error,
            "can't be written: if the wall clock is set back before the next start, chargers refuse setpoints as old"
        );
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RealDisk;
    use crate::journal::memory_disk::{Fault, MemoryDisk};

    const TODAY: Micros = Micros(1_800_000_000_000_000);

    #[test]
    fn numbers_grow_over_a_restart_at_which_the_clock_is_back_in_1970() {
        let folder = tempfile::tempdir().expect("folder");
        let first = take(&RealDisk, folder.path(), TODAY);
        assert_eq!(first, 1_800_000_000_000);
        let second = take(&RealDisk, folder.path(), Micros(0));
        assert_eq!(second, first + BLOCK);
        assert_eq!(take(&RealDisk, folder.path(), Micros(0)), second + BLOCK);
    }

    #[test]
    fn a_clock_that_is_ahead_of_the_file_counts() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(take(&RealDisk, folder.path(), Micros(0)), 1);
        assert_eq!(take(&RealDisk, folder.path(), TODAY), 1_800_000_000_000);
    }

    #[test]
    fn a_file_without_a_number_and_a_folder_that_is_not_there_leave_the_clock() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join(FILE_NAME), "many").expect("written");
        assert_eq!(take(&RealDisk, folder.path(), TODAY), 1_800_000_000_000);
        assert_eq!(take(&RealDisk, &folder.path().join("none"), TODAY), 1_800_000_000_000);
    }

    #[test]
    fn no_number_is_given_out_twice_though_the_power_goes_at_any_step_and_the_clock_is_back_in_1970() {
        let data = Path::new("/data");
        for step in 0..8 {
            let disk = MemoryDisk::default();
            let first = take(&disk, data, TODAY);
            disk.lose_power();
            disk.fail_at(disk.steps() + step, Fault::PowerCut, true);
            // Whoever dies with the machine gives out nothing.
            take(&disk, data, Micros(0));
            disk.lose_power();
            let third = take(&disk, data, Micros(0));
            assert!(third >= first + BLOCK, "step {step}: {third}");
            let given_out = disk.steps();
            disk.lose_power();
            assert!(take(&disk, data, Micros(0)) >= third + BLOCK, "step {step}, after {given_out} steps");
        }
    }
}
