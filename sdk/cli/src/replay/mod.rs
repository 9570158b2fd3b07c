//! `wattle policy replay` and `wattle explain`: recorded decisions made again, from a journal or a lake.

pub mod entries;
pub mod explain;
pub(crate) mod report;

use std::cell::RefCell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, bail};
use wattle_edge::policy;
use wattle_edge::replay::beside::Compared;
use wattle_edge::replay::{Audience, Beside, Replay, Shelf, Silent, Tally};
use wattle_policy_dev::files;
use wattle_policy_dev::progress::{Progress, Waiting};
use wattle_wire::Micros;
use wattle_wire::row::Record;

use crate::Usage;
use crate::output::Output;
use entries::{Entries, EntriesArgs, Life, moment, shown};

/// Make recorded decisions again, and compare them with what was recorded, byte for byte
///
/// Begins at the last keyframe before --from, asks the policies that decided then, and those in shadow, and compares each recorded
/// decision and each keyframe on the way. With --policy it says what another policy would have decided at each of those moments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  wattle policy replay --journal /var/lib/wattle-edge
  wattle policy replay --lake ./lake --site depot --from 2026-05-01T18:00:00Z --to 2026-05-01T19:00:00Z
  wattle policy replay --lake ./lake --site depot --policy first-come --json

Exit codes: 0 all that could be replayed came out the same, 1 something didn't, or nothing could be replayed, 2 a command
line that can't be used. docs/policies/replay.md says what can't be replayed, and why.")]
pub struct Args {
    #[command(flatten)]
    entries: EntriesArgs,
    /// From this time on
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Micros>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Micros>,
    /// Only the second that begins at this time
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with_all = ["from", "to"])]
    at: Option<Micros>,
    /// Say what this policy would have decided: a name in the folder of policies, or a path that ends in .wasm
    #[arg(long, value_name = "NAME|WASM")]
    policy: Option<String>,
    /// The settings of --policy, JSON; else those of the site's configuration
    #[arg(long, value_name = "FILE", requires = "policy")]
    settings: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Runs `wattle policy replay`.
///
/// # Errors
/// [`Usage`] for what can't be used; another when something came out otherwise, or nothing could be replayed.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let folder = policy::folder(args.entries.policies.as_deref());
    let folders = args.entries.folders();
    let range = match args.at {
        Some(at) => (at, at + Micros(999_999)),
        None => (args.from.unwrap_or(Micros(i64::MIN)), args.to.unwrap_or(Micros::MAX)),
    };
    if let Some(other) = &args.policy {
        let path = policy::path(&folder, other);
        files::load(&files::host()?, &path, &files::read(&path)?)?;
    }
    let waiting = Waiting::on("looking for keyframes", !args.json);
    let (mut entries, lives) = args.entries.open().await?;
    drop(waiting);
    let output = Rc::new(RefCell::new(Output::open(None)?));
    let mut replayed = Vec::new();
    for life in lives {
        let tally = match &args.policy {
            None => play(&mut entries, &life, range, &folders, Silent, !args.json).await?.0,
            Some(other) => {
                let settings = args.settings.as_deref().map(settings).transpose()?;
                let (sink, json) = (output.clone(), args.json);
                let sink = move |compared: Compared| {
                    let text = report::compared(&compared, json);
                    // A reader that has seen enough ends the program; any other failure shows at the end.
                    let _ = writeln!(sink.borrow_mut(), "{text}");
                };
                let beside = Beside::new(policy::path(&folder, other), settings, sink)?;
                let (tally, beside) = play(&mut entries, &life, range, &folders, beside, false).await?;
                if let Some(reason) = beside.unusable() {
                    return Err(Usage(reason.to_owned()).into());
                }
                tally
            }
        };
        replayed.push((life, tally));
    }
    let differs = replayed.iter().any(|(_, tally)| !report::is_same(tally));
    let text = if args.json { report::json(&replayed) } else { report::text(&replayed) };
    write!(output.borrow_mut(), "{text}")?;
    output.borrow_mut().flush()?;
    if differs {
        bail!("something comes out otherwise than it was recorded");
    }
    if !replayed.iter().any(|(_, tally)| report::compares(tally)) {
        bail!("{}", why_nothing(&replayed, range));
    }
    Ok(())
}

/// Why nothing was compared.
fn why_nothing(replayed: &[(Life, Tally)], (from, until): (Micros, Micros)) -> String {
    if let Some(stretch) = replayed.iter().find_map(|(_, tally)| tally.stretches.first()) {
        return format!("nothing could be replayed: {}", stretch.reason);
    }
    let ends = replayed.iter().filter_map(|(life, _)| life.ends());
    let ends: Vec<_> = ends.map(|(first, last)| format!("{} to {}", shown(first), shown(last))).collect();
    let from = if from.0 == i64::MIN { "the beginning".to_owned() } else { shown(from) };
    let until = if until == Micros::MAX { "the end".to_owned() } else { shown(until) };
    let ends = ends.join(", and from ");
    format!(
        "no decision was recorded from {from} to {until}, so nothing was compared; keyframes stand here from {ends}"
    )
}

/// Replays a life of a journal; shows how far it has got where nothing is printed meanwhile.
async fn play<A: Audience>(
    entries: &mut Entries,
    life: &Life,
    (from, until): (Micros, Micros),
    folders: &[PathBuf],
    audience: A,
    is_shown: bool,
) -> anyhow::Result<(Tally, A)> {
    let shelf = Shelf::new(folders)?;
    let mut replay = Replay::new(life.site.clone(), shelf, from..=until, audience);
    let (first, last) = life.span(from, until);
    let micros = |at: Micros| u64::try_from(at.0).unwrap_or_default();
    let mut progress = Progress::new("replaying", micros(first), micros(last), 1, is_shown);
    let take = |record: &Record| {
        replay.take(record);
        progress.tell(micros(record.at_us));
    };
    let read = entries.each(life, (from, until), take).await;
    progress.end();
    read?;
    Ok(replay.end())
}

fn settings(file: &Path) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let read = serde_json::from_str(&text);
    Ok(read.map_err(|error| Usage(format!("{}: {error}; give a JSON object", file.display())))?)
}
