//! File descriptors that the admin endpoint never uses.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

/// Descriptors that stay free for NATS, files and backends; with a small limit, a quarter of it.
const RESERVED: u64 = 32;

/// True if a new connection took one of the last descriptors. Its number shows that: the system assigns
/// the lowest free one (POSIX, 2.14 File Descriptor Allocation).
pub(super) fn is_reserved(connection: &impl AsFd) -> bool {
    let number = u64::try_from(connection.as_fd().as_raw_fd()).unwrap_or(u64::MAX);
    is_beyond(number, getrlimit(Resource::Nofile).current)
}

fn is_beyond(number: u64, limit: Option<u64>) -> bool {
    limit.is_some_and(|limit| number >= limit - RESERVED.min(limit / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_descriptors_are_reserved() {
        for (number, limit, reserved) in [
            (10, Some(1024), false),
            (991, Some(1024), false),
            (992, Some(1024), true),
            (47, Some(64), false),
            (48, Some(64), true),
            (5000, Some(1024), true),
            (5000, None, false),
        ] {
            assert_eq!(is_beyond(number, limit), reserved, "{number} {limit:?}");
        }
    }
}
