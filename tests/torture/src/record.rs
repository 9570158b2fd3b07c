//! A device's connection with a listener on it, who writes into the book what goes by.

use std::cell::RefCell;
use std::rc::Rc;

use embedded_svc::mqtt::client::{Client, Enqueue, ErrorType, MessageId, QoS, asynch};
use rumqttc::ClientError;
use wattle_device::mqtt::{Closed, Connection, Received, Sender};
use wattle_wire::message::{self, Reading, Session};
use wattle_wire::topic::{self, Channel};

use crate::book::Writer;

/// The book of this start; all devices run on one thread.
pub(crate) type Shared = Rc<RefCell<Writer>>;

/// The sending half.
pub(crate) struct Sending {
    inner: Sender,
    book: Shared,
    /// The last number that stands in the book; what is sent again has a lower one.
    noted: u64,
}

/// The receiving half.
pub(crate) struct Receiving {
    inner: Connection,
    book: Shared,
}

/// Puts the listener on both halves.
pub(crate) fn listen((sender, connection): (Sender, Connection), book: &Shared) -> (Sending, Receiving) {
    (
        Sending { inner: sender, book: book.clone(), noted: 0 },
        Receiving { inner: connection, book: book.clone() },
    )
}

impl Sending {
    /// Ends the connection after what was enqueued so far.
    pub(crate) fn disconnect(&self) {
        self.inner.disconnect();
    }

    fn note(&mut self, name: &str, payload: &[u8]) {
        let Some((_, device, channel)) = topic::parse(name) else { return };
        let seq = match channel {
            Channel::Reading => message::decode::<Reading>(payload).ok().and_then(|reading| reading.seq),
            Channel::Session => message::decode::<Session>(payload).ok().and_then(|step| step.seq),
            _ => None,
        };
        // Numbers leave in order the first time.
        if let Some(seq) = seq.filter(|seq| *seq > self.noted) {
            self.noted = seq;
            or_end(self.book.borrow_mut().made(device, channel, payload));
        }
    }
}

impl Receiving {
    /// Waits until the connection's task has ended.
    pub(crate) async fn closed(&mut self) {
        self.inner.closed().await;
    }
}

/// Devices whose book can't be written must not go on: what they are told would be forgotten.
fn or_end(written: anyhow::Result<()>) {
    if let Err(error) = written {
        eprintln!("wattle-torture: {error:#}");
        std::process::exit(1);
    }
}

impl ErrorType for Sending {
    type Error = ClientError;
}

impl Client for Sending {
    fn subscribe<'a>(&'a mut self, topic: &'a str, qos: QoS) -> Result<MessageId, ClientError> {
        self.inner.subscribe(topic, qos)
    }

    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Result<MessageId, ClientError> {
        self.inner.unsubscribe(topic)
    }
}

impl Enqueue for Sending {
    fn enqueue<'a>(
        &'a mut self,
        topic: &'a str,
        qos: QoS,
        retain: bool,
        payload: &'a [u8],
    ) -> Result<MessageId, ClientError> {
        self.note(topic, payload);
        self.inner.enqueue(topic, qos, retain, payload)
    }
}

impl ErrorType for Receiving {
    type Error = Closed;
}

impl asynch::Connection for Receiving {
    type Event<'a> = Received;

    async fn next(&mut self) -> Result<Received, Closed> {
        let received = self.inner.next().await?;
        if let Received::Message { topic, payload } = &received
            && let Some((_, device, Channel::Ack)) = topic::parse(topic)
        {
            or_end(self.book.borrow_mut().acknowledged(device, payload));
        }
        Ok(received)
    }
}
