//! The faults that are over in seconds; `make test-faults` plays all of them.

use callgate_faults::{
    faults::{
        backends, clock, cluster_api, decisions, files, network, provider, resources, servers,
    },
    replicas,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_server_admits_none_until_it_restarts() {
    servers::STOPPED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_server_is_served_after_it_resumes() {
    servers::FROZEN.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_server_with_new_keys_is_served() {
    servers::NEW_KEYS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_makes_callgate_use_another_one() {
    servers::ONE_OF_THREE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_cut_under_load_is_restored() {
    network::CUT.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_admits_none_until_it_ends() {
    network::PARTITION.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_from_provider_affects_only_new_keys() {
    provider::GARBAGE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_provider_affects_only_new_keys() {
    provider::DRIPS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_provider_affects_only_new_keys() {
    provider::HALF_CLOSES.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_admitted_while_the_api_server_is_down() {
    cluster_api::GONE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_configuration_changes_nothing() {
    files::TRUNCATED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_configuration_changes_nothing() {
    files::UNREADABLE.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directory_as_configuration_changes_nothing() {
    files::DIRECTORY.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unwritable_log_does_not_stop_decisions() {
    resources::NO_LOG.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_log_disk_does_not_stop_decisions() {
    resources::LOG_FILLS_UP.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_log_pipe_does_not_stop_decisions() {
    resources::LOG_STUCK.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_continue_without_free_descriptors() {
    resources::DESCRIPTORS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_without_memory_exits_or_refuses() {
    resources::MEMORY.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_ahead_drops_requests_and_reports_the_skew() {
    clock::FORWARD.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_behind_drops_requests_and_reports_the_skew() {
    clock::BACKWARD.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_is_a_final_refusal() {
    decisions::PANICS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_event_loop_exits_the_process() {
    decisions::BLOCKS.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacement_of_replicas_is_unnoticed() {
    replicas::ROLLED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replica_loses_only_requests_in_flight() {
    replicas::KILLED.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_replica_is_disconnected_and_returns() {
    replicas::FROZEN.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_web_service_is_unavailable_and_opens_no_other_way() {
    backends::HTTP.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_service_on_a_subject_is_unavailable_and_opens_no_other_way() {
    backends::SUBJECT.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_bucket_is_unavailable_and_opens_no_other_way() {
    backends::BUCKET.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_directory_is_unavailable_and_opens_no_other_way() {
    backends::DIRECTORY.holds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_database_is_unavailable_and_opens_no_other_way() {
    backends::POSTGRES.holds().await;
}
