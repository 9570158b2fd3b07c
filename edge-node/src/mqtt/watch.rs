//! Looks after the lanes, and says in the health of the node how they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wattle_process::Health;

use super::Lane;

/// How long a lane may be without its broker before the node is not healthy.
const LANE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the node is not healthy after its broker has dropped messages.
const DROPS_SAID: Duration = Duration::from_secs(60);
/// How often the lanes are looked at.
const LANE_LOOK: Duration = Duration::from_millis(500);

/// Says in `health` when a lane has been without its broker for [`LANE_PATIENCE`], when one connection after the
/// other ends soon, as where another client takes the edge's session, when the broker has dropped messages within [`DROPS_SAID`], and when all that has passed.
pub async fn watch(lanes: Vec<Lane>, dropped: Arc<AtomicU64>, health: Health) {
    let mut interval = actix::clock::interval(LANE_LOOK);
    let mut connected_at = Instant::now();
    let (mut known, mut dropped_at) = (0, None::<Instant>);
    loop {
        interval.tick().await;
        match lanes.iter().find_map(Lane::unsteady) {
            Some(why) => health.fail("mqtt_session", why),
            None => health.clear("mqtt_session"),
        }
        let now_dropped = dropped.load(Ordering::Relaxed);
        if now_dropped > std::mem::replace(&mut known, now_dropped) {
            dropped_at = Some(Instant::now());
            health
                .fail("broker_drops", format!("{now_dropped} messages are lost: {}", crate::foreign::DROPS));
        } else if dropped_at.is_some_and(|at| at.elapsed() >= DROPS_SAID) {
            dropped_at = None;
            health.clear("broker_drops");
        }
        let down = lanes.iter().filter(|lane| !lane.is_connected()).count();
        if down == 0 {
            connected_at = Instant::now();
            health.clear("mqtt");
        } else if connected_at.elapsed() >= LANE_PATIENCE {
            let all = lanes.len();
            health.fail(
                "mqtt",
                format!("{down} of {all} connections to the broker are down; look at the broker"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use actix::System;

    use super::*;
    use crate::mqtt::{Login, start};
    use crate::node::within;

    #[test]
    fn a_broker_that_stays_away_is_a_fault() {
        System::new().block_on(async {
            let port = wattle_testkit::free_port().expect("port");
            let login = Login {
                host: "127.0.0.1".into(),
                port,
                client_id: "edge".into(),
                user: "edge".into(),
                password: String::new(),
                may_be_shared: true,
            };
            let (lane, _receiver) = start(&login, vec![Vec::new()]).expect("started").pop().expect("one");
            let health = Health::new();
            actix::spawn(watch(vec![lane], Arc::default(), health.clone()));
            assert!(within(2 * LANE_PATIENCE, || async { !health.faults().is_empty() }).await);
            assert!(health.faults()[0].1.starts_with("1 of 1 connections"));
        });
    }
}
