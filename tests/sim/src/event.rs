//! Everything that can happen in the world.

use bytes::Bytes;
use wattle_device_core::Publish;
use wattle_wire::Micros;
use wattle_wire::kafka::Position;
use wattle_wire::topic::Channel;
use wattle_wire::uplink::{Committed, Hello, SegmentHeader};

use crate::agenda::Conn;
use crate::plan::Fault;

/// Something that happens, and to whom. What comes to a process names the life that it was meant for: another one never
/// gets it.
#[derive(Debug, Clone)]
pub enum Event {
    /// To the device of this index, in one of its lives.
    Device(usize, u64, DeviceEvent),
    /// To the broker of this index.
    Broker(usize, BrokerEvent),
    /// To the edge of this index, in one of its lives.
    Edge(usize, u64, EdgeEvent),
    /// To the fog node of this index, in one of its lives.
    Fog(usize, u64, FogEvent),
    /// To Kafka.
    Kafka(KafkaEvent),
    /// Something goes wrong.
    Fault(Fault),
    /// What has gone wrong is over.
    Over(Fault),
    /// The edge of this index is started.
    StartEdge(usize),
    /// The fog node of this index is started.
    StartFog(usize),
    /// The device of this index is switched on.
    StartDevice(usize),
}

/// What happens to a device.
#[derive(Debug, Clone)]
pub enum DeviceEvent {
    /// Its sensors are read, and its vehicle may do something.
    Sense,
    /// It asked to be woken at this moment.
    Wake(u64),
    /// It looks for its broker.
    Connect,
    /// The broker has taken the connection.
    Connected(Conn),
    /// The connection is gone.
    Lost(Conn),
    /// A message of the broker.
    Message(Conn, Channel, Vec<u8>),
}

/// What happens to a broker.
#[derive(Debug, Clone)]
pub enum BrokerEvent {
    /// A device connects.
    DeviceConnects {
        /// Which.
        device: usize,
        /// In which of its lives.
        life: u64,
        /// On which connection.
        conn: Conn,
        /// What to say when it goes.
        will: Publish,
    },
    /// A device publishes.
    Published {
        /// On which connection.
        conn: Conn,
        /// What.
        publish: Publish,
    },
    /// The edge connects.
    EdgeConnects {
        /// Which: twins share a broker.
        edge: usize,
        /// In which of its lives.
        life: u64,
        /// On which connection.
        conn: Conn,
    },
    /// The edge acknowledges a delivery.
    Acknowledged(Conn, u16),
    /// The edge publishes to a device.
    Down {
        /// On which connection.
        conn: Conn,
        /// To which device.
        device: usize,
        /// On which channel.
        channel: Channel,
        /// What.
        payload: Vec<u8>,
    },
    /// A connection is gone.
    Lost(Conn),
    /// The broker is there again.
    Starts,
}

/// What happens to an edge.
#[derive(Debug, Clone)]
pub enum EdgeEvent {
    /// It looks for its broker.
    Connect,
    /// The broker has taken the connection.
    Connected,
    /// The connection to the broker, or the try, has come to nothing.
    Lost(Conn),
    /// The broker delivers.
    Delivered {
        /// On which connection.
        conn: Conn,
        /// What to acknowledge.
        pkid: u16,
        /// Of which device, on which channel.
        device: usize,
        /// On which channel.
        channel: Channel,
        /// What.
        payload: Bytes,
    },
    /// The ingress takes what has come.
    Take,
    /// The site hands the journal what has gathered.
    Flush,
    /// The journal appends and syncs.
    Commit,
    /// The journal looks for rows to seal.
    Tick,
    /// A sealing has ended.
    Sealed,
    /// The states of the devices are kept, from this one on.
    Keep(usize),
    /// The site asked to be woken at this moment.
    Wake(Micros),
    /// The way up may send again.
    Paced,
    /// It dials the fog node.
    Dial,
    /// A fog node's answer.
    Answered(Conn, Committed),
    /// The connection to the fog node, or the try, has come to nothing.
    LinkLost(Conn),
    /// Kafka's topics are there; the position that is kept.
    KafkaReady(Conn, Option<Position>),
    /// Kafka has the segment that ends here.
    KafkaDelivered(Conn, u64),
    /// A position that was told.
    KafkaPosition(Conn, Position),
    /// It may be time to ask once more.
    Probe(Conn),
    /// Too long without an answer, if none came since.
    Silent(Conn, u64),
}

/// What happens to a fog node.
#[derive(Debug, Clone)]
pub enum FogEvent {
    /// An edge dials.
    Dialled {
        /// Which.
        edge: usize,
        /// In which of its lives.
        life: u64,
        /// On which connection.
        conn: Conn,
        /// How it greets.
        hello: Hello,
    },
    /// A segment.
    Segment {
        /// On which connection.
        conn: Conn,
        /// Its header, as bytes.
        metadata: Vec<u8>,
        /// The segment, as bytes.
        body: Bytes,
    },
    /// The connection is gone.
    Lost(Conn),
    /// The first segment has waited for others long enough.
    Gathered,
    /// A piece of work goes a step on.
    Step(u64),
    /// A partition is its to read, by the so many'th change of hands.
    Assigned(i32, u64),
    /// A partition isn't any more, by the so many'th change of hands.
    Revoked(i32, u64),
    /// It looks for messages.
    Look,
}

/// What a client asks of Kafka.
#[derive(Debug, Clone)]
pub enum KafkaEvent {
    /// An edge wants to hear of its positions.
    Listens {
        /// Which.
        edge: usize,
        /// In which of its lives.
        life: u64,
        /// On which connection.
        conn: Conn,
        /// Of which journal.
        key: String,
    },
    /// An edge sends a segment.
    Produced {
        /// Which.
        edge: usize,
        /// In which of its lives.
        life: u64,
        /// On which connection.
        conn: Conn,
        /// What its headers say.
        header: SegmentHeader,
        /// The segment.
        bytes: Bytes,
    },
    /// A fog node tells a position.
    Told {
        /// Of which journal.
        key: String,
        /// The position.
        position: Position,
    },
}
