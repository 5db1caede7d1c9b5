//! Orders to the running service: the control socket, and what the commands and the service say on it.

mod actor;
mod client;
mod conversation;
mod executor;
mod protocol;
mod socket;

pub(crate) use actor::Actor;
pub(crate) use client::send_order;
pub(crate) use conversation::{Viewer, conversation};
pub(crate) use executor::Executor;
pub(crate) use protocol::{
    Answer, Done, Failure, KickDone, KickOrder, KickedRow, LockDone, LockOrder, Message, Order,
    Reply, Row, Servers, SessionsDone,
};
pub(crate) use socket::{CarryOut, Socket, SocketError};
