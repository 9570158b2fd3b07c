//! `wattle demo`: one meter and three chargers, an edge node and a fog node as processes of their own, through a
//! published scenario with an outage in the middle; then what the lake has of it, and whether all of it is right.
//!
//! - [`script`]: what happens, and the setpoints that must come out.
//! - `cast`: the processes, their ports and files.
//! - `truth`: what truly flowed, from the devices themselves, and promise 1 over all of it.
//! - `screen`: what a person sees meanwhile.
//! - `check`: what the lake must have, compared with the devices.

mod cast;
mod check;
mod screen;
pub mod script;
mod truth;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::json;
use wattle_policy_dev::paint::Paint;

use crate::demo::cast::Cast;
use crate::demo::screen::Screen;
use crate::demo::script::{CHARGERS, METER, OUTAGE, OUTAGE_FROM, STEP, STEPS};
use crate::demo::truth::Truth;

/// Play a site of one meter and three chargers, with an outage of the fog node, and check what comes out
///
/// Takes about a minute.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle demo
  wattle demo --dir /tmp/demo      keep journal, lake and logs there
  wattle demo --json

Exit codes: 0 all is right, 1 a check fails or a process can't be started, 2 a command line that can't be used.")]
pub struct Args {
    /// The folder for everything that the demo writes, emptied first; wattle-demo in the system's temporary folder
    /// unless given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// JSON instead of text: what was checked, at the end
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When a process can't be started or ends by itself, or a check fails.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folder = args.dir.unwrap_or_else(|| std::env::temp_dir().join("wattle-demo"));
    let (mut cast, lines) = Cast::start(&folder)?;
    let mut truth = Truth::new(lines);
    let say = |text: String| {
        if !args.json {
            println!("{text}");
        }
    };
    say(format!("Everything that the demo writes is in {}.\n", folder.display()));
    let reached = play(&mut cast, &mut truth, Screen::new(!args.json))?;
    say("\nThe scenario is over. The devices stop, the edge drains, the fog node takes the rest ...".into());
    cast.stop_devices(&mut truth)?;
    cast.stop_edge()?;
    let verdicts = check::all(&cast, &truth, &reached, !args.json).await;
    cast.stop_fog()?;
    let verdicts = verdicts?;
    let failed = verdicts.iter().filter(|verdict| !verdict.holds).count();
    say(String::new());
    for verdict in &verdicts {
        let mark = if verdict.holds { Paint::Good.text("[ok]  ") } else { Paint::Bad.text("[FAIL]") };
        say(format!("{mark} {}", verdict.text));
    }
    if args.json {
        println!("{}", json!({ "folder": folder, "failed": failed, "checks": verdicts }));
    }
    if failed > 0 {
        bail!("{failed} checks failed; logs, journal and lake are in {}", folder.display());
    }
    Ok(())
}

/// Plays every step and gives the setpoints, in mA, that each had at its end.
fn play(cast: &mut Cast, truth: &mut Truth, mut screen: Screen) -> anyhow::Result<Vec<[i32; 3]>> {
    let mut reached = Vec::new();
    let mut asking = [false; 3];
    let mut back_at = None;
    for step in STEPS {
        if step.name == OUTAGE_FROM {
            cast.kill_fog()?;
            back_at = Some(Instant::now() + OUTAGE);
        }
        cast.say(METER, &format!("load {}", f64::from(step.home_ma) / 1000.0))?;
        for (index, (charger, user)) in CHARGERS.iter().enumerate() {
            match (asking[index], step.asking[index]) {
                (false, true) => cast.say(charger, &format!("plug {user}"))?,
                (true, false) => leave(cast, charger)?,
                _ => {}
            }
        }
        asking = step.asking;
        let end = Instant::now() + STEP;
        while Instant::now() < end {
            if back_at.is_some_and(|at| Instant::now() >= at) {
                cast.start_fog()?;
                back_at = None;
            }
            truth.follow(screen::FRAME)?;
            cast.all_run()?;
            screen.show(&step, truth, back_at.is_some());
        }
        reached.push(truth.limits_ma());
        screen.end_of_step();
    }
    for (charger, _) in CHARGERS.iter().zip(asking).filter(|(_, asks)| *asks).map(|(who, _)| *who) {
        leave(cast, charger)?;
    }
    truth.follow(STEP / 3).context("after the last step")?;
    Ok(reached)
}

fn leave(cast: &mut Cast, charger: &'static str) -> anyhow::Result<()> {
    cast.say(charger, "end")?;
    cast.say(charger, "unplug")
}
