//! Free loopback ports that other processes are unlikely to take.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

// Below the range from which Linux takes the ports of outgoing connections (32768 and up): there, a
// client of another test could sit on a port while its server restarts.
const FIRST: u16 = 10_000;
const LAST: u16 = 32_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A loopback TCP port that is free now and unique in this process.
///
/// Another process can still take it: on a conflict, retry with another one.
///
/// # Panics
/// If a thousand random ports are all taken.
pub fn free_port() -> u16 {
    (0..1000)
        .map(|_| random_port())
        .find(|port| is_free(*port) && reserve(*port))
        .expect("a thousand random loopback ports are taken")
}

fn random_port() -> u16 {
    // Every RandomState has its own keys: a source of randomness without a crate.
    let random = RandomState::new().hash_one(0_u8) % u64::from(LAST - FIRST);
    FIRST + u16::try_from(random).expect("below LAST")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn reserve(port: u16) -> bool {
    GIVEN.lock().expect("no holder panics").get_or_insert_default().insert(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_unique() {
        let ports: HashSet<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 200);
    }
}
