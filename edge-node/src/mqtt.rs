//! The MQTT client: lanes between a broker and the ingress.
//!
//! A **lane** is one connection with a persistent session and manual acknowledgement. All lanes are polled on
//! one thread of their own, so that no decision and no disk keeps the client from its keep-alive.
//!
//! Rules:
//! - Each message that is read takes one of [`MAX_UNSYNCED`] permits and gives it back when its rows are on
//!   the disk. Without a permit the lane stops reading: then the socket fills and the broker keeps what it
//!   has. Memory never grows.
//! - A lane has a **generation**, which grows with each connection that ends. An acknowledgement is handed to
//!   the client under the same lock under which the generation grows, and what the client still holds is
//!   thrown away then: so an acknowledgement never reaches a connection that didn't deliver the message.
//! - Nothing waits for a broker that is away: setpoints and acknowledgements to devices are dropped while
//!   the lane is not connected. A setpoint is renewed, and a device resends what was not acknowledged.
//!
//! - Whoever logs in with the edge's client id has its session, and the broker ends the edge's connection. Two edges with
//!   the same id would take it from each other without end: so where the id may be another's too
//!   ([`Login::may_be_shared`]), a connection that ends within ten seconds is followed by a longer wait, after
//!   three in a row by up to a minute, and then [`Lane::is_disputed`] says so.
//!
//! One lane is right for a broker whose window of unacknowledged messages can be set (Mosquitto). The
//! embedded one sends at most 100 before it waits, so at one fsync per window a lane carries 100 messages per
//! fsync; with `lanes = n` the devices are spread over n lanes by their place in the site file, and one more
//! listens to everything without acknowledging, for what is on no known topic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS, Request, SubscribeFilter};
use rumqttc::{ConnectionError, SubscribeReasonCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The most messages that are read and not yet on the disk.
pub const MAX_UNSYNCED: usize = 8192;
/// Messages on their way from a lane to the ingress; when it is full the lane waits.
const DELIVERIES: usize = 1024;
/// What the client holds to send: an acknowledgement to the broker and one to a device for each unsynced
/// message, and setpoints. When it is full, what comes then is dropped and counted.
const REQUESTS: usize = 4 * MAX_UNSYNCED;
/// The largest packet that is read. Brokers are set to refuse larger ones, so that none stands in the way.
const MAX_PACKET_BYTES: usize = 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A connection that has lasted this long was no short one.
const STEADY: Duration = Duration::from_secs(10);
/// So many short connections in a row are no chance.
const MANY_SHORT: u32 = 3;
/// The longest wait after them. Some of it is left to chance, so that two don't stay in step.
const LONGEST_DISPUTE: Duration = Duration::from_secs(60);

/// What to do when [`Lane::is_disputed`].
pub const DISPUTED: &str = "the broker ends each connection soon after it was made: does another edge use the same \
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
    /// Whether it came without a request to be acknowledged.
    pub unacknowledged: bool,
    /// Given back when it is on the disk.
    pub permit: OwnedSemaphorePermit,
}

/// The sending side of one lane.
#[derive(Clone)]
pub struct Lane {
    client: AsyncClient,
    shared: Arc<Shared>,
}

struct Shared {
    generation: Mutex<u64>,
    connected: AtomicBool,
    draining: AtomicBool,
    disputed: AtomicBool,
}

impl Shared {
    fn generation(&self) -> std::sync::MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (client, mut eventloop) = AsyncClient::new(options(login, index), REQUESTS);
        // A setpoint must not wait until the broker's system has said that it got what was sent before it.
        eventloop.network_options.set_tcp_nodelay(true);
        let shared = Arc::new(Shared {
            generation: Mutex::new(0),
            connected: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            disputed: AtomicBool::new(false),
        });
        let lane = Lane { client, shared };
        let (deliveries, receiver) = mpsc::channel(DELIVERIES);
        loops.push(Poller {
            index,
            lane: lane.clone(),
            eventloop,
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

fn options(login: &Login, lane: usize) -> MqttOptions {
    let client_id = if lane == 0 { login.client_id.clone() } else { format!("{}-{lane}", login.client_id) };
    let mut options = MqttOptions::new(client_id, login.host.clone(), login.port);
    options.set_credentials(login.user.clone(), login.password.clone());
    options.set_clean_session(false);
    options.set_manual_acks(true);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
    options
}

impl Lane {
    /// Acknowledges a batch to the broker, in order; nothing when its connection is no more. Gives whether it
    /// was handed over.
    pub fn acknowledge(&self, generation: u64, pkids: &[u16]) -> bool {
        let current = self.shared.generation();
        if *current != generation {
            return false;
        }
        for pkid in pkids {
            let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
            publish.pkid = *pkid;
            if self.client.try_ack(&publish).is_err() {
                // The broker sees a hole, ends the connection, and delivers again.
                tracing::error!(pkid, "the queue to the broker is full; acknowledgement dropped");
                return false;
            }
        }
        true
    }

    /// Publishes at QoS 0, not retained. Gives false when there is no connection or its queue is full: then
    /// it was dropped.
    pub fn publish(&self, topic: String, payload: Vec<u8>) -> bool {
        self.is_connected() && self.client.try_publish(topic, QoS::AtMostOnce, false, payload).is_ok()
    }

    /// Whether the broker answers.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Acquire)
    }

    /// Whether the broker has ended one connection after the other soon after it was made: most likely another client
    /// has the same id.
    pub fn is_disputed(&self) -> bool {
        self.shared.disputed.load(Ordering::Acquire)
    }

    /// Stops taking: what arrives from now on is left with the broker.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    /// Ends the connection after what was handed over before.
    pub fn disconnect(&self) {
        self.drain();
        // When the queue is full the socket closes with the process; the broker keeps the session either way.
        let _ = self.client.try_disconnect();
    }

    /// Ends the connection's life: what it delivered and was not acknowledged is delivered again.
    fn end_generation(&self, eventloop: &mut EventLoop) {
        self.shared.connected.store(false, Ordering::Release);
        let mut generation = self.shared.generation();
        *generation += 1;
        // Nothing of what waits to be sent is worth sending on the next connection, and what was read on this one and not
        // handed on yet must not be acknowledged on that.
        eventloop.clean();
        eventloop.pending.clear();
        eventloop.state.events.clear();
    }
}

struct Poller {
    index: usize,
    lane: Lane,
    eventloop: EventLoop,
    filters: Vec<SubscribeFilter>,
    permits: Arc<Semaphore>,
    deliveries: mpsc::Sender<Delivery>,
    waits: Waits,
}

/// How long to wait before the next try.
#[derive(Debug)]
struct Waits {
    may_be_shared: bool,
    next: Duration,
    connected_at: Option<Instant>,
    /// Short connections in a row.
    short: u32,
}

impl Waits {
    fn new(may_be_shared: bool) -> Self {
        Self { may_be_shared, next: FIRST_WAIT, connected_at: None, short: 0 }
    }

    fn connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
        if !self.may_be_shared {
            self.next = FIRST_WAIT;
        }
    }

    /// A connection or a try has ended; `chance` is from 0 to below 1.
    fn ended(&mut self, now: Instant, chance: f64) -> Duration {
        match self.connected_at.take().map(|at| now.duration_since(at)) {
            Some(lasted) if lasted < STEADY => self.short += 1,
            Some(_) => (self.short, self.next) = (0, FIRST_WAIT),
            None => {}
        }
        let wait = self.next;
        let longest = if self.is_disputed() { LONGEST_DISPUTE } else { LONGEST_WAIT };
        self.next = (wait * 2).min(longest);
        if self.is_disputed() { wait.mul_f64(0.5 + chance / 2.0) } else { wait }
    }

    /// Whether the connection that is up, if one is, may be taken away again.
    fn is_disputed(&self) -> bool {
        self.may_be_shared && self.short >= MANY_SHORT
    }

    /// Whether a dispute is over: the connection has lasted.
    fn is_settled(&self, now: Instant) -> bool {
        self.connected_at.is_some_and(|at| now.duration_since(at) >= STEADY)
    }
}

impl Poller {
    async fn run(mut self) {
        loop {
            match self.eventloop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    self.waits.connected(Instant::now());
                    self.connected();
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => self.subscribed(&answer.return_codes),
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if !self.deliver(publish).await {
                        return;
                    }
                }
                Ok(_) if self.lane.is_disputed() && self.waits.is_settled(Instant::now()) => {
                    tracing::info!(lane = self.index, "the session at the broker is the edge's alone again");
                    self.lane.shared.disputed.store(false, Ordering::Release);
                }
                Ok(_) => {}
                Err(error) => {
                    let was_connected = self.lane.is_connected();
                    self.lane.end_generation(&mut self.eventloop);
                    if self.lane.shared.draining.load(Ordering::Acquire) {
                        return;
                    }
                    let wait = self.waits.ended(Instant::now(), rand::random());
                    // A broker that has just been started may need a moment: the first refusal says nothing.
                    if was_connected || wait > FIRST_WAIT {
                        self.report(&error);
                    }
                    self.note_dispute(was_connected);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn connected(&mut self) {
        tracing::info!(lane = self.index, "connected to the broker");
        let subscribe = Request::Subscribe(rumqttc::Subscribe::new_many(self.filters.clone()));
        // First in line, before anything that others hand over once the lane counts as connected.
        self.eventloop.pending.push_back(subscribe);
        self.lane.shared.connected.store(true, Ordering::Release);
    }

    fn note_dispute(&self, was_connected: bool) {
        if was_connected && self.waits.short > 0 {
            metrics::counter!("wattle_edge_mqtt_short_connections_total").increment(1);
        }
        if self.waits.is_disputed() && !self.lane.shared.disputed.swap(true, Ordering::AcqRel) {
            tracing::error!(
                lane = self.index,
                client_id = self.eventloop.mqtt_options.client_id(),
                "{DISPUTED}"
            );
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
    async fn deliver(&mut self, publish: Publish) -> bool {
        if self.lane.shared.draining.load(Ordering::Acquire) {
            return true;
        }
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return false };
        let delivery = Delivery {
            generation: *self.lane.shared.generation(),
            pkid: publish.pkid,
            unacknowledged: publish.qos == QoS::AtMostOnce,
            topic: publish.topic,
            payload: publish.payload,
            permit,
        };
        self.deliveries.send(delivery).await.is_ok()
    }

    fn report(&self, error: &ConnectionError) {
        match error {
            ConnectionError::ConnectionRefused(code) => tracing::error!(
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

    const LIFE: Duration = Duration::from_secs(1);

    /// The waits in ms after so many connections that last so long each, with tries that fail in between.
    fn waits(waits: &mut Waits, lasts: Duration, times: u32) -> Vec<u128> {
        let mut now = Instant::now();
        let wait = |_| {
            waits.connected(now);
            now += lasts;
            waits.ended(now, 0.99).as_millis()
        };
        (0..times).map(wait).collect()
    }

    #[test]
    fn whoever_is_thrown_out_again_and_again_comes_back_less_and_less_often() {
        let mut shared = Waits::new(true);
        assert_eq!(waits(&mut shared, LIFE, 2), [100, 200]);
        assert!(!shared.is_disputed());
        let later = waits(&mut shared, LIFE, 12);
        assert!(shared.is_disputed() && later.is_sorted());
        assert!((55_000..=60_000).contains(&later[11]), "{later:?}");
        assert_eq!(waits(&mut shared, STEADY, 1), [100], "a connection that has lasted is a new beginning");
        assert!(!shared.is_disputed());
    }

    #[test]
    fn a_broker_that_restarts_often_is_soon_found_again_when_the_session_is_the_edges_alone() {
        assert_eq!(waits(&mut Waits::new(false), LIFE, 5), [100; 5]);
    }

    #[test]
    fn tries_that_fail_wait_up_to_five_seconds_and_are_no_dispute() {
        let mut all = Waits::new(true);
        let waits: Vec<_> = (0..8).map(|_| all.ended(Instant::now(), 0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert!(!all.is_disputed());
    }
}
