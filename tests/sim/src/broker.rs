//! An MQTT broker, as far as QoS 1 goes: a persistent session for the edge with a window and a bounded queue, sessions
//! of devices that forget, retained messages, last wills. It may drop what the queue doesn't hold, get a message twice,
//! and come back with its sessions or without.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wattle_device_core::{Publish, Qos};
use wattle_wire::topic::Channel;

use crate::agenda::{Agenda, Conn, Way};
use crate::device::key_of;
use crate::event::{BrokerEvent, DeviceEvent, EdgeEvent, Event};
use crate::plan::Plan;
use crate::truth::{Key, Truth};

#[derive(Clone)]
struct Message {
    device: usize,
    channel: Channel,
    payload: Bytes,
    key: Option<Key>,
}

/// A device's connection.
struct Client {
    conn: Conn,
    life: u64,
    will: Publish,
}

/// The broker of one site.
pub struct Broker {
    is_up: bool,
    window: usize,
    most_queued: usize,
    duplicates: u64,
    /// What waits for the edge; none before it has ever connected.
    session: Option<Session>,
    /// Who has the edge's session: which edge, on which connection, in which of its lives.
    edge_at: Option<(usize, Conn, u64)>,
    clients: BTreeMap<usize, Client>,
    retained: BTreeMap<(usize, &'static str), (Channel, Bytes)>,
    next_pkid: u16,
    /// How many messages it has dropped.
    pub dropped: u64,
}

#[derive(Default)]
struct Session {
    under_way: VecDeque<(u16, Message)>,
    queue: VecDeque<Message>,
}

impl Broker {
    /// The broker of a site.
    pub fn new(plan: &Plan) -> Self {
        Self {
            is_up: true,
            window: plan.broker_window,
            most_queued: plan.broker_queue.unwrap_or(usize::MAX),
            duplicates: plan.duplicates,
            session: None,
            edge_at: None,
            clients: BTreeMap::new(),
            retained: BTreeMap::new(),
            next_pkid: 0,
            dropped: 0,
        }
    }

    /// It dies; with `kept` it comes back with what it had.
    pub fn kill(&mut self, kept: bool, agenda: &mut Agenda) {
        self.is_up = false;
        for (device, client) in std::mem::take(&mut self.clients) {
            agenda.soon(Event::Device(device, client.life, DeviceEvent::Lost(client.conn)));
        }
        if let Some((edge, conn, life)) = self.edge_at.take() {
            agenda.soon(Event::Edge(edge, life, EdgeEvent::Lost(conn)));
        }
        if !kept {
            self.session = None;
            self.retained.clear();
        }
    }

    /// Something happens to it.
    pub fn handle(&mut self, event: BrokerEvent, agenda: &mut Agenda, truth: &mut Truth) {
        match event {
            BrokerEvent::Starts => self.is_up = true,
            BrokerEvent::DeviceConnects { device, life, conn, will } => {
                self.device_connects(device, Client { conn, life, will }, agenda);
            }
            BrokerEvent::Published { conn, publish } => self.published(conn, &publish, agenda),
            BrokerEvent::EdgeConnects { edge, life, conn } => self.edge_connects((edge, conn, life), agenda),
            BrokerEvent::Acknowledged(conn, pkid) => self.acknowledged(conn, pkid, agenda, truth),
            BrokerEvent::Down { conn, device, channel, payload } => {
                if self.is_edge(conn)
                    && let Some(client) = self.clients.get(&device)
                {
                    let message = DeviceEvent::Message(client.conn, channel, payload);
                    agenda.send(client.conn, Way::Down, Event::Device(device, client.life, message));
                }
            }
            BrokerEvent::Lost(conn) => self.lost(conn, agenda),
        }
    }

    fn device_connects(&mut self, device: usize, client: Client, agenda: &mut Agenda) {
        let (conn, life) = (client.conn, client.life);
        if !self.is_up {
            agenda.soon(Event::Device(device, life, DeviceEvent::Lost(conn)));
            return;
        }
        self.clients.insert(device, client);
        agenda.send(conn, Way::Down, Event::Device(device, life, DeviceEvent::Connected(conn)));
    }

    fn published(&mut self, conn: Conn, publish: &Publish, agenda: &mut Agenda) {
        let Some(device) = self.clients.iter().find(|(_, client)| client.conn == conn).map(|(d, _)| *d)
        else {
            return;
        };
        self.take(device, publish, agenda);
        if publish.qos == Qos::AtLeastOnce && agenda.random.chance(self.duplicates) {
            self.take(device, publish, agenda);
        }
    }

    fn take(&mut self, device: usize, publish: &Publish, agenda: &mut Agenda) {
        let payload = Bytes::from(publish.payload.clone());
        if publish.retained {
            let (name, channel) = (publish.channel.as_str(), publish.channel);
            self.retained.insert((device, name), (channel, payload.clone()));
        }
        let key = key_of(device, publish.channel, &payload);
        self.queue(Message { device, channel: publish.channel, payload, key });
        self.deliver(agenda);
    }

    fn queue(&mut self, message: Message) {
        let Some(session) = &mut self.session else { return };
        if session.queue.len() < self.most_queued {
            session.queue.push_back(message);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether this connection has the edge's session.
    fn is_edge(&self, conn: Conn) -> bool {
        self.edge_at.is_some_and(|(_, at, _)| at == conn)
    }

    fn edge_connects(&mut self, (edge, conn, life): (usize, Conn, u64), agenda: &mut Agenda) {
        if !self.is_up {
            agenda.soon(Event::Edge(edge, life, EdgeEvent::Lost(conn)));
            return;
        }
        // One client id, one connection: the newest has it.
        if let Some((edge, old, life)) = self.edge_at.replace((edge, conn, life)) {
            agenda.soon(Event::Edge(edge, life, EdgeEvent::Lost(old)));
        }
        agenda.send(conn, Way::Down, Event::Edge(edge, life, EdgeEvent::Connected));
        let session = self.session.get_or_insert_default();
        // What was delivered and not acknowledged comes again, in order, before everything else, and is counted from 1
        // anew: an acknowledgement on another connection would mean another message.
        for (number, (pkid, _)) in session.under_way.iter_mut().enumerate() {
            *pkid = number as u16 + 1;
        }
        let again: Vec<_> = session.under_way.iter().cloned().collect();
        self.next_pkid = again.len() as u16;
        for (pkid, message) in again {
            self.send(pkid, &message, agenda);
        }
        let retained = self.retained.iter().map(|((device, _), kept)| (*device, kept.clone()));
        for (device, (channel, payload)) in retained.collect::<Vec<_>>() {
            self.queue(Message { device, channel, payload, key: None });
        }
        self.deliver(agenda);
    }

    /// Delivers as long as the window has room.
    fn deliver(&mut self, agenda: &mut Agenda) {
        while let Some(session) = self.session.as_mut().filter(|_| self.edge_at.is_some()) {
            if session.under_way.len() >= self.window {
                return;
            }
            let Some(message) = session.queue.pop_front() else { return };
            self.next_pkid = self.next_pkid.checked_add(1).unwrap_or(1);
            session.under_way.push_back((self.next_pkid, message.clone()));
            self.send(self.next_pkid, &message, agenda);
        }
    }

    fn send(&self, pkid: u16, message: &Message, agenda: &mut Agenda) {
        let Some((edge, conn, life)) = self.edge_at else { return };
        let Message { device, channel, ref payload, .. } = *message;
        let delivered = EdgeEvent::Delivered { conn, pkid, device, channel, payload: payload.clone() };
        agenda.send(conn, Way::Down, Event::Edge(edge, life, delivered));
    }

    fn acknowledged(&mut self, conn: Conn, pkid: u16, agenda: &mut Agenda, truth: &mut Truth) {
        if !self.is_edge(conn) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        let Some(index) = session.under_way.iter().position(|(under_way, _)| *under_way == pkid) else {
            return;
        };
        if let Some((_, Message { key: Some(key), .. })) = session.under_way.remove(index) {
            truth.acknowledged(key);
        }
        self.deliver(agenda);
    }

    fn lost(&mut self, conn: Conn, agenda: &mut Agenda) {
        if self.is_edge(conn) {
            self.edge_at = None;
        }
        let gone = self.clients.iter().find(|(_, client)| client.conn == conn).map(|(device, _)| *device);
        if let Some(device) = gone
            && let Some(client) = self.clients.remove(&device)
        {
            self.take(device, &client.will, agenda);
        }
    }
}
