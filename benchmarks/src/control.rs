//! Hours of random operation of the site machine, with losses, on virtual time: whether a limit is ever passed.
//!
//! The peer of each figure is what it is counted among; that of the breaches is what the promise allows, none.

use std::time::Instant;

use anyhow::Result;
use wattle_rig::{Worst, hours};

use crate::report::Report;

/// Virtual hours that are played.
const HOURS: i64 = 1_000;
/// The same sites each time.
const SEED: u64 = 1;

/// Plays, and adds what has happened to the report.
///
/// # Errors
/// When the promise was broken.
pub fn measure(report: &mut Report) -> Result<()> {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let played = hours::play(HOURS, SEED, threads);
    let tally = &played.tally;
    let virtual_hours = played.played.0 as f64 / 3.6e9;
    let real_hours = started.elapsed().as_secs_f64() / 3_600.0;
    let mut add = |case: &str, value: f64, unit, (against, peer): (String, f64)| {
        report.add("control", case, (value, unit), (against, peer));
    };
    let of = |what: &str, count: u64| (format!("{count} {what}"), count as f64);
    let random = (format!("{} random sites", played.sites), 0.0);
    add("virtual time", virtual_hours, "h", (format!("{real_hours:.2} h of this machine"), real_hours));
    add("breaches of the limit", tally.breaches as f64, "steps", ("none allowed".into(), 0.0));
    add("decisions", tally.decisions as f64, "", random.clone());
    add("setpoints lost", tally.setpoints_lost as f64, "", of("sent", tally.setpoints));
    add("answers lost", tally.answers_lost as f64, "", random.clone());
    add("restarts of the edge", tally.edge_restarts as f64, "", random.clone());
    add("restarts of chargers", tally.charger_restarts as f64, "", random.clone());
    let seconds = |length: wattle_wire::Micros| length.0 as f64 / 1e6;
    let interval = || ("the control interval, 1 s".into(), 1.0);
    add("longest excess that flowed", seconds(tally.worst.lasted), "s", interval());
    add(
        "longest excess with what is within the noise",
        seconds(tally.worst_with_noise.lasted),
        "s",
        interval(),
    );
    add("latest end of an excess, after what brought it", seconds(tally.latest_end), "s", interval());
    add("the same where nothing delayed it", seconds(tally.latest_plain_end), "s", interval());
    tell("the longest excess that flowed", &tally.worst);
    tell("with what is drawn beyond a setpoint within the noise", &tally.worst_with_noise);
    match &tally.first_breach {
        None => Ok(()),
        Some(breach) => anyhow::bail!("the limit was passed: {breach}"),
    }
}

/// Tells what has brought an excess.
fn tell(what: &str, Worst { lasted, most, site, place, causes }: &Worst) {
    println!("{what}: {:.1} s, {most} at most, at site {site}, {place}", lasted.0 as f64 / 1e6);
    causes.iter().for_each(|cause| println!("  {cause}"));
}
