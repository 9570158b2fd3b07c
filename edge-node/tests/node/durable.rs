//! What stands between the disk and an acknowledgement: the system calls of the running node, seen and made to fail.

use wattle_testkit::wait_for;

use crate::chain::{TOPIC, publish_readings, started, started_again};
use crate::fake::Link;
use crate::support::{Edge, LIMIT, reading};
use crate::trace::{Call, Trace};

const MESSAGES: u16 = 50;
/// What writes, syncs and sends.
const CALLS: &str = "pwrite64,pwritev2,fdatasync,fsync,write,writev,sendto,sendmsg";

/// Publishes messages, one by one and several at once, as brokers do; for each of them whether its row was on the disk when it was
/// acknowledged. A message leaves its topic in the journal, in letters: so the write that has it is known.
fn synced_before_acknowledged(edge: &Edge, link: &mut Link) -> Vec<bool> {
    synced_before_acknowledged_by(Trace::watch(edge.id(), CALLS), link)
}

fn synced_before_acknowledged_by(trace: Trace, link: &mut Link) -> Vec<bool> {
    for ids in (1..=MESSAGES).collect::<Vec<_>>().chunks(5) {
        for id in ids {
            link.publish(&format!("wattle/v1/depot/cp-1/{}", mark(*id)), b"", Some(*id), false);
        }
        ids.iter().for_each(|id| assert_eq!(link.acknowledged(), *id));
    }
    let calls = trace.end();
    (1..=MESSAGES).map(|id| is_synced(&calls, id)).collect()
}

/// Whether the row of this message was written so that it lasts, or a sync of its file has succeeded between its write and the
/// acknowledgement.
fn is_synced(calls: &[Call], id: u16) -> bool {
    let told = acknowledgement(calls, id);
    let is_write = |call: &&Call| ["pwrite64", "pwritev2"].contains(&call.name.as_str());
    let has_succeeded = |call: &&Call| call.ended.is_some_and(|(_, result)| result >= 0);
    let mut rows = calls.iter().filter(is_write).filter(|call| holds(call, mark(id).as_bytes()));
    let row = rows.find(has_succeeded);
    let row = row.expect("its row is written");
    assert!(row.has_ended_before(told), "{id} is acknowledged before it is written");
    let written = row.ended.map_or(usize::MAX, |(line, _)| line);
    let of_file = calls.iter().filter(|call| call.name == "fdatasync" && call.file == row.file);
    row.lasts || of_file.into_iter().any(|call| call.began > written && call.has_ended_before(told))
}

#[test]
fn a_message_is_acknowledged_only_after_the_write_of_its_row_and_a_sync_of_that_file_have_succeeded() {
    let (_broker, edge, mut link) = started();
    assert_eq!(synced_before_acknowledged(&edge, &mut link), [true; MESSAGES as usize]);
}

#[test]
fn on_a_file_system_that_knows_no_lasting_write_a_sync_comes_between() {
    let (_broker, edge, mut link) = started();
    let trace = Trace::watch_without(edge.id(), CALLS, "pwritev2");
    assert_eq!(synced_before_acknowledged_by(trace, &mut link), [true; MESSAGES as usize]);
}

#[test]
fn under_the_other_policies_an_acknowledgement_waits_for_the_write_alone() {
    for policy in ["sync = 'off'", "sync = 'interval'\nsync_interval_ms = 60000"] {
        let (broker, mut edge, link) = started();
        edge.kill();
        drop(link);
        edge.configure(&format!("[journal]\n{policy}\n"));
        let (edge, mut link) = started_again(&broker, edge);
        let synced = synced_before_acknowledged(&edge, &mut link);
        // A log file that is closed meanwhile, to be sealed, is synced too.
        let not_yet = synced.iter().filter(|is_synced| !*is_synced).count();
        assert!(not_yet > usize::from(MESSAGES) / 2, "{policy}: {synced:?}");
    }
}

fn mark(id: u16) -> String {
    format!("mark-{id}-")
}

fn holds(call: &Call, bytes: &[u8]) -> bool {
    call.bytes.windows(bytes.len()).any(|window| window == bytes)
}

/// Where the one PUBACK of this id is sent.
fn acknowledgement(calls: &[Call], id: u16) -> usize {
    let [high, low] = id.to_be_bytes();
    let sends = ["write", "writev", "sendto", "sendmsg"];
    let sent = calls.iter().filter(|c| sends.contains(&c.name.as_str()) && holds(c, &[0x40, 2, high, low]));
    let sent: Vec<usize> = sent.map(|call| call.began).collect();
    assert_eq!(sent.len(), 1, "{id} is acknowledged once");
    sent[0]
}

/// What fails, and how.
const FAULTS: [(&str, &str); 3] = [("pwritev2", "ENOSPC"), ("pwritev2", "EROFS"), ("pwritev2", "EIO")];

/// Publishes readings with these ids while the disk fails, and waits until the journal has tried to write them.
fn publish_in_vain(edge: &Edge, link: &mut Link, ids: impl Iterator<Item = u16>) {
    let errors = || edge.metric("wattle_edge_journal_errors_total");
    let (taken, before) = (edge.metric("wattle_edge_readings_total"), errors());
    let count = publish_readings(link, ids).len() as f64;
    wait_for("the journal to have tried more than once", LIMIT, || {
        let is_taken = edge.metric("wattle_edge_readings_total") >= taken + count;
        (is_taken && errors() >= before + 3.0).then_some(())
    })
    .expect("tried");
    assert_eq!(link.acknowledged_so_far(), [] as [u16; 0]);
    assert!(edge.health().contains("journal"), "{}", edge.health());
}

fn wait_until_healthy(edge: &Edge) {
    wait_for("the journal to take rows again", LIMIT, || (!edge.health().contains("journal")).then_some(()))
        .expect("taken");
}

#[test]
fn while_the_disk_fails_nothing_is_acknowledged_and_afterwards_everything_is_in_order_and_once() {
    for (call, error) in FAULTS {
        let (_broker, mut edge, mut link) = started();
        let fault = Trace::fail(edge.id(), call, error);
        publish_in_vain(&edge, &mut link, 1..=100);
        // Decisions go on without the disk.
        link.hears_of("/setpoint");
        fault.end();
        (1..=100).for_each(|id| assert_eq!(link.acknowledged(), id, "{call} {error}"));
        wait_until_healthy(&edge);
        edge.kill();
        let numbers: Vec<i64> = edge.journaled().readings.iter().map(|(_, _, seq)| *seq).collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{call} {error}");
    }
}

#[test]
fn what_waits_for_a_disk_that_fails_is_not_acknowledged_on_the_connection_that_comes_after() {
    let (broker, mut edge, mut link) = started();
    let fault = Trace::fail(edge.id(), "pwritev2", "EIO");
    publish_in_vain(&edge, &mut link, 1..=100);
    drop(link);
    let mut link = broker.accept();
    fault.end();
    wait_until_healthy(&edge);
    // All is on the disk, and this connection has delivered none of it.
    link.publish(TOPIC, reading(2, 1, 16_000).as_bytes(), Some(60_000), false);
    assert_eq!(link.acknowledged(), 60_000);
    for id in 1..=100_u16 {
        link.publish(TOPIC, reading(1, u64::from(id), 16_000).as_bytes(), Some(id), true);
        assert_eq!(link.acknowledged(), id);
    }
    edge.kill();
    let of_first = edge.journaled().readings.into_iter().filter(|(_, boot, _)| *boot == 1);
    assert_eq!(of_first.map(|(_, _, seq)| seq).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
}

/// A kill while the disk fails: what was not acknowledged may be there or not, and is there once when it has come again.
#[test]
fn a_node_that_is_killed_while_its_disk_fails_takes_again_what_it_has_not_acknowledged() {
    for (call, error) in FAULTS {
        let (broker, mut edge, mut link) = started();
        publish_readings(&mut link, 1..=50).into_iter().for_each(|id| assert_eq!(link.acknowledged(), id));
        let fault = Trace::fail(edge.id(), call, error);
        publish_in_vain(&edge, &mut link, 51..=100);
        edge.kill();
        drop((link, fault));
        let (mut edge, mut link) = started_again(&broker, edge);
        for id in 51..=100_u16 {
            link.publish(TOPIC, reading(1, u64::from(id), 16_000).as_bytes(), Some(id), true);
            assert_eq!(link.acknowledged(), id, "{call} {error}");
        }
        edge.kill();
        let mut numbers: Vec<i64> = edge.journaled().readings.iter().map(|(_, _, seq)| *seq).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>(), "{call} {error}");
    }
}
