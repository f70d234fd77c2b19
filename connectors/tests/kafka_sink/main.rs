//! The Kafka sink on a real broker: the published suite, and what is this sink's alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fencing;
mod group;
mod messages;

mod frozen_peers {
    use crate::group::{Groups, Peers};

    // Whoever is overtaken does not know: what refuses them is the broker. All cases but one.
    tidemill_engine::sink_conformance!(@ Groups(Peers::Frozen);
        append many_batches holes compare_fails compare_is_for_every_partition two_writers_race
        zombie_of_another_instance zombie_of_the_same_instance answer_lost_landed answer_lost_not_landed
        crash_at_each_step empty_window anchor_twice many_partitions new_partition topic_id wide nested abort
        stage_while_committing reset);
}

mod awake_peers {
    use crate::group::{Groups, Peers};

    // Two that share the partitions go on when the other comes: their generation is renewed.
    tidemill_engine::sink_conformance!(@ Groups(Peers::Awake);
        append two_writers_share crash_at_each_step new_partition many_partitions answer_lost_landed);
}
