//! One suite for every way up: direct, through librdkafka's mock of Kafka, and through Apache Kafka itself.
//!
//! On each way a real journal in a folder, the edge's uplink, the fog node's source and a lake in a folder, in this
//! process; what is killed is dropped in the middle of what it does. After each test every row that the journal had
//! acknowledged is in its table once ([`rig::Rig::settles`]).
//!
//! What a mock can't do, and what has no meaning on the direct way, is tested where it can be: `kafka` has the tests of topics
//! and groups, `freed` those of edges that free on delivery, `secure` those of certificates and passwords.

mod cases;
mod cluster;
mod edge;
mod fog;
mod freed;
mod kafka;
mod rig;
mod secure;

/// Each test on each way.
macro_rules! on_every_way {
    ($($name:ident;)*) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::cases::$name(super::rig::Rig::direct()).await;
            })*
        }
        mod mock {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::cases::$name(super::rig::Rig::mock()).await;
            })*
        }
        mod apache {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::cases::$name(super::rig::Rig::apache()).await;
            })*
        }
    };
}

on_every_way! {
    what_is_measured_is_in_the_lake_once_and_the_journal_is_freed;
    a_fog_node_that_is_killed_again_and_again_has_every_row_once;
    an_edge_that_is_killed_before_it_hears_of_the_commit_sends_again_and_nothing_is_twice;
    an_outage_that_outlasts_every_timeout_costs_nothing;
    a_fog_node_that_is_killed_between_two_tables_goes_on_from_the_lowest;
    a_copy_of_a_journal_brings_nothing_twice;
    two_fog_nodes_on_one_lake_write_nothing_twice;
    a_lake_that_was_lost_gets_what_is_left_and_a_gap_for_the_rest;
    a_backlog_goes_up_in_order_and_not_faster_than_its_rate;
    what_a_segment_is_too_large_for_goes_in_pieces;
}
