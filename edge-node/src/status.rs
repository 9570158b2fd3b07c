//! The status page: what the node knows of itself, as JSON. `docs/edge.md` describes it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wattle_wire::message::ChargerState;
use wattle_wire::policy::{self, Snapshot};
use wattle_wire::row::{DecidedCharger, Row};
use wattle_wire::{EdgeId, Micros, Milliamps, PerPhase, SiteId};

use crate::down::Board;
use crate::mqtt::Lane;
use crate::policy::{Running, Stands};
use crate::recent::{self, Decided, Recent};

#[derive(Default)]
struct Last {
    /// A decision that was not recorded has decided the same as the last one that was.
    recent: Recent,
    /// Who is asked, the active version first.
    running: Vec<Running>,
}

/// What a site has last decided; its actor writes it, the pages read it.
pub struct SiteBoard {
    id: SiteId,
    /// Tells the decisions of this run of the node from those of another.
    run_us: u64,
    last: Mutex<Last>,
}

impl SiteBoard {
    /// A site that has decided nothing yet.
    pub fn new(id: SiteId) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run_us = u64::try_from(since_1970.as_micros()).unwrap_or_default();
        Self { id, run_us, last: Mutex::default() }
    }

    /// Takes a decision: what it was made on, its rows, and which policies are asked.
    pub fn decided(&self, snapshot: Snapshot, rows: &[Row], running: Vec<Running>) {
        let decision = rows.iter().find_map(|row| match row {
            Row::Decision(decision) => Some(Arc::new(decision.clone())),
            _ => None,
        });
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = decision.or_else(|| last.recent.last()?.recorded.clone());
        last.recent.take(Decided { snapshot: Arc::new(snapshot), recorded }, Instant::now());
        last.running = running;
    }

    /// Takes which policies are asked from now on.
    pub fn runs(&self, running: Vec<Running>) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).running = running;
    }

    /// The decisions from a number on, or the newest.
    fn decisions(&self, edge: &EdgeId, number: Option<u64>) -> Value {
        let (page, next) =
            self.last.lock().unwrap_or_else(PoisonError::into_inner).recent.from(number, Instant::now());
        let decisions = page.iter().map(|(number, decided)| recent::page(*number, decided));
        json!({
            "edge": edge,
            "site": self.id,
            "run_us": self.run_us,
            "next": next,
            "decisions": decisions.collect::<Vec<_>>(),
        })
    }

    fn json(&self, documents: &Board) -> Value {
        let deployed = documents.page(&self.id);
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Last { recent, running } = &*last;
        let Some(Decided { snapshot, recorded }) = recent.last() else {
            let id = self.id.as_str();
            return json!({"id": id, "decided_us": null, "deployed": deployed, "circuits": [], "chargers": []});
        };
        let recorded = recorded.as_deref();
        let circuits: Vec<Value> = snapshot.circuits.iter().map(circuit).collect();
        let chargers: Vec<Value> = snapshot
            .chargers
            .iter()
            .map(|c| charger(c, recorded.iter().flat_map(|d| &d.chargers).find(|d| d.charger == c.id)))
            .collect();
        let shadows = running.iter().filter(|running| running.stands != Stands::Active);
        json!({
            "id": self.id.as_str(),
            "decided_us": snapshot.now_us.0,
            "cause": recorded.map(|d| d.cause.as_str()),
            "policy": recorded.map(|d| d.policy.as_str()),
            "shadows": shadows.map(|running| running.policy.as_str()).collect::<Vec<_>>(),
            "policies": running.iter().map(self::running).collect::<Vec<_>>(),
            "deployed": deployed,
            "signals": signals(&snapshot.signals, snapshot.now_us),
            "circuits": circuits,
            "chargers": chargers,
        })
    }
}

/// Who is asked.
fn running(running: &Running) -> Value {
    let figures = &running.figures;
    json!({
        "state": running.stands.as_str(),
        "policy": running.policy,
        "sha256": wattle_process::sealed::hex(&running.component),
        "since_us": figures.since.map(|since| since.0),
        "decisions": figures.decisions,
        "failures": figures.failures,
        "last_failure": figures.last_failure,
        "of": running.of,
    })
}

/// What holds at the moment of the decision.
fn signals(signals: &policy::Signals, now: Micros) -> Value {
    let value = |series: &Option<policy::Series>| series.as_ref().and_then(|series| series.at(now));
    json!({
        "price": value(&signals.price),
        "surplus_w": value(&signals.surplus_w),
        "grid_limit_w": value(&signals.grid_limit_w),
    })
}

fn amps(current: PerPhase<Milliamps>) -> Value {
    json!(current.0.map(|c| c.0))
}

fn circuit(circuit: &policy::Circuit) -> Value {
    json!({
        "id": circuit.id.as_str(),
        "limit_ma": amps(circuit.limit_ma),
        "available_ma": amps(circuit.available_ma),
        "uncontrolled_ma": amps(circuit.uncontrolled_ma),
        "meter_stale": circuit.stale,
    })
}

fn charger(charger: &policy::Charger, decided: Option<&DecidedCharger>) -> Value {
    json!({
        "id": charger.id.as_str(),
        "state": state(charger.state),
        "online": charger.online,
        "draw_ma": amps(charger.draw_ma),
        "setpoint_ma": decided.map_or(charger.setpoint_ma.0, |d| d.setpoint_ma.0),
        "proposed_ma": decided.map(|d| d.proposed_ma.0),
        "reason": decided.map(|d| d.reason.as_str()),
        "session": charger.session.as_ref().map(|s| s.id.as_str()),
    })
}

fn state(state: ChargerState) -> &'static str {
    match state {
        ChargerState::Available => "available",
        ChargerState::Plugged => "plugged",
        ChargerState::Waiting => "waiting",
        ChargerState::Charging => "charging",
        ChargerState::Finished => "finished",
        ChargerState::Faulted => "faulted",
    }
}

/// Everything that the status page is made of.
pub struct Status {
    /// The node's name.
    pub edge: EdgeId,
    /// How the broker is run.
    pub broker: Box<dyn Fn() -> Value + Send + Sync>,
    /// The fsync policy.
    pub sync: &'static str,
    /// The connections to the broker.
    pub lanes: Vec<Lane>,
    /// The sites.
    pub sites: Vec<Arc<SiteBoard>>,
    /// The journal.
    pub journal: Arc<Mutex<Value>>,
    /// The uplink.
    pub uplink: Arc<Mutex<Value>>,
    /// The way down.
    pub documents: Board,
}

impl Status {
    /// The page.
    pub fn json(&self) -> Value {
        let read = |shared: &Mutex<Value>| shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "edge": self.edge.as_str(),
            "version": env!("CARGO_PKG_VERSION"),
            "broker": (self.broker)(),
            "connected": self.lanes.iter().all(Lane::is_connected),
            "sync": self.sync,
            "journal": read(&self.journal),
            "uplink": read(&self.uplink),
            "documents": self.documents.stream_page(),
            "sites": self.sites.iter().map(|site| site.json(&self.documents)).collect::<Vec<_>>(),
        })
    }

    /// A page beside: `decisions/<site>` is the newest decision, `decisions/<site>/<number>` those from that number on.
    pub fn find(&self, path: &str) -> Option<Value> {
        let (site, number) = match path.strip_prefix("decisions/")?.split_once('/') {
            Some((site, number)) => (site, Some(number.parse().ok()?)),
            None => (path.strip_prefix("decisions/")?, None),
        };
        let board = self.sites.iter().find(|board| board.id.as_str() == site)?;
        Some(board.decisions(&self.edge, number))
    }
}

#[cfg(test)]
mod tests {
    use wattle_wire::Micros;
    use wattle_wire::row::{Cause, Decision};

    use super::*;
    use crate::policy::Figures;

    #[test]
    fn a_decision_that_was_not_recorded_shows_what_it_was_made_on() {
        let id = SiteId::new("depot").expect("name");
        let board = SiteBoard::new(id.clone());
        let snapshot = |us| Snapshot {
            site: id.clone(),
            now_us: Micros(us),
            interval_ms: wattle_wire::Millis(1000),
            circuits: Vec::new(),
            chargers: Vec::new(),
            signals: policy::Signals::default(),
        };
        let decision = Decision {
            site: id.clone(),
            cause: Cause::Breach,
            policy: "equal-share".into(),
            policy_digest: 0,
            settings_digest: 0,
            fuel: 0,
            circuits: Vec::new(),
            chargers: Vec::new(),
            state: Vec::new(),
        };
        board.decided(snapshot(1), &[Row::Decision(decision)], Vec::new());
        let running = |stands, policy: &str| Running {
            stands,
            policy: policy.into(),
            component: [0; 32],
            figures: Figures { failures: 2, ..Figures::default() },
            of: None,
        };
        let running = vec![running(Stands::Active, "equal-share 1"), running(Stands::Trial, "mine 2")];
        board.decided(snapshot(2), &[], running);
        let page = board.json(&Board::default());
        assert_eq!(page["decided_us"], 2);
        assert_eq!(page["policy"], "equal-share");
        assert_eq!(page["shadows"], json!(["mine 2"]));
        assert_eq!((&page["policies"][0]["failures"], &page["deployed"]), (&json!(2), &Value::Null));

        let page = board.decisions(&EdgeId::new("edge-1").expect("name"), None);
        let decided = &page["decisions"][0];
        assert_eq!((&page["next"], &decided["number"]), (&json!(2), &json!(1)));
        assert_eq!((&decided["policy"], &decided["cause"]), (&json!("equal-share"), &json!("breach")));
        assert_eq!(
            serde_json::from_value::<Snapshot>(decided["snapshot"].clone()).expect("whole"),
            snapshot(2)
        );
    }
}
