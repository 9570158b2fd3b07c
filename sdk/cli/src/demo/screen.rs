//! What a person sees: one line per step, renewed while it lasts when standard output is a terminal.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use super::script::{LIMIT_MA, Step};
use super::truth::Truth;

/// How often the line is renewed.
pub const FRAME: Duration = Duration::from_millis(100);

/// A bar's width at the limit.
const BAR: usize = 30;

/// The live view.
pub struct Screen {
    /// Whether there is one.
    shown: bool,
    live: bool,
    line: String,
}

impl Screen {
    /// Prints the heading, unless nothing is to be shown.
    pub fn new(shown: bool) -> Self {
        if shown {
            println!(
                "step   home     cp-1     cp-2     cp-3    total of {:>4.1} A",
                f64::from(LIMIT_MA) / 1000.0
            );
        }
        Self { shown, live: shown && stdout().is_terminal(), line: String::new() }
    }

    /// Shows the state of now.
    pub fn show(&mut self, step: &Step, truth: &Truth, outage: bool) {
        let setpoints =
            truth.limits_ma().into_iter().zip(step.asking).map(|(limit, asks)| setpoint(limit, asks));
        let total = truth.total_ma();
        self.line = format!(
            "  {}  {:>5.1} A {} {:>6.1} A |{}|{}",
            step.name,
            f64::from(step.home_ma) / 1000.0,
            setpoints.collect::<String>(),
            f64::from(total) / 1000.0,
            bar(total),
            if outage { " fog node killed" } else { "" },
        );
        if self.live {
            print!("\r\x1b[2K{}", self.line);
            // A terminal that is gone is no reason to stop.
            let _ = stdout().flush();
        }
    }

    /// Keeps the line.
    pub fn end_of_step(&mut self) {
        if self.live {
            println!();
        } else if self.shown {
            println!("{}", self.line);
        }
    }
}

fn setpoint(limit_ma: i32, asks: bool) -> String {
    match (asks, limit_ma) {
        (false, _) => format!("{:>9}", "-"),
        (true, 0) => format!("{:>9}", "standby"),
        (true, limit) => format!("{:>7} A", f64::from(limit) / 1000.0),
    }
}

fn bar(total_ma: i32) -> String {
    let filled = usize::try_from(total_ma.max(0)).unwrap_or(0) * BAR / LIMIT_MA as usize;
    format!("{:<width$}", "#".repeat(filled.min(BAR + 5)), width = BAR)
}
