//! One per device, per connector, and per system of a site: reads what it sends, drops what it has sent before, keeps its
//! stays.
//!
//! A thin shell over [`PeerMachine`]: the messages of a batch go in, and one [`Intake`] for the site comes
//! out, with the rows to journal and what the site has to know. Acknowledgements and answers are left with
//! the batch, which publishes them once it is on the disk.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use bytes::Bytes;
use wattle_edge_core::{DeviceOutput, PeerMachine};
use wattle_wire::row::{Event, Row};
use wattle_wire::topic::Channel;
use wattle_wire::{DeviceId, Micros};

use super::site::{Intake, Site};
use crate::batch::Part;
use crate::checkpoint::Kept;
use crate::gate::Gate;
use crate::peers::Address;
use crate::replies::{Reply, Told, merge};

/// What one batch has from one device.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Messages {
    /// When it came.
    pub at: Micros,
    /// What came, in order.
    pub items: Vec<Said>,
    /// The batch that it is a piece of.
    pub part: Part,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Said {
    /// Where it came.
    pub channel: Channel,
    /// What was published.
    pub payload: Bytes,
    /// Bytes at its end that were left out, because it was too large.
    pub left_out: usize,
}

/// Sends the state that a restart needs after everything that the device has had, to the journal.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Keep {
    /// The moment.
    pub at: Micros,
}

/// The actor.
pub struct Device {
    /// Index of its site among the node's sites.
    site_index: usize,
    id: DeviceId,
    address: Address,
    machine: PeerMachine,
    site: Addr<Site>,
    output: DeviceOutput,
    /// Whether anything came since the state was kept.
    changed: bool,
    /// Held twice while a state is on its way to the journal.
    on_its_way: Arc<()>,
    gate: Gate,
}

impl Device {
    /// Who is `id` in the rows of the site with this index, and speaks at `address`.
    pub fn new(
        site_index: usize,
        id: DeviceId,
        address: Address,
        machine: PeerMachine,
        site: Addr<Site>,
    ) -> Self {
        Self {
            site_index,
            id,
            address,
            machine,
            site,
            output: DeviceOutput::default(),
            changed: true,
            on_its_way: Arc::default(),
            gate: Gate::new(Instant::now()),
        }
    }

    fn log_refusals(&mut self) {
        for row in &self.output.rows {
            if let Row::Event(event) = row
                && event.kind.is_refusal()
            {
                log_refusal(&mut self.gate, &self.id, event);
            }
        }
    }
}

fn log_refusal(gate: &mut Gate, device: &DeviceId, event: &Event) {
    metrics::counter!("wattle_edge_refused_total", "kind" => event.kind.as_str()).increment(1);
    if let Some(left_out) = gate.pass(Instant::now()) {
        let kind = event.kind.as_str();
        tracing::warn!(%device, kind, left_out, reason = event.detail, "message not taken");
    }
}

impl Actor for Device {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX);
    }
}

impl Supervised for Device {}

impl Handler<Messages> for Device {
    type Result = ();

    fn handle(&mut self, messages: Messages, _: &mut Self::Context) {
        let Messages { at, items, part } = messages;
        self.output.clear();
        for Said { channel, payload, left_out } in &items {
            match left_out {
                0 => self.machine.handle(*channel, payload, at, &mut self.output),
                more => {
                    self.machine.refuse_beginning(
                        *channel,
                        payload,
                        payload.len() + more,
                        at,
                        &mut self.output,
                    );
                }
            }
        }
        self.changed = true;
        self.log_refusals();
        count(items.len(), &self.output);
        // A refused message drops the part, which fails the batch.
        let topic = |channel| self.address.topic(channel);
        let _ = self.site.try_send(intake(&mut self.output, topic, at, part));
    }
}

impl Handler<Keep> for Device {
    type Result = ();

    fn handle(&mut self, Keep { at }: Keep, _: &mut Self::Context) {
        if Arc::strong_count(&self.on_its_way) > 1 {
            // The journal is behind and has not taken the state before: it is kept the next time.
            return;
        }
        let changed = std::mem::take(&mut self.changed);
        let state = changed.then(|| self.machine.state());
        let kept = Kept {
            site: self.site_index,
            device: self.id.clone(),
            state,
            on_its_way: self.on_its_way.clone(),
        };
        // Refused only when the site is far behind: then the state is kept the next time.
        let sent = self.site.try_send(Intake { at, kept: Some(kept), ..Intake::default() });
        self.changed = changed && sent.is_err();
    }
}

/// What a device's messages have led to, for its site; what it is answered, on these topics, is left with the batch.
///
/// Even without a row the part goes the whole way: a repetition is acknowledged only once its first copy is on the
/// disk.
pub fn intake(
    output: &mut DeviceOutput,
    topic: impl Fn(Channel) -> String,
    at: Micros,
    part: Part,
) -> Intake {
    let acks = merge(std::mem::take(&mut output.acks));
    let acks = acks.into_iter().map(|ack| (Channel::Ack, Told::Ack(ack)));
    let answers = std::mem::take(&mut output.answers);
    let answers = answers.into_iter().map(|answer| (Channel::Answer, Told::Answer(answer)));
    part.add_replies(acks.chain(answers).map(|(channel, said)| Reply { topic: topic(channel), said }));
    let rows = std::mem::take(&mut output.rows);
    let inputs = std::mem::take(&mut output.inputs);
    Intake { at, rows, inputs, kept: None, part: Some(part) }
}

fn count(messages: usize, output: &DeviceOutput) {
    let readings = output.rows.iter().filter(|row| matches!(row, Row::Reading(_))).count();
    metrics::counter!("wattle_edge_messages_total").increment(messages as u64);
    metrics::counter!("wattle_edge_readings_total").increment(readings as u64);
    if output.rows.is_empty() && !output.acks.is_empty() {
        metrics::counter!("wattle_edge_duplicates_total").increment(messages as u64);
    }
}
