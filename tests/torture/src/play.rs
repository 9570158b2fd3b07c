//! A run: the blows, the settling, the comparison.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use wattle_edge::journal::{Journal, Options as JournalOptions};
use wattle_wire::uplink::Incarnation;
use wattle_wire::{EdgeId, Micros};

use crate::book::Book;
use crate::cast::Cast;
use crate::place::Place;
use crate::plan::{Blow, Target, Way, What, When, plan};
use crate::report::Outcome;
use crate::tail::Tail;
use crate::{EDGE, check, lake};

/// How long the line may take to do again what it did before, on a machine that has other things to do as well.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the plan comes from.
    pub seed: u64,
    /// How many kills.
    pub kills: usize,
    /// Which way.
    pub way: Way,
    /// Where the run leaves what it leaves.
    pub folder: PathBuf,
}

/// Runs it.
///
/// # Errors
/// When something can't be started, ends by itself, or doesn't go on.
pub fn run(options: &Options) -> Result<Outcome> {
    let began = Instant::now();
    let mut cast = Cast::new(Place::new(&options.folder, options.seed)?, options.way)?;
    for target in options.way.targets() {
        cast.node(target).start()?;
        cast.wait_for(target, PATIENCE)?;
    }
    let mut run = Run { tail: Tail::default(), log: Log::new(&cast.place)?, cast, committed: 0, heard: 0 };
    let blows = plan(options.seed, options.kills, options.way);
    let mut kills = 0;
    for blow in &blows {
        run.log.say(&format!("{kills} of {} kills; {blow}", options.kills))?;
        run.blow(blow).with_context(|| format!("after {kills} kills, at the blow: {blow}"))?;
        kills += blow.what.kills();
    }
    run.log.say(&format!("{kills} kills; settling"))?;
    let (incarnation, end) = run.settle().context("after the last kill")?;
    run.log.end();
    let processes =
        run.cast.nodes().map(|node| (node.target.as_str(), node.kills, node.pauses, node.starts)).collect();
    let starts = run.cast.node(Target::Devices).starts;
    let book = Book::read(&run.cast.place.books(), starts)?;
    let rows = block_on(lake::read(&run.cast.place.lake()))?;
    let mut findings =
        check::compare(&book, &rows, &BTreeMap::from([(format!("{EDGE}/{incarnation}"), end)]));
    findings.strange.extend(panics(&run.cast)?);
    Ok(Outcome {
        seed: options.seed,
        way: options.way,
        processes,
        rows: rows.readings,
        in_gaps: rows.in_gaps,
        entries: end,
        findings,
        took: began.elapsed(),
    })
}

struct Run {
    cast: Cast,
    tail: Tail,
    log: Log,
    /// How far the lake was known to be at the last blow.
    committed: u64,
    /// How many acknowledgements had been heard at the last blow.
    heard: u64,
}

impl Run {
    fn blow(&mut self, blow: &Blow) -> Result<()> {
        self.wait(blow.when)?;
        self.cast.rest(blow.after)?;
        match &blow.what {
            What::Kill { targets, down } => {
                self.cast.kill(targets)?;
                self.cast.rest(*down)?;
                targets.iter().try_for_each(|target| self.cast.node(*target).start())
            }
            What::KillTwice { target, down, again } => {
                for lives in [*again, Duration::ZERO] {
                    self.cast.kill(&[*target].into())?;
                    self.cast.rest(*down)?;
                    self.cast.node(*target).start()?;
                    self.cast.rest(lives)?;
                }
                Ok(())
            }
            What::Pause { target, span } => {
                self.cast.node(*target).stop()?;
                let rested = self.cast.rest(*span);
                self.cast.node(*target).go_on()?;
                rested
            }
        }
    }

    fn wait(&mut self, when: When) -> Result<()> {
        let Self { cast, tail, committed, heard, .. } = self;
        match when {
            When::Anyhow => {}
            When::Acknowledging => {
                cast.until("the edge acknowledges again", PATIENCE, |cast| {
                    tail.follow(cast)?;
                    Ok((tail.heard() > *heard).then_some(()))
                })?;
            }
            When::Committing => {
                cast.until("the lake gets further", PATIENCE, |cast| {
                    Ok(cast.committed().filter(|now| now > committed).map(|_| ()))
                })?;
            }
        }
        tail.follow(cast)?;
        *heard = tail.heard();
        *committed = cast.committed().unwrap_or(0).max(*committed);
        Ok(())
    }

    /// Waits until everything works, stops the devices, then the rest, each when the one before it has taken what there is.
    fn settle(&mut self) -> Result<(Incarnation, u64)> {
        let Self { cast, tail, .. } = self;
        let mut ailing = None;
        let healthy = cast.until("everything is healthy", PATIENCE, |cast| {
            ailing = cast.ailing();
            Ok(ailing.is_none().then_some(()))
        });
        healthy.with_context(|| ailing.unwrap_or_default())?;
        tail.follow(cast)?;
        let made = tail.made();
        cast.until("each device's last readings are acknowledged", PATIENCE, |cast| {
            tail.follow(cast)?;
            Ok(tail.acknowledged(&made).then_some(()))
        })?;
        cast.node(Target::Devices).terminate(PATIENCE)?;
        let durable = cast.until("the edge says how far its journal is", PATIENCE, |cast| {
            Ok(cast.edge_journal().and_then(|journal| journal["durable"].as_u64()))
        })?;
        advance(cast, "the edge knows that the lake has all", durable, |cast| {
            Ok(cast.committed().unwrap_or(0))
        })?;
        cast.node(Target::Edge).terminate(PATIENCE)?;
        let (incarnation, end) = journal_end(cast)?;
        let (edge, folder) = (EdgeId::new(EDGE)?, cast.place.lake());
        advance(cast, "the lake has all of the journal", end, |_| {
            block_on(lake::position(&folder, &edge, incarnation))
        })?;
        for target in [Target::Fog, Target::Mosquitto, Target::Kafka] {
            if cast.nodes().any(|node| node.target == target) {
                cast.node(target).terminate(PATIENCE)?;
            }
        }
        Ok((incarnation, end))
    }
}

/// Waits until a count has reached `end`, as long as it grows.
fn advance(cast: &mut Cast, what: &str, end: u64, mut count: impl FnMut(&Cast) -> Result<u64>) -> Result<()> {
    let mut at = count(cast)?;
    while at < end {
        let what = format!("{what}: it stands at {at} of {end}");
        at = cast.until(&what, PATIENCE, |cast| Ok(Some(count(cast)?).filter(|now| *now > at)))?;
    }
    Ok(())
}

/// Which life of the journal it is, and its last number.
fn journal_end(cast: &Cast) -> Result<(Incarnation, u64)> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = Micros(i64::try_from(since.as_micros())?);
    let (journal, recovery) =
        Journal::open(JournalOptions::new(cast.place.journal(), EdgeId::new(EDGE)?), now)?;
    Ok((recovery.incarnation, journal.stats().next_sequence - 1))
}

/// What the processes' logs have of panics: a part that was restarted by its supervisor, say.
fn panics(cast: &Cast) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for node in cast.nodes() {
        let name = node.target.as_str();
        let bytes = fs::read(cast.place.at(&format!("{name}.log")))?;
        let text = String::from_utf8_lossy(&bytes);
        found.extend(
            text.lines()
                .filter(|line| line.contains("panicked at"))
                .map(|line| format!("{name} says: {line}")),
        );
    }
    Ok(found)
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future)
}

/// What happened when, for whoever looks; a person at a terminal sees the last line.
struct Log {
    file: File,
    began: Instant,
}

impl Log {
    fn new(place: &Place) -> Result<Self> {
        Ok(Self { file: File::create(place.at("blows.log"))?, began: Instant::now() })
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        writeln!(self.file, "{} {text}", since.as_millis())?;
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{:>5} s  {text}", self.began.elapsed().as_secs());
        }
        Ok(())
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}
