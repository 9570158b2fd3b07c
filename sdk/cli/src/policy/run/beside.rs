//! A policy beside a live edge node: at each decision it sees what the node saw, and what it would have done stands beside what was done.
//!
//! The node shows its last decisions on a page (`docs/edge.md`); this asks for them one after the other. The policy runs here and its state
//! stays here. Its plan goes through the envelope on the snapshot alone, which knows no raise delay and takes what was sent as confirmed;
//! where it proposes what the policy of the site has proposed, the envelope has made of it what was done.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Deserialize;
use serde_json::{Value, json};
use wattle_edge::replay::beside::ComparedCharger;
use wattle_edge_core::fit;
use wattle_wire::policy::{Plan, Snapshot};
use wattle_wire::{DeviceId, Milliamps, SiteId};

use super::{Args, Asked, leave};
use crate::output::{Output, plain};
use crate::replay::entries::shown;
use crate::replay::report::line;
use crate::{Usage, http};

/// How long a node that has answered may be away.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a node is asked, whatever its control interval is.
const OFTEN: Duration = Duration::from_millis(50);
const SELDOM: Duration = Duration::from_secs(1);

/// A page of decisions.
#[derive(Debug, Deserialize)]
struct Page {
    run_us: u64,
    next: u64,
    decisions: Vec<Seen>,
}

/// A decision of the node.
#[derive(Debug, Deserialize)]
struct Seen {
    number: u64,
    cause: Option<String>,
    policy: Option<String>,
    chargers: Vec<Done>,
    snapshot: Snapshot,
}

/// What was done at a charger.
#[derive(Debug, Deserialize)]
struct Done {
    charger: DeviceId,
    proposed_ma: Milliamps,
    setpoint_ma: Milliamps,
}

/// What both did at a charger that asks.
#[derive(Debug, PartialEq, Eq)]
struct Both {
    charger: ComparedCharger,
    proposed_ma: Milliamps,
    would_propose_ma: Milliamps,
    reason: String,
}

/// What it came to.
#[derive(Debug, Default)]
struct Sum {
    decisions: u64,
    otherwise: u64,
    failed: u64,
    missed: u64,
    most_fuel: u64,
}

/// Runs until Ctrl-C, or so many decisions.
///
/// # Errors
/// [`Usage`] for an address or a site that can't be used; another when the node doesn't answer, or the policy gave no plan.
pub async fn run(args: &Args, url: &str, asked: Asked) -> anyhow::Result<()> {
    let mut node = Node::find(url, args.site.as_ref()).await?;
    let mut beside = Beside {
        name: asked.name(),
        asked,
        output: Output::open(None)?,
        json: args.json,
        sum: Sum::default(),
    };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let followed = loop {
        let page = tokio::select! {
            _ = &mut interrupted => break Ok(()),
            page = node.next() => page,
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => break Err(error),
        };
        beside.sum.missed += page.missed;
        let left = args
            .ticks
            .map_or(usize::MAX, |ticks| usize::try_from(ticks - beside.sum.decisions).unwrap_or(usize::MAX));
        for seen in page.decisions.into_iter().take(left) {
            beside.take(&seen)?;
        }
        if args.ticks.is_some_and(|ticks| beside.sum.decisions >= ticks) {
            break Ok(());
        }
    };
    if beside.sum.decisions == 0 && followed.is_err() {
        return followed;
    }
    leave(args, &beside.asked.state)?;
    beside.end()?;
    followed
}

/// The edge node that is looked at.
struct Node {
    url: String,
    path: String,
    run_us: Option<u64>,
    next: u64,
    pause: Duration,
}

/// What is new.
struct News {
    decisions: Vec<Seen>,
    missed: u64,
}

impl Node {
    async fn find(url: &str, site: Option<&SiteId>) -> anyhow::Result<Self> {
        let (_, status) = http::get(url, "/status").await.map_err(|error| match error.is::<Usage>() {
            true => error,
            false => error.context(format!("no answer from {url}")),
        })?;
        let Some(sites) = status["sites"].as_array() else {
            return Err(Usage(format!("{url} is no edge node")).into());
        };
        let sites: Vec<&str> = sites.iter().filter_map(|site| site["id"].as_str()).collect();
        let site = match (site, sites.as_slice()) {
            (Some(site), sites) if sites.contains(&site.as_str()) => site.as_str(),
            (None, [site]) => site,
            (Some(site), _) => {
                return Err(Usage(format!("{url} has no site {site}; it has {}", sites.join(", "))).into());
            }
            (None, _) => {
                return Err(Usage(format!("name one of the sites with --site: {}", sites.join(", "))).into());
            }
        };
        Ok(Self {
            url: url.to_owned(),
            path: format!("/decisions/{site}"),
            run_us: None,
            next: 0,
            pause: Duration::ZERO,
        })
    }

    /// Waits for decisions; begins with the last one.
    async fn next(&mut self) -> anyhow::Result<News> {
        let mut away_since = None;
        loop {
            tokio::time::sleep(self.pause).await;
            let path = match self.run_us {
                Some(_) => format!("{}/{}", self.path, self.next),
                None => self.path.clone(),
            };
            let page = match (http::get(&self.url, &path).await, self.run_us) {
                (Ok((200, page)), _) => self.read(page)?,
                (Ok((code, page)), _) => bail!(
                    "{} doesn't show its decisions ({code}: {}); is it older than this `wattle`?",
                    self.url,
                    page["error"].as_str().unwrap_or_default()
                ),
                (Err(error), None) => return Err(error.context(format!("no answer from {}", self.url))),
                (Err(error), Some(_)) => {
                    let since = *away_since.get_or_insert_with(|| {
                        eprintln!("wattle: no answer from {} ({error:#}); asking again", self.url);
                        Instant::now()
                    });
                    if since.elapsed() > PATIENCE {
                        return Err(error.context(format!("no answer from {} any more", self.url)));
                    }
                    self.pause = SELDOM;
                    continue;
                }
            };
            if !page.decisions.is_empty() {
                return Ok(page);
            }
        }
    }

    fn read(&mut self, page: Value) -> anyhow::Result<News> {
        let page: Page = serde_path_to_error::deserialize(page).map_err(|error| {
            anyhow::anyhow!(
                "{} says what this `wattle` doesn't understand: {}: {}; use the one of its version",
                self.url,
                error.path(),
                error.inner()
            )
        })?;
        if let Some(wrong) = page.decisions.iter().find_map(|seen| seen.snapshot.check().err()) {
            bail!("{} shows a snapshot that doesn't fit together: {wrong}", self.url);
        }
        let is_same_run = self.run_us.replace(page.run_us).is_none_or(|run| run == page.run_us);
        if !is_same_run {
            eprintln!("wattle: {} was started again", self.url);
        }
        let first = page.decisions.first();
        // A page begins at the number that was asked for, or at the first that is still kept.
        let missed = first
            .filter(|_| is_same_run && self.next > 0)
            .map_or(0, |seen| seen.number.saturating_sub(self.next));
        if let Some(last) = page.decisions.last() {
            let interval = u64::try_from(last.snapshot.interval_ms.0).unwrap_or_default();
            self.pause = Duration::from_millis(interval / 2).clamp(OFTEN, SELDOM);
        } else {
            self.pause = self.pause.clamp(OFTEN, SELDOM);
        }
        self.next = page.next;
        Ok(News { decisions: page.decisions, missed })
    }
}

/// The policy that is run beside.
struct Beside {
    name: String,
    asked: Asked,
    output: Output,
    json: bool,
    sum: Sum,
}

impl Beside {
    fn take(&mut self, seen: &Seen) -> anyhow::Result<()> {
        if self.sum.decisions == 0 && !self.json {
            let decides = seen.policy.as_deref().unwrap_or("nobody");
            writeln!(
                self.output,
                "{} beside {decides}: what was told -> what it would have told",
                self.name
            )?;
        }
        self.sum.decisions += 1;
        let decided = self.asked.policy.decide(&seen.snapshot, &self.asked.settings, &self.asked.state);
        let (both, log, fuel) = match decided {
            Ok(decided) => {
                let both = compare(seen, &decided.plan);
                self.asked.state = decided.plan.state;
                (Ok(both), decided.log, decided.fuel)
            }
            Err(error) => (Err(error.to_string()), Vec::new(), 0),
        };
        self.sum.most_fuel = self.sum.most_fuel.max(fuel);
        match &both {
            Ok(both) => self.sum.otherwise += u64::from(both.iter().any(Both::is_otherwise)),
            Err(_) => self.sum.failed += 1,
        }
        let text = if self.json {
            told(seen, &both, &log, fuel).to_string()
        } else {
            plain(&text(seen, both, &log))
        };
        writeln!(self.output, "{text}")?;
        Ok(self.output.flush()?)
    }

    fn end(mut self) -> anyhow::Result<()> {
        let Sum { decisions, otherwise, failed, missed, most_fuel } = self.sum;
        if self.json {
            let sum = json!({
                "policy": self.name, "decisions": decisions, "otherwise": otherwise, "failed": failed, "missed": missed,
                "most_fuel": most_fuel,
            });
            writeln!(self.output, "{sum}")?;
        } else {
            let missed = if missed > 0 { format!("; {missed} were missed") } else { String::new() };
            writeln!(
                self.output,
                "{decisions} decisions, {otherwise} of them otherwise, {failed} without a plan{missed}; at most {most_fuel} fuel"
            )?;
        }
        self.output.finish()?;
        if failed > 0 {
            bail!("{} gave no plan for {failed} of {decisions} decisions", self.name);
        }
        Ok(())
    }
}

impl Both {
    fn is_otherwise(&self) -> bool {
        self.charger.was_told != self.charger.would_have
    }
}

/// Each charger that asks.
fn compare(seen: &Seen, plan: &Plan) -> Vec<Both> {
    let done: BTreeMap<&DeviceId, &Done> = seen.chargers.iter().map(|done| (&done.charger, done)).collect();
    let asks = fit(&seen.snapshot, plan);
    let both = asks.into_iter().map(|fitted| {
        let id = &seen.snapshot.chargers[fitted.charger].id;
        let would = plan.allocations.iter().find(|allocation| allocation.charger as usize == fitted.charger);
        let done = done.get(id);
        Both {
            charger: ComparedCharger {
                charger: id.clone(),
                was_told: done.map_or(Milliamps::ZERO, |done| done.setpoint_ma),
                would_have: fitted.setpoint_ma,
            },
            proposed_ma: done.map_or(Milliamps::ZERO, |done| done.proposed_ma),
            would_propose_ma: would.map_or(Milliamps::ZERO, |would| would.limit_ma),
            reason: would.map_or_else(String::new, |would| would.reason.clone()),
        }
    });
    let mut both: Vec<Both> = both.collect();
    if both.iter().all(|both| both.proposed_ma == both.would_propose_ma) {
        both.iter_mut().for_each(|both| both.charger.would_have = both.charger.was_told);
    }
    both
}

fn text(seen: &Seen, both: Result<Vec<Both>, String>, log: &[String]) -> String {
    let at = shown(seen.snapshot.now_us);
    let chargers = both.map(|both| both.into_iter().map(|both| both.charger).collect::<Vec<_>>());
    let mut text = match &chargers {
        Ok(chargers) if chargers.is_empty() => format!("{at}  nobody asks"),
        chargers => format!("{at}  {}", line(chargers.as_deref().map_err(String::as_str))),
    };
    log.iter().for_each(|line| text += &format!("\n    {line}"));
    text
}

fn told(seen: &Seen, both: &Result<Vec<Both>, String>, log: &[String], fuel: u64) -> Value {
    let charger = |both: &Both| {
        json!({
            "charger": both.charger.charger,
            "proposed_ma": both.proposed_ma,
            "would_propose_ma": both.would_propose_ma,
            "setpoint_ma": both.charger.was_told,
            "would_have_ma": both.charger.would_have,
            "reason": both.reason,
        })
    };
    json!({
        "number": seen.number,
        "at": shown(seen.snapshot.now_us),
        "cause": seen.cause,
        "decided_by": seen.policy,
        "fuel": fuel,
        "log": log,
        "failed": both.as_ref().err(),
        "chargers": both.as_ref().map_or_else(|_| Vec::new(), |both| both.iter().map(charger).collect()),
    })
}

#[cfg(test)]
#[path = "beside_tests.rs"]
mod tests;
