//! Changes of a users file on one server of each line, in configuration and in operator mode.

use super::{
    held::held_change_is_dropped_or_applied, only_a_loss_ends_sessions, users_file_ends_sessions,
    world::World,
};
use crate::support::{LINES, Mode};

#[tokio::test]
async fn changes_end_sessions_on_every_line_in_configuration_mode() {
    changes_end_sessions(Mode::Configuration).await;
}

#[tokio::test]
async fn changes_end_sessions_on_every_line_in_operator_mode() {
    changes_end_sessions(Mode::Operator).await;
}

async fn changes_end_sessions(mode: Mode) {
    for line in LINES {
        let mut world = World::on(mode, line).await;
        only_a_loss_ends_sessions(&mut world).await;
        world.configure("");
        users_file_ends_sessions(&world).await;
        held_change_is_dropped_or_applied(&world).await;
    }
}
