//! The MQTT client: lanes between a broker and the ingress.
//!
//! A **lane** is one connection with a persistent session and manual acknowledgement. All lanes are polled on
//! one thread of their own, so that no decision and no disk keeps the client from its keep-alive.
//!
//! Rules:
//! - Each message that is read takes one of [`MAX_UNSYNCED`] permits, a long one several ([`PERMIT_BYTES`]), and gives them back
//!   when its rows are on the disk. Without them the lane stops reading: then the socket fills and the broker keeps what it
//!   has. Memory never grows. What is to be sent goes out all the same.
//! - A lane has a **generation**, which grows with each connection that ends. An acknowledgement is handed to
//!   the client under the same lock under which the generation grows, and what the client still holds is
//!   thrown away then: so an acknowledgement never reaches a connection that didn't deliver the message.
//! - What is to be sent waits in a queue of the lane and goes out as much at a time as is there, in one call to the system: the
//!   setpoints of a decision, say, or the acknowledgements of a batch.
//! - Of a message that is too large to be read the beginning is handed on, so that it is journaled as refused and acknowledged: at a
//!   broker that takes it, it would otherwise stand before all others, in each connection anew (`packets`).
//! - Nothing waits for a broker that is away: setpoints and acknowledgements to devices are dropped while
//!   the lane is not connected. A setpoint is renewed, and a device resends what was not acknowledged.
//!
//! - Whoever logs in with the edge's client id has its session, and the broker ends the edge's connection. Two edges with
//!   the same id would take it from each other without end: so where the id may be another's too
//!   ([`Login::may_be_shared`]), a connection that ends within ten seconds is followed by a longer wait, after
//!   three in a row by up to a minute, and then [`Lane::unsteady`] says so.
//!
//! One lane is right for a broker whose window of unacknowledged messages can be set (Mosquitto). The
//! embedded one sends at most 100 before it waits, so at one fsync per window a lane carries 100 messages per
//! fsync; with `lanes = n` the devices are spread over n lanes by their place in the site file, and one more
//! listens to everything without acknowledging, for what is on no known topic.

mod link;
mod packets;
mod waits;
mod watch;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rumqttc::{Packet, PubAck, Publish, QoS, Subscribe, SubscribeFilter, SubscribeReasonCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use link::{Link, LinkError};
use waits::{FIRST_WAIT, Waits};
pub use watch::watch;

/// The most messages that are read and not yet on the disk.
pub const MAX_UNSYNCED: usize = 8192;
/// A message takes a permit for each of so many bytes that it begins: 32 MiB are read and not yet on the disk at most.
const PERMIT_BYTES: usize = 4096;
/// Messages on their way from a lane to the ingress; when it is full the lane waits.
const DELIVERIES: usize = 1024;
/// Messages to devices that wait to be sent on a lane: acknowledgements and setpoints. When there are so many, what comes then
/// is dropped and counted: a device sends again what was not acknowledged, and a setpoint is renewed.
const PUBLICATIONS: usize = 3 * MAX_UNSYNCED;
/// Beside them, batches of acknowledgements to the broker. They have room of their own, as one that is dropped costs the
/// connection.
const ACKNOWLEDGEMENTS: usize = MAX_UNSYNCED;
/// What goes out in one go, at most.
const MOST_AT_ONCE: usize = 256;
/// What to do when it is the broker that ends connections.
const DISPUTED: &str = "the broker ends each connection soon after it was made: does another edge use the same \
    [broker] client_id? Give each its own; trying again less often";

/// How to reach a broker.
#[derive(Debug, Clone)]
pub struct Login {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the session; lane `n` above 0 adds `-n`.
    pub client_id: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Whether others could have the same name of the session: at a broker that is not the node's own.
    pub may_be_shared: bool,
}

/// A message as it came.
#[derive(Debug)]
pub struct Delivery {
    /// Which life of the connection brought it.
    pub generation: u64,
    /// What to acknowledge; 0 for QoS 0.
    pub pkid: u16,
    /// Where it was published.
    pub topic: String,
    /// What was published.
    pub payload: Bytes,
    /// Bytes at its end that were left out, because it was too large.
    pub left_out: usize,
    /// Whether it came without a request to be acknowledged.
    pub unacknowledged: bool,
    /// Given back when it is on the disk.
    pub permit: OwnedSemaphorePermit,
}

/// The sending side of one lane.
#[derive(Clone)]
pub struct Lane {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

/// What waits to be sent.
enum Outgoing {
    /// Of these messages, in order.
    Acknowledgements(Vec<u16>),
    Message(Publish),
    /// Nothing comes after it.
    Disconnect,
}

struct Shared {
    generation: Mutex<u64>,
    connected: AtomicBool,
    draining: AtomicBool,
    unsteady: Mutex<Option<String>>,
}

impl Shared {
    fn new() -> Self {
        Self {
            generation: Mutex::new(0),
            connected: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            unsteady: Mutex::new(None),
        }
    }

    fn generation(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsteady(&self) -> MutexGuard<'_, Option<String>> {
        self.unsteady.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the lanes, each with what it subscribes to. Each lane's messages come out of its own receiver.
///
/// # Errors
/// When the thread can't be started.
pub fn start(
    login: &Login,
    subscriptions: Vec<Vec<SubscribeFilter>>,
) -> std::io::Result<Vec<(Lane, mpsc::Receiver<Delivery>)>> {
    let permits = Arc::new(Semaphore::new(MAX_UNSYNCED));
    let mut lanes = Vec::with_capacity(subscriptions.len());
    let mut loops = Vec::with_capacity(subscriptions.len());
    for (index, filters) in subscriptions.into_iter().enumerate() {
        let client_id =
            if index == 0 { login.client_id.clone() } else { format!("{}-{index}", login.client_id) };
        let (lane, queue) = Lane::new();
        let (deliveries, receiver) = mpsc::channel(DELIVERIES);
        loops.push(Poller {
            index,
            lane: lane.clone(),
            login: login.clone(),
            client_id,
            link: None,
            queue,
            sending: Vec::with_capacity(MOST_AT_ONCE),
            filters,
            permits: permits.clone(),
            deliveries,
            waits: Waits::new(login.may_be_shared),
        });
        lanes.push((lane, receiver));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("mqtt".into()).spawn(move || {
        runtime.block_on(async {
            futures::future::join_all(loops.into_iter().map(|poller| tokio::spawn(poller.run()))).await
        })
    })?;
    Ok(lanes)
}

/// The lane on which the edge publishes: not the one that hears everything without acknowledging, since a broker that has more for
/// that than it takes reads nothing from it either.
///
/// # Panics
/// Without a lane.
pub fn voice(lanes: &[Lane]) -> &Lane {
    lanes.last().expect("a node has a lane")
}

impl Lane {
    fn new() -> (Self, mpsc::Receiver<Outgoing>) {
        let (queue, waiting) = mpsc::channel(PUBLICATIONS + ACKNOWLEDGEMENTS);
        (Self { queue, shared: Arc::new(Shared::new()) }, waiting)
    }

    /// Acknowledges a batch to the broker, in order; nothing when its connection is no more. Gives whether it
    /// was handed over.
    pub fn acknowledge(&self, generation: u64, pkids: &[u16]) -> bool {
        let current = self.shared.generation();
        if *current != generation {
            return false;
        }
        if pkids.is_empty() {
            return true;
        }
        let is_taken = self.queue.try_send(Outgoing::Acknowledgements(pkids.to_vec())).is_ok();
        if !is_taken {
            // The broker sees a hole, ends the connection, and delivers again.
            tracing::error!(?pkids, "the queue to the broker is full; acknowledgements dropped");
        }
        is_taken
    }

    /// Publishes at QoS 0, not retained. Gives false when there is no connection or too much waits to be sent: then
    /// it was dropped.
    pub fn publish(&self, topic: String, payload: Vec<u8>) -> bool {
        if !self.is_connected() {
            return false;
        }
        let has_room = self.queue.capacity() > ACKNOWLEDGEMENTS;
        let message = || Outgoing::Message(Publish::new(topic, QoS::AtMostOnce, payload));
        let is_taken = has_room && self.queue.try_send(message()).is_ok();
        if !is_taken {
            metrics::counter!("wattle_edge_mqtt_dropped_total").increment(1);
        }
        is_taken
    }

    /// Whether the broker answers.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// Why one connection after the other has ended soon after it was made; where it is the broker that ends them, most likely
    /// another client has the same id.
    pub fn unsteady(&self) -> Option<String> {
        self.shared.unsteady().clone()
    }

    /// Stops taking: what arrives from now on is left with the broker.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Ends the connection after what was handed over before.
    pub fn disconnect(&self) {
        self.drain();
        // When the queue is full the socket closes with the process; the broker keeps the session either way.
        let _ = self.queue.try_send(Outgoing::Disconnect);
    }
}

struct Poller {
    index: usize,
    lane: Lane,
    login: Login,
    client_id: String,
    /// None while it is not connected.
    link: Option<Link>,
    queue: mpsc::Receiver<Outgoing>,
    /// What was taken from there and is being sent; empty in between.
    sending: Vec<Outgoing>,
    filters: Vec<SubscribeFilter>,
    permits: Arc<Semaphore>,
    deliveries: mpsc::Sender<Delivery>,
    waits: Waits,
}

impl Poller {
    async fn run(mut self) {
        loop {
            let error = match self.step().await {
                Ok(true) => continue,
                Ok(false) => return,
                Err(error) => error,
            };
            let was_connected = self.lane.is_connected();
            self.end_generation();
            if self.lane.shared.draining.load(Ordering::Acquire) {
                return;
            }
            let wait = self.waits.ended(Instant::now(), rand::random());
            // A broker that has just been started may need a moment: the first refusal says nothing.
            if was_connected || wait > FIRST_WAIT {
                self.report(&error);
            }
            self.note_unsteady(was_connected, &error);
            tokio::time::sleep(wait).await;
        }
    }

    /// Connects, sends, or takes the next thing; false when the node is gone.
    async fn step(&mut self) -> Result<bool, LinkError> {
        let Some(link) = &mut self.link else { return self.connect().await.map(|()| true) };
        let incoming = tokio::select! {
            incoming = link.next() => incoming?,
            _ = self.queue.recv_many(&mut self.sending, MOST_AT_ONCE) => {
                return self.send().await.map(|()| true);
            }
        };
        match incoming.packet {
            Packet::Publish(publish) => return self.deliver(publish, incoming.left_out).await,
            Packet::SubAck(answer) => self.subscribed(&answer.return_codes),
            _ => {
                if self.waits.is_settled(Instant::now()) && self.lane.shared.unsteady().take().is_some() {
                    tracing::info!(lane = self.index, "the connection to the broker lasts again");
                }
            }
        }
        Ok(true)
    }

    async fn connect(&mut self) -> Result<(), LinkError> {
        let link = self.link.insert(Link::connect(&self.login, &self.client_id).await?);
        let subscribe = Subscribe { pkid: 1, filters: self.filters.clone() };
        link.write(&Packet::Subscribe(subscribe)).await?;
        link.flush().await?;
        self.waits.connected(Instant::now());
        tracing::info!(lane = self.index, "connected to the broker");
        self.lane.shared.connected.store(true, Ordering::Release);
        Ok(())
    }

    async fn send(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        for outgoing in self.sending.drain(..) {
            match outgoing {
                Outgoing::Acknowledgements(pkids) => {
                    for pkid in pkids {
                        link.write(&Packet::PubAck(PubAck::new(pkid))).await?;
                    }
                }
                Outgoing::Message(publish) => link.write(&Packet::Publish(publish)).await?,
                Outgoing::Disconnect => link.write(&Packet::Disconnect).await?,
            }
        }
        link.flush().await
    }

    /// Ends the connection's life: what it delivered and was not acknowledged is delivered again.
    fn end_generation(&mut self) {
        self.lane.shared.connected.store(false, Ordering::Release);
        let mut generation = self.lane.shared.generation();
        *generation += 1;
        // Nothing of what waits to be sent is worth sending on the next connection, and what was read on this one and not
        // handed on yet must not be acknowledged on that.
        while self.queue.try_recv().is_ok() {}
        self.sending.clear();
        self.link = None;
    }

    fn note_unsteady(&self, was_connected: bool, error: &LinkError) {
        if was_connected && self.waits.short > 0 {
            metrics::counter!("wattle_edge_mqtt_short_connections_total").increment(1);
        }
        if !was_connected || !self.waits.is_disputed() {
            return;
        }
        let why = match error {
            LinkError::Closed | LinkError::Io(_) => DISPUTED.to_owned(),
            other => format!(
                "each connection to the broker ends soon after it was made: {other}; trying again less often"
            ),
        };
        let before = self.lane.shared.unsteady().replace(why.clone());
        if before.as_ref() != Some(&why) {
            tracing::error!(lane = self.index, client_id = self.client_id, "{why}");
        }
    }

    fn subscribed(&self, answers: &[SubscribeReasonCode]) {
        for (filter, answer) in self.filters.iter().zip(answers) {
            if *answer == SubscribeReasonCode::Failure {
                tracing::error!(
                    filter = filter.path,
                    "the broker refused a subscription; give the edge's user the right to read this topic"
                );
            }
        }
    }

    /// Hands a message to the ingress; waits while it is behind. False when the node is gone.
    async fn deliver(&mut self, publish: Publish, left_out: usize) -> Result<bool, LinkError> {
        if self.lane.shared.draining.load(Ordering::Acquire) {
            return Ok(true);
        }
        let wanted = (1 + publish.payload.len() / PERMIT_BYTES).min(MAX_UNSYNCED);
        let room = self.permits.clone().acquire_many_owned(wanted as u32);
        let Ok(permit) = self.stall(room).await? else { return Ok(false) };
        let delivery = Delivery {
            generation: *self.lane.shared.generation(),
            pkid: publish.pkid,
            unacknowledged: publish.qos == QoS::AtMostOnce,
            topic: publish.topic,
            payload: publish.payload,
            left_out,
            permit,
        };
        let deliveries = self.deliveries.clone();
        self.stall(async move { deliveries.send(delivery).await.is_ok() }).await
    }

    /// Waits for what the lane needs before it may read on. Meanwhile it sends what is to be sent, which need not wait for
    /// the disk, and keeps the connection alive.
    async fn stall<T>(&mut self, needed: impl Future<Output = T>) -> Result<T, LinkError> {
        tokio::pin!(needed);
        // Mostly it is there.
        tokio::select! {
            biased;
            done = &mut needed => return Ok(done),
            () = std::future::ready(()) => {}
        }
        while let Some(link) = &mut self.link {
            tokio::select! {
                done = &mut needed => return Ok(done),
                _ = self.queue.recv_many(&mut self.sending, MOST_AT_ONCE) => self.send().await?,
                () = tokio::time::sleep_until(link.ping_at()) => link.ping().await?,
            }
        }
        Err(LinkError::Closed)
    }

    fn report(&self, error: &LinkError) {
        match error {
            LinkError::Refused(code) => tracing::error!(
                lane = self.index,
                ?code,
                "the broker refused the edge; check user, password and client id of [broker]"
            ),
            other => {
                tracing::warn!(lane = self.index, error = %other, "no connection to the broker; trying again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_published_there_is_room_for_the_acknowledgements_of_all_that_is_unsynced() {
        // Nobody sends what is handed over.
        let (lane, waiting) = Lane::new();
        let fill = || (0..2 * PUBLICATIONS).filter(|_| lane.publish("topic".into(), Vec::new())).count();
        assert_eq!(fill(), 0, "there is no connection yet");
        lane.shared.connected.store(true, Ordering::Release);
        assert_eq!(fill(), PUBLICATIONS);
        assert!((0..MAX_UNSYNCED).all(|_| lane.acknowledge(0, &[1])));
        assert!(!lane.acknowledge(0, &[1]), "and for no more");
        assert_eq!(waiting.len(), PUBLICATIONS + ACKNOWLEDGEMENTS);
    }

    #[test]
    fn what_a_connection_delivered_that_is_no_more_is_not_acknowledged() {
        let (lane, waiting) = Lane::new();
        *lane.shared.generation() += 1;
        assert!(!lane.acknowledge(0, &[1, 2]));
        assert!(lane.acknowledge(1, &[3]));
        assert_eq!(waiting.len(), 1);
    }
}
