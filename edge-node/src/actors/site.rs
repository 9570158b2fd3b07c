//! One per site: knows what is drawn, decides, sends setpoints, and puts the site's rows into their order.
//!
//! A thin shell over [`SiteMachine`]. All rows of a site go to the journal through here, in the order in
//! which the machine has seen them, so that a decision has seen exactly what stands before it.
//!
//! A decision is made at once on a reading that makes one due, and when the machine's next moment has come:
//! snapshot, policy, envelope, setpoints. Setpoints go out at once; they don't wait for the disk.
//!
//! Bounds: rows that no message with a permit has brought (decisions, refused logins) each hold one of
//! [`MAX_HELD`] permits of the site until they are in the journal. When these are taken, decisions go on but are
//! not recorded, which is counted and logged.
//!
//! A policy in shadow is asked after the setpoints have gone out, on a thread of its own; what it would have done comes back as
//! a message. A new version of a policy ([`Offer`]) comes in between two decisions.
//!
//! What the rows alone don't tell of the machine's way a [`Scribe`] writes down: **ticks** before each decision that is recorded, and
//! a **keyframe** at the start, every ten minutes, and after rows could not be recorded. So each recorded decision can be
//! made again ([`crate::replay`]).
//!
//! After [`Stop`] nothing is decided or recorded any more; rows of messages that were taken before still go to
//! the journal, because their devices' states know of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::Semaphore;
use wattle_edge_core::replay::Scribe;
use wattle_edge_core::{Due, SiteInput, SiteMachine};
use wattle_wire::row::{Cause, Event, EventKind, Row};
use wattle_wire::{DeviceId, Micros, SiteId, message};

use super::journal::{Append, Journal};
use crate::batch::Part;
use crate::checkpoint::Kept;
use crate::clock::Clock;
use crate::down::{Down, place::Order};
use crate::gate::Gate;
use crate::mqtt::Lane;
use crate::policy::aside::Imagined;
use crate::policy::{Role, SitePolicy, Source, Version};
use crate::replay;
use crate::status::SiteBoard;

/// The most rows of the site's own making that are on their way to the journal.
pub const MAX_HELD: usize = 10_000;

/// What a device, or the ingress for it, has for its site.
#[derive(Default, Message)]
#[rtype(result = "()")]
pub struct Intake {
    /// When it came.
    pub at: Micros,
    /// To journal, in order.
    pub rows: Vec<Row>,
    /// What the site has to know.
    pub inputs: Vec<SiteInput>,
    /// A device's state, which goes to the journal behind its rows.
    pub kept: Option<Kept>,
    /// The batch that it is a piece of.
    pub part: Option<Part>,
}

/// Hands the journal what has gathered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Flush;

/// A version of a policy that was found, or why it can't be used.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Offer {
    /// Which of the site's policies it is for.
    pub role: Role,
    /// Where it was found.
    pub source: Source,
    /// What was found.
    pub found: Result<Version, String>,
}

/// What the policies in shadow would have done.
#[derive(Message)]
#[rtype(result = "()")]
struct Beside(Imagined);

/// Something that was deployed, or refused.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deployed(pub Order);

/// The actor.
pub struct Site {
    id: SiteId,
    clock: Arc<Clock>,
    machine: SiteMachine,
    scribe: Scribe,
    policy: SitePolicy,
    /// Who keeps what was deployed.
    down: Down,
    lane: Lane,
    /// Where each charger gets its setpoints.
    topics: BTreeMap<DeviceId, String>,
    journal: Addr<Journal>,
    board: Arc<SiteBoard>,
    /// Rows that stand before everything else.
    first_rows: Vec<Row>,
    /// How long after its start it first decides by itself.
    first_wait: Duration,
    /// Where messages to itself go; none before it has started.
    address: Option<Addr<Self>>,
    outbox: Append,
    /// For rows of the site's own making.
    permits: Arc<Semaphore>,
    /// Whether it was told to stop.
    stopped: bool,
    /// Whether a [`Flush`] is on its way.
    flushing: bool,
    /// When the machine wants to be woken, and the timer that does.
    timer: Option<(Micros, SpawnHandle)>,
    gate: Gate,
    /// Why the policy gave no plan at the last decision, if it didn't.
    failure: Option<String>,
}

impl Site {
    /// The site of this machine, whose site file has this text; setpoints go out on `lane`, to the topic of their charger.
    /// `first_rows` are journaled before anything is decided.
    pub fn new(
        clock: Arc<Clock>,
        (machine, configuration): (SiteMachine, &str),
        (policy, down): (SitePolicy, Down),
        (lane, topics): (Lane, BTreeMap<DeviceId, String>),
        journal: Addr<Journal>,
        board: Arc<SiteBoard>,
        first_rows: Vec<Row>,
    ) -> Self {
        let scribe = Scribe::new(&machine, replay::PROGRAM, configuration);
        let id = machine.model().id.clone();
        Self {
            id,
            clock,
            machine,
            scribe,
            policy,
            down,
            lane,
            topics,
            journal,
            board,
            first_rows,
            first_wait: Duration::ZERO,
            address: None,
            outbox: Append::default(),
            permits: Arc::new(Semaphore::new(MAX_HELD)),
            stopped: false,
            flushing: false,
            timer: None,
            gate: Gate::new(Instant::now()),
            failure: None,
        }
    }

    /// First decides by itself so long after its start: so the sites of a node take turns, instead of all deciding in the same
    /// moment of each interval. What makes a decision due at once does so from the start.
    #[must_use]
    pub fn first_after(self, first_wait: Duration) -> Self {
        Self { first_wait, ..self }
    }

    /// Makes a decision; its setpoints go out at once.
    fn decide(&mut self, cause: Cause, now: Micros) {
        let started = Instant::now();
        let snapshot = self.scribe.begin_decision(&mut self.machine, now, cause);
        let before = self.policy.has_shadow().then(|| self.machine.clone());
        let proposal = self.policy.propose(&snapshot, self.machine.policy_state());
        self.report();
        let given = self.policy.given();
        let outcome = self.scribe.finish_decision(&mut self.machine, proposal, given, now);
        for send in &outcome.setpoints {
            let Some(topic) = self.topics.get(&send.device) else { continue };
            if self.lane.publish(topic.clone(), message::encode(&send.setpoint)) {
                metrics::counter!("wattle_edge_setpoints_total").increment(1);
            }
        }
        metrics::counter!("wattle_edge_decisions_total", "cause" => cause.as_str()).increment(1);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        metrics::counter!("wattle_edge_decision_micros_total").increment(micros);
        let is_recorded = outcome.rows.iter().any(|row| matches!(row, Row::Decision(_)));
        if let Some(address) = self.address.clone() {
            let tell = move |imagined| address.do_send(Beside(imagined));
            let asked = self.policy.ask_shadows(&snapshot, before, (now, is_recorded), tell);
            for (place, asked, follows) in asked {
                self.scribe.asked_beside(place, asked, follows);
            }
        }
        self.board.decided(snapshot, &outcome.rows, self.policy.running());
        self.record_ticks(now, is_recorded || self.scribe.keyframe_is_due(now));
        self.record(now, outcome.rows);
        if self.scribe.keyframe_is_due(now) {
            self.record_keyframe(now);
        }
        self.record_notes(now);
    }

    /// Journals what the machine did since the ticks before, if that is wanted or has become much.
    fn record_ticks(&mut self, now: Micros, is_wanted: bool) {
        if self.scribe.is_due(is_wanted)
            && let Some(ticks) = self.scribe.ticks()
        {
            self.record(now, vec![replay::row(&self.id, EventKind::Ticks, &ticks)]);
        }
    }

    fn record_keyframe(&mut self, now: Micros) {
        let keyframe = self.scribe.keyframe(&self.machine, now);
        self.record(now, vec![replay::row(&self.id, EventKind::Keyframe, &keyframe.encode())]);
    }

    /// Journals what has happened to the policy, and tells who keeps what was deployed.
    fn record_notes(&mut self, now: Micros) {
        for standing in self.policy.take_standings() {
            self.down.standing(&self.id, standing);
        }
        let mut rows = Vec::new();
        for (kind, text) in self.policy.take_notes() {
            metrics::counter!("wattle_edge_policy_events_total", "kind" => kind.as_str()).increment(1);
            match kind {
                EventKind::PolicyLoaded | EventKind::PolicyShadow | EventKind::PolicyActive => {
                    tracing::info!(site = %self.id, event = kind.as_str(), "{text}");
                }
                _ => tracing::error!(site = %self.id, event = kind.as_str(), "{text}"),
            }
            rows.push(Row::Event(Event::new(self.id.clone(), None, kind, text)));
        }
        if !rows.is_empty() {
            self.record(now, rows);
        }
    }

    /// Says it once when the policy fails, fails otherwise, or is back.
    fn report(&mut self) {
        let failure = self.policy.failure();
        if failure.is_some() {
            metrics::counter!("wattle_edge_policy_failures_total").increment(1);
        }
        if failure == self.failure.as_deref() {
            return;
        }
        match failure {
            Some(reason) => {
                tracing::error!(site = %self.id, reason, "the policy gives no plan; another decides")
            }
            None => tracing::info!(site = %self.id, "the policy decides again"),
        }
        self.failure = failure.map(Into::into);
    }

    /// Takes rows of the site's own making.
    fn record(&mut self, at: Micros, rows: Vec<Row>) {
        let wanted = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let Ok(permits) = self.permits.clone().try_acquire_many_owned(wanted) else {
            self.scribe.lost();
            metrics::counter!("wattle_edge_unrecorded_rows_total").increment(rows.len() as u64);
            if let Some(left_out) = self.gate.pass(Instant::now()) {
                tracing::error!(site = %self.id, left_out, "the journal is behind; a row was not recorded");
            }
            return;
        };
        match &mut self.outbox.held {
            Some(held) => held.merge(permits),
            none => *none = Some(permits),
        }
        self.outbox.gather(at, rows, None, None);
    }

    /// Sees to it that what has gathered goes to the journal once the mailbox is empty.
    fn flush_soon(&mut self, ctx: &mut Context<Self>) {
        if !self.flushing && !self.outbox.is_empty() {
            self.flushing = true;
            ctx.notify(Flush);
        }
    }

    /// Sets the timer to when the machine wants to be woken.
    fn arm(&mut self, now: Micros, ctx: &mut Context<Self>) {
        let due = self.machine.next_wakeup();
        if self.timer.is_some_and(|(armed, _)| armed == due) {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        self.arm_for(due, Duration::from_micros(u64::try_from((due - now).0).unwrap_or_default()), ctx);
    }

    fn arm_for(&mut self, due: Micros, wait: Duration, ctx: &mut Context<Self>) {
        let handle = ctx.run_later(wait, |site, ctx| {
            site.timer = None;
            site.wake(ctx);
        });
        self.timer = Some((due, handle));
    }

    fn wake(&mut self, ctx: &mut Context<Self>) {
        if self.stopped {
            return;
        }
        let now = self.clock.now();
        if let Due::Now(cause) = self.machine.wake(now) {
            self.decide(cause, now);
        }
        self.flush_soon(ctx);
        self.arm(now, ctx);
    }
}

impl Actor for Site {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX);
        self.address = Some(ctx.address());
        self.timer = None;
        self.flushing = false;
        let now = self.clock.now();
        let first_rows = std::mem::take(&mut self.first_rows);
        self.record(now, first_rows);
        self.record_notes(now);
        // Begun anew, what the machine did last may not have been written down.
        self.scribe.lost();
        self.record_keyframe(now);
        match std::mem::take(&mut self.first_wait) {
            Duration::ZERO => self.wake(ctx),
            wait => {
                self.arm_for(self.machine.next_wakeup(), wait, ctx);
                self.flush_soon(ctx);
            }
        }
    }
}

impl Supervised for Site {}

impl Handler<Intake> for Site {
    type Result = ();

    fn handle(&mut self, intake: Intake, ctx: &mut Self::Context) {
        let Intake { at, rows, inputs, kept, part } = intake;
        // The pieces of a batch have one time, and a decision on the first may lie between.
        let at = at.max(self.machine.clock());
        let cause = self.scribe.take(&mut self.machine, at, &rows, inputs);
        match part {
            // Its message holds a permit.
            Some(part) => self.outbox.gather(at, rows, kept, Some(part)),
            None => {
                if !self.stopped {
                    self.record(at, rows);
                }
                self.outbox.gather(at, [], kept, None);
            }
        }
        if let Some(cause) = cause.filter(|_| !self.stopped) {
            let now = self.clock.now();
            self.decide(cause, now);
            self.arm(now, ctx);
        }
        self.flush_soon(ctx);
    }
}

impl Handler<Offer> for Site {
    type Result = ();

    fn handle(&mut self, offer: Offer, ctx: &mut Self::Context) {
        if self.stopped {
            return;
        }
        self.policy.offer_from(offer.role, &offer.source, offer.found, self.machine.policy_state());
        self.record_notes(self.clock.now());
        self.flush_soon(ctx);
    }
}

impl Handler<Beside> for Site {
    type Result = ();

    fn handle(&mut self, Beside(imagined): Beside, ctx: &mut Self::Context) {
        if self.stopped {
            return;
        }
        let at = imagined.at;
        let rows = self.policy.imagined(imagined);
        if !rows.is_empty() {
            // The ticks that tell beside which decision it was.
            self.record_ticks(self.clock.now(), true);
            self.record(at, rows);
        }
        self.record_notes(self.clock.now());
        self.flush_soon(ctx);
    }
}

impl Handler<Deployed> for Site {
    type Result = ();

    fn handle(&mut self, Deployed(order): Deployed, ctx: &mut Self::Context) {
        if self.stopped {
            // It is on the disk, and is said at the next start.
            return;
        }
        let now = self.clock.now();
        self.record_ticks(now, true);
        self.scribe.configure(order.configuration);
        self.record(now, order.event.into_iter().map(Row::Event).collect());
        if let Some(placed) = order.placed {
            self.policy.place(placed, self.machine.policy_state());
            self.board.runs(self.policy.running());
            // Whoever replays finds the settings there.
            self.record_keyframe(now);
        }
        self.record_notes(now);
        self.flush_soon(ctx);
    }
}

impl Handler<Flush> for Site {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.flushing = false;
        let gathered = std::mem::take(&mut self.outbox);
        match self.journal.try_send(gathered) {
            Ok(()) => {}
            // The next intake or decision tries again.
            Err(SendError::Full(gathered)) => self.outbox = gathered,
            // Dropping the parts fails their batches, and the node ends.
            Err(SendError::Closed(_)) => tracing::error!("the journal is gone"),
        }
    }
}

/// Journals that the node stops as it was told to; after it nothing is decided.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop {
    /// Why, for people.
    pub reason: String,
}

impl Handler<Stop> for Site {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Self::Context) {
        let now = self.clock.now();
        self.record_ticks(now, true);
        let event = Event::new(self.id.clone(), None, EventKind::NodeStopped, stop.reason);
        self.record(now, vec![Row::Event(event)]);
        self.stopped = true;
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        self.flush_soon(ctx);
    }
}
