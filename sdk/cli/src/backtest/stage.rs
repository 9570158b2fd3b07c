//! From a command line and a lake to a report.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use wattle_edge::{policy, replay};
use wattle_edge_core::Heard;
use wattle_policy_dev::progress::{Progress, Waiting};
use wattle_site::Control;
use wattle_wire::{DeviceId, Micros};

use super::books::{Books, Column, Frame, millis};
use super::course::Steps;
use super::demand::Past;
use super::facts::Facts;
use super::history::{Configured, Decided, History, Missing};
use super::play::{self, Player, Run, Stage};
use super::range::Range;
use super::report::{CourseOf, Figures, Report, differences};
use super::setpoints::Agreement;
use super::{Args, moment_or_day, settings};
use crate::Usage;
use crate::replay::entries::shown;
use crate::simulate::LEAD_MS;
use crate::simulate::cost::Outside;
use crate::simulate::guest::Guest;
use crate::simulate::site::{Equipped, Site};
use crate::simulate::world::Scene;
use crate::source::Source;

/// What happens as the last vehicle leaves is still looked at.
const AFTER: Micros = Micros::from_secs(1);
/// So long before the first vehicle comes rows are looked at.
const BEFORE_MS: u64 = 1_000;
/// Gaps and changes that are told one by one.
const MOST_TOLD: usize = 5;

/// Who is run beside the policy that is tried.
struct Beside {
    player: Option<Player>,
    /// Whether the policy that is tried is the one that decided.
    is_tried: bool,
}

/// Reads the history, runs the site, and compares.
///
/// # Errors
/// As [`super::run`].
pub async fn report(args: &Args, lake: &mut Source) -> anyhow::Result<Report> {
    let mut notes = Vec::new();
    let waiting = Waiting::on("asking the lake", !args.json);
    let mut history = History::open(lake, args.site.clone()).await?;
    let Some((first, last)) = history.span().await? else {
        return Err(Usage(format!("the lake has no history of site {}", args.site)).into());
    };
    let configurations = history.configurations().await?;
    let (stays, left_out) = history.stays(last).await?;
    let zone = zone(&configurations)?;
    let bound = |text: &Option<String>| text.as_deref().map(|text| moment_or_day(text, &zone)).transpose();
    let from = bound(&args.from)?.unwrap_or(Micros(i64::MIN));
    let to = bound(&args.to)?.unwrap_or(Micros::MAX);
    let range = Range::of(&stays, from, to).ok_or_else(|| {
        let text = format!(
            "no vehicle came to site {} in that time; the lake has its history from {} to {}, with {} stays",
            args.site,
            shown(first),
            shown(last),
            stays.len()
        );
        Usage(text)
    })?;
    let (site, range) = equipped(&configurations, range, &mut notes)?;
    let outside = Outside::read(args.prices.as_deref(), args.surplus.as_deref(), &site.file.time_zone)?;
    let deciders = history.policies(range.begin, range.end + AFTER).await?;
    let folder = policy::folder(args.policies.as_deref());
    drop(waiting);
    let tried = tried(args, &site.file.control, &folder)?;
    let control = control(args, &site.file.control, &folder, &deciders, &tried, &mut notes)?;

    let frame = Arc::new(frame(&site, &range, outside));
    let (recorded, scene, guests, missing) = read(args, &mut history, &site, &range, &frame).await?;
    note_history(&mut notes, &range, left_out, &missing, &deciders);
    note_program(&mut notes, history.program(range.end).await?);
    note_signals(&mut notes, &scene, &frame.outside);
    let limit_a = site.model.circuits[0].limit_ma.0.map(|limit| f64::from(limit.0) / 1000.0);
    let stage = Stage { site, guests, scene, frame, from_ms: millis(range.begin).saturating_sub(LEAD_MS) };
    let players = control.player.into_iter().chain([tried.player]).collect();
    let is_shown = !args.json;
    let (stage, runs) = tokio::task::spawn_blocking(move || run_all(stage, players, is_shown))
        .await
        .context("a run ended early")??;

    let needs: Vec<i64> = range.counted.iter().map(|past| args.assumed.need(past).0).collect();
    let control_run = runs.first().filter(|_| runs.len() > 1 || control.is_tried);
    let again = control_run.filter(|run| deciders.first().is_some_and(|decided| decided.policy == run.name));
    let again: Option<Agreement> = again.map(|run| {
        let from = Micros(stage.frame.from_ms.cast_signed() * 1000);
        recorded.setpoints.against(&run.column.setpoints, from, range.end + AFTER)
    });
    note_failures(&mut notes, &runs);
    let columns: Vec<&Column> =
        std::iter::once(&recorded).chain(runs.iter().map(|run| &run.column)).collect();
    let figures = std::iter::once(Figures::recorded(&recorded, &needs));
    Ok(Report {
        site: args.site.to_string(),
        from: shown(range.counted.first().map_or(range.begin, |stay| stay.arrival)),
        until: shown(range.end),
        stays: range.counted.len() as u64,
        demand_wh: needs.iter().sum(),
        unknown_demand: range.counted.iter().filter(|past| !past.ended_by_itself).count() as u64,
        limit_a,
        assumed: args.assumed,
        columns: figures.chain(runs.iter().map(|run| Figures::run(run, &needs))).collect(),
        again,
        differences: differences(&columns, &range.counted, &needs),
        notes,
        course: CourseOf {
            from: shown(Micros(stage.frame.steps.from_ms.cast_signed() * 1000)),
            step_s: stage.frame.steps.step_ms / 1000,
            power_w: columns.iter().map(|column| column.means.power_w.clone()).collect(),
            waiting: columns.iter().map(|column| column.means.waiting.clone()).collect(),
        },
    })
}

/// The time zone of the site as it is now.
fn zone(configurations: &[Configured]) -> anyhow::Result<String> {
    let last = configurations.last().context("the lake has no configuration of the site")?;
    let site = Site::of("the site's configuration".into(), last.text.clone())?;
    Ok(site.file.time_zone)
}

/// The site as it was when the run begins, and the stays at chargers that it had.
fn equipped(
    configurations: &[Configured],
    mut range: Range,
    notes: &mut Vec<String>,
) -> anyhow::Result<(Equipped, Range)> {
    let known = configurations.iter().rposition(|configured| configured.at <= range.begin).unwrap_or(0);
    let later = configurations.iter().skip(known + 1).filter(|configured| configured.at <= range.end);
    let changes: Vec<_> = later.take(MOST_TOLD).map(|configured| shown(configured.at)).collect();
    if !changes.is_empty() {
        notes.push(format!(
            "the site was configured anew at {}: it is run as it was before; give --from and --to between changes",
            changes.join(", ")
        ));
    }
    let configured = configurations.get(known).context("the lake has no configuration of the site")?;
    let name = format!("the configuration of {}", shown(configured.at));
    let site = Site::of(name, configured.text.clone())?;
    let is_there = |past: &Past| site.has(&past.station);
    let gone = range.run.iter().filter(|past| !is_there(past)).count();
    if gone > 0 {
        notes.push(format!("{gone} stays at chargers that the configuration doesn't have are left out"));
        range.run.retain(is_there);
        range.counted.retain(is_there);
    }
    if range.counted.is_empty() {
        return Err(Usage(
            "all stays of that time are at chargers that the configuration doesn't have".into(),
        )
        .into());
    }
    let stations: BTreeSet<DeviceId> = range.run.iter().map(|past| past.station.clone()).collect();
    Ok((site.equipped(&stations)?, range))
}

/// The policy that is tried, with where it is and what it is told.
struct Tried {
    player: Player,
    path: PathBuf,
    settings: toml::Table,
}

fn tried(args: &Args, control: &Control, folder: &Path) -> anyhow::Result<Tried> {
    let settings = settings_of(&args.policy, args.settings.as_deref(), control)?;
    let player = play::load(control, folder, &args.policy, settings.clone())?;
    Ok(Tried { player, path: policy::path(folder, &args.policy), settings })
}

fn settings_of(name: &str, file: Option<&Path>, control: &Control) -> anyhow::Result<toml::Table> {
    match file {
        Some(file) => settings(file),
        None if name == control.policy => Ok(control.settings.clone()),
        None => Ok(toml::Table::new()),
    }
}

/// Who is run beside: the one of the command line, else the one that decided most.
fn control(
    args: &Args,
    control: &Control,
    folder: &Path,
    deciders: &[Decided],
    tried: &Tried,
    notes: &mut Vec<String>,
) -> anyhow::Result<Beside> {
    if let Some(name) = &args.against {
        let settings = settings_of(name, args.against_settings.as_deref(), control)?;
        let player = play::load(control, folder, name, settings)?;
        return Ok(Beside { player: Some(player), is_tried: false });
    }
    let found = deciders.first().ok_or_else(|| "no decision was recorded".to_owned());
    let found = found.and_then(|decided| play::find(decided, control, folder));
    let loaded = found.and_then(|(path, settings)| {
        let is_tried = same_file(Path::new(&path), &tried.path) && settings == tried.settings;
        let player = (!is_tried).then(|| play::load(control, folder, &path, settings)).transpose();
        Ok(Beside { player: player.map_err(|error| error.to_string())?, is_tried })
    });
    Ok(loaded.unwrap_or_else(|why| {
        notes.push(format!("what decided then is not run again: {why}"));
        Beside { player: None, is_tried: false }
    }))
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

fn frame(site: &Equipped, range: &Range, outside: Outside) -> Frame {
    let chargers = site.model.chargers.iter().enumerate().map(|(index, charger)| (charger.id.clone(), index));
    let chargers: std::collections::BTreeMap<_, _> = chargers.collect();
    let mut counted = vec![std::collections::BTreeMap::new(); chargers.len()];
    for (index, past) in range.counted.iter().enumerate() {
        if let Some(charger) = chargers.get(&past.station) {
            counted[*charger].insert(past.session.clone(), index);
        }
    }
    let from_ms = millis(range.begin).saturating_sub(BEFORE_MS);
    let until_ms = millis(range.end + AFTER);
    Frame {
        chargers,
        meter: site.model.meters.iter().find(|meter| meter.circuit == 0).map(|meter| meter.id.clone()),
        counted,
        stays: range.counted.len(),
        outside,
        steps: Steps::over(from_ms, until_ms),
        from_ms,
        until_ms,
    }
}

/// What was recorded, and what it says of the vehicles and of what was around them.
async fn read(
    args: &Args,
    history: &mut History<'_>,
    site: &Equipped,
    range: &Range,
    frame: &Arc<Frame>,
) -> anyhow::Result<(Column, Scene, Vec<Guest>, Vec<Missing>)> {
    let mut books = Books::new(frame.clone());
    let mut facts = Facts::new(&site.model);
    let meters =
        site.model.meters.iter().map(|meter| &meter.id).filter(|meter| Some(*meter) != frame.meter.as_ref());
    let aside: Vec<DeviceId> = meters.cloned().collect();
    let mut progress = Progress::new("reading", frame.from_ms, frame.until_ms, 1, !args.json);
    let time = (Micros(frame.from_ms.cast_signed() * 1000), range.end + AFTER);
    let take = |at: Micros, row: &wattle_wire::row::Row| {
        books.take(at, row);
        facts.take(at, row);
    };
    let missing = history.each(time, &aside, take, |at| progress.tell(millis(at))).await;
    progress.end();
    let missing = missing?;
    let guest = |past: &Past| args.assumed.guest(past, &facts, &site.file, &site.model);
    let guests = range.run.iter().map(guest).collect();
    let scene = Scene {
        voltage: facts.voltage().unwrap_or(Scene::default().voltage),
        loads: std::mem::take(&mut facts.loads),
        told: std::mem::take(&mut facts.signals),
        ..Scene::default()
    };
    Ok((books.close(), scene, guests, missing))
}

/// Runs all of them at once, each on a thread of its own.
fn run_all(stage: Stage, players: Vec<Player>, is_shown: bool) -> anyhow::Result<(Stage, Vec<Run>)> {
    let bar = Progress::new("running", stage.from_ms, stage.frame.until_ms, players.len(), is_shown);
    let runs: anyhow::Result<Vec<Run>> = std::thread::scope(|scope| {
        let begin = |player| {
            let (mut bar, stage) = (bar.clone(), &stage);
            scope.spawn(move || play::run(stage, player, |at| bar.tell(at)))
        };
        let threads: Vec<_> = players.into_iter().map(begin).collect();
        let ended = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<Run>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a run ended early")))
        };
        threads.into_iter().map(ended).collect()
    });
    bar.end();
    Ok((stage, runs?))
}

fn note_history(
    notes: &mut Vec<String>,
    range: &Range,
    left_out: u64,
    missing: &[Missing],
    deciders: &[Decided],
) {
    if left_out > 0 {
        notes.push(format!(
            "{left_out} stays of the site, of all times, are left out: no register tells what they drew"
        ));
    }
    if range.cut > 0 {
        notes
            .push(format!("{} vehicles stood there before the run begins, and come as it begins", range.cut));
    }
    if !missing.is_empty() {
        let told = missing
            .iter()
            .take(MOST_TOLD)
            .map(|gap| format!("entries {} (noted {})", gap.what, shown(gap.at)));
        let more = missing.len().saturating_sub(MOST_TOLD);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("the history has gaps: {}{more}", told.collect::<Vec<_>>().join("; ")));
    }
    if deciders.len() > 1 {
        let told = deciders.iter().take(MOST_TOLD);
        let told: Vec<_> = told.map(|d| format!("{} ({} decisions)", d.policy, d.decisions)).collect();
        notes.push(format!("several policies, versions or settings decided: {}", told.join(", ")));
    }
}

fn note_program(notes: &mut Vec<String>, program: Option<Result<String, String>>) {
    match program {
        Some(Ok(program)) if program != replay::PROGRAM => {
            notes.push(format!(
                "it was decided by {program}, this is {}: rules may have changed",
                replay::PROGRAM
            ));
        }
        Some(Err(why)) => notes.push(format!("a keyframe of the history: {why}")),
        _ => {}
    }
}

fn note_signals(notes: &mut Vec<String>, scene: &Scene, outside: &Outside) {
    let is_told = |of: fn(&Heard) -> bool| scene.told.iter().any(|(_, input)| of(&input.heard));
    let both = [
        ("prices", outside.prices.is_some() && is_told(|heard| matches!(heard, Heard::Price(_)))),
        ("surplus", outside.surplus.is_some() && is_told(|heard| matches!(heard, Heard::Surplus(_)))),
    ];
    for (what, _) in both.iter().filter(|(_, both)| *both) {
        notes.push(format!(
            "the policies are told the {what} that the site was told then; the file only counts"
        ));
    }
}

fn note_failures(notes: &mut Vec<String>, runs: &[Run]) {
    for run in runs.iter().filter(|run| run.ran.failures > 0) {
        let (failures, decisions) = (run.ran.failures, run.ran.decisions);
        notes.push(format!(
            "{} gave no plan for {failures} of {decisions} decisions; another stood in",
            run.name
        ));
    }
}
