//! One run of a site under a policy.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use wattle_edge::policy::{OFF, SitePolicy, Source};
use wattle_edge::replay::components;
use wattle_edge_core::Heard;
use wattle_site::Control;
use wattle_wire::Micros;

use super::books::{Books, Column, Frame};
use super::history::Decided;
use crate::simulate::cost::Outside;
use crate::simulate::edge::Edge;
use crate::simulate::guest::Guest;
use crate::simulate::journal::Journal;
use crate::simulate::load_policy;
use crate::simulate::site::Equipped;
use crate::simulate::world::{Ran, Scene, World};

/// What every run of a backtest shares.
pub struct Stage {
    /// The site, with its chargers.
    pub site: Equipped,
    /// Who comes.
    pub guests: Vec<Guest>,
    /// What is around.
    pub scene: Scene,
    /// What is counted.
    pub frame: Arc<Frame>,
    /// When it begins, ms.
    pub from_ms: u64,
}

/// A policy that can be run.
pub struct Player {
    /// Name and version.
    pub name: String,
    /// It.
    policy: SitePolicy,
}

/// What a run came to.
pub struct Run {
    /// Who decided.
    pub name: String,
    /// Its rows.
    pub column: Column,
    /// What is told from outside the edge.
    pub ran: Ran,
}

/// Loads a policy with its settings.
///
/// # Errors
/// [`crate::Usage`] if it can't be used.
pub fn load(control: &Control, folder: &Path, name: &str, settings: toml::Table) -> anyhow::Result<Player> {
    let control = Control { policy: name.to_owned(), settings, shadow: None, ..control.clone() };
    let (name, policy) = load_policy(folder, &control)?;
    Ok(Player { name, policy })
}

/// The policy that decided, with the settings that it had, if its component is in the folder.
///
/// # Errors
/// A sentence that says what is missing.
pub fn find(decided: &Decided, control: &Control, folder: &Path) -> Result<(String, toml::Table), String> {
    if decided.policy_digest == 0 {
        return Ok((OFF.to_owned(), toml::Table::new()));
    }
    let path = components(folder).remove(&decided.policy_digest).ok_or_else(|| {
        format!(
            "{}, whose SHA-256 begins with {:016x}, is not in {}: put that component there, under any name, or name it with --against",
            decided.policy,
            decided.policy_digest,
            folder.display()
        )
    })?;
    let path = path.display().to_string();
    let shadow = control.shadow.as_ref().map(|shadow| &shadow.settings);
    let fits = |settings: &&toml::Table| {
        let source = Source::with_settings(PathBuf::from(&path), control, settings);
        source.settings_digest() == decided.settings_digest
    };
    let none = toml::Table::new();
    let mut all = std::iter::once(&control.settings).chain(shadow).chain(std::iter::once(&none));
    let settings = all.find(fits).cloned();
    settings.map(|settings| (path, settings)).ok_or_else(|| {
        format!(
            "{} had other settings than the site's configuration says; give --against and --against-settings",
            decided.policy
        )
    })
}

/// Runs the site from its begin to its end.
///
/// # Errors
/// When the site makes no sound model.
pub fn run(stage: &Stage, player: Player, progress: impl FnMut(u64)) -> anyhow::Result<Run> {
    let books = Arc::new(Mutex::new(Books::new(stage.frame.clone())));
    let listener = books.clone();
    let journal = Journal::listened(move |at, row| {
        listener.lock().expect("nobody panics with it").take(at, &row);
    });
    let from = Micros::from_millis(i64::try_from(stage.from_ms)?);
    let edge = Edge::new(&stage.site, player.policy, told(stage), journal, from)?;
    let ran = World::new(&stage.site, &stage.guests, &stage.scene, edge, stage.from_ms).run(progress)?;
    let books = Arc::into_inner(books).context("the run has not ended")?;
    let column = books.into_inner().expect("nobody panics with it").close();
    Ok(Run { name: player.name, column, ran })
}

/// Prices and surplus from files, as far as history tells of none.
fn told(stage: &Stage) -> Outside {
    let is_told = |of: fn(&Heard) -> bool| stage.scene.told.iter().any(|(_, input)| of(&input.heard));
    let Outside { prices, surplus } = stage.frame.outside.clone();
    Outside {
        prices: prices.filter(|_| !is_told(|heard| matches!(heard, Heard::Price(_)))),
        surplus: surplus.filter(|_| !is_told(|heard| matches!(heard, Heard::Surplus(_)))),
    }
}
