//! The open connections of the admin endpoint, whose number is limited.

use std::{collections::VecDeque, future::Future, net::IpAddr};

use tokio::task::AbortHandle;

/// Maximum number of open connections.
const MAX_CONNECTIONS: usize = 64;

/// Open connections, the oldest first. Dropping it closes them.
#[derive(Debug, Default)]
pub(super) struct Connections(VecDeque<Connection>);

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    task: AbortHandle,
}

impl Connections {
    /// Serves a new connection. If there are too many, another one is closed: a probe is answered even
    /// while an attacker holds idle connections.
    pub(super) fn add(&mut self, peer: IpAddr, serve: impl Future<Output = ()> + Send + 'static) {
        self.0.retain(|connection| !connection.task.is_finished());
        while self.0.len() >= MAX_CONNECTIONS {
            self.evict();
        }
        self.0.push_back(Connection { peer, task: tokio::spawn(serve).abort_handle() });
    }

    /// Closes the oldest connection of the address that has the most.
    pub(super) fn evict(&mut self) {
        let open = |peer| self.0.iter().filter(|connection| connection.peer == peer).count();
        // Of several addresses with as many connections, the one with the oldest.
        let peers = self.0.iter().rev().map(|connection| connection.peer);
        let Some(busiest) = peers.max_by_key(|peer| open(*peer)) else { return };
        let oldest = self.0.iter().position(|connection| connection.peer == busiest);
        if let Some(connection) = oldest.and_then(|index| self.0.remove(index)) {
            connection.task.abort();
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(|connection| connection.task.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn peers(connections: &Connections) -> Vec<IpAddr> {
        connections.0.iter().map(|connection| connection.peer).collect()
    }

    #[tokio::test]
    async fn number_of_connections_is_limited() {
        let mut connections = Connections::default();
        for _ in 0..1000 {
            connections.add(address(1), std::future::pending());
        }
        assert_eq!(connections.0.len(), MAX_CONNECTIONS);
    }

    #[tokio::test]
    async fn flooding_address_closes_only_its_own_connections() {
        let mut connections = Connections::default();
        connections.add(address(1), std::future::pending());
        for _ in 0..1000 {
            connections.add(address(2), std::future::pending());
        }
        assert_eq!(peers(&connections)[0], address(1));
    }

    #[tokio::test]
    async fn oldest_connection_is_closed_first() {
        let mut connections = Connections::default();
        for last in [1, 2, 1, 2] {
            connections.add(address(last), std::future::pending());
        }
        connections.evict();
        assert_eq!(peers(&connections), [2, 1, 2].map(address));
        connections.evict();
        assert_eq!(peers(&connections), [1, 2].map(address));
    }

    #[tokio::test]
    async fn closed_connections_make_room() {
        let mut connections = Connections::default();
        connections.add(address(1), std::future::ready(()));
        while connections.0.iter().any(|connection| !connection.task.is_finished()) {
            tokio::task::yield_now().await;
        }
        connections.add(address(2), std::future::pending());
        assert_eq!(peers(&connections), [address(2)]);
    }
}
