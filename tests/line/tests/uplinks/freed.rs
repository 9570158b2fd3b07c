//! Edges that free on delivery: what the topic has lost is a gap, and nothing else.

use rdkafka::producer::{BaseRecord, Producer as _};
use wattle_wire::kafka::{Position, partition_of, position_key};

use crate::cluster::PARTITIONS;
use crate::edge::Edge;
use crate::fog::Fog;
use crate::kafka::{QUESTION, config, delete_records, group, is_kept_to_the_end, producer};
use crate::rig::{Rig, rows, texts, until};

/// An edge, ten of whose readings are in the lake.
async fn begun(rig: &Rig) -> (Edge, Fog) {
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    edge.measure(10);
    edge.start(rig.kafka_options(|kafka| kafka.free_on_delivery = true));
    has_all(&fog, &edge).await;
    (edge, fog)
}

async fn has_all(fog: &Fog, edge: &Edge) {
    let last = edge.last();
    until("the position", || async {
        fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions") == Some(last)
    })
    .await;
}

/// Thirty readings that the brokers have, and nobody else; first and last of their entries.
async fn deliver(edge: &mut Edge) -> (u64, u64) {
    let before = edge.last();
    edge.measure(30);
    until("the delivery", || async { edge.freed() == edge.last() }).await;
    (before + 1, edge.last())
}

/// The same, and then the topic loses all that it has.
async fn lose(rig: &Rig, edge: &mut Edge) -> (u64, u64) {
    let lost = deliver(edge).await;
    delete_records(config(rig)).await;
    lost
}

/// The only gap in the lake is this one.
async fn has_gap(fog: &Fog, (from, to): (u64, u64)) {
    let gaps = "SELECT detail FROM events WHERE kind = 'gap' ORDER BY sequence";
    assert_eq!(texts(&fog.lake, gaps).await, [format!("{from}..={to}: freed")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_topic_has_lost_and_the_edge_has_freed_is_a_gap() {
    let rig = Rig::apache();
    let (mut edge, fog) = begun(&rig).await;
    fog.stop().await;
    let lost = lose(&rig, &mut edge).await;
    let fog = rig.fog().await;
    edge.measure(10);
    has_all(&fog, &edge).await;
    has_gap(&fog, lost).await;
    edge.kill().await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_fog_node_let_go_beyond_a_hole_are_read_by_the_one_that_fills_it() {
    let rig = Rig::apache();
    let (mut edge, fog) = begun(&rig).await;
    fog.stop().await;
    let lost = lose(&rig, &mut edge).await;
    deliver(&mut edge).await;
    // One that tells the edge nothing sees the hole, lets go what stands beyond it, and keeps the offset after that.
    let silent =
        Fog::start_with(&rig.lake(), &rig.cluster, None, |options| options.tell_positions = false).await;
    let group = group(config(&rig));
    until("the offsets to be kept", || async { is_kept_to_the_end(&group, config(&rig)) }).await;
    silent.stop().await;
    let sent = edge.status().sent;
    ask(&rig, &edge, lost.0 - 1);
    until("the edge's gap", || async { edge.status().sent > sent && edge.status().open == 0 }).await;
    let fog = rig.fog().await;
    has_all(&fog, &edge).await;
    has_gap(&fog, lost).await;
    let (readings, _) = rows(&fog.lake, "readings_raw", &edge).await;
    assert_eq!(readings, 10 + 30, "{lost:?} are lost, and nothing else");
    edge.kill().await;
    fog.stop().await;
}

/// Tells the edge that what comes after `sequence` is missing.
fn ask(rig: &Rig, edge: &Edge, sequence: u64) {
    let (key, position) =
        (position_key(&edge.id, edge.incarnation), Position { sequence: Some(sequence), needs: true });
    let payload = position.encode();
    let record = BaseRecord::to(&config(rig).positions_topic)
        .partition(partition_of(&edge.id, PARTITIONS as u32) as i32)
        .key(&key)
        .payload(&payload);
    let producer = producer(config(rig));
    producer.send(record).map_err(|(error, _)| error).expect("queued");
    producer.flush(QUESTION).expect("sent");
}
