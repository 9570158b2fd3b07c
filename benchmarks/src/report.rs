//! Figures, and the two forms in which they leave: a table for people and `results/latest.json`.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    bench: &'static str,
    case: String,
    value: f64,
    unit: &'static str,
    /// What it is set against: a peer or a limit of the same run.
    against: String,
    /// The value over that of the peer; null where there is none.
    ratio: Option<f64>,
}

/// The figures of one run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Takes a figure and the peer's value in the same unit, and says it on standard error at once.
    pub fn add(
        &mut self,
        bench: &'static str,
        case: impl Into<String>,
        (value, unit): (f64, &'static str),
        (against, peer): (impl Into<String>, f64),
    ) {
        let (case, against) = (case.into(), against.into());
        let ratio = (peer != 0.0).then(|| significant(value / peer));
        let figure = Figure { bench, case, value: significant(value), unit, against, ratio };
        eprintln!("{bench}: {}: {} {unit}", figure.case, figure.value);
        self.figures.push(figure);
    }

    /// Prints the table and writes the file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn finish(self) -> anyhow::Result<()> {
        print!("{}", self.table());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let path = folder.join("latest.json");
        let text = serde_json::to_string_pretty(&self.figures)?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, text + "\n"))
            .with_context(|| format!("can't write {}", path.display()))
    }

    fn table(&self) -> String {
        let mut rows = vec![["bench", "case", "value", "unit", "against", "ratio"].map(str::to_owned)];
        rows.extend(self.figures.iter().map(|f| {
            let ratio = f.ratio.map_or(String::new(), |ratio| ratio.to_string());
            [f.bench.into(), f.case.clone(), f.value.to_string(), f.unit.into(), f.against.clone(), ratio]
        }));
        let widths: [usize; 6] =
            std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
        let line = |row: &[String; 6]| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!(" {cell:width$} |"));
            format!("|{}\n", cells.collect::<String>())
        };
        let rule = widths.map(|width| "-".repeat(width));
        let body: String = rows[1..].iter().map(line).collect();
        // Only a release build is worth quoting.
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let run = format!("{}; commit {}, {build} build", machine(), commit());
        format!("{run}\n\n{}{}{body}", line(&rows[0]), line(&rule))
    }
}

/// Four digits: more would only be noise.
fn significant(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.max(0));
    (value * scale).round() / scale
}

fn machine() -> String {
    let cpu = read("/proc/cpuinfo");
    let model = field(&cpu, "model name").or_else(|| field(&cpu, "Hardware")).unwrap_or("unknown CPU");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let kib: u64 = field(&memory, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    format!("{model}, {cores} cores, {:.0} GiB of memory", kib as f64 / f64::from(1 << 20))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// The commit, with `+` behind it when the tree has changes.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    if changed { commit + "+" } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_keeps_four_digits() {
        for (value, expected) in
            [(123_456.7, 123_457.0), (0.123_456, 0.1235), (12.345_6, 12.35), (0.0, 0.0), (-1.234_56, -1.235)]
        {
            assert_eq!(significant(value), expected);
        }
    }

    #[test]
    fn the_table_has_every_ratio_and_leaves_out_what_has_no_peer() {
        let mut report = Report::default();
        report.add("policy", "10 chargers", (2.0, "us"), ("p50", 4.0));
        report.add("policy", "none", (2.0, "us"), ("", 0.0));
        let table = report.table();
        assert!(table.contains("| policy | 10 chargers | 2     | us   | p50     | 0.5   |"), "{table}");
        assert_eq!(report.figures[1].ratio, None);
    }
}
