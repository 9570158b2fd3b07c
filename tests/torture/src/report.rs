//! What a run prints.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::check::Findings;
use crate::plan::Way;

/// What is told at most of what is wrong.
const TOLD: usize = 20;

/// The end of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which seed.
    pub seed: u64,
    /// Which way.
    pub way: Way,
    /// Of each process: its name, how often it was killed, stopped, and started.
    pub processes: Vec<(&'static str, usize, usize, u32)>,
    /// Rows of `readings_raw`.
    pub rows: usize,
    /// Entries of the journal that are in gaps.
    pub in_gaps: u64,
    /// The journal's last number.
    pub entries: u64,
    /// What was found.
    pub findings: Findings,
    /// How long all of it took.
    pub took: Duration,
}

impl Outcome {
    /// The table.
    pub fn table(&self) -> String {
        let mut text = format!("{:<12} {:>6} {:>7} {:>7}\n", "process", "kills", "pauses", "starts");
        let mut line = |name: &str, kills: usize, pauses: usize, starts: u32| {
            let _ = writeln!(text, "{name:<12} {kills:>6} {pauses:>7} {starts:>7}");
        };
        for (name, kills, pauses, starts) in &self.processes {
            line(name, *kills, *pauses, *starts);
        }
        let sum = |count: fn(&(&str, usize, usize, u32)) -> usize| self.processes.iter().map(count).sum();
        line(
            "all",
            sum(|process| process.1),
            sum(|process| process.2),
            sum(|process| process.3 as usize) as u32,
        );
        let found = &self.findings;
        let seconds = self.took.as_secs_f64();
        let _ = write!(
            text,
            "\nseed {}, way {}: {} readings and {} steps of stays acknowledged, {} rows of readings, {} entries of the \
             journal, {} in gaps\nmissing {}, duplicates {}, changed {}, strange {}; {seconds:.0} seconds\n",
            self.seed,
            self.way.as_str(),
            found.readings,
            found.steps,
            self.rows,
            self.entries,
            self.in_gaps,
            found.missing.len(),
            found.duplicates.len(),
            found.changed.len(),
            found.strange.len(),
        );
        text
    }

    /// What is wrong, and where to look.
    pub fn complaint(&self, folder: &Path) -> String {
        let mut text = String::new();
        for finding in self.findings.all().take(TOLD) {
            let _ = writeln!(text, "{finding}");
        }
        let more = self.findings.all().count().saturating_sub(TOLD);
        if more > 0 {
            let _ = writeln!(text, "and {more} more");
        }
        text + &whereabouts(self.seed, self.way, folder)
    }
}

/// How to do it again, and what the run has left.
pub fn whereabouts(seed: u64, way: Way, folder: &Path) -> String {
    format!("seed {seed}, way {}; journal, lake, books and logs are in {}", way.as_str(), folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            seed: 7,
            way: Way::Kafka,
            processes: vec![("edge", 12, 1, 13), ("fog", 30, 0, 31)],
            rows: 990,
            in_gaps: 0,
            entries: 1200,
            findings: Findings { readings: 980, steps: 20, ..Findings::default() },
            took: Duration::from_secs(61),
        }
    }

    #[test]
    fn the_table_says_kills_acknowledged_rows_missing_duplicates_and_time() {
        let expected = "\
process       kills  pauses  starts
edge             12       1      13
fog              30       0      31
all              42       1      44

seed 7, way kafka: 980 readings and 20 steps of stays acknowledged, 990 rows of readings, 1200 entries of the journal, 0 in gaps
missing 0, duplicates 0, changed 0, strange 0; 61 seconds
";
        assert_eq!(outcome().table(), expected);
        assert!(outcome().findings.is_sound());
    }

    #[test]
    fn a_complaint_is_bounded_and_names_seed_way_and_folder() {
        let mut outcome = outcome();
        outcome.findings.missing = (0..TOLD + 5).map(|n| format!("reading {n}")).collect();
        assert!(!outcome.findings.is_sound());
        let said = outcome.complaint(Path::new("/tmp/run"));
        assert_eq!(said.lines().count(), TOLD + 2);
        assert!(said.contains("reading 19\nand 5 more\n"), "{said}");
        assert!(said.ends_with("seed 7, way kafka; journal, lake, books and logs are in /tmp/run"), "{said}");
        assert!(outcome.table().contains("missing 25, "));
    }
}
