//! The ingress: takes what the lanes read, finds whose it is, and acknowledges once it is on the disk.
//!
//! A batch is split by device and handed to the device actors. What belongs to no device of ours (an unknown
//! device, a topic of another shape) becomes an event at once. The echo of what the edge itself publishes is
//! passed over.
//!
//! Of such events and of refused logins at most [`STRAYS_PER_MINUTE`] per site and minute are journaled, so that
//! a stranger can't push readings out of the journal's budget; the next one says how many were left out. All of
//! them are counted, and acknowledged to the broker.
//!
//! Acknowledgement: batches of a lane are finished strictly in the order in which they came, each when its
//! last part is on the disk: first the broker is acknowledged, message by message in order of arrival, then
//! the devices get their ranges, at most so often ([`crate::replies`]). When a part of a batch was lost the lane's later batches are not
//! acknowledged either, and the node ends: only a restart makes the broker deliver them again in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix::prelude::*;
use wattle_wire::row::{Event, EventKind, Row};
use wattle_wire::topic::{self, Channel};
use wattle_wire::{DeviceId, Micros, SiteId};

use super::device::{Device, Messages, Said};
use super::site::{Intake, Site};
use crate::batch::{Batch, Lost, Part, Settled, Unfinished};
use crate::broker::RefusedLogin;
use crate::clock::Clock;
use crate::foreign;
use crate::gate::Gate;
use crate::mqtt::{self, Delivery, Lane};
use crate::peers::{Address, is_of_device};
use crate::replies::{PAUSE, Replies, Told};

/// The most messages of one batch.
pub const MAX_BATCH: usize = 512;
/// What is journaled per site and minute of messages and logins that are no device's.
pub const STRAYS_PER_MINUTE: u32 = 60;
const MINUTE: Micros = Micros::from_secs(60);
/// The most of a topic or a client's name that an event keeps.
const MAX_SHOWN: usize = 256;

/// A device, a connector of one, or a system, as the ingress knows it.
pub struct Route {
    /// Index of its site.
    pub site: usize,
    /// Its topics.
    pub speaks: Address,
    /// Who handles what it sends.
    pub address: Addr<Device>,
}

/// Whom a name in a topic means.
#[derive(Debug, Clone)]
enum Named {
    /// A route.
    One(usize),
    /// The route of a connector, which has the channels that are not its device's.
    Connector(usize),
    /// A device with connectors: what it says concerns all of these routes.
    Device(Vec<usize>),
}

/// A site as the ingress knows it.
pub struct SiteRoute {
    /// Its name.
    pub id: SiteId,
    /// Who handles what concerns it.
    pub address: Addr<Site>,
}

/// The actor.
pub struct Ingress {
    clock: Arc<Clock>,
    lanes: Vec<Lane>,
    /// Whether lane 0 hears everything once more without acknowledging, and the others the devices.
    watches: bool,
    sites: Vec<SiteRoute>,
    routes: Vec<Route>,
    /// By `site/device` or `site/device/connector`.
    by_name: HashMap<String, Named>,
    /// What is not acknowledged yet.
    unfinished: Unfinished,
    /// What devices are not told yet.
    replies: Replies,
    /// Whether a look at these is on its way.
    telling: bool,
    /// For each route the messages of the batch at hand; empty between batches.
    sorted: Vec<Vec<Said>>,
    /// How many messages an external broker says to have dropped.
    broker_dropped: Arc<AtomicU64>,
    /// For each site how many strays were journaled.
    journaled: Vec<Journaled>,
    gate: Gate,
    failed: Box<dyn Fn()>,
}

/// What one lane read in one go.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Deliveries {
    /// Which lane.
    pub lane: usize,
    /// What, in order of arrival; at least one.
    pub messages: Vec<Delivery>,
}

/// Somebody was not let in by the broker.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Refused(pub RefusedLogin);

/// How many batches are not acknowledged yet. Devices are told at once what waits for them.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Unsettled;

impl Ingress {
    /// An ingress over these lanes. It tells `broker_dropped` how many messages the broker says to have dropped. `failed` is
    /// called when a batch was lost and the node has to end.
    pub fn new(
        clock: Arc<Clock>,
        lanes: Vec<Lane>,
        sites: Vec<SiteRoute>,
        routes: Vec<Route>,
        broker_dropped: Arc<AtomicU64>,
        failed: impl Fn() + 'static,
    ) -> Self {
        let by_name = by_name(routes.iter().map(|route| &route.speaks));
        Self {
            clock,
            watches: lanes.len() > 1,
            unfinished: Unfinished::new(lanes.len()),
            replies: Replies::default(),
            telling: false,
            sorted: routes.iter().map(|_| Vec::new()).collect(),
            lanes,
            journaled: sites.iter().map(|_| Journaled::default()).collect(),
            sites,
            routes,
            by_name,
            broker_dropped,
            gate: Gate::new(Instant::now()),
            failed: Box::new(failed),
        }
    }

    fn take(&mut self, lane: usize, messages: Vec<Delivery>, ctx: &Context<Self>) {
        let at = self.clock.now();
        let generation = messages.first().map_or(0, |m| m.generation);
        let pkids = messages.iter().filter(|m| !m.unacknowledged).map(|m| m.pkid).collect();
        let mut touched = Vec::new();
        let mut strays = Vec::new();
        let mut permits = Vec::with_capacity(messages.len());
        for message in messages {
            permits.push(message.permit);
            if let Some(said) = foreign::read(&message.topic, &message.payload) {
                self.heed(said, ctx);
                continue;
            }
            match self.route(&message.topic) {
                // Its own lane brings it too.
                Found::Device(..) | Found::All(..) if self.watches && lane == 0 => {}
                Found::Device(index, channel) => {
                    let said = Said { channel, payload: message.payload, left_out: message.left_out };
                    self.sort(index, said, &mut touched);
                }
                Found::All(indices, channel) => {
                    let said = Said { channel, payload: message.payload, left_out: message.left_out };
                    indices.into_iter().for_each(|index| self.sort(index, said.clone(), &mut touched));
                }
                Found::Echo => {}
                Found::Stray(stray) => strays.push(stray),
            }
        }
        let (batch, part) = Batch::open(lane, generation, pkids, permits, ctx.address().recipient());
        self.unfinished.push(batch.clone());
        for index in touched {
            let items = std::mem::take(&mut self.sorted[index]);
            // A refused message drops its part, which fails the batch.
            let _ = self.routes[index].address.try_send(Messages { at, items, part: Batch::part(&batch) });
        }
        for stray in strays {
            self.journal_stray(at, stray, Batch::part(&batch));
        }
        part.synced();
    }

    fn sort(&mut self, index: usize, said: Said, touched: &mut Vec<usize>) {
        if self.sorted[index].is_empty() {
            touched.push(index);
        }
        self.sorted[index].push(said);
    }

    /// Takes what an external broker says of itself.
    fn heed(&mut self, said: foreign::Said, ctx: &Context<Self>) {
        match said {
            foreign::Said::Refused(login) => ctx.address().do_send(Refused(login)),
            foreign::Said::Dropped(dropped) => {
                metrics::gauge!("wattle_edge_broker_dropped").set(dropped as f64);
                if dropped > self.broker_dropped.swap(dropped, Ordering::AcqRel) {
                    tracing::error!(dropped, "{}", foreign::DROPS);
                }
            }
            foreign::Said::Other => {}
        }
    }

    fn route(&self, topic: &str) -> Found {
        let Some((site, device, channel)) = topic::parse(topic) else {
            return Found::Stray(self.stray(EventKind::WrongTopic, None, None, topic));
        };
        if channel.is_down() {
            return Found::Echo;
        }
        // Everything between the prefix and the channel: no allocation on the way of a good message.
        let name = &topic[topic::PREFIX.len() + 1..topic.len() - channel.as_str().len() - 1];
        match self.by_name.get(name) {
            Some(Named::One(index)) => Found::Device(*index, channel),
            Some(named) => match named.hear(channel) {
                Some(indices) => Found::All(indices, channel),
                None => Found::Stray(self.stray(EventKind::WrongTopic, Some(site), None, topic)),
            },
            None => Found::Stray(self.stray(EventKind::UnknownDevice, Some(site), Some(device), topic)),
        }
    }

    fn stray(&self, kind: EventKind, site: Option<&str>, device: Option<&str>, topic: &str) -> Stray {
        let known = site.and_then(|site| self.sites.iter().position(|s| s.id.as_str() == site));
        let shown: String = topic.chars().take(MAX_SHOWN).collect();
        let detail = match (kind, known) {
            (EventKind::WrongTopic, _) => format!("wrong_topic: {shown}"),
            (_, None) => format!("unknown_site: {shown}"),
            _ => format!("unknown_device: {shown}"),
        };
        // What names no site of ours is kept with the first.
        let site = known.unwrap_or_default();
        Stray { site, device: device.and_then(|d| DeviceId::new(d).ok()), kind, detail }
    }

    fn journal_stray(&mut self, at: Micros, stray: Stray, part: Part) {
        metrics::counter!("wattle_edge_refused_total", "kind" => stray.kind.as_str()).increment(1);
        if let Some(left_out) = self.gate.pass(Instant::now()) {
            let device = stray.device.as_ref().map(DeviceId::as_str);
            tracing::warn!(device, left_out, reason = stray.detail, "message not taken");
        }
        let Some(left_out) = self.journaled[stray.site].admit(at) else { return part.synced() };
        let site = &self.sites[stray.site];
        let detail = with_left_out(stray.detail, left_out);
        let event = Event::new(site.id.clone(), stray.device, stray.kind, detail);
        let rows = vec![Row::Event(event)];
        let _ = site.address.try_send(Intake { at, rows, part: Some(part), ..Intake::default() });
    }

    /// Finishes the batches of a lane from the oldest on, as far as they are on the disk.
    fn settle(&mut self, lane: usize, ctx: &mut Context<Self>) {
        let mut replies = Vec::new();
        while let Some(settled) = self.unfinished.pop_settled(lane) {
            let Ok(batch) = settled.map_err(|Lost| {
                tracing::error!(
                    "a batch was lost before it reached the disk; ending, so that it comes again"
                );
                (self.failed)();
            }) else {
                break;
            };
            self.lanes[lane].acknowledge(batch.generation, &batch.pkids);
            replies.append(&mut batch.take_replies());
        }
        let now = self.replies.take(replies, Instant::now());
        self.tell(now);
        if self.replies.is_waiting() && !std::mem::replace(&mut self.telling, true) {
            ctx.run_later(PAUSE, |ingress, _| ingress.tell_all());
        }
    }

    /// Tells devices what waits for them.
    fn tell_all(&mut self) {
        self.telling = false;
        let due = self.replies.due(Instant::now());
        self.tell(due);
    }

    fn tell(&self, replies: Vec<(String, Told)>) {
        let lane = mqtt::voice(&self.lanes);
        for (topic, said) in replies {
            if lane.publish(topic, said.payload()) && matches!(said, Told::Ack(_)) {
                metrics::counter!("wattle_edge_acks_total").increment(1);
            }
        }
    }
}

impl Named {
    /// Whose a message on a channel under this name is.
    fn hear(&self, channel: Channel) -> Option<Vec<usize>> {
        match self {
            Self::One(index) => Some(vec![*index]),
            Self::Connector(index) => (!is_of_device(channel)).then(|| vec![*index]),
            Self::Device(indices) => is_of_device(channel).then(|| indices.clone()),
        }
    }
}

/// The first that has a name keeps it.
fn by_name<'a>(speakers: impl Iterator<Item = &'a Address>) -> HashMap<String, Named> {
    let mut names = HashMap::new();
    for (index, Address { site, device, connector }) in speakers.enumerate() {
        let name = format!("{site}/{device}");
        let Some(connector) = connector else {
            names.entry(name).or_insert(Named::One(index));
            continue;
        };
        names.insert(format!("{name}/{connector}"), Named::Connector(index));
        if let Named::Device(all) = names.entry(name).or_insert(Named::Device(Vec::new())) {
            all.push(index);
        }
    }
    names
}

enum Found {
    Device(usize, Channel),
    All(Vec<usize>, Channel),
    Echo,
    Stray(Stray),
}

struct Stray {
    site: usize,
    device: Option<DeviceId>,
    kind: EventKind,
    detail: String,
}

/// How many strays of one site were journaled in this minute.
#[derive(Default)]
struct Journaled {
    since: Micros,
    rows: u32,
    left_out: u64,
}

impl Journaled {
    /// Whether one more is journaled; if so, how many were left out since the last one.
    fn admit(&mut self, at: Micros) -> Option<u64> {
        if at - self.since >= MINUTE {
            (self.since, self.rows) = (at, 0);
        }
        if self.rows == STRAYS_PER_MINUTE {
            self.left_out += 1;
            return None;
        }
        self.rows += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

fn with_left_out(detail: String, left_out: u64) -> String {
    if left_out == 0 { detail } else { format!("{detail}; {left_out} more left out") }
}

impl Actor for Ingress {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX);
        self.telling = false;
    }
}

impl Supervised for Ingress {}

impl Handler<Deliveries> for Ingress {
    type Result = ();

    fn handle(&mut self, deliveries: Deliveries, ctx: &mut Self::Context) {
        // A batch belongs to one life of its connection; a stream that spans two makes two batches.
        let mut messages = deliveries.messages;
        while let Some(generation) = messages.first().map(|m| m.generation) {
            let end = messages.iter().position(|m| m.generation != generation).unwrap_or(messages.len());
            let rest = messages.split_off(end);
            self.take(deliveries.lane, messages, ctx);
            messages = rest;
        }
    }
}

impl Handler<Settled> for Ingress {
    type Result = ();

    fn handle(&mut self, settled: Settled, ctx: &mut Self::Context) {
        self.settle(settled.lane, ctx);
    }
}

impl Handler<Refused> for Ingress {
    type Result = ();

    fn handle(&mut self, Refused(login): Refused, _: &mut Self::Context) {
        metrics::counter!("wattle_edge_refused_total", "kind" => "login_refused").increment(1);
        if let Some(left_out) = self.gate.pass(Instant::now()) {
            tracing::warn!(device = login.client, left_out, reason = login.reason, "login refused");
        }
        let device = DeviceId::new(login.client.as_str()).ok();
        let site = device
            .as_ref()
            .and_then(|d| self.routes.iter().find(|r| r.speaks.device == *d))
            .map_or(0, |r| r.site);
        let at = self.clock.now();
        let Some(left_out) = self.journaled[site].admit(at) else { return };
        let detail = format!("login_refused: {}: {}", login.client, login.reason);
        let detail = with_left_out(detail, left_out);
        let event = Event::new(self.sites[site].id.clone(), device, EventKind::LoginRefused, detail);
        let intake = Intake { at, rows: vec![Row::Event(event)], ..Intake::default() };
        // Full only while the journal is far behind: then the line in the log has to do.
        let _ = self.sites[site].address.try_send(intake);
    }
}

impl Handler<Unsettled> for Ingress {
    type Result = usize;

    fn handle(&mut self, _: Unsettled, _: &mut Self::Context) -> usize {
        self.tell_all();
        self.unfinished.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, expected: Option<&[usize]>) {
        let name = |name: &str| DeviceId::new(name).expect("name");
        let speakers = [("cp-1", None), ("box-1", Some("1")), ("box-1", Some("2")), ("ems", None)];
        let speakers = speakers.map(|(device, connector)| Address {
            site: "depot".parse().expect("name"),
            device: name(device),
            connector: connector.map(name),
        });
        let names = by_name(speakers.iter());
        let (_, device, channel) = topic::parse(topic).expect("one of ours");
        let indices = names.get(&format!("depot/{device}")).and_then(|named| named.hear(channel));
        assert_eq!(indices.as_deref(), expected, "{topic}");
    }

    #[test]
    fn what_a_device_says_concerns_all_its_connectors_and_what_a_connector_says_itself() {
        check("wattle/v1/depot/cp-1/reading", Some(&[0]));
        check("wattle/v1/depot/cp-1/status", Some(&[0]));
        check("wattle/v1/depot/box-1/status", Some(&[1, 2]));
        check("wattle/v1/depot/box-1/announce", Some(&[1, 2]));
        check("wattle/v1/depot/box-1/2/reading", Some(&[2]));
        check("wattle/v1/depot/box-1/1/session", Some(&[1]));
        check("wattle/v1/depot/ems/signal", Some(&[3]));
        check("wattle/v1/depot/box-1/reading", None);
        check("wattle/v1/depot/box-1/2/status", None);
        check("wattle/v1/depot/box-1/3/reading", None);
        check("wattle/v1/depot/cp-1/1/reading", None);
    }

    #[test]
    fn a_flood_of_strays_is_a_bounded_number_of_rows_a_minute_and_the_next_says_how_many_are_missing() {
        let mut journaled = Journaled::default();
        let start = Micros::from_secs(1_000_000);
        let rows = (0..65_000).filter(|i| journaled.admit(start + Micros(*i)).is_some()).count();
        assert_eq!(rows, STRAYS_PER_MINUTE as usize);
        let left_out = journaled.admit(start + MINUTE);
        assert_eq!(left_out, Some(65_000 - u64::from(STRAYS_PER_MINUTE)));
        assert_eq!(journaled.admit(start + MINUTE), Some(0));
        assert_eq!(with_left_out("wrong_topic: x".into(), 7), "wrong_topic: x; 7 more left out");
        assert_eq!(with_left_out("wrong_topic: x".into(), 0), "wrong_topic: x");
    }
}
