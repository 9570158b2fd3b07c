//! The policy of a site: found, loaded, asked for a plan at each decision, replaced while the site runs.
//!
//! **Who decides.** The active version. When it fails (a trap, no fuel, no time, no memory, rubbish, a refusal), within the
//! same decision:
//! 1. the version that ran before it, if there is one; after a restart that is the last one that proved itself, if the
//!    file holds another ([`keep`]). What it leaves as state is dropped, so that the active version finds its own again;
//! 2. else its own last plan, for at most three decisions in a row and only while the same vehicles ask;
//! 3. else the built-in equal share.
//!
//! Whatever is proposed goes through the envelope. The event `policy_failed` says what failed and who stood in, and
//! each recorded decision names who proposed. 2 and 3 are the core's, 1 is [`SitePolicy`]'s. The node never stops for a
//! policy.
//!
//! **A new version.** [`watch`] sees that the file has changed, and loads it on a thread of its own: compiled, asked to
//! describe itself, shown its settings. Between two decisions it becomes the site's: in shadow for as many good decisions
//! as the site file says, then active; straight where the site file says 0 or the active version fails. A version that
//! can't be loaded, declines to take over the state, or fails too often in shadow is refused, and nothing changes. What failed only because
//! the machine was busy, or because the file couldn't be read, is tried again after a pause. An
//! active version that fails too often is rolled back. [`line`](mod@line) has these rules, without a guest. Each step
//! is an event.
//!
//! **State.** What the last plan left belongs to the active version. A version of the same name that decides after another
//! gets it through `migrate-state`. If it declines that is a failure while the other can stand in, and else it begins with
//! nothing, which is an event; a policy of another name begins with nothing. So the state that a decision began with follows from the decisions and events before it. A shadow has a state
//! of its own; when it becomes active it takes over that of the one before it, whose plans were obeyed.
//!
//! **Shadow.** What a shadow would have done, envelope included, is a row beside the decision; see [`shadow`]. It is asked after
//! the setpoints have gone out, on a thread of its own; see [`aside`].
//!
//! Bounds: each call as in [`wattle_policy_host::Limits`]; at one decision at most the active version, the one before it,
//! and two shadows are asked. Code is shared by all sites of the node that use the same bytes, and kept over restarts in
//! the data folder; see [`wattle_policy_host::Cache`].

pub mod aside;
pub mod keep;
pub mod line;
mod once;
mod proof;
mod retry;
pub mod shadow;
mod site;
mod version;
pub mod watch;

#[cfg(test)]
pub(crate) mod migrate_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};

use wattle_policy_host::sign::KeyRing;
use wattle_policy_host::{Cache, Host, HostError, Limits};

use crate::config::Config;

pub use retry::Retry;
pub use site::{Back, Figures, Note, Placed, Role, Running, SitePolicy, Standing, Stands};
pub use version::{Source, Unusable, Version, first_eight, mark, read};

/// Environment variable that names the folder with policies.
pub const FOLDER_VARIABLE: &str = "WATTLE_POLICIES";
/// What a site file names where no policy is to run.
pub const OFF: &str = "off";
const INSTALLED: &str = "/usr/lib/wattle/policies";
/// The folder of compiled code in the data folder.
const CACHE: &str = "policy-code";

/// The folder with policies: the configured one; else `$WATTLE_POLICIES`; else `policies` beside the program
/// or one folder above; else `/usr/lib/wattle/policies`.
pub fn folder(configured: Option<&Path>) -> PathBuf {
    if let Some(folder) = configured {
        return folder.to_owned();
    }
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) {
        return folder.into();
    }
    let program = std::env::current_exe().unwrap_or_default();
    let near = program.ancestors().skip(1).take(3).map(|folder| folder.join("policies"));
    near.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| INSTALLED.into())
}

/// Where the component of a policy is: a path that ends in `.wasm` as it stands, a name in the folder.
pub fn path(folder: &Path, policy: &str) -> PathBuf {
    if policy.ends_with(".wasm") { policy.into() } else { folder.join(format!("{policy}.wasm")) }
}

/// The same host, trusting what the configuration says. A ring that can't be read trusts nobody.
pub fn trusting(host: Host, config: &Config) -> Host {
    let Some(folder) = &config.policy_keys else { return host };
    let ring = KeyRing::read(folder).unwrap_or_else(|error| {
        tracing::error!(%error, "the keys that sign policies can't be read; nothing that is signed is trusted");
        KeyRing::default()
    });
    host.trusting(ring, config.policy_unsigned)
}

/// The runtime of a node with these bounds, with compiled code kept in its data folder if that can be.
///
/// # Errors
/// When the runtime doesn't start.
pub fn host(data: &Path, limits: Limits) -> Result<Host, HostError> {
    match Cache::open(&data.join(CACHE)) {
        Ok(cache) => Host::with_cache(limits, cache),
        Err(error) => {
            tracing::warn!(%error, "compiled policies are not kept; each start compiles them");
            Host::new(limits)
        }
    }
}
