//! MQTT as `embedded-svc` has it, over rumqttc.
//!
//! A task polls rumqttc and passes events on through a bounded queue; when that is full the task waits, and with
//! it the socket. What is enqueued for sending goes into a bounded queue too; when that is full it is refused at
//! once, so the two can't wait for each other. After a lost connection the task tries again, after 100 ms at first,
//! at most every 5 s. Sessions are clean: what has to be sent again is the machine's affair.

use std::sync::Arc;
use std::time::Duration;

use embedded_svc::mqtt::client::{
    Client, Details, Enqueue, ErrorType, Event, EventPayload, MessageId, QoS, asynch,
};
use rumqttc::{
    AsyncClient, ClientError, ConnectionError, EventLoop, LastWill, MqttOptions, Outgoing, Packet,
};
use tokio::sync::mpsc;
use wattle_wire::{DeviceId, topic};

/// Requests and events that may wait, each way. More than a machine has under way.
const QUEUE: usize = 256;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Whom to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Client id and user name.
    pub name: String,
    /// None for a broker that lets anyone in.
    pub password: Option<String>,
}

/// The last will: topic and payload. It is sent with QoS 1 and retained.
#[derive(Debug, Clone)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// The sending half.
#[derive(Debug, Clone)]
pub struct Sender {
    client: AsyncClient,
}

/// The receiving half.
#[derive(Debug)]
pub struct Connection {
    events: mpsc::Receiver<Received>,
}

/// The connection's task has ended: after a disconnect that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the MQTT connection was closed")]
pub struct Closed;

/// What has come in.
#[derive(Debug, Clone)]
pub enum Received {
    /// The broker has taken the connection.
    Connected,
    /// The connection is lost, or could not be made.
    Disconnected(Arc<ConnectionError>),
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
}

/// Begins to connect. Must be called within a `LocalSet`.
pub fn connect(broker: &Broker, will: Will) -> (Sender, Connection) {
    let mut options = MqttOptions::new(&broker.name, &broker.host, broker.port);
    options.set_keep_alive(Duration::from_secs(10)).set_inflight(QUEUE as u16).set_clean_session(true);
    options.set_last_will(LastWill::new(will.topic, will.payload, rumqttc::QoS::AtLeastOnce, true));
    if let Some(password) = &broker.password {
        options.set_credentials(&broker.name, password);
    }
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    events.network_options.set_tcp_nodelay(true);
    let (out, received) = mpsc::channel(QUEUE);
    tokio::task::spawn_local(poll(events, out));
    (Sender { client }, Connection { events: received })
}

async fn poll(mut events: EventLoop, out: mpsc::Sender<Received>) {
    let mut retry = FIRST_RETRY;
    loop {
        let received = match events.poll().await {
            Ok(rumqttc::Event::Incoming(Packet::ConnAck(_))) => {
                retry = FIRST_RETRY;
                Received::Connected
            }
            Ok(rumqttc::Event::Incoming(Packet::Publish(publish))) => {
                Received::Message { topic: publish.topic, payload: publish.payload.to_vec() }
            }
            Ok(rumqttc::Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => continue,
            Err(ConnectionError::RequestsDone) => return,
            Err(error) => Received::Disconnected(Arc::new(error)),
        };
        let lost = matches!(received, Received::Disconnected(_));
        if out.send(received).await.is_err() {
            return;
        }
        if lost {
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }
}

impl Sender {
    /// Ends the connection after what was enqueued so far; the last will is not sent.
    pub fn disconnect(&self) {
        // A full queue means that nobody takes what is sent: then the socket just closes.
        let _ = self.client.try_disconnect();
    }
}

impl Connection {
    /// Parts it by connector: each part hears when the connection comes and goes, and what is on its own topics; a part
    /// that is behind holds up the others. Must be called within a `LocalSet`.
    pub fn part(mut self, connectors: &[DeviceId]) -> Vec<Self> {
        let parts = connectors.iter().map(|_| mpsc::channel(QUEUE));
        let (outs, received): (Vec<_>, Vec<_>) = parts.unzip();
        let connectors = connectors.to_vec();
        tokio::task::spawn_local(async move {
            while let Some(received) = self.events.recv().await {
                for (out, connector) in outs.iter().zip(&connectors) {
                    if received.concerns(connector) {
                        // A part that is gone hears nothing more.
                        let _ = out.send(received.clone()).await;
                    }
                }
            }
        });
        received.into_iter().map(|events| Self { events }).collect()
    }

    /// Waits until the connection's task has ended.
    pub async fn closed(&mut self) {
        while self.events.recv().await.is_some() {}
    }
}

impl ErrorType for Sender {
    type Error = ClientError;
}

impl Client for Sender {
    fn subscribe<'a>(&'a mut self, topic: &'a str, qos: QoS) -> Result<MessageId, ClientError> {
        self.client.try_subscribe(topic, quality(qos)).map(|()| 0)
    }

    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Result<MessageId, ClientError> {
        self.client.try_unsubscribe(topic).map(|()| 0)
    }
}

impl Enqueue for Sender {
    fn enqueue<'a>(
        &'a mut self,
        topic: &'a str,
        qos: QoS,
        retain: bool,
        payload: &'a [u8],
    ) -> Result<MessageId, ClientError> {
        self.client.try_publish(topic, quality(qos), retain, payload).map(|()| 0)
    }
}

impl ErrorType for Connection {
    type Error = Closed;
}

impl asynch::Connection for Connection {
    type Event<'a> = Received;

    async fn next(&mut self) -> Result<Received, Closed> {
        self.events.recv().await.ok_or(Closed)
    }
}

impl ErrorType for Received {
    type Error = ConnectionError;
}

impl Received {
    fn concerns(&self, connector: &DeviceId) -> bool {
        let Self::Message { topic, .. } = self else { return true };
        let name = topic::parse(topic).and_then(|(_, device, _)| device.split_once('/'));
        name.is_some_and(|(_, name)| name == connector.as_str())
    }
}

impl Event for Received {
    fn payload(&self) -> EventPayload<'_, ConnectionError> {
        match self {
            Self::Connected => EventPayload::Connected(false),
            Self::Disconnected(error) => EventPayload::Error(error),
            Self::Message { topic, payload } => EventPayload::Received {
                id: 0,
                topic: Some(topic),
                data: payload,
                details: Details::Complete,
            },
        }
    }
}

fn quality(qos: QoS) -> rumqttc::QoS {
    match qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}
