//! Journals of former lives: what a restored copy of the journal's folder held, on its way up.
//!
//! Each has a journal's actor and an uplink of its own, under its own life, beside those of the node. Nothing is added to
//! it any more. One whose last entry the lake has is removed at the next start.

use std::path::Path;
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use serde_json::Value;
use tokio::sync::watch;
use wattle_wire::Micros;

use crate::actors::journal::{Journal, Shared};
use crate::checkpoint::Checkpoint;
use crate::journal::{self, Journal as Log, Options};
use crate::restore::{self, Known, Machines};

/// Opens the journals of former lives below a journal's folder, and removes those that are empty. While the journal is
/// new, the devices' machines go on from them, one life after the other; gives also what they know by then of the new one's rows, some of
/// which a copy may have brought along.
///
/// # Errors
/// When a machine can't be brought to where one of them ends.
pub(crate) fn open(
    of: &Options,
    is_new: bool,
    machines: &mut Machines,
    now: Micros,
) -> anyhow::Result<(Vec<Log>, Known)> {
    let (mut logs, mut known) = (Vec::new(), Known::new());
    // A folder that can't be listed has been opened before; then there is nothing to do but go on.
    for dir in journal::former(&of.dir).unwrap_or_default() {
        let options = Options { dir: dir.clone(), is_former: true, sites: 0, ..of.clone() };
        let (log, recovery) = match Log::open(options, now) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, dir = %dir.display(), "what stands in a former life's journal doesn't go up");
                continue;
            }
        };
        if is_new {
            known = restore::restore_former(recovery, machines, known)?;
        }
        if log.stats().depth == 0 && !is_new {
            drop(log);
            remove(&dir);
            continue;
        }
        tracing::warn!(life = %log.incarnation(), entries = log.stats().depth, "entries of a former life go up");
        logs.push(log);
    }
    Ok((logs, known))
}

fn remove(dir: &Path) {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => {
            tracing::info!(dir = %dir.display(), "the lake has all of a former life; its folder is removed")
        }
        Err(error) => tracing::warn!(%error, dir = %dir.display(), "a former life's folder can't be removed"),
    }
}

/// Starts the actor of a former life's journal; gives also what its uplink waits for.
pub(crate) fn start(
    log: Log,
    shared: &Shared,
    thread: &ArbiterHandle,
) -> (Addr<Journal>, watch::Receiver<u64>) {
    let (sealed, sealed_to) = watch::channel(0);
    let board: Arc<Mutex<Value>> = Arc::default();
    let shared = Shared { board, sealed, is_former: true, ..shared.clone() };
    let actor = Supervisor::start_in_arbiter(thread, move |_| {
        Journal::new(log, shared, Vec::new(), Checkpoint::default())
    });
    (actor, sealed_to)
}
