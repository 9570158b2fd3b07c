//! The acknowledgement chain, clause by clause: on a broker that the test plays, so that every packet is seen.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use rumqttc::{QoS, SubscribeFilter};
use wattle_edge::journal::View;
use wattle_edge::mqtt::{Login, MAX_UNSYNCED};
use wattle_testkit::wait_for;

use crate::fake::{FakeBroker, Link, publish};
use crate::support::{Edge, LIMIT, reading};

pub const TOPIC: &str = "wattle/v1/depot/cp-1/reading";

pub fn started() -> (FakeBroker, Edge, Link) {
    let broker = FakeBroker::start();
    let port = broker.port();
    let starting = std::thread::spawn(move || Edge::start_at(port));
    let link = broker.accept();
    (broker, starting.join().expect("it starts"), link)
}

/// The same node again, after it was killed, with the connection that it makes.
pub fn started_again(broker: &FakeBroker, mut edge: Edge) -> (Edge, Link) {
    let starting = std::thread::spawn(move || {
        edge.start_again();
        edge
    });
    let link = broker.accept();
    (starting.join().expect("it starts"), link)
}

pub fn publish_readings(link: &mut Link, ids: impl Iterator<Item = u16>) -> Vec<u16> {
    let publish = |id: &u16| {
        link.publish(TOPIC, reading(1, u64::from(*id), 16_000).as_bytes(), Some(*id), false);
    };
    ids.inspect(publish).collect()
}

fn records(edge: &Edge) -> u64 {
    let view = View::open(&edge.folder.path().join("data/journal")).expect("a journal");
    view.logs.iter().map(|log| log.records).sum()
}

#[test]
fn the_broker_is_acknowledged_in_order_and_never_before_the_row_is_in_the_journal() {
    let (_broker, edge, mut link) = started();
    let before = records(&edge);
    let ids = publish_readings(&mut link, 1..=500);
    for (count, id) in (1..).zip(ids) {
        assert_eq!(link.acknowledged(), id);
        // Log files are kept until a checkpoint covers them, which takes longer than this.
        if count % 50 == 0 {
            assert!(records(&edge) >= before + count, "{count} are acknowledged");
        }
    }
}

#[test]
fn bad_payloads_unknown_devices_and_other_topics_free_their_place_with_the_broker_too() {
    let (_broker, mut edge, mut link) = started();
    let long = "x".repeat(100_000);
    let bad: [(&str, &[u8]); 9] = [
        (TOPIC, b"not json"),
        (TOPIC, b""),
        (TOPIC, &[0xFF, 0xFE, 0x00]),
        (TOPIC, long.as_bytes()),
        (TOPIC, br#"{"boot":1,"seq":1,"current_ma":[1.5]}"#),
        ("wattle/v1/depot/cp-99/reading", b"{}"),
        ("wattle/v1/depot/cp-1/nonsense", b"{}"),
        ("wattle/v1/depot/cp-1/setpoint", b"{}"),
        ("somewhere/else", b"{}"),
    ];
    // More than any window of a broker holds.
    for id in 1..=20_000_u16 {
        let (topic, payload) = bad[usize::from(id) % bad.len()];
        link.publish(topic, payload, Some(id), false);
        assert_eq!(link.acknowledged(), id, "{topic}");
    }
    link.publish(TOPIC, reading(1, 7, 16_000).as_bytes(), Some(20_001), false);
    assert_eq!(link.acknowledged(), 20_001);
    edge.kill();
    let journaled = edge.journaled();
    assert_eq!(journaled.readings.iter().filter(|(_, _, seq)| *seq == 7).count(), 1);
    assert!(journaled.count("malformed", "") <= 2 * 12, "what is journaled of them is bounded");
}

#[test]
fn what_a_connection_delivered_is_never_acknowledged_on_another() {
    let (broker, mut edge, mut link) = started();
    // Again and again the connection ends while acknowledgements are on their way; each time it is longer until the next.
    const ROUNDS: u16 = 6;
    for round in 0..ROUNDS {
        publish_readings(&mut link, round * 100 + 1..=round * 100 + 100);
        for _ in 0..round % 5 {
            link.acknowledged();
        }
        drop(link);
        link = broker.accept();
        // On the new one nothing was delivered yet: there is nothing to acknowledge.
        link.publish(TOPIC, reading(2, u64::from(round) + 1, 16_000).as_bytes(), Some(60_000), false);
        assert_eq!(link.acknowledged(), 60_000, "round {round}");
    }
    // Whatever was not acknowledged the broker delivers again, and it is journaled once.
    for id in 1..=ROUNDS * 100 {
        link.publish(TOPIC, reading(1, u64::from(id), 16_000).as_bytes(), Some(id), true);
        assert_eq!(link.acknowledged(), id);
    }
    edge.kill();
    let journaled = edge.journaled();
    let of_first = journaled.readings.iter().filter(|(_, boot, _)| *boot == 1);
    let numbers: Vec<i64> = of_first.map(|(_, _, seq)| *seq).collect();
    assert_eq!(numbers.len(), usize::from(ROUNDS) * 100, "each once");
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), (1..=i64::from(ROUNDS) * 100).collect());
}

#[test]
fn a_broker_that_delivers_everything_twice_and_out_of_order_makes_no_row_twice() {
    let (_broker, mut edge, mut link) = started();
    for id in (1..=300_u16).chain((1..=300).rev()) {
        link.publish(TOPIC, reading(1, u64::from(id), 16_000).as_bytes(), Some(id), id % 2 == 0);
        assert_eq!(link.acknowledged(), id);
    }
    edge.kill();
    assert_eq!(edge.journaled().readings.len(), 300);
}

#[test]
fn what_a_broker_has_left_out_between_hundreds_of_others_is_journaled_when_the_device_sends_it_again() {
    let (_broker, mut edge, mut link) = started();
    // Every second one, then those between them, then all of it once more.
    for id in (2..=600_u16).step_by(2).chain((1..600).step_by(2)).chain(1..=600) {
        link.publish(TOPIC, reading(1, u64::from(id), 16_000).as_bytes(), Some(id), false);
        assert_eq!(link.acknowledged(), id);
    }
    edge.kill();
    let journaled = edge.journaled();
    let numbers: BTreeSet<i64> = journaled.readings.iter().map(|(_, _, seq)| *seq).collect();
    assert_eq!((journaled.readings.len(), numbers), (600, (1..=600).collect()), "each once");
}

#[test]
fn a_broker_that_sends_what_can_not_be_read_is_said_and_not_taken_for_two_edges_with_one_name() {
    let (broker, edge, mut link) = started();
    // A packet that is no message, and larger than any may be.
    let unreadable = [0x90, 0xFF, 0xFF, 0xFF, 0x7F];
    for _ in 0..3 {
        link.send(&unreadable);
        link = broker.accept();
    }
    let page =
        wait_for("it to be said", LIMIT, || Some(edge.health()).filter(|page| page.contains("mqtt_session")));
    let page = page.expect("said");
    assert!(page.contains("can't be read") && !page.contains("client_id"), "{page}");
    // From then on it lasts.
    wait_for("it to be over", LIMIT, || {
        link.is_pinged();
        edge.health().contains("true").then_some(())
    })
    .expect("over");
}

#[test]
fn messages_of_qos_0_are_journaled_and_acknowledged_to_the_device_alone() {
    let (_broker, mut edge, mut link) = started();
    (1..=10).for_each(|seq| link.publish(TOPIC, reading(1, seq, 16_000).as_bytes(), None, false));
    link.publish(TOPIC, reading(1, 11, 16_000).as_bytes(), Some(1), false);
    assert_eq!(link.acknowledged(), 1, "and nothing for the others");
    // Another, so that what was published for the device meanwhile is seen.
    wait_for("the device to be acknowledged", LIMIT, || {
        link.publish(TOPIC, reading(1, 12, 16_000).as_bytes(), Some(2), false);
        link.acknowledged();
        let acks = link.published.iter().filter(|(topic, _)| topic.ends_with("/cp-1/ack")).count();
        (acks > 0).then_some(())
    })
    .expect("acknowledged");
    edge.kill();
    assert_eq!(edge.journaled().readings.len(), 12);
}

/// A lane that nobody empties, or whose messages don't reach the disk, stops reading: the rest stays with the broker.
#[test]
fn behind_a_slow_consumer_a_lane_takes_a_bounded_number_of_messages() {
    // What waits between the lane and the ingress, and what may be unsynced; one more is in hand.
    for (emptied, bound) in [(false, 1024), (true, MAX_UNSYNCED)] {
        let broker = FakeBroker::start();
        let login = Login {
            host: "127.0.0.1".into(),
            port: broker.port(),
            client_id: "edge".into(),
            user: "edge".into(),
            password: String::new(),
            may_be_shared: false,
        };
        let filter = SubscribeFilter::new("#".into(), QoS::AtLeastOnce);
        let lanes = wattle_edge::mqtt::start(&login, vec![vec![filter]]).expect("started");
        let (lane, mut receiver) = lanes.into_iter().next().expect("one");
        let mut link = broker.accept();
        let held = Arc::new(Mutex::new(Vec::new()));
        let holder = held.clone();
        if emptied {
            std::thread::spawn(move || {
                while let Some(delivery) = receiver.blocking_recv() {
                    holder.lock().expect("no panic").push(delivery);
                }
            });
        } else {
            std::mem::forget(receiver);
        }
        let packet = publish(TOPIC, &[b' '; 4_000], Some(2), false);
        let taken = link.flood(&packet, 1 << 30);
        // Beside them what the two sockets and the client hold.
        let most = (bound + 256) * packet.len() + (16 << 20);
        assert!(taken < most, "{taken} bytes were taken, {most} is the bound");
        if !emptied {
            continue;
        }
        assert_eq!(held.lock().expect("no panic").len(), MAX_UNSYNCED);
        // As they reach the disk, it goes on.
        held.lock().expect("no panic").drain(..100);
        wait_for("a hundred more", LIMIT, || {
            (held.lock().expect("no panic").len() == MAX_UNSYNCED).then_some(())
        })
        .expect("it goes on");
        assert!(lane.is_connected());
    }
}
