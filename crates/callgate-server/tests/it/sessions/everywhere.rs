//! The cases of the other files on one server of each line, in configuration and in operator mode.

use super::{
    kicks::{
        id_of_another_user_is_not_kicked, kicked_client_comes_back,
        own_connections_are_never_listed_or_kicked,
    },
    kinds::{every_kind_is_listed_kicked_locked_and_revoked, lock_ends_all_kinds_in_a_cluster},
    listing::{names_match_only_themselves, pending_login_is_not_listed, sessions_are_listed},
    locks::{
        locked_user_is_out, retries_cost_no_hash, same_name_stays_connected,
        static_user_is_kicked_once,
    },
    world::{Options, World},
};
use crate::support::{LINES, Mode};

async fn cases_on(mode: Mode, line: &'static str) {
    let mut world = World::on(mode, line).await;
    sessions_are_listed(&world).await;
    world.clear().await;
    names_match_only_themselves(&world).await;
    world.clear().await;
    kicked_client_comes_back(&world).await;
    world.clear().await;
    id_of_another_user_is_not_kicked(&world).await;
    world.clear().await;
    locked_user_is_out(&world).await;
    world.clear().await;
    same_name_stays_connected(&world).await;
    world.clear().await;
    retries_cost_no_hash(&world).await;
    world.clear().await;
    drop(static_user_is_kicked_once(&world).await);
    world.clear().await;
    own_connections_are_never_listed_or_kicked(&world).await;
    world.clear().await;
    pending_login_is_not_listed(&mut world).await;
    world.clear().await;
    every_kind_is_listed_kicked_locked_and_revoked(&world, line).await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_10() {
    cases_on(Mode::Configuration, "2.10").await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_10_in_operator_mode() {
    cases_on(Mode::Operator, "2.10").await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_12() {
    cases_on(Mode::Configuration, "2.12").await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_12_in_operator_mode() {
    cases_on(Mode::Operator, "2.12").await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_15() {
    cases_on(Mode::Configuration, "2.15").await;
}

#[tokio::test]
async fn sessions_and_locks_on_2_15_in_operator_mode() {
    cases_on(Mode::Operator, "2.15").await;
}

async fn clusters_in(mode: Mode) {
    for line in LINES {
        let options =
            Options { servers: 3, replicas: 3, mode, line: Some(line), ..Options::default() };
        lock_ends_all_kinds_in_a_cluster(&World::with(options).await, line).await;
    }
}

#[tokio::test]
async fn locks_in_clusters_of_every_line() {
    clusters_in(Mode::Configuration).await;
}

#[tokio::test]
async fn locks_in_clusters_of_every_line_in_operator_mode() {
    clusters_in(Mode::Operator).await;
}
