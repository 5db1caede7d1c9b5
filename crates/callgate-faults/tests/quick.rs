//! The faults that are over in seconds; `make test-faults` plays all of them.

use callgate_faults::{
    faults::{clock, cluster_api, decisions, files, network, provider, resources, servers},
    replicas,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_admits_nobody_and_is_served_again_when_it_is_back() {
    servers::STOPPED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_served_again_when_it_thaws() {
    servers::FROZEN.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_other_keys_is_served_again() {
    servers::NEW_KEYS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_its_server_sends_callgate_to_another_of_the_cluster() {
    servers::ONE_OF_THREE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_in_mid_storm_is_made_again() {
    network::CUT.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_admitted_across_a_partition_and_all_are_after_it() {
    network::PARTITION.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_answers_garbage_costs_only_tokens_by_new_keys() {
    provider::GARBAGE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_drips_costs_only_tokens_by_new_keys() {
    provider::DRIPS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_closes_in_mid_answer_costs_only_tokens_by_new_keys() {
    provider::HALF_CLOSES.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_come_in_while_the_api_server_is_gone() {
    cluster_api::GONE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_configuration_changes_nothing() {
    files::TRUNCATED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_configuration_changes_nothing() {
    files::UNREADABLE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_place_of_the_configuration_changes_nothing() {
    files::DIRECTORY.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_stops_no_decision() {
    resources::NO_LOG.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_log_stops_no_decision() {
    resources::LOG_FILLS_UP.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_stops_no_decision() {
    resources::LOG_STUCK.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_free_descriptor_decisions_go_on() {
    resources::DESCRIPTORS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_the_process_ends_or_refuses() {
    resources::MEMORY.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_ahead_drops_requests_and_says_by_how_much() {
    clock::FORWARD.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_behind_drops_requests_and_says_by_how_much() {
    clock::BACKWARD.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_a_refusal_that_no_other_authenticator_can_undo() {
    decisions::PANICS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_event_loop_ends_its_process() {
    decisions::BLOCKS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_are_replaced_one_by_one_and_nobody_notices() {
    replicas::ROLLED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_loses_only_what_was_in_flight_there() {
    replicas::KILLED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_is_given_up_by_the_server_and_comes_back_by_itself() {
    replicas::FROZEN.holds().await;
}
