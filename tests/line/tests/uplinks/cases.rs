//! What has to hold on every way.

use std::path::{Path, PathBuf};

use wattle_edge::uplink::Way;

use crate::cluster::Cluster;
use crate::edge::Edge;
use crate::rig::{Rig, copy, numbers, rows, until};

pub async fn what_is_measured_is_in_the_lake_once_and_the_journal_is_freed(rig: Rig) {
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    edge.measure(300);
    edge.start(rig.options());
    rig.settles(&fog, &[&edge]).await;
    edge.measure(50);
    rig.settles(&fog, &[&edge]).await;
    let status = edge.status();
    assert_eq!((status.connected, status.committed, status.reason.as_str()), (true, Some(edge.last()), ""));
    assert!(fog.health.faults().is_empty(), "{:?}", fog.health.faults());
    edge.kill().await;
    fog.stop().await;
}

pub async fn a_fog_node_that_is_killed_again_and_again_has_every_row_once(rig: Rig) {
    let mut edge = rig.edge("edge-1");
    edge.start(rig.options());
    for _ in 0..5 {
        let fog = rig.fog().await;
        let before = fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions");
        edge.measure(200);
        // Killed once it has begun, in the middle of the rest.
        until("some rows", || async {
            fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions") > before
        })
        .await;
        fog.kill().await;
    }
    let fog = rig.fog().await;
    edge.measure(10);
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

pub async fn an_edge_that_is_killed_before_it_hears_of_the_commit_sends_again_and_nothing_is_twice(rig: Rig) {
    let fog = rig.fog().await;
    let folder = rig.path("edge-1");
    let mut edge = rig.edge("edge-1");
    for _ in 0..4 {
        edge.measure(100);
        edge.start(rig.options());
        let freed = edge.freed();
        until("a commit", || async {
            fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions") > Some(freed)
        })
        .await;
        // What it was to hear is lost with it.
        edge = edge.reopened(&folder).await;
    }
    edge.start(rig.options());
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

pub async fn an_outage_that_outlasts_every_timeout_costs_nothing(rig: Rig) {
    let rig = if matches!(rig.cluster, Cluster::Apache(..)) { Rig::apache_alone() } else { rig };
    let mut edge = rig.edge("edge-1");
    let mut fog = Some(rig.fog().await);
    edge.measure(50);
    edge.start(rig.options());
    rig.settles(fog.as_ref().expect("there"), &[&edge]).await;
    // On the direct way there is nobody but the fog node to be away.
    if matches!(rig.cluster, Cluster::Direct(_)) {
        fog.take().expect("there").kill().await;
    }
    rig.cluster.down();
    // Five times what any request may take here, as five minutes are five times a minute. librdkafka's message timeout doesn't
    // shrink with that: that it is off, sdk/kafka/tests/settings.rs asks of librdkafka itself.
    let outage = 5 * rig.cluster.request_timeout();
    let mut measuring = tokio::time::interval(outage / 50);
    for _ in 0..50 {
        measuring.tick().await;
        edge.measure(20);
    }
    measuring.tick().await;
    until("the edge to notice", || async { !edge.status().connected }).await;
    rig.cluster.up();
    let fog = match fog {
        Some(fog) => fog,
        None => rig.fog().await,
    };
    edge.measure(20);
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

pub async fn a_fog_node_that_is_killed_between_two_tables_goes_on_from_the_lowest(rig: Rig) {
    let mut edge = rig.edge("edge-1");
    let fog = rig.fog().await;
    edge.measure(50);
    edge.start(rig.options());
    rig.settles(&fog, &[&edge]).await;
    let (table, away) = (rig.lake().join("events"), rig.lake().join("away"));
    std::fs::rename(&table, &away).expect("moved");
    std::fs::write(&table, "a file where a folder should be").expect("written");
    edge.measure(50);
    until("a commit that failed", || async { !fog.health.faults().is_empty() }).await;
    fog.kill().await;
    std::fs::remove_file(&table).expect("removed");
    std::fs::rename(&away, &table).expect("moved");
    let fog = rig.fog().await;
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}

pub async fn a_copy_of_a_journal_brings_nothing_twice(rig: Rig) {
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    edge.measure(100);
    edge.start(rig.options());
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    edge.measure(50);
    copy(&rig.path("edge-1"), &rig.path("older"));
    // The copy is made while half of the rows are on the disk only.
    edge.measure(50);
    copy(&rig.path("edge-1"), &rig.path("copy"));
    let mut copied = Edge::open(&rig.path("copy"), "edge-1");
    assert_ne!(copied.incarnation, edge.incarnation);
    // What the copy holds of the former life goes up as that, and what it does from now on as its own.
    let mut former = Edge::open_former(&former_life(&rig.path("copy")), "edge-1");
    assert_eq!((former.incarnation, former.last()), (edge.incarnation, edge.last()));
    copied.measure(50);
    copied.start(rig.options());
    former.start(rig.options());
    rig.settles(&fog, &[&copied]).await;
    let last = edge.last();
    until("the former life to be freed", || async { former.freed() == last }).await;
    rig.has_once(&fog.lake, &edge).await;
    former.kill().await;
    // The original comes back. That the lake has more than it has handed out shows it that there is another; it frees nothing, and
    // says what to do.
    let mut edge = edge.reopened(&rig.path("edge-1")).await;
    let handed = edge.freed();
    edge.measure(30);
    edge.start(rig.options());
    until("the original to be told", || async { edge.status().reason.contains("--restored") }).await;
    assert_eq!(edge.freed(), handed);
    rig.settles(&fog, &[&copied]).await;
    // To a former life it is no fault that the lake is ahead of it.
    drop(Edge::open(&rig.path("older"), "edge-1"));
    let mut older = Edge::open_former(&former_life(&rig.path("older")), "edge-1");
    assert!((1..last).contains(&older.last()));
    older.start(rig.options());
    until("the older former life to be freed", || async { older.freed() == older.last() }).await;
    older.kill().await;
    edge.kill().await;
    copied.kill().await;
    fog.stop().await;
}

fn former_life(folder: &Path) -> PathBuf {
    let mut lives = wattle_edge::journal::former(folder).expect("readable");
    assert_eq!(lives.len(), 1);
    lives.remove(0)
}

pub async fn two_fog_nodes_on_one_lake_write_nothing_twice(rig: Rig) {
    // On the direct way each has a port and edges of its own; on Kafka they share the partitions.
    let other = if matches!(rig.cluster, Cluster::Direct(_)) { Some(Rig::direct()) } else { None };
    let fogs =
        [rig.fog().await, crate::fog::Fog::start(&rig.lake(), &other.as_ref().unwrap_or(&rig).cluster).await];
    let mut edges: Vec<Edge> = (0..6).map(|n| rig.edge(&format!("edge-{n}"))).collect();
    for (n, edge) in edges.iter_mut().enumerate() {
        let through = if n % 2 == 0 { &rig } else { other.as_ref().unwrap_or(&rig) };
        edge.start(through.options());
    }
    for _ in 0..10 {
        edges.iter_mut().for_each(|edge| edge.measure(30));
        let before: Vec<u64> = edges.iter().map(Edge::freed).collect();
        until("some of it to be in the lake", || async {
            edges.iter().zip(&before).any(|(edge, before)| edge.freed() > *before)
        })
        .await;
    }
    rig.settles(&fogs[0], &edges.iter().collect::<Vec<_>>()).await;
    for edge in &mut edges {
        edge.kill().await;
    }
    for fog in fogs {
        fog.stop().await;
    }
}

pub async fn a_lake_that_was_lost_gets_what_is_left_and_a_gap_for_the_rest(rig: Rig) {
    let mut edge = rig.edge("edge-1");
    let fog = rig.fog().await;
    edge.measure(100);
    edge.start(rig.options());
    rig.settles(&fog, &[&edge]).await;
    let freed = edge.freed();
    edge.kill().await;
    fog.stop().await;
    std::fs::remove_dir_all(rig.lake()).expect("lost");
    edge.measure(100);
    let fog = rig.fog().await;
    edge.start(rig.options());
    let last = edge.last();
    until("the new lake to have all", || async {
        fog.lake.positions(&edge.id, edge.incarnation).await.expect("positions") == Some(last)
    })
    .await;
    let (readings, different) = rows(&fog.lake, "readings_raw", &edge).await;
    assert_eq!(readings, different);
    let gaps =
        numbers(&fog.lake, "SELECT count(*) FROM events WHERE kind = 'gap' AND detail LIKE '%freed'").await;
    // Kafka still holds what the old lake had: nothing is gone.
    let expected = if matches!(rig.cluster, Cluster::Direct(_)) { (100, 1) } else { (200, 0) };
    assert_eq!((readings, gaps[0]), expected, "after {freed} entries were freed");
    edge.kill().await;
    fog.stop().await;
}

pub async fn a_backlog_goes_up_in_order_and_not_faster_than_its_rate(rig: Rig) {
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    (0..40).for_each(|_| edge.measure(20));
    let mut options = rig.options();
    options.bytes_per_second = 10_000;
    let started = tokio::time::Instant::now();
    edge.start(options);
    until("the backlog to be on its way", || async { edge.status().sent >= 10 }).await;
    rig.settles(&fog, &[&edge]).await;
    let bytes = edge.status().sent_bytes as f64;
    let least = bytes / 10_000.0 - 2.0;
    assert!(least > 1.0, "{bytes} bytes are no backlog");
    assert!(started.elapsed().as_secs_f64() >= least, "{bytes} bytes in {:?}", started.elapsed());
    edge.kill().await;
    fog.stop().await;
}

pub async fn what_a_segment_is_too_large_for_goes_in_pieces(rig: Rig) {
    let fog = rig.fog().await;
    let mut edge = rig.edge("edge-1");
    edge.measure_what_stays_large();
    let mut options = rig.options();
    if let Way::Kafka(kafka) = &mut options.way {
        kafka.max_message_bytes = 15_000;
    }
    edge.start(options);
    rig.settles(&fog, &[&edge]).await;
    edge.kill().await;
    fog.stop().await;
}
