//! What edges are sending is bounded by bytes over all streams, before a message is whole and the writer's queue knows of it.
//!
//! Of a message that has begun no more is read until there is room for all of it ([`RECEIVING_BYTES`]); HTTP/2 makes the edge wait.
//! The room is given back by [`Held::release`], once the message stands in the queue or was dealt with, or with the stream. A peer whose message
//! stops coming for [`STALLED`] loses its stream, so that nobody holds room for nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http_body_util::{BodyStream, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Context, Poll, Service, http};
use tonic::server::NamedService;
use wattle_wire::uplink::MAX_MESSAGE_BYTES;

/// The most bytes of messages that are being received, over all streams.
pub const RECEIVING_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// The longest that nothing comes in the middle of a message.
const STALLED: Duration = Duration::from_secs(30);

/// The room that a stream's message holds. A request has its own among its extensions.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Held {
    /// Others may have it.
    pub fn release(&self) {
        self.set(None);
    }

    fn set(&self, permit: Option<OwnedSemaphorePermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

/// A service whose requests share the room.
#[derive(Clone)]
pub struct Receiving<S> {
    inner: S,
    room: Arc<Semaphore>,
}

impl<S> Receiving<S> {
    /// The service, with so much room.
    pub fn new(inner: S, bytes: usize) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(bytes)) }
    }
}

impl<S: NamedService> NamedService for Receiving<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Receiving<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let held = Held::default();
        request.extensions_mut().insert(held.clone());
        let room = self.room.clone();
        self.inner.call(request.map(|body| bounded(body, room, held, STALLED)))
    }
}

/// The body, whose messages wait for room, and may not stop in the middle for longer than `patience`.
fn bounded(body: Body, room: Arc<Semaphore>, held: Held, patience: Duration) -> Body {
    let frames = BodyStream::new(body);
    let frames = stream::unfold(
        (frames, Message::default(), room, held),
        move |(mut frames, mut message, room, held)| async move {
            if let Some(bytes) = message.wants.take() {
                let bytes = u32::try_from(bytes.min(RECEIVING_BYTES)).unwrap_or(u32::MAX);
                // Whoever forgets to release holds at most one message's.
                held.release();
                held.set(room.clone().acquire_many_owned(bytes).await.ok());
            }
            let frame = if message.left > 0 {
                let stopped =
                    |_| Some(Err(Status::aborted(format!("nothing of a message came for {patience:?}"))));
                timeout(patience, frames.next()).await.unwrap_or_else(stopped)?
            } else {
                frames.next().await?
            };
            if let Some(data) = frame.as_ref().ok().and_then(|frame| frame.data_ref()) {
                message.pass(data);
            }
            Some((frame, (frames, message, room, held)))
        },
    );
    Body::new(StreamBody::new(frames))
}

/// Where in the messages of a stream we are: each has a byte about compression, its length in four, and so many bytes.
#[derive(Default)]
struct Message {
    head: Vec<u8>,
    /// What is still to come of the one that has begun.
    left: usize,
    /// The length of one that has begun and has no room yet.
    wants: Option<usize>,
}

impl Message {
    fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left == 0 {
                let (head, rest) = data.split_at(data.len().min(5 - self.head.len()));
                self.head.extend_from_slice(head);
                data = rest;
                let Ok([_, length @ ..]) = <[u8; 5]>::try_from(self.head.as_slice()) else { return };
                self.head.clear();
                self.left = u32::from_be_bytes(length) as usize;
                self.wants = Some(self.left);
            }
            let passed = self.left.min(data.len());
            self.left -= passed;
            data = &data[passed..];
            if self.left == 0 {
                // It came in one frame, which is bounded already, or has its room.
                self.wants = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{FutureExt as _, TryStreamExt as _};
    use http_body_util::{BodyExt as _, Full};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    /// A stream of an edge: what it sends, and what is read of it.
    struct Peer {
        sends: mpsc::Sender<Bytes>,
        body: Body,
        held: Held,
    }

    impl Peer {
        fn new(room: &Arc<Semaphore>) -> Self {
            Self::with(room, STALLED)
        }

        fn with(room: &Arc<Semaphore>, patience: Duration) -> Self {
            let (sends, sent) = mpsc::channel(16);
            let frames = ReceiverStream::new(sent).flat_map(|data| BodyStream::new(Full::new(data)));
            let held = Held::default();
            let body = bounded(
                Body::new(StreamBody::new(frames.map_err(as_status))),
                room.clone(),
                held.clone(),
                patience,
            );
            Self { sends, body, held }
        }

        fn send(&self, data: &[u8]) {
            self.sends.try_send(Bytes::copy_from_slice(data)).expect("read");
        }

        /// The bytes of the next frame, if it is given now.
        fn read(&mut self) -> Option<usize> {
            let frame = self.body.frame().now_or_never()?;
            Some(frame.expect("not ended").expect("no error").into_data().expect("data").len())
        }
    }

    fn as_status(never: std::convert::Infallible) -> Status {
        match never {}
    }

    fn head(length: u32) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes()].concat()
    }

    #[tokio::test]
    async fn a_message_goes_on_when_there_is_room_for_all_of_it() {
        let room = Arc::new(Semaphore::new(100));
        let (mut one, mut two) = (Peer::new(&room), Peer::new(&room));
        for peer in [&mut one, &mut two] {
            peer.send(&head(60));
            assert_eq!(peer.read(), Some(5), "that it has begun is known only now");
            peer.send(&[1; 30]);
        }
        assert_eq!((one.read(), two.read()), (Some(30), None));
        one.send(&[1; 30]);
        assert_eq!((one.read(), two.read()), (Some(30), None), "whole, and not yet in the queue");
        one.held.release();
        assert_eq!(two.read(), Some(30));
    }

    #[tokio::test]
    async fn a_stream_that_ends_in_a_message_gives_its_room_back() {
        let room = Arc::new(Semaphore::new(100));
        let (mut one, mut two) = (Peer::new(&room), Peer::new(&room));
        for peer in [&mut one, &mut two] {
            peer.send(&head(60));
            peer.send(&[1; 30]);
            assert_eq!(peer.read(), Some(5));
        }
        assert_eq!((one.read(), two.read()), (Some(30), None));
        drop(one);
        assert_eq!(two.read(), Some(30));
    }

    #[tokio::test]
    async fn idle_streams_and_messages_of_one_frame_take_no_room() {
        let room = Arc::new(Semaphore::new(0));
        let mut peer = Peer::new(&room);
        assert_eq!(peer.read(), None);
        // Two messages, and the next one's head in two frames.
        peer.send(&[head(10), vec![1; 10], head(0), head(20)[..2].to_vec()].concat());
        assert_eq!(peer.read(), Some(22));
        peer.send(&[head(20)[2..].to_vec(), vec![1; 20]].concat());
        assert_eq!(peer.read(), Some(23));
        assert_eq!(peer.read(), None);
    }

    #[tokio::test]
    async fn a_message_larger_than_all_room_is_left_to_who_refuses_it() {
        let room = Arc::new(Semaphore::new(RECEIVING_BYTES));
        let mut peer = Peer::new(&room);
        peer.send(&head(u32::MAX));
        peer.send(&[1; 30]);
        assert_eq!((peer.read(), peer.read()), (Some(5), Some(30)));
    }

    #[tokio::test]
    async fn a_message_that_stops_coming_ends_its_stream() {
        let room = Arc::new(Semaphore::new(100));
        let mut peer = Peer::with(&room, Duration::from_millis(20));
        peer.send(&head(60));
        assert!(peer.body.frame().await.expect("a frame").is_ok());
        let error = peer.body.frame().await.expect("an answer").expect_err("it has stopped");
        assert!(error.message().contains("20ms"), "{error}");
        drop(peer);
        assert_eq!(room.available_permits(), 100);
    }
}
